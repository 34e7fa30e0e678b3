"""The models of the examples are PyTorch programs too: the same classes, run with either library.

From the same weights and on the same batches, their loss follows PyTorch's for 50 steps.
"""

from __future__ import annotations

import ast
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")

import dlgrad  # noqa: E402

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
STEPS = 50
OPTIMIZERS = {
    "SGD": {"lr": 0.01, "momentum": 0.9},
    "Adam": {"lr": 1e-3},
    "AdamW": {"lr": 1e-3, "weight_decay": 0.1},
    "RMSprop": {"lr": 3e-4},
}


def classes(name: str, library) -> SimpleNamespace:
    """The classes of an example, with `library` in the place of dlgrad."""
    tree = ast.parse((EXAMPLES / f"{name}.py").read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    names = {
        "dlgrad": library, "nn": library.nn, "F": library.nn.functional, "math": math,
        "signal": None,
    }  # fmt: skip
    exec(compile(tree, f"{name}.py", "exec"), names)
    return SimpleNamespace(**names)


def texts(count: int):
    """Batches of a language with rules: each letter says most of what comes next."""
    rng = np.random.default_rng(2)
    following = rng.permutation(17)
    for _ in range(count):
        letters = [rng.integers(0, 17, 8)]
        for _ in range(16):
            odd = rng.random(8) < 0.2
            letters.append(np.where(odd, rng.integers(0, 17, 8), following[letters[-1]]))
        text = np.stack(letters, 1).astype(np.int64)
        yield text[:, :-1].copy(), text[:, 1:].copy()


def pictures(count: int):
    """Batches of noise with a bright row that names the class."""
    rng = np.random.default_rng(3)
    for _ in range(count):
        labels = rng.integers(0, 10, 8).astype(np.int64)
        images = rng.integers(0, 128, (8, 28, 28))
        images[np.arange(8), 2 * labels + 4] += 100
        yield images.astype(np.uint8), labels


def text_loss(library, model, batch):
    return model.loss(*batch)


def picture_loss(library, model, batch):
    return library.nn.functional.cross_entropy(model(batch[0]), batch[1])


MODELS = {
    "gpt": (lambda found: found.GPT(17, 16, 1, 2, 32), texts, text_loss),
    "char_rnn": (lambda found: found.CharRNN(17, 24, 1), texts, text_loss),
    "vit": (lambda found: found.ViT(24, 1, 2), pictures, picture_loss),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_the_loss_of_an_example_follows_pytorchs(name: str, kind: str) -> None:
    make, data, loss_of = MODELS[name]
    torch.manual_seed(0)
    theirs, ours = make(classes(name, torch)), make(classes(name, dlgrad))
    state = {key: dlgrad.tensor(value.numpy()) for key, value in theirs.state_dict().items()}
    assert repr(ours.load_state_dict(state)) == "<All keys matched successfully>"
    curves = []
    for library, model in ((dlgrad, ours), (torch, theirs)):
        optimizer = getattr(library.optim, kind)(model.parameters(), **OPTIMIZERS[kind])
        seen = []
        for batch in data(STEPS):
            optimizer.zero_grad()
            loss = loss_of(library, model, [library.tensor(part) for part in batch])
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
        curves.append(seen)
    assert sum(curves[1][-10:]) < sum(curves[1][:10]), "it learns"
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-3)
