"""Movement under PyTorch's names: the same numbers in another shape, order or place.

Floor 6.  Where PyTorch shares memory, so does the result here: it shows the same storage
through another `View`, and a write through either is seen through both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import copy, finish, move
from dlgrad.core.base import (
    TensorBase,
    grad_mode,
    is_tensor,
    make_view,
    node_of,
    requires_grad,
    view_of,
)
from dlgrad.core.dims import as_int, as_sizes, sizes_given, wrap_dim, wrap_dims
from dlgrad.core.tape import record
from dlgrad.dtype import DType
from dlgrad.errors import ShapeError
from dlgrad.lazy import graph
from dlgrad.lazy.ops import MovementOps, Op
from dlgrad.lazy.shape import Shape, View
from dlgrad.operators.bits import reinterpret

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def move_by(
    x: TensorBase, change: Callable[[View], View], name: Op | str = MovementOps.VIEW
) -> Tensor:
    """`x` with its view changed by `change`, one that selects elements; `name` is for people."""
    out = make_view(x, change(view_of(x)))
    if grad_mode.enabled and requires_grad(x):
        record(name, change(View.contiguous(x._shape)), out, (x,))
    return out


# Shape ----------------------------------------------------------------------------------------


def infer_shape(sizes: Shape, count: int) -> Shape:
    """`sizes` with one -1 replaced so that the number of elements is `count`."""
    if -1 in sizes:
        known = -math.prod(sizes)
        if sizes.count(-1) > 1:
            raise RuntimeError("only one dimension can be inferred")
        if known == 0:
            raise RuntimeError(
                f"cannot reshape tensor of {count} elements into shape {list(sizes)} because "
                "the unspecified dimension size -1 can be any value and is ambiguous"
            )
        if known > 0 and count % known == 0:
            return tuple(count // known if size == -1 else size for size in sizes)
    elif math.prod(sizes) == count and min(sizes, default=0) >= 0:
        return sizes
    for size in sizes:
        if size < -1:
            raise RuntimeError(f"invalid shape dimension {size}")
    raise ShapeError(f"shape '{list(sizes)}' is invalid for input of size {count}")


def reshape(input: Tensor, *sizes: Any, shape: Any = None) -> Tensor:
    """The same elements in another shape; shares memory where strides allow it."""
    target = infer_shape(sizes_given(sizes, shape), input.numel())
    if target == input._shape:
        return move("reshape", None, input, view_of(input))
    view = view_of(input).reshape(target)
    if view is not None:
        return move("reshape", None, input, view)
    return finish("reshape", None, graph.reshape(node_of(input), target), (input,))


def view(
    input: Tensor, *shape: Any, size: Any = None, dtype: DType | None = None
) -> Tensor:
    """The same memory in another shape; RuntimeError where strides cannot say it.

    `view(dtype)` reads the bits of the last dimension as another dtype, in a copy.
    """
    kind = shape[0] if len(shape) == 1 else dtype
    if isinstance(kind, DType):
        return reinterpret(input, kind)
    sizes = infer_shape(sizes_given(shape, size), input.numel())
    changed = view_of(input).reshape(sizes)
    if changed is None:
        raise ShapeError(
            "view size is not compatible with input tensor's size and stride (at least one "
            "dimension spans across two contiguous subspaces). Use .reshape(...) instead."
        )
    return move("reshape", None, input, changed)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions `start_dim` to `end_dim` as one."""
    if not input._shape:
        return reshape(input, (1,))
    start, end = wrap_dim(start_dim, input.ndim), wrap_dim(end_dim, input.ndim)
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    middle = math.prod(input._shape[start : end + 1])
    return reshape(input, input._shape[:start] + (middle,) + input._shape[end + 1 :])


def ravel(input: Tensor) -> Tensor:
    """All elements as one dimension."""
    return reshape(input, (-1,))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Dimension `dim` cut into `sizes`, of which one may be -1."""
    dim = wrap_dim(dim, input.ndim)
    inner = infer_shape(as_sizes((sizes,)), input._shape[dim])
    return reshape(input, input._shape[:dim] + inner + input._shape[dim + 1 :])


def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without the dimensions of size 1, or without those of `dim` that have size 1."""
    dims = () if dim == () else wrap_dims(dim, input.ndim)
    kept = [i for i, size in enumerate(input._shape) if size != 1 or i not in dims]
    old = view_of(input)
    changed = View(
        tuple(old.shape[i] for i in kept), tuple(old.strides[i] for i in kept), old.offset
    )
    return move("squeeze", None, input, changed)


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new dimension of size 1 at `dim`."""
    return move("unsqueeze", None, input, view_of(input).insert(wrap_dim(dim, input.ndim + 1)))


def expand(input: Tensor, *sizes: Any, size: Any = None) -> Tensor:
    """Dimensions of size 1 repeated without memory; -1 leaves a dimension as it is."""
    target = sizes_given(sizes, size)
    lead = len(target) - input.ndim
    if lead < 0:
        raise ShapeError(
            f"expand: the number of sizes provided ({len(target)}) must be greater or equal to "
            f"the number of dimensions in the tensor ({input.ndim})"
        )
    shape = []
    for i, wanted in enumerate(target):
        old = input._shape[i - lead] if i >= lead else None
        if wanted == -1:
            if old is None:
                raise ShapeError("expand: -1 is not allowed in a leading, non-existing dimension")
            wanted = old
        elif wanted < 0:
            raise ShapeError(f"expand: sizes must not be negative, apart from -1, got {target}")
        elif old is not None and old not in (1, wanted):
            raise ShapeError(
                f"The expanded size of the tensor ({wanted}) must match the existing size ({old}) "
                f"at non-singleton dimension {i}.  Target sizes: {list(target)}.  "
                f"Tensor sizes: {list(input._shape)}"
            )
        shape.append(wanted)
    return move("expand", None, input, view_of(input).expand(tuple(shape)))


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """`input` expanded to the shape of `other`."""
    return expand(input, other._shape)


def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """`input` expanded to `size`."""
    return expand(input, size=size)


# Order ----------------------------------------------------------------------------------------


def permute(input: Tensor, *order: Any, dims: Any = None) -> Tensor:
    """The dimensions in the order `dims`."""
    order = sizes_given(order, dims)
    if len(order) != input.ndim:
        raise RuntimeError(
            "permute(): number of dimensions in the tensor input does not match the "
            f"length of the desired ordering of dimensions i.e. input.dim() = {input.ndim} is "
            f"not equal to len(dims) = {len(order)}"
        )
    order = tuple(wrap_dim(dim, input.ndim) for dim in order)
    if len(set(order)) != len(order):
        raise RuntimeError(f"permute(): duplicate dims are not allowed, got {order}")
    return move("permute", order, input, view_of(input).permute(order))


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Dimensions `dim0` and `dim1` swapped."""
    first, second = wrap_dim(dim0, input.ndim), wrap_dim(dim1, input.ndim)
    order = list(range(input.ndim))
    if order:
        order[first], order[second] = order[second], order[first]
    return permute(input, order)


def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """`transpose` with NumPy's names."""
    return transpose(input, axis0, axis1)


def swapdims(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """`transpose` under another name."""
    return transpose(input, dim0, dim1)


def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions swapped: for real numbers, the conjugate transpose."""
    if input.ndim < 2:
        raise RuntimeError(
            f"tensor.adjoint() is only supported on matrices or batches of matrices. Got "
            f"{input.ndim}-D tensor."
        )
    return transpose(input, -2, -1)


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; vectors and numbers stay as they are."""
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return transpose(input, 0, 1) if input.ndim == 2 else permute(input, tuple(range(input.ndim)))


def movedim(
    input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]
) -> Tensor:
    """Dimensions `source` at the places `destination`, the others in their order."""
    sources = [source] if isinstance(source, int) else list(source)
    places = [destination] if isinstance(destination, int) else list(destination)
    if len(sources) != len(places):
        raise RuntimeError(
            "movedim: Invalid source or destination dims: source and destination must have the "
            f"same number of elements, got {sources} and {places}"
        )
    sources = [wrap_dim(dim, input.ndim) for dim in sources]
    places = [wrap_dim(dim, input.ndim) for dim in places]
    if len(set(sources)) != len(sources) or len(set(places)) != len(places):
        raise RuntimeError("movedim: repeated dim in `source` or `destination`")
    rest = [dim for dim in range(input.ndim) if dim not in sources]
    at = dict(zip(places, sources, strict=True))
    order = [at[i] if i in at else rest.pop(0) for i in range(input.ndim)]
    return permute(input, order)


# Selection ------------------------------------------------------------------------------------


def narrow(input: Tensor, dim: int, start: int | Tensor, length: int) -> Tensor:
    """`length` elements along `dim` from `start`, which may be a zero-dim integer tensor."""
    if not input._shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    dim = wrap_dim(dim, input.ndim)
    size, length = input._shape[dim], as_int("narrow", length, "length")
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    first = _as_index(start) if is_tensor(start) else as_int("narrow", start, "start")
    if not -size <= first <= size:
        raise IndexError(
            f"start out of range (expected to be in range of [{-size}, {size}], but got {first})"
        )
    first = first + size if first < 0 else first
    if first + length > size:
        raise RuntimeError(f"start ({first}) + length ({length}) exceeds dimension size ({size}).")
    return move_by(input, lambda old: old.slice(dim, first, length), "slice")


def _as_index(start: Tensor) -> int:
    if start._shape or not start.dtype.is_integer:
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    return start.__index__()


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """Index `index` of dimension `dim`, which disappears."""
    dim, place = checked_index(input, dim, index)
    return move_by(input, lambda old: old.select(dim, place), "select")


def checked_index(input: Tensor, dim: int, index: int) -> tuple[int, int]:
    """Dimension and index, both counted from the start; IndexError where they are outside."""
    if not input._shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    dim = wrap_dim(dim, input.ndim)
    size, index = input._shape[dim], as_int("select", index, "index")
    if not -size <= index < size:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input._shape)} at "
            f"dimension {dim}"
        )
    return dim, index + size if index < 0 else index


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of dimensions `dim1` and `dim2`, as the last dimension."""
    first, second = diagonal_dims(input, dim1, dim2)
    offset = as_int("diagonal", offset, "offset")
    return move_by(input, lambda old: diagonal_view(old, offset, first, second), "diagonal")


def diagonal_dims(input: Tensor, dim1: int, dim2: int) -> tuple[int, int]:
    """The two dimensions counted from the start; RuntimeError where they are the same."""
    first, second = wrap_dim(dim1, input.ndim), wrap_dim(dim2, input.ndim)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return first, second


def diagonal_view(old: View, offset: int, first: int, second: int) -> View:
    """The view of a diagonal of dimensions `first` and `second`, as the last dimension."""
    rows, columns = old.shape[first], old.shape[second]
    length = min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns)
    kept = [i for i in range(len(old.shape)) if i not in (first, second)]
    start = old.offset
    if length > 0:
        start += old.strides[second] * offset if offset > 0 else -old.strides[first] * offset
    return View(
        tuple(old.shape[i] for i in kept) + (max(length, 0),),
        tuple(old.strides[i] for i in kept) + (old.strides[first] + old.strides[second],),
        start,
    )


# Memory ---------------------------------------------------------------------------------------


def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy in memory of its own."""
    return copy(input)


def contiguous(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """`input` if it is row-major without gaps, else a copy that is."""
    if input._view is None or input._view.is_contiguous:
        return input
    return copy(input)
