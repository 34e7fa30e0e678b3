"""Reductions under PyTorch's names: many elements along some dimensions to one.

Floor 6.  `dim` is an int, a sequence of ints, or None for all; `keepdim` keeps the reduced
dimensions with size 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dlgrad.core.apply import cast, counting, reduce, where
from dlgrad.core.autocasting import autocasts
from dlgrad.core.base import Number, TensorBase, is_tensor, node_of
from dlgrad.core.composing import as_float, composed, need_tensor, paused
from dlgrad.core.dims import wrap_dim, wrap_dims
from dlgrad.dtype import BOOL, FLOAT, DType, int64, uint8
from dlgrad.errors import DTypeError
from dlgrad.lazy.ops import ReduceOps
from dlgrad.lazy.shape import Shape
from dlgrad.operators.comparison import as_bool, eq, ne
from dlgrad.operators.elementwise import maximum, minimum

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

Dims = int | Sequence[int] | None


class ValuesIndices(NamedTuple):
    """Values along a dimension (the extreme, sorted, or of a rank) and where they stand."""

    values: Tensor
    indices: Tensor


class MinMax(NamedTuple):
    """The smallest and the largest element."""

    min: Tensor
    max: Tensor


class StdMean(NamedTuple):
    """A standard deviation and a mean."""

    std: Tensor
    mean: Tensor


class VarMean(NamedTuple):
    """A variance and a mean."""

    var: Tensor
    mean: Tensor


def count_of(shape: Shape, dims: Shape) -> int:
    """How many elements are reduced to one."""
    return math.prod(shape[dim] for dim in dims)


def _summed(input: Tensor, dtype: DType | None) -> Tensor:
    """`input` in the dtype that a sum or product has."""
    if dtype is not None:
        return cast(input, dtype)
    return input if input.dtype.kind == FLOAT else cast(input, int64)


@autocasts
def sum(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The sum; integers and bools add up in int64."""
    dims = wrap_dims(dim, input.ndim)
    return reduce(ReduceOps.SUM, _summed(input, dtype), dims, keepdim)


def nansum(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The sum of what is not NaN."""
    return sum(_without_nan(input), dim, keepdim, dtype=dtype)


def _without_nan(input: Tensor) -> Tensor:
    return where(ne(input, input), 0.0, input) if input.dtype.kind == FLOAT else input


@autocasts
def prod(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The product; integers and bools multiply in int64."""
    dims = wrap_dims(dim, input.ndim)
    return reduce(ReduceOps.PROD, _summed(input, dtype), dims, keepdim)


def mean(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The average of floats."""
    if dtype is not None:
        input = cast(input, dtype)
    if input.dtype.kind != FLOAT:
        raise DTypeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point "
            f"or complex dtype. Got: {input.dtype!r}; convert it first, as in x.float().mean()"
        )
    dims = wrap_dims(dim, input.ndim)
    count = count_of(input._shape, dims)
    total = reduce(ReduceOps.SUM, input, dims, keepdim)
    return total * (1.0 / count) if _exact(count) else total / count


def nanmean(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The average of what is not NaN, of floats."""
    if input.dtype.kind != FLOAT:
        raise DTypeError(
            f"nanmean(): expected input to have floating point dtype but got {input.dtype!r}"
        )
    return nansum(input, dim, keepdim, dtype=dtype) / sum(eq(input, input), dim, keepdim)


def _exact(count: int) -> bool:
    """True for powers of two, whose reciprocal is exact."""
    return count > 0 and count & (count - 1) == 0


def _check_not_empty(name: str, input: Tensor, dims: Shape) -> None:
    if input.numel() == 0 or count_of(input._shape, dims) == 0:
        for dim in dims:
            if input._shape[dim] == 0:
                raise IndexError(
                    f"{name}(): Expected reduction dim {dim} to have non-zero size. "
                    f"The shape is {input._shape}."
                )


def amax(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The largest element; equal ones share the gradient."""
    dims = wrap_dims(dim, input.ndim)
    _check_not_empty("amax", input, dims)
    return reduce(ReduceOps.MAX, input, dims, keepdim)


def amin(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The smallest element; equal ones share the gradient."""
    dims = wrap_dims(dim, input.ndim)
    _check_not_empty("amin", input, dims)
    return reduce(ReduceOps.MIN, input, dims, keepdim)


def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> MinMax:
    """The smallest and the largest element, of all or along one dimension."""
    if dim is None and input.numel() == 0:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no "
            "identity."
        )
    return MinMax(amin(input, dim, keepdim), amax(input, dim, keepdim))


def position_along(x: TensorBase, dims: Shape) -> tuple[Tensor, int]:
    """The row-major position of each element within `dims`, int64, and how many there are."""
    device = node_of(x).device
    position: Tensor | None = None
    step = 1
    for dim in reversed(dims):
        index = counting(dim, int64, x._shape, device)
        term = index if step == 1 else index * step
        position = term if position is None else position + term
        step *= x._shape[dim]
    assert position is not None
    return position, step


def first_index(x: Tensor, extreme: Tensor, dims: Shape) -> Tensor:
    """Where `extreme` (dims kept) comes first within `dims` of `x`; NaN counts as extreme."""
    position, count = position_along(x, dims)
    found = eq(x, extreme)
    if x.dtype.kind == FLOAT:
        found = found | ne(x, x)
    return reduce(ReduceOps.MIN, where(found, position, count), dims, True)


def extreme_first(op: ReduceOps, x: Tensor, dims: Shape) -> Tensor:
    """MAX or MIN along `dims`, which are kept; the first extreme element gets the gradient."""
    with paused():
        out = reduce(op, x, dims, True)
    name = "max_first" if op is ReduceOps.MAX else "min_first"
    return composed(name, out, x, arg=dims)


def drop_dims(x: Tensor, dims: Shape, keepdim: bool) -> Tensor:
    """`x` without the dimensions `dims` of size 1, unless they are kept."""
    if keepdim or not x._shape:
        return x
    return x.reshape(tuple(size for i, size in enumerate(x._shape) if i not in dims))


def _extreme(op: ReduceOps, name: str, input: Tensor, dim: Any, keepdim: bool) -> Any:
    need_tensor(name, input)
    if dim is None:
        if input.numel() == 0:
            raise RuntimeError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
                "Specify the reduction dim with the 'dim' argument."
            )
        return reduce(op, input, tuple(range(input.ndim)), False)
    if is_tensor(dim):
        return maximum(input, dim) if op is ReduceOps.MAX else minimum(input, dim)
    dims = (wrap_dim(dim, input.ndim),)
    if not input._shape:
        return ValuesIndices(input.clone(), _zero_index(input))
    _check_not_empty(name, input, dims)
    values = extreme_first(op, input, dims)
    indices = first_index(input, values, dims)
    return ValuesIndices(drop_dims(values, dims, keepdim), drop_dims(indices, dims, keepdim))


def _zero_index(input: Tensor) -> Tensor:
    return counting(0, int64, (1,), node_of(input).device).reshape(())


def max_(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest element of all; along `dim`: (values, indices); of two tensors: `maximum`."""
    return _extreme(ReduceOps.MAX, "max", input, dim, keepdim)


def min_(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest element of all; along `dim`: (values, indices); of two tensors: `minimum`."""
    return _extreme(ReduceOps.MIN, "min", input, dim, keepdim)


def _arg_extreme(
    op: ReduceOps, name: str, input: Tensor, dim: int | None, keepdim: bool
) -> Tensor:
    dims = wrap_dims(dim, input.ndim)
    if input.dtype.kind == BOOL:
        raise DTypeError(f"{name}(): does not support bool input; use x.int() first")
    if input.numel() == 0:
        _check_not_empty(name, input, dims)
    if not input._shape:
        return _zero_index(input)
    with paused():
        index = first_index(input, reduce(op, input, dims, True), dims)
    return drop_dims(index, dims, keepdim)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the first largest element, of all elements in a row if `dim` is None."""
    return _arg_extreme(ReduceOps.MAX, "argmax", input, dim, keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the first smallest element, of all elements in a row if `dim` is None."""
    return _arg_extreme(ReduceOps.MIN, "argmin", input, dim, keepdim)


def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """True where any element is non-zero."""
    return _truth(ReduceOps.MAX, input, dim, keepdim)


def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """True where all elements are non-zero."""
    return _truth(ReduceOps.MIN, input, dim, keepdim)


def _truth(op: ReduceOps, input: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    found = reduce(op, as_bool(input), wrap_dims(dim, input.ndim), keepdim)
    return cast(found, uint8) if input.dtype is uint8 else found


def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """How many elements are not zero, int64."""
    return sum(as_bool(input), dim)


def _moments(
    input: Tensor, dim: Dims, correction: Number | None, keepdim: bool
) -> tuple[Tensor, Tensor, Shape]:
    """(variance, mean, dims), the dims kept; the variance has its own derivative."""
    if input.dtype.kind != FLOAT:
        raise DTypeError(
            f"std and var only support floating point dtypes, got {input.dtype!r}; convert it "
            "first, as in x.float().var()"
        )
    dims = wrap_dims(dim, input.ndim)
    average = mean(input, dims, keepdim=True) if dims else input
    divisor = count_of(input._shape, dims) - (1 if correction is None else correction)
    with paused():
        apart = input - average
        scale = 1.0 / divisor if divisor > 0 else math.inf
        total = reduce(ReduceOps.SUM, apart * apart, dims, True)
        variance = total * scale if divisor > 0 else total / 0.0
    return composed("var", variance, input, arg=(dims, scale)), average, dims


def var(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Number | None = None,
) -> Tensor:
    """The variance; the sum of squares is divided by the count less `correction` (1)."""
    dim, correction = _correction(dim, unbiased, correction)
    variance, _, dims = _moments(input, dim, correction, keepdim)
    return drop_dims(variance, dims, keepdim)


def std(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Number | None = None,
) -> Tensor:
    """The standard deviation, as the square root of `var`."""
    return var(input, dim, unbiased, keepdim, correction=correction).sqrt()


def var_mean(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Number | None = None,
) -> VarMean:
    """The variance and the mean."""
    dim, correction = _correction(dim, unbiased, correction)
    variance, average, dims = _moments(input, dim, correction, keepdim)
    return VarMean(drop_dims(variance, dims, keepdim), drop_dims(average, dims, keepdim))


def std_mean(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Number | None = None,
) -> StdMean:
    """The standard deviation and the mean."""
    variance, average = var_mean(input, dim, unbiased, keepdim, correction=correction)
    return StdMean(variance.sqrt(), average)


def _correction(
    dim: Dims, unbiased: bool | None, correction: Number | None
) -> tuple[Dims, Number | None]:
    """PyTorch's older spelling: var(unbiased) and var(dim, unbiased)."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = int(unbiased)
    return dim, correction


@autocasts
def logsumexp(input: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """log(sum(exp(input))), without overflow."""
    input = as_float(input)
    dims = wrap_dims(dim, input.ndim)
    with paused():
        top = reduce(ReduceOps.MAX, input, dims, True)
        shift = where(eq(top.abs(), math.inf), 0.0, top)
        out = reduce(ReduceOps.SUM, (input - shift).exp(), dims, True).log() + shift
    return drop_dims(composed("logsumexp", out, input, arg=dims), dims, keepdim)
