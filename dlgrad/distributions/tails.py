"""Distributions by their inverse cumulative probability: Cauchy, Gumbel, Weibull, Pareto, halves.

Floor 7.  The formulas are those of Johnson, Kotz and Balakrishnan, "Continuous Univariate
Distributions", 2nd edition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from dlgrad.core.apply import where
from dlgrad.core.creation import full_like, zeros_like
from dlgrad.distributions import constraints
from dlgrad.distributions.constraints import Constraint
from dlgrad.distributions.continuous import LocationScale, Normal
from dlgrad.distributions.distribution import Distribution
from dlgrad.distributions.utils import broadcast_all
from dlgrad.dtype import finfo
from dlgrad.operators.gamma_functions import lgamma
from dlgrad.operators.trigonometry import atan, tan
from dlgrad.random import rand
from dlgrad.tensor import Tensor

_EULER = 0.5772156649015329  # Euler's constant


class _ByInverse(Distribution):
    """A draw is the inverse cumulative probability of a uniform number inside (0, 1)."""

    has_rsample = True

    def _share(self, sample_shape: Sequence[int], like: Tensor) -> Tensor:
        drawn = rand(self._extended_shape(sample_shape), dtype=like.dtype, device=like.device)
        return drawn.clamp(min=finfo(like.dtype).tiny)


class Cauchy(_ByInverse, LocationScale):
    """The ratio of two normal numbers, around `loc`, half of them within `scale` of it."""

    @property
    def mean(self) -> Tensor:
        return full_like(self.loc, math.nan)

    @property
    def variance(self) -> Tensor:
        return full_like(self.loc, math.inf)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.icdf(self._share(sample_shape, self.loc))

    def log_prob(self, value: Tensor) -> Tensor:
        apart = (self._checked(value) - self.loc) / self.scale
        return -math.log(math.pi) - self.scale.log() - apart.square().log1p()

    def cdf(self, value: Tensor) -> Tensor:
        return atan((self._checked(value) - self.loc) / self.scale) / math.pi + 0.5

    def icdf(self, value: Tensor) -> Tensor:
        return tan(math.pi * (value - 0.5)) * self.scale + self.loc

    def entropy(self) -> Tensor:
        return math.log(4 * math.pi) + self.scale.log()


class Gumbel(_ByInverse, LocationScale):
    """The largest of many numbers: `loc` is the mode, `scale` the width."""

    @property
    def mean(self) -> Tensor:
        return self.loc + self.scale * _EULER

    @property
    def stddev(self) -> Tensor:
        return math.pi / math.sqrt(6) * self.scale

    @property
    def variance(self) -> Tensor:
        return self.stddev.square()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.icdf(self._share(sample_shape, self.loc))

    def log_prob(self, value: Tensor) -> Tensor:
        apart = (self.loc - self._checked(value)) / self.scale
        return apart - apart.exp() - self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        return (-((self.loc - self._checked(value)) / self.scale).exp()).exp()

    def icdf(self, value: Tensor) -> Tensor:
        return self.loc - self.scale * (-value.log()).log()

    def entropy(self) -> Tensor:
        return self.scale.log() + (1 + _EULER)


class Weibull(_ByInverse):
    """Life times whose risk of an end grows with time to the power of `concentration` - 1."""

    arg_constraints: ClassVar = {
        "scale": constraints.positive, "concentration": constraints.positive,
    }  # fmt: skip

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.scale, self.concentration = broadcast_all(scale, concentration)
        super().__init__(self.scale.shape, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.positive

    @property
    def mean(self) -> Tensor:
        return self.scale * lgamma(1 + self.concentration.reciprocal()).exp()

    @property
    def mode(self) -> Tensor:
        power = self.concentration.reciprocal()
        return self.scale * (1 - power).clamp(min=0) ** power

    @property
    def variance(self) -> Tensor:
        power = self.concentration.reciprocal()
        squared = (2 * lgamma(1 + power)).exp()
        return self.scale.square() * (lgamma(1 + 2 * power).exp() - squared)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.icdf(self._share(sample_shape, self.scale))

    def log_prob(self, value: Tensor) -> Tensor:
        logarithm, power = self._checked(value).log() - self.scale.log(), self.concentration
        density = power.log() - self.scale.log() + (power - 1) * logarithm
        return density - (power * logarithm).exp()

    def cdf(self, value: Tensor) -> Tensor:
        return -(-((self._checked(value) / self.scale) ** self.concentration)).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        return self.scale * (-(-value).log1p()) ** self.concentration.reciprocal()

    def entropy(self) -> Tensor:
        power = self.concentration.reciprocal()
        return _EULER * (1 - power) + self.scale.log() + power.log() + 1


class Pareto(_ByInverse):
    """Numbers above `scale`; the share of those above x falls with x to the power of `alpha`."""

    arg_constraints: ClassVar = {"scale": constraints.positive, "alpha": constraints.positive}

    def __init__(self, scale: Any, alpha: Any, validate_args: bool | None = None) -> None:
        self.scale, self.alpha = broadcast_all(scale, alpha)
        super().__init__(self.scale.shape, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.GreaterThan(self.scale.detach(), closed=True)

    @property
    def mean(self) -> Tensor:
        return where(self.alpha > 1, self.alpha * self.scale / (self.alpha - 1), math.inf)

    @property
    def mode(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        spread = self.alpha / ((self.alpha - 1).square() * (self.alpha - 2))
        return where(self.alpha > 2, self.scale.square() * spread, math.inf)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.icdf(self._share(sample_shape, self.scale))

    def log_prob(self, value: Tensor) -> Tensor:
        logarithm = self._checked(value).log()
        return self.alpha.log() + self.alpha * self.scale.log() - (self.alpha + 1) * logarithm

    def cdf(self, value: Tensor) -> Tensor:
        return 1 - (self.scale / self._checked(value)) ** self.alpha

    def icdf(self, value: Tensor) -> Tensor:
        return self.scale * (-(-value).log1p() / self.alpha).exp()

    def entropy(self) -> Tensor:
        return (self.scale / self.alpha).log() + 1 + self.alpha.reciprocal()


class _Half(Distribution):
    """The absolute values of a distribution around zero."""

    has_rsample = True
    arg_constraints: ClassVar = {"scale": constraints.positive}
    base_dist: Distribution

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        (self.scale,) = broadcast_all(scale)
        super().__init__(self.scale.shape, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.nonnegative

    @property
    def mode(self) -> Tensor:
        return zeros_like(self.scale)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape).abs()

    def log_prob(self, value: Tensor) -> Tensor:
        value = self._checked(value)
        density = self.base_dist.log_prob(value) + math.log(2)
        return where(value >= 0, density, -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        return 2 * self.base_dist.cdf(self._checked(value)) - 1

    def icdf(self, value: Tensor) -> Tensor:
        return self.base_dist.icdf((value + 1) / 2)

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() - math.log(2)


class HalfNormal(_Half):
    """The absolute value of a normal number with mean 0 and standard deviation `scale`."""

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(scale, validate_args=validate_args)
        self.base_dist = Normal(0.0, self.scale, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def variance(self) -> Tensor:
        return self.scale.square() * (1 - 2 / math.pi)


class HalfCauchy(_Half):
    """The absolute value of a Cauchy number around 0."""

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(scale, validate_args=validate_args)
        self.base_dist = Cauchy(0.0, self.scale, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return full_like(self.scale, math.inf)

    @property
    def variance(self) -> Tensor:
        return full_like(self.scale, math.inf)
