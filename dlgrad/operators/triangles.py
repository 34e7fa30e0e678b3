"""Triangles and diagonals of matrices.

Floor 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlgrad.core.apply import copy, counting, embed, where
from dlgrad.core.base import node_of
from dlgrad.core.device_type import DeviceLike, resolve_device
from dlgrad.core.dims import as_int, check_count, wrap_dim
from dlgrad.core.host import from_numbers
from dlgrad.dtype import DType, int32, int64
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.lazy.shape import View
from dlgrad.operators.movement import diagonal as diagonal_of
from dlgrad.operators.movement import diagonal_view, reshape
from dlgrad.operators.reductions import sum as sum_of

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def _triangle(input: Tensor, diagonal: int, upper: bool) -> Tensor:
    if input.ndim < 2:
        name = "triu" if upper else "tril"
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
    diagonal = as_int("triu" if upper else "tril", diagonal, "diagonal")
    device = node_of(input).device
    matrix = input._shape[-2:]
    across = counting(1, int64, matrix, device) - counting(0, int64, matrix, device)
    return where(across >= diagonal if upper else across <= diagonal, input, False)


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle of matrices; zeros above `diagonal`."""
    return _triangle(input, diagonal, upper=False)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle of matrices; zeros below `diagonal`."""
    return _triangle(input, diagonal, upper=True)


def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: DType = int64, device: DeviceLike = None
) -> Tensor:
    """The places of the lower triangle: a row of row numbers above a row of column numbers."""
    _check_indices("tril_indices", row, col, offset, dtype)
    places = [(i, j) for i in range(row) for j in range(max(min(col, i + offset + 1), 0))]
    return _places(places, dtype, device)


def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: DType = int64, device: DeviceLike = None
) -> Tensor:
    """The places of the upper triangle: a row of row numbers above a row of column numbers."""
    _check_indices("triu_indices", row, col, offset, dtype)
    places = [(i, j) for i in range(row) for j in range(max(i + offset, 0), col)]
    return _places(places, dtype, device)


def _check_indices(name: str, row: int, col: int, offset: int, dtype: DType) -> None:
    for number, argument in ((row, "row"), (col, "col"), (offset, "offset")):
        as_int(name, number, argument)
    if row < 0 or col < 0:
        raise RuntimeError(f"{name}: row and col must be non-negative, got {row} and {col}")
    if dtype not in (int32, int64):
        raise DTypeError(f'"{name}" not implemented for {dtype!r}; use int64 or int32')
    check_count(name, max(row, row * col))


def _places(places: list[tuple[int, int]], dtype: DType, device: DeviceLike) -> Tensor:
    numbers = [place[i] for i in (0, 1) for place in places]
    return from_numbers(numbers, dtype, (2, len(places)), resolve_device(device))


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A matrix with the vector `input` on its diagonal, or a copy of a matrix's diagonal."""
    if input.ndim == 1:
        return diag_embed(input, diagonal)
    if input.ndim == 2:
        return copy(diagonal_of(input, diagonal))
    raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """A matrix with all elements of `input` on its diagonal."""
    return diag_embed(reshape(input, (-1,)), offset)


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Square matrices in dimensions `dim1` and `dim2` of the result, whose diagonals are the
    vectors along the last dimension of `input`; zeros elsewhere."""
    ndim, offset = input.ndim + 1, as_int("diag_embed", offset, "offset")
    first, second = wrap_dim(dim1, ndim), wrap_dim(dim2, ndim)
    if not input._shape:
        raise RuntimeError("diag_embed() expects at least one dimension, got a 0-dim tensor")
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    size = input._shape[-1] + abs(offset)
    rest = list(input._shape[:-1])
    shape = tuple(size if i in (first, second) else rest.pop(0) for i in range(ndim))
    return embed(input, shape, diagonal_view(View.contiguous(shape), offset, first, second))


def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal."""
    if input.ndim != 2:
        raise ShapeError(f"trace: expected a matrix, but got tensor with dim {input.ndim}")
    return sum_of(diagonal_of(input))
