"""The bits of a tensor read as another dtype.

Floor 6.  Elements are little-endian: of several small ones that make a large one, the first
holds the lowest bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlgrad.core.apply import bitcast, cast, copy, counting, reduce
from dlgrad.core.base import node_of, view_of
from dlgrad.dtype import BOOL, DType, dtype_from_name, uint8
from dlgrad.errors import ShapeError
from dlgrad.lazy.ops import ReduceOps

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def reinterpret(x: Tensor, dtype: DType) -> Tensor:
    """The bits of `x` as `dtype`, in a copy; the last dimension grows or shrinks to fit."""
    old, new = x.dtype.itemsize, dtype.itemsize
    if x.dtype is dtype:
        return copy(x)
    if old != new:
        _check_last_dimension(x, dtype)
    bits = cast(x, uint8) if x.dtype.kind == BOOL else x
    if old > new:
        bits = _cut(_as_unsigned(bits, old), old // new, new)
    elif old < new:
        bits = _put_together(_as_unsigned(bits, old), new // old, new)
    return cast(bits, dtype) if dtype.kind == BOOL else bitcast(bits, dtype).detach()


def _check_last_dimension(x: Tensor, dtype: DType) -> None:
    names = f"{x.dtype.name} as {dtype.name} (different element sizes)"
    if not x._shape:
        raise ShapeError(f"self.dim() cannot be 0 to view {names}")
    if view_of(x).strides[-1] != 1 and x._shape[-1] != 1:
        raise ShapeError(
            f"self.stride(-1) must be 1 to view {names}, but got {view_of(x).strides[-1]}; use "
            "contiguous() first"
        )
    times = dtype.itemsize // x.dtype.itemsize
    if times > 1 and x._shape[-1] % times:
        raise ShapeError(
            f"self.size(-1) must be divisible by {times} to view {names}, but got {x._shape[-1]}"
        )


def _unsigned(itemsize: int) -> DType:
    return dtype_from_name(f"uint{8 * itemsize}")


def _as_unsigned(x: Tensor, itemsize: int) -> Tensor:
    kind = _unsigned(itemsize)
    return x if x.dtype is kind else bitcast(x, kind)


def _shifts(count: int, width: int, like: Tensor) -> Tensor:
    """0, width, 2 * width ... bits."""
    return counting(0, like.dtype, (count,), node_of(like).device) * width


def _cut(x: Tensor, count: int, itemsize: int) -> Tensor:
    """Each element as `count` smaller ones, side by side."""
    pieces = x.unsqueeze(-1) >> _shifts(count, 8 * itemsize, x)
    return cast(pieces, _unsigned(itemsize)).flatten(-2)


def _put_together(x: Tensor, count: int, itemsize: int) -> Tensor:
    """Each `count` elements of the last dimension as one larger one."""
    width = 8 * x.dtype.itemsize
    pieces = cast(x.reshape((*x._shape[:-1], -1, count)), _unsigned(itemsize))
    placed = pieces << _shifts(count, width, pieces)
    return reduce(ReduceOps.SUM, placed, (placed.ndim - 1,), False)
