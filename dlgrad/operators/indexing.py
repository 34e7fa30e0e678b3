"""`x[...]`: reading gives a view, writing goes through one.

Floor 6.  Ints, slices with positive steps, None and Ellipsis make views, as here; tensors, lists
and masks among them go to `advanced.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import as_number, constant, exact, node_as, same_device, to_device
from dlgrad.core.base import TensorBase, make, make_view, requires_grad, view_of
from dlgrad.core.dims import wrap_dim
from dlgrad.core.later import find
from dlgrad.core.tape import check_writable, write
from dlgrad.dtype import BOOL, FLOAT
from dlgrad.errors import ShapeError
from dlgrad.operators.movement import move_by
from dlgrad.operators.plain_index import apply_places, places_of

__all__ = ["assign", "getitem", "setitem", "wrap_dim"]

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def _items(index: Any) -> tuple[tuple[Any, ...], bool]:
    """The index as a tuple, with tensors for lists and masks, and whether there are any."""
    items = index if isinstance(index, tuple) else (index,)
    plain: list[Any] = []
    advanced = False
    for item in items:
        if item is None or item is Ellipsis or isinstance(item, slice) or type(item) is int:
            plain.append(item)
            continue
        if isinstance(item, TensorBase):
            if item._shape or item.dtype.kind in (BOOL, FLOAT):
                advanced = True
                plain.append(item)
                continue
        elif isinstance(item, bool) or (
            hasattr(item, "__len__") and not isinstance(item, (str, bytes, dict))
        ):
            advanced = True
            plain.append(item)
            continue
        if not hasattr(item, "__index__"):
            raise TypeError(
                "an index is an int, a slice, None, Ellipsis (...), a list, or a tensor of ints "
                f"or bools, or a tuple of them, but got {item!r} ({type(item).__name__})"
            )
        plain.append(item.__index__())
    return tuple(plain), advanced


def getitem(x: Tensor, index: Any) -> Tensor:
    """The view of `x` that `index` names."""
    items, advanced = _items(index)
    if advanced:
        found: Tensor = find("operators.advanced", "read_at")(x, items)
        return found
    places = places_of(items, x._shape)
    sizes = iter(x._shape)
    moved = [place for place in places if place is not None and place != (0, next(sizes), 1)]
    name = "select" if moved and isinstance(moved[-1], int) else "slice"
    return move_by(x, lambda view: apply_places(places, view), name)


def setitem(x: Tensor, index: Any, value: Any) -> None:
    """Writes `value` (a tensor or a number, broadcast and converted) through `x[index]`."""
    items, advanced = _items(index)
    if advanced:
        find("operators.advanced", "write_at")(x, items, value)
        return
    places = places_of(items, x._shape)
    target = make_view(x, apply_places(places, view_of(x)))
    assign(target, value)


def assign(target: Tensor, value: Any) -> None:
    """Writes a tensor or a number into `target`, broadcast and converted."""
    if not isinstance(value, TensorBase):
        number = exact(as_number(value, "value"), target.dtype)
        device = target._storage.node.device
        check_writable(target, False)
        write(target, make(constant(number, target.dtype, target._shape, device)), fresh=True)
        return
    check_writable(target, requires_grad(value))
    device = target._storage.node.device
    if value._storage.node.device != device:
        if value._shape:
            same_device((target, value))
        value = to_device(value, device)
    while value.ndim > target.ndim and value._shape[0] == 1:
        value = value[0]
    source = value
    if source.dtype is not target.dtype:
        source = source.to(target.dtype)
    if source._shape != target._shape:
        try:
            node_as(source, target.dtype, target._shape)
        except ShapeError:
            raise ShapeError(
                f"shape mismatch: value tensor of shape {list(value._shape)} cannot be broadcast "
                f"to indexing result of shape {list(target._shape)}"
            ) from None
        source = source.expand(target._shape)
    write(target, source, fresh=source is not value and source._storage is not value._storage)
