"""Draws from parameters and fillers in place: their distributions, errors, and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

import dlgrad
from dlgrad.tensor import Tensor

COUNT = 20_000


def share_below(x: Tensor, bound: float) -> float:
    return (x < bound).float().mean().item()


@pytest.mark.parametrize(
    ("fill", "cdf", "bounds"),
    [
        (lambda x: x.exponential_(2.0), lambda t: 1 - math.exp(-2 * t), (0.1, 0.5, 1.5)),
        (lambda x: x.cauchy_(1.0, 2.0), lambda t: 0.5 + math.atan((t - 1) / 2) / math.pi,
         (-3.0, 1.0, 4.0)),
        (lambda x: x.log_normal_(0.5, 0.8),
         lambda t: 0.5 + 0.5 * math.erf((math.log(t) - 0.5) / (0.8 * math.sqrt(2))),
         (0.5, 1.5, 4.0)),
        (lambda x: x.geometric_(0.3), lambda t: 1 - 0.7 ** math.floor(t), (1.5, 2.5, 6.5)),
        (lambda x: x.random_(2, 12), lambda t: (t - 2) / 10, (2.0, 5.0, 12.0)),
        (lambda x: x.bernoulli_(0.2), lambda t: 0.8, (0.5,)),
    ],
)  # fmt: skip
def test_fillers_follow_their_distribution(
    fill: Callable[[Tensor], Tensor], cdf: Callable[[float], float], bounds: tuple[float, ...]
) -> None:
    dlgrad.manual_seed(0)
    x = dlgrad.zeros(COUNT)
    assert fill(x) is x
    for bound in bounds:
        expected = cdf(bound)
        slack = 5 * math.sqrt(expected * (1 - expected) / COUNT) + 1e-6
        assert abs(share_below(x, bound) - expected) < slack


def _poisson_below(mean: float) -> Callable[[int], float]:
    terms = [math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(2000)]
    return lambda bound: sum(terms[:bound])


def _binomial_below(count: int, share: float) -> Callable[[int], float]:
    terms = [math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(count + 1)]
    return lambda bound: sum(terms[:bound])


@pytest.mark.parametrize(
    ("draw", "below", "bounds"),
    [
        (lambda x: dlgrad.poisson(x + 3), _poisson_below(3.0), (1, 3, 5, 8)),
        (lambda x: dlgrad.poisson(x + 12), _poisson_below(12.0), (6, 10, 13, 18)),
        (lambda x: dlgrad.poisson(x.double() + 500), _poisson_below(500.0), (460, 490, 510, 540)),
        (lambda x: dlgrad.binomial(x + 6, x + 0.3), _binomial_below(6, 0.3), (1, 2, 4)),
        (lambda x: dlgrad.binomial(x + 6, x + 0.9), _binomial_below(6, 0.9), (4, 5, 6)),
        (lambda x: dlgrad.binomial(x + 60, x + 0.4), _binomial_below(60, 0.4), (18, 24, 30)),
        (lambda x: dlgrad.binomial(x + 60, x + 0.8), _binomial_below(60, 0.8), (42, 48, 54)),
    ],
)
def test_counts_follow_their_distribution(
    draw: Callable[[Tensor], Tensor], below: Callable[[int], float], bounds: tuple[int, ...]
) -> None:
    dlgrad.manual_seed(0)
    drawn = draw(dlgrad.zeros(COUNT))
    assert (drawn == drawn.floor()).all()
    for bound in bounds:
        expected = below(bound)
        slack = 5 * math.sqrt(expected * (1 - expected) / COUNT)
        assert abs(share_below(drawn, bound) - expected) < slack


def test_counts_at_the_edges() -> None:
    assert dlgrad.poisson(dlgrad.zeros(3)).tolist() == [0, 0, 0]
    counts = dlgrad.tensor([4.0, 50.0, 4.0, 50.0, 0.0, -3.0])
    shares = dlgrad.tensor([0.0, 0.0, 1.0, 1.0, 0.5, 0.5])
    assert dlgrad.binomial(counts, shares).tolist() == [0, 0, 4, 50, 0, 0]
    unknown = dlgrad.binomial(dlgrad.ones(1), dlgrad.full((1,), math.nan))
    assert math.isnan(unknown.item())
    # As many words are drawn for small means as for large ones, known or not.
    offsets = []
    for mean in (dlgrad.tensor([2.0]), dlgrad.tensor([200.0]), dlgrad.ones(1) + 1):
        dlgrad.manual_seed(0)
        dlgrad.poisson(mean)
        offsets.append(dlgrad.rand(1).item())
    assert len(set(offsets)) == 1


def test_counts_have_no_slope() -> None:
    mean = dlgrad.tensor([1.0, 30.0], requires_grad=True)
    dlgrad.poisson(mean).sum().backward()
    assert mean.grad is not None
    assert mean.grad.tolist() == [0, 0]
    count = dlgrad.tensor([[5.0], [40.0]], requires_grad=True)
    share = dlgrad.tensor([0.1, 0.5, 0.9], requires_grad=True)
    dlgrad.binomial(count, share).sum().backward()
    assert count.grad is not None
    assert share.grad is not None
    assert (count.grad.tolist(), share.grad.tolist()) == ([[0], [0]], [0, 0, 0])


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: dlgrad.poisson(dlgrad.tensor([1.0, -1.0])), RuntimeError),
        (lambda: dlgrad.poisson(dlgrad.tensor([math.nan])), RuntimeError),
        (lambda: dlgrad.poisson(dlgrad.tensor([1])), TypeError),
        (lambda: dlgrad.binomial(dlgrad.tensor([1]), dlgrad.tensor([0.5])), TypeError),
        (lambda: dlgrad.binomial(dlgrad.ones(1).double(), dlgrad.ones(1)), TypeError),
    ],
)
def test_counts_refuse(call: Callable[[], Tensor], error: type[Exception]) -> None:
    with pytest.raises(error):
        call()


def test_integers_are_filled_in_their_range() -> None:
    dlgrad.manual_seed(0)
    small = dlgrad.zeros(2000, dtype=dlgrad.uint8).random_()
    assert (small.long().min().item(), small.long().max().item()) == (0, 255)
    assert set(dlgrad.zeros(200, dtype=dlgrad.int16).random_(3).tolist()) == {0, 1, 2}
    assert max(dlgrad.zeros(100, dtype=dlgrad.int64).random_().tolist()) > 1 << 60
    assert dlgrad.zeros(500, dtype=dlgrad.int32).geometric_(0.5).min().item() == 1
    assert set(dlgrad.zeros(50, dtype=dlgrad.bool).bernoulli_(0.5).tolist()) == {False, True}
    with pytest.raises(RuntimeError, match="out of bounds"):
        dlgrad.zeros(2, dtype=dlgrad.uint8).random_(0, 257)


WEIGHTS = [0.5, 0.0, 2.0, 1.5]


@pytest.mark.parametrize(("count", "replacement"), [(1, False), (1, True), (8, True)])
def test_places_are_drawn_by_their_weights(count: int, replacement: bool) -> None:
    dlgrad.manual_seed(0)
    rows = 16_000 // count
    drawn = dlgrad.multinomial(dlgrad.tensor([WEIGHTS]).expand(rows, 4), count, replacement)
    assert drawn.shape == (rows, count)
    assert drawn.dtype is dlgrad.int64
    places = drawn.flatten().tolist()
    for place, weight in enumerate(WEIGHTS):
        expected = weight / sum(WEIGHTS)
        assert abs(places.count(place) / len(places) - expected) < 0.02
    assert 1 not in places


def test_places_without_replacement() -> None:
    dlgrad.manual_seed(0)
    drawn = dlgrad.multinomial(dlgrad.tensor([WEIGHTS]).expand(4000, 4), 2).tolist()
    assert all(first != second for first, second in drawn)
    total = sum(WEIGHTS)
    both = sum(sorted(pair) == [2, 3] for pair in drawn) / len(drawn)
    expected = 2.0 / total * 1.5 / (total - 2.0) + 1.5 / total * 2.0 / (total - 1.5)
    assert abs(both - expected) < 0.04
    assert sorted(dlgrad.multinomial(dlgrad.tensor(WEIGHTS), 4).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("weights", "count", "match"),
    [
        ([-1.0, 1.0], 1, "< 0"),
        ([math.inf, 1.0], 1, "inf"),
        ([0.0, 0.0], 1, "sum of probabilities"),
        ([1.0, 1.0], 3, "without replacement"),
        ([1.0, 1.0], 0, "<= 0"),
        ([1, 1], 1, "floating-point"),
        ([[[1.0]]], 1, "1 or 2 dim"),
    ],
)
def test_multinomial_refuses(weights: list[float], count: int, match: str) -> None:
    with pytest.raises(RuntimeError, match=match):
        dlgrad.multinomial(dlgrad.tensor(weights), count)


def test_choices_are_the_same_on_every_device() -> None:
    results = []
    for device in ("cpu", "python"):
        dlgrad.manual_seed(3)
        weights = dlgrad.tensor([WEIGHTS, WEIGHTS[::-1]], device=device)
        results.append([
            dlgrad.randperm(7, device=device).tolist(),
            dlgrad.multinomial(weights, 3, True).tolist(),
            dlgrad.multinomial(weights, 3).tolist(),
            dlgrad.zeros(4, dtype=dlgrad.int32, device=device).random_(0, 1000).tolist(),
            dlgrad.bernoulli(weights / 2).tolist(),
            dlgrad.poisson(weights * 9).tolist(),
            dlgrad.binomial(weights * 0 + 40, weights / 4).tolist(),
        ])  # fmt: skip
    assert results[0] == results[1]


def test_permutations_under_jit_are_new_in_every_replay() -> None:
    @dlgrad.jit
    def shuffled(x: Tensor) -> Tensor:
        return x + dlgrad.randperm(6)

    dlgrad.manual_seed(1)
    zero = dlgrad.zeros(6, dtype=dlgrad.int64)
    drawn = [shuffled(zero).tolist() for _ in range(4)]
    dlgrad.manual_seed(1)
    assert drawn == [dlgrad.randperm(6).tolist() for _ in range(4)]
    assert len({tuple(order) for order in drawn}) > 1


def test_normal_from_tensors() -> None:
    dlgrad.manual_seed(0)
    mean = dlgrad.tensor([[-4.0], [4.0]], requires_grad=True)
    drawn = dlgrad.normal(mean.expand(2, 5000), 0.5)
    averages = drawn.mean(1).tolist()
    assert abs(averages[0] + 4) < 0.05
    assert abs(averages[1] - 4) < 0.05
    drawn.sum().backward()
    assert mean.grad is not None
    assert mean.grad.tolist() == [[0.0], [0.0]]
    assert dlgrad.normal(0.0, 1.0, (2, 3)).shape == (2, 3)
    with pytest.raises(RuntimeError, match="std >= 0"):
        dlgrad.normal(mean.detach(), -1.0)
    with pytest.raises(TypeError, match="size"):
        dlgrad.normal(0.0, 1.0)


def test_probabilities_are_checked() -> None:
    for wrong in (1.5, -0.1, math.nan):
        with pytest.raises(RuntimeError, match=r"\[0, 1\]"):
            dlgrad.bernoulli(dlgrad.tensor([wrong]))
        with pytest.raises(RuntimeError, match=r"\[0, 1\]"):
            dlgrad.zeros(2).bernoulli_(wrong)


@pytest.mark.parametrize(
    "call",
    [
        lambda: dlgrad.zeros(2).exponential_(0.0),
        lambda: dlgrad.zeros(2).cauchy_(0.0, 0.0),
        lambda: dlgrad.zeros(2).log_normal_(0.0, 0.0),
        lambda: dlgrad.zeros(2).geometric_(1.0),
        lambda: dlgrad.zeros(2).random_(3, 3),
        lambda: dlgrad.zeros(2).normal_(0.0, -1.0),
        lambda: dlgrad.zeros(2, dtype=dlgrad.int32).normal_(),
        lambda: dlgrad.zeros(2, dtype=dlgrad.int32).uniform_(),
        lambda: dlgrad.rand(2, dtype=dlgrad.int32),
        lambda: dlgrad.randint(0, 300, (2,), dtype=dlgrad.uint8),
    ],
)
def test_fillers_refuse(call: Callable[[], Tensor]) -> None:
    with pytest.raises(RuntimeError):
        call()


def test_ways_to_ask_for_integers() -> None:
    dlgrad.manual_seed(0)
    for drawn in (
        dlgrad.randint(3, (40,)),
        dlgrad.randint(high=3, size=(40,)),
        dlgrad.randint(0, 3, (40,)),
        dlgrad.randint(3, size=(40,)),
        dlgrad.randint_like(dlgrad.zeros(40), 3),
    ):
        assert set(drawn.tolist()) == {0, 1, 2}
    with pytest.raises(TypeError, match="size"):
        dlgrad.randint(3)
