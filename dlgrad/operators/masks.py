"""Where something holds: nonzero, and selecting and writing by masks.

Floor 6.  What has a size that depends on numbers is computed at once, and is a RuntimeError
while a step is captured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlgrad.core import apply
from dlgrad.core.apply import counting, filled, scan, where
from dlgrad.core.base import is_tensor, node_of
from dlgrad.core.dims import as_int
from dlgrad.dtype import BOOL, int64
from dlgrad.errors import DTypeError
from dlgrad.lazy.ops import ReduceOps
from dlgrad.lazy.shape import broadcast_shapes
from dlgrad.operators.gathers import along
from dlgrad.operators.joining import stack
from dlgrad.operators.movement import broadcast_to
from dlgrad.operators.places import found_elements, positions_of

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The positions of the elements that are not zero, int64 [count, ndim], row-major.

    With `as_tuple` one tensor of positions per dimension (of a zero-dimensional tensor: one).
    """
    source = input.reshape(1) if as_tuple and not input.ndim else input
    numbers = found_elements(source)
    positions = positions_of(numbers, source._shape)
    if as_tuple:
        return tuple(positions)
    if not positions:
        return numbers.new_zeros((numbers.numel(), 0))
    return stack(positions, 1)


def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """The first `size` rows of `nonzero(input)`, or those that there are and then `fill_value`.

    The size of the result does not depend on numbers, so nothing is computed at the call.
    """
    size = as_int("nonzero_static", size, "size")
    fill = as_int("nonzero_static", fill_value, "fill_value")
    if size < 0:
        raise RuntimeError(f"nonzero_static: 'size' must be a non-negative integer, got {size}")
    flat = input.reshape(-1)
    device = node_of(flat).device
    rows = filled(-1, int64, (size,), device)
    if size and flat.numel():
        holds = flat if flat.dtype.kind == BOOL else flat != 0
        place = scan(ReduceOps.SUM, holds.long(), 0) - 1
        place = where(holds & (place < size), place, -1)
        rows = apply.scatter(rows, counting(0, int64, flat._shape, device), place, along(1, 0))
    positions = [where(rows < 0, fill, at) for at in positions_of(rows, input._shape)]
    return stack(positions, 1) if positions else rows.new_zeros((size, 0))


def argwhere(input: Tensor) -> Tensor:
    """`nonzero(input)`."""
    return nonzero(input)  # type: ignore[no-any-return]


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the bool `mask` holds, one-dimensional; both are broadcast."""
    if not is_tensor(mask) or mask.dtype.kind != BOOL:
        raise DTypeError("masked_select: expected BoolTensor for mask; compare first, as in x > 0")
    shape = broadcast_shapes(input._shape, mask._shape)
    numbers = found_elements(broadcast_to(mask, shape))
    flat = broadcast_to(input, shape).reshape(-1)
    if not numbers.numel():
        return flat[:0]
    return apply.gather(flat, numbers, along(1, 0))


def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """`input` with the elements of `source`, in their order, where the bool `mask` holds.

    RuntimeError where `source` has fewer elements than places.
    """
    if not is_tensor(mask) or mask.dtype.kind != BOOL:
        raise DTypeError("masked_scatter: only boolean masks are supported; compare first")
    if source.dtype is not input.dtype:
        raise DTypeError(
            f"masked_scatter: expected self and source to have same dtypes but got "
            f"{input.dtype!r} and {source.dtype!r}"
        )
    shape = broadcast_shapes(input._shape, mask._shape)
    mask = broadcast_to(mask, shape)
    base = broadcast_to(input, shape)
    flat = mask.reshape(-1)
    if not flat.numel():
        return base.clone()
    place = flat.long().cumsum(0) - 1
    count = int(place[-1]) + 1
    if count > source.numel():
        raise RuntimeError(
            f"masked_scatter: expected at least {count} elements in source, one for each place "
            f"of the mask, but got {source.numel()}"
        )
    if not count:
        return base.clone()
    taken = apply.gather(source.reshape(-1), place, along(1, 0))
    return where(flat, taken, base.reshape(-1)).reshape(shape)
