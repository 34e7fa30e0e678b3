"""Norms of vectors and matrices, and the distance of two tensors.

Floor 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import cast, reduce, where
from dlgrad.core.autocasting import autocasts
from dlgrad.core.base import Number
from dlgrad.core.composing import composed, need_tensor, paused
from dlgrad.core.dims import wrap_dim, wrap_dims
from dlgrad.core.tape import ROWS, Derivative, Entry, Row
from dlgrad.dtype import FLOAT, DType, promote_types
from dlgrad.errors import DTypeError
from dlgrad.lazy.ops import ReduceOps
from dlgrad.matrix.spectra import svdvals
from dlgrad.operators.comparison import eq, gt, ne
from dlgrad.operators.elementwise import abs, div, mul, pow, sign, sub
from dlgrad.operators.reductions import Dims, amax, amin, drop_dims
from dlgrad.operators.reductions import sum as sum_of

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

__all__ = ["dist", "linalg_norm", "matrix_norm", "norm", "renorm", "vector_norm"]


def _as_floats(name: str, x: Tensor, dtype: DType | None) -> Tensor:
    need_tensor(name, x)
    if x.dtype.kind != FLOAT:
        raise DTypeError(f"{name}: expected a floating point tensor, got {x.dtype!r}; use float()")
    if dtype is None:
        return x
    if not isinstance(dtype, DType) or dtype.kind != FLOAT:
        raise DTypeError(f"{name}: dtype should be floating point, but got {dtype!r}")
    if promote_types(x.dtype, dtype) is not dtype:
        raise DTypeError(
            f"{name}: the dtype of the input ({x.dtype!r}) should be convertible without narrowing "
            f"to the specified dtype ({dtype!r})"
        )
    return cast(x, dtype)


def vector_norm(
    x: Tensor, ord: Number = 2, dim: Dims = None, keepdim: bool = False, *,
    dtype: DType | None = None,
) -> Tensor:  # fmt: skip
    """(sum of |x| ** ord) ** (1 / ord) of the elements along `dim` (all of them for None).

    inf is the largest, -inf the smallest size, 0 counts what is not zero.
    """
    if isinstance(ord, bool) or not isinstance(ord, (int, float)):
        raise TypeError(f"linalg.vector_norm: ord is a number, got {ord!r}")
    x = _as_floats("linalg.vector_norm", x, dtype)
    return _of_elements(x, float(ord), dim, keepdim)


def _of_elements(x: Tensor, order: float, dim: Dims, keepdim: bool) -> Tensor:
    dims = wrap_dims(dim, x.ndim)
    if (order < 0 or order == math.inf) and math.prod(x._shape[dim] for dim in dims) == 0:
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {order} norm on an empty tensor because the "
            "operation does not have an identity"
        )
    if order == math.inf:
        return amax(abs(x), dim, keepdim)
    if order == -math.inf:
        return amin(abs(x), dim, keepdim)
    if order == 0:
        with paused():
            count = sum_of(cast(ne(x, 0), x.dtype), dim, keepdim)
        return composed("count", count, x)
    if order == 1:
        return sum_of(abs(x), dim, keepdim)
    wide = cast(x, x.dtype.compute)  # half types are rounded once, at the end
    with paused():
        if order == 2:
            out = reduce(ReduceOps.SUM, wide * wide, dims, True).sqrt()
        else:
            out = reduce(ReduceOps.SUM, abs(wide) ** order, dims, True) ** (1 / order)
    if order == 2:
        out = composed("norm", out, wide, arg=dims)
    else:
        out = composed("power_norm", out, wide, arg=(dims, order))
    return cast(drop_dims(out, dims, keepdim), x.dtype)


def _power_norm_slope(g: Tensor, e: Entry) -> Tensor:
    """sign(a) (|a| / out) ** (order - 1), and 0 where the norm is, or where the slope has none."""
    _, order = e.arg
    flat = eq(e.out, 0) | eq(e.a, 0) if order < 2 else eq(e.out, 0)
    ratio = div(abs(e.a), where(eq(e.out, 0), 1.0, e.out))
    slope = mul(sign(e.a), pow(where(flat, 1.0, ratio), order - 1))
    return where(flat, 0.0, mul(g, slope))


ROWS["power_norm"] = Row("LinalgVectorNorm", Derivative("ao", _power_norm_slope))


def matrix_norm(
    A: Tensor, ord: Number | str = "fro", dim: Sequence[int] = (-2, -1), keepdim: bool = False,
    *, dtype: DType | None = None,
) -> Tensor:  # fmt: skip
    """A norm of matrices: "fro", "nuc" (the sum of the singular values), 2 (the largest of them),
    or the largest sum of sizes in a column (1) or a row (inf); negative orders: the smallest.
    """
    A = _as_floats("linalg.matrix_norm", A, dtype)
    if A.ndim < 2:
        raise RuntimeError(
            f"linalg.matrix_norm: The input tensor A must have at least 2 dimensions, got {A.ndim}"
        )
    if isinstance(dim, int) or len(dim) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {dim!r}")
    row, column = (wrap_dim(one, A.ndim) for one in dim)
    if row == column:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got {tuple(dim)}")
    if ord == "fro":
        return _of_elements(A, 2.0, (row, column), keepdim)
    if ord in ("nuc", 2, -2):
        values = svdvals(A.movedim((row, column), (-2, -1)))
        if ord == "nuc" or not values._shape[-1]:
            out = sum_of(values, -1)
        else:
            out = (amax if ord == 2 else amin)(values, -1)
        for kept in sorted((row, column)) if keepdim else ():
            out = out.unsqueeze(kept)
        return out
    if isinstance(ord, str) or math.fabs(ord) not in (1, math.inf):
        raise RuntimeError(
            f"linalg.matrix_norm: Order {ord!r} not supported; it is one of "
            "'fro', 'nuc', 2, -2, 1, -1, inf, -inf"
        )
    inner, outer = (row, column) if math.fabs(ord) == 1 else (column, row)
    if ord > 0 and A._shape[outer] == 0:
        return _of_elements(A, 1.0, (row, column), keepdim)
    sums = sum_of(abs(A), inner, keepdim=True)
    out = (amax if ord > 0 else amin)(sums, outer, True)
    return drop_dims(out, tuple(sorted((row, column))), keepdim)


def linalg_norm(
    A: Tensor, ord: Number | str | None = None, dim: Dims = None, keepdim: bool = False, *,
    dtype: DType | None = None,
) -> Tensor:  # fmt: skip
    """`vector_norm` or `matrix_norm`, as the order and the number of dimensions say.

    Without an order it is the root of the sum of all squares.
    """
    need_tensor("linalg.norm", A, "A")
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    if dim is None:
        if A.ndim not in (1, 2):
            raise RuntimeError(
                "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. "
                f"Got {A.ndim}D."
            )
        dim = tuple(range(A.ndim))
    dims: Any = (dim,) if isinstance(dim, int) else tuple(dim)
    if len(dims) == 2:
        return matrix_norm(A, ord, dims, keepdim, dtype=dtype)
    if len(dims) != 1:
        raise RuntimeError(f"linalg.norm: If dim is specified, it must be 1 or 2 ints, got {dims}")
    if isinstance(ord, str):
        raise RuntimeError(f"linalg.norm: order {ord!r} is for matrices, not for vectors")
    return vector_norm(A, ord, dims, keepdim, dtype=dtype)


@autocasts
def norm(
    input: Tensor, p: float | str | None = "fro", dim: Dims = None, keepdim: bool = False,
    dtype: DType | None = None,
) -> Tensor:  # fmt: skip
    """The p-norm of the elements: 2 ("fro"), 1, 0, inf, -inf or any number."""
    need_tensor("norm", input)
    if dtype is not None:
        input = cast(input, dtype)
    if input.dtype.kind != FLOAT:
        raise DTypeError(f"norm takes floating-point tensors, got {input.dtype!r}; use x.float()")
    if p == "nuc":
        matrix = dim if dim is not None else tuple(range(input.ndim))
        return matrix_norm(input, "nuc", matrix, keepdim)  # type: ignore[arg-type]
    if p is None or p == "fro":
        p = 2.0
    if isinstance(p, str):
        raise RuntimeError(f"norm takes p='fro' or a number, got {p!r}")
    return _of_elements(input, float(p), dim, keepdim)


@autocasts
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of input - other."""
    need_tensor("dist", input)
    need_tensor("dist", other, "other")
    return norm(sub(input, other), p)


@autocasts
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """`input` with each slice along `dim` scaled down so that its p-norm is at most `maxnorm`."""
    need_tensor("renorm", input)
    if input.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input.ndim}")
    if not p > 0:
        raise RuntimeError(f"renorm: non-positive-norm not supported, got p={p}")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    kept = wrap_dim(dim, input.ndim)
    others = [one for one in range(input.ndim) if one != kept]
    size = norm(input, p, others, True)
    return mul(input, where(gt(size, maxnorm), div(float(maxnorm), size + 1e-7), 1.0))
