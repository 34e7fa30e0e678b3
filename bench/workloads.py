"""What is measured: every row of the table, with the work in it.

A workload names a program, which `programs.py`, `models.py`, `arrays.py` and `jax_models.py`
write in the words of each library, the inputs it gets, and its options.  Inputs are the same
numbers for everybody, and so are the first weights of a model.
"""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass, field
from typing import Any

PATTERN = 65521  # a prime: rows of a matrix begin at different places of the pattern
_pattern: list[float] = []


@dataclass(frozen=True)
class Input:
    """One input: normally distributed numbers times `scale`, or whole numbers below `below`."""

    shape: tuple[int, ...]
    scale: float = 1.0
    below: int = 0
    dtype: str = "float32"

    def numbers(self, seed: int) -> array[Any]:
        """The elements in row-major order; float32, or int64 where they are whole."""
        count = 1
        for size in self.shape:
            count *= size
        if self.below:
            source = random.Random(seed)
            return array("q", (source.randrange(self.below) for _ in range(count)))
        return normal(count, seed, self.scale)


def normal(count: int, seed: int, scale: float = 1.0) -> array[Any]:
    """`count` normally distributed numbers; another seed begins elsewhere in the pattern."""
    if not _pattern:
        source = random.Random(0)
        _pattern.extend(source.gauss(0.0, 1.0) for _ in range(PATTERN))
    start = seed * 7919 % PATTERN
    period = array("f", (scale * x for x in _pattern[start:] + _pattern[:start]))
    return (period * -(-count // PATTERN))[:count]


@dataclass(frozen=True)
class Workload:
    """One row.

    `flops` and `moved` (bytes) count what the arithmetic asks for at least, so that the time
    can be held against what the machine does at most; 0 leaves that out.  `tolerance` is
    relative to the largest number of a result.
    """

    name: str
    subject: str
    program: str
    inputs: tuple[Input, ...]
    options: dict[str, Any] = field(default_factory=dict)
    flops: float = 0.0
    moved: float = 0.0
    tolerance: float = 1e-4
    is_training: bool = False  # a process of its own, for its memory


def matmul(
    name: str, a: tuple[int, ...], b: tuple[int, ...], dtype: str = "float32", **options: Any
) -> Workload:
    """a @ b, either of them stored transposed where the options say so."""
    flops = 2.0 * b[-1]
    for size in a:
        flops *= size
    a_stored = (*a[:-2], a[-1], a[-2]) if options.get("a_transposed") else a
    b_stored = (*b[:-2], b[-1], b[-2]) if options.get("b_transposed") else b
    scale = a[-1] ** -0.5
    inputs = (Input(a_stored, dtype=dtype), Input(b_stored, scale, dtype=dtype))
    tolerance = 2e-2 if dtype == "bfloat16" else 1e-4
    return Workload(name, "matmul", "matmul", inputs, options, flops, tolerance=tolerance)


def elementwise(name: str, program: str, count: int, inputs: int, **options: Any) -> Workload:
    streams = 4.0 * count * (inputs + 1)
    given = tuple(Input((count,)) for _ in range(inputs))
    return Workload(name, "element-wise", program, given, options, moved=streams)


def rows(name: str, program: str, shape: tuple[int, ...], backward: bool = False) -> Workload:
    """A function of the rows of a matrix; the last input of a backward pass is the gradient."""
    elements = 1.0
    for size in shape:
        elements *= size
    inputs = [Input(shape)]
    if program == "layer_norm":
        inputs += [Input(shape[-1:]), Input(shape[-1:])]
    if backward:
        inputs.append(Input(shape))
    moved = 4.0 * elements * (4 if backward else 2)
    return Workload(
        name, "rows", program, tuple(inputs), {"backward": backward}, moved=moved
    )


def reduction(name: str, program: str, shape: tuple[int, ...], axis: int | None) -> Workload:
    elements = 4.0
    for size in shape:
        elements *= size
    return Workload(name, "reduction", program, (Input(shape),), {"axis": axis}, moved=elements)


def conv(
    name: str,
    images: tuple[int, ...],
    weights: tuple[int, ...],
    backward: bool = False,
    **options: Any,
) -> Workload:
    """A convolution; `options` are those of conv2d."""
    stride, padding = options.get("stride", 1), options.get("padding", 0)
    height = (images[2] + 2 * padding - weights[2]) // stride + 1
    width = (images[3] + 2 * padding - weights[3]) // stride + 1
    out = (images[0], weights[0], height, width)
    flops = 2.0 * weights[1] * weights[2] * weights[3]
    for size in out:
        flops *= size
    inputs = [Input(images), Input(weights, (weights[1] * weights[2] * weights[3]) ** -0.5)]
    if backward:
        inputs.append(Input(out))
        flops *= 3
    options = {**options, "backward": backward}
    return Workload(name, "convolution", "conv2d", tuple(inputs), options, flops)


def training(name: str, program: str, inputs: tuple[Input, ...], **options: Any) -> Workload:
    """A whole step: forward, loss, backward, optimizer.  The result is the loss."""
    return Workload(
        name, "training", program, inputs, options, tolerance=2e-3, is_training=True
    )


def mlp(batch: int) -> Workload:
    inputs = (Input((batch, 784)), Input((batch,), below=10))
    return training(f"MLP 784-128-10, batch {batch}", "train_mlp", inputs)


def gpt(width: int, heads: int) -> Workload:
    shape = (16, 128)
    inputs = (Input(shape, below=65), Input(shape, below=65))
    name = f"GPT 6 layers, width {width}, batch 16"
    return training(name, "train_gpt", inputs, width=width, heads=heads)


HEADS = (8, 8, 256, 64)
TABLE = (10_000, 512)
WORKLOADS = [
    *(matmul(f"matmul {n}", (n, n), (n, n)) for n in (64, 256, 512, 1024, 2048)),
    matmul("matmul 1024 bfloat16", (1024, 1024), (1024, 1024), "bfloat16"),
    matmul("matmul 1024 float64", (1024, 1024), (1024, 1024), "float64"),
    matmul("matmul 512 x 64 x 64 x 64", (512, 64, 64), (512, 64, 64)),
    matmul("matmul 1024, a transposed", (1024, 1024), (1024, 1024), a_transposed=True),
    matmul("matmul 1024, b transposed", (1024, 1024), (1024, 1024), b_transposed=True),
    matmul("linear 64 x 9216 -> 128", (64, 9216), (9216, 128), b_transposed=True),
    matmul("vector 1024 times matrix", (1, 1024), (1024, 1024)),
    matmul("matrix times vector 1024", (1024, 1024), (1024, 1)),
    *(elementwise(f"add {n:,}", "add", n, 2) for n in (1_000, 1_000_000, 20_000_000)),
    *(elementwise(f"chain {n:,}", "chain", n, 3) for n in (1_000_000, 20_000_000)),
    elementwise("gelu (tanh) 4,000,000", "gelu", 4_000_000, 1),
    *(
        rows(f"{program} 4096 x 1024{word}", program, (4096, 1024), backward)
        for program in ("softmax", "log_softmax", "layer_norm")
        for backward, word in ((False, ""), (True, ", backward too"))
    ),
    reduction("sum 4096 x 1024 over 0", "sum", (4096, 1024), 0),
    reduction("sum 4096 x 1024 over 1", "sum", (4096, 1024), 1),
    reduction("sum 4096 x 1024 over all", "sum", (4096, 1024), None),
    reduction("max 4096 x 1024 over 1", "max", (4096, 1024), 1),
    Workload(
        "transpose copy 2048", "movement", "transpose", (Input((2048, 2048)),),
        moved=2 * 4.0 * 2048 * 2048,
    ),
    Workload(
        "embedding 10,000 x 512, 8192 rows", "movement", "embedding",
        (Input(TABLE), Input((64, 128), below=TABLE[0])), moved=2 * 4.0 * 8192 * 512,
    ),
    Workload(
        "embedding and its gradient", "movement", "embedding",
        (Input(TABLE), Input((64, 128), below=TABLE[0]), Input((64, 128, TABLE[1]))),
        {"backward": True},
    ),
    conv("conv 3x3 (64,32,28,28) -> 64", (64, 32, 28, 28), (64, 32, 3, 3), padding=1),
    conv("conv 3x3 (64,32,28,28) -> 64, backward too", (64, 32, 28, 28), (64, 32, 3, 3),
         backward=True, padding=1),
    conv("conv 3x3 (8,128,56,56) -> 128", (8, 128, 56, 56), (128, 128, 3, 3), padding=1),
    conv("conv 1x1 (64,64,28,28) -> 128", (64, 64, 28, 28), (128, 64, 1, 1)),
    conv("conv 3x3 depthwise (8,128,56,56)", (8, 128, 56, 56), (128, 1, 3, 3),
         padding=1, groups=128),
    conv("conv 3x3 stride 2 (64,32,28,28) -> 64", (64, 32, 28, 28), (64, 32, 3, 3),
         padding=1, stride=2),
    conv("conv 3x3 (64,1,28,28) -> 32", (64, 1, 28, 28), (32, 1, 3, 3), padding=1),
    Workload(
        "max pool 2x2 (64,32,28,28)", "convolution", "max_pool2d", (Input((64, 32, 28, 28)),),
        moved=4.0 * 64 * 32 * 28 * 28 * 1.25,
    ),
    Workload(
        "attention (8,8,256,64), causal", "attention", "attention",
        tuple(Input(HEADS) for _ in range(3)), flops=2 * 2.0 * 64 * 256 * 256 * 64 / 2,
    ),
    Workload(
        "attention, backward too", "attention", "attention",
        tuple(Input(HEADS) for _ in range(4)), {"backward": True},
        flops=7 * 2.0 * 64 * 256 * 256 * 64 / 2,
    ),
    Workload(
        "100 additions of 8 x 8", "overhead", "additions", (Input((8, 8)), Input((8, 8))),
    ),
    mlp(32),
    mlp(128),
    training(
        "MNIST CNN, batch 64", "train_cnn",
        (Input((64, 1, 28, 28)), Input((64,), below=10)),
    ),
    gpt(128, 4),
    gpt(384, 6),
    Workload(
        "ResNet-18 forward, batch 8, 64x64", "training", "resnet18", (Input((8, 3, 64, 64)),),
        is_training=True, tolerance=1e-3,
    ),
]  # fmt: skip


def by_name(name: str) -> Workload:
    return next(workload for workload in WORKLOADS if workload.name == name)
