"""Eigenvalues of symmetric matrices, singular values, and what follows from them.

Floor 6.  By Jacobi's rotations, see `codegen/lower_rotations.py`: exact to rounding, at a price
that is right for matrices up to a few hundred rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from dlgrad.core.apply import reduce, where
from dlgrad.core.base import TensorBase, grad_mode, is_tensor, node_of, requires_grad
from dlgrad.core.composing import composed, need_tensor, paused
from dlgrad.core.creation import as_tensor
from dlgrad.core.host import export_numbers
from dlgrad.core.tape import ROWS, Derivative, Entry, Row
from dlgrad.dtype import int64
from dlgrad.errors import LinAlgError, ShapeError
from dlgrad.lazy.ops import FactorOps, ReduceOps
from dlgrad.lazy.shape import broadcast_shapes
from dlgrad.matrix.linear import matmul
from dlgrad.matrix.matrices import (
    check_matrix,
    check_same_dtype,
    identity,
    packed,
    unpacked,
    with_batch,
)
from dlgrad.operators.comparison import eq, gt, lt, ne
from dlgrad.operators.elementwise import abs, div, maximum
from dlgrad.operators.joining import cat
from dlgrad.operators.movement import diagonal, narrow, unflatten
from dlgrad.operators.places import can_look, none_of
from dlgrad.operators.triangles import diag_embed, tril, triu

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


class EighResult(NamedTuple):
    """What `eigh` returns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class SVDResult(NamedTuple):
    """What `linalg.svd` returns."""

    U: Tensor
    S: Tensor
    Vh: Tensor


class LstsqResult(NamedTuple):
    """What `lstsq` returns; what was not asked for is an empty tensor."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


def rounding(x: TensorBase) -> float:
    """The distance from 1 to the next number of the dtype of `x`."""
    return 2.0**-52 if x.dtype.itemsize == 8 else 2.0**-23


def quotient(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 for 0 / 0: vectors of equal values that nothing depends on have no slope."""
    return div(a, where(eq(a, 0), 1.0, b))


def _outer_difference(values: Tensor) -> Tensor:
    """values[j] - values[i] at [i, j], and 1 on the diagonal."""
    size = values._shape[-1]
    return values.unsqueeze(-2) - values.unsqueeze(-1) + identity(size, size, values)


# Eigenvalues --------------------------------------------------------------------------------------


def eigh(A: Tensor, UPLO: str = "L") -> EighResult:
    """The eigenvalues of symmetric matrices, ascending, and an eigenvector for each, a column.

    Only the lower ("L") or upper ("U") triangle is read.
    """
    check_matrix("linalg.eigh", A, True)
    if UPLO not in ("L", "l", "U", "u"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    size = A._shape[-1]
    with paused():
        if UPLO in "Ll":
            symmetric = tril(A) + tril(A, -1).mT
        else:
            symmetric = triu(A) + triu(A, 1).mT
        whole = packed(FactorOps.EIGH, symmetric)
    found = unpacked(composed("eigh", whole, A, arg=size), FactorOps.EIGH, A._shape)
    return EighResult(found["values"], found["vectors"].mT)


def _eigh_slope(g: Tensor, e: Entry) -> Tensor:
    """V (diag(gL) + X / E) V^T, X the skew half of V^T gV, E = L_j - L_i."""
    shape = (e.arg, e.arg)
    found, slope = (unpacked(x, FactorOps.EIGH, shape) for x in (e.out, g))
    values, vectors = found["values"], found["vectors"].mT
    inner = matmul(vectors.mT, slope["vectors"].mT)
    inner = quotient((inner - inner.mT) * 0.5, _outer_difference(values))
    inner = inner + diag_embed(slope["values"])
    return matmul(vectors, matmul(inner, vectors.mT))


ROWS["eigh"] = Row("LinalgEigh", Derivative("o", _eigh_slope))


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues of symmetric matrices, ascending."""
    return eigh(A, UPLO).eigenvalues


def eig(A: Tensor) -> NoReturn:
    """Raises: the eigenvalues of a matrix that is not symmetric are complex numbers."""
    raise NotImplementedError(
        "linalg.eig gives complex numbers, which dlgrad does not have; for symmetric matrices "
        "use linalg.eigh"
    )


def eigvals(A: Tensor) -> NoReturn:
    """Raises: the eigenvalues of a matrix that is not symmetric are complex numbers."""
    raise NotImplementedError(
        "linalg.eigvals gives complex numbers, which dlgrad does not have; for symmetric "
        "matrices use linalg.eigvalsh"
    )


# Singular values ----------------------------------------------------------------------------------


def _check_finite(values: Tensor) -> None:
    """LinAlgError where a singular value is NaN or infinite."""
    if not values.numel() or not can_look(values):
        return
    for place, number in enumerate(export_numbers(values)):
        if not math.isfinite(number):
            matrix = place // values._shape[-1]
            which = f"(Batch element {matrix}): " if values.ndim > 1 else ""
            raise LinAlgError(
                f"linalg.svd: {which}The algorithm failed to converge because the input matrix "
                "contained non-finite values."
            )


def _tall_svd(A: Tensor, full: bool) -> SVDResult:
    """U, S, V^T of matrices with at least as many rows as columns, not recorded.

    The images of the right vectors are orthogonal: their QR factorization has them as the
    columns of Q, turned round where R is negative, and completes them to a basis.
    """
    rows, columns = A._shape[-2:]
    found = unpacked(packed(FactorOps.SVD, A), FactorOps.SVD, A._shape)
    _check_finite(found["values"])
    images = found["images"].mT
    wanted = rows if full else columns
    turned = unpacked(packed(FactorOps.QR, images, arg=wanted), FactorOps.QR, A._shape, wanted)
    is_negative = lt(diagonal(turned["triangle"], 0, -2, -1), 0).unsqueeze(-1)
    basis = turned["basis"]
    leading = narrow(basis, -2, 0, columns)
    leading = where(is_negative, -leading, leading)
    if full and rows > columns:
        leading = cat([leading, narrow(basis, -2, columns, rows - columns)], -2)
    return SVDResult(leading.mT, found["values"], found["vectors"])


def _recorded_svd(A: Tensor, full: bool) -> SVDResult:
    """U, S, V^T of tall matrices; the columns that complete U have no derivative."""
    rows, columns = A._shape[-2:]
    with paused():
        U, S, Vh = _tall_svd(A, full)
        if not requires_grad(A):
            return SVDResult(U, S, Vh)
        leading = narrow(U, -1, 0, columns)
        flat = [leading.flatten(-2), S, Vh.flatten(-2)]
        whole = cat(flat, -1)
    whole = composed("svd", whole, A, arg=(rows, columns))
    first, values, vectors = _svd_parts(whole, rows, columns)
    if full and rows > columns:
        first = cat([first, narrow(U, -1, columns, rows - columns)], -1)
    return SVDResult(first, values, vectors)


def _svd_parts(whole: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """U, S and V^T of tall matrices in one row for each."""
    split = rows * columns
    return (
        unflatten(narrow(whole, -1, 0, split), -1, (rows, columns)),
        narrow(whole, -1, split, columns),
        unflatten(narrow(whole, -1, split + columns, columns * columns), -1, (columns, columns)),
    )


def _svd_slope(g: Tensor, e: Entry) -> Tensor:
    """U (skew(U^T gU) / E S + S skew(V^T gV) / E + diag(gS)) V^T, and what leaves the columns
    of U; E = S_j^2 - S_i^2, skew(X) = X - X^T."""
    rows, columns = e.arg
    U, S, Vh = _svd_parts(e.out, rows, columns)
    gU, gS, gVh = _svd_parts(g, rows, columns)
    left, right = matmul(U.mT, gU), matmul(Vh, gVh.mT)
    spread = _outer_difference(S * S)
    across, down = S.unsqueeze(-2), S.unsqueeze(-1)
    inner = quotient(left - left.mT, spread) * across + down * quotient(right - right.mT, spread)
    out = matmul(U, matmul(inner + diag_embed(gS), Vh))
    if rows > columns:
        outside = gU - matmul(U, left)
        out = out + matmul(quotient(outside, across.expand(outside._shape)), Vh)
    return out


ROWS["svd"] = Row("LinalgSvd", Derivative("o", _svd_slope))


def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> SVDResult:
    """U, S and V^T with A = U diag(S) V^T; S is descending.

    Of matrices m by n, with k = min(m, n): U is m by m and V^T n by n, without `full_matrices`
    m by k and k by n.  Vectors are there up to their sign.
    """
    if driver is not None:
        raise RuntimeError("linalg.svd: keyword argument `driver=` is not supported; leave it out")
    check_matrix("linalg.svd", A)
    if A._shape[-2] >= A._shape[-1]:
        return _recorded_svd(A, full_matrices)
    U, S, Vh = _recorded_svd(A.mT, full_matrices)
    return SVDResult(Vh.mT, S, U.mT)


def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """The singular values of matrices, descending."""
    check_matrix("linalg.svd", A)
    tall = A if A._shape[-2] >= A._shape[-1] else A.mT
    if grad_mode.enabled and requires_grad(A):
        return _recorded_svd(tall, False).S
    with paused():
        values = unpacked(packed(FactorOps.SVD, tall), FactorOps.SVD, tall._shape)["values"]
    _check_finite(values)
    return values.clone()


# The pseudoinverse and the rank -------------------------------------------------------------------


def _limit(largest: Tensor, A: Tensor, atol: Any, rtol: Any) -> Tensor:
    """The size up to which a singular value counts as 0, with a dimension for the values."""
    if rtol is None:
        rtol = 0.0
        if atol is None:
            rtol = rounding(A) * max(A._shape[-2:])
        elif is_tensor(atol):
            rtol = where(gt(atol, 0), 0.0, rounding(A) * max(A._shape[-2:]))
    absolute, relative = (
        as_tensor(0.0 if x is None else x, dtype=A.dtype, device=node_of(A).device).unsqueeze(-1)
        for x in (atol, rtol)
    )
    return maximum(absolute, relative * largest)


def _largest(values: Tensor) -> Tensor:
    if not values._shape[-1]:
        return values.new_zeros((*values._shape[:-1], 1))
    return reduce(ReduceOps.MAX, values, (values.ndim - 1,), True)


def pinv(
    A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """The pseudoinverse; singular values up to max(atol, rtol * the largest) count as 0.

    `rtol` is max(m, n) roundings by default; `hermitian` says that A is symmetric.
    """
    if not isinstance(A, TensorBase) or A.ndim < 2 or not A.dtype.is_floating_point:
        need_tensor("linalg.pinv", A, "A")
        raise ShapeError(
            f"linalg.pinv({A.dtype!r}{{{list(A._shape)}}}): expected a tensor with 2 or more "
            "dimensions of float, double, cfloat or cdouble types"
        )
    check_matrix("linalg.pinv", A, hermitian)
    with paused():
        out = _pseudoinverse(A, atol, rcond if rcond is not None else rtol, hermitian)
    return composed("pinv", out, A)


def _pseudoinverse(A: Tensor, atol: Any, rtol: Any, hermitian: bool) -> Tensor:
    if not A.numel():
        return A.new_zeros((*A._shape[:-2], A._shape[-1], A._shape[-2]))
    if hermitian:
        values, left = eigh(A)
        right = left
    else:
        left, values, across = svd(A, False)
        right = across.mT
    sizes = abs(values)
    kept = gt(sizes, _limit(_largest(sizes), A, atol, rtol))
    scales = where(kept, div(1.0, where(kept, values, 1.0)), 0.0)
    return matmul(right * scales.unsqueeze(-2), left.mT)


def _pinv_slope(g: Tensor, e: Entry) -> Tensor:
    """-P^T g P^T + (I - A P) g^T P P^T + P^T P g^T (I - P A), for a rank that does not change
    (Golub and Pereyra, 1973)."""
    A, P = e.a, e.out
    left = matmul(matmul(g.mT, P), P.mT)
    right = matmul(P.mT, matmul(P, g.mT))
    out = -matmul(P.mT, matmul(g, P.mT))
    out = out + left - matmul(A, matmul(P, left))
    return out + right - matmul(matmul(right, P), A)


ROWS["pinv"] = Row("LinalgPinv", Derivative("ao", _pinv_slope))


def matrix_rank(
    A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """How many singular values are above max(atol, rtol * the largest), int64.

    `rtol` is max(m, n) roundings by default; `tol` is the same as `atol`.
    """
    check_matrix("linalg.matrix_rank", A, hermitian, "input")
    if tol is not None:
        atol, rtol = tol, 0.0
    with paused():
        if not A.numel():
            return A.new_zeros(A._shape[:-2], dtype=int64)
        sizes = abs(eigh(A).eigenvalues) if hermitian else svdvals(A.detach())
        return gt(sizes, _limit(_largest(sizes), A, atol, rtol)).sum(-1)


# Least squares ------------------------------------------------------------------------------------


def lstsq(
    A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None
) -> LstsqResult:
    """The X of least norm among those for which the sum of squares of A X - B is least.

    Singular values up to `rcond` times the largest count as 0.  `driver` is one of LAPACK's
    names, and says which results besides X are wanted, as in PyTorch; "gels" needs a full rank.
    """
    name = "linalg.lstsq"
    driver = "gelsy" if driver is None else driver
    if driver not in ("gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError(
            f"{name}: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)"
        )
    if A.ndim < 2:
        raise ShapeError(f"{name}: input must have at least 2 dimensions.")
    check_matrix(name, A)
    check_same_dtype(name, A, B)
    if not 0 <= A.ndim - B.ndim <= 1:
        raise ShapeError(
            f"{name}: input.dim() must be greater or equal to other.dim() and "
            "(input.dim() - other.dim()) <= 1"
        )
    is_vector = B.ndim == A.ndim - 1
    right = B.unsqueeze(-1) if is_vector else B
    if right._shape[-2] != A._shape[-2]:
        size = "other.size(-1)" if is_vector else "other.size(-2)"
        raise ShapeError(f"{name}: input.size(-2) should match {size}")
    batch = broadcast_shapes(A._shape[:-2], right._shape[:-2])
    A, right = with_batch(batch, A), with_batch(batch, right)
    rows, columns = A._shape[-2:]
    values = svdvals(A.detach())
    rank = gt(values, _limit(_largest(values), A, None, rcond)).sum(-1)
    full = _has_full_rank(rank, columns) if rows >= columns else _has_full_rank(rank, rows)
    if driver == "gels" and not full:
        raise LinAlgError(
            f"{name}: The least squares solution could not be computed because the input matrix "
            "does not have full rank; use the driver 'gelsd'"
        )
    X = matmul(pinv(A, rcond), right)
    residuals = none_of(X, (0,))
    if rows > columns and full and driver != "gelsy":
        rest = matmul(A, X) - right
        residuals = (rest * rest).sum(-2)
    return LstsqResult(
        X.squeeze(-1) if is_vector else X,
        residuals.squeeze(-1) if is_vector and residuals.ndim > 1 else residuals,
        rank if driver != "gels" else A.new_empty((0,), dtype=int64),
        values if driver in ("gelsd", "gelss") else A.new_empty((0,)),
    )


def _has_full_rank(rank: Tensor, size: int) -> bool:
    """True where it cannot be looked at, too."""
    if not rank.numel() or not can_look(rank):
        return True
    return not bool(ne(rank, size).any())
