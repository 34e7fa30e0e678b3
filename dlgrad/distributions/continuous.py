"""Distributions of real numbers: normal, log-normal, uniform, exponential, Laplace.

Floor 7.  The formulas are those of Johnson, Kotz and Balakrishnan, "Continuous Univariate
Distributions", 2nd edition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from dlgrad.core.apply import where
from dlgrad.core.creation import empty, zeros_like
from dlgrad.distributions import constraints
from dlgrad.distributions.constraints import Constraint
from dlgrad.distributions.distribution import Distribution
from dlgrad.distributions.utils import broadcast_all
from dlgrad.operators.error_functions import erfinv
from dlgrad.random import rand, randn
from dlgrad.tensor import Tensor

_LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)


class LocationScale(Distribution):
    """Real numbers, most of them near `loc`, `scale` wide."""

    has_rsample = True
    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.real

    @property
    def mode(self) -> Tensor:
        return self.loc


class _Symmetric(LocationScale):
    """Numbers on both sides of `loc` alike."""

    @property
    def mean(self) -> Tensor:
        return self.loc


class Normal(_Symmetric):
    """The normal distribution with mean `loc` and standard deviation `scale`."""

    @property
    def stddev(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        return self.scale.square()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        noise = randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + noise * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        apart = (self._checked(value) - self.loc) / self.scale
        return -0.5 * apart.square() - self.scale.log() - _LOG_ROOT_TWO_PI

    def cdf(self, value: Tensor) -> Tensor:
        apart = (self._checked(value) - self.loc) / self.scale
        return 0.5 * (1 + (apart * math.sqrt(0.5)).erf())

    def icdf(self, value: Tensor) -> Tensor:
        return self.loc + self.scale * (math.sqrt(2) * erfinv(2 * value - 1))

    def entropy(self) -> Tensor:
        return 0.5 + _LOG_ROOT_TWO_PI + self.scale.log()


class LogNormal(Distribution):
    """Numbers whose logarithms are normal with mean `loc` and standard deviation `scale`."""

    has_rsample = True
    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)
        self.base_dist = Normal(self.loc, self.scale, validate_args=False)

    @property
    def support(self) -> Constraint:
        return constraints.positive

    @property
    def mean(self) -> Tensor:
        return (self.loc + self.scale.square() / 2).exp()

    @property
    def mode(self) -> Tensor:
        return (self.loc - self.scale.square()).exp()

    @property
    def variance(self) -> Tensor:
        squared = self.scale.square()
        return squared.expm1() * (2 * self.loc + squared).exp()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        logarithm = self._checked(value).log()
        return self.base_dist.log_prob(logarithm) - logarithm

    def cdf(self, value: Tensor) -> Tensor:
        return self.base_dist.cdf(self._checked(value).log())

    def icdf(self, value: Tensor) -> Tensor:
        return self.base_dist.icdf(value).exp()

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() + self.loc


class Uniform(Distribution):
    """All numbers from `low` up to but without `high` alike."""

    has_rsample = True
    arg_constraints: ClassVar = {"low": constraints.real, "high": constraints.real}

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low, self.high = broadcast_all(low, high)
        super().__init__(self.low.shape, validate_args=validate_args)
        if self._validate_args is not False:
            above = constraints.GreaterThan(self.low.detach())
            self._check(
                above, self.high, "Uniform is not defined when low >= high, but found high"
            )

    @property
    def support(self) -> Constraint:
        return constraints.Interval(self.low.detach(), self.high.detach())

    @property
    def mean(self) -> Tensor:
        return (self.high + self.low) / 2

    @property
    def mode(self) -> Tensor:
        return self.high * math.nan

    @property
    def stddev(self) -> Tensor:
        return (self.high - self.low) / math.sqrt(12)

    @property
    def variance(self) -> Tensor:
        return (self.high - self.low).square() / 12

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        noise = rand(shape, dtype=self.low.dtype, device=self.low.device)
        return self.low + noise * (self.high - self.low)

    def log_prob(self, value: Tensor) -> Tensor:
        value = self._checked(value)
        inside = (self.low <= value) & (self.high > value)
        return where(inside, -(self.high - self.low).log(), -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        share = (self._checked(value) - self.low) / (self.high - self.low)
        return share.clamp(min=0, max=1)

    def icdf(self, value: Tensor) -> Tensor:
        return value * (self.high - self.low) + self.low

    def entropy(self) -> Tensor:
        return (self.high - self.low).log()


class Exponential(Distribution):
    """The time until an event that comes `rate` times in a unit of time on average."""

    has_rsample = True
    arg_constraints: ClassVar = {"rate": constraints.positive}

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.nonnegative

    @property
    def mean(self) -> Tensor:
        return self.rate.reciprocal()

    @property
    def mode(self) -> Tensor:
        return zeros_like(self.rate)

    @property
    def stddev(self) -> Tensor:
        return self.rate.reciprocal()

    @property
    def variance(self) -> Tensor:
        return self.rate.square().reciprocal()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        noise = empty(shape, dtype=self.rate.dtype, device=self.rate.device)
        noise.exponential_()
        return noise / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        return self.rate.log() - self.rate * self._checked(value)

    def cdf(self, value: Tensor) -> Tensor:
        return -(-self.rate * self._checked(value)).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        return -(-value).log1p() / self.rate

    def entropy(self) -> Tensor:
        return 1 - self.rate.log()


class Laplace(_Symmetric):
    """Two exponential distributions back to back: mean `loc`, mean distance from it `scale`."""

    @property
    def stddev(self) -> Tensor:
        return math.sqrt(2) * self.scale

    @property
    def variance(self) -> Tensor:
        return 2 * self.scale.square()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        noise = empty(shape, dtype=self.loc.dtype, device=self.loc.device)
        noise.exponential_()
        side = where(rand(shape, device=self.loc.device) < 0.5, -1.0, 1.0)
        return self.loc + self.scale * (side.to(noise.dtype) * noise)

    def log_prob(self, value: Tensor) -> Tensor:
        return -(2 * self.scale).log() - (self._checked(value) - self.loc).abs() / self.scale

    def cdf(self, value: Tensor) -> Tensor:
        apart = (self._checked(value) - self.loc) / self.scale
        return 0.5 - 0.5 * apart.sign() * (-apart.abs()).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        term = value - 0.5
        return self.loc - self.scale * term.sign() * (-2 * term.abs()).log1p()

    def entropy(self) -> Tensor:
        return 1 + (2 * self.scale).log()
