"""Probability distributions under the names of PyTorch's `torch.distributions`.

A distribution draws (`sample`, and `rsample` with gradients), and knows the logarithm of its
probability (`log_prob`), its entropy, and where it can its cumulative probability and the
inverse; `kl_divergence(p, q)` compares two.
"""

from dlgrad.distributions import constraints, kl, transforms, utils
from dlgrad.distributions.continuous import Exponential, Laplace, LogNormal, Normal, Uniform
from dlgrad.distributions.counts import (
    Binomial,
    Geometric,
    Multinomial,
    NegativeBinomial,
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
    Poisson,
)
from dlgrad.distributions.discrete import Bernoulli, Categorical, Independent
from dlgrad.distributions.distribution import Distribution
from dlgrad.distributions.gammas import Beta, Chi2, Dirichlet, Gamma, InverseGamma, StudentT
from dlgrad.distributions.kl import kl_divergence, register_kl
from dlgrad.distributions.multivariate import MultivariateNormal
from dlgrad.distributions.tails import Cauchy, Gumbel, HalfCauchy, HalfNormal, Pareto, Weibull
from dlgrad.distributions.transformed import (
    MixtureSameFamily,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    TransformedDistribution,
)
from dlgrad.distributions.transforms import (
    AbsTransform,
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    IndependentTransform,
    PowerTransform,
    SigmoidTransform,
    SoftmaxTransform,
    SoftplusTransform,
    TanhTransform,
    Transform,
    identity_transform,
)

__all__ = [
    "AbsTransform", "AffineTransform", "Bernoulli", "Beta", "Binomial", "Categorical", "Cauchy",
    "Chi2", "ComposeTransform", "Dirichlet", "Distribution", "ExpTransform", "Exponential",
    "Gamma", "Geometric", "Gumbel", "HalfCauchy", "HalfNormal", "Independent",
    "IndependentTransform", "InverseGamma", "Laplace", "LogNormal", "MixtureSameFamily",
    "Multinomial", "MultivariateNormal", "NegativeBinomial", "Normal", "OneHotCategorical",
    "OneHotCategoricalStraightThrough", "Pareto", "Poisson", "PowerTransform", "RelaxedBernoulli",
    "RelaxedOneHotCategorical", "SigmoidTransform", "SoftmaxTransform", "SoftplusTransform",
    "StudentT", "TanhTransform", "Transform", "TransformedDistribution", "Uniform", "Weibull",
    "constraints", "identity_transform", "kl", "kl_divergence", "register_kl", "transforms",
    "utils",
]  # fmt: skip
