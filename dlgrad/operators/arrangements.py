"""Elements repeated one by one, and combinations of them.

Floor 6.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import copy, counting
from dlgrad.core.base import is_tensor, node_of
from dlgrad.core.dims import wrap_dim
from dlgrad.core.host import from_numbers
from dlgrad.dtype import int32, int64
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.operators.gathers import index_select
from dlgrad.operators.movement import expand, reshape, unsqueeze
from dlgrad.operators.scans import cumsum
from dlgrad.operators.sorting import searchsorted

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """A copy with each element along `dim` repeated, all alike or by the numbers in `repeats`.

    Without `dim` the elements of the flattened tensor.  With a tensor of counts alone: the
    place 0 so many times, then the place 1, and so on.
    """
    if repeats is None:
        return _places(_checked_counts(input, None), output_size)
    if dim is None:
        input, dim = reshape(input, (-1,)), 0
    dim = wrap_dim(dim, input.ndim)
    source = input if input._shape else reshape(input, (1,))
    size = source._shape[dim]
    if is_tensor(repeats):
        counts = _checked_counts(repeats, size)
        if counts.numel() == 1 != size:
            counts = expand(reshape(counts, (1,)), (size,))
        return index_select(source, dim, _places(counts, output_size))
    if repeats < 0:
        raise RuntimeError(f"Repeats must be non-negative, got {repeats}")
    if output_size is not None and output_size != size * repeats:
        raise RuntimeError(
            f"repeat_interleave: Invalid output_size, expected {size * repeats} but got "
            f"{output_size}"
        )
    before, after = source._shape[:dim], source._shape[dim + 1 :]
    shown = expand(unsqueeze(source, dim + 1), before + (size, repeats) + after)
    out = reshape(shown, before + (size * repeats,) + after)
    return copy(out) if out._storage is source._storage else out


def _checked_counts(repeats: Tensor, size: int | None) -> Tensor:
    """Counts for each of `size` places (or one for all), as int64."""
    if repeats.ndim > 1 or (size is None and repeats.ndim != 1):
        raise RuntimeError(
            "repeats must be 0-dim or 1-dim tensor, and one-dimensional where it stands alone; "
            f"got {repeats.ndim}-D"
        )
    if repeats.dtype not in (int32, int64):
        raise DTypeError(f"repeats has to be Long or Int tensor, got {repeats.dtype!r}")
    if size is not None and repeats.numel() not in (1, size):
        raise ShapeError(
            f"repeats must have the same size as input along dim, but repeats.size(0) = "
            f"{repeats.numel()} and input.size(dim) = {size}"
        )
    return reshape(repeats, (-1,)).to(int64)


def _places(counts: Tensor, output_size: int | None) -> Tensor:
    """Each place as often as its count says."""
    if not counts.numel():
        return counts
    if bool((counts < 0).any()):
        raise RuntimeError("repeats can not be negative")
    ends = cumsum(counts, 0)
    total = int(ends[-1].item())
    if output_size not in (None, total):
        raise RuntimeError(
            f"allocated size does not match required size: output_size is {output_size}, but the "
            f"repeats add up to {total}"
        )
    return searchsorted(ends, counting(0, int64, (total,), node_of(counts).device), right=True)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of r elements of a vector, one per row, in the order of `itertools`."""
    if input.ndim != 1:
        raise ShapeError(f"Expect a 1D vector, but got shape {list(input._shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return input.new_empty((0,))
    count = input.numel()
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = math.comb(count + r - 1 if with_replacement and count else count, r)
    places = [place for row in choose(range(count), r) for place in row]
    index = from_numbers(places, int64, (rows * r,), node_of(input).device)
    return reshape(index_select(input, 0, index), (rows, r))
