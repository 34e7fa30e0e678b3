"""Random graphs of operations, evaluated by the engine and by the reference.

A failure prints the seed and the program; `run(seed)` repeats it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import graph_reference
import pytest

import dlgrad
from dlgrad import config
from dlgrad.neural.pooling import avg_pool2d, max_pool2d
from dlgrad.operators.padding import pad
from dlgrad.tensor import Tensor

Pool = list[Tensor]
LARGEST = 400  # elements of a tensor, so that the reference stays quick


def flat(value: Any) -> list[Any]:
    return [x for item in value for x in flat(item)] if isinstance(value, list) else [value]


def dims_of(generator: random.Random, x: Tensor) -> tuple[int, ...]:
    count = generator.randint(1, max(x.ndim, 1))
    return tuple(sorted(generator.sample(range(x.ndim), min(count, x.ndim))))


def cut(generator: random.Random, x: Tensor) -> Tensor:
    """A random slice, with steps, of every dimension."""
    index: list[Any] = []
    for size in x.shape:
        start = generator.randrange(size)
        index.append(slice(start, generator.randint(start + 1, size), generator.randint(1, 2)))
    return x[tuple(index)]


def reshaped(generator: random.Random, x: Tensor) -> Tensor:
    count = x.numel()
    divisors = [n for n in range(1, count + 1) if count % n == 0]
    return x.reshape(generator.choice(divisors), -1)


def padded(generator: random.Random, x: Tensor) -> Tensor:
    sides = [generator.randint(-1 if size > 2 else 0, 2) for size in x.shape for _ in range(2)]
    return pad(x, sides[::-1] if x.ndim > 1 else sides, value=0.5)


def written(generator: random.Random, x: Tensor) -> Tensor:
    """A copy in which a part was overwritten, with a part of itself, too."""
    y = x.clone()
    part = cut(generator, y)
    if generator.random() < 0.5:
        part.copy_((part * 0.5).flip(*range(part.ndim)))
    else:
        part.mul_(0.25).add_(1)
    return y


def pooled(generator: random.Random, x: Tensor) -> Tensor:
    image = x.reshape(1, 1, *x.shape) if x.ndim == 2 else x.reshape(1, 1, 1, -1)
    kernel = [min(size, generator.randint(1, 3)) for size in image.shape[-2:]]
    stride = [generator.randint(1, 3) for _ in kernel]
    call = generator.choice([max_pool2d, avg_pool2d])
    result: Tensor = call(image, kernel, stride, ceil_mode=generator.random() < 0.5)
    return result.reshape(result.shape[-2:])


def multiplied(generator: random.Random, x: Tensor) -> Tensor:
    left = x.flatten(0, -2) if x.ndim > 1 else x.reshape(1, -1)
    right = left.T if generator.random() < 0.5 else (left * 0.5).T.contiguous()
    return (left @ right) * (1.0 / left.shape[1])


def joined(generator: random.Random, x: Tensor) -> Tensor:
    return dlgrad.cat([x, cut(generator, x.flip(0)).sum() + x], generator.randrange(x.ndim))


UNARY: dict[str, Callable[[random.Random, Tensor], Tensor]] = {
    "exp": lambda g, x: (-x.abs()).exp(),
    "tanh": lambda g, x: x.tanh(),
    "sqrt": lambda g, x: (x.abs() + 0.1).sqrt(),
    "relu": lambda g, x: x.relu(),
    "floor": lambda g, x: (x * 3.7 + 0.123).floor(),
    "constant": lambda g, x: x * g.choice([2.0, -0.5, 1.25]) + g.choice([0.0, 1.0, -3.0]),
    "where": lambda g, x: dlgrad.where(x > 0.21, x, 0.5 - x),
    "integers": lambda g, x: (x * 10).int().float() * 0.1,
    "half": lambda g, x: x.bool().float() + x,
    "permute": lambda g, x: x.permute(g.sample(range(x.ndim), x.ndim)),
    "flip": lambda g, x: x.flip(*dims_of(g, x)),
    "slice": cut,
    "reshape": reshaped,
    "pad": padded,
    "write": written,
    "pool": pooled,
    "matmul": multiplied,
    "cat": joined,
    "expand": lambda g, x: x.unsqueeze(0).expand(g.randint(1, 3), *x.shape),
    "tril": lambda g, x: x.tril(g.randint(-1, 1)) if x.ndim > 1 else x,
    "sum": lambda g, x: x.sum(dims_of(g, x), keepdim=g.random() < 0.5) * 0.25,
    "amax": lambda g, x: x.amax(dims_of(g, x), keepdim=g.random() < 0.5),
    "mean": lambda g, x: x.mean(dims_of(g, x), keepdim=True) + x,
    "softmax": lambda g, x: x.softmax(g.randrange(x.ndim)),
    "argmax": lambda g, x: x.argmax(g.randrange(x.ndim)).float() * 0.1,
    "count": lambda g, x: dlgrad.arange(x.shape[-1]) * 0.1 + x,
}

BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "sub": lambda x, y: x - y * 0.5,
    "maximum": dlgrad.maximum,
    "select": lambda x, y: dlgrad.where(x < y, x, y * 0.5),
    "div": lambda x, y: x / (y.abs() + 1),
}


def usable(x: Tensor) -> bool:
    return 0 < x.numel() <= LARGEST and 1 <= x.ndim <= 4


def fitted(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors cut to shapes that broadcast."""
    count = min(x.ndim, y.ndim)
    for dim in range(1, count + 1):
        a, b = x.shape[-dim], y.shape[-dim]
        if a != b and 1 not in (a, b):
            x, y = x.narrow(-dim, 0, min(a, b)), y.narrow(-dim, 0, min(a, b))
    return x, y


def program(generator: random.Random) -> tuple[Pool, list[str], Pool]:
    """Random tensors, and what was done to make them; the first ones are leaves."""
    leaves, pool, text = [], [], []
    for _ in range(3):
        shape = [generator.randint(1, 5) for _ in range(generator.randint(1, 3))]
        values = [round(generator.uniform(-2, 2), 3) for _ in range(math.prod(shape))]
        leaf = dlgrad.tensor(values).reshape(shape).detach()
        leaf.requires_grad_()
        leaves.append(leaf)
        pool.append(leaf * 1)
    for _ in range(generator.randint(4, 12)):
        x = generator.choice(pool[-5:])
        if generator.random() < 0.3:
            name = generator.choice(list(BINARY))
            x, y = fitted(x, generator.choice(pool))
            made = BINARY[name](x, y)
        else:
            name = generator.choice(list(UNARY))
            made = UNARY[name](generator, x)
        text.append(f"{name} {list(x.shape)} -> {list(made.shape)}")
        if usable(made):
            pool.append(made)
    return pool, text, leaves


def close(got: list[Any], expected: list[Any]) -> bool:
    scale = max([1.0, *[abs(v) for v in expected]])
    return len(got) == len(expected) and all(
        abs(a - b) <= 2e-5 * scale + 1e-4 * abs(b) for a, b in zip(got, expected, strict=True)
    )


def run(seed: int, optimized: int) -> None:
    generator = random.Random(seed)
    pool, text, leaves = program(generator)
    total = sum((x * x.detach().cos()).sum() for x in pool[3:] if x.requires_grad)
    if isinstance(total, Tensor):
        total.backward()
    wanted = [pool[-1], *pool[3:], *[x.grad for x in leaves if x.grad is not None]]
    expected = [graph_reference.evaluate_flat(x) for x in wanted]
    if generator.random() < 0.3:
        wanted[0].realize()  # in two goes
    with config.OPT(optimized):
        dlgrad.stack([x.sum() for x in wanted]).realize()  # as much as possible at once
        for i, (x, values) in enumerate(zip(wanted, expected, strict=True)):
            got = flat(x.tolist())
            assert close(got, values), (
                f"seed {seed}, result {i} of shape {list(x.shape)} after\n  "
                + "\n  ".join(text)
                + f"\ngot      {got[:8]}\nexpected {values[:8]}"
            )


@pytest.mark.parametrize("seed", range(30))
def test_random_programs(seed: int) -> None:
    run(seed, optimized=1)


@pytest.mark.parametrize("seed", range(100, 106))
def test_random_programs_unoptimized(seed: int) -> None:
    run(seed, optimized=0)


# What random programs have found ------------------------------------------------------------------


def check(*results: Tensor) -> None:
    """The results, evaluated together, against the reference."""
    expected = [graph_reference.evaluate_flat(x) for x in results]
    dlgrad.stack([x.sum() for x in results]).realize()
    for x, values in zip(results, expected, strict=True):
        assert close(flat(x.tolist()), values)


GRID = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.5]]


def test_a_value_read_in_two_orders() -> None:
    x = dlgrad.tensor(GRID)
    y = x / (x + 1)
    check(y - y.flip(1) * 0.5)
    check(y, y.flip(1), y - y.flip(1) * 0.5)


def test_an_update_that_is_read_where_it_was_computed() -> None:
    x = dlgrad.tensor(GRID)
    z = dlgrad.zeros(3, 3)
    z.T[...] = x * 2
    check((z * x).sum(0), z * x)


def test_a_padded_input_beside_its_gradient() -> None:
    x = dlgrad.arange(45).float().reshape(1, 1, 5, 9).detach().requires_grad_()
    y = avg_pool2d(x, 2, 2, ceil_mode=True)
    (y * y.detach()).sum().backward()
    assert x.grad is not None
    check(x.grad, y)
