"""Pooling: the largest or the average element of each window.

Floor 6.  Windows that lie side by side are a plain reshape of the input, so the result and its
gradient are fused kernels over the input; others go through `windows`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.apply import counting
from dlgrad.base import node_of
from dlgrad.dims import pair
from dlgrad.dtype import FLOAT, int64
from dlgrad.elementwise import paused
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.movement import contiguous, pad_constant
from dlgrad.ops import ReduceOps
from dlgrad.reductions import extreme_first, first_index
from dlgrad.reductions import sum as sum_of
from dlgrad.shape import Shape
from dlgrad.windows import Geometry, windows

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

Sizes = int | Sequence[int]


def _geometry(
    name: str, rank: int, input: Tensor, kernel_size: Sizes, stride: Any, padding: Sizes,
    dilation: Sizes,
) -> Geometry:  # fmt: skip
    if input.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"{name}: Expected {rank + 1}D or {rank + 2}D input, but got shape {input._shape}"
        )
    kernel = pair(kernel_size, rank, "kernel_size")
    strides = kernel if stride is None or stride == [] else pair(stride, rank, "stride")
    sides = pair(padding, rank, "padding")
    dilations = pair(dilation, rank, "dilation")
    if min(kernel) <= 0 or min(strides) <= 0 or min(dilations) <= 0:
        raise RuntimeError(
            f"{name}: kernel size, stride and dilation should be greater than zero, got "
            f"{kernel}, {strides} and {dilations}"
        )
    for side, size in zip(sides, kernel, strict=True):
        if side < 0 or side > size // 2:
            raise RuntimeError(
                f"pad should be at most half of effective kernel size, but got pad={side}, "
                f"kernel_size={size} and dilation={dilations[0]}"
            )
    return Geometry(kernel, strides, tuple((side, side) for side in sides), dilations)


def _tiled(input: Tensor, geometry: Geometry, counts: Shape) -> Tensor | None:
    """[..., count, kernel, count, kernel...] where windows lie side by side, else None."""
    if geometry.stride != geometry.kernel or any(step != 1 for step in geometry.dilation):
        return None
    if any(before or after for before, after in geometry.padding):
        return None
    rank = geometry.rank
    lead = input._shape[:-rank]
    shape = list(lead)
    for i, (count, kernel) in enumerate(zip(counts, geometry.kernel, strict=True)):
        dim = len(lead) + i
        if count * kernel > input._shape[dim]:
            return None
        if count * kernel < input._shape[dim]:
            input = input.narrow(dim, 0, count * kernel)
        shape += [count, kernel]
    return input.reshape(shape)


def _padded(input: Tensor, geometry: Geometry, counts: Shape, fill: float) -> Tensor:
    """`input` with its padding, and as much more at the end as the last windows need."""
    rank = geometry.rank
    pads = [(0, 0)] * (input.ndim - rank)
    for i, (before, after) in enumerate(geometry.padding):
        reach = geometry.dilation[i] * (geometry.kernel[i] - 1) + 1
        needed = (counts[i] - 1) * geometry.stride[i] + reach
        size = input._shape[input.ndim - rank + i]
        pads.append((before, max(after, needed - size - before)))
    if any(before or after for before, after in pads):
        return pad_constant(input, pads, fill)
    return contiguous(input)


def _shown(
    input: Tensor, geometry: Geometry, counts: Shape, fill: float
) -> tuple[Tensor, Shape, Shape]:
    """The input cut into windows, the dimensions within a window, and the shape of the result."""
    rank = geometry.rank
    shape = input._shape[:-rank] + counts
    tiled = _tiled(input, geometry, counts)
    if tiled is not None:
        lead = input.ndim - rank
        return tiled, tuple(lead + 2 * i + 1 for i in range(rank)), shape
    cut = windows(_padded(input, geometry, counts, fill), counts, geometry)
    return cut, tuple(range(cut.ndim - rank, cut.ndim)), shape


def _max_pool(
    name: str, rank: int, input: Tensor, kernel_size: Sizes, stride: Any, padding: Sizes,
    dilation: Sizes, ceil_mode: bool, return_indices: bool,
) -> Any:  # fmt: skip
    geometry = _geometry(name, rank, input, kernel_size, stride, padding, dilation)
    counts = geometry.counts(input._shape[-rank:], name, ceil_mode)
    lowest = -math.inf if input.dtype.kind == FLOAT else float(input.dtype.min)
    cut, dims, shape = _shown(input, geometry, counts, lowest)
    best = extreme_first(ReduceOps.MAX, cut, dims)
    values = best.reshape(shape)
    if not return_indices:
        return values
    with paused():
        place = first_index(cut, best, dims).reshape(shape)
        return values, _flat_index(place, geometry, input._shape[-rank:])


def _flat_index(place: Tensor, geometry: Geometry, sizes: Shape) -> Tensor:
    """The row-major index within the input's image of `place` within each window."""
    rank = geometry.rank
    index: Tensor | None = None
    step = 1
    for i in range(rank - 1, -1, -1):
        kernel = geometry.kernel[i]
        inside, place = place % kernel, place // kernel
        which = counting(place.ndim - rank + i, int64, place._shape, node_of(place).device)
        at = which * geometry.stride[i] + inside * geometry.dilation[i] - geometry.padding[i][0]
        index = at * step if index is None else index + at * step
        step *= sizes[i]
    assert index is not None
    return index


def max_pool1d(
    input: Tensor, kernel_size: Sizes, stride: Any = None, padding: Sizes = 0,
    dilation: Sizes = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest element of each window of [..., channels, length]."""
    return _max_pool("max_pool1d", 1, input, kernel_size, stride, padding, dilation,
                     ceil_mode, return_indices)  # fmt: skip


def max_pool2d(
    input: Tensor, kernel_size: Sizes, stride: Any = None, padding: Sizes = 0,
    dilation: Sizes = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest element of each window of [..., channels, height, width].

    `stride` is the kernel size unless given; `return_indices` adds where the element stands in
    its image.  The first of equal elements gets the gradient.
    """
    return _max_pool("max_pool2d", 2, input, kernel_size, stride, padding, dilation,
                     ceil_mode, return_indices)  # fmt: skip


def _window_sizes(geometry: Geometry, sizes: Shape, counts: Shape, include_pad: bool) -> Any:
    """The divisor of an average: a number, or for each dimension the length of each window."""
    exact = all(
        (count - 1) * stride + kernel <= size + before + (after if include_pad else 0)
        and (include_pad or before == 0)
        for size, count, kernel, stride, (before, after) in zip(
            sizes, counts, geometry.kernel, geometry.stride, geometry.padding, strict=True
        )
    )
    return math.prod(geometry.kernel) if exact else None


def _avg_pool(
    name: str, rank: int, input: Tensor, kernel_size: Sizes, stride: Any, padding: Sizes,
    ceil_mode: bool, count_include_pad: bool, divisor_override: int | None,
) -> Tensor:  # fmt: skip
    if input.dtype.kind != FLOAT:
        raise DTypeError(f"{name} takes floating-point tensors, got {input.dtype!r}")
    geometry = _geometry(name, rank, input, kernel_size, stride, padding, 1)
    sizes = input._shape[-rank:]
    counts = geometry.counts(sizes, name, ceil_mode)
    cut, dims, shape = _shown(input, geometry, counts, 0.0)
    total = sum_of(cut, dims, keepdim=True).reshape(shape)
    divisor = divisor_override or _window_sizes(geometry, sizes, counts, count_include_pad)
    if divisor == 0:
        raise RuntimeError("divisor must be not zero")
    if divisor is not None:
        return total / divisor
    for i in range(rank):
        total = total / _lengths(input, geometry, counts, i, count_include_pad)
    return total


def _lengths(
    input: Tensor, geometry: Geometry, counts: Shape, i: int, include_pad: bool
) -> Tensor:
    """How many elements of dimension i each window covers."""
    rank = geometry.rank
    size, (before, after) = input._shape[input.ndim - rank + i], geometry.padding[i]
    shape = tuple(count if k == i else 1 for k, count in enumerate(counts))
    start = counting(i, int64, shape, node_of(input).device) * geometry.stride[i] - before
    end = (start + geometry.kernel[i]).clamp(max=size + after)
    if not include_pad:
        start, end = start.clamp(min=0), end.clamp(max=size)
    return (end - start).to(input.dtype)


def avg_pool1d(
    input: Tensor, kernel_size: Sizes, stride: Any = None, padding: Sizes = 0,
    ceil_mode: bool = False, count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The average of each window of [..., channels, length]."""
    return _avg_pool("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode,
                     count_include_pad, None)  # fmt: skip


def avg_pool2d(
    input: Tensor, kernel_size: Sizes, stride: Any = None, padding: Sizes = 0,
    ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The average of each window of [..., channels, height, width]."""
    return _avg_pool("avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode,
                     count_include_pad, divisor_override)  # fmt: skip


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Averages to the given height and width; the input's must be multiples of them."""
    sizes = [
        old if new is None else new
        for old, new in zip(input._shape[-2:], _pair_or_none(output_size), strict=True)
    ]
    kernel = []
    for old, new in zip(input._shape[-2:], sizes, strict=True):
        if new <= 0 or old % new:
            raise NotImplementedError(
                f"adaptive_avg_pool2d: the output sizes must divide the input's, got {sizes} for "
                f"{input._shape[-2:]}; interpolate or pool with avg_pool2d"
            )
        kernel.append(old // new)
    return avg_pool2d(input, kernel)


def _pair_or_none(value: Any) -> tuple[Any, Any]:
    if value is None or isinstance(value, int):
        return value, value
    first, second = value
    return first, second
