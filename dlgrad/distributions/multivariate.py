"""The normal distribution of vectors.

Floor 7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from dlgrad.core.composing import need_tensor
from dlgrad.distributions import constraints
from dlgrad.distributions.constraints import Constraint
from dlgrad.distributions.distribution import Distribution
from dlgrad.distributions.utils import lazy_property
from dlgrad.lazy.shape import broadcast_shapes
from dlgrad.matrix.factorizations import cholesky, cholesky_inverse
from dlgrad.matrix.matrices import solve_triangular
from dlgrad.operators.movement import broadcast_to
from dlgrad.operators.ranges import eye
from dlgrad.random import randn
from dlgrad.tensor import Tensor


class MultivariateNormal(Distribution):
    """Vectors with mean `loc` (..., n) and one of three matrices (..., n, n).

    `covariance_matrix`; its inverse, the `precision_matrix`; or `scale_tril`, the lower triangle
    L with L L^T = covariance.  The last needs no factorization.
    """

    has_rsample = True
    arg_constraints: ClassVar = {
        "loc": constraints.real_vector, "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }  # fmt: skip

    def __init__(
        self, loc: Tensor, covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None, scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        need_tensor("MultivariateNormal", loc, "loc")
        if loc.ndim < 1:
            raise ValueError("loc must be at least one-dimensional.")
        matrices = {
            "covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }  # fmt: skip
        given = {name: matrix for name, matrix in matrices.items() if matrix is not None}
        if len(given) != 1:
            raise ValueError(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril may be "
                "specified."
            )
        ((self._given, matrix),) = given.items()
        need_tensor("MultivariateNormal", matrix, self._given)
        size = loc.shape[-1]
        if matrix.ndim < 2 or matrix.shape[-2:] != (size, size):
            raise ValueError(
                f"{self._given} must be at least two-dimensional, of shape (..., {size}, {size}) "
                f"for a loc of shape {tuple(loc.shape)}, got {tuple(matrix.shape)}"
            )
        batch = broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        self.loc = broadcast_to(loc, (*batch, size))
        self.__dict__[self._given] = broadcast_to(matrix, (*batch, size, size))
        super().__init__(batch, (size,), validate_args=validate_args)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The lower triangle L with L L^T = covariance."""
        if self._given == "covariance_matrix":
            return cholesky(self.covariance_matrix)
        # The precision is U U^T with an upper triangle U, and then the covariance U^-T U^-1.
        turned = cholesky(self.precision_matrix.flip(-2, -1)).flip(-2, -1)
        return solve_triangular(turned.mT, _unit(turned), upper=False)

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """The expected products of the distances from the mean."""
        return self.scale_tril @ self.scale_tril.mT

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance."""
        return cholesky_inverse(self.scale_tril)

    @property
    def support(self) -> Constraint:
        return constraints.real_vector

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.scale_tril.square().sum(-1)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        noise = randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + (self.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        distance = squared_length(self.scale_tril, self._checked(value) - self.loc)
        constant = self._event_shape[0] * math.log(2 * math.pi)
        return -0.5 * (constant + distance) - logarithms_of_diagonal(self.scale_tril)

    def entropy(self) -> Tensor:
        constant = 0.5 * self._event_shape[0] * (1 + math.log(2 * math.pi))
        return constant + logarithms_of_diagonal(self.scale_tril)

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        shape = (*batch_shape, *self._event_shape)
        matrix = self.__dict__[self._given].expand((*shape, *self._event_shape))
        given = {"loc": self.loc.expand(shape), self._given: matrix}
        return type(self)(**given, validate_args=False)


def logarithms_of_diagonal(factor: Tensor) -> Tensor:
    """The sum of the logarithms of the diagonals: of the determinants of triangles."""
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def squared_length(factor: Tensor, apart: Tensor) -> Tensor:
    """|L^-1 x|^2 for lower triangles L (..., n, n) and vectors x (..., n)."""
    return solve_triangular(factor, apart.unsqueeze(-1), upper=False).square().sum((-2, -1))


def _unit(like: Tensor) -> Tensor:
    """Identity matrices of the shape, dtype and device of `like`."""

    unit = eye(like.shape[-1], dtype=like.dtype, device=like.device)
    return unit.expand(tuple(like.shape))
