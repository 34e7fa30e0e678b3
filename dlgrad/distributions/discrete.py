"""Distributions of whole numbers: Bernoulli and categorical; and batches taken as one event.

Floor 7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from dlgrad.autograd import no_grad
from dlgrad.core.apply import where
from dlgrad.core.composing import need_tensor
from dlgrad.core.creation import empty, full
from dlgrad.distributions import constraints
from dlgrad.distributions.constraints import Constraint
from dlgrad.distributions.distribution import Distribution
from dlgrad.distributions.utils import (
    broadcast_all,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
)
from dlgrad.dtype import finfo, int64
from dlgrad.lazy.shape import broadcast_shapes
from dlgrad.neural.losses import binary_cross_entropy_with_logits
from dlgrad.operators.choices import multinomial
from dlgrad.operators.ranges import arange
from dlgrad.operators.sampling import bernoulli
from dlgrad.tensor import Tensor


def one_of(probs: Any, logits: Any) -> None:
    """ValueError unless one of the two is given."""
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")


class Bernoulli(Distribution):
    """1 with the probability `probs` (or with the logit `logits` of it), else 0."""

    has_enumerate_support = True
    arg_constraints: ClassVar = {"probs": constraints.unit_interval, "logits": constraints.real}

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        one_of(probs, logits)
        if probs is not None:
            (self.probs,) = broadcast_all(probs)
        else:
            (self.logits,) = broadcast_all(logits)
        self._param: Tensor = self.probs if probs is not None else self.logits
        super().__init__(self._param.shape, validate_args=validate_args)

    @lazy_property
    def probs(self) -> Tensor:
        """The probability of 1."""
        return logits_to_probs(self.logits, is_binary=True)

    @lazy_property
    def logits(self) -> Tensor:
        """The logarithm of p / (1 - p)."""
        return probs_to_logits(self.probs, is_binary=True)

    @property
    def support(self) -> Constraint:
        return constraints.boolean

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        even = self.probs == 0.5
        return where(even, math.nan, (self.probs > 0.5).to(self.probs.dtype))

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with no_grad():
            probs = self.probs.expand(self._extended_shape(sample_shape))
            return bernoulli(probs)

    def log_prob(self, value: Tensor) -> Tensor:
        logits, value = broadcast_all(self.logits, self._checked(value))
        return -binary_cross_entropy_with_logits(logits, value.to(logits.dtype), reduction="none")

    def entropy(self) -> Tensor:
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = arange(2, dtype=self._param.dtype, device=self._param.device)
        values = values.reshape((2,) + (1,) * len(self._batch_shape))
        return values.expand((2, *self._batch_shape)) if expand else values

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        name = "probs" if self._param is self.__dict__.get("probs") else "logits"
        expanded: Distribution = self._expanded(batch_shape, name)
        return expanded


class Categorical(Distribution):
    """The places 0 to K - 1, by the weights along the last dimension of `probs` or `logits`.

    `probs` need not add up to 1 and `logits` need no normalisation: both are brought into form.
    """

    has_enumerate_support = True
    arg_constraints: ClassVar = {
        "probs": constraints.simplex, "logits": constraints.real_vector,
    }  # fmt: skip

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        one_of(probs, logits)
        given = probs if probs is not None else logits
        name = "probs" if probs is not None else "logits"
        need_tensor("Categorical", given, name)
        if given.ndim < 1:
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if probs is not None:
            self.probs = probs / probs.sum(-1, keepdim=True)
        else:
            self.logits = logits - logits.logsumexp(-1, keepdim=True)
        self._param: Tensor = self.probs if probs is not None else self.logits
        self._num_events = given.shape[-1]
        super().__init__(given.shape[:-1], validate_args=validate_args)
        if self._validate_args is not False:
            # What was given tells more than what normalisation has made of it.
            allowed = constraints.nonnegative if probs is not None else constraints.real
            self._check(allowed, given, f"Expected parameter {name} {{value}} of Categorical to "
                        f"satisfy the constraint {allowed!r}, but found invalid values")

    @lazy_property
    def probs(self) -> Tensor:
        """The probability of each place."""
        return logits_to_probs(self.logits)

    @lazy_property
    def logits(self) -> Tensor:
        """The logarithm of the probability of each place."""
        return probs_to_logits(self.probs)

    @property
    def support(self) -> Constraint:
        return constraints.IntegerInterval(0, self._num_events - 1)

    @property
    def param_shape(self) -> Any:
        """The shape of `probs` and `logits`."""
        return self._param.shape

    @property
    def mean(self) -> Tensor:
        place = self._param.device
        return full(self._batch_shape, math.nan, dtype=self._param.dtype, device=place)

    @property
    def mode(self) -> Tensor:
        return self._param.argmax(-1)

    @property
    def variance(self) -> Tensor:
        return self.mean

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        count = math.prod(sample_shape)
        shape = self._extended_shape(sample_shape)
        if not math.prod(shape):
            return empty(shape, dtype=int64, device=self._param.device)
        with no_grad():
            rows = self.probs.detach().reshape(-1, self._num_events)
            return multinomial(rows, count, True).t().reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        places = self._checked(value).long().unsqueeze(-1)
        shape = broadcast_shapes(places.shape[:-1], self._batch_shape)
        logits = self.logits.expand((*shape, self._num_events))
        chosen: Tensor = logits.gather(-1, places.expand((*shape, 1)))
        return chosen.squeeze(-1)

    def entropy(self) -> Tensor:
        finite = self.logits.clamp(min=finfo(self.logits.dtype).min)
        return -(finite * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = arange(self._num_events, device=self._param.device)
        values = values.reshape((-1,) + (1,) * len(self._batch_shape))
        return values.expand((-1, *self._batch_shape)) if expand else values

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        name = "probs" if self._param is self.__dict__.get("probs") else "logits"
        given = {name: self._param.expand((*batch_shape, self._num_events))}
        return type(self)(**given, validate_args=False)


class Independent(Distribution):
    """The last `reinterpreted_batch_ndims` dimensions of a batch taken as one event."""

    arg_constraints: ClassVar = {}

    def __init__(
        self, base_distribution: Distribution, reinterpreted_batch_ndims: int,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(base_distribution, Distribution):
            kind = type(base_distribution).__name__
            raise TypeError(f"Independent: expected a Distribution, got {kind}")
        count, batch = reinterpreted_batch_ndims, tuple(base_distribution.batch_shape)
        if not 0 <= count <= len(batch):
            raise ValueError(
                "Expected reinterpreted_batch_ndims <= len(base_distribution.batch_shape), "
                f"actual {count} vs {len(batch)}"
            )
        self.base_dist = base_distribution
        self.reinterpreted_batch_ndims = count
        self.has_rsample = base_distribution.has_rsample
        cut = len(batch) - count
        event = batch[cut:] + tuple(base_distribution.event_shape)
        super().__init__(batch[:cut], event, validate_args=validate_args)

    def _summed(self, x: Tensor) -> Tensor:
        count = self.reinterpreted_batch_ndims
        return x.sum(list(range(x.ndim - count, x.ndim))) if count else x

    @property
    def support(self) -> Constraint:
        return constraints.Independent(self.base_dist.support, self.reinterpreted_batch_ndims)

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean

    @property
    def mode(self) -> Tensor:
        return self.base_dist.mode

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._summed(self.base_dist.log_prob(value))

    def entropy(self) -> Tensor:
        return self._summed(self.base_dist.entropy())

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        kept = self.event_shape[: self.reinterpreted_batch_ndims]
        base = self.base_dist.expand((*batch_shape, *kept))
        return Independent(base, self.reinterpreted_batch_ndims, validate_args=False)

    def __repr__(self) -> str:
        return f"Independent({self.base_dist!r}, {self.reinterpreted_batch_ndims})"
