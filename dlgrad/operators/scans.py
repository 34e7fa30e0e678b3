"""Results so far along a dimension: cumulative sums, products, extremes, and their relatives.

Floor 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlgrad.core import apply
from dlgrad.core.apply import cast, counting, scan, where
from dlgrad.core.autocasting import autocasts
from dlgrad.core.base import node_of
from dlgrad.core.composing import paused, widened
from dlgrad.core.dims import wrap_dim
from dlgrad.dtype import BOOL, FLOAT, DType, int64
from dlgrad.lazy.ops import ReduceOps
from dlgrad.operators.comparison import eq, ne
from dlgrad.operators.gathers import along
from dlgrad.operators.joining import cat
from dlgrad.operators.reductions import ValuesIndices

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

_R = ReduceOps


def _accumulated(op: ReduceOps, input: Tensor, dim: int, dtype: DType | None) -> Tensor:
    dim = wrap_dim(dim, input.ndim)
    if dtype is None:
        dtype = input.dtype if input.dtype.kind == FLOAT else int64
    source = input.to(dtype)
    if not input.ndim or not input.numel():
        return source.clone() if source is input else source
    return scan(op, source, dim)


@autocasts
def cumsum(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """Sums of the elements up to each one along `dim`; ints and bools as int64."""
    return _accumulated(_R.SUM, input, dim, dtype)


@autocasts
def cumprod(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """Products of the elements up to each one along `dim`; ints and bools as int64."""
    return _accumulated(_R.PROD, input, dim, dtype)


def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log(cumsum(exp(input))), which neither overflows nor loses small elements."""
    dim = wrap_dim(dim, input.ndim)
    if input.dtype.kind != FLOAT:
        raise RuntimeError(
            f'"logcumsumexp" not implemented for {input.dtype!r}; convert the tensor with .float()'
        )
    if not input.ndim or not input.numel():
        return input.clone()
    return scan("logsumexp", input, dim)


def _extreme(op: ReduceOps, input: Tensor, dim: int) -> ValuesIndices:
    """Values and the last place where each of them stands; NaN counts as extreme."""
    dim = wrap_dim(dim, input.ndim)
    device = node_of(input).device
    if not input.ndim or not input.numel():
        return ValuesIndices(
            input.clone(), apply.filled(0, int64, input._shape, device)
        )
    with paused():
        so_far = scan(op, input, dim)
        hit = eq(input, so_far)
        if input.dtype.kind == FLOAT:
            hit = hit | ne(input, input)
        place = counting(dim, int64, input._shape, device)
        indices = scan(_R.MAX, where(hit, place, 0), dim)
    if input.dtype.kind == BOOL:
        return ValuesIndices(so_far, indices)
    return ValuesIndices(apply.gather(input, indices, along(input.ndim, dim)), indices)


def cummax(input: Tensor, dim: int) -> ValuesIndices:
    """The largest element so far along `dim`, and its place (of equal ones the last)."""
    return _extreme(_R.MAX, input, dim)


def cummin(input: Tensor, dim: int) -> ValuesIndices:
    """The smallest element so far along `dim`, and its place (of equal ones the last)."""
    return _extreme(_R.MIN, input, dim)


def diff(
    input: Tensor,
    n: int = 1,
    dim: int = -1,
    prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:
    """The differences of neighbours along `dim`, `n` times."""
    if not input.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    dim = wrap_dim(dim, input.ndim)
    if n == 0:
        return input.clone()
    parts = [part for part in (prepend, input, append) if part is not None]
    x = cat(parts, dim) if len(parts) > 1 else input
    kind = x.dtype
    x = widened(x)  # half types are rounded once
    for _ in range(min(n, x._shape[dim])):
        length = max(x._shape[dim] - 1, 0)
        after, before = x.narrow(dim, 1, length), x.narrow(dim, 0, length)
        x = after ^ before if x.dtype.kind == BOOL else after - before
    return cast(x, kind)


def trapezoid(
    y: Tensor, x: Tensor | None = None, *, dx: float = 1.0, dim: int = -1
) -> Tensor:
    """The integral along `dim` by the trapezoidal rule, at the points `x` or `dx` apart."""
    return _trapezoids(y, x, dx, dim).sum(wrap_dim(dim, y.ndim))


trapz = trapezoid


def cumulative_trapezoid(
    y: Tensor, x: Tensor | None = None, *, dx: float = 1.0, dim: int = -1
) -> Tensor:
    """The integral up to each point along `dim` by the trapezoidal rule."""
    return cumsum(_trapezoids(y, x, dx, dim), wrap_dim(dim, y.ndim))


def _trapezoids(y: Tensor, x: Tensor | None, dx: float, dim: int) -> Tensor:
    if not y.ndim:
        raise IndexError("trapezoid: y has no dimensions to go along")
    dim = wrap_dim(dim, y.ndim)
    length = max(y._shape[dim] - 1, 0)
    pairs = y.narrow(dim, 1, length) if y._shape[dim] else y
    total = pairs + y.narrow(dim, 0, length)
    if x is None:
        return total * (dx / 2)
    if x.ndim == 1:
        if x.numel() != y._shape[dim]:
            raise RuntimeError(
                "trapezoid: There must be one `x` value for each sample point, but there are "
                f"{x.numel()} for {y._shape[dim]}"
            )
        steps = diff(x).reshape([-1 if i == dim else 1 for i in range(y.ndim)])
    else:
        steps = diff(x, dim=dim if x.ndim == y.ndim else dim - y.ndim)
    return total * steps / 2
