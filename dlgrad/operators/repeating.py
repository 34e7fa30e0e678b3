"""The elements of one tensor again, backwards, or moved round: a copy; and repeats summed up.

Floor 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import copy, read_view
from dlgrad.core.dims import as_int, as_sizes, sizes_given, wrap_dim, wrap_dims
from dlgrad.core.gradients import reduce_to_shape
from dlgrad.errors import ShapeError
from dlgrad.lazy.shape import View
from dlgrad.operators.joining import cat
from dlgrad.operators.movement import expand, narrow, reshape, transpose
from dlgrad.operators.reductions import sum as sum_of

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def repeat(input: Tensor, *sizes: Any, repeats: Any = None) -> Tensor:
    """A copy, `repeats[i]` times along dimension i; more numbers than dimensions add some."""
    times = sizes_given(sizes, repeats)
    lead = len(times) - input.ndim
    if lead < 0:
        raise ShapeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions "
            f"of tensor: got {len(times)} numbers for shape {list(input._shape)}"
        )
    if min(times, default=0) < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension: repeats {times}")
    shape = (1,) * lead + input._shape
    spread, shown, result = [], [], []
    for count, size in zip(times, shape, strict=True):
        spread += [1, size]
        shown += [count, size]
        result.append(count * size)
    return _own(reshape(expand(reshape(input, spread), shown), result), input)


def _own(made: Tensor, input: Tensor) -> Tensor:
    return made if made._storage is not input._storage else copy(made)


def tile(input: Tensor, *sizes: Any, dims: Any = None) -> Tensor:
    """`repeat`, with ones put in front of too few numbers."""
    times = sizes_given(sizes, dims)
    return repeat(input, (1,) * (input.ndim - len(times)) + times)


def flip(input: Tensor, *order: Any, dims: Any = None) -> Tensor:
    """A copy with the order of elements reversed along `dims`."""
    plain = changed = View.contiguous(input._shape)
    places = sizes_given(order, dims)
    for dim in wrap_dims(places, input.ndim) if places else ():
        size = input._shape[dim]
        if size > 1:
            changed = changed.slice(dim, size - 1, size, -1)
    return copy(input) if changed is plain else read_view(input, changed)


def sum_to_size(input: Tensor, *size: Any) -> Tensor:
    """The sum over what broadcasting a tensor of `size` to the shape of `input` would add."""
    target = as_sizes(size)
    lead = input.ndim - len(target)
    if lead < 0 or any(
        wanted not in (1, old) for wanted, old in zip(target, input._shape[lead:], strict=True)
    ):
        raise ShapeError(
            f"size {{{list(target)}}} is not expandable to size {{{list(input._shape)}}}."
        )
    return reduce_to_shape(input, target) if target else sum_of(input)


def fliplr(input: Tensor) -> Tensor:
    """A copy with the columns (dimension 1) in reverse order."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """A copy with the rows (dimension 0) in reverse order."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


def roll(
    input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None
) -> Tensor:
    """A copy moved along `dims` by `shifts`; what leaves at one end comes in at the other.

    Without `dims` the elements are moved as one long row.
    """
    steps = as_sizes((shifts,))
    places = () if dims is None else as_sizes((dims,))
    if not steps:
        raise RuntimeError("`shifts` required")
    if not places and len(steps) == 1:
        return reshape(roll(reshape(input, (-1,)), steps, 0), input._shape)
    if len(places) != len(steps):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(steps)}, dims:{len(places)}"
        )
    if not input._shape:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    out = input
    for step, place in zip(steps, places, strict=True):
        dim = wrap_dim(place, input.ndim)
        size = out._shape[dim]
        ahead = step % size if size else 0
        if ahead:
            end = narrow(out, dim, size - ahead, ahead)
            out = cat([end, narrow(out, dim, 0, size - ahead)], dim)
    return _own(out, input)


def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """A copy turned by k quarter turns in the plane of two `dims`, from the first to the second."""
    plane, k = as_sizes((dims,)), as_int("rot90", k, "k")
    if len(plane) != 2:
        raise RuntimeError(
            f"expected total rotation dims == 2, but got dims = {len(plane)}"
        )
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    first, second = (wrap_dim(dim, input.ndim) for dim in plane)
    if first == second:
        raise RuntimeError(
            f"expected rotation dims to be different, but got dim0 = {plane[0]} and dim1 = "
            f"{plane[1]}"
        )
    turns = k % 4
    if turns == 0:
        return copy(input)
    if turns == 2:
        return flip(input, first, second)
    turned = flip(input, second if turns == 1 else first)
    return transpose(turned, first, second)
