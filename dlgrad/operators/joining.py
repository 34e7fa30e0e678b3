"""Several tensors to one: one after the other, side by side, on a diagonal, as a grid.

Floor 6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import finish, node_as, read_view, same_device
from dlgrad.core.base import TensorBase, is_tensor
from dlgrad.core.dims import as_sizes, wrap_dim
from dlgrad.core.tape import ROWS, Row
from dlgrad.dtype import promote_types
from dlgrad.errors import ShapeError
from dlgrad.lazy import graph
from dlgrad.lazy.shape import Shape, View
from dlgrad.lazy.shape import broadcast_shapes as common_shape
from dlgrad.operators.movement import expand, reshape, transpose, unsqueeze

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def _checked(name: str, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The tensors as a tuple that is not empty; RuntimeError or TypeError otherwise."""
    if isinstance(tensors, TensorBase):
        raise TypeError(
            f"{name}(): argument 'tensors' must be tuple of Tensors, not Tensor; put the tensor "
            "in a list, or use x.unbind() for its rows"
        )
    tensors = tuple(tensors)
    if not tensors:
        if name == "cat":
            raise ValueError("cat(): expected a non-empty list of Tensors")
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    for i, tensor in enumerate(tensors):
        if not isinstance(tensor, TensorBase):
            raise TypeError(f"expected Tensor as element {i}, but got {type(tensor).__name__}")
    return tensors


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one after the other along `dim`; they agree in all other dimensions."""
    tensors = _checked("cat", tensors)
    for i, tensor in enumerate(tensors):
        if not tensor._shape:
            raise RuntimeError(
                f"zero-dimensional tensor (at position {i}) cannot be concatenated; stack() "
                "joins them"
            )
    # A tensor of shape (0,) fits everything, as in PyTorch.
    joined = tuple(x for x in tensors if x._shape != (0,)) or tensors
    first = joined[0]
    dim = wrap_dim(dim, first.ndim)
    device = same_device(tensors)
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = promote_types(dtype, tensor.dtype)
    around = first._shape[:dim] + first._shape[dim + 1 :]
    for i, tensor in enumerate(joined):
        if tensor.ndim != first.ndim:
            raise ShapeError(
                f"Tensors must have same number of dimensions: got {first.ndim} and {tensor.ndim}"
            )
        if tensor._shape[:dim] + tensor._shape[dim + 1 :] != around:
            raise ShapeError(
                f"Sizes of tensors must match except in dimension {dim}. Expected shape "
                f"{list(first._shape)} but got {list(tensor._shape)} for tensor number {i} in "
                "the list."
            )
    lengths = [tensor._shape[dim] for tensor in joined]
    shape = first._shape[:dim] + (sum(lengths),) + first._shape[dim + 1 :]
    whole = View.contiguous(shape)
    node = graph.empty(dtype, shape, device)
    start = 0
    for tensor, length in zip(joined, lengths, strict=True):
        if tensor.numel():
            value = node_as(tensor, dtype, tensor._shape)
            node = graph.update(node, value, whole.slice(dim, start, length))
        start += length
    return finish("cat", (dim, tuple(lengths)), node, joined)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new dimension `dim`."""
    tensors = _checked("stack", tensors)
    for i, tensor in enumerate(tensors):
        if tensor._shape != tensors[0]._shape:
            raise ShapeError(
                f"stack expects each tensor to be equal size, but got {list(tensors[0]._shape)} "
                f"at entry 0 and {list(tensor._shape)} at entry {i}"
            )
    dim = wrap_dim(dim, tensors[0].ndim + 1)
    return cat([unsqueeze(tensor, dim) for tensor in tensors], dim)


# With at least so many dimensions ---------------------------------------------------------------


def _each(change: Callable[[Tensor], Tensor], tensors: tuple[Any, ...]) -> Any:
    if len(tensors) == 1:
        if is_tensor(tensors[0]):
            return change(tensors[0])
        tensors = tuple(tensors[0])
    return tuple(change(tensor) for tensor in tensors)


def _at_least_1d(x: Tensor) -> Tensor:
    return x if x._shape else reshape(x, (1,))


def _at_least_2d(x: Tensor) -> Tensor:
    return x if x.ndim > 1 else unsqueeze(_at_least_1d(x), 0)


def _at_least_3d(x: Tensor) -> Tensor:
    return x if x.ndim > 2 else unsqueeze(_at_least_2d(x), -1)


def atleast_1d(*tensors: Any) -> Any:
    """Each tensor with one dimension at least; one tensor gives one, several give a tuple."""
    return _each(_at_least_1d, tensors)


def atleast_2d(*tensors: Any) -> Any:
    """Each tensor with two dimensions at least; vectors become rows."""
    return _each(_at_least_2d, tensors)


def atleast_3d(*tensors: Any) -> Any:
    """Each tensor with three dimensions at least; matrices get a last one of size 1."""
    return _each(_at_least_3d, tensors)


# Side by side -----------------------------------------------------------------------------------


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors side by side: along dimension 1, or 0 for vectors."""
    wide = [_at_least_1d(x) for x in _checked("hstack", tensors)]
    return cat(wide, 0 if wide[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors one below the other, along dimension 0; vectors are rows."""
    return cat([_at_least_2d(x) for x in _checked("vstack", tensors)], 0)


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors one behind the other, along dimension 2."""
    return cat([_at_least_3d(x) for x in _checked("dstack", tensors)], 2)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors side by side; vectors are columns."""
    columns = [reshape(x, (-1, 1)) if x.ndim == 1 else x for x in _checked("column_stack", tensors)]
    return hstack([reshape(x, (1, 1)) if not x._shape else x for x in columns])


def block_diag(*tensors: Tensor) -> Tensor:
    """A matrix with the given matrices along its diagonal, zeros elsewhere; vectors are rows."""
    if not tensors:
        raise RuntimeError("block_diag(): expected a non-empty TensorList")
    for i, tensor in enumerate(_checked("block_diag", tensors)):
        if tensor.ndim > 2:
            raise ShapeError(
                "block_diag(): Input tensors must have 2 or fewer dimensions. Input "
                f"{i} has {tensor.ndim} dimensions"
            )
    blocks = [_at_least_2d(tensor) for tensor in tensors]
    device, dtype = same_device(blocks), blocks[0].dtype
    for block in blocks[1:]:
        dtype = promote_types(dtype, block.dtype)
    shape = tuple(sum(block._shape[i] for block in blocks) for i in (0, 1))
    node = graph.const(0, dtype, shape, device)
    row = column = 0
    places = []
    for block in blocks:
        rows, columns = block._shape
        inside = View.contiguous(shape).slice(0, row, rows).slice(1, column, columns)
        places.append(inside)
        if block.numel():
            node = graph.update(node, node_as(block, dtype, block._shape), inside)
        row, column = row + rows, column + columns
    return finish("blocks", tuple(places), node, tuple(blocks))


ROWS["blocks"] = Row("BlockDiag", each=lambda g, e, index: read_view(g, e.arg[index]))


# Grids ------------------------------------------------------------------------------------------


def broadcast_shapes(*shapes: Any) -> Shape:
    """The shape that all the shapes expand to; an int stands for a shape of one dimension."""
    sizes = [as_sizes((shape,)) for shape in shapes]
    for given in sizes:
        if min(given, default=0) < 0:
            raise RuntimeError(
                f"Trying to create tensor with negative dimension {min(given)}: {list(given)}"
            )
    return common_shape(*sizes)


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors, all expanded to their common shape."""
    common = common_shape(*(tensor._shape for tensor in tensors))
    return tuple(expand(tensor, common) for tensor in tensors)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """The coordinates of a grid, from one vector per axis.

    With `indexing` "ij" the axes are the dimensions in their order; with "xy" the first two
    are swapped, as in pictures.
    """
    given = tensors[0] if len(tensors) == 1 and not is_tensor(tensors[0]) else tensors
    vectors = _checked("meshgrid", given)
    if indexing not in ("ij", "xy"):
        raise RuntimeError(
            f'meshgrid(): indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    for vector in vectors:
        if vector.ndim > 1:
            raise ShapeError(
                f"meshgrid(): Expected 0D or 1D tensor in the tensor list but got: "
                f"{list(vector._shape)}"
            )
        if vector.dtype is not vectors[0].dtype:
            raise RuntimeError("meshgrid() expects all tensors to have the same dtype")
    same_device(vectors)
    sizes = tuple(vector.numel() for vector in vectors)
    grids = []
    for i, vector in enumerate(vectors):
        across = [1] * len(sizes)
        across[i] = sizes[i]
        grid = expand(reshape(vector, across), sizes)
        grids.append(transpose(grid, 0, 1) if indexing == "xy" and len(sizes) > 1 else grid)
    return tuple(grids)


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """Every combination of one element from each vector, one per row; the last moves fastest."""
    vectors = _checked("cartesian_prod", tensors)
    for vector in vectors:
        if vector.ndim != 1:
            raise ShapeError(f"Expect a 1D vector, but got shape {list(vector._shape)}")
    if len(vectors) == 1:
        return vectors[0]
    return stack([reshape(grid, (-1,)) for grid in meshgrid(*vectors)], 1)
