"""Weights of a given length, or of a given largest singular value.

Floor 7.
"""

from __future__ import annotations

import dlgrad.nn.functional as F
from dlgrad.autograd import no_grad
from dlgrad.nn.conv import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from dlgrad.nn.module import Module
from dlgrad.nn.utils.parametrize import register_parametrization
from dlgrad.operators.norms import norm
from dlgrad.tensor import Tensor


def _length_except(v: Tensor, dim: int) -> Tensor:
    """The 2-norm over all dimensions but `dim`, which are kept; over all of them for -1."""
    if dim == -1:
        return norm(v)
    others = [i for i in range(v.ndim) if i != dim]
    return norm(v, 2, others, keepdim=True) if others else v.abs()


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return weight_v * (weight_g / _length_except(weight_v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The lengths, and the weight as the direction."""
        return _length_except(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Trains length and direction of a weight apart (Salimans and Kingma, 2016).

    One length for each index of `dim`, or one for all without it.  The parameters are
    parametrizations.weight.original0 (the lengths) and original1 (the direction).
    """
    return register_parametrization(module, name, _WeightNorm(dim), unsafe=True)


class _SpectralNorm(Module):
    _u: Tensor
    _v: Tensor

    def __init__(
        self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        super().__init__()
        if not -weight.ndim <= dim < weight.ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{weight.ndim}, "
                f"{weight.ndim - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got "
                f"n_power_iterations={n_power_iterations}"
            )
        self.dim = dim % weight.ndim
        self.eps = eps
        if weight.ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = self._matrix(weight.detach())
            rows, columns = matrix.shape
            u = matrix.new_zeros(rows).normal_()
            v = matrix.new_zeros(columns).normal_()
            self.register_buffer("_u", F.normalize(u, dim=0, eps=eps))
            self.register_buffer("_v", F.normalize(v, dim=0, eps=eps))
            self._iterate(matrix, 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        """[size of dim, everything else]."""
        return weight.movedim(self.dim, 0).flatten(1)

    def _iterate(self, matrix: Tensor, count: int) -> None:
        """Brings u and v nearer to the first singular vectors."""
        with no_grad():
            u, v = self._u, self._v
            for _ in range(count):
                u = F.normalize(matrix.mv(v), dim=0, eps=self.eps)
                v = F.normalize(matrix.t().mv(u), dim=0, eps=self.eps)
            self._u.copy_(u)
            self._v.copy_(v)

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix.detach(), self.n_power_iterations)
        # Copies, because the next call overwrites both.
        u, v = self._u.clone(), self._v.clone()
        return weight / u.dot(matrix.mv(v))

    def right_inverse(self, value: Tensor) -> Tensor:
        """The value itself."""
        return value


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divides a weight by its largest singular value (Miyato et al., 2018).

    The weight counts as a matrix with `dim` as its rows: 0, or 1 for transposed convolutions.
    In training each access takes `n_power_iterations` steps of the power method.  The
    parameter is parametrizations.weight.original, the buffers ...weight.0._u and _v.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(
            f"Module '{module}' has no parameter or buffer with name '{name}'"
        )
    if dim is None:
        transposed = isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d))
        dim = 1 if transposed else 0
    made = _SpectralNorm(weight, n_power_iterations, dim, eps)
    return register_parametrization(module, name, made)
