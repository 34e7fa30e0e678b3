"""The generator: known answers, streams, distributions, and the same numbers everywhere."""

from __future__ import annotations

import math

import graph_reference
import pytest

import dlgrad
from dlgrad.codegen import primitives
from dlgrad.random import DEFAULT_SEED, permutation


def test_philox_known_answers() -> None:
    """The test vectors of the Random123 library, for the blocks that our counters reach."""
    words = [primitives.philox(0, i) for i in range(4)]
    assert words == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


def test_words_on_the_device_are_philox() -> None:
    generator = dlgrad.Generator().manual_seed(0x0123456789ABCDEF)
    generator.offset = 7
    counter = generator.counters((9,), "cpu", 1)
    words = generator.words(counter).tolist()
    assert words == [primitives.philox(0x0123456789ABCDEF, 7 + i) for i in range(9)]
    assert generator.offset == 16


def test_seeds_and_streams() -> None:
    dlgrad.manual_seed(1)
    first = [dlgrad.rand(3).tolist(), dlgrad.randn(3).tolist(), dlgrad.randint(0, 9, (3,)).tolist()]
    dlgrad.manual_seed(1)
    again = [dlgrad.rand(3).tolist(), dlgrad.randn(3).tolist(), dlgrad.randint(0, 9, (3,)).tolist()]
    dlgrad.manual_seed(2)
    assert first == again
    assert dlgrad.rand(3).tolist() != first[0]
    assert dlgrad.initial_seed() == 2
    own = dlgrad.Generator().manual_seed(1)
    assert dlgrad.rand(3, generator=own).tolist() == first[0]
    assert dlgrad.Generator().initial_seed() == DEFAULT_SEED
    assert dlgrad.Generator().manual_seed(-1).initial_seed() == 2**64 - 1


def test_a_stream_does_not_depend_on_how_it_is_cut() -> None:
    dlgrad.manual_seed(5)
    whole = dlgrad.rand(10).tolist()
    dlgrad.manual_seed(5)
    parts = dlgrad.rand(4).tolist() + dlgrad.rand(2, 3).flatten().tolist()
    assert parts == whole


def test_state() -> None:
    dlgrad.manual_seed(3)
    dlgrad.rand(5)
    state = dlgrad.get_rng_state()
    expected = dlgrad.rand(5).tolist()
    dlgrad.set_rng_state(state)
    assert dlgrad.rand(5).tolist() == expected


def test_every_device_and_the_reference_give_the_same_numbers() -> None:
    results = []
    for device in ("cpu", "python"):
        dlgrad.manual_seed(11)
        drawn = [dlgrad.rand(6, device=device), dlgrad.randint(-5, 100, (6,), device=device)]
        results.append([x.tolist() for x in drawn])
        dlgrad.manual_seed(11)
        drawn = [dlgrad.rand(6, device=device), dlgrad.randint(-5, 100, (6,), device=device)]
        assert [graph_reference.evaluate(x) for x in drawn] == results[-1]
    assert results[0] == results[1]
    normal = []
    for device in ("cpu", "python"):
        dlgrad.manual_seed(12)
        normal.append(dlgrad.randn(6, device=device).tolist())
    assert normal[0] == pytest.approx(normal[1], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_uniform(name: str) -> None:
    dlgrad.manual_seed(0)
    x = dlgrad.rand(20_000, dtype=getattr(dlgrad, name))
    values = x.tolist()
    assert x.dtype.name == name
    assert min(values) >= 0.0
    assert max(values) < 1.0
    mean = sum(values) / len(values)
    assert abs(mean - 0.5) < 5 / math.sqrt(12 * 20_000) + 0.004 * (x.itemsize == 2)
    assert abs(sum(v * v for v in values) / len(values) - 1 / 3) < 0.02


def test_normal() -> None:
    dlgrad.manual_seed(0)
    values = dlgrad.randn(40_000).tolist()
    moments = [sum(v**k for v in values) / len(values) for k in (1, 2, 3, 4)]
    for got, expected, slack in zip(moments, (0, 1, 0, 3), (0.03, 0.05, 0.15, 0.3), strict=True):
        assert abs(got - expected) < slack
    assert 3.5 < max(values) < 6.0
    x = dlgrad.normal(5.0, 2.0, (20_000,))
    assert abs(x.mean().item() - 5.0) < 0.1
    assert abs(x.std().item() - 2.0) < 0.1


def test_integers() -> None:
    dlgrad.manual_seed(0)
    values = dlgrad.randint(-3, 4, (7000,)).tolist()
    counts = [values.count(k) for k in range(-3, 4)]
    assert sum(counts) == 7000
    assert all(800 < count < 1200 for count in counts)
    wide = dlgrad.randint(0, 2**40, (1000,)).tolist()
    assert max(wide) > 2**38
    assert len(set(wide)) == 1000
    assert dlgrad.randint(5, (2, 2)).shape == (2, 2)
    with pytest.raises(RuntimeError, match="less than"):
        dlgrad.randint(3, 3, (1,))


def test_permutations() -> None:
    dlgrad.manual_seed(0)
    first, second = dlgrad.randperm(100), dlgrad.randperm(100)
    assert sorted(first.tolist()) == list(range(100))
    assert first.tolist() != second.tolist()
    dlgrad.manual_seed(0)
    assert dlgrad.randperm(100).tolist() == first.tolist()
    assert sorted(permutation(100)) == list(range(100))
    assert dlgrad.randperm(0).shape == (0,)


def test_bernoulli_and_dropout() -> None:
    from dlgrad.neural.dropping import dropout

    dlgrad.manual_seed(0)
    ones = dlgrad.bernoulli(dlgrad.full((10_000,), 0.3))
    assert abs(ones.mean().item() - 0.3) < 0.03
    x = dlgrad.ones(10_000, requires_grad=True)
    y = dropout(x, 0.25)
    y.sum().backward()
    values = set(y.tolist())
    assert sorted(values) == [0.0, pytest.approx(4 / 3)]
    assert abs(y.mean().item() - 1.0) < 0.05
    assert x.grad is not None
    assert x.grad.tolist() == y.tolist()
    assert dropout(x, 0.5, training=False) is x
    assert set(dropout(x, 1.0).tolist()) == {0.0}
    with pytest.raises(ValueError, match="between 0 and 1"):
        dropout(x, 1.5)


def test_in_place_fillers() -> None:
    dlgrad.manual_seed(0)
    x = dlgrad.zeros(5000)
    x.uniform_(-2, 6)
    values = x.tolist()
    assert -2 <= min(values) < -1.9
    assert 5.9 < max(values) < 6
    view = x[::2]
    view.normal_(100, 1)
    assert all(value > 90 for value in x.tolist()[::2])
    assert all(value <= 6 for value in x.tolist()[1::2])
    x.exponential_(2.0)
    assert abs(x.mean().item() - 0.5) < 0.05
    with pytest.raises(RuntimeError, match="from"):
        x.uniform_(3, 1)


def test_random_numbers_are_drawn_when_asked_for() -> None:
    """A pending draw keeps the numbers of its call, whatever is drawn before it is looked at."""
    dlgrad.manual_seed(4)
    pending = dlgrad.rand(3)
    later = dlgrad.rand(3).tolist()
    now = pending.tolist()
    dlgrad.manual_seed(4)
    assert dlgrad.rand(3).tolist() == now
    assert dlgrad.rand(3).tolist() == later


def test_replays_draw_new_numbers() -> None:
    x = dlgrad.zeros(4)

    @dlgrad.jit
    def noisy(x: dlgrad.Tensor) -> dlgrad.Tensor:
        return x + dlgrad.rand(4) + dlgrad.rand(4) * 10

    dlgrad.manual_seed(9)
    captured = [noisy(x).tolist() for _ in range(4)]
    dlgrad.manual_seed(9)
    plain = [(x + dlgrad.rand(4) + dlgrad.rand(4) * 10).tolist() for _ in range(4)]
    assert captured == plain
