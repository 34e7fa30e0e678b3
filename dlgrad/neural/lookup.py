"""Rows of a table by their number: one-hot vectors, embeddings, and bags of embeddings.

Floor 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlgrad.core.apply import counting, filled, where
from dlgrad.core.base import node_of
from dlgrad.core.composing import paused
from dlgrad.core.dims import as_int
from dlgrad.core.host import known_numbers
from dlgrad.dtype import int32, int64
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.operators.comparison import eq, ge, gt, ne
from dlgrad.operators.elementwise import add, clamp, div, mul, sub
from dlgrad.operators.gathers import index_add, index_select, scatter_reduce
from dlgrad.operators.indexing import assign
from dlgrad.operators.norms import norm
from dlgrad.operators.reductions import sum as sum_of

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 with a new last dimension: 1 at the place of the class number, else 0.

    Without `num_classes` there are as many as the largest number asks for (evaluates).  A number
    that is no class raises RuntimeError where it is known already, else its row is all 0.
    """
    if tensor.dtype is not int64:
        raise DTypeError(
            "one_hot is only applicable to index tensor of type int64, got "
            f"{tensor.dtype!r}; convert it with .long()"
        )
    num_classes = as_int("one_hot", num_classes, "num_classes")
    if num_classes < -1 or num_classes == 0:
        raise RuntimeError(f"one_hot: num_classes must be positive or -1, got {num_classes}")
    if num_classes < 0:
        if not tensor.numel():
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        num_classes = int(tensor.max()) + 1
    for number in known_numbers(tensor):
        if number < 0:
            raise RuntimeError(f"Class values must be non-negative, got {number}.")
        if number >= num_classes:
            raise RuntimeError(
                f"Class values must be smaller than num_classes: {number} is not below "
                f"{num_classes}."
            )
    shape = tensor._shape + (num_classes,)
    number = counting(len(shape) - 1, int64, shape, node_of(tensor).device)
    return eq(number, tensor.unsqueeze(-1)).to(int64)


# Embeddings -------------------------------------------------------------------------------------


def _checked_padding(name: str, padding_idx: int | None, rows: int) -> int | None:
    if padding_idx is None:
        return None
    padding_idx = as_int(name, padding_idx, "padding_idx")
    if not -rows <= padding_idx < rows:
        raise RuntimeError(
            f"{name}: padding_idx must be within num_embeddings, got {padding_idx} for {rows} rows"
        )
    return padding_idx + rows if padding_idx < 0 else padding_idx


def _check_table(name: str, input: Tensor, weight: Tensor, sparse: bool) -> None:
    if sparse:
        raise NotImplementedError(f"{name}: there are no sparse gradients; leave sparse=False")
    if input.dtype is not int64 and input.dtype is not int32:
        raise DTypeError(
            f"{name}: Expected tensor for argument 'indices' to have one of the following scalar "
            f"types: int64, int32; but got {input.dtype!r} instead; convert it with .long()"
        )
    if weight.ndim != 2:
        raise ShapeError(f"'weight' must be 2-D, but it has shape {list(weight._shape)}")


def _uses(index: Tensor, rows: int) -> Tensor:
    """How often each row of a table is named in the one-dimensional `index`, int64."""
    device = node_of(index).device
    ones = filled(1, int64, index._shape, device)
    return index_add(filled(0, int64, (rows,), device), 0, index, ones)


def _renormalize(weight: Tensor, index: Tensor, max_norm: float, norm_type: float) -> None:
    """Shortens, in place, the rows named by `index` that are longer than `max_norm`."""
    with paused():
        lengths = norm(weight.detach(), norm_type, 1)
        long = gt(lengths, max_norm) & gt(_uses(index, weight._shape[0]), 0)
        scale = where(long, div(max_norm, lengths + 1e-7), 1.0)
        assign(weight, mul(weight.detach(), scale.unsqueeze(1)))


def _rows(
    index: Tensor, weight: Tensor, padding_idx: int | None, scale_grad_by_freq: bool
) -> Tensor:
    """The rows of the one-dimensional `index`; that of padding_idx without a gradient."""
    found = index_select(weight, 0, index)
    if scale_grad_by_freq:
        with paused():
            counts = index_select(_uses(index, weight._shape[0]), 0, index).to(weight.dtype)
        still = found.detach()
        found = add(still, div(sub(found, still), counts.unsqueeze(1)))
    if padding_idx is not None:
        found = where(eq(index, padding_idx).unsqueeze(1), found.detach(), found)
    return found


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of weight [rows, size] that `input` (any shape, int64 or int32) names.

    The row `padding_idx` gets no gradient.  With `max_norm` the rows that are used and longer
    are shortened in place first.  `scale_grad_by_freq` divides a row's gradient by how often
    it was used.  IndexError for a number outside, where the numbers can be had.
    """
    _check_table("embedding", input, weight, sparse)
    padding_idx = _checked_padding("embedding", padding_idx, weight._shape[0])
    index = input.reshape((input.numel(),))
    if max_norm is not None and input.numel():
        _renormalize(weight, index, max_norm, norm_type)
    found = _rows(index, weight, padding_idx, scale_grad_by_freq)
    return found.reshape((*input._shape, weight._shape[1]))


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The "sum", "mean" or "max" of the rows of each bag: [bags, size].

    `input` is [bags, length], or one-dimensional with `offsets`, where each bag begins (and,
    with `include_last_offset`, where the last one ends).  `per_sample_weights`, in the shape
    of `input`, weigh the rows of a sum.  Rows of `padding_idx` are left out; an empty bag is 0.
    """
    _check_table("embedding_bag", input, weight, sparse)
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if per_sample_weights is not None:
        if mode != "sum":
            raise NotImplementedError(
                "embedding_bag: per_sample_weights was not None. per_sample_weights is only "
                f"supported for mode='sum' (got mode='{mode}')."
            )
        if per_sample_weights._shape != input._shape:
            raise ValueError(
                "embedding_bag: If per_sample_weights is not None, then it must have the same "
                f"shape as the input, got {list(per_sample_weights._shape)} and "
                f"{list(input._shape)}"
            )
        if per_sample_weights.dtype is not weight.dtype:
            raise DTypeError(
                f"embedding_bag: per_sample_weights ({per_sample_weights.dtype!r}) and weight "
                f"({weight.dtype!r}) must have the same dtype"
            )
    bag, bags = _bags(input, offsets, include_last_offset)
    padding_idx = _checked_padding("embedding_bag", padding_idx, weight._shape[0])
    index = input.reshape((input.numel(),))
    if max_norm is not None and input.numel():
        _renormalize(weight, index, max_norm, norm_type)
    rows = _rows(index, weight, padding_idx, scale_grad_by_freq)
    rows = rows.to(weight.dtype.compute)  # halves lose too much in a sum
    if per_sample_weights is not None:
        rows = mul(rows, per_sample_weights.reshape((-1, 1)))
    counted = None if padding_idx is None else ne(index, padding_idx)
    return _collected(rows, bag, bags, counted, mode).to(weight.dtype)


def _bags(
    input: Tensor, offsets: Tensor | None, include_last_offset: bool
) -> tuple[Tensor, int]:
    """The number of the bag that each element of the flattened input belongs to, and how many."""
    device, count = node_of(input).device, input.numel()
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch "
                "of fixed length sequences."
            )
        bags, length = input._shape
        return counting(0, int64, (bags, length), device).reshape((count,)), bags
    if input.ndim != 1:
        raise ValueError(
            f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}"
        )
    if offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    if offsets.ndim != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    if offsets.dtype is not int64 and offsets.dtype is not int32:
        raise DTypeError(f"offsets must be int64 or int32, got {offsets.dtype!r}")
    known = known_numbers(offsets)
    if known and known[0] != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from "
            f"position 0. However, got {known[0]}"
        )
    if known and max(known) > count:
        raise RuntimeError(
            f"offsets[-1] can not be greater than input's length({count}) but got offsets[-1] of "
            f"{max(known)}"
        )
    bags = offsets._shape[0] - int(include_last_offset)
    if bags < 0:
        raise RuntimeError("include_last_offset: number of offsets should be at least 1")
    place = counting(0, int64, (count, 1), device)
    begun = ge(place, offsets.narrow(0, 0, bags).long().unsqueeze(0))
    return sum_of(begun, 1) - 1, bags


def _collected(
    rows: Tensor, bag: Tensor, bags: int, counted: Tensor | None, mode: str
) -> Tensor:
    """The rows of each bag brought to one, those that are not `counted` left out."""
    size = rows._shape[1]
    if mode == "max":
        lowest = filled(float("-inf"), rows.dtype, (bags, size), node_of(rows).device)
        if counted is not None:
            rows = where(counted.unsqueeze(1), rows, float("-inf"))
        index = bag.unsqueeze(1).expand(rows._shape)
        best = scatter_reduce(lowest, 0, index, rows, "amax") if rows.numel() else lowest
        return where(eq(best, float("-inf")), 0.0, best)
    if counted is not None:
        rows = where(counted.unsqueeze(1), rows, 0.0)
    base = filled(0, rows.dtype, (bags, size), node_of(rows).device)
    total = index_add(base, 0, bag, rows)
    if mode == "sum":
        return total
    ones = filled(1, rows.dtype, (bag.numel(),), node_of(rows).device)
    share = ones if counted is None else counted.to(rows.dtype)
    empty = filled(0, rows.dtype, (bags,), node_of(rows).device)
    return div(total, clamp(index_add(empty, 0, bag, share), min=1).unsqueeze(1))
