"""Order: sort, topk, kthvalue, unique, and searching in what is sorted.

Floor 6.  Every sort is stable, and NaN counts as the largest number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlgrad.core import apply
from dlgrad.core.apply import as_number, filled, where
from dlgrad.core.base import is_tensor, node_of
from dlgrad.core.dims import as_int, wrap_dim
from dlgrad.dtype import FLOAT, int32, int64
from dlgrad.errors import ShapeError
from dlgrad.operators.comparison import le, lt, ne
from dlgrad.operators.gathers import along, select_rows
from dlgrad.operators.joining import cat
from dlgrad.operators.places import found_elements, none_of
from dlgrad.operators.reductions import ValuesIndices
from dlgrad.operators.scans import cumsum

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def taken(input: Tensor, indices: Tensor, dim: int) -> Tensor:
    """The elements at places that are known to be right, with input's number of dimensions."""
    if not indices.numel():
        return none_of(input, indices._shape)
    return apply.gather(input, indices, along(input.ndim, dim))


def argsort(
    input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = True
) -> Tensor:
    """The places along `dim` that would sort `input`, int64."""
    dim = wrap_dim(dim, input.ndim)
    if not input.ndim or not input.numel():
        return filled(0, int64, input._shape, node_of(input).device)
    return apply.argsort(input, dim, descending)


def sort(
    input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = True
) -> ValuesIndices:
    """`input` in order along `dim`, and where each element was; stable whether asked or not."""
    dim = wrap_dim(dim, input.ndim)
    indices = argsort(input, dim, descending)
    if not input.ndim:
        return ValuesIndices(input.clone(), indices)
    return ValuesIndices(taken(input, indices, dim), indices)


def msort(input: Tensor) -> Tensor:
    """`input` in order along dim 0."""
    return sort(input, 0).values


def topk(
    input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> ValuesIndices:
    """The `k` largest (or smallest) elements along `dim`, in order, and their places."""
    dim = wrap_dim(dim, input.ndim)
    size, k = input._shape[dim] if input.ndim else 1, as_int("topk", k, "k")
    if not 0 <= k <= size:
        raise RuntimeError(
            f"selected index k out of range: k={k} of {size} elements along dim {dim}"
        )
    if not input.ndim:
        return ValuesIndices(input.clone(), argsort(input))
    indices = argsort(input, dim, largest).narrow(dim, 0, k).contiguous()
    return ValuesIndices(taken(input, indices, dim), indices)


def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> ValuesIndices:
    """The `k`-th smallest element (from 1) along `dim`, and its place."""
    dim = wrap_dim(dim, input.ndim)
    size = input._shape[dim] if input.ndim else 1
    if not 1 <= k <= size:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {dim}")
    if not input.ndim:
        return ValuesIndices(input.clone(), argsort(input))
    indices = argsort(input, dim).narrow(dim, k - 1, 1).contiguous()
    values = taken(input, indices, dim)
    if keepdim:
        return ValuesIndices(values, indices)
    return ValuesIndices(values.squeeze(dim), indices.squeeze(dim))


# What differs ---------------------------------------------------------------------------------


def _results(values: Tensor, inverse: Tensor | None, counts: Tensor | None) -> Any:
    parts = [part for part in (values, inverse, counts) if part is not None]
    return values if len(parts) == 1 else tuple(parts)


def _lengths(starts: Tensor, total: int) -> Tensor:
    """How far it is from each start to the next."""
    end = filled(total, int64, (1,), node_of(starts).device)
    return cat([starts[1:], end]) - starts


def _first_of_runs(rows: Tensor) -> Tensor:
    """Where a row [count, width] differs from the one before; the first does."""
    differs = ne(rows[1:], rows[:-1])
    differs = differs.any(1) if rows.ndim > 1 else differs
    first = filled(True, differs.dtype, (1,), node_of(rows).device)
    return cat([first, differs])


def unique_consecutive(
    input: Tensor,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """`input` without elements (or slices along `dim`) equal to the one before.

    With `return_inverse` also where each went, with `return_counts` how many there were.
    """
    rows = input.reshape(-1) if dim is None else _slices_of(input, dim)
    count = rows._shape[0]
    if not rows.numel():
        return _nothing_unique(input, return_inverse, return_counts, dim)
    first = _first_of_runs(rows)
    starts = found_elements(first)
    source = rows if dim is None else input
    at = 0 if dim is None else wrap_dim(dim, input.ndim)
    values = select_rows(source, at, starts)
    inverse = cumsum(first.long(), 0) - 1 if return_inverse else None
    if inverse is not None and dim is None:
        inverse = inverse.reshape(input._shape)
    return _results(values, inverse, _lengths(starts, count) if return_counts else None)


def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different elements (or slices along `dim`) in order, always sorted.

    With `return_inverse` also where each element went, with `return_counts` how often each was.
    """
    rows = input.reshape(-1) if dim is None else _slices_of(input, dim)
    if not rows.numel():
        return _nothing_unique(input, return_inverse, return_counts, dim)
    order = argsort(rows, 0) if dim is None else _row_order(rows)
    arranged = select_rows(rows, 0, order)
    first = _first_of_runs(arranged)
    starts = found_elements(first)
    if dim is None:
        values = select_rows(arranged, 0, starts)
    else:
        values = select_rows(input, wrap_dim(dim, input.ndim), select_rows(order, 0, starts))
    inverse = None
    if return_inverse:
        number = cumsum(first.long(), 0) - 1
        inverse = apply.scatter(filled(0, int64, order._shape, node_of(order).device), number,
                                order, along(1, 0))  # fmt: skip
        inverse = inverse.reshape(input._shape) if dim is None else inverse
    counts = _lengths(starts, rows._shape[0]) if return_counts else None
    return _results(values, inverse, counts)


def _slices_of(input: Tensor, dim: int) -> Tensor:
    """The slices along `dim` as rows."""
    dim = wrap_dim(dim, input.ndim)
    length = input._shape[dim] if input.ndim else 1
    if not input.numel():
        return input.reshape(length, 0) if length == 0 else input.new_empty((length, 0))
    return input.movedim(dim, 0).reshape(length, -1)


def _row_order(rows: Tensor) -> Tensor:
    """The order of rows by their first element, then their second, and so on."""
    order = argsort(rows[:, -1], 0)
    for column in range(rows._shape[1] - 2, -1, -1):
        keys = select_rows(rows[:, column], 0, order)
        order = select_rows(order, 0, argsort(keys, 0))
    return order


def _nothing_unique(input: Tensor, inverse: bool, counts: bool, dim: int | None) -> Any:
    if dim is not None and input._shape[wrap_dim(dim, input.ndim)]:
        raise RuntimeError("unique: there are slices without elements; reshape the tensor first")
    device = node_of(input).device
    shape = (0,) if dim is None else input._shape
    places = input._shape if dim is None else (0,)
    return _results(
        input.new_empty(shape),
        filled(0, int64, places, device) if inverse else None,
        filled(0, int64, (0,), device) if counts else None,
    )


# Searching ------------------------------------------------------------------------------------


def searchsorted(
    sorted_sequence: Tensor,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Where each number of `input` would go in the innermost dimension, to keep the order.

    Before equal elements, or behind them with `right`.  int64 (or int32) of input's shape.
    """
    if side not in (None, "left", "right"):
        raise RuntimeError(f"side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(
            "side and right can't be set to opposites, got side of left while right was True"
        )
    right = right or side == "right"
    if sorter is not None:
        if sorter._shape != sorted_sequence._shape:
            raise ShapeError("searchsorted(): sorter and sorted_sequence must have the same shape")
        sorted_sequence = sorted_sequence.gather(-1, sorter)
    if not is_tensor(input):
        device = node_of(sorted_sequence).device
        number = as_number(input, "self")
        dtype = apply.result_dtype((sorted_sequence, number))
        input = filled(number, dtype, (), device)
    if not sorted_sequence.ndim:
        raise ShapeError("searchsorted(): sorted_sequence should have at least one dimension")
    if sorted_sequence.ndim > 1 and input._shape[:-1] != sorted_sequence._shape[:-1]:
        raise ShapeError(
            "searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions "
            f"of boundaries tensor and input value tensor must match, but we got boundaries tensor "
            f"{list(sorted_sequence._shape)} and input value tensor {list(input._shape)}"
        )
    found = _halve(sorted_sequence, input, right)
    return found.to(int32) if out_int32 else found


def _halve(boundaries: Tensor, values: Tensor, right: bool) -> Tensor:
    """A binary search for all values at once: every step halves what is left."""
    count = boundaries._shape[-1]
    device = node_of(values).device
    low = filled(0, int64, values._shape, device)
    if not count or not values.numel():
        return low
    flat = values.reshape(-1) if boundaries.ndim == 1 else values
    low = low.reshape(flat._shape)
    high = filled(count, int64, flat._shape, device)
    layout = along(boundaries.ndim, boundaries.ndim - 1)
    for _ in range(count.bit_length()):
        middle = (low + high) // 2
        element = apply.gather(boundaries, middle.clamp(max=count - 1), layout)
        before = le(element, flat) if right else lt(element, flat)
        if boundaries.dtype.kind == FLOAT or flat.dtype.kind == FLOAT:
            # NaN stands behind all numbers.
            nan = ne(flat, flat)
            before = before | (nan if right else nan & ~ne(element, element))
        open_ = lt(low, high)
        low = where(open_ & before, middle + 1, low)
        high = where(open_ & ~before, middle, high)
    return low.reshape(values._shape)


def bucketize(
    input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """The number of the bucket between one-dimensional `boundaries` for each number."""
    if boundaries.ndim != 1:
        raise ShapeError(
            f"bucketize(): boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})"
        )
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)
