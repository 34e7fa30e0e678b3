"""Condition numbers, the exponential of matrices, and products of reflections.

Floor 6.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dlgrad.core.apply import cast, filled, where
from dlgrad.core.base import Number, node_of
from dlgrad.core.composing import composed, paused
from dlgrad.errors import ShapeError
from dlgrad.matrix.linear import matmul
from dlgrad.matrix.matrices import check_matrix, check_same_dtype, identity, with_batch
from dlgrad.matrix.solving import inv_ex, solution
from dlgrad.matrix.spectra import svdvals
from dlgrad.operators.comparison import eq, gt
from dlgrad.operators.elementwise import abs, div, log2
from dlgrad.operators.joining import cat
from dlgrad.operators.norms import matrix_norm
from dlgrad.operators.places import can_look
from dlgrad.operators.reductions import amax

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

# Numerator of the diagonal Pade approximant of degree 13 to exp; it has the precision of float64
# for matrices of a 1-norm up to LARGEST_NORM (Higham, 2005).
PADE = (
    64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000,
    10559470521600, 670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
)  # fmt: skip
LARGEST_NORM = 4.25
MOST_SQUARINGS = 24  # where the norms cannot be looked at


def cond(A: Tensor, p: Number | str | None = None) -> Tensor:
    """The condition number: norm(A) * norm(inverse of A), by singular values for 2 (None) and -2.

    inf where A is singular.
    """
    if A.ndim < 2:
        raise ShapeError("linalg.cond: The input tensor must have at least 2 dimensions.")
    if p in (None, 2, -2):
        values = svdvals(A)
        if not A.numel():
            return A.new_zeros(A._shape[:-2])
        first, last = values[..., 0], values[..., -1]
        return div(last, first) if p == -2 else div(first, last)
    check_matrix(f"linalg.cond(ord={p})", A, True)
    if p not in ("fro", "nuc", math.inf, -math.inf, 1, -1):
        raise RuntimeError(
            f"linalg.cond: got an invalid norm type: {p}; it is one of 'fro', 'nuc', inf, -inf, "
            "1, -1, 2, -2"
        )
    if not A.numel():
        return A.new_zeros(A._shape[:-2])
    inverse, info = inv_ex(A)
    regular = eq(info, 0)
    usable = where(regular.unsqueeze(-1).unsqueeze(-1), inverse, 1.0)
    return where(regular, matrix_norm(A, p) * matrix_norm(usable, p), math.inf)


def matrix_exp(A: Tensor) -> Tensor:
    """The exponential of square matrices, by scaling and squaring; half types in float32."""
    wide = cast(A, A.dtype.compute) if A.dtype.is_floating_point else A
    check_matrix("linalg.matrix_exp", wide, True)
    if not A.numel():
        return A.clone()
    with paused():
        norms = amax(abs(wide.detach()).sum(-2), -1)
        squarings = log2(norms * (1 / LARGEST_NORM)).ceil().clamp(0, 1024)
        most = MOST_SQUARINGS
        if can_look(squarings):
            top = float(amax(squarings, tuple(range(squarings.ndim))))
            most = int(top) if top == top else 0
        squarings = squarings.clamp(max=most).unsqueeze(-1).unsqueeze(-1)
        scale = 0.5**squarings
    out = _pade(wide * scale)
    for number in range(most):
        out = where(gt(squarings, number), matmul(out, out), out)
    return cast(out, A.dtype)


def _pade(A: Tensor) -> Tensor:
    """exp(A) = (V - U)^-1 (V + U), U and V the odd and even terms of the approximant."""
    size = A._shape[-1]
    one = with_batch(A._shape[:-2], identity(size, size, A))
    two = matmul(A, A)
    four = matmul(two, two)
    six = matmul(two, four)
    # Smaller coefficients, so that float32 holds them; the quotient stays the same.
    b = [float(number) / PADE[0] for number in PADE]
    odd = matmul(six, b[13] * six + b[11] * four + b[9] * two)
    odd = matmul(A, odd + b[7] * six + b[5] * four + b[3] * two + b[1] * one)
    even = matmul(six, b[12] * six + b[10] * four + b[8] * two)
    even = even + b[6] * six + b[4] * four + b[2] * two + b[0] * one
    return solution(even - odd, even + odd)


def householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of the reflections I - tau_i v_i v_i^T.

    v_i is column i of `A` below the diagonal, with 1 on it and zeros above.
    """
    name = "linalg.householder_product"
    check_matrix(name, A, argument="input")
    check_same_dtype(name, A, tau)
    rows, columns = A._shape[-2:]
    if rows < columns:
        raise ShapeError(
            f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1]"
        )
    if tau.ndim != A.ndim - 1 or tau._shape[:-1] != A._shape[:-2]:
        raise ShapeError(
            f"{name}: Expected tau to have one dimension less than input and the same batch, but "
            f"got {list(tau._shape)} for {list(A._shape)}"
        )
    if tau._shape[-1] > columns:
        raise ShapeError(
            f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]"
        )
    out = with_batch(A._shape[:-2], identity(rows, columns, A))
    if not tau._shape[-1]:
        return composed("overwrite", out.clone(), A)
    device = node_of(A).device
    for i in reversed(range(tau._shape[-1])):
        batch = A._shape[:-2]
        above = filled(0, A.dtype, (*batch, i, 1), device)
        head = filled(1, A.dtype, (*batch, 1, 1), device)
        vector = cat([above, head, A[..., i + 1 :, i : i + 1]], -2)
        share = tau[..., i : i + 1].unsqueeze(-1) * vector
        out = out - matmul(share, matmul(vector.mT, out))
    return out


orgqr = householder_product
