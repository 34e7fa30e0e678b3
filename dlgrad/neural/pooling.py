"""Pooling: the largest, the average or the power average of each window.

Floor 6.  Windows that lie side by side are a plain reshape of the input, so the result and its
gradient are fused kernels over the input; others go through `windows`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import counting
from dlgrad.core.base import Number, node_of
from dlgrad.core.composing import need_tensor, paused
from dlgrad.core.dims import as_int, pair
from dlgrad.dtype import FLOAT, int64
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.lazy.ops import ReduceOps
from dlgrad.lazy.shape import Shape
from dlgrad.neural.activations import relu
from dlgrad.operators.elementwise import div
from dlgrad.operators.movement import contiguous
from dlgrad.operators.padding import pad_constant
from dlgrad.operators.places import row_major
from dlgrad.operators.reductions import extreme_first, first_index
from dlgrad.operators.reductions import sum as sum_of
from dlgrad.operators.windows import Geometry, windows

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
    strides = kernel if stride is None or stride in ([], ()) else pair(stride, rank, "stride")
    sides = pair(padding, rank, "padding")
    dilations = pair(dilation, rank, "dilation")
    if min(kernel) <= 0 or min(strides) <= 0 or min(dilations) <= 0:
        raise RuntimeError(
            f"{name}: kernel size, stride and dilation should be greater than zero, got "
            f"{kernel}, {strides} and {dilations}"
        )
    for side, size, apart in zip(sides, kernel, dilations, strict=True):
        if side < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {side}")
        if side > ((size - 1) * apart + 1) // 2:
            raise RuntimeError(
                f"pad should be at most half of effective kernel size, but got pad={side}, "
                f"kernel_size={size} and dilation={apart}"
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
    if 0 in (input._shape if input.ndim == rank + 1 else input._shape[1:]):
        raise ShapeError(
            f"{name}: Expected input's non-batch dimensions to have positive length, but input "
            f"has a shape of {list(input._shape)}"
        )
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
    positions: list[Tensor] = []
    for i in reversed(range(rank)):
        kernel = geometry.kernel[i]
        inside, place = place % kernel, place // kernel
        which = counting(place.ndim - rank + i, int64, place._shape, node_of(place).device)
        at = which * geometry.stride[i] + inside * geometry.dilation[i] - geometry.padding[i][0]
        positions.insert(0, at)
    return row_major(positions, sizes)


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


def max_pool3d(
    input: Tensor, kernel_size: Sizes, stride: Any = None, padding: Sizes = 0,
    dilation: Sizes = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest element of each window of [..., channels, depth, height, width]."""
    return _max_pool("max_pool3d", 3, input, kernel_size, stride, padding, dilation,
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
    if input.dtype.kind != FLOAT and input.dtype is not int64:
        raise DTypeError(f"{name} takes floating-point tensors and int64, got {input.dtype!r}")
    if divisor_override is not None:
        divisor_override = as_int(name, divisor_override, "divisor_override")
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    geometry = _geometry(name, rank, input, kernel_size, stride, padding, 1)
    sizes = input._shape[-rank:]
    counts = geometry.counts(sizes, name, ceil_mode)
    cut, dims, shape = _shown(input, geometry, counts, 0.0)
    total = sum_of(cut, dims, keepdim=True).reshape(shape)
    divisor = divisor_override or _window_sizes(geometry, sizes, counts, count_include_pad)
    if divisor is None:
        divisor = _lengths(input, geometry, counts, 0, count_include_pad)
        for i in range(1, rank):
            divisor = divisor * _lengths(input, geometry, counts, i, count_include_pad)
    return div(total, divisor, rounding_mode=None if input.dtype.kind == FLOAT else "trunc")


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


def avg_pool3d(
    input: Tensor, kernel_size: Sizes, stride: Any = None, padding: Sizes = 0,
    ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The average of each window of [..., channels, depth, height, width]."""
    return _avg_pool("avg_pool3d", 3, input, kernel_size, stride, padding, ceil_mode,
                     count_include_pad, divisor_override)  # fmt: skip


# Power averages ---------------------------------------------------------------------------------


def _lp_pool(
    name: str, rank: int, input: Tensor, norm_type: Number, kernel_size: Sizes, stride: Any,
    ceil_mode: bool,
) -> Tensor:  # fmt: skip
    need_tensor(name, input)
    if norm_type == 0:
        raise ValueError(f"{name}: norm_type must not be 0")
    kernel = pair(kernel_size, rank, "kernel_size")
    average = _avg_pool(name, rank, input**norm_type, kernel, stride, 0, ceil_mode, True, None)
    total = average.sign() * relu(average.abs()) * math.prod(kernel)
    out: Tensor = total ** (1.0 / norm_type)
    return out


def lp_pool1d(
    input: Tensor, norm_type: Number, kernel_size: Sizes, stride: Any = None,
    ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    """The p-th root of the sum of p-th powers of each window of [..., channels, length]."""
    return _lp_pool("lp_pool1d", 1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor, norm_type: Number, kernel_size: Sizes, stride: Any = None,
    ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    """The p-th root of the sum of p-th powers of each window of [..., channels, height, width]."""
    return _lp_pool("lp_pool2d", 2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor, norm_type: Number, kernel_size: Sizes, stride: Any = None,
    ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    """The p-th root of the sum of p-th powers of each window of [..., channels, d, h, w]."""
    return _lp_pool("lp_pool3d", 3, input, norm_type, kernel_size, stride, ceil_mode)
