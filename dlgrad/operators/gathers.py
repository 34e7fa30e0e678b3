"""Elements at computed places under PyTorch's names: gather, scatter, and their relatives.

Floor 6.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dlgrad.core import apply
from dlgrad.core.apply import as_number, filled, where
from dlgrad.core.autocasting import autocasts
from dlgrad.core.base import is_tensor, node_of
from dlgrad.core.dims import wrap_dim
from dlgrad.dtype import bool_
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.lazy.graph import Layout
from dlgrad.lazy.ops import ReduceOps
from dlgrad.lazy.shape import Shape, broadcast_shapes
from dlgrad.operators.elementwise import div
from dlgrad.operators.places import as_index, check_range, from_end, is_mask, none_of

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

_R = ReduceOps
_REDUCTIONS = {
    "sum": _R.SUM, "mean": _R.SUM, "prod": _R.PROD, "amax": _R.MAX, "amin": _R.MIN,
    "add": _R.SUM, "multiply": _R.PROD,
}  # fmt: skip


def along(ndim: int, dim: int) -> Layout:
    """An index of the rank of what it indexes, that counts along `dim`."""
    return Layout(tuple(-1 if i == dim else i for i in range(ndim)), (dim,))


def whole(x: Tensor) -> Tensor:
    """`x`, with one dimension where it has none."""
    return x if x._shape else x.reshape(1)


def line_along(index: Tensor, dim: int, shape: Shape) -> Tensor:
    """A one-dimensional index, repeated over the other dimensions of `shape`."""
    sizes = [1] * len(shape)
    sizes[dim] = index.numel()
    full = [*shape]
    full[dim] = index.numel()
    return index.reshape(sizes).expand(full)


def _index_along(name: str, input: Tensor, dim: int, index: Tensor) -> tuple[Tensor, int]:
    """The checked index of a gather or scatter, with input's number of dimensions."""
    dim = wrap_dim(dim, input.ndim)
    index = as_index(name, index, input)
    if max(index.ndim, 1) != max(input.ndim, 1) and index.numel():
        raise ShapeError(
            f"{name}(): Index tensor must have the same number of dimensions as input tensor, "
            f"but they have {index.ndim} and {input.ndim}"
        )
    return whole(index), dim


def _check_fits(name: str, index: Tensor, shape: Shape, dim: int, what: str) -> None:
    """ShapeError unless the index is no larger than `shape`, apart from `dim` (-1: everywhere)."""
    sizes = index._shape
    if any(a > b and i != dim for i, (a, b) in enumerate(zip(sizes, shape, strict=True))):
        apart = f" apart from dimension {dim}" if dim >= 0 else ""
        raise ShapeError(
            f"{name}(): Size does not match: expected index {list(sizes)} to be no larger than "
            f"{what} {list(shape)}{apart}"
        )


# Reading --------------------------------------------------------------------------------------


def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """out[i][j] = input[index[i][j]][j] for dim=0, and alike for other dims.

    The result has the shape of `index`.  RuntimeError for a number out of range.
    """
    if sparse_grad:
        raise NotImplementedError("there are no sparse tensors; leave sparse_grad=False")
    if is_tensor(index) and not index.numel():
        return none_of(input, index._shape)
    shape = index._shape
    index, dim = _index_along("gather", input, dim, index)
    source = whole(input)
    _check_fits("gather", index, source._shape, dim, "self")
    check_range(index, source._shape[dim], dim, RuntimeError)
    return apply.gather(source, index, along(index.ndim, dim)).reshape(shape)


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """`gather` with the shapes broadcast; over all elements without `dim`."""
    indices = as_index("take_along_dim", indices, input)
    if dim is None:
        input, indices, dim = input.reshape(-1), indices.reshape(-1), 0
    dim = wrap_dim(dim, input.ndim)
    if input.ndim != indices.ndim:
        raise ShapeError(
            "take_along_dim(): input and indices should have the same number of dimensions, but "
            f"got {input.ndim} dimensions for input, and {indices.ndim} dimensions for indices"
        )
    rest = broadcast_shapes(
        tuple(1 if i == dim else s for i, s in enumerate(input._shape)),
        tuple(1 if i == dim else s for i, s in enumerate(indices._shape)),
    )
    ours, theirs = list(rest), list(rest)
    ours[dim], theirs[dim] = input._shape[dim], indices._shape[dim]
    count = input._shape[dim]
    if check_range(indices, count, dim, RuntimeError, signed=True):
        indices = from_end(indices, count)
    if not indices.numel():
        return none_of(input, tuple(theirs))
    return apply.gather(input.expand(ours), indices.expand(theirs), along(input.ndim, dim))


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of `input` along `dim` that the one-dimensional `index` names."""
    dim = wrap_dim(dim, input.ndim)
    index = as_index("index_select", index, input)
    if index.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    source = whole(input)
    check_range(index, source._shape[dim], dim)
    return select_rows(source, dim, index).reshape(
        input._shape and (*source._shape[:dim], index.numel(), *source._shape[dim + 1 :])
    )


def select_rows(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """`index_select` with an index that is known to be right."""
    return apply.gather(input, line_along(index, dim, input._shape), along(input.ndim, dim))


def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements of the flattened `input` at `index`, in its shape; negative from the end."""
    index = as_index("take", index, input)
    flat = input.reshape(-1)
    if check_range(index, flat.numel(), 0, signed=True):
        index = from_end(index, flat.numel())
    return apply.gather(flat, index.reshape(-1), along(1, 0)).reshape(index._shape)


# Writing --------------------------------------------------------------------------------------


def _values_for(name: str, input: Tensor, src: Any, index: Tensor) -> Tensor:
    """The values of a scatter, in the shape of the index."""
    if not is_tensor(src):
        number = as_number(src, "value")
        return filled(number, input.dtype, index._shape, node_of(input).device)
    if src.dtype is not input.dtype:
        raise DTypeError(
            f"{name}(): Expected self.dtype to be equal to src.dtype, but got {input.dtype!r} and "
            f"{src.dtype!r}; convert src with .to(input.dtype)"
        )
    source = whole(src)
    if source.ndim != index.ndim:
        raise ShapeError(
            f"{name}(): Index tensor must have the same number of dimensions as src tensor, but "
            f"they have {index.ndim} and {src.ndim}"
        )
    _check_fits(name, index, source._shape, -1, "src")
    for dim, size in enumerate(index._shape):
        if source._shape[dim] != size:
            source = source.narrow(dim, 0, size)
    return source


def _scattered(
    name: str, input: Tensor, dim: int, index: Tensor, src: Any, combine: ReduceOps | None
) -> Tensor:
    index, dim = _index_along(name, input, dim, index)
    if not index.numel():
        return input.clone()
    base = whole(input)
    _check_fits(name, index, base._shape, dim, "self")
    check_range(index, base._shape[dim], dim, RuntimeError)
    values = _values_for(name, input, src, index)
    out = apply.scatter(base, values, index, along(index.ndim, dim), combine)
    return out.reshape(input._shape)


def scatter(
    input: Tensor,
    dim: int,
    index: Tensor,
    src: Any = None,
    *,
    value: Any = None,
    reduce: str | None = None,
) -> Tensor:
    """`input` with out[index[i][j]][j] = src[i][j] for dim=0; `src` may be a number.

    Of several values for one element the last one stays.  `reduce` is "add" or "multiply".
    """
    if (src is None) == (value is None):
        raise TypeError("scatter() takes either src (a tensor or a number) or value (a number)")
    if reduce not in (None, "add", "multiply"):
        raise RuntimeError("reduce argument must be either add or multiply.")
    combine = None if reduce is None else _REDUCTIONS[reduce]
    return _scattered("scatter", input, dim, index, value if src is None else src, combine)


@autocasts
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """`input` with src[i][j] added to out[index[i][j]][j] for dim=0; in order of the index."""
    return _scattered("scatter_add", input, dim, index, src, _R.SUM)


def scatter_reduce(
    input: Tensor,
    dim: int,
    index: Tensor,
    src: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """The sum, mean, prod, amax or amin of what comes to each place.

    Without `include_self` the old elements of the places that `index` names do not count.
    """
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise RuntimeError("reduce argument must be either sum, prod, mean, amax or amin.")
    name, op = "scatter_reduce", _REDUCTIONS[reduce]
    base = input
    if not include_self:
        start = _start_of(input, op)
        base = _scattered(name, input, dim, index, start, None)
    out = _scattered(name, base, dim, index, src, op)
    return _mean_of(out, input, dim, index, include_self, name) if reduce == "mean" else out


def _start_of(input: Tensor, op: ReduceOps) -> Any:
    if op in (_R.SUM, _R.PROD):
        return 0 if op is _R.SUM else 1
    low, high = input.dtype.min, input.dtype.max
    if input.dtype.is_floating_point:
        low, high = -math.inf, math.inf
    return low if op is _R.MAX else high


def _mean_of(
    total: Tensor, input: Tensor, dim: int, index: Tensor, include_self: bool, name: str
) -> Tensor:
    """`total` over the number of elements that it counts; integers are rounded down."""
    start = filled(1 if include_self else 0, total.dtype, input._shape, node_of(input).device)
    counts = _scattered(name, start, dim, index, 1, _R.SUM).clamp(min=1)
    if total.dtype.is_floating_point:
        return div(total, counts)
    return div(total, counts, rounding_mode="floor")


def _vector(name: str, input: Tensor, dim: int, index: Tensor) -> tuple[Tensor, Tensor, int]:
    """Of an index_... function: input with a dimension, the index over all dimensions, dim."""
    dim = wrap_dim(dim, input.ndim)
    index = as_index(name, index, input)
    if index.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, but got {index.ndim} dims")
    base = whole(input)
    check_range(index, base._shape[dim], dim)
    return base, line_along(index, dim, base._shape), dim


def _slices(name: str, base: Tensor, source: Tensor, full: Tensor, dim: int) -> Tensor:
    """The source of an index_... function, in the shape of the repeated index."""
    given = whole(source)
    if source.dtype is not base.dtype:
        raise DTypeError(
            f"{name}(): self ({base.dtype!r}) and source ({source.dtype!r}) must have the same "
            "dtype; convert the source with .to(dtype)"
        )
    if given._shape != full._shape:
        raise ShapeError(
            f"{name}(): source has shape {list(source._shape)}, expected {list(full._shape)}: that "
            f"of self, with the length of the index in dimension {dim}"
        )
    return given


def index_add(
    input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1
) -> Tensor:
    """`input` with alpha * source added to the slices along `dim` that `index` names."""
    base, full, dim = _vector("index_add", input, dim, index)
    values = _slices("index_add", base, source, full, dim)
    if alpha != 1:
        values = values * alpha
    return apply.scatter(base, values, full, along(base.ndim, dim), _R.SUM).reshape(input._shape)


def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """`input` with the slices along `dim` that `index` names taken from `source`."""
    base, full, dim = _vector("index_copy", input, dim, index)
    values = _slices("index_copy", base, source, full, dim)
    return apply.scatter(base, values, full, along(base.ndim, dim)).reshape(input._shape)


def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """`input` with `value`, a number or a zero-dimensional tensor, in the slices of `index`."""
    if is_tensor(value) and value._shape:
        raise RuntimeError(
            "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{len(value._shape)} dimension(s)."
        )
    base, _, dim = _vector("index_fill", input, dim, index)
    if not index.numel():
        return input.clone()
    hit = filled(False, bool_, (base._shape[dim],), node_of(input).device)
    hit = scatter(hit, 0, index.reshape(-1), value=True)
    sizes = [-1 if i == dim else 1 for i in range(base.ndim)]
    return masked_fill(base, hit.reshape(sizes), value).reshape(input._shape)


def index_reduce(
    input: Tensor,
    dim: int,
    index: Tensor,
    source: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """The prod, mean, amax or amin of the slices that come to each place along `dim`."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError("reduce argument must be either prod, mean, amax or amin.")
    base, full, dim = _vector("index_reduce", input, dim, index)
    values = _slices("index_reduce", base, source, full, dim)
    out = scatter_reduce(base, dim, full, values, reduce, include_self=include_self)
    return out.reshape(input._shape)


def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """`input` with source's elements at the places `index` of its flattened elements."""
    index = as_index("put", index, input)
    if source.dtype is not input.dtype:
        raise DTypeError(
            f"put(): self ({input.dtype!r}) and source ({source.dtype!r}) expected to have the "
            "same dtype"
        )
    if source.numel() != index.numel():
        raise ShapeError(
            f"put(): Expected source and index to have the same number of elements, but got "
            f"source.numel() = {source.numel()}, index.numel() = {index.numel()}"
        )
    if not index.numel():
        return input.clone()
    if check_range(index, input.numel(), 0, signed=True):
        index = from_end(index, input.numel())
    combine = _R.SUM if accumulate else None
    flat = input.reshape(-1)
    out = apply.scatter(flat, source.reshape(-1), index.reshape(-1), along(1, 0), combine)
    return out.reshape(input._shape)


def check_mask(name: str, mask: Any) -> None:
    """DTypeError unless `mask` is a bool (or uint8) tensor."""
    if not is_mask(mask):
        kind = repr(mask.dtype) if is_tensor(mask) else type(mask).__name__
        raise DTypeError(f"{name}: expected BoolTensor for mask, but got {kind}; compare first")


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """A copy with `value` (a number or a zero-dimensional tensor) where the bool `mask` holds."""
    check_mask("masked_fill", mask)
    if is_tensor(value):
        if value._shape:
            raise RuntimeError(
                "masked_fill only supports a 0-dimensional value tensor, but got tensor with "
                f"{len(value._shape)} dimension(s)."
            )
        value = apply.cast(value, input.dtype)
    else:
        number = apply.exact(as_number(value, "value"), input.dtype)
        value = filled(number, input.dtype, (), node_of(input).device)
    return where(mask if mask.dtype.name == "bool" else mask != 0, value, input)
