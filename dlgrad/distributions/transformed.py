"""Distributions made of others: transformed, mixed, and relaxed ones.

Floor 7.  The relaxed ones are those of Maddison, Mnih and Teh, "The Concrete distribution", 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from dlgrad.autograd import no_grad
from dlgrad.distributions import constraints
from dlgrad.distributions.constraints import Constraint
from dlgrad.distributions.discrete import Bernoulli, Categorical, Independent
from dlgrad.distributions.distribution import Distribution
from dlgrad.distributions.transforms import (
    ComposeTransform,
    ExpTransform,
    SigmoidTransform,
    Transform,
    summed_last,
)
from dlgrad.distributions.utils import number
from dlgrad.dtype import finfo
from dlgrad.neural.activations import softplus
from dlgrad.operators.gamma_functions import lgamma
from dlgrad.operators.gathers import take_along_dim
from dlgrad.random import rand
from dlgrad.tensor import Tensor


class TransformedDistribution(Distribution):
    """What comes out of `transforms`, one after the other, of draws of `base_distribution`."""

    arg_constraints: ClassVar = {}

    def __init__(
        self, base_distribution: Distribution, transforms: Transform | Sequence[Transform],
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        parts = [transforms] if isinstance(transforms, Transform) else transforms
        if not isinstance(parts, (list, tuple)) or not all(
            isinstance(part, Transform) for part in parts
        ):
            raise ValueError(
                f"transforms must be a Transform or list, but was {transforms!r}; the classes are "
                "in dlgrad.distributions.transforms"
            )
        self.transforms = list(parts)
        self._whole = ComposeTransform(self.transforms)
        # A transform of vectors makes events of the last dimensions of the batch.
        missing = self._whole.domain.event_dim - len(base_distribution.event_shape)
        if missing > 0:
            base_distribution = Independent(base_distribution, missing)
        self.base_dist = base_distribution
        self.has_rsample = base_distribution.has_rsample
        shape = (*base_distribution.batch_shape, *base_distribution.event_shape)
        for part in self.transforms:
            shape = part.forward_shape(shape)
        cut = len(shape) - len(base_distribution.event_shape)
        super().__init__(shape[:cut], shape[cut:], validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        if not self.transforms:
            return self.base_dist.support
        last = self._whole.codomain
        return constraints.independent(last, len(self._event_shape) - last.event_dim)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with no_grad():
            x = self.base_dist.sample(sample_shape)
            for part in self.transforms:
                x = part(x)
            return x

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        x = self.base_dist.rsample(sample_shape)
        for part in self.transforms:
            x = part(x)
        return x

    def log_prob(self, value: Tensor) -> Tensor:
        y, depth = self._checked(value), len(self._event_shape)
        stretched: Any = 0.0
        for part in reversed(self.transforms):
            x = part._inverted(y)
            stretch = part.log_abs_det_jacobian(x, y)
            stretched = stretched + summed_last(stretch, depth - part.event_dim)
            y = x
        density: Tensor = self.base_dist.log_prob(y) - stretched
        return density

    def cdf(self, value: Tensor) -> Tensor:
        sign = self._whole.sign
        share = self.base_dist.cdf(self._whole._inverted(self._checked(value)))
        turned: Tensor = sign * (share - 0.5) + 0.5
        return turned

    def icdf(self, value: Tensor) -> Tensor:
        sign = self._whole.sign
        return self._whole(self.base_dist.icdf(sign * (value - 0.5) + 0.5))

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        base = self.base_dist.expand(batch_shape)
        return TransformedDistribution(base, self.transforms, validate_args=False)

    def __repr__(self) -> str:
        return f"TransformedDistribution({self.base_dist!r}, {self.transforms!r})"


class MixtureSameFamily(Distribution):
    """One of the last dimension of distributions in `component_distribution`, by a categorical."""

    arg_constraints: ClassVar = {}

    def __init__(
        self, mixture_distribution: Categorical, component_distribution: Distribution,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError(
                "The Mixture distribution needs to be an instance of "
                f"distributions.Categorical, got {type(mixture_distribution).__name__}"
            )
        if not isinstance(component_distribution, Distribution):
            raise ValueError(
                "The Component distribution needs to be an instance of "
                f"distributions.Distribution, got {type(component_distribution).__name__}"
            )
        self.mixture_distribution = mixture_distribution
        self.component_distribution = component_distribution
        batch = tuple(component_distribution.batch_shape)
        count = mixture_distribution.param_shape[-1]
        if not batch or batch[-1] != count:
            raise ValueError(
                f"`mixture_distribution` has {count} components, and the batch of "
                f"`component_distribution` is {batch}; its last dimension must be that number"
            )
        event = component_distribution.event_shape
        super().__init__(batch[:-1], event, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return self.component_distribution.support

    def _weights(self) -> Tensor:
        probs = self.mixture_distribution.probs
        return probs.reshape((*probs.shape, *(1 for _ in self._event_shape)))

    @property
    def mean(self) -> Tensor:
        at = -1 - len(self._event_shape)
        return (self._weights() * self.component_distribution.mean).sum(at)

    @property
    def variance(self) -> Tensor:
        at = -1 - len(self._event_shape)
        inner = self.component_distribution.variance
        apart = self.component_distribution.mean - self.mean.unsqueeze(at)
        return (self._weights() * (inner + apart.square())).sum(at)

    def cdf(self, value: Tensor) -> Tensor:
        shares = self.component_distribution.cdf(self._checked(value).unsqueeze(-1))
        return (shares * self.mixture_distribution.probs).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        value = self._checked(value).unsqueeze(-1 - len(self._event_shape))
        density = self.component_distribution.log_prob(value)
        return (density + self.mixture_distribution.logits.log_softmax(-1)).logsumexp(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        depth = len(self._event_shape)
        with no_grad():
            places = self.mixture_distribution.expand(self._batch_shape).sample(sample_shape)
            drawn = self.component_distribution.sample(sample_shape)
            places = places.reshape((*places.shape, 1, *(1 for _ in range(depth))))
            at = drawn.ndim - 1 - depth
            shape = list(drawn.shape)
            shape[at] = 1
            return take_along_dim(drawn, places.expand(shape), at).squeeze(at)

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        count = self.mixture_distribution.param_shape[-1]
        component = self.component_distribution.expand((*batch_shape, count))
        mixture: Any = self.mixture_distribution.expand(batch_shape)
        return MixtureSameFamily(mixture, component, validate_args=False)

    def __repr__(self) -> str:
        inner = f"{self.mixture_distribution!r}, {self.component_distribution!r}"
        return f"MixtureSameFamily({inner})"


def _temperature(value: Any, like: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value
    return number(float(value), like.dtype, like.device)


class _LogitRelaxedBernoulli(Bernoulli):
    """The logit of a relaxed Bernoulli number."""

    has_rsample = True

    def __init__(self, temperature: Any, probs: Any, logits: Any, validate_args: Any) -> None:
        super().__init__(probs, logits, validate_args=validate_args)
        self.temperature = _temperature(temperature, self._param)

    @property
    def support(self) -> Constraint:
        return constraints.real

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape, like = self._extended_shape(sample_shape), self._param
        share = rand(shape, dtype=like.dtype, device=like.device).clamp(min=finfo(like.dtype).tiny)
        return (share.log() - (-share).log1p() + self.logits) / self.temperature

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        apart = self.logits - self._checked(value) * self.temperature
        return self.temperature.log() + apart - 2 * softplus(apart)

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        logits = self.logits.expand(tuple(batch_shape))
        return _LogitRelaxedBernoulli(self.temperature, None, logits, False)


class RelaxedBernoulli(TransformedDistribution):
    """Numbers between 0 and 1 that are near them at a low `temperature`, with gradients."""

    base_dist: _LogitRelaxedBernoulli

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        base = _LogitRelaxedBernoulli(temperature, probs, logits, validate_args)
        super().__init__(base, SigmoidTransform(), validate_args=validate_args)

    temperature = property(lambda self: self.base_dist.temperature)
    probs = property(lambda self: self.base_dist.probs)
    logits = property(lambda self: self.base_dist.logits)

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        logits = self.logits.expand(tuple(batch_shape))
        return RelaxedBernoulli(self.temperature, logits=logits, validate_args=False)


class _LogRelaxedCategorical(Distribution):
    """The logarithms of a relaxed one-hot vector."""

    has_rsample = True
    arg_constraints: ClassVar = {}

    def __init__(self, temperature: Any, probs: Any, logits: Any, validate_args: Any) -> None:
        self.categorical = Categorical(probs, logits, validate_args=validate_args)
        self.temperature = _temperature(temperature, self.categorical._param)
        shape = self.categorical.param_shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.real_vector

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape, like = self._extended_shape(sample_shape), self.categorical._param
        share = rand(shape, dtype=like.dtype, device=like.device).clamp(min=finfo(like.dtype).tiny)
        noise = -(-share.log()).log()
        return ((self.categorical.logits + noise) / self.temperature).log_softmax(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        count = self._event_shape[0]
        apart = self.categorical.logits - self._checked(value) * self.temperature
        constant = lgamma(self.temperature * 0 + count) + (count - 1) * self.temperature.log()
        return constant + apart.log_softmax(-1).sum(-1)

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        logits: Any = self.categorical.expand(batch_shape)
        return _LogRelaxedCategorical(self.temperature, None, logits.logits, False)


class RelaxedOneHotCategorical(TransformedDistribution):
    """Shares that are near a one-hot vector at a low `temperature`, with gradients."""

    base_dist: _LogRelaxedCategorical

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        base = _LogRelaxedCategorical(temperature, probs, logits, validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)

    temperature = property(lambda self: self.base_dist.temperature)
    probs = property(lambda self: self.base_dist.categorical.probs)
    logits = property(lambda self: self.base_dist.categorical.logits)

    @property
    def support(self) -> Constraint:
        return constraints.simplex

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        logits = self.logits.expand((*batch_shape, *self._event_shape))
        return RelaxedOneHotCategorical(self.temperature, logits=logits, validate_args=False)
