"""Views by sizes and strides, windows, and copies with a part written anew.

Floor 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlgrad.core.apply import cast, move, same_device, update
from dlgrad.core.base import TensorBase, view_of
from dlgrad.core.dims import as_int, as_sizes, wrap_dim
from dlgrad.errors import ShapeError
from dlgrad.lazy.shape import Layouts, View
from dlgrad.operators.movement import checked_index, diagonal_dims, diagonal_view, move_by

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def as_strided(
    input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """The memory of `input` seen with other sizes and strides, counted in elements.

    `storage_offset` is the place of the first element, where `input` begins if it is None.
    RuntimeError where an element would lie outside of the memory.
    """
    shape, strides = as_sizes((size,)), as_sizes((stride,))
    before = view_of(input)
    offset = before.offset
    if storage_offset is not None:
        offset = as_int("as_strided", storage_offset, "storage_offset")
    if len(shape) != len(strides):
        raise RuntimeError("mismatch in length of strides and shape")
    if min(strides, default=0) < 0:
        raise RuntimeError(
            "as_strided: Negative strides are not supported at the moment, got strides: "
            f"{list(strides)}"
        )
    if min(shape, default=0) < 0 or offset < 0:
        raise RuntimeError(
            f"as_strided: sizes and offset must not be negative, got size {list(shape)} and "
            f"storage_offset {offset}"
        )
    after = View(shape, strides, offset)
    memory = View.contiguous(input._storage.shape)
    if after.span[1] >= memory.numel:
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset {offset} "
            f"requiring {after.span[1] + 1} elements are out of bounds for storage of "
            f"{memory.numel} elements"
        )
    return move("as_strided", Layouts(memory.shape, before, after), input, after)


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of `size` elements along `dimension`, `step` apart, as a new last dimension.

    No element is copied, also where windows overlap.
    """
    dim = wrap_dim(dimension, input.ndim)
    length = input._shape[dim] if input._shape else 1
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > length:
        raise RuntimeError(
            f"maximum size for tensor at dimension {dim} is {length} but size is {size}"
        )
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    count = (length - size) // step + 1

    def change(old: View) -> View:
        if not old.shape:
            return View((size,), (1,), old.offset)
        shape, strides = list(old.shape), list(old.strides)
        shape[dim], strides[dim] = count, strides[dim] * step
        return View((*shape, size), (*strides, old.strides[dim]), old.offset)

    return move_by(input, change)


# Copies with a part written anew ----------------------------------------------------------------


def _written(name: str, input: Tensor, src: Tensor, inside: View) -> Tensor:
    """A copy of `input` with `src` at the places of the view `inside` of its elements."""
    if not isinstance(src, TensorBase):
        raise TypeError(f"{name}(): argument 'src' must be Tensor, not {type(src).__name__}")
    same_device((input, src))
    if src._shape != inside.shape:
        raise ShapeError(
            f"expected src to have a size equal to the slice of self. src size = "
            f"{list(src._shape)}, slice size = {list(inside.shape)}"
        )
    return update(input, cast(src, input.dtype), inside)


def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of `input` with `src` at index `index` of dimension `dim`."""
    dim, place = checked_index(input, dim, index)
    return _written("select_scatter", input, src, View.contiguous(input._shape).select(dim, place))


def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None,
    step: int = 1,
) -> Tensor:  # fmt: skip
    """A copy of `input` with `src` at the slice start:end:step of dimension `dim`."""
    if not input._shape:
        raise RuntimeError("slice() cannot be applied to a 0-dim tensor.")
    dim = wrap_dim(dim, input.ndim)
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    first, last, _ = slice(start, end).indices(input._shape[dim])
    length = max(-(-(last - first) // step), 0)
    inside = View.contiguous(input._shape).slice(dim, first, length, step)
    return _written("slice_scatter", input, src, inside)


def diagonal_scatter(
    input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    """A copy of `input` with `src` on the diagonal of dimensions `dim1` and `dim2`."""
    first, second = diagonal_dims(input, dim1, dim2)
    offset = as_int("diagonal_scatter", offset, "offset")
    inside = diagonal_view(View.contiguous(input._shape), offset, first, second)
    return _written("diagonal_scatter", input, src, inside)


def as_strided_scatter(
    input: Tensor, src: Tensor, size: Sequence[int], stride: Sequence[int],
    storage_offset: int | None = None,
) -> Tensor:  # fmt: skip
    """A copy of the contiguous `input` with `src` at the places of `as_strided` of the copy."""
    offset = as_int("as_strided_scatter", storage_offset or 0, "storage_offset")
    inside = View(as_sizes((size,)), as_sizes((stride,)), offset)
    if len(inside.shape) != len(inside.strides):
        raise RuntimeError("mismatch in length of strides and shape")
    low, high = inside.span
    if low < 0 or high >= input.numel() or min(inside.shape, default=0) < 0:
        raise RuntimeError(
            f"as_strided_scatter: sizes {list(inside.shape)}, strides {list(inside.strides)}, "
            f"storage offset {inside.offset} lead outside of the {input.numel()} elements"
        )
    if inside.overlaps_itself:
        raise ShapeError("as_strided_scatter: the places must not overlap each other")
    return _written("as_strided_scatter", input, src, inside)
