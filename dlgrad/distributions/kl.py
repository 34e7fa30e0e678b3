"""The Kullback-Leibler divergence between two distributions.

Floor 7.  One function per pair of classes, found by the nearest base classes of the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dlgrad.core.apply import where
from dlgrad.distributions.continuous import Exponential, Laplace, LogNormal, Normal, Uniform
from dlgrad.distributions.discrete import Bernoulli, Categorical, Independent
from dlgrad.distributions.distribution import Distribution
from dlgrad.nn.functional import softplus
from dlgrad.tensor import Tensor

Rule = Callable[[Any, Any], Tensor]
_RULES: dict[tuple[type, type], Rule] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Rule], Rule]:
    """A decorator: the function gives `kl_divergence(p, q)` for the two classes."""
    for kind in (type_p, type_q):
        if not (isinstance(kind, type) and issubclass(kind, Distribution)):
            raise TypeError(f"Expected a subclass of Distribution but got {kind!r}")

    def decorator(rule: Rule) -> Rule:
        _RULES[type_p, type_q] = rule
        return rule

    return decorator


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The expected value, under `p`, of log p - log q; NotImplementedError for unknown pairs."""
    for kind_p in type(p).__mro__:
        for kind_q in type(q).__mro__:
            rule = _RULES.get((kind_p, kind_q))
            if rule is not None:
                return rule(p, q)
    raise NotImplementedError(
        f"No KL(p || q) is implemented for p type {type(p).__name__} and q type "
        f"{type(q).__name__}; register_kl adds one"
    )


@register_kl(Normal, Normal)
def _normal_normal(p: Normal, q: Normal) -> Tensor:
    ratio = (p.scale / q.scale).square()
    apart = ((p.loc - q.loc) / q.scale).square()
    return 0.5 * (ratio + apart - 1 - ratio.log())


@register_kl(LogNormal, LogNormal)
def _log_normal_log_normal(p: LogNormal, q: LogNormal) -> Tensor:
    return _normal_normal(p.base_dist, q.base_dist)


@register_kl(Uniform, Uniform)
def _uniform_uniform(p: Uniform, q: Uniform) -> Tensor:
    outside = (q.low > p.low) | (q.high < p.high)
    return where(outside, math.inf, ((q.high - q.low) / (p.high - p.low)).log())


@register_kl(Uniform, Normal)
def _uniform_normal(p: Uniform, q: Normal) -> Tensor:
    width = p.high - p.low
    spread = (width / q.scale).square() / 12
    apart = ((p.high + p.low - 2 * q.loc) / (2 * q.scale)).square()
    return 0.5 * (spread + apart) - (width / (math.sqrt(2 * math.pi) * q.scale)).log()


@register_kl(Exponential, Exponential)
def _exponential_exponential(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return ratio - 1 - ratio.log()


@register_kl(Laplace, Laplace)
def _laplace_laplace(p: Laplace, q: Laplace) -> Tensor:
    ratio, apart = p.scale / q.scale, (p.loc - q.loc).abs()
    return apart / q.scale + ratio * (-apart / p.scale).exp() - ratio.log() - 1


@register_kl(Bernoulli, Bernoulli)
def _bernoulli_bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    one = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    zero = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    one = where(p.probs == 0, 0.0, where(q.probs == 0, math.inf, one))
    zero = where(p.probs == 1, 0.0, where(q.probs == 1, math.inf, zero))
    return one + zero


@register_kl(Categorical, Categorical)
def _categorical_categorical(p: Categorical, q: Categorical) -> Tensor:
    terms = p.probs * (p.logits - q.logits)
    terms = where(q.probs == 0, math.inf, terms)
    return where(p.probs == 0, 0.0, terms).sum(-1)


@register_kl(Independent, Independent)
def _independent_independent(p: Independent, q: Independent) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError(
            "KL of Independent distributions with different reinterpreted_batch_ndims"
        )
    return p._summed(kl_divergence(p.base_dist, q.base_dist))
