"""Movement under PyTorch's names: the same numbers in another shape, order or place.

Floor 6.  Where PyTorch shares memory, so does the result here: it shows the same storage
through another `View`, and a write through either is seen through both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dlgrad import graph
from dlgrad.apply import copy, counting, finish, move, node_as, read_view, same_device, where
from dlgrad.base import TensorBase, grad_mode, make_view, node_of, requires_grad, view_of
from dlgrad.dims import as_sizes, wrap_dim, wrap_dims
from dlgrad.dtype import int64, promote_types
from dlgrad.errors import ShapeError
from dlgrad.ops import MovementOps
from dlgrad.shape import Shape, View
from dlgrad.tape import record

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def move_by(x: TensorBase, change: Callable[[View], View]) -> Tensor:
    """`x` with its view changed by `change`, one that selects elements."""
    out = make_view(x, change(view_of(x)))
    if grad_mode.enabled and requires_grad(x):
        record(MovementOps.VIEW, change(View.contiguous(x._shape)), out, (x,))
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


def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements in another shape; shares memory where strides allow it."""
    sizes = infer_shape(as_sizes(shape), input.numel())
    if sizes == input._shape:
        return move("reshape", None, input, view_of(input))
    view = view_of(input).reshape(sizes)
    if view is not None:
        return move("reshape", None, input, view)
    return finish("reshape", None, graph.reshape(node_of(input), sizes), (input,))


def view(input: Tensor, *shape: Any) -> Tensor:
    """The same memory in another shape; RuntimeError where strides cannot say it."""
    if len(shape) == 1 and not isinstance(shape[0], (int, list, tuple)):
        raise TypeError("view(dtype) is not supported; use x.bitcast(dtype) or x.to(dtype)")
    sizes = infer_shape(as_sizes(shape), input.numel())
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


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Dimension `dim` cut into `sizes`, of which one may be -1."""
    dim = wrap_dim(dim, input.ndim)
    inner = infer_shape(as_sizes((sizes,)), input._shape[dim])
    return reshape(input, input._shape[:dim] + inner + input._shape[dim + 1 :])


def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without the dimensions of size 1, or without those of `dim` that have size 1."""
    dims = wrap_dims(dim, input.ndim)
    kept = [i for i, size in enumerate(input._shape) if size != 1 or i not in dims]
    old = view_of(input)
    changed = View(
        tuple(old.shape[i] for i in kept), tuple(old.strides[i] for i in kept), old.offset
    )
    return move("reshape", None, input, changed)


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new dimension of size 1 at `dim`."""
    return move("reshape", None, input, view_of(input).insert(wrap_dim(dim, input.ndim + 1)))


def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Dimensions of size 1 repeated without memory; -1 leaves a dimension as it is."""
    target = as_sizes(sizes)
    lead = len(target) - input.ndim
    if lead < 0:
        raise ShapeError(
            f"expand: the number of sizes provided ({len(target)}) must be greater or equal to "
            f"the number of dimensions in the tensor ({input.ndim})"
        )
    shape = []
    for i, size in enumerate(target):
        old = input._shape[i - lead] if i >= lead else None
        if size == -1:
            if old is None:
                raise ShapeError("expand: -1 is not allowed in a leading, non-existing dimension")
            size = old
        elif old is not None and old not in (1, size):
            raise ShapeError(
                f"The expanded size of the tensor ({size}) must match the existing size ({old}) "
                f"at non-singleton dimension {i}.  Target sizes: {list(target)}.  "
                f"Tensor sizes: {list(input._shape)}"
            )
        shape.append(size)
    return move("expand", None, input, view_of(input).expand(tuple(shape)))


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """`input` expanded to the shape of `other`."""
    return expand(input, other._shape)


def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """`input` expanded to `size`."""
    return expand(input, size)


# Order ----------------------------------------------------------------------------------------


def permute(input: Tensor, *dims: Any) -> Tensor:
    """The dimensions in the order `dims`."""
    order = as_sizes(dims)
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


def flip(input: Tensor, *dims: Any) -> Tensor:
    """A copy with the order of elements reversed along `dims`."""
    changed = View.contiguous(input._shape)
    for dim in wrap_dims(as_sizes(dims), input.ndim) if dims else ():
        size = input._shape[dim]
        if size:
            changed = changed.slice(dim, size - 1, size, -1)
    return read_view(input, changed)


# Selection ------------------------------------------------------------------------------------


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`length` elements along `dim` from `start`."""
    dim = wrap_dim(dim, input.ndim)
    size = input._shape[dim] if input._shape else 0
    if not -size <= start <= size:
        raise IndexError(
            f"start out of range (expected to be in range of [{-size}, {size}], but got {start})"
        )
    start = start + size if start < 0 else start
    if length < 0 or start + length > size:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({size}).")
    return move_by(input, lambda old: old.slice(dim, start, length))


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """Index `index` of dimension `dim`, which disappears."""
    if not input._shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    dim = wrap_dim(dim, input.ndim)
    size = input._shape[dim]
    if not -size <= index < size:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input._shape)} at "
            f"dimension {dim}"
        )
    place = index + size if index < 0 else index
    return move_by(input, lambda old: old.select(dim, place))


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of dimensions `dim1` and `dim2`, as the last dimension."""
    first, second = wrap_dim(dim1, input.ndim), wrap_dim(dim2, input.ndim)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    rows, columns = input._shape[first], input._shape[second]
    if offset >= 0:
        length = max(min(rows, columns - offset), 0)
    else:
        length = max(min(rows + offset, columns), 0)
    kept = [i for i in range(input.ndim) if i not in (first, second)]

    def change(old: View) -> View:
        step = old.strides[first] + old.strides[second]
        start = old.offset
        if length:
            start += old.strides[second] * offset if offset > 0 else -old.strides[first] * offset
        return View(
            tuple(old.shape[i] for i in kept) + (length,),
            tuple(old.strides[i] for i in kept) + (step,),
            start,
        )

    return move_by(input, change)


def split(input: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> Any:
    """Views of consecutive parts along `dim`: of one size, or of the sizes given."""
    dim = wrap_dim(dim, input.ndim)
    size = input._shape[dim]
    if isinstance(split_size_or_sections, int):
        step = split_size_or_sections
        if step <= 0 and not (step == 0 and size == 0):
            raise RuntimeError(
                f"split expects split_size be positive, but got split_size={step}"
            )
        sections = [min(step, size - start) for start in range(0, size, step or 1)] or [0]
    else:
        sections = list(split_size_or_sections)
        if sum(sections) != size:
            raise RuntimeError(
                "split_with_sizes expects split_sizes to sum exactly to "
                f"{size} (input tensor's size at dimension {dim}), but got "
                f"split_sizes={sections}"
            )
    parts, start = [], 0
    for length in sections:
        parts.append(narrow(input, dim, start, length))
        start += length
    return tuple(parts)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> Any:
    """At most `chunks` parts of equal size along `dim`, the last one shorter."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    size = input._shape[wrap_dim(dim, input.ndim)]
    if size == 0:
        return split(input, [0] * chunks, dim)
    return split(input, -(-size // chunks), dim)


def unbind(input: Tensor, dim: int = 0) -> Any:
    """The slices along `dim`, which disappears."""
    dim = wrap_dim(dim, input.ndim)
    return tuple(select(input, dim, i) for i in range(input._shape[dim]))


# Joining --------------------------------------------------------------------------------------


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one after the other along `dim`."""
    tensors = tuple(tensors)
    if not tensors:
        raise RuntimeError("cat(): expected a non-empty list of Tensors")
    for i, tensor in enumerate(tensors):
        if not isinstance(tensor, TensorBase):
            raise TypeError(f"expected Tensor as element {i}, but got {type(tensor).__name__}")
    joined = tuple(x for x in tensors if x._shape != (0,)) or tensors
    first = joined[0]
    if not first._shape:
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    dim = wrap_dim(dim, first.ndim)
    device = same_device(joined)
    dtype = first.dtype
    for i, tensor in enumerate(joined):
        dtype = promote_types(dtype, tensor.dtype)
        others = tensor._shape[:dim] + tensor._shape[dim + 1 :]
        if tensor.ndim != first.ndim or others != first._shape[:dim] + first._shape[dim + 1 :]:
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
    tensors = tuple(tensors)
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    for i, tensor in enumerate(tensors):
        if tensor._shape != tensors[0]._shape:
            raise ShapeError(
                f"stack expects each tensor to be equal size, but got {list(tensors[0]._shape)} "
                f"at entry 0 and {list(tensor._shape)} at entry {i}"
            )
    return cat([unsqueeze(tensor, dim) for tensor in tensors], wrap_dim(dim, tensors[0].ndim + 1))


def repeat(input: Tensor, *sizes: Any) -> Tensor:
    """A copy, `sizes[i]` times along dimension i; more sizes than dimensions add some in front."""
    times = as_sizes(sizes)
    lead = len(times) - input.ndim
    if lead < 0:
        raise ShapeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions "
            f"of tensor: got {len(times)} sizes for shape {input._shape}"
        )
    if min(times, default=0) < 0:
        raise RuntimeError(f"repeat: the counts must not be negative, got {times}")
    shape = (1,) * lead + input._shape
    spread, shown, result = [], [], []
    for count, size in zip(times, shape, strict=True):
        spread += [1, size]
        shown += [count, size]
        result.append(count * size)
    out = reshape(expand(reshape(input, spread), shown), result)
    return out if out._storage is not input._storage else copy(out)


def tile(input: Tensor, *dims: Any) -> Tensor:
    """`repeat`, with ones put in front of too few counts."""
    times = as_sizes(dims)
    return repeat(input, (1,) * (input.ndim - len(times)) + times)


def pad_constant(input: Tensor, pads: Sequence[tuple[int, int]], value: float) -> Tensor:
    """`value` around `input`: `pads` gives (before, after) for each dimension; negative crops."""
    from_start = [max(-before, 0) for before, _ in pads]
    shape = []
    for dim, (size, (before, after)) in enumerate(zip(input._shape, pads, strict=True)):
        length = size + min(before, 0) + min(after, 0)
        if length < 0 or size + before + after < 0:
            raise ShapeError(
                f"padding {(before, after)} leaves a negative size in dimension {dim} of shape "
                f"{input._shape}"
            )
        if length != size:
            input = narrow(input, dim, from_start[dim], length)
        shape.append(size + before + after)
    inside = View.contiguous(tuple(shape))
    for dim, (before, _) in enumerate(pads):
        inside = inside.slice(dim, max(before, 0), input._shape[dim])
    return embed_value(input, tuple(shape), inside, value)


def embed_value(input: Tensor, shape: Shape, inside: View, value: float) -> Tensor:
    """A tensor of `shape` full of `value`, with `input` at the places of the view `inside`."""
    if input._shape == shape:
        return input.clone()
    base = graph.const(value, input.dtype, shape, node_of(input).device)
    node = graph.update(base, node_of(input), inside) if input.numel() else base
    return finish("embed", inside, node, (input,))


# Triangles ------------------------------------------------------------------------------------


def _triangle(input: Tensor, diagonal: int, upper: bool) -> Tensor:
    if input.ndim < 2:
        name = "triu" if upper else "tril"
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
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


# Memory ---------------------------------------------------------------------------------------


def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy in memory of its own."""
    return copy(input)


def contiguous(input: Tensor) -> Tensor:
    """`input` if it is row-major without gaps, else a copy that is."""
    if input._view is None or input._view.is_contiguous:
        return input
    return copy(input)
