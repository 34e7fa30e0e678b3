"""Cutting a tensor into parts along a dimension; every part is a view of the whole.

Floor 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.core.base import is_tensor
from dlgrad.core.dims import as_sizes, wrap_dim
from dlgrad.dtype import int64
from dlgrad.operators.movement import narrow, select

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def _dimension(name: str, input: Tensor, dim: int) -> int:
    if not input._shape:
        raise RuntimeError(f"{name} expects at least a 1-dimensional tensor")
    return wrap_dim(dim, input.ndim)


def split(
    input: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0
) -> tuple[Tensor, ...]:
    """Views of consecutive parts along `dim`: of one size, or of the sizes given."""
    if not isinstance(split_size_or_sections, int):
        return split_with_sizes(input, split_size_or_sections, dim)
    step = split_size_or_sections
    dim = _dimension("split", input, dim)
    size = input._shape[dim]
    if step < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={step}")
    if step == 0 and size:
        raise RuntimeError(
            f"split_size can only be 0 if dimension size is 0, but got dimension size of {size}"
        )
    starts = range(0, size, step) if size else (0,)
    return tuple(narrow(input, dim, start, min(step, size - start)) for start in starts)


def split_method(
    input: Tensor, split_size: int | Sequence[int], dim: int = 0
) -> tuple[Tensor, ...]:
    """Views of consecutive parts along `dim`: of one size, or of the sizes given."""
    return split(input, split_size, dim)


def split_with_sizes(
    input: Tensor, split_sizes: Sequence[int], dim: int = 0
) -> tuple[Tensor, ...]:
    """Views of consecutive parts along `dim`, of the sizes given, which add up to its size."""
    dim = _dimension("split_with_sizes", input, dim)
    sizes, size = as_sizes((split_sizes,)), input._shape[dim]
    if min(sizes, default=0) < 0:
        raise RuntimeError(
            "split_with_sizes expects split_sizes have only non-negative entries, but got "
            f"split_sizes={list(sizes)}"
        )
    if sum(sizes) != size:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {size} (input tensor's size "
            f"at dimension {dim}), but got split_sizes={list(sizes)}"
        )
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(
        narrow(input, dim, start, length) for start, length in zip(starts, sizes, strict=True)
    )


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` parts of equal size along `dim`, the last one shorter."""
    dim = _dimension("chunk", input, dim)
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    size = input._shape[dim]
    if size == 0:
        return split_with_sizes(input, [0] * chunks, dim)
    return split(input, -(-size // chunks), dim)


def tensor_split(
    input: Tensor, indices_or_sections: int | Sequence[int] | Tensor, dim: int = 0
) -> tuple[Tensor, ...]:
    """Parts along `dim`: so many of nearly equal size, or cut before each of the indices.

    Indices work as in slices: negative ones count from the end, too large ones are cut off.
    """
    if not input._shape:
        raise RuntimeError(
            "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"
        )
    places = _numbers(indices_or_sections)
    dim = wrap_dim(dim, input.ndim)
    size = input._shape[dim]
    if isinstance(places, int):
        if places <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {places}")
        whole, longer = divmod(size, places)
        lengths = [whole + 1] * longer + [whole] * (places - longer)
        return split_with_sizes(input, lengths, dim)
    bounds = [slice(0, place).indices(size)[1] for place in places]
    spans = zip([0, *bounds], [*bounds, size], strict=True)
    return tuple(narrow(input, dim, start, max(stop - start, 0)) for start, stop in spans)


def _numbers(indices_or_sections: Any) -> int | Sequence[int]:
    """A number of sections or a list of indices, which may come as a tensor."""
    if is_tensor(indices_or_sections):
        if indices_or_sections.ndim > 1 or indices_or_sections.dtype is not int64:
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to be a zero-dimensional or "
                "one-dimensional int64 tensor, but got a tensor of dtype "
                f"{indices_or_sections.dtype!r} with {indices_or_sections.ndim} dims"
            )
        found: int | list[int] = indices_or_sections.tolist()
        return found
    if isinstance(indices_or_sections, int):
        return indices_or_sections
    return as_sizes((indices_or_sections,))


def hsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """`tensor_split` into equal parts along dimension 1, or 0 for vectors."""
    return _split_evenly("hsplit", input, indices_or_sections, 0 if input.ndim == 1 else 1, 1)


def vsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """`tensor_split` into equal parts along dimension 0 of at least two."""
    return _split_evenly("vsplit", input, indices_or_sections, 0, 2)


def dsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """`tensor_split` into equal parts along dimension 2."""
    return _split_evenly("dsplit", input, indices_or_sections, 2, 3)


def _split_evenly(
    name: str, input: Tensor, places: Any, dim: int, least: int
) -> tuple[Tensor, ...]:
    if input.ndim < least:
        plural = "s" if least > 1 else ""
        raise RuntimeError(
            f"{name}() requires a tensor with at least {least} dimension{plural}, but got a "
            f"tensor with {input.ndim} dimensions!"
        )
    if isinstance(places, int) and (places <= 0 or input._shape[dim] % places):
        raise RuntimeError(
            f"{name}() attempted to split along dimension {dim}, but the size of the "
            f"dimension {input._shape[dim]} is not divisible by the split_size {places}!"
        )
    return tensor_split(input, places, dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along `dim`, which disappears."""
    if not input._shape:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    dim = wrap_dim(dim, input.ndim)
    return tuple(select(input, dim, i) for i in range(input._shape[dim]))
