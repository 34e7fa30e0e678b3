"""Distributions made of gamma numbers: gamma, inverse gamma, chi-square, beta, Dirichlet, Student.

Floor 7.  The formulas are those of Johnson, Kotz and Balakrishnan, "Continuous Univariate
Distributions", 2nd edition.  Draws differentiate through `standard_gamma`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from dlgrad.core.apply import where
from dlgrad.core.composing import need_tensor
from dlgrad.distributions import constraints
from dlgrad.distributions.constraints import Constraint
from dlgrad.distributions.distribution import Distribution
from dlgrad.distributions.utils import broadcast_all
from dlgrad.dtype import finfo
from dlgrad.operators.gamma_functions import digamma, lgamma
from dlgrad.operators.gamma_sampling import standard_gamma
from dlgrad.random import randn
from dlgrad.tensor import Tensor


def log_beta(a: Tensor, b: Tensor) -> Tensor:
    """The logarithm of the beta function."""
    return lgamma(a) + lgamma(b) - lgamma(a + b)


class Gamma(Distribution):
    """The sum of `concentration` exponential waiting times of `rate`, also for fractions."""

    has_rsample = True
    arg_constraints: ClassVar = {
        "concentration": constraints.positive, "rate": constraints.positive,
    }  # fmt: skip

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.nonnegative

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.rate

    @property
    def mode(self) -> Tensor:
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self) -> Tensor:
        return self.concentration / self.rate.square()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        drawn = standard_gamma(self.concentration.expand(shape)) / self.rate.expand(shape)
        return drawn.clamp(min=finfo(drawn.dtype).tiny)

    def log_prob(self, value: Tensor) -> Tensor:
        value, a = self._checked(value), self.concentration
        return a.xlogy(self.rate) + (a - 1).xlogy(value) - self.rate * value - lgamma(a)

    def entropy(self) -> Tensor:
        a = self.concentration
        return a - self.rate.log() + lgamma(a) + (1 - a) * digamma(a)


class Chi2(Gamma):
    """The sum of the squares of `df` standard normal numbers, also for fractions."""

    arg_constraints: ClassVar = {"df": constraints.positive}

    def __init__(self, df: Any, validate_args: bool | None = None) -> None:
        (self.df,) = broadcast_all(df)
        super().__init__(0.5 * self.df, 0.5, validate_args=validate_args)


class InverseGamma(Distribution):
    """One divided by a number of `Gamma(concentration, rate)`."""

    has_rsample = True
    arg_constraints: ClassVar = {
        "concentration": constraints.positive, "rate": constraints.positive,
    }  # fmt: skip

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)
        self.base_dist = Gamma(self.concentration, self.rate, validate_args=False)

    @property
    def support(self) -> Constraint:
        return constraints.positive

    @property
    def mean(self) -> Tensor:
        a = self.concentration
        return where(a > 1, self.rate / (a - 1), math.inf)

    @property
    def mode(self) -> Tensor:
        return self.rate / (self.concentration + 1)

    @property
    def variance(self) -> Tensor:
        a = self.concentration
        return where(a > 2, self.rate.square() / ((a - 1).square() * (a - 2)), math.inf)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape).reciprocal()

    def log_prob(self, value: Tensor) -> Tensor:
        value = self._checked(value)
        return self.base_dist.log_prob(value.reciprocal()) - 2 * value.log()

    def entropy(self) -> Tensor:
        a = self.concentration
        return a + self.rate.log() + lgamma(a) - (1 + a) * digamma(a)


class Dirichlet(Distribution):
    """Shares that add up to 1, by the weights along the last dimension of `concentration`.

    A draw is gamma numbers divided by their sum.  Differs from PyTorch: its gradient follows
    those numbers, so a single one differs, and the expected gradient is the same.
    """

    has_rsample = True
    arg_constraints: ClassVar = {"concentration": constraints.independent(constraints.positive, 1)}

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        need_tensor("Dirichlet", concentration, "concentration")
        if concentration.ndim < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        shape = concentration.shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.simplex

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    @property
    def mode(self) -> Tensor:
        above = (self.concentration - 1).clamp(min=0)
        mode = above / above.sum(-1, keepdim=True)
        edge = (self.concentration < 1).all(-1, keepdim=True)  # then the corners are the highest
        largest = self.concentration.argmax(-1, keepdim=True)
        corner = (self.concentration * 0).scatter(-1, largest, 1.0)
        return where(edge, corner, mode)

    @property
    def variance(self) -> Tensor:
        total = self.concentration.sum(-1, keepdim=True)
        return self.concentration * (total - self.concentration) / (total.square() * (total + 1))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        drawn = standard_gamma(self.concentration.expand(self._extended_shape(sample_shape)))
        return drawn / drawn.sum(-1, keepdim=True)

    def log_prob(self, value: Tensor) -> Tensor:
        value, a = self._checked(value), self.concentration
        return (a - 1).xlogy(value).sum(-1) + lgamma(a.sum(-1)) - lgamma(a).sum(-1)

    def entropy(self) -> Tensor:
        a = self.concentration
        total = a.sum(-1)
        constant = lgamma(a).sum(-1) - lgamma(total)
        return constant + (total - a.shape[-1]) * digamma(total) - ((a - 1) * digamma(a)).sum(-1)

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        shape = (*batch_shape, *self._event_shape)
        return type(self)(self.concentration.expand(shape), validate_args=False)


class Beta(Distribution):
    """A share between 0 and 1: the first of the two of `Dirichlet` with both concentrations."""

    has_rsample = True
    arg_constraints: ClassVar = {
        "concentration1": constraints.positive, "concentration0": constraints.positive,
    }  # fmt: skip

    def __init__(
        self, concentration1: Any, concentration0: Any, validate_args: bool | None = None
    ) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.unit_interval

    @property
    def mean(self) -> Tensor:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def mode(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        inner = (a - 1).clamp(min=0) / ((a - 1).clamp(min=0) + (b - 1).clamp(min=0))
        edge = where(a == b, math.nan, (a > b).to(a.dtype))
        return where((a < 1) & (b < 1), edge, inner)

    @property
    def variance(self) -> Tensor:
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total.square() * (total + 1))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        one = standard_gamma(self.concentration1.expand(shape))
        zero = standard_gamma(self.concentration0.expand(shape))
        return one / (one + zero)

    def log_prob(self, value: Tensor) -> Tensor:
        value, a, b = self._checked(value), self.concentration1, self.concentration0
        return (a - 1).xlogy(value) + (b - 1).xlogy(1 - value) - log_beta(a, b)

    def entropy(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        middle = (a + b - 2) * digamma(a + b)
        return log_beta(a, b) - (a - 1) * digamma(a) - (b - 1) * digamma(b) + middle


class StudentT(Distribution):
    """`loc + scale * t`, with t a normal number over the root of `Chi2(df) / df`."""

    has_rsample = True
    arg_constraints: ClassVar = {
        "df": constraints.positive, "loc": constraints.real, "scale": constraints.positive,
    }  # fmt: skip

    def __init__(
        self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None
    ) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        super().__init__(self.df.shape, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.real

    @property
    def mean(self) -> Tensor:
        return where(self.df > 1, self.loc, math.nan)

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        wide = where(self.df > 1, math.inf, self.df * math.nan)
        return where(self.df > 2, self.scale.square() * self.df / (self.df - 2), wide)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        noise = randn(shape, dtype=self.df.dtype, device=self.df.device)
        spread = standard_gamma(0.5 * self.df.expand(shape)) * (2 / self.df)
        return self.loc + self.scale * noise * spread.rsqrt()

    def log_prob(self, value: Tensor) -> Tensor:
        apart = (self._checked(value) - self.loc) / self.scale
        half = 0.5 * self.df
        constant = self.scale.log() + 0.5 * (self.df * math.pi).log() + lgamma(half)
        return -(half + 0.5) * (apart.square() / self.df).log1p() - constant + lgamma(half + 0.5)

    def entropy(self) -> Tensor:
        half = 0.5 * self.df
        slope = (half + 0.5) * (digamma(half + 0.5) - digamma(half))
        root = 0.5 * self.df.log() + log_beta(half, half * 0 + 0.5)
        return self.scale.log() + slope + root
