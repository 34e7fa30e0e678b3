"""Pooling to a given size: window i of n over m places is from floor(i m / n) to ceil((i+1) m / n).

Floor 6.  Where n divides m the windows lie side by side and are those of `pooling.py`;
otherwise they overlap, and each dimension is read through a table of places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import cast, where
from dlgrad.core.base import node_of
from dlgrad.core.composing import paused, widened
from dlgrad.core.dims import check_count
from dlgrad.core.host import from_numbers
from dlgrad.dtype import FLOAT, DType, bool_, int64
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.lazy.ops import ReduceOps
from dlgrad.lazy.shape import Shape
from dlgrad.neural.pooling import avg_pool1d, avg_pool2d, avg_pool3d
from dlgrad.operators.gathers import select_rows
from dlgrad.operators.places import row_major
from dlgrad.operators.reductions import extreme_first, first_index
from dlgrad.operators.reductions import sum as sum_of

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

AVERAGE = {1: avg_pool1d, 2: avg_pool2d, 3: avg_pool3d}


def _output_sizes(name: str, rank: int, input: Tensor, output_size: Any) -> Shape:
    if input.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"{name}(): Expected {rank + 1}D or {rank + 2}D tensor, but got {list(input._shape)}"
        )
    if min(input._shape[1:]) == 0:
        raise ShapeError(
            f"{name}(): Expected input to have non-zero size for non-batch dimensions, but input "
            f"has sizes {list(input._shape)}"
        )
    many = isinstance(output_size, Sequence)
    wanted = list(output_size) if many else [output_size] * rank
    if len(wanted) != rank:
        raise RuntimeError(f"{name}: output_size must be {rank} sizes or one, got {output_size}")
    sizes = tuple(
        old if new is None else int(new)
        for old, new in zip(input._shape[-rank:], wanted, strict=True)
    )
    if min(sizes) < 0:
        raise RuntimeError(
            f"{name}: elements of output_size must be greater than or equal to 0 but received "
            f"{sizes}"
        )
    check_count(name, max(sizes))
    return sizes


def _bounds(size: int, count: int) -> list[tuple[int, int]]:
    """(start, end) of each window."""
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _table(values: list[Any], dtype: DType, shape: Shape, like: Tensor) -> Tensor:
    return from_numbers(values, dtype, shape, node_of(like).device)


def _cut(x: Tensor, dim: int, bounds: list[tuple[int, int]]) -> tuple[Tensor, int]:
    """[..., windows, longest, ...] for dimension `dim`; short windows repeat their last place."""
    longest = max(end - start for start, end in bounds)
    places = [min(start + k, end - 1) for start, end in bounds for k in range(longest)]
    table = _table(places, int64, (len(places),), x)
    shape = x._shape[:dim] + (len(bounds), longest) + x._shape[dim + 1 :]
    return select_rows(x, dim, table).reshape(shape), longest


def _average(name: str, rank: int, input: Tensor, output_size: Any) -> Tensor:
    sizes = _output_sizes(name, rank, input, output_size)
    if input.dtype.kind != FLOAT:
        raise DTypeError(f"{name} takes floating-point tensors, got {input.dtype!r}")
    if min(sizes) == 0:
        return input.new_zeros(input._shape[:-rank] + sizes)
    old = input._shape[-rank:]
    if all(m % n == 0 for m, n in zip(old, sizes, strict=True)):
        return AVERAGE[rank](input, [m // n for m, n in zip(old, sizes, strict=True)])
    out = widened(input)
    for i, (m, n) in enumerate(zip(old, sizes, strict=True)):
        dim = input.ndim - rank + i
        if m == n:
            continue
        bounds = _bounds(m, n)
        cut, longest = _cut(out, dim, bounds)
        lengths = [end - start for start, end in bounds]
        across = (n, longest) + (1,) * (out.ndim - dim - 1)
        inside = _table([k < size for size in lengths for k in range(longest)], bool_, across, out)
        divisor = _table(lengths, out.dtype, (n,) + across[2:], out)
        out = sum_of(where(inside, cut, 0.0), dim + 1) / divisor
    return cast(out, input.dtype)


def _maximum(
    name: str, rank: int, input: Tensor, output_size: Any, return_indices: bool
) -> Any:
    sizes = _output_sizes(name, rank, input, output_size)
    lead, old = input.ndim - rank, input._shape[-rank:]
    shape = input._shape[:lead] + sizes
    if min(sizes) == 0:
        empty = input.new_zeros(shape)
        return (empty, empty.long()) if return_indices else empty
    cut, windows = input, []
    for i, (m, n) in enumerate(zip(old, sizes, strict=True)):
        bounds = _bounds(m, n)
        cut, longest = _cut(cut, lead + 2 * i, bounds)
        windows.append((longest, [start for start, _ in bounds]))
    dims = tuple(lead + 2 * i + 1 for i in range(rank))
    best = extreme_first(ReduceOps.MAX, cut, dims)
    values = best.reshape(shape)
    if not return_indices:
        return values
    with paused():
        place = first_index(cut, best, dims).reshape(shape)
        within = math.prod(longest for longest, _ in windows)
        positions = []
        for i, (longest, starts) in enumerate(windows):
            within //= longest
            start = _table(starts, int64, (len(starts),) + (1,) * (rank - 1 - i), input)
            positions.append(place // within % longest + start)
        return values, row_major(positions, old)


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Averages of [..., channels, length] to a given length."""
    return _average("adaptive_avg_pool1d", 1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Averages of [..., channels, height, width] to given sizes; None keeps one."""
    return _average("adaptive_avg_pool2d", 2, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Averages of [..., channels, depth, height, width] to given sizes; None keeps one."""
    return _average("adaptive_avg_pool3d", 3, input, output_size)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The largest elements of [..., channels, length], for a given length."""
    return _maximum("adaptive_max_pool1d", 1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The largest elements of [..., channels, height, width], for given sizes; None keeps one.

    `return_indices` adds where they stand in their image.
    """
    return _maximum("adaptive_max_pool2d", 2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The largest elements of [..., channels, depth, height, width], for given sizes."""
    return _maximum("adaptive_max_pool3d", 3, input, output_size, return_indices)
