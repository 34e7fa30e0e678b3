"""Linear equations, inverses and determinants under PyTorch's names, by LU factorization.

Floor 6.  A singular matrix raises LinAlgError at the call wherever its numbers can be had (see
`operators/places.py`); elsewhere the result has infinities or NaN.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

from dlgrad.core.apply import cast, filled, reduce, where
from dlgrad.core.base import grad_mode
from dlgrad.core.composing import composed, paused
from dlgrad.core.tape import ROWS, Derivative, Entry, Row
from dlgrad.errors import LinAlgError, ShapeError
from dlgrad.lazy.ops import ReduceOps
from dlgrad.lazy.shape import broadcast_shapes
from dlgrad.matrix.factorizations import in_row_order, lu_packed, row_order, zero_pivot
from dlgrad.matrix.linear import matmul
from dlgrad.matrix.matrices import (
    alone,
    check_matrix,
    check_same_dtype,
    check_system,
    first_failure,
    identity,
    triangular,
    with_batch,
)
from dlgrad.matrix.spectra import rounding
from dlgrad.operators.comparison import eq, lt
from dlgrad.operators.elementwise import abs, log, sign
from dlgrad.operators.movement import diagonal
from dlgrad.operators.ranges import arange
from dlgrad.operators.triangles import diag_embed

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


class SlogdetResult(NamedTuple):
    """What `slogdet` returns."""

    sign: Tensor
    logabsdet: Tensor


class InverseInfo(NamedTuple):
    """What `inv_ex` returns."""

    inverse: Tensor
    info: Tensor


class SolutionInfo(NamedTuple):
    """What `solve_ex` returns."""

    result: Tensor
    info: Tensor


# Equations ----------------------------------------------------------------------------------------


def factored_solution(factors: Tensor, pivots: Tensor, B: Tensor) -> Tensor:
    """X of A X = B from what `lu_packed(A)` gave, not recorded; the batches are equal."""
    order = row_order(pivots, factors._shape[-1])
    inner = triangular(factors, in_row_order(B, order), False, True)
    return triangular(factors, inner, True)


def solution(A: Tensor, B: Tensor, known: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """X of A X = B for matrices of equal batches; `known` is `lu_packed(A)`."""
    with paused():
        factors, pivots = lu_packed(A) if known is None else known
        out = alone(factored_solution(factors, pivots, B))
    return composed("solve", out, A, B)


ROWS["solve"] = Row(
    "LinalgSolveEx",
    Derivative("ao", lambda g, e: -matmul(solution(e.a.mT, g), e.out.mT)),
    Derivative("a", lambda g, e: solution(e.a.mT, g)),
)


def solve_ex(
    A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False
) -> SolutionInfo:
    """X of A X = B (X A = B without `left`), and 0 where it was found, else 1 or more (int32)."""
    return _solved("linalg.solve_ex" if check_errors else "", A, B, left)


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X of A X = B, or of X A = B without `left`; LinAlgError where A is singular.

    Batches are broadcast; B may be one vector per matrix.
    """
    return _solved("linalg.solve", A, B, left).result


def _solved(raiser: str, A: Tensor, B: Tensor, left: bool) -> SolutionInfo:
    name = "linalg.solve"
    check_matrix(name, A, True)
    check_same_dtype(name, A, B)
    is_vector = B.ndim == 1 or (B.ndim == A.ndim - 1 and B._shape == A._shape[:-1])
    if is_vector and not left:
        raise ShapeError(
            f"{name}: Vector broadcasting of the left hand side is not supported for left=False. "
            "In this case linalg.solve is equivalent to B / A.squeeze(-1)"
        )
    right = B.unsqueeze(-1) if is_vector else B
    check_matrix(name, right, argument="B")
    check_system(name, A, right, left)
    batch = broadcast_shapes(A._shape[:-2], right._shape[:-2])
    with paused():
        known = lu_packed(A if left else A.mT)
        info = zero_pivot(known[0])
    failure = first_failure(info) if raiser else None
    if failure:
        raise LinAlgError(
            f"{raiser}: {failure[0]}The solver failed because the input matrix is singular."
        )
    if A._shape[:-2] != batch:
        info = info.expand(batch).clone()
        known = with_batch(batch, known[0]), known[1].expand(batch + known[1]._shape[-1:])
    wide, right = with_batch(batch, A), with_batch(batch, right)
    if not left:
        return SolutionInfo(solution(wide.mT, right.mT, known).mT, info)
    out = solution(wide, right, known)
    return SolutionInfo(out.squeeze(-1) if is_vector else out, info)


# Inverses -----------------------------------------------------------------------------------------


def inverse_of(A: Tensor, known: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """The inverse, unchecked; `known` is `lu_packed(A)`."""
    size = A._shape[-1]
    with paused():
        factors, pivots = lu_packed(A) if known is None else known
        one = with_batch(A._shape[:-2], identity(size, size, A))
        out = alone(factored_solution(factors, pivots, one))
    return composed("inverse", out, A)


ROWS["inverse"] = Row(
    "LinalgInvEx",
    Derivative("o", lambda g, e: -matmul(e.out.mT, matmul(g, e.out.mT))),
)


def inv_ex(A: Tensor, *, check_errors: bool = False) -> InverseInfo:
    """The inverse, and 0 where it was found, else which pivot is 0, counted from 1 (int32)."""
    return _inverted("linalg.inv_ex" if check_errors else "", A)


def inv(A: Tensor) -> Tensor:
    """The inverse of square matrices; LinAlgError where one is singular."""
    return _inverted("linalg.inv", A).inverse


def _inverted(raiser: str, A: Tensor) -> InverseInfo:
    check_matrix("linalg.inv", A, True)
    with paused():
        known = lu_packed(A)
        info = zero_pivot(known[0])
    failure = first_failure(info) if raiser else None
    if failure:
        which, number = failure
        raise LinAlgError(
            f"{raiser}: {which}The diagonal element {number} is zero, the inversion could not be "
            "completed because the input matrix is singular."
        )
    return InverseInfo(inverse_of(A, known), info)


def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of `A` as a map from its last dimensions to its first `ind`."""
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', but got {ind}")
    rows, columns = prod(A._shape[:ind]), prod(A._shape[ind:])
    if rows != columns:
        raise ShapeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == "
            f"prod(self.shape[:ind]), but got {columns} != {rows}"
        )
    shape = A._shape[ind:] + A._shape[:ind]
    return inv(A.reshape(rows, columns)).reshape(shape)


def tensorsolve(A: Tensor, B: Tensor, dims: tuple[int, ...] | None = None) -> Tensor:
    """X with tensordot(A, X, X.ndim) = B; `dims` of A are moved to its end first."""
    if dims is not None:
        A = A.movedim(tuple(dims), tuple(range(A.ndim - len(dims), A.ndim)))
    shape = A._shape[B.ndim :]
    rows, columns = prod(A._shape[: B.ndim]), prod(shape)
    if rows != columns:
        raise ShapeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
            f"prod(self.shape[:other.ndim]), but got {columns} != {rows}"
        )
    return solve(A.reshape(rows, columns), B.reshape(-1)).reshape(shape)


# Determinants -------------------------------------------------------------------------------------


def _sign_of_order(pivots: Tensor) -> Tensor:
    """-1 where the rows were changed an odd number of times, else 1."""
    place = arange(pivots._shape[-1], dtype=pivots.dtype, device=pivots.device)
    changes = (pivots != place).sum(-1)
    return cast(1 - 2 * (changes % 2), pivots.dtype)


def _determinant(factors: Tensor, pivots: Tensor) -> Tensor:
    main = diagonal(factors, 0, -2, -1)
    return reduce(ReduceOps.PROD, main, (main.ndim - 1,), False) * _sign_of_order(pivots)


def det(A: Tensor) -> Tensor:
    """The determinants of square matrices."""
    check_matrix("linalg.det", A, True)
    with paused():
        out = _determinant(*lu_packed(A))
    return composed("det", out, A)


def _cofactors(g: Tensor, e: Entry) -> Tensor:
    """det(A) A^-T, which is there for singular matrices, too: from pivots next to 0 in their place.

    For derivatives of higher order the matrix has to be regular.
    """
    scale = g.unsqueeze(-1).unsqueeze(-1)
    if grad_mode.enabled or not e.a.numel():
        return scale * e.out.unsqueeze(-1).unsqueeze(-1) * inverse_of(e.a).mT
    factors, pivots = lu_packed(e.a)
    main = diagonal(factors, 0, -2, -1)
    least = rounding(e.a) * abs(main).amax(-1, keepdim=True).clamp(min=1)
    moved = where(eq(main, 0), least, main)
    factors = factors + diag_embed(moved - main)
    size = factors._shape[-1]
    one = with_batch(factors._shape[:-2], identity(size, size, factors))
    slope = _determinant(factors, pivots).unsqueeze(-1).unsqueeze(-1)
    return scale * slope * factored_solution(factors, pivots, one).mT


ROWS["det"] = Row("LinalgDet", Derivative("ao", _cofactors))


def slogdet(A: Tensor) -> SlogdetResult:
    """The signs of the determinants (0: singular) and the logarithms of their sizes."""
    check_matrix("linalg.slogdet", A, True)
    with paused():
        factors, pivots = lu_packed(A)
        main = diagonal(factors, 0, -2, -1)
        signs = reduce(ReduceOps.PROD, sign(main), (main.ndim - 1,), False)
        logs = log(abs(main)).sum(-1)
        signs = signs * _sign_of_order(pivots)
    return SlogdetResult(composed("sign_of_det", signs, A), composed("slogdet", logs, A))


ROWS["sign_of_det"] = Row(
    "LinalgSlogdet",
    Derivative("", lambda g, e: filled(0, g.dtype, e.source_shape(0), e.device)),
)
ROWS["slogdet"] = Row(
    "LinalgSlogdet",
    Derivative("a", lambda g, e: g.unsqueeze(-1).unsqueeze(-1) * inverse_of(e.a).mT),
)


def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinants: NaN where one is negative, -inf where it is 0."""
    signs, logs = slogdet(input)
    return where(lt(signs, 0), float("nan"), logs)
