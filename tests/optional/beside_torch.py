"""The same call in dlgrad and in PyTorch, on the same numbers, compared in every respect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as torch_functional

import dlgrad
from dlgrad.nn import functional as dlgrad_functional

FUNCTIONAL = {torch: torch_functional, dlgrad: dlgrad_functional}
HALF = ("float16", "bfloat16")


def inputs(*shapes: Any, kind: str = "float32", seed: int = 0) -> list[Any]:
    """NumPy arrays of the shapes, with small numbers of a dtype of NumPy."""
    generator = np.random.default_rng(seed)
    if kind.startswith("float"):
        return [generator.standard_normal(shape).astype(kind) for shape in shapes]
    high = 2 if kind == "bool" else 6
    return [generator.integers(0, high, shape).astype(kind) for shape in shapes]


def flat(value: Any) -> list[Any]:
    """The leaves of tuples and lists."""
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in flat(part)]
    return [value]


def agree(mine: Any, theirs: Any, tolerance: float = 2e-5, where: str = "") -> None:
    """Fails where shape, dtype or values of two results differ."""
    mine, theirs = flat(mine), flat(theirs)
    assert len(mine) == len(theirs), f"{where}: {len(mine)} results for {len(theirs)}"
    for got, expected in zip(mine, theirs, strict=True):
        if not isinstance(expected, torch.Tensor):
            assert got == expected, where
            continue
        assert tuple(got.shape) == tuple(expected.shape), where
        assert got.dtype.name == str(expected.dtype).removeprefix("torch."), where
        values = np.array(got.detach().tolist(), dtype=np.float64).reshape(got.shape)
        np.testing.assert_allclose(
            values,
            expected.detach().double().numpy(),
            rtol=tolerance,
            atol=tolerance,
            err_msg=where,
        )


def compare(
    call: Callable[..., Any], *shapes: Any, kind: str = "float32", tolerance: float = 2e-5,
    gradient: bool = True,
) -> None:  # fmt: skip
    """`call(module, *tensors)` in both libraries: results, and gradients of float inputs."""
    arrays = inputs(*shapes, kind=kind)
    wants = gradient and kind.startswith("float")
    theirs = [torch.tensor(array, requires_grad=wants) for array in arrays]
    mine = [dlgrad.tensor(array, requires_grad=wants) for array in arrays]
    expected, got = call(torch, *theirs), call(dlgrad, *mine)
    agree(got, expected, tolerance)
    if not wants:
        return
    outputs = [
        (a, b)
        for a, b in zip(flat(got), flat(expected), strict=True)
        if isinstance(b, torch.Tensor)
    ]
    assert [a.requires_grad for a, _ in outputs] == [b.requires_grad for _, b in outputs]
    weights = inputs(*(tuple(b.shape) for _, b in outputs), seed=1)
    pairs = [pair for pair in zip(outputs, weights, strict=True) if pair[0][1].requires_grad]
    if not pairs:
        return
    sum((b * torch.tensor(w)).sum() for (_, b), w in pairs).backward()
    sum((a * dlgrad.tensor(w)).sum() for (a, _), w in pairs).backward()
    for a, b in zip(mine, theirs, strict=True):
        assert (a.grad is None) == (b.grad is None)
        if b.grad is not None:
            agree(a.grad, b.grad, 5 * tolerance, "gradient")


def refuse(call: Callable[..., Any], *shapes: Any, kind: str = "float32") -> None:
    """Both libraries raise, dlgrad an exception of PyTorch's class."""
    arrays = inputs(*shapes, kind=kind)
    try:
        call(torch, *(torch.tensor(array) for array in arrays))
    except Exception as raised:
        expected = raised
    else:
        raise AssertionError("PyTorch takes this")
    try:
        got = call(dlgrad, *(dlgrad.tensor(array) for array in arrays))
        [x.tolist() for x in flat(got) if isinstance(x, dlgrad.Tensor)]
    except Exception as raised:
        kinds = tuple(k for k in type(expected).__mro__ if k.__module__ == "builtins")
        expected_kind = RuntimeError if kinds[0] is NotImplementedError else kinds[0]
        assert isinstance(raised, expected_kind), f"{expected!r} there, {raised!r} here"
    else:
        raise AssertionError(f"dlgrad takes what PyTorch refuses: {expected}")
