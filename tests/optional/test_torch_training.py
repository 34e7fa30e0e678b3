"""Layers, optimizers, schedules and whole trainings beside PyTorch's, from the same weights."""

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")

import dlgrad  # noqa: E402
from dlgrad import nn, optim  # noqa: E402
from dlgrad.nn import functional as F  # noqa: E402

LAYERS = [
    ("Linear", (3, 4), {}),
    ("Linear", (3, 4), {"bias": False}),
    ("Conv2d", (2, 4, 3), {}),
    ("Conv2d", (2, 4, (3, 5)), {"stride": 2, "padding": (1, 2), "groups": 2, "bias": False}),
    ("Conv2d", (2, 4, 3), {"padding": "same", "dilation": 2}),
    ("BatchNorm1d", (5,), {}),
    ("BatchNorm1d", (5,), {"bias": False}),
    ("BatchNorm2d", (5,), {"eps": 1e-3, "momentum": None, "affine": False}),
    ("BatchNorm2d", (5,), {"track_running_stats": False}),
    ("LayerNorm", (5,), {}),
    ("LayerNorm", ((2, 3),), {"elementwise_affine": False}),
    ("MaxPool2d", (2,), {}),
    ("MaxPool2d", ((3, 2),), {"stride": 2, "padding": 1, "ceil_mode": True}),
    ("AvgPool2d", (2,), {"stride": 1, "padding": 1}),
    ("Dropout", (), {}),
    ("Dropout", (0.1,), {}),
    ("Flatten", (), {}),
    ("ReLU", (), {}),
    ("ReLU", (), {"inplace": True}),
    ("LeakyReLU", (0.2,), {}),
    ("GELU", (), {}),
    ("GELU", (), {"approximate": "tanh"}),
    ("SiLU", (), {}),
    ("Sigmoid", (), {}),
    ("Tanh", (), {}),
    ("Softmax", (), {"dim": 1}),
    ("LogSoftmax", (1,), {}),
    ("Identity", (), {}),
    ("CrossEntropyLoss", (), {}),
    ("NLLLoss", (), {}),
    ("MSELoss", (), {}),
    ("L1Loss", (), {}),
    ("BCEWithLogitsLoss", (), {}),
]


@pytest.mark.parametrize("name, args, settings", LAYERS, ids=str)
def test_text_and_state_of_a_layer(name, args, settings):
    ours, theirs = (getattr(library, name)(*args, **settings) for library in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    shapes = {key: tuple(value.shape) for key, value in ours.state_dict().items()}
    assert shapes == {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    kinds = {key: str(value.dtype).split(".")[1] for key, value in ours.state_dict().items()}
    assert kinds == {
        key: str(value.dtype).split(".")[1] for key, value in theirs.state_dict().items()
    }


def small_cnn(layers):
    return layers.Sequential(
        layers.Conv2d(1, 8, 3, bias=False), layers.BatchNorm2d(8), layers.ReLU(),
        layers.MaxPool2d(2), layers.Conv2d(8, 8, 3, padding=1), layers.GELU(),
        layers.AvgPool2d(3), layers.Flatten(), layers.Linear(8, 10),
    )  # fmt: skip


def small_mlp(layers):
    return layers.Sequential(
        layers.Flatten(), layers.Linear(64, 32), layers.LayerNorm(32), layers.Tanh(),
        layers.ModuleDict({"last": layers.Linear(32, 10)})["last"],
    )  # fmt: skip


def pair(make):
    """The same model in both libraries, with the same weights."""
    torch.manual_seed(0)
    ours, theirs = make(nn), make(torch.nn)
    state = {key: dlgrad.tensor(value.numpy()) for key, value in theirs.state_dict().items()}
    assert repr(ours.load_state_dict(state)) == "<All keys matched successfully>"
    return ours, theirs


def test_text_of_a_model():
    ours, theirs = pair(small_cnn)
    assert repr(ours) == repr(theirs)
    names = [name for name, _ in ours.named_parameters()]
    assert names == [name for name, _ in theirs.named_parameters()]
    modules = [name for name, _ in ours.named_modules()]
    assert modules == [name for name, _ in theirs.named_modules()]
    blocks = [
        library.ModuleList([library.Linear(2, 2), library.Linear(2, 2), library.ReLU()])
        for library in (nn, torch.nn)
    ]
    assert repr(blocks[0]) == repr(blocks[1])


OPTIMIZERS = {
    "SGD": ("SGD", {"lr": 0.05}),
    "momentum": ("SGD", {"lr": 0.02, "momentum": 0.9, "dampening": 0.1, "weight_decay": 1e-3}),
    "nesterov": ("SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
    "Adam": ("Adam", {"lr": 3e-3}),
    "amsgrad": ("Adam", {"lr": 3e-3, "amsgrad": True, "weight_decay": 1e-2}),
    "AdamW": ("AdamW", {"lr": 3e-3, "weight_decay": 0.1}),
    "RMSprop": ("RMSprop", {"lr": 1e-3, "momentum": 0.5}),
}


def batches(count, size=16):
    """Images of blurred noise whose brightest row is the class."""
    rng = np.random.default_rng(1)
    for _ in range(count):
        labels = rng.integers(0, 8, size)
        images = rng.normal(size=(size, 1, 8, 8)).astype(np.float32)
        images[np.arange(size), 0, labels] += 1.5
        yield images, labels.astype(np.int64)


@pytest.mark.parametrize("make", [small_cnn, small_mlp])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("captured", [False, True], ids=["plain", "jit"])
def test_the_loss_follows_pytorchs(make, name, captured):
    ours, theirs = pair(make)
    kind, settings = OPTIMIZERS[name]
    our_optimizer = getattr(optim, kind)(ours.parameters(), **settings)
    their_optimizer = getattr(torch.optim, kind)(theirs.parameters(), **settings)

    def step(images, labels):
        loss = F.cross_entropy(ours(images), labels)
        our_optimizer.zero_grad()
        loss.backward()
        our_optimizer.step()
        return loss

    our_step = dlgrad.jit(step) if captured else step
    ours_seen, theirs_seen = [], []
    for images, labels in batches(50):
        ours_seen.append(our_step(dlgrad.tensor(images), dlgrad.tensor(labels)).item())
        loss = torch.nn.functional.cross_entropy(
            theirs(torch.from_numpy(images)), torch.from_numpy(labels)
        )
        their_optimizer.zero_grad()
        loss.backward()
        their_optimizer.step()
        theirs_seen.append(loss.item())
    assert theirs_seen[-1] < theirs_seen[0]
    np.testing.assert_allclose(ours_seen, theirs_seen, rtol=1e-3)
    for key, value in theirs.state_dict().items():
        found = np.array(ours.state_dict()[key].tolist())
        np.testing.assert_allclose(found, value.numpy(), rtol=2e-2, atol=2e-3, err_msg=key)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_of_pytorchs_optimizer_goes_on_here(name):
    kind, settings = OPTIMIZERS[name]
    theirs = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    their_optimizer = getattr(torch.optim, kind)([theirs], **settings)

    def their_step():
        their_optimizer.zero_grad()
        (theirs**4).sum().backward()
        their_optimizer.step()

    for _ in range(3):
        their_step()
    ours = dlgrad.tensor(theirs.tolist(), requires_grad=True)
    our_optimizer = getattr(optim, kind)([ours], **settings)
    their_state = their_optimizer.state_dict()
    state = {
        number: {
            key: dlgrad.tensor(value.tolist()) if isinstance(value, torch.Tensor) else value
            for key, value in entries.items()
        }
        for number, entries in their_state["state"].items()
    }
    our_optimizer.load_state_dict({"state": state, "param_groups": their_state["param_groups"]})
    for _ in range(3):
        their_step()
        our_optimizer.zero_grad()
        (ours**4).sum().backward()
        our_optimizer.step()
    np.testing.assert_allclose(ours.tolist(), theirs.tolist(), rtol=1e-5)
    mine = our_optimizer.state_dict()
    assert set(mine["param_groups"][0]) <= set(their_state["param_groups"][0])
    assert set(their_state["state"].get(0, {})) <= set(mine["state"].get(0, {}))


def test_clipping_gives_pytorchs_gradients():
    for norm in (1.0, 2.0, 3.0, float("inf")):
        results = []
        for library, make in ((nn, dlgrad.tensor), (torch.nn, torch.tensor)):
            leaves = [make([1.0, 2.0], requires_grad=True), make([[3.0]], requires_grad=True)]
            for leaf in leaves:
                leaf.grad = leaf.detach() * 3
            total = library.utils.clip_grad_norm_(leaves, 2.0, norm_type=norm)
            results.append([total.item(), *leaves[0].grad.tolist(), leaves[1].grad.item()])
        np.testing.assert_allclose(results[0], results[1], rtol=1e-6)


def test_files_go_to_the_safetensors_package_and_back(tmp_path):
    package = pytest.importorskip("safetensors.torch")
    path = str(tmp_path / "model.safetensors")
    ours, theirs = pair(small_cnn)
    package.save_file(theirs.state_dict(), path, metadata={"format": "pt"})
    loaded = dlgrad.load(path)
    for key, value in theirs.state_dict().items():
        assert loaded[key].tolist() == value.tolist()
    dlgrad.save(ours.state_dict(), path)
    for key, value in package.load_file(path).items():
        assert value.tolist() == theirs.state_dict()[key].tolist()
