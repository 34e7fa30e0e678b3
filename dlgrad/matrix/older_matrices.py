"""Functions of matrices as they were before `linalg`: older names, and other arguments.

Floor 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dlgrad.matrix import factorizations, spectra
from dlgrad.matrix.factorizations import QRParts
from dlgrad.matrix.matrices import check_matrix
from dlgrad.matrix.solving import inv

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


class SVDParts(NamedTuple):
    """What `svd` returns."""

    U: Tensor
    S: Tensor
    V: Tensor


def inverse(input: Tensor) -> Tensor:
    """The inverse of square matrices: `linalg.inv`."""
    return inv(input)


def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The pseudoinverse: `linalg.pinv` with `rcond` as relative limit."""
    return spectra.pinv(input, rcond)


def lu_solve(input: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """X of A X = input, from what `linalg.lu_factor(A)` returned."""
    return factorizations.lu_solve(LU_data, LU_pivots, input)


def qr(input: Tensor, some: bool = True) -> QRParts:
    """Q and R with input = Q R: `linalg.qr`, with a square Q without `some`."""
    return factorizations.qr(input, "reduced" if some else "complete")


def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> SVDParts:
    """U, S and V with input = U diag(S) V^T; without `some` U and V are square.

    Without `compute_uv` U and V are zeros.
    """
    if compute_uv:
        U, S, Vh = spectra.svd(input, not some)
        return SVDParts(U, S, Vh.mT)
    check_matrix("linalg.svd", input)
    *batch, rows, columns = input._shape
    return SVDParts(
        input.new_zeros((*batch, rows, rows)),
        spectra.svdvals(input),
        input.new_zeros((*batch, columns, columns)),
    )
