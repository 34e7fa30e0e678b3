"""The models and training steps in PyTorch's names, for dlgrad and PyTorch.

`make_step(library, workload, wrap, jit)` gives a function of the inputs that does one step and
returns the loss (or the scores of a model that only runs forward).  First weights come from
`workloads.normal`, in the order of `named_parameters`, so that every library starts alike.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from workloads import Workload, normal

VOCABULARY = 65
CONTEXT = 128
LAYERS = 6
RATE = 1e-3


def make_step(
    library: ModuleType,
    workload: Workload,
    wrap: Callable[[Any], Any] = lambda model: model,
    jit: Callable[[Any], Any] = lambda step: step,
) -> Callable[..., tuple[Any, ...]]:
    """`wrap` is put around the model, `jit` around the whole step."""
    nn = library.nn
    if workload.program == "resnet18":
        model = resnet18(nn)
        set_weights(library, model)
        model.eval()
        forward = jit(wrap(model))

        def predict(images: Any) -> tuple[Any, ...]:
            with library.no_grad():
                return (forward(images),)

        return predict
    model = MODELS[workload.program](library, workload.options)
    set_weights(library, model)
    kind = library.optim.AdamW if workload.program == "train_gpt" else library.optim.Adam
    optimizer = kind(model.parameters(), lr=RATE)
    forward = wrap(model)

    def step(x: Any, labels: Any) -> Any:
        scores = forward(x)
        loss = nn.functional.cross_entropy(
            scores.reshape(-1, scores.shape[-1]), labels.reshape(-1)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    ready = jit(step)
    return lambda x, labels: (ready(x, labels),)


def set_weights(library: ModuleType, model: Any) -> None:
    """Weights of mean 0 and variance 1 / fan-in, biases 0; those of norms keep their 1."""
    with library.no_grad():
        for seed, (_, weight) in enumerate(model.named_parameters()):
            shape = tuple(weight.shape)
            if len(shape) == 1:
                continue  # biases and the weights of norms, set below
            count = fan_in = 1
            for size in shape:
                count *= size
            for size in shape[1:]:
                fan_in *= size
            values = library.frombuffer(normal(count, seed, fan_in**-0.5), dtype=library.float32)
            weight.copy_(values.reshape(shape))
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)


# The models -----------------------------------------------------------------------------------


def mlp(library: ModuleType, options: dict[str, Any]) -> Any:
    nn = library.nn
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def cnn(library: ModuleType, options: dict[str, Any]) -> Any:
    nn = library.nn
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 7 * 7, 10),
    )  # fmt: skip


def gpt(library: ModuleType, options: dict[str, Any]) -> Any:
    """A decoder of pre-norm blocks, without dropout."""
    nn, functional = library.nn, library.nn.functional
    width, heads = options["width"], options["heads"]

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = nn.LayerNorm(width)
            self.qkv = nn.Linear(width, 3 * width)
            self.projection = nn.Linear(width, width)
            self.norm2 = nn.LayerNorm(width)
            self.widen = nn.Linear(width, 4 * width)
            self.narrow = nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            batch, length, _ = x.shape
            qkv = self.qkv(self.norm1(x)).reshape(batch, length, 3, heads, width // heads)
            q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.projection(y.transpose(1, 2).reshape(batch, length, width))
            return x + self.narrow(functional.gelu(self.widen(self.norm2(x)), approximate="tanh"))

    class Gpt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Embedding(VOCABULARY, width)
            self.position = nn.Embedding(CONTEXT, width)
            self.blocks = nn.Sequential(*[Block() for _ in range(LAYERS)])
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, VOCABULARY)

        def forward(self, tokens: Any) -> Any:
            x = self.token(tokens) + self.position.weight
            return self.head(self.norm(self.blocks(x)))

    return Gpt()


def resnet18(nn: Any) -> Any:
    """Four stages of two blocks each, for 1000 classes."""

    class Block(nn.Module):
        def __init__(self, channels: int, wider: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, wider, 3, stride=stride, padding=1, bias=False)
            self.norm1 = nn.BatchNorm2d(wider)
            self.conv2 = nn.Conv2d(wider, wider, 3, padding=1, bias=False)
            self.norm2 = nn.BatchNorm2d(wider)
            self.relu = nn.ReLU()
            self.shortcut = nn.Sequential()
            if stride != 1 or channels != wider:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(channels, wider, 1, stride=stride, bias=False),
                    nn.BatchNorm2d(wider),
                )

        def forward(self, x: Any) -> Any:
            y = self.relu(self.norm1(self.conv1(x)))
            return self.relu(self.norm2(self.conv2(y)) + self.shortcut(x))

    layers = [
        nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]  # fmt: skip
    channels = 64
    for stage, wider in enumerate((64, 128, 256, 512)):
        layers.append(Block(channels, wider, 1 if stage == 0 else 2))
        layers.append(Block(wider, wider, 1))
        channels = wider

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*layers)
            self.head = nn.Linear(512, 1000)

        def forward(self, images: Any) -> Any:
            return self.head(self.layers(images).mean(dim=(2, 3)))

    return ResNet()


MODELS: dict[str, Callable[[ModuleType, dict[str, Any]], Any]] = {
    "train_cnn": cnn,
    "train_gpt": gpt,
    "train_mlp": mlp,
}
