"""Fractional max pooling: windows whose distances vary at random, for any smaller size.

Floor 6.  After Graham, "Fractional max-pooling" (2014): of `count` windows of `kernel` places
over `size`, window i starts at floor((i + u) a) - floor(u a), for a = (size - kernel) /
(count - 1) and a number u in [0, 1) for each plane and dimension; the last one ends at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import counting, filled, gather, where
from dlgrad.core.base import is_tensor, node_of
from dlgrad.core.composing import paused, widened
from dlgrad.core.dims import check_count, pair
from dlgrad.dtype import FLOAT, int64
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.lazy.ops import ReduceOps
from dlgrad.lazy.shape import Shape
from dlgrad.operators.gathers import along
from dlgrad.operators.places import none_of, row_major
from dlgrad.operators.reductions import extreme_first, first_index
from dlgrad.random import rand

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

Sizes = int | Sequence[int]
Ratios = float | Sequence[float]


def _output_sizes(
    name: str, rank: int, input: Tensor, output_size: Sizes | None, output_ratio: Ratios | None
) -> Shape:
    if input.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"{name}(): Expected {rank + 1}D or {rank + 2}D tensor, but got shape "
            f"{list(input._shape)}"
        )
    if 0 in input._shape[-rank - 1 :]:
        raise ShapeError(
            f"{name}(): Expected input to have non-zero size for non-batch dimensions, but got "
            f"{list(input._shape)}"
        )
    if input.dtype.kind != FLOAT:
        raise DTypeError(f"{name} takes floating-point tensors, got {input.dtype!r}")
    if output_size is not None:
        return pair(output_size, rank, "output_size")
    if output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    if isinstance(output_ratio, (int, float)):
        ratios = [float(output_ratio)] * rank
    else:
        ratios = list(output_ratio)
    if len(ratios) != rank:
        raise ValueError(
            f"{name} requires output_ratio to be a number or {rank} of them, got {output_ratio}"
        )
    return tuple(
        int(size * ratio) for size, ratio in zip(input._shape[-rank:], ratios, strict=True)
    )


def _check_windows(name: str, old: Shape, kernel: Shape, counts: Shape) -> None:
    for size, length, count in zip(old, kernel, counts, strict=True):
        if length <= 0 or count < 0:
            raise RuntimeError(
                f"{name}: the kernel size must be positive and the output size not negative, got "
                f"{kernel} and {counts}"
            )
        if count + length - 1 > size:
            raise RuntimeError(
                f"{name}(): pool size {length} too large relative to input size {size} for "
                f"{count} windows; kernel size + output size - 1 may be {size} at most"
            )
        check_count(name, count)


def _samples(name: str, rank: int, input: Tensor, given: Tensor | None) -> Tensor:
    """[images, channels, rank] numbers in [0, 1)."""
    images, channels = input._shape[:2]
    if given is None:
        shape = (images, channels, rank)
        return rand(shape, dtype=input.dtype.compute, device=input.device)
    if not is_tensor(given) or given.dtype is not input.dtype:
        raise DTypeError(f"{name}: Expect _random_samples to have the same dtype as input")
    if given.ndim != 3 or given._shape[0] < images or given._shape[1:] != (channels, rank):
        raise ShapeError(
            f"{name}: Expect _random_samples to have the shape {(images, channels, rank)}, got "
            f"{tuple(given._shape)}"
        )
    return widened(given.narrow(0, 0, images))


def _starts(share: Tensor, size: int, count: int, kernel: int) -> Tensor:
    """[images, channels, count]: where the windows start, for shares [images, channels, 1]."""
    shape, last = (*share._shape[:2], count), size - kernel
    device = node_of(share).device
    if count == 1:
        return filled(last, int64, shape, device)
    turn = counting(2, share.dtype, shape, device)
    step = last / (count - 1)
    start = ((turn + share) * step).floor() - (share * step).floor()
    return where(turn < count - 1, start, float(last)).clamp(0, last).to(int64)


def _fractional(
    name: str,
    rank: int,
    input: Tensor,
    kernel_size: Sizes,
    output_size: Sizes | None,
    output_ratio: Ratios | None,
    return_indices: bool,
    random_samples: Tensor | None,
) -> Any:
    counts = _output_sizes(name, rank, input, output_size, output_ratio)
    kernel, old = pair(kernel_size, rank, "kernel_size"), input._shape[-rank:]
    _check_windows(name, old, kernel, counts)
    batched = input.ndim == rank + 2
    x = input if batched else input.unsqueeze(0)
    samples = _samples(name, rank, x, random_samples)
    lead = x._shape[:2]
    if 0 in lead + counts:
        values = none_of(input, input._shape[:-rank] + counts)
        return (values, values.long()) if return_indices else values
    order = (1, 0) if rank == 2 else range(rank)  # PyTorch takes the columns' share first
    with paused():
        starts, places = [], []
        for i, which in enumerate(order):
            start = _starts(samples.narrow(2, which, 1), old[i], counts[i], kernel[i])
            starts.append(start.reshape(lead + _at(rank, i, counts[i])))
            # [images, channels, count, kernel, count, kernel...]
            within = _at(2 * rank, 2 * i + 1, kernel[i])
            inside = counting(2 * i + 1, int64, within, node_of(x).device)
            places.append(start.reshape(lead + _at(2 * rank, 2 * i, counts[i])) + inside)
        index = row_major(places, old).reshape((*lead, math.prod(counts) * math.prod(kernel)))
    found = gather(x.reshape((*lead, math.prod(old))), index, along(3, 2))
    cut = found.reshape(lead + tuple(n for both in zip(counts, kernel, strict=True) for n in both))
    dims = tuple(range(3, 3 + 2 * rank, 2))
    best = extreme_first(ReduceOps.MAX, cut, dims)
    shape = input._shape[:-rank] + counts
    values = best.reshape(shape)
    if not return_indices:
        return values
    with paused():
        place = first_index(cut, best, dims).reshape(lead + counts)
        rest = math.prod(kernel)
        positions = []
        for start, length in zip(starts, kernel, strict=True):
            rest //= length
            positions.append(start + place // rest % length)
        return values, row_major(positions, old).reshape(shape)


def _at(rank: int, i: int, size: int) -> Shape:
    """`size` for dimension i of `rank`, 1 for the others."""
    return tuple(size if j == i else 1 for j in range(rank))


def fractional_max_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    output_size: Sizes | None = None,
    output_ratio: Ratios | None = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """The largest elements of windows at random distances, of [..., channels, height, width].

    `output_size` is given, or follows from `output_ratio` times the old sizes.  `return_indices`
    adds where the elements stand in their image; `_random_samples` [images, channels, 2] in
    [0, 1) decides about the distances, and is drawn unless given.
    """
    return _fractional(
        "fractional_max_pool2d", 2, input, kernel_size, output_size, output_ratio,
        return_indices, _random_samples,
    )  # fmt: skip


def fractional_max_pool3d(
    input: Tensor,
    kernel_size: Sizes,
    output_size: Sizes | None = None,
    output_ratio: Ratios | None = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """The largest elements of windows at random distances, of [..., depth, height, width].

    The arguments are those of `fractional_max_pool2d`, with three numbers for each plane.
    """
    return _fractional(
        "fractional_max_pool3d", 3, input, kernel_size, output_size, output_ratio,
        return_indices, _random_samples,
    )  # fmt: skip
