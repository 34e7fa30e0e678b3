"""Counting: numbers at equal distances, powers of them, and the identity matrix.

Floor 6.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import as_number, counting, where
from dlgrad.core.base import Number, is_tensor
from dlgrad.core.creation import check_dtype
from dlgrad.core.device_type import DeviceLike, resolve_device
from dlgrad.core.dims import as_int
from dlgrad.dtype import BOOL, FLOAT, DType, float64, get_default_dtype, int64
from dlgrad.operators.elementwise import pow_of

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def _number(value: Any, name: str) -> Number:
    """A bound as a Python number; it may come as a tensor of one element."""
    if isinstance(value, complex):
        raise NotImplementedError("complex numbers are not supported")
    return value.item() if is_tensor(value) else as_number(value, name)


def _finished(made: Tensor, dtype: DType, requires_grad: bool) -> Tensor:
    made = made.to(dtype)
    return made.requires_grad_() if requires_grad else made


def arange(
    start: Any, end: Any = None, step: Any = 1, *, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """start, start + step, ... up to but without `end`; arange(n) counts from 0.

    int64 where all three are whole numbers, else the default float type; float results are
    computed in float64 and rounded once.
    """
    check_dtype(dtype)
    if end is None:
        start, end = 0, start
    bounds = [_number(x, name) for x, name in ((start, "start"), (end, "end"), (step, "step"))]
    whole = all(isinstance(value, int) for value in bounds)
    kind = dtype or (int64 if whole else get_default_dtype())
    if kind.kind == BOOL:
        raise NotImplementedError('"arange" not implemented for bool; take .bool() of the result')
    if bounds[2] == 0:
        raise RuntimeError("step must be nonzero")
    if not all(math.isfinite(value) for value in bounds):
        raise RuntimeError(f"unsupported range: {bounds[0]} -> {bounds[1]}")
    if kind.kind != FLOAT and dtype is not int64:
        first, last, stride = bounds
    elif kind.kind != FLOAT:
        first, last, stride = (int(value) for value in bounds)
    else:
        first, last, stride = bounds
    if (last - first) * stride < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if whole:
        count = -(-(int(last) - int(first)) // int(stride))
    else:
        count = math.ceil((last - first) / stride)
    made = counting(0, int64, (count,), resolve_device(device))
    if kind.kind != FLOAT:
        made = made * int(stride) + int(first)
        return _finished(made, kind, requires_grad)
    # Whole steps are exact in any float type that holds the end; others are rounded once.
    exact = kind if isinstance(stride, int) else float64
    made = made.to(exact)
    if stride != 1:
        made = made * stride
    if first != 0:
        made = made + first
    return _finished(made, kind, requires_grad)


def _steps(steps: int) -> int:
    if isinstance(steps, bool) or not hasattr(steps, "__index__"):
        raise TypeError(f"argument 'steps' must be int, not {type(steps).__name__}")
    count = steps.__index__()
    if count < 0:
        raise RuntimeError(f"number of steps must be non-negative, got {count}")
    return count


def _spaced(start: Number, end: Number, count: int, kind: DType, place: str) -> Tensor:
    """`count` numbers from `start` to `end`, from both ends, so that the last is `end` exactly."""
    width = (end - start) / max(count - 1, 1)
    index = counting(0, int64, (count,), place)
    up = index.to(kind) * width + start
    if count <= 1:
        return up
    down = (index - (count - 1)).to(kind) * width + end
    return where(index < count / 2, up, down)


def linspace(
    start: Any, end: Any, steps: int, *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """`steps` numbers at equal distances from `start` to `end`, both included."""
    check_dtype(dtype)
    kind = dtype or get_default_dtype()
    exact = kind if kind.kind == FLOAT else float64
    first, last = _number(start, "start"), _number(end, "end")
    if kind.kind != FLOAT:
        first, last = int(first), int(last)
    made = _spaced(first, last, _steps(steps), exact, resolve_device(device))
    return _finished(made, kind, requires_grad)


def logspace(
    start: Any, end: Any, steps: int, base: float = 10.0, *, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """`steps` powers of `base`, whose exponents go at equal distances from `start` to `end`."""
    check_dtype(dtype)
    kind = dtype or get_default_dtype()
    first, last = _number(start, "start"), _number(end, "end")
    if kind.kind != FLOAT:
        first, last = int(first), int(last)
    exponents = _spaced(first, last, _steps(steps), float64, resolve_device(device))
    return _finished(pow_of(float(base), exponents), kind, requires_grad)


def eye(
    n: int, m: int | None = None, *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A matrix of n rows and m columns (n) with ones on its diagonal."""
    check_dtype(dtype)
    shape = (as_int("eye", n, "n"), as_int("eye", n if m is None else m, "m"))
    place = resolve_device(device)
    for size, name in zip(shape, "nm", strict=True):
        if size < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {size}")
    on = counting(0, int64, shape, place) == counting(1, int64, shape, place)
    return _finished(on, dtype or get_default_dtype(), requires_grad)
