"""What stands at a rank, and how often things occur: medians, quantiles, modes, histograms.

Floor 6.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dlgrad.core import apply
from dlgrad.core.apply import counting, filled, scan, where
from dlgrad.core.base import TensorBase, is_tensor, node_of
from dlgrad.core.dims import as_int, as_sizes, wrap_dim
from dlgrad.dtype import BOOL, FLOAT, float64, int64
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.lazy.ops import ReduceOps
from dlgrad.operators.comparison import eq, isnan
from dlgrad.operators.gathers import along
from dlgrad.operators.places import can_look, extremes
from dlgrad.operators.reductions import ValuesIndices
from dlgrad.operators.sorting import argsort, sort, taken

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

_R = ReduceOps


# Ranks ----------------------------------------------------------------------------------------


def _without_dim(pair: ValuesIndices, dim: int, keepdim: bool) -> ValuesIndices:
    if keepdim or not pair.values.ndim:
        return pair
    return ValuesIndices(pair.values.squeeze(dim), pair.indices.squeeze(dim))


def _at_rank(input: Tensor, order: Tensor, rank: Tensor, dim: int) -> ValuesIndices:
    """The elements of rank `rank` (size 1 along `dim`), by the `order` of an argsort."""
    indices = apply.gather(order, rank, along(order.ndim, dim))
    return ValuesIndices(taken(input, indices, dim), indices)


def _median(input: Tensor, dim: int, keepdim: bool, skips_nan: bool) -> ValuesIndices:
    dim = wrap_dim(dim, input.ndim)
    if not input.ndim:
        return ValuesIndices(input.clone(), argsort(input))
    size = input._shape[dim]
    if not size:
        raise IndexError(
            f"median(): Expected reduction dim {dim} to have non-zero size; the shape is "
            f"{list(input._shape)}"
        )
    order = argsort(input, dim)
    shape = tuple(1 if i == dim else s for i, s in enumerate(input._shape))
    rank = filled((size - 1) // 2, int64, shape, node_of(input).device)
    if input.dtype.kind == FLOAT:
        missing = isnan(input).long().sum(dim, keepdim=True)
        if skips_nan:
            rank = (size - missing - 1).clamp(min=0) // 2
        else:
            # A row with a NaN has NaN as its median: the first of those behind the numbers.
            rank = where(missing > 0, size - missing, rank)
    return _without_dim(_at_rank(input, order, rank, dim), dim, keepdim)


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median of all elements; with `dim` values and places along it. NaN wins."""
    return _median_of(input, dim, keepdim, False)


def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """`median` of the elements that are not NaN."""
    return _median_of(input, dim, keepdim, True)


def _median_of(input: Tensor, dim: int | None, keepdim: bool, skips_nan: bool) -> Any:
    if dim is not None:
        return _median(input, dim, keepdim, skips_nan)
    if not input.numel():
        if input.dtype.kind == FLOAT:
            return filled(math.nan, input.dtype, (), node_of(input).device)
        return filled(input.dtype.min, input.dtype, (), node_of(input).device)
    return _median(input.reshape(-1), 0, False, skips_nan).values


def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> ValuesIndices:
    """The most frequent value along `dim` (of several the smallest), and its last place."""
    dim = wrap_dim(dim, input.ndim)
    if not input.ndim:
        return ValuesIndices(input.clone(), argsort(input))
    if not input._shape[dim]:
        raise IndexError(f"mode(): Expected reduction dim {dim} to have non-zero size")
    ordered, order = sort(input, dim)
    device = node_of(input).device
    place = counting(dim, int64, input._shape, device)
    # A run starts where an element differs from the one before; its length so far is the
    # distance from there.
    length = input._shape[dim]
    first = filled(True, eq(ordered, ordered).dtype, input._shape, device)
    if length > 1:
        differs = ordered.narrow(dim, 1, length - 1) != ordered.narrow(dim, 0, length - 1)
        first = first.clone()
        first.narrow(dim, 1, length - 1).copy_(differs)
    start = scan(_R.MAX, where(first, place, 0), dim)
    longest = (place - start).argmax(dim, keepdim=True)
    return _without_dim(_at_rank(input, order, longest, dim), dim, keepdim)


# Quantiles ------------------------------------------------------------------------------------

_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def quantile(
    input: Tensor,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """The q-th quantiles along `dim` (default: of all), q from 0 to 1; NaN where a row has one.

    A tensor `q` of one dimension gives a new first dimension.
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


def nanquantile(
    input: Tensor,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """`quantile` of the elements that are not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)


def _quantile(
    name: str, input: Tensor, q: Any, dim: int | None, keepdim: bool, how: str, skips_nan: bool
) -> Tensor:
    if how not in _INTERPOLATIONS:
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, "
            f"but got {how}"
        )
    if input.dtype.kind != FLOAT or input.dtype.is_half:
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if not input.numel():
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if not is_tensor(q):
        q = filled(float(q), input.dtype, (), node_of(input).device)
    if q.ndim > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
    if q.dtype is not input.dtype:
        raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
    if can_look(q) and q.numel() and not bool(((q >= 0) & (q <= 1)).all()):
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    shape = input._shape
    rows = input.reshape(-1) if dim is None else input
    at = 0 if dim is None else wrap_dim(dim, input.ndim)
    kept = tuple(1 if dim is None or i == at else size for i, size in enumerate(shape))
    if rows.ndim == 0:
        rows = rows.reshape(1)
    ordered = sort(rows.movedim(at, -1).contiguous(), -1).values
    size = ordered._shape[-1]
    missing = isnan(ordered).long().sum(-1, keepdim=True)
    last = filled(size - 1, int64, missing._shape, node_of(input).device)
    if skips_nan:
        last = (last - missing).clamp(min=0)
    found = _between(ordered, q.reshape(-1), last, how)
    absent = (missing == size) if skips_nan else (missing > 0)
    found = where(absent, math.nan, found)  # [rows..., quantiles]
    found = found.movedim(-1, 0)
    lead = q._shape
    if keepdim:
        return found.reshape(*lead, *kept)
    return found.reshape(*lead, *(s for i, s in enumerate(kept) if dim is not None and i != at))


def _between(ordered: Tensor, q: Tensor, last: Tensor, how: str) -> Tensor:
    """Rows [..., quantiles] of sorted rows, between the elements on both sides of q * last."""
    rank = q * last.to(q.dtype)
    if how == "nearest":
        rank = rank.round()
    elif how == "lower":
        rank = rank.floor()
    elif how == "higher":
        rank = rank.ceil()
    below = rank.floor()
    layout = along(ordered.ndim, ordered.ndim - 1)
    low = apply.gather(ordered, below.long(), layout)
    if how in ("nearest", "lower", "higher"):
        return low
    high = apply.gather(ordered, rank.ceil().long(), layout)
    weight = (rank - below) if how == "linear" else where(eq(rank, below), 0.0, 0.5).to(q.dtype)
    return low + (high - low) * weight


# Counts ---------------------------------------------------------------------------------------


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each number from 0 on occurs (int64), or the sum of its weights.

    Evaluates: the size is the largest number + 1, or `minlength` if that is more.
    """
    if input.ndim != 1 or input.dtype.kind == FLOAT:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    minlength = as_int("bincount", minlength, "minlength")
    if minlength < 0:
        raise RuntimeError(f"minlength should be >= 0, but got {minlength}")
    if weights is not None and weights._shape != input._shape:
        raise ShapeError("bincount: weights should have the same shape as input")
    index = input.long()
    found = extremes(index)
    if found is not None and found[0] < 0:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if found is None and input.numel():
        found = 0, int(index.max())
    size = max(minlength, found[1] + 1 if found else 0)
    device = node_of(input).device
    dtype = int64
    if weights is not None:
        dtype = float64 if weights.dtype.kind != FLOAT else weights.dtype
    base = filled(0, dtype, (size,), device)
    if not input.numel():
        return base
    values = filled(1, dtype, index._shape, device) if weights is None else weights.to(dtype)
    return apply.scatter(base, values, index, along(1, 0), _R.SUM)


def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements are in each of `bins` equal parts of [min, max], in input's dtype.

    With min = max = 0 the range is that of the elements.
    """
    bins = as_int("histc", bins, "bins")
    if bins <= 0:
        raise RuntimeError(f"histc(): bins must be > 0, but got {bins}")
    if max < min:
        raise RuntimeError(f"histc: max must be larger than min, but got [{min}, {max}]")
    low, high = float(min), float(max)
    if low == high and input.numel():
        low, high = float(input.amin()), float(input.amax())
    if low == high:
        low, high = low - 1, high + 1
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"range of [{low}, {high}] is not finite")
    flat = input.reshape(-1)
    base = filled(0, input.dtype, (bins,), node_of(input).device)
    if not flat.numel():
        return base
    place = ((flat - low) * (bins / (high - low))).floor().long().clamp(max=bins - 1)
    inside = (flat >= low) & (flat <= high)
    ones = filled(1, input.dtype, flat._shape, node_of(input).device)
    return apply.scatter(base, ones, where(inside, place, -1), along(1, 0), _R.SUM)


def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The positions along the dimensions of `shape` of elements with row-major numbers, int64."""
    sizes = as_sizes((shape,))
    if not isinstance(indices, TensorBase):
        raise TypeError("unravel_index(): 'indices' should be a tensor of ints")
    if indices.dtype.kind in (FLOAT, BOOL):
        raise DTypeError(f"expected 'indices' to be integer dtype, but got {indices.dtype!r}")
    if min(sizes, default=0) < 0:
        raise ValueError(f"'shape' cannot have negative values, but got {sizes}")
    indices = indices.long()
    if 0 in sizes:
        if indices.numel():
            raise RuntimeError(f"unravel_index(): a tensor of shape {sizes} has no elements")
        return (indices,) * len(sizes)
    found = []
    step = math.prod(sizes)
    for size in sizes:
        step //= size
        found.append((indices // step) % size)
    return tuple(found)
