"""Probability distributions under the names of PyTorch's `torch.distributions`.

A distribution draws (`sample`, and `rsample` with gradients), and knows the logarithm of its
probability (`log_prob`), its entropy, and where it can its cumulative probability and the
inverse; `kl_divergence(p, q)` compares two.
"""

from dlgrad.distributions import constraints, kl, utils
from dlgrad.distributions.continuous import Exponential, Laplace, LogNormal, Normal, Uniform
from dlgrad.distributions.discrete import Bernoulli, Categorical, Independent
from dlgrad.distributions.distribution import Distribution
from dlgrad.distributions.kl import kl_divergence, register_kl

__all__ = [
    "Bernoulli", "Categorical", "Distribution", "Exponential", "Independent", "Laplace",
    "LogNormal", "Normal", "Uniform", "constraints", "kl", "kl_divergence", "register_kl",
    "utils",
]  # fmt: skip
