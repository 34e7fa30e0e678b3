"""Images read at any points: a grid of coordinates, and the affine maps that make one.

Floor 6.  Coordinates run from -1 to 1 over the image; the last dimension of a grid is (x, y) or
(x, y, z), x along the last dimension of the image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlgrad.core.apply import cast, where
from dlgrad.core.autocasting import autocasts
from dlgrad.core.base import node_of
from dlgrad.core.composing import widened
from dlgrad.core.dims import as_sizes
from dlgrad.core.host import from_numbers
from dlgrad.dtype import FLOAT, DType, int64
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.lazy.shape import Shape
from dlgrad.matrix.linear import matmul
from dlgrad.neural.interpolation import cubic_weights
from dlgrad.operators.comparison import ge, gt, le, lt
from dlgrad.operators.elementwise import abs, add, clamp, div, mul, sub
from dlgrad.operators.gathers import gather
from dlgrad.operators.joining import cat

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

# For each neighbour its place and its weight, None where it is the only one.
Axis = list[tuple["Tensor", "Tensor | None"]]


def _check(input: Tensor, grid: Tensor, mode: str, padding_mode: str) -> None:
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', "
            f"but got: '{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or "
            f"'reflection', but got: '{padding_mode}'"
        )
    if input.dtype is not grid.dtype or input.dtype.kind != FLOAT:
        raise DTypeError(
            "grid_sampler(): expected input and grid to have the same floating-point dtype, but "
            f"input has {input.dtype!r} and grid has {grid.dtype!r}"
        )
    if input.ndim not in (4, 5) or input.ndim != grid.ndim:
        raise ShapeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but "
            f"got input with sizes {list(input._shape)} and grid with sizes {list(grid._shape)}"
        )
    if input._shape[0] != grid._shape[0] or grid._shape[-1] != input.ndim - 2:
        raise ShapeError(
            "grid_sampler(): expected grid and input to have same batch size and grid to have "
            f"size {input.ndim - 2} in last dimension, but got input with sizes "
            f"{list(input._shape)} and grid with sizes {list(grid._shape)}"
        )
    if min(input._shape[2:]) == 0:
        raise ShapeError(
            "grid_sampler(): expected input to have non-empty spatial dimensions, but input has "
            f"sizes {list(input._shape)}"
        )
    if mode == "bicubic" and input.ndim == 5:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")


@autocasts
def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The values of [images, channels, ...] at the points of grid [images, ..., 2 or 3].

    `mode` is "bilinear" (also for three dimensions), "nearest" or "bicubic"; `padding_mode`
    says what lies outside: "zeros", the "border", or a "reflection".  With `align_corners` the
    coordinates -1 and 1 are the centres of the corner elements, otherwise their outer edges.
    """
    _check(input, grid, mode, padding_mode)
    sizes = input._shape[2:]
    rank, align = len(sizes), bool(align_corners)
    if not input.numel() or not grid.numel():
        return input.new_zeros(input._shape[:2] + grid._shape[1:-1])
    dtype = input.dtype
    input, grid = widened(input), widened(grid)
    axes: list[Axis] = []
    for i, size in enumerate(sizes):
        point = _unnormalized(grid.select(-1, rank - 1 - i), size, align)
        if mode != "bicubic":
            point = _inside(point, size, padding_mode, align)
        axes.append(_neighbours(point, mode))
    total: Tensor | None = None
    for corner in itertools.product(*axes):
        part = _corner_value(input, corner, sizes, mode, padding_mode, align)
        total = part if total is None else total + part
    assert total is not None
    return cast(total, dtype)


def _unnormalized(x: Tensor, size: int, align: bool) -> Tensor:
    """A coordinate in [-1, 1] as a place in the image."""
    if align:
        return mul(add(x, 1), (size - 1) / 2)
    return div(sub(mul(add(x, 1), size), 1), 2)


def _inside(x: Tensor, size: int, padding_mode: str, align: bool) -> Tensor:
    """A place brought into the image, where the border or a reflection lies outside."""
    if padding_mode == "zeros":
        return x
    if padding_mode == "reflection":
        x = _reflected(x, size, align)
    # The slope is 0 on the border, too.
    return where(gt(x, 0), where(lt(x, size - 1), x, float(size - 1)), 0.0)


def _reflected(x: Tensor, size: int, align: bool) -> Tensor:
    """A place mirrored at both ends as often as needed."""
    low, high = (0.0, size - 1.0) if align else (-0.5, size - 0.5)
    span = high - low
    if span == 0:
        return mul(x, 0.0)
    away = abs(sub(x, low))
    turns = div(away, span).detach().floor()
    rest = sub(away, mul(turns, span))
    odd = (turns - 2 * (turns / 2).floor()) > 0
    return where(odd, sub(high, rest), add(rest, low))


def _neighbours(x: Tensor, mode: str) -> Axis:
    """The whole places around `x` along one dimension, and their weights."""
    if mode == "nearest":
        return [(x.detach().round(), None)]
    start = x.detach().floor()
    share = sub(x, start)
    if mode == "bilinear":
        return [(start, sub(1, share)), (start + 1, share)]
    return [(start + i, weight) for i, weight in enumerate(cubic_weights(share), start=-1)]


def _corner_value(
    input: Tensor,
    corner: Sequence[tuple[Tensor, Tensor | None]],
    sizes: Shape,
    mode: str,
    padding_mode: str,
    align: bool,
) -> Tensor:
    """The elements at one combination of neighbours, times the product of their weights."""
    index: Tensor | None = None
    weight: Tensor | None = None
    hit: Tensor | None = None
    for (place, share), size in zip(corner, sizes, strict=True):
        if mode == "bicubic":
            place = _inside(place, size, padding_mode, align)
        within = ge(place, 0) & le(place, size - 1)
        number = clamp(where(within, place, 0.0), 0, size - 1).to(int64)
        index = number if index is None else index * size + number
        if share is not None:
            weight = share if weight is None else mul(weight, share)
        hit = within if hit is None else hit & within
    assert index is not None and hit is not None
    images, channels = input._shape[:2]
    flat = input.reshape((images, channels, math.prod(sizes)))
    points = index.reshape((images, 1, index.numel() // images))
    found = gather(flat, 2, points.expand((images, channels, points._shape[2])))
    found = found.reshape((images, channels, *index._shape[1:]))
    if weight is not None:
        found = mul(found, weight.unsqueeze(1))
    return where(hit.unsqueeze(1), found, 0.0)


# Affine maps ------------------------------------------------------------------------------------


def affine_grid(
    theta: Tensor, size: Sequence[int], align_corners: bool | None = None
) -> Tensor:
    """The grid for `grid_sample` of images [N, C, H, W] under the maps theta [N, 2, 3].

    For volumes [N, C, D, H, W], theta is [N, 3, 4] and the grid [N, D, H, W, 3].
    """
    sizes = as_sizes((size,))
    if theta.dtype.kind != FLOAT:
        raise DTypeError(
            f"Expected theta to have floating point type, but got {theta.dtype!r}"
        )
    if len(sizes) not in (4, 5):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, "
            f"respectively. Got size {sizes}."
        )
    rank = len(sizes) - 2
    if theta._shape != (sizes[0], rank, rank + 1):
        raise ValueError(
            f"Expected a batch of {rank}D affine matrices of shape {sizes[0]}x{rank}x{rank + 1} "
            f"for size {sizes}. Got {tuple(theta._shape)}."
        )
    if min(sizes) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {sizes}")
    places = sizes[2:]
    parts = []
    for i in range(rank):  # x first, the last dimension
        dim = rank - 1 - i
        across = tuple(n if k == dim else 1 for k, n in enumerate(places)) + (1,)
        line = _line(places[dim], bool(align_corners), theta.dtype, across, theta)
        parts.append(line.expand((*places, 1)))
    parts.append(theta.new_ones((*places, 1)))
    base = cat(parts, -1).reshape((1, math.prod(places), rank + 1))
    out = matmul(base.expand((sizes[0], *base._shape[1:])), theta.transpose(1, 2))
    return out.reshape((sizes[0], *places, rank))


def _line(size: int, align: bool, dtype: DType, shape: Shape, like: Tensor) -> Tensor:
    """The coordinates of the centres of `size` elements."""
    if align:
        points = [-1 + 2 * k / (size - 1) for k in range(size)] if size > 1 else [0.0]
    else:
        points = [(2 * k + 1) / size - 1 for k in range(size)]
    return from_numbers(points, dtype, shape, node_of(like).device)
