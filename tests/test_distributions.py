"""Probability distributions: formulas, draws, gradients, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest

import dlgrad
from dlgrad.distributions import (
    AffineTransform,
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Cauchy,
    Chi2,
    Dirichlet,
    Distribution,
    Exponential,
    ExpTransform,
    Gamma,
    Geometric,
    Gumbel,
    HalfCauchy,
    HalfNormal,
    Independent,
    InverseGamma,
    Laplace,
    LogNormal,
    MixtureSameFamily,
    Multinomial,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
    Pareto,
    Poisson,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    SigmoidTransform,
    SoftmaxTransform,
    StudentT,
    TransformedDistribution,
    Uniform,
    Weibull,
    kl_divergence,
    register_kl,
)

CONTINUOUS: dict[str, tuple[Distribution, float, float]] = {
    "normal": (Normal(0.5, 2.0), -18.0, 19.0),
    "log-normal": (LogNormal(0.1, 0.5), 1e-6, 30.0),
    "uniform": (Uniform(-1.0, 2.0), -1.0, 2.0),
    "exponential": (Exponential(1.5), 0.0, 20.0),
    "laplace": (Laplace(-0.5, 0.7), -15.0, 14.0),
    "gumbel": (Gumbel(0.5, 0.8), -5.0, 25.0),
    "weibull": (Weibull(1.5, 2.0), 0.0, 12.0),
    "half-normal": (HalfNormal(1.5), 0.0, 15.0),
    "pareto": (Pareto(1.0, 8.0), 1.0, 20.0),
    "transformed": (
        TransformedDistribution(Normal(0.0, 0.5), [AffineTransform(0.1, -1.0), ExpTransform()]),
        1e-6, 30.0,
    ),
}  # fmt: skip
WITHOUT_MOMENTS = ("transformed",)
# Those without an inverse of the cumulative probability.
OTHERS: dict[str, tuple[Distribution, float, float]] = {
    "gamma": (Gamma(2.5, 1.5), 0.0, 25.0),
    "chi2": (Chi2(5.0), 0.0, 60.0),
    "inverse gamma": (InverseGamma(6.0, 2.0), 1e-6, 40.0),
    "beta": (Beta(2.5, 1.5), 0.0, 1.0),
    "student": (StudentT(9.0, 0.5, 2.0), -70.0, 71.0),
    "mixture": (
        MixtureSameFamily(
            Categorical(dlgrad.tensor([1.0, 3.0])),
            Normal(dlgrad.tensor([-1.0, 2.0]), dlgrad.tensor([0.5, 1.0])),
        ), -12.0, 13.0,
    ),
}  # fmt: skip


def points(low: float, high: float, count: int = 20_000) -> tuple[Any, float]:
    """The middles of `count` steps from low to high in float64, and the width of a step."""
    width = (high - low) / count
    return (dlgrad.arange(count, dtype=dlgrad.float64) + 0.5) * width + low, width


@pytest.mark.parametrize("name", CONTINUOUS)
def test_densities_add_up_to_one_and_have_the_moments_named(name: str) -> None:
    d, low, high = CONTINUOUS[name]
    x, width = points(low, high)
    density = d.log_prob(x).exp() * width
    assert density.sum().item() == pytest.approx(1, abs=1e-3)
    if name not in WITHOUT_MOMENTS:
        check_moments(d, x, density)
        found = -(density * d.log_prob(x)).sum().item()
        assert found == pytest.approx(d.entropy().item(), abs=5e-3)
    middle = dlgrad.tensor(0.4, dtype=dlgrad.float64)
    below = (density * (x <= d.icdf(middle))).sum().item()
    assert below == pytest.approx(0.4, abs=2e-3)
    assert d.cdf(d.icdf(middle)).item() == pytest.approx(0.4, abs=1e-4)


def check_moments(d: Distribution, x: Any, density: Any) -> None:
    mean = d.mean.item()
    assert (density * x).sum().item() == pytest.approx(mean, abs=2e-3)
    variance = (density * (x - mean).square()).sum().item()
    assert variance == pytest.approx(d.variance.item(), rel=5e-3)
    assert d.stddev.item() == pytest.approx(math.sqrt(d.variance.item()), rel=1e-6)


@pytest.mark.parametrize("name", OTHERS)
def test_densities_and_draws_agree(name: str) -> None:
    d, low, high = OTHERS[name]
    x, width = points(low, high)
    density = d.log_prob(x).exp() * width
    assert density.sum().item() == pytest.approx(1, abs=1e-3)
    check_moments(d, x, density)
    if name != "mixture":
        found = -(density * d.log_prob(x).clamp(min=-1e30)).sum().item()
        assert found == pytest.approx(d.entropy().item(), abs=5e-3)
    dlgrad.manual_seed(0)
    drawn = d.sample((8000,))
    below = density.cumsum(0)
    for share in (0.1, 0.5, 0.9):
        place = x[(below < share).sum().item()].item()
        assert abs((drawn < place).float().mean().item() - share) < 0.03


@pytest.mark.parametrize("alpha", [0.3, 1.0, 3.5, 40.0])
def test_gamma_numbers_move_with_their_shape(alpha: float) -> None:
    """The mean of the gamma distribution is its shape, so the mean of the slopes is 1."""
    from dlgrad.operators.gamma_sampling import gamma_slope

    x, width = points(1e-9, alpha + 12 * math.sqrt(alpha) + 12, 40_000)
    shape = dlgrad.full_like(x, alpha)
    density = Gamma(alpha, 1.0).log_prob(x).exp() * width
    assert (gamma_slope(x, shape) * density).sum().item() == pytest.approx(1, abs=2e-3)
    dlgrad.manual_seed(1)
    given = dlgrad.full((4000,), alpha, requires_grad=True)
    Gamma(given, 2.0).rsample().sum().backward()
    assert given.grad is not None
    assert given.grad.mean().item() == pytest.approx(0.5, abs=0.08)


def test_draws_in_a_captured_step_go_on() -> None:
    @dlgrad.jit
    def step(shape: dlgrad.Tensor) -> tuple[dlgrad.Tensor, dlgrad.Tensor]:
        given = shape.detach().requires_grad_()
        drawn = Gamma(given, 2.0, validate_args=False).rsample()
        (slope,) = dlgrad.autograd.grad(drawn.sum(), given)
        return drawn, slope

    shape = dlgrad.tensor([0.5, 3.0])
    runs = []
    for captured in (True, False):
        dlgrad.manual_seed(4)
        call = step if captured else step.function
        runs.append([[part.tolist() for part in call(shape)] for _ in range(4)])
    for mine, other in zip(*runs, strict=True):
        assert mine[0] == pytest.approx(other[0]) and mine[1] == pytest.approx(other[1])
    assert runs[0][2] != runs[0][3]


def test_draws_of_tiny_shapes_stay_positive() -> None:
    dlgrad.manual_seed(0)
    drawn = Gamma(dlgrad.full((1000,), 1e-4), 1.0).sample()
    assert drawn.min().item() > 0


def test_shares() -> None:
    d = Dirichlet(dlgrad.tensor([[0.5, 1.0, 2.5], [30.0, 20.0, 50.0]]))
    dlgrad.manual_seed(0)
    drawn = d.sample((4000,))
    assert drawn.shape == (4000, 2, 3)
    assert (drawn.sum(-1) - 1).abs().max().item() < 1e-5
    assert drawn.mean(0)[0].tolist() == pytest.approx([0.125, 0.25, 0.625], abs=0.02)
    assert drawn.var(0).tolist()[0] == pytest.approx(d.variance.tolist()[0], rel=0.1)
    assert d.mode.tolist()[1] == pytest.approx([29 / 97, 19 / 97, 49 / 97])
    # Two shares are a beta distribution.
    x = dlgrad.tensor([0.3, 0.7])
    beta = Beta(2.0, 5.0).log_prob(x[0]).item()
    assert Dirichlet(dlgrad.tensor([2.0, 5.0])).log_prob(x).item() == pytest.approx(beta)
    concentration = dlgrad.tensor([1.5, 2.5], requires_grad=True)
    Dirichlet(concentration).rsample((3000,))[:, 0].mean().backward()
    assert concentration.grad is not None  # of the mean a / (a + b)
    assert concentration.grad.tolist() == pytest.approx([2.5 / 16, -1.5 / 16], abs=0.02)


def test_wide_tails() -> None:
    for d, half in ((Cauchy(1.0, 2.0), 1.0), (HalfCauchy(2.0), 2.0)):
        assert d.cdf(dlgrad.tensor(half)).item() == pytest.approx(0.5)
        dlgrad.manual_seed(0)
        drawn = d.sample((8000,))
        assert (drawn < half).float().mean().item() == pytest.approx(0.5, abs=0.02)
        x = dlgrad.tensor([0.3, 4.0], dtype=dlgrad.float64)
        slope = (d.cdf(x + 1e-4) - d.cdf(x - 1e-4)) / 2e-4
        assert d.log_prob(x).exp().tolist() == pytest.approx(slope.tolist(), rel=1e-4)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_draws_follow_the_cumulative_probability(name: str) -> None:
    dlgrad.manual_seed(0)
    d = CONTINUOUS[name][0]
    drawn = d.cdf(d.sample((8000,)))
    for share in (0.1, 0.5, 0.9):
        assert abs((drawn < share).float().mean().item() - share) < 0.03


def test_gradients_reach_the_parameters_through_draws() -> None:
    loc, scale = (dlgrad.tensor(v, requires_grad=True) for v in (1.0, 2.0))
    dlgrad.manual_seed(0)
    drawn = Normal(loc, scale).rsample((50,))
    drawn.sum().backward()
    assert loc.grad is not None
    assert scale.grad is not None
    assert loc.grad.item() == 50.0
    noise = (drawn.detach() - 1) / 2
    assert scale.grad.item() == pytest.approx(noise.sum().item(), rel=1e-4)
    assert not Normal(loc, scale).sample().requires_grad
    with pytest.raises(NotImplementedError, match="rsample"):
        Bernoulli(0.5).rsample()
    with pytest.raises(TypeError, match=r"sequence of ints, got 50; give \(50,\)"):
        Normal(loc, scale).sample(50)  # type: ignore[arg-type]


def test_a_categorical() -> None:
    weights = [[1.0, 2.0, 1.0], [0.0, 0.0, 5.0]]
    d = Categorical(dlgrad.tensor(weights))
    assert d.probs.tolist() == [[0.25, 0.5, 0.25], [0.0, 0.0, 1.0]]
    assert d.log_prob(dlgrad.tensor([1, 2])).tolist() == pytest.approx([math.log(0.5), 0], abs=1e-6)
    assert d.entropy().tolist() == pytest.approx([1.5 * math.log(2), 0], abs=1e-5)
    assert d.mode.tolist() == [1, 2]
    assert d.enumerate_support().tolist() == [[0, 0], [1, 1], [2, 2]]
    dlgrad.manual_seed(0)
    drawn = d.sample((3000,))
    assert drawn.shape == (3000, 2)
    first = [row[0] for row in drawn.tolist()]
    for place, share in enumerate((0.25, 0.5, 0.25)):
        assert abs(first.count(place) / 3000 - share) < 0.04
    assert {row[1] for row in drawn.tolist()} == {2}
    assert d.sample().shape == (2,)
    logits = dlgrad.zeros(2, requires_grad=True)
    d = Categorical(logits=logits)
    d.sample()
    assert d.probs.requires_grad  # although the draw was the first to ask for it
    logits = dlgrad.zeros(4, requires_grad=True)
    Categorical(logits=logits).log_prob(dlgrad.tensor(2)).backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx([-0.25, -0.25, 0.75, -0.25])


def test_a_bernoulli() -> None:
    d = Bernoulli(dlgrad.tensor([0.2, 0.5]))
    assert d.log_prob(dlgrad.tensor([1.0, 0.0])).tolist() == pytest.approx(
        [math.log(0.2), math.log(0.5)], abs=1e-6
    )
    assert d.variance.tolist() == pytest.approx([0.16, 0.25])
    assert d.mode.tolist()[0] == 0
    assert math.isnan(d.mode.tolist()[1])
    dlgrad.manual_seed(0)
    assert d.sample((4000,)).mean(0).tolist() == pytest.approx([0.2, 0.5], abs=0.04)
    assert Bernoulli(logits=0.0).entropy().item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    "d",
    [
        Poisson(3.5), Binomial(9, 0.35), Binomial(9, logits=-0.4), Geometric(0.35),
        NegativeBinomial(2.5, 0.45),
    ],
    ids=repr,
)  # fmt: skip
def test_counts(d: Distribution) -> None:
    k = dlgrad.arange(10 if isinstance(d, Binomial) else 50, dtype=dlgrad.float32)
    chance = d.log_prob(k).exp()
    mean = d.mean.item()
    assert chance.sum().item() == pytest.approx(1, abs=1e-5)
    assert (chance * k).sum().item() == pytest.approx(mean, rel=1e-4)
    assert (chance * (k - mean).square()).sum().item() == pytest.approx(d.variance.item(), rel=1e-4)
    assert chance.argmax().item() == d.mode.item()
    dlgrad.manual_seed(0)
    drawn = d.sample((4000,))
    assert drawn.mean().item() == pytest.approx(mean, abs=0.15)
    if isinstance(d, Binomial):
        assert d.enumerate_support().tolist() == k.tolist()
        expected = -(chance * chance.log()).sum().item()
        assert d.entropy().item() == pytest.approx(expected, rel=1e-4)
    wider = d.expand((2, 3))
    assert wider.sample((4,)).shape == (4, 2, 3)


def test_a_normal_vector() -> None:
    loc = dlgrad.tensor([0.5, -1.0], dtype=dlgrad.float64)
    factor = dlgrad.tensor([[2.0, 0.0], [0.6, 0.8]], dtype=dlgrad.float64)
    covariance = factor @ factor.mT
    d = MultivariateNormal(loc, covariance)
    same = [
        MultivariateNormal(loc, scale_tril=factor),
        MultivariateNormal(loc, precision_matrix=dlgrad.linalg.inv(covariance)),
    ]
    # With independent standard normals z, a draw is loc + L z.
    z = dlgrad.tensor([[0.3, -1.2], [2.0, 0.1]], dtype=dlgrad.float64)
    value = loc + z @ factor.mT
    expected = [-0.5 * (a * a + b * b) - math.log(2 * math.pi) - math.log(1.6)
                for a, b in z.tolist()]  # fmt: skip
    for each in (d, *same):
        assert each.log_prob(value).tolist() == pytest.approx(expected)
        for name in ("covariance_matrix", "precision_matrix", "scale_tril"):
            found, wanted = getattr(each, name), getattr(d, name)
            assert (found - wanted).abs().max().item() < 1e-12
        assert each.variance.tolist() == pytest.approx([4.0, 1.0])
        assert each.entropy().item() == pytest.approx(1 + math.log(2 * math.pi) + math.log(1.6))
    # On a diagonal covariance, the divergence is that of the elements.
    wide = MultivariateNormal(loc * 0, dlgrad.diag(dlgrad.tensor([4.0, 9.0], dtype=loc.dtype)))
    flat = MultivariateNormal(loc, dlgrad.eye(2, dtype=loc.dtype))
    parts = [kl_divergence(Normal(m, 1.0), Normal(0.0, s)).item()
             for m, s in zip(loc.tolist(), (2.0, 3.0), strict=True)]  # fmt: skip
    assert kl_divergence(flat, wide).item() == pytest.approx(sum(parts), rel=1e-6)
    dlgrad.manual_seed(0)
    drawn = d.expand((3,)).rsample((4000,))
    assert drawn.shape == (4000, 3, 2)
    apart = (drawn - loc).reshape(-1, 2)
    found = apart.mT @ apart / apart.shape[0]
    assert (found - covariance).abs().max().item() < 0.15


def test_vectors_of_places() -> None:
    probs = dlgrad.tensor([0.2, 0.3, 0.5])
    d = OneHotCategorical(probs)
    assert d.log_prob(d.enumerate_support()).exp().tolist() == pytest.approx([0.2, 0.3, 0.5])
    dlgrad.manual_seed(0)
    assert d.sample((4000,)).mean(0).tolist() == pytest.approx([0.2, 0.3, 0.5], abs=0.03)
    logits = dlgrad.zeros(3, requires_grad=True)
    drawn = OneHotCategoricalStraightThrough(logits=logits).rsample()
    assert sorted(drawn.tolist()) == pytest.approx([0, 0, 1], abs=1e-6)
    drawn[0].backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx([2 / 9, -1 / 9, -1 / 9])
    many = Multinomial(6, probs)
    counts = many.sample((2000,))
    assert set(counts.sum(-1).tolist()) == {6.0}
    assert counts.mean(0).tolist() == pytest.approx([1.2, 1.8, 3.0], abs=0.1)
    found = many.log_prob(dlgrad.tensor([1.0, 2.0, 3.0])).exp().item()
    assert found == pytest.approx(60 * 0.2 * 0.3**2 * 0.5**3)


def test_relaxed_ones_are_near_what_they_relax() -> None:
    dlgrad.manual_seed(0)
    one = RelaxedBernoulli(0.1, probs=dlgrad.tensor([0.2, 0.9]))
    assert (one.sample((4000,)) > 0.5).float().mean(0).tolist() == pytest.approx(
        [0.2, 0.9], abs=0.03
    )
    x, width = points(0.0, 1.0)
    wide = RelaxedBernoulli(0.8, dlgrad.tensor(0.3, dtype=dlgrad.float64))
    assert (wide.log_prob(x).exp() * width).sum().item() == pytest.approx(1, abs=2e-2)
    shares = RelaxedOneHotCategorical(0.1, dlgrad.tensor([0.2, 0.3, 0.5]))
    drawn = shares.sample((4000,))
    chosen = [drawn.argmax(-1).tolist().count(place) / 4000 for place in range(3)]
    assert chosen == pytest.approx([0.2, 0.3, 0.5], abs=0.03)
    logits = dlgrad.zeros(3, requires_grad=True)
    RelaxedOneHotCategorical(0.5, logits=logits).rsample()[0].backward()
    assert logits.grad is not None and logits.grad.abs().sum().item() > 0


def test_transformed_vectors_are_events() -> None:
    base = Normal(dlgrad.zeros(2, 3), 1.0)
    d = TransformedDistribution(base, SoftmaxTransform())
    assert (tuple(d.batch_shape), tuple(d.event_shape)) == ((2,), (3,))
    assert d.sample((4,)).sum(-1).tolist()[0] == pytest.approx([1, 1])
    with pytest.raises(NotImplementedError, match="log_abs_det_jacobian"):
        d.log_prob(dlgrad.tensor([0.2, 0.3, 0.5]))
    cached = SigmoidTransform(cache_size=1)
    x = dlgrad.tensor([50.0])
    y = cached(x)
    assert cached(x) is y and cached.inv(y) is x
    with pytest.raises(ValueError, match="cache_size"):
        SigmoidTransform(cache_size=2)


def test_independent_dimensions() -> None:
    d = Independent(Normal(dlgrad.zeros(2, 3), 1.0), 1)
    assert (tuple(d.batch_shape), tuple(d.event_shape)) == ((2,), (3,))
    assert d.sample((4,)).shape == (4, 2, 3)
    one = Normal(0.0, 1.0)
    assert d.log_prob(dlgrad.zeros(2, 3)).tolist() == pytest.approx(
        [3 * one.log_prob(dlgrad.tensor(0.0)).item()] * 2
    )
    assert d.entropy().tolist() == pytest.approx([3 * one.entropy().item()] * 2)


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (Normal(0.0, 1.0), Normal(1.0, 2.0)),
        (LogNormal(0.0, 0.5), LogNormal(0.3, 0.8)),
        (Uniform(0.0, 1.0), Uniform(-1.0, 2.0)),
        (Uniform(0.0, 1.0), Normal(0.5, 2.0)),
        (Exponential(1.0), Exponential(2.5)),
        (Laplace(0.0, 1.0), Laplace(0.5, 2.0)),
    ],
    ids=lambda d: repr(d),
)
def test_divergence_is_the_expected_difference_of_logarithms(
    p: Distribution, q: Distribution
) -> None:
    low, high = (0.0, 1.0) if isinstance(p, Uniform) else (-25.0, 25.0)
    if isinstance(p, (LogNormal, Exponential)):
        low = 1e-6
    x, width = points(low, high, 50_000)
    expected = (p.log_prob(x).exp() * (p.log_prob(x) - q.log_prob(x))).sum().item() * width
    assert kl_divergence(p, q).item() == pytest.approx(expected, abs=2e-3)
    assert kl_divergence(p, p).item() == pytest.approx(0, abs=1e-6)


def test_divergence_of_discrete_ones() -> None:
    p, q = [0.2, 0.3, 0.5], [0.5, 0.25, 0.25]
    expected = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    found = kl_divergence(Categorical(dlgrad.tensor(p)), Categorical(dlgrad.tensor(q)))
    assert found.item() == pytest.approx(expected, abs=1e-6)
    expected = 0.2 * math.log(0.2 / 0.6) + 0.8 * math.log(0.8 / 0.4)
    assert kl_divergence(Bernoulli(0.2), Bernoulli(0.6)).item() == pytest.approx(expected, abs=1e-6)
    assert kl_divergence(Bernoulli(0.5), Bernoulli(1.0)).item() == math.inf
    found = kl_divergence(Binomial(5, 0.2), Binomial(5, 0.6)).item()
    assert found == pytest.approx(5 * expected, abs=1e-5)
    expected = 2 * math.log(2 / 3.5) + 1.5
    assert kl_divergence(Poisson(2.0), Poisson(3.5)).item() == pytest.approx(expected, abs=1e-6)
    with pytest.raises(NotImplementedError, match="Normal and q type Bernoulli"):
        kl_divergence(Normal(0.0, 1.0), Bernoulli(0.5))


def test_divergences_can_be_added() -> None:
    class Halved(Normal):
        pass

    @register_kl(Halved, Halved)
    def _rule(p: Halved, q: Halved) -> dlgrad.Tensor:
        return p.loc * 0 + 7

    assert kl_divergence(Halved(0.0, 1.0), Halved(0.0, 1.0)).item() == 7
    assert kl_divergence(Halved(0.0, 1.0), Normal(0.0, 1.0)).item() == 0
    with pytest.raises(TypeError, match="subclass of Distribution"):
        register_kl(int, Normal)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Normal(0.0, -1.0),
        lambda: Normal(math.nan, 1.0),
        lambda: Uniform(1.0, 0.0),
        lambda: Exponential(0.0),
        lambda: Bernoulli(1.5),
        lambda: Bernoulli(),
        lambda: Bernoulli(0.5, 0.5),
        lambda: Categorical(dlgrad.tensor([-1.0, 2.0])),
        lambda: Categorical(dlgrad.tensor(1.0)),
        lambda: Categorical(dlgrad.ones(3)).log_prob(dlgrad.tensor(3)),
        lambda: Bernoulli(0.5).log_prob(dlgrad.tensor(0.5)),
        lambda: Exponential(1.0).log_prob(dlgrad.tensor(-1.0)),
        lambda: Normal(dlgrad.zeros(3), 1.0).log_prob(dlgrad.zeros(2)),
        lambda: Normal("zero", 1.0),
        lambda: Independent(Normal(0.0, 1.0), 1),
        lambda: Gamma(0.0, 1.0),
        lambda: Gamma(1.0, 1.0).log_prob(dlgrad.tensor(-1.0)),
        lambda: Beta(1.0, 1.0).log_prob(dlgrad.tensor(1.5)),
        lambda: Dirichlet(dlgrad.tensor(1.0)),
        lambda: Dirichlet(dlgrad.ones(2)).log_prob(dlgrad.tensor([0.5, 0.6])),
        lambda: Geometric(0.0),
        lambda: OneHotCategorical(dlgrad.ones(2)).log_prob(dlgrad.tensor([1.0, 1.0])),
        lambda: Multinomial(-1, dlgrad.ones(2)),
        lambda: Pareto(1.0, 2.0).log_prob(dlgrad.tensor(0.5)),
        lambda: MixtureSameFamily(Categorical(dlgrad.ones(2)), Normal(dlgrad.zeros(3), 1.0)),
        lambda: TransformedDistribution(Normal(0.0, 1.0), [dlgrad.exp]),
        lambda: Poisson(-1.0),
        lambda: Poisson(2.0).log_prob(dlgrad.tensor(0.5)),
        lambda: Binomial(2.5, 0.5),
        lambda: Binomial(3, 0.5).log_prob(dlgrad.tensor(4.0)),
        lambda: MultivariateNormal(dlgrad.zeros(2), -dlgrad.eye(2), validate_args=True),
        lambda: MultivariateNormal(dlgrad.zeros(2), scale_tril=dlgrad.tensor([[1, 2], [0, 1.0]])),
        lambda: MultivariateNormal(dlgrad.zeros(2), dlgrad.eye(3)),
        lambda: MultivariateNormal(dlgrad.zeros(2)),
        # Numbers that are not computed yet are looked at where that is asked for.
        lambda: Normal(0.0, dlgrad.ones(2) * -1.0, validate_args=True),
    ],
)
def test_what_is_wrong_raises(call: Any) -> None:
    with pytest.raises(ValueError):
        call()


def test_nothing_is_checked_without_validation() -> None:
    assert Normal(0.0, -1.0, validate_args=False).scale.item() == -1
    pending = dlgrad.ones(2) * -1.0
    Normal(0.0, pending)
    assert not pending._storage.node.is_realized
