"""Factorizations of matrices under PyTorch's names: LU, Cholesky and QR.

Floor 6.  A factorization that is not there, because a matrix is singular or not positive
definite, raises LinAlgError at the call wherever its numbers can be had (see
`operators/places.py`); on a GPU, and while a step is captured, NaN or infinity shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dlgrad.core import apply
from dlgrad.core.apply import cast, counting, filled, where
from dlgrad.core.base import TensorBase, node_of
from dlgrad.core.composing import composed, need_tensor, paused
from dlgrad.core.host import export_numbers
from dlgrad.core.tape import ROWS, Derivative, Entry, Row
from dlgrad.dtype import int32, int64
from dlgrad.errors import AutogradError, DTypeError, LinAlgError, ShapeError
from dlgrad.lazy.ops import FactorOps
from dlgrad.lazy.shape import broadcast_shapes
from dlgrad.matrix.linear import matmul
from dlgrad.matrix.matrices import (
    alone,
    check_matrix,
    check_same_dtype,
    check_system,
    first_failure,
    identity,
    packed,
    triangular,
    triangular_solution,
    unpacked,
    with_batch,
)
from dlgrad.operators.comparison import eq
from dlgrad.operators.gathers import along
from dlgrad.operators.joining import cat
from dlgrad.operators.movement import diagonal, narrow
from dlgrad.operators.places import can_look
from dlgrad.operators.reductions import amin
from dlgrad.operators.triangles import tril, triu

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


class LUFactors(NamedTuple):
    """What `lu_factor` returns."""

    LU: Tensor
    pivots: Tensor


class LUFactorsInfo(NamedTuple):
    """What `lu_factor_ex` returns."""

    LU: Tensor
    pivots: Tensor
    info: Tensor


class LUParts(NamedTuple):
    """What `lu` and `lu_unpack` return."""

    P: Tensor
    L: Tensor
    U: Tensor


class CholeskyInfo(NamedTuple):
    """What `cholesky_ex` returns."""

    L: Tensor
    info: Tensor


class QRParts(NamedTuple):
    """What `qr` returns."""

    Q: Tensor
    R: Tensor


# LU ---------------------------------------------------------------------------------------------


def lu_packed(A: Tensor) -> tuple[Tensor, Tensor]:
    """(L below U, the exchanges of rows counted from 0), not recorded."""
    with paused():
        found = unpacked(packed(FactorOps.LU, A), FactorOps.LU, A._shape)
    return found["factors"], found["pivots"]


def zero_pivot(factors: Tensor) -> Tensor:
    """Which diagonal element of U is the first that is 0, counted from 1; 0 if none is. int32."""
    main = diagonal(factors.detach(), 0, -2, -1)
    count = main._shape[-1]
    if not count:
        return filled(0, int32, main._shape[:-1], node_of(main).device)
    number = counting(main.ndim - 1, int32, main._shape, node_of(main).device) + 1
    first = amin(where(eq(main, 0), number, count + 1), -1)
    return where(first > count, 0, first)


def row_order(pivots: Tensor, rows: int) -> Tensor:
    """Which row of the matrix each row of L U is, from the exchanges counted from 0."""
    return packed(FactorOps.PERMUTATION, cast(pivots, int64), arg=rows)


def in_row_order(B: Tensor, order: Tensor) -> Tensor:
    """The rows of matrices in another order; the batches are equal."""
    if not B.numel():
        return B
    index = order.unsqueeze(-1).expand(B._shape)
    return apply.gather(B, index, along(B.ndim, B.ndim - 2))


def order_matrix(order: Tensor, like: TensorBase) -> Tensor:
    """The matrices P with A = P L U."""
    rows = order._shape[-1]
    number = counting(0, int64, (rows, rows), node_of(order).device)
    return cast(eq(number, order.unsqueeze(-2)), like.dtype)


def _recorded_lu(A: Tensor) -> tuple[Tensor, Tensor]:
    """`lu_packed`, with a derivative."""
    with paused():
        whole = packed(FactorOps.LU, A)
    found = unpacked(composed("lu", whole, A), FactorOps.LU, A._shape)
    return found["factors"], found["pivots"].detach()


def _lu_slope(g: Tensor, e: Entry) -> Tensor:
    """With A = P [L1; L2] [U1, U2]: P L1^-T (tril(L1^T gL1 - gU2 U2^T, -1) + triu(gU1 U1^T -
    L2^T gL2)) U1^-T, beside P L1^-T gU2 and above gL2 U1^-T."""
    shape = e.source_shape(0)
    rows, columns = shape[-2:]
    least = min(rows, columns)
    found = unpacked(e.out, FactorOps.LU, shape)
    values, g = found["factors"], unpacked(g, FactorOps.LU, shape)["factors"]
    square = values[..., :least, :least]
    low = tril(square, -1) + identity(least, least, g)
    top = g[..., :least, :least]
    under, over = matmul(low.mT, tril(top, -1)), matmul(triu(top), triu(square).mT)
    beside, below = g[..., :least, least:], g[..., least:, :least]
    if columns > least:
        under = under - matmul(beside, values[..., :least, least:].mT)
    if rows > least:
        over = over - matmul(values[..., least:, :least].mT, below)
    inner = _over_upper(tril(under, -1) + triu(over), square)
    out = triangular_solution(square.mT, inner, True, True)
    if columns > least:
        other = triangular_solution(square.mT, beside, True, True)
        out = cat([out, other], -1)
    if rows > least:
        out = cat([out, _over_upper(below, square)], -2)
    order = row_order(found["pivots"].detach(), rows)
    return matmul(order_matrix(order, g), out)


def _over_upper(B: Tensor, U: Tensor) -> Tensor:
    """B U^-T."""
    return triangular_solution(U, B.mT, True).mT


ROWS["lu"] = Row("LinalgLuFactor", Derivative("o", _lu_slope))


def _need_pivot(pivot: bool) -> None:
    if not pivot:
        raise RuntimeError(
            "linalg.lu_factor: LU without pivoting is not implemented; leave out pivot=False"
        )


def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> LUFactorsInfo:
    """L (without its ones) below U, the exchanges of rows, and which pivot is the first that is 0.

    `pivots` (int32, from 1): row i was changed with row pivots[i], one after the other.
    """
    _need_pivot(pivot)
    check_matrix("lu_factor", A)
    factors, pivots = _recorded_lu(A)
    info = zero_pivot(factors)
    failure = first_failure(info) if check_errors else None
    if failure:
        raise LinAlgError(_zero_pivot_text("linalg.lu_factor_ex", *failure))
    return LUFactorsInfo(factors, cast(pivots, int32) + 1, info)


def _zero_pivot_text(name: str, which: str, number: int) -> str:
    return (
        f"{name}: {which}U[{number},{number}] is zero and using it on lu_solve would result in a "
        "division by zero. If you still want to perform the factorization, consider calling "
        "linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)"
    )


def lu_factor(A: Tensor, *, pivot: bool = True) -> LUFactors:
    """L (without its ones) below U, and the exchanges of rows, see `lu_factor_ex`.

    RuntimeError where a pivot is 0.
    """
    factors, pivots, info = lu_factor_ex(A, pivot=pivot)
    failure = first_failure(info)
    if failure:
        raise LinAlgError(_zero_pivot_text("linalg.lu_factor", *failure))
    return LUFactors(factors, pivots)


def lu(A: Tensor, *, pivot: bool = True) -> LUParts:
    """P, L and U with A = P L U."""
    _need_pivot(pivot)
    check_matrix("linalg.lu", A)
    factors, pivots = _recorded_lu(A)
    return _lu_parts(factors, pivots)


def _lu_parts(factors: Tensor, pivots: Tensor) -> LUParts:
    rows, columns = factors._shape[-2:]
    least = min(rows, columns)
    low = tril(factors[..., :, :least], -1) + identity(rows, least, factors)
    order = row_order(pivots, rows)
    return LUParts(order_matrix(order, factors), low, triu(factors[..., :least, :]))


def lu_unpack(
    LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True
) -> LUParts:
    """P, L and U from what `lu_factor` returns; what is not wanted is an empty tensor."""
    check_matrix("lu_unpack", LU_data, argument="LU_data")
    _check_pivots("lu_unpack", LU_pivots)
    found = _lu_parts(LU_data, LU_pivots - 1)
    nothing = LU_data.new_empty((0,))
    return LUParts(
        found.P if unpack_pivots else nothing,
        found.L if unpack_data else nothing,
        found.U if unpack_data else nothing,
    )


def _check_pivots(name: str, pivots: Tensor) -> None:
    need_tensor(name, pivots, "pivots")
    if pivots.dtype is not int32:
        raise DTypeError(
            f"{name}: pivots should be a Tensor of scalar type int32, got {pivots.dtype!r}; "
            "take them from lu_factor"
        )


def lu_solve(
    LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False
) -> Tensor:
    """X of A X = B (X A = B without `left`) from what `lu_factor(A)` returned.

    With `adjoint` the transpose of A takes its place.
    """
    name = "linalg.lu_solve"
    check_matrix(name, LU, True, "LU")
    check_matrix(name, B, argument="B")
    _check_pivots(name, pivots)
    check_same_dtype(name, LU, B)
    check_system(name, LU, B, left)
    if pivots._shape != LU._shape[:-1]:
        raise ShapeError(
            f"{name}: Number of pivots per batch should be same as the dimension of the matrix; "
            f"got pivots of shape {list(pivots._shape)} for LU of shape {list(LU._shape)}"
        )
    size = LU._shape[-1]
    if pivots.numel() and can_look(pivots):
        numbers = export_numbers(pivots)
        if min(numbers) < 1 or max(numbers) > size:
            raise RuntimeError(
                "Pivots given to lu_solve must all be greater or equal to 1 and smaller or equal "
                "to LU.size(-2). Did you properly pass the result of lu_factor?"
            )
    if not left:
        return lu_solve(LU, pivots, B.mT, adjoint=not adjoint).mT
    batch = broadcast_shapes(LU._shape[:-2], B._shape[:-2])
    LU, B = with_batch(batch, LU), with_batch(batch, B)
    order = row_order(pivots - 1, size).expand((*batch, size))
    if not adjoint:
        inner = triangular_solution(LU, in_row_order(B, order), False, True)
        return triangular_solution(LU, inner, True)
    inner = triangular_solution(LU.mT, B, False)
    inner = triangular_solution(LU.mT, inner, True, True)
    return matmul(order_matrix(order, B), inner)


# Cholesky ---------------------------------------------------------------------------------------


def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> CholeskyInfo:
    """L with A = L L^T (with `upper` its transpose), and 0 where it was found.

    Else `info` (int32) is the size of the first leading part of A that is not positive definite.
    Only the lower (upper) triangle is read.
    """
    return _cholesky("linalg.cholesky_ex" if check_errors else "", A, upper)


def cholesky(A: Tensor, upper: bool = False) -> Tensor:
    """L with A = L L^T (with `upper` its transpose); only the lower (upper) triangle is read.

    LinAlgError where A is not positive definite.
    """
    return _cholesky("linalg.cholesky", A, upper).L


def _cholesky(raiser: str, A: Tensor, upper: bool) -> CholeskyInfo:
    """Raises in the name of `raiser` where there is no factor; for "" not at all."""
    check_matrix("linalg.cholesky", A, True)
    source = A.mT if upper else A
    with paused():
        whole = packed(FactorOps.CHOLESKY, source)
        found = unpacked(whole, FactorOps.CHOLESKY, source._shape)
        info = cast(found["info"], int32).squeeze(-1)
    failure = first_failure(info) if raiser else None
    if failure:
        which, number = failure
        raise LinAlgError(
            f"{raiser}: {which}The factorization could not be completed because the input is not "
            f"positive-definite (the leading minor of order {number} is not positive-definite)."
        )
    factor = composed("cholesky", alone(found["factor"]), source)
    return CholeskyInfo(factor.mT if upper else factor, info)


def _cholesky_slope(g: Tensor, e: Entry) -> Tensor:
    """L^-T S L^-1, S the symmetric half of the lower triangle of L^T g (Murray, 2016)."""
    low = e.out
    inner = tril(matmul(low.mT, g))
    inner = (inner + tril(inner, -1).mT) * 0.5
    half = triangular_solution(low.mT, inner, True)
    return triangular_solution(low.mT, half.mT, True)


ROWS["cholesky"] = Row("LinalgCholeskyEx", Derivative("o", _cholesky_slope))


def cholesky_solve(input: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X of A X = input from A's Cholesky factor."""
    name = "cholesky_solve"
    check_matrix(name, input, argument="b")
    check_matrix(name, L, True, "u")
    check_same_dtype(name, L, input)
    check_system(name, L, input, True)
    batch = broadcast_shapes(input._shape[:-2], L._shape[:-2])
    return _over_square(with_batch(batch, input), with_batch(batch, L), upper)


def _over_square(B: Tensor, L: Tensor, upper: bool) -> Tensor:
    """X of L L^T X = B, or of L^T L X = B; the batches are equal."""
    with paused():
        low = L.mT if upper else L
        out = alone(triangular(low.mT, triangular(low, B, False), True))
    return composed("cholesky_solve", out, B, L, arg=upper)


def _square_slope(g: Tensor, e: Entry) -> Tensor:
    """The gradient of the factor, as a matrix that need not be a triangle."""
    slope = -matmul(_over_square(g, e.b, e.arg), e.out.mT)
    slope = slope + slope.mT
    return matmul(e.b, slope) if e.arg else matmul(slope, e.b)


ROWS["cholesky_solve"] = Row(
    "CholeskySolve",
    Derivative("b", lambda g, e: _over_square(g, e.b, e.arg)),
    Derivative("bo", _square_slope),
)


def cholesky_inverse(input: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A from its Cholesky factor."""
    check_matrix("cholesky_inverse", input, True)
    one = identity(input._shape[-1], input._shape[-1], input)
    return cholesky_solve(one.expand(input._shape), input, upper)


# QR ---------------------------------------------------------------------------------------------


def qr(A: Tensor, mode: str = "reduced") -> QRParts:
    """Q with orthonormal columns and an upper triangle R, A = Q R.

    Of a matrix m by n, "reduced": Q is m by min(m, n); "complete": m by m; "r": only R, and Q
    is an empty tensor.
    """
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), "
            "'r', or 'complete'"
        )
    check_matrix("linalg.qr", A)
    rows, columns = A._shape[-2:]
    least = min(rows, columns)
    wanted = {"reduced": least, "complete": rows, "r": 0}[mode]
    with paused():
        whole = packed(FactorOps.QR, A, arg=wanted)
    whole = composed("qr", whole, A, arg=(mode, wanted))
    found = unpacked(whole, FactorOps.QR, A._shape, wanted)
    triangle = found["triangle"].mT
    if mode != "complete":
        triangle = narrow(triangle, -2, 0, least)
    basis = A.new_empty((0,)) if mode == "r" else found["basis"].mT
    return QRParts(basis, triangle)


def _qr_slope(g: Tensor, e: Entry) -> Tensor:
    """(gQ + Q S) R^-T, S the symmetric upper triangle of R gR^T - gQ^T Q, for at least as many
    rows as columns; the columns beyond are Q times what they are in R."""
    mode, wanted = e.arg
    shape = e.source_shape(0)
    rows, columns = shape[-2:]
    if mode == "r":
        raise AutogradError(
            "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. "
            "Please use linalg.qr(A, mode='reduced') if you are going to differentiate through "
            "linalg.qr."
        )
    if mode == "complete" and rows > columns:
        raise AutogradError(
            "The QR decomposition is not differentiable when mode='complete' and nrows > ncols; "
            "use mode='reduced'."
        )
    least = min(rows, columns)
    found, slope = (unpacked(x, FactorOps.QR, shape, wanted) for x in (e.out, g))
    Q, R = found["basis"].mT, found["triangle"].mT[..., :least, :]
    gQ, gR = slope["basis"].mT, triu(slope["triangle"].mT[..., :least, :])
    if columns > least:
        beyond = gR[..., least:]
        gQ = gQ + matmul(matmul(Q, R[..., least:]), beyond.mT)
    square = R[..., :least]
    inner = triu(matmul(gR[..., :least], square.mT) - matmul(Q.mT, gQ))
    inner = inner + triu(inner, 1).mT
    out = _over_upper(gQ + matmul(Q, inner), square)
    if columns > least:
        out = cat([out, matmul(Q, beyond)], -1)
    return out


ROWS["qr"] = Row("LinalgQr", Derivative("o", _qr_slope))
