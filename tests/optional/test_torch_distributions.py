"""dlgrad.distributions beside PyTorch: densities, moments, divergences, draws."""

from __future__ import annotations

from typing import Any

import pytest

import dlgrad

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")

# Name, arguments, values to ask the density at; lists become float64 tensors.
CASES: list[tuple[str, tuple[Any, ...], Any]] = [
    ("Beta", ([0.5, 2.0, 3.0], [1.7, 3.0, 0.5]), [0.1, 0.4, 0.9]),
    ("Binomial", ([3.0, 5.0, 9.0], [0.2, 0.0, 1.0]), [1.0, 0.0, 9.0]),
    ("Cauchy", ([0.0, 1.0, -2.0], [0.5, 2.0, 1.0]), [0.3, -5.0, 4.0]),
    ("Chi2", ([1.0, 2.5, 7.0],), [0.3, 1.0, 9.0]),
    ("Dirichlet", ([[0.5, 1.0, 2.0], [3.0, 3.0, 4.0]],), [[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]]),
    ("Gamma", ([0.5, 1.0, 4.0], [1.0, 2.0, 0.3]), [0.2, 1.5, 20.0]),
    ("Geometric", ([0.2, 0.9, 0.5],), [0.0, 2.0, 7.0]),
    ("Gumbel", ([0.0, 1.0, -1.0], [0.5, 2.0, 1.0]), [0.3, -1.0, 4.0]),
    ("HalfCauchy", ([0.5, 2.0, 1.0],), [0.3, 5.0, 0.0]),
    ("HalfNormal", ([0.5, 2.0, 1.0],), [0.3, 5.0, 0.0]),
    ("InverseGamma", ([0.5, 1.5, 4.0], [1.0, 2.0, 0.3]), [0.2, 1.5, 20.0]),
    ("NegativeBinomial", ([3.0, 5.5, 9.0], [0.2, 0.5, 0.9]), [1.0, 0.0, 9.0]),
    ("OneHotCategorical", ([[0.2, 0.3, 0.5]],), [[0.0, 1.0, 0.0]]),
    ("Pareto", ([0.5, 2.0, 1.0], [3.0, 1.5, 0.5]), [0.6, 5.0, 1.5]),
    ("Poisson", ([0.5, 20.0, 3.0],), [0.0, 15.0, 7.0]),
    ("StudentT", ([0.5, 3.0, 30.0], [0.0, 1.0, 2.0], [1.0, 0.5, 3.0]), [0.3, -2.0, 9.0]),
    ("Weibull", ([0.5, 2.0, 1.0], [3.0, 1.5, 1.0]), [0.6, 5.0, 1.5]),
    ("MultivariateNormal", ([1.0, -1.0], [[2.0, 0.3], [0.3, 0.5]]), [[0.0, 0.0], [2.0, -1.0]]),
    ("RelaxedBernoulli", ([0.7], [0.2, 0.9]), [0.3, 0.8]),
    ("RelaxedOneHotCategorical", ([0.7], [0.2, 0.3, 0.5]), [0.3, 0.5, 0.2]),
]
NAMES = [case[0] for case in CASES]


def both(value: Any) -> tuple[Any, Any]:
    if not isinstance(value, list):
        return value, value
    return dlgrad.tensor(value, dtype=dlgrad.float64), torch.tensor(value, dtype=torch.float64)


def pair(name: str, arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    given = [both(value) for value in arguments]
    own = getattr(dlgrad.distributions, name)(*(one for one, _ in given))
    return own, getattr(torch.distributions, name)(*(other for _, other in given))


def same(own: Any, other: Any, tolerance: float = 1e-9) -> None:
    np.testing.assert_allclose(
        own.detach().numpy(), other.detach().numpy(), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize(("name", "arguments", "values"), CASES, ids=NAMES)
def test_as_pytorch(name: str, arguments: tuple[Any, ...], values: Any) -> None:
    own, other = pair(name, arguments)
    x, y = both(values)
    assert tuple(own.batch_shape) == tuple(other.batch_shape)
    assert tuple(own.event_shape) == tuple(other.event_shape)
    assert own.has_rsample == other.has_rsample
    assert own.support.event_dim == other.support.event_dim
    assert own.support.is_discrete == other.support.is_discrete
    same(own.log_prob(x), other.log_prob(y))
    for what in ("mean", "variance", "stddev", "mode"):
        try:
            expected = getattr(other, what)
        except NotImplementedError:
            continue
        same(getattr(own, what), expected)
    for what in ("cdf", "entropy"):
        try:
            expected = other.cdf(y) if what == "cdf" else other.entropy()
        except NotImplementedError:
            continue
        if what == "cdf" and name in ("Gamma", "Chi2", "InverseGamma"):
            continue  # there is no incomplete gamma function
        same(own.cdf(x) if what == "cdf" else own.entropy(), expected, 1e-8)
    drawn = own.sample((5,))
    assert drawn.shape == tuple(other.sample((5,)).shape)
    assert drawn.dtype is dlgrad.float64
    assert bool(own.support.check(drawn).all())
    assert tuple(own.expand((4, *own.batch_shape)).batch_shape) == (4, *other.batch_shape)


PAIRS: list[tuple[str, tuple[Any, ...], tuple[Any, ...]]] = [
    ("Beta", ([0.5], [0.7]), ([2.0], [3.0])),
    ("Cauchy", ([0.0], [0.5]), ([1.0], [2.0])),
    ("Dirichlet", ([0.5, 1.0, 2.0],), ([1.0, 3.0, 0.2],)),
    ("Gamma", ([0.5], [1.0]), ([3.0], [0.4])),
    ("Geometric", ([0.3],), ([0.8],)),
    ("Gumbel", ([0.0], [0.5]), ([1.0], [2.0])),
    ("HalfNormal", ([0.5],), ([2.0],)),
    ("MultivariateNormal", ([1.0, -1.0], [[2.0, 0.3], [0.3, 0.5]]),
     ([0.0, 2.0], [[1.0, -0.2], [-0.2, 3.0]])),
    ("OneHotCategorical", ([0.2, 0.3, 0.5],), ([0.1, 0.1, 0.8],)),
    ("Poisson", ([3.0],), ([0.5],)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "first", "second"), PAIRS, ids=[case[0] for case in PAIRS])
def test_divergences(name: str, first: tuple[Any, ...], second: tuple[Any, ...]) -> None:
    (p, p2), (q, q2) = pair(name, first), pair(name, second)
    found = dlgrad.distributions.kl_divergence(p, q)
    same(found, torch.distributions.kl_divergence(p2, q2))


def test_other_forms_of_parameters() -> None:
    matrix = [[2.0, 0.3], [0.3, 0.5]]
    loc, value = [1.0, -1.0], [0.5, 0.25]
    for form in ("precision_matrix", "scale_tril"):
        given = [[1.5, 0.0], [0.3, 0.5]] if form == "scale_tril" else matrix
        m, m2 = both(given)
        own = dlgrad.distributions.MultivariateNormal(both(loc)[0], **{form: m})
        other = torch.distributions.MultivariateNormal(both(loc)[1], **{form: m2})
        same(own.log_prob(both(value)[0]), other.log_prob(both(value)[1]))
        same(own.covariance_matrix, other.covariance_matrix)
        same(own.precision_matrix, other.precision_matrix)
    own, other = (
        space.Binomial(9, logits=both([0.3])[at]) for at, space in enumerate(SPACES)
    )
    same(own.log_prob(both([4.0])[0]), other.log_prob(both([4.0])[1]))
    own, other = (
        space.Multinomial(9, both([0.3, 0.2, 0.5])[at]) for at, space in enumerate(SPACES)
    )
    same(own.log_prob(both([4.0, 2.0, 3.0])[0]), other.log_prob(both([4.0, 2.0, 3.0])[1]))
    assert own.sample((3,)).sum(-1).tolist() == [9, 9, 9]


SPACES = (dlgrad.distributions, torch.distributions)


def test_transforms() -> None:
    x, x2 = both([[0.3, -1.2], [2.0, 0.1]])
    for make in (
        lambda d: d.ExpTransform(),
        lambda d: d.SigmoidTransform(),
        lambda d: d.TanhTransform(),
        lambda d: d.transforms.SoftplusTransform(),
        lambda d: d.AffineTransform(1.0, -2.0),
        lambda d: d.AffineTransform(1.0, 3.0, event_dim=1),
        lambda d: d.ComposeTransform([d.AffineTransform(0.5, 2.0), d.ExpTransform()]),
        lambda d: d.ComposeTransform([d.ExpTransform(), d.PowerTransform(2.0)]),
        lambda d: d.IndependentTransform(d.ExpTransform(), 1),
        lambda d: d.ExpTransform().inv.inv,
    ):
        own, other = (make(space) for space in SPACES)
        y, y2 = own(x), other(x2)
        same(y, y2)
        same(own.inv(y), x2)
        same(own.log_abs_det_jacobian(x, y), other.log_abs_det_jacobian(x2, y2))
        moved, moved2 = (
            space.TransformedDistribution(space.Normal(*(both([value, 1.0])[at] for value in
                                                         (0.1, 1.5))), make(space))
            for at, space in enumerate(SPACES)
        )  # fmt: skip
        same(moved.log_prob(y), moved2.log_prob(y2))
        assert tuple(moved.event_shape) == tuple(moved2.event_shape)
        if not moved.event_shape:
            same(moved.cdf(y), moved2.cdf(y2))
            same(moved.icdf(moved.cdf(y)), y2, 1e-6)


def test_a_mixture() -> None:
    own, other = (
        space.MixtureSameFamily(
            space.Categorical(both([0.2, 0.5, 0.3])[at]),
            space.Normal(both([-1.0, 0.0, 3.0])[at], both([0.5, 1.0, 2.0])[at]),
        )
        for at, space in enumerate(SPACES)
    )
    x, y = both([0.1, 2.0, -4.0])
    for what in ("log_prob", "cdf"):
        same(getattr(own, what)(x), getattr(other, what)(y))
    same(own.mean, other.mean)
    same(own.variance, other.variance)
    assert own.sample((4, 2)).shape == (4, 2)
    batch, event = dlgrad.ones(2, 3), 1
    inner = dlgrad.distributions.Independent(
        dlgrad.distributions.Normal(dlgrad.zeros(2, 3, 4), 1.0), event
    )
    drawn = dlgrad.distributions.MixtureSameFamily(
        dlgrad.distributions.Categorical(batch), inner
    ).sample((5,))
    assert drawn.shape == (5, 2, 4)


def test_the_slope_of_gamma_numbers() -> None:
    from dlgrad.operators.gamma_sampling import gamma_slope

    for alpha in (0.1, 0.7, 1.0, 3.0, 20.0, 500.0):
        shape = torch.full((200,), alpha, dtype=torch.float64)
        drawn = torch._standard_gamma(shape)
        expected = torch._standard_gamma_grad(shape, drawn)
        found = gamma_slope(dlgrad.tensor(drawn.numpy()), dlgrad.tensor(shape.numpy()))
        same(found, expected, 2e-3)  # PyTorch's is a fit, good to about three digits
