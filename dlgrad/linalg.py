"""`dlgrad.linalg`: matrix functions under PyTorch's names.

Floor 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlgrad.core.arguments import check_namespace
from dlgrad.errors import LinAlgError
from dlgrad.matrix.factorizations import (
    cholesky,
    cholesky_ex,
    lu,
    lu_factor,
    lu_factor_ex,
    lu_solve,
    qr,
)
from dlgrad.matrix.linear import cross_along, matmul, matrix_power, multi_dot, powers, vecdot
from dlgrad.matrix.matrices import solve_triangular
from dlgrad.matrix.matrix_functions import cond, householder_product, matrix_exp
from dlgrad.matrix.solving import (
    det,
    inv,
    inv_ex,
    slogdet,
    solve,
    solve_ex,
    tensorinv,
    tensorsolve,
)
from dlgrad.matrix.spectra import (
    eig,
    eigh,
    eigvals,
    eigvalsh,
    lstsq,
    matrix_rank,
    pinv,
    svd,
    svdvals,
)
from dlgrad.operators.movement import diagonal as _diagonal
from dlgrad.operators.norms import linalg_norm as norm
from dlgrad.operators.norms import matrix_norm, vector_norm

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh",
    "eigvals", "eigvalsh", "householder_product", "inv", "inv_ex", "lstsq", "lu", "lu_factor",
    "lu_factor_ex", "lu_solve", "matmul", "matrix_exp", "matrix_norm", "matrix_power",
    "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve", "solve_ex",
    "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander", "vecdot",
    "vector_norm",
]  # fmt: skip


def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product of vectors along `dim`, which has size 3; other dimensions broadcast."""
    return cross_along(input, other, dim)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonal of the last two dimensions, or of `dim1` and `dim2`; a view."""
    return _diagonal(A, offset, dim1, dim2)


def vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """The powers 0 up to N - 1 (the length of x) of each element, as a new last dimension."""
    return powers(x, N)


check_namespace(globals(), __all__)
