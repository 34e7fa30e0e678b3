"""Distributions of counts: geometric, Poisson, binomial, negative binomial, multinomial.

Floor 7.  The formulas are those of Johnson, Kemp and Kotz, "Univariate Discrete Distributions",
3rd edition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from dlgrad.autograd import no_grad
from dlgrad.core.apply import where
from dlgrad.core.creation import zeros_like
from dlgrad.distributions import constraints
from dlgrad.distributions.constraints import Constraint
from dlgrad.distributions.discrete import Categorical, one_of
from dlgrad.distributions.distribution import Distribution
from dlgrad.distributions.utils import (
    broadcast_all,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
)
from dlgrad.dtype import finfo
from dlgrad.neural.activations import softplus
from dlgrad.neural.lookup import one_hot
from dlgrad.operators.counts import binomial, poisson
from dlgrad.operators.gamma_functions import lgamma
from dlgrad.operators.gamma_sampling import standard_gamma
from dlgrad.operators.ranges import arange
from dlgrad.operators.sampling import waiting_times
from dlgrad.tensor import Tensor


class _OfTrials(Distribution):
    """A distribution by the probability `probs` of a success, or by its logit `logits`."""

    def _set_chance(self, probs: Any, logits: Any, *others: Any) -> tuple[Tensor, ...]:
        one_of(probs, logits)
        given, *rest = broadcast_all(probs if probs is not None else logits, *others)
        if probs is not None:
            self.probs = given
        else:
            self.logits = given
        self._param: Tensor = given
        return tuple(rest)

    @lazy_property
    def probs(self) -> Tensor:
        """The probability of a success."""
        return logits_to_probs(self.logits, is_binary=True)

    @lazy_property
    def logits(self) -> Tensor:
        """The logarithm of p / (1 - p)."""
        return probs_to_logits(self.probs, is_binary=True)

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        own = "probs" if self._param is self.__dict__.get("probs") else "logits"
        others = [name for name in self.arg_constraints if name not in ("probs", "logits")]
        expanded: Distribution = self._expanded(batch_shape, own, *others)
        return expanded


class Geometric(_OfTrials):
    """How many trials fail before the first success: 0, 1, 2 ..."""

    arg_constraints: ClassVar = {"probs": constraints.unit_interval, "logits": constraints.real}

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self._set_chance(probs, logits)
        super().__init__(self._param.shape, validate_args=validate_args)
        if self._validate_args is not False and probs is not None:
            self._check(
                constraints.positive, self.probs,
                f"Expected parameter probs {{value}} of distribution {self!r} to be positive, but "
                "found invalid values",
            )  # fmt: skip

    @property
    def support(self) -> Constraint:
        return constraints.nonnegative_integer

    @property
    def mean(self) -> Tensor:
        return self.probs.reciprocal() - 1

    @property
    def mode(self) -> Tensor:
        return zeros_like(self.probs)

    @property
    def variance(self) -> Tensor:
        return (self.probs.reciprocal() - 1) / self.probs

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape, probs = self._extended_shape(sample_shape), self.probs.detach()
        with no_grad():
            times = waiting_times(shape, probs.dtype, str(probs.device), None)
            return (times / -(-probs).log1p()).floor().to(probs.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        value = self._checked(value)
        return value.xlogy(1 - self.probs) + self.probs.log()

    def entropy(self) -> Tensor:
        other = 1 - self.probs
        return -(other.xlogy(other) + self.probs.xlogy(self.probs)) / self.probs


class Poisson(Distribution):
    """How many events come in a unit of time, if `rate` of them come on average."""

    arg_constraints: ClassVar = {"rate": constraints.nonnegative}

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.nonnegative_integer

    @property
    def mean(self) -> Tensor:
        return self.rate

    @property
    def mode(self) -> Tensor:
        return self.rate.floor()

    @property
    def variance(self) -> Tensor:
        return self.rate

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with no_grad():
            return poisson(self.rate.detach().expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        value = self._checked(value)
        return value.xlogy(self.rate) - self.rate - lgamma(value + 1)


class Binomial(_OfTrials):
    """How many of `total_count` trials succeed."""

    has_enumerate_support = True
    arg_constraints: ClassVar = {
        "total_count": constraints.nonnegative_integer, "probs": constraints.unit_interval,
        "logits": constraints.real,
    }  # fmt: skip

    def __init__(
        self, total_count: Any = 1, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        (count,) = self._set_chance(probs, logits, total_count)
        self.total_count: Tensor = count.to(self._param.dtype)
        super().__init__(self._param.shape, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.IntegerInterval(0, self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.probs

    @property
    def mode(self) -> Tensor:
        return ((self.total_count + 1) * self.probs).floor().minimum(self.total_count)

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with no_grad():
            return binomial(self.total_count.expand(shape), self.probs.detach().expand(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        value, count = self._checked(value), self.total_count
        ways = lgamma(count + 1) - lgamma(value + 1) - lgamma(count - value + 1)
        return ways + value * self.logits - count * softplus(self.logits)

    def entropy(self) -> Tensor:
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(log_prob.exp() * log_prob.clamp(min=finfo(log_prob.dtype).min)).sum(0)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        counts = set(self.total_count.reshape(-1).tolist())
        if len(counts) > 1:
            raise NotImplementedError(
                "Inhomogeneous total count not supported: entropy and enumerate_support need the "
                "same total_count everywhere"
            )
        most = int(max(counts, default=0))
        values = arange(most + 1, dtype=self._param.dtype, device=self._param.device)
        values = values.reshape((-1,) + (1,) * len(self._batch_shape))
        return values.expand((-1, *self._batch_shape)) if expand else values


class NegativeBinomial(_OfTrials):
    """How many trials succeed before `total_count` have failed, also for fractions of it."""

    arg_constraints: ClassVar = {
        "total_count": constraints.nonnegative, "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }  # fmt: skip

    def __init__(
        self, total_count: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        (count,) = self._set_chance(probs, logits, total_count)
        self.total_count: Tensor = count.to(self._param.dtype)
        super().__init__(self._param.shape, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.nonnegative_integer

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.logits.exp()

    @property
    def mode(self) -> Tensor:
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0)

    @property
    def variance(self) -> Tensor:
        return self.mean / (-self.logits).sigmoid()

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with no_grad():
            drawn = standard_gamma(self.total_count.detach().expand(shape))
            return poisson(drawn * self.logits.detach().exp())

    def log_prob(self, value: Tensor) -> Tensor:
        value, count = self._checked(value), self.total_count
        chance = -count * softplus(self.logits) - value * softplus(-self.logits)
        ways = lgamma(count + value) - lgamma(value + 1) - lgamma(count)
        return chance + where(count + value == 0, 0.0, ways)


class _OverPlaces(Distribution):
    """A distribution over vectors by the weights of a categorical one."""

    arg_constraints: ClassVar = {
        "probs": constraints.simplex, "logits": constraints.real_vector,
    }  # fmt: skip
    categorical: Categorical

    @property
    def probs(self) -> Tensor:
        """The probability of each place."""
        return self.categorical.probs

    @property
    def logits(self) -> Tensor:
        """The logarithm of the probability of each place."""
        return self.categorical.logits

    @property
    def param_shape(self) -> Any:
        """The shape of `probs` and `logits`."""
        return self.categorical.param_shape


class OneHotCategorical(_OverPlaces):
    """Vectors with a 1 at the place that `Categorical` draws, and 0 elsewhere."""

    has_enumerate_support = True

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self.categorical = Categorical(probs, logits, validate_args=validate_args)
        shape = self.categorical.param_shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.one_hot

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        return self._marked(self.categorical.mode)

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def _marked(self, places: Tensor) -> Tensor:
        return one_hot(places, self._event_shape[0]).to(self.categorical._param.dtype)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self._marked(self.categorical.sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return self.categorical.log_prob(self._checked(value).argmax(-1))

    def entropy(self) -> Tensor:
        return self.categorical.entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return self._marked(self.categorical.enumerate_support(expand))

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        expanded = self.categorical.expand(batch_shape)
        return type(self)(logits=expanded.logits, validate_args=False)  # type: ignore[attr-defined]


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """`OneHotCategorical` whose draws pass gradients on to the probabilities unchanged."""

    has_rsample = True

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        drawn = self.sample(sample_shape)
        return drawn + (self.probs - self.probs.detach())


class Multinomial(_OverPlaces):
    """How often each place comes in `total_count` draws of `Categorical`."""

    def __init__(
        self, total_count: int = 1, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        if isinstance(total_count, bool) or not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported; give an int")
        if total_count < 0:
            raise ValueError(f"total_count cannot be negative, got {total_count}")
        self.total_count = total_count
        self.categorical = Categorical(probs, logits, validate_args=validate_args)
        shape = self.categorical.param_shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.multinomial(self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        drawn = self.categorical.sample((self.total_count, *sample_shape))
        counts = one_hot(drawn, self._event_shape[0]).sum(0)
        return counts.to(self.categorical._param.dtype).reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        value = self._checked(value)
        ways = lgamma(value.sum(-1) + 1) - lgamma(value + 1).sum(-1)
        impossible = (value == 0) & (self.logits == -math.inf)
        return ways + where(impossible, 0.0, value * self.logits).sum(-1)

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        logits = self.categorical.expand(batch_shape).logits  # type: ignore[attr-defined]
        return type(self)(self.total_count, logits=logits, validate_args=False)
