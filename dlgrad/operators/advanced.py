"""Indexing with tensors, lists and masks, reading and writing, by PyTorch's rules.

Floor 6.  Ints and slices make a view first.  The index tensors that are left are broadcast
together; their dimensions stand where the indexed ones stood if those are neighbours, and first
if not.  A mask counts as one index tensor for each of its dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.core import apply
from dlgrad.core.apply import as_number, counting, filled
from dlgrad.core.autocasting import autocasts
from dlgrad.core.base import TensorBase, is_tensor, make_view, node_of, view_of
from dlgrad.core.host import import_data
from dlgrad.core.inplace import in_place
from dlgrad.dtype import UNSIGNED, int64, uint8
from dlgrad.errors import DeviceError, DTypeError, ShapeError
from dlgrad.lazy.graph import Layout
from dlgrad.lazy.ops import ReduceOps
from dlgrad.lazy.shape import Shape, broadcast_shapes, contiguous_strides
from dlgrad.operators.gathers import masked_fill
from dlgrad.operators.movement import move_by
from dlgrad.operators.places import (
    check_range,
    found_elements,
    from_end,
    is_mask,
    none_of,
    positions_of,
)
from dlgrad.operators.plain_index import apply_places, places_of

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def as_places(item: Any, x: TensorBase) -> Tensor:
    """A list, an array or a tensor as an index tensor or a mask on the device of `x`."""
    if not is_tensor(item):
        device = x._storage.device
        empty = hasattr(item, "__len__") and len(item) == 0 and not hasattr(item, "dtype")
        item = import_data(item, int64 if empty else None, device)
    kind, device = item.dtype, x._storage.device
    if kind.is_floating_point or (kind.kind == UNSIGNED and kind is not uint8):
        raise IndexError(
            "tensors used as indices must be long, int, byte or bool tensors, but got "
            f"{kind!r}; convert the index with .long()"
        )
    if item._storage.device != device:
        if item._storage.device != "cpu":
            raise DeviceError(
                f"indices should be either on cpu or on the same device as the indexed tensor "
                f"({device}), but one is on {item._storage.device}; move it with .to(device)"
            )
        item = apply.to_device(item, device)
    return item if is_mask(item) else item.long()


def mask_positions(mask: Tensor, shape: Shape, dim: int) -> list[Tensor]:
    """One index tensor for each dimension of a mask that lies over `shape` from `dim` on."""
    covered = shape[dim : dim + mask.ndim]
    if mask._shape != covered:
        agree = [a == b for a, b in zip(mask._shape, covered, strict=False)]
        at = agree.index(False) if False in agree else len(agree)
        raise IndexError(
            f"The shape of the mask {list(mask._shape)} at index {at} does not match the shape of "
            f"the indexed tensor {list(shape)} at index {dim + at}"
        )
    return positions_of(found_elements(mask), mask._shape)


def split_index(
    x: TensorBase, items: Sequence[Any]
) -> tuple[list[Any], list[tuple[int, Tensor]]]:
    """What ints and slices say about each dimension, and the index tensors that are left.

    The dimensions beside the index tensors are those of the view that the plain part makes.
    """
    entries = [
        as_places(item, x) if isinstance(item, (TensorBase, bool)) or hasattr(item, "__len__")
        else item
        for item in items
    ]  # fmt: skip
    used = 0
    for entry in entries:
        if is_tensor(entry):
            used += entry.ndim if is_mask(entry) else 1
        else:
            used += entry is not None and entry is not Ellipsis
    if used > len(x._shape):
        raise IndexError(f"too many indices for tensor of dimension {len(x._shape)}")
    plain: list[Any] = []
    found: list[tuple[int, Tensor]] = []
    dim = shown = 0  # of x, and of the view
    for entry in entries:
        if is_tensor(entry) and is_mask(entry):
            if not entry._shape:
                plain.append(None)
                count = 1 if bool(entry) else 0
                found.append((shown, counting(0, int64, (count,), x._storage.device)))
                shown += 1
                continue
            positions = mask_positions(entry, x._shape, dim)
            found += [(shown + i, position) for i, position in enumerate(positions)]
            plain += [slice(None)] * entry.ndim
            dim, shown = dim + entry.ndim, shown + entry.ndim
        elif is_tensor(entry):
            found.append((shown, entry))
            plain.append(slice(None))
            dim, shown = dim + 1, shown + 1
        elif entry is None:
            plain.append(None)
            shown += 1
        elif entry is Ellipsis:
            rest = len(x._shape) - used
            plain += [slice(None)] * rest
            dim, shown = dim + rest, shown + rest
        else:
            plain.append(entry)
            dim += 1
            shown += isinstance(entry, slice)
    return places_of(tuple(plain), x._shape), found


class Selection:
    """Index tensors over some dimensions of a shape, as one index for the primitive ops."""

    def __init__(self, shape: Shape, found: Sequence[tuple[int, Tensor]]) -> None:
        try:
            self.common = broadcast_shapes(*(index._shape for _, index in found))
        except ShapeError:
            shapes = ", ".join(str(list(index._shape)) for _, index in found)
            raise IndexError(
                "shape mismatch: indexing tensors could not be broadcast together with shapes "
                f"{shapes}"
            ) from None
        indexed = tuple(dim for dim, _ in found)
        kept = [dim for dim in range(len(shape)) if dim not in indexed]
        neighbours = indexed[-1] - indexed[0] + 1 == len(indexed)
        before = [dim for dim in kept if dim < indexed[0]] if neighbours else []
        after = kept[len(before) :]
        self.layout = Layout((*before, -1, *after), indexed)
        self.lead = tuple(shape[dim] for dim in before)
        self.tail = tuple(shape[dim] for dim in after)
        self.flat = (*self.lead, math.prod(self.common), *self.tail)
        self.shape = (*self.lead, *self.common, *self.tail)
        self.parts = [self.checked(index, shape[dim], dim) for dim, index in found]
        self.strides = contiguous_strides(shape)

    def checked(self, index: Tensor, count: int, dim: int) -> Tensor:
        """The index without negative numbers; IndexError for one out of range."""
        if check_range(index, count, dim, signed=True):
            index = from_end(index, count)
        return index

    def index(self) -> Tensor:
        """The places, in the shape `flat`."""
        total: Tensor | None = None
        for dim, part in zip(self.layout.indexed, self.parts, strict=True):
            step = self.strides[dim] if len(self.parts) > 1 else 1
            term = part if step == 1 else part * step
            total = term if total is None else total + term
        assert total is not None
        line = total.expand(self.common).reshape(
            [1] * len(self.lead) + [-1] + [1] * len(self.tail)
            if math.prod(self.common)
            else [1] * len(self.lead) + [0] + [1] * len(self.tail)
        )
        return line.expand(self.flat)


def index(input: Tensor, found: Sequence[tuple[int, Tensor]]) -> Tensor:
    """The elements of `input` at the places of index tensors, given with their dimensions."""
    selection = Selection(input._shape, found)
    if not math.prod(selection.flat):
        return none_of(input, selection.shape)
    taken = apply.gather(input, selection.index(), selection.layout)
    return taken.reshape(selection.shape)


def put(
    input: Tensor, found: Sequence[tuple[int, Tensor]], value: Any, accumulate: bool = False
) -> Tensor:
    """`input` with `value` written, or added, at the places of index tensors."""
    selection = Selection(input._shape, found)
    if is_tensor(value):
        values = _broadcast(value, selection.shape)
        if values.dtype is not input.dtype:
            values = values.to(input.dtype)
        if values._storage.device != input._storage.device:
            values = apply.to_device(values, input._storage.device)
        if not math.prod(selection.flat):
            return input.clone()
        values = values.reshape(selection.flat)
    else:
        number = as_number(value, "value")
        if not math.prod(selection.flat):
            return input.clone()
        values = filled(number, input.dtype, selection.flat, node_of(input).device)
    combine = ReduceOps.SUM if accumulate else None
    return apply.scatter(input, values, selection.index(), selection.layout, combine)


def _broadcast(value: Any, shape: Shape) -> Tensor:
    source = value
    while source.ndim > len(shape) and source._shape[0] == 1:
        source = source[0]
    try:
        fits = broadcast_shapes(source._shape, shape) == shape
    except ShapeError:
        fits = False
    if not fits:
        raise ShapeError(
            f"shape mismatch: value tensor of shape {list(value._shape)} cannot be broadcast to "
            f"indexing result of shape {list(shape)}"
        )
    return source.expand(shape)  # type: ignore[no-any-return]


_put_in_place = in_place(put)


def read_at(x: Tensor, items: Sequence[Any]) -> Tensor:
    """`x[items]`, where some of the items are tensors, lists or masks."""
    places, found = split_index(x, items)
    return index(move_by(x, lambda view: apply_places(places, view)), found)


def write_at(x: Tensor, items: Sequence[Any], value: Any) -> None:
    """`x[items] = value`, where some of the items are tensors, lists or masks."""
    if len(items) == 1 and is_mask(items[0]) and _is_single(value):
        mask = items[0]
        if mask._shape == x._shape[: mask.ndim] and mask._shape:
            over = mask.reshape(*mask._shape, *[1] * (x.ndim - mask.ndim))
            _fill_in_place(x, over, value.reshape(()) if is_tensor(value) else value)
            return
    places, found = split_index(x, items)
    view = apply_places(places, view_of(x))
    target = x if view == view_of(x) else make_view(x, view)
    _put_in_place(target, found, value)


def _is_single(value: Any) -> bool:
    return not is_tensor(value) or value.numel() == 1


_fill_in_place = in_place(masked_fill)


# Under PyTorch's names ------------------------------------------------------------------------


def _found(input: Tensor, indices: Sequence[Any]) -> list[tuple[int, Tensor]]:
    """The index tensors of a list with None for the dimensions that are left alone."""
    if not isinstance(indices, (list, tuple)):
        raise TypeError(
            f"index_put(): argument 'indices' must be tuple of Tensors, not "
            f"{type(indices).__name__}"
        )
    found: list[tuple[int, Tensor]] = []
    dim = 0
    for item in indices:
        if item is None:
            dim += 1
            continue
        entry = as_places(item, input)
        parts = [entry]
        if is_mask(entry):
            parts = mask_positions(entry, input._shape, dim)
        found += [(dim + i, part) for i, part in enumerate(parts)]
        dim += len(parts)
    if dim > input.ndim:
        raise IndexError(
            f"too many indices for tensor of dimension {input.ndim} (got {dim})"
        )
    if not found:
        raise IndexError("index_put(): at least one index tensor is needed")
    return found


@autocasts
def index_put(
    input: Tensor, indices: Sequence[Any], values: Tensor, accumulate: bool = False
) -> Tensor:
    """`input` with `values` at the places `indices`, one index tensor per dimension.

    With `accumulate` they are added, every one where an index repeats.
    """
    if values.dtype is not input.dtype:
        raise DTypeError(
            "Index put requires the source and destination dtypes match, got "
            f"{input.dtype!r} for the destination and {values.dtype!r} for the source; convert "
            "the values with .to(dtype)"
        )
    return put(input, _found(input, indices), values, accumulate)
