"""Images in another size: nearest neighbour, linear and cubic interpolation, and area averages.

Floor 6.  Interpolation is done one dimension after another.  Which places a result reads, and
with which weights, is known before anything is computed: a table for each dimension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.codegen.primitives import round_float
from dlgrad.core.base import node_of
from dlgrad.core.dims import check_count
from dlgrad.core.host import from_numbers
from dlgrad.dtype import FLOAT, DType, float32, float64, int32, int64, uint8
from dlgrad.errors import DTypeError
from dlgrad.helpers import warn
from dlgrad.lazy.shape import Shape
from dlgrad.neural.adaptive_pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
)
from dlgrad.operators.elementwise import mul
from dlgrad.operators.gathers import select_rows

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

LINEAR = {"linear": 3, "bilinear": 4, "trilinear": 5, "bicubic": 4}
MODES = ("nearest", "nearest-exact", "area", *LINEAR)
CUBIC = -0.75  # the slope of the cubic kernel at distance 1

Sizes = int | Sequence[int]


def interpolate(
    input: Tensor,
    size: Sizes | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """[images, channels, ...] with other spatial sizes: `size`, or `scale_factor` times the old.

    `mode` is "nearest", "nearest-exact" or "area" for 3 to 5 dimensions, "linear" for 3,
    "bilinear" or "bicubic" for 4, "trilinear" for 5.  With `align_corners` the centres of the
    corner elements stay where they are, otherwise their outer corners do.
    `recompute_scale_factor` uses the ratio of the rounded sizes as the factor.
    """
    if mode not in MODES:
        raise NotImplementedError(f"interpolate: mode must be one of {MODES}, got {mode!r}")
    if antialias:
        raise NotImplementedError("interpolate: antialias=True is not supported")
    if mode in LINEAR:
        align_corners = bool(align_corners)
    elif align_corners is not None:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear "
            "| bicubic | trilinear"
        )
    if input.ndim not in (3, 4, 5) or LINEAR.get(mode, input.ndim) != input.ndim:
        raise NotImplementedError(
            f"Input Error: got a {input.ndim}D input with mode {mode!r}; nearest, nearest-exact "
            "and area take 3D, 4D and 5D, linear 3D, bilinear and bicubic 4D, trilinear 5D"
        )
    rank = input.ndim - 2
    sizes, factors = _sizes(input, rank, size, scale_factor, recompute_scale_factor)
    if min(sizes) <= 0 or min(input._shape[1:]) <= 0:
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input {input._shape} and "
            f"output size {sizes}"
        )
    check_count("interpolate", max(sizes))
    if mode == "area":
        pool = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}[rank]
        return pool(input, sizes)
    if mode in ("nearest", "nearest-exact"):
        return _nearest(input, sizes, factors, exact=mode == "nearest-exact")
    if input.dtype.kind != FLOAT and input.dtype is not uint8:
        raise DTypeError(f"interpolate: mode {mode!r} takes floats or uint8, got {input.dtype!r}")
    if input.dtype is uint8:
        return _of_bytes(input, sizes, factors, mode, bool(align_corners))
    out = input if input.dtype is float64 else input.to(float32)
    for i, (new, factor) in enumerate(zip(sizes, factors, strict=True)):
        taps = _taps(out._shape[2 + i], new, factor, mode, bool(align_corners), out.dtype)
        out = _weighted_rows(out, 2 + i, taps)
    return out.to(input.dtype)


def _sizes(
    input: Tensor, rank: int, size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[Shape, list[float | None]]:
    """The new sizes, and the factors where they were given and count."""
    if (size is None) == (scale_factor is None):
        which = "only one of size or scale_factor should be defined"
        if size is None:
            which = "either size or scale_factor should be defined"
        raise ValueError(f"interpolate: {which}")
    name, given = ("size", size) if scale_factor is None else ("scale_factor", scale_factor)
    values = list(given) if isinstance(given, (list, tuple)) else [given] * rank
    if len(values) != rank:
        raise ValueError(
            f"Input and output must have the same number of spatial dimensions, but got input with "
            f"spatial dimensions of {list(input._shape[2:])} and {name} of {given}. Please "
            f"provide {rank} numbers, or one for all."
        )
    if scale_factor is None:
        if recompute:
            raise ValueError(
                "recompute_scale_factor is not meaningful with an explicit size; leave it out"
            )
        return tuple(int(value) for value in values), [None] * rank
    old = input._shape[2:]
    sizes = tuple(math.floor(n * float(f)) for n, f in zip(old, values, strict=True))
    return sizes, [None] * rank if recompute else [float(f) for f in values]


# Nearest --------------------------------------------------------------------------------------


def _nearest(
    input: Tensor, sizes: Shape, factors: list[float | None], exact: bool
) -> Tensor:
    out = input
    for i, (new, factor) in enumerate(zip(sizes, factors, strict=True)):
        dim, old = 2 + i, out._shape[2 + i]
        scale = _step(old, new, factor, float32)
        shift = 0.5 if exact else 0.0
        places = [
            min(math.floor(round_float((k + shift) * scale, float32)), old - 1) for k in range(new)
        ]
        out = _rows(out, dim, places)
    return out


def _rows(x: Tensor, dim: int, places: list[int]) -> Tensor:
    """The slices at `places` along `dim`; without a table where they follow a simple rule."""
    old, new = x._shape[dim], len(places)
    if places == list(range(old)):
        return x
    if new % old == 0 and places == [k // (new // old) for k in range(new)]:
        shape = x._shape[: dim + 1] + (new // old,) + x._shape[dim + 1 :]
        repeated = x.unsqueeze(dim + 1).expand(shape)
        return repeated.reshape(x._shape[:dim] + (new,) + x._shape[dim + 1 :])
    table = from_numbers(places, int64, (new,), node_of(x).device)
    return select_rows(x, dim, table)


# Linear and cubic -------------------------------------------------------------------------------


def _step(old: int, new: int, factor: float | None, dtype: DType) -> float:
    """How far apart neighbours of the result lie in the input."""
    return round_float(old / new if factor is None else 1.0 / factor, dtype)


def _place(k: int, old: int, new: int, factor: float | None, align: bool, dtype: DType) -> float:
    """Where element `k` of the result lies in the input, rounded as `dtype` rounds."""
    if align:
        step = round_float((old - 1) / (new - 1), dtype) if new > 1 else 0.0
        return round_float(step * k, dtype)
    step = _step(old, new, factor, dtype)
    return round_float(round_float(step * (k + 0.5), dtype) - 0.5, dtype)


def cubic_weights(t: Any) -> list[Any]:
    """The weights of the places -1, 0, 1 and 2 for a point at t in [0, 1) (Keys, 1981).

    `t` is a number or a tensor of them.
    """

    def near(x: Any) -> Any:
        return ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1

    def far(x: Any) -> Any:
        """The kernel at 1 + x; so written, no large terms cancel."""
        return CUBIC * x * (1 - x) * (1 - x)

    return [far(t), near(t), near(1 - t), far(1 - t)]


def _taps(
    old: int, new: int, factor: float | None, mode: str, align: bool, dtype: DType
) -> list[tuple[list[int], list[float]]]:
    """For each neighbour that takes part: its places, and its weights."""
    rows = []
    for k in range(new):
        place = _place(k, old, new, factor, align, dtype)
        if mode == "bicubic":
            start = math.floor(place)
            around = [min(max(start + j, 0), old - 1) for j in range(-1, 3)]
            rows.append((around, cubic_weights(place - start)))
        else:
            place = max(place, 0.0)
            start = min(math.floor(place), old - 1)
            share = round_float(min(max(place - start, 0.0), 1.0), dtype)
            rows.append(([start, min(start + 1, old - 1)], [1.0 - share, share]))
    count = len(rows[0][0])
    return [([row[0][j] for row in rows], [row[1][j] for row in rows]) for j in range(count)]


def _weighted_rows(x: Tensor, dim: int, taps: list[tuple[list[int], list[float]]]) -> Tensor:
    total: Tensor | None = None
    if all(weight == 1.0 for weight in taps[0][1]) and len(taps) == 2:
        return _rows(x, dim, taps[0][0])  # every place is one of the input's
    across = (len(taps[0][0]),) + (1,) * (x.ndim - dim - 1)
    for places, weights in taps:
        factor = from_numbers(weights, x.dtype, across, node_of(x).device)
        part = mul(_rows(x, dim, places), factor)
        total = part if total is None else total + part
    assert total is not None
    return total


# Bytes ------------------------------------------------------------------------------------------


def _of_bytes(
    input: Tensor, sizes: Shape, factors: list[float | None], mode: str, align: bool
) -> Tensor:
    """Linear or cubic values of bytes, in whole numbers: the last dimension first, as bytes again
    after each, which is how PyTorch computes them on a CPU."""
    out = input
    for dim in range(input.ndim - 1, 1, -1):
        new, old = sizes[dim - 2], out._shape[dim]
        taps = _taps(old, new, factors[dim - 2], mode, align, float64)
        if new == old and all(weight in (0.0, 1.0) for weight in taps[-1][1]):
            continue
        weights, precision = _whole_weights(taps)
        total = _weighted_rows(out.to(int32), dim, weights)
        out = ((total + (1 << (precision - 1))) >> precision).clamp(0, 255).to(uint8)
    return out


def _whole_weights(
    taps: list[tuple[list[int], list[float]]],
) -> tuple[list[tuple[list[int], list[float]]], int]:
    """Taps with weights times two to the power that is returned, so that they fit 16 bits.

    A place that is named twice, at a border, gets the sum of its weights, which is rounded once.
    """
    rows = []
    for k in range(len(taps[0][0])):
        weights: dict[int, float] = {}
        for places, factors in taps:
            weights[places[k]] = weights.get(places[k], 0.0) + factors[k]
        rows.append(weights)
    largest = max(weight for weights in rows for weight in weights.values())
    precision = 0
    while precision < 22 and int(largest * 2 ** (precision + 1) + 0.5) < 1 << 15:
        precision += 1
    whole = []
    for places, _ in taps:
        shares = [weights.pop(place, 0.0) for weights, place in zip(rows, places, strict=True)]
        scaled = [math.copysign(int(abs(w) * 2**precision + 0.5), w) for w in shares]
        whole.append((places, scaled))
    return whole, precision


# Older names ------------------------------------------------------------------------------------


def upsample(
    input: Tensor,
    size: Sizes | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """`interpolate` under its older name."""
    warn(
        "`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.",
    )
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(
    input: Tensor, size: Sizes | None = None, scale_factor: float | Sequence[float] | None = None
) -> Tensor:
    """`interpolate` with mode "nearest"."""
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(
    input: Tensor, size: Sizes | None = None, scale_factor: float | Sequence[float] | None = None
) -> Tensor:
    """`interpolate` with mode "bilinear" and aligned corners."""
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)
