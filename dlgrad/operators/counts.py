"""Counts at random: the Poisson and the binomial distribution.

Floor 6.  Means below 10 are drawn by inversion, a search through the running sums of the
probabilities.  Larger ones are drawn by transformed rejection: Hörmann, "The transformed
rejection method for generating Poisson random variables" (1993) and "The generation of binomial
random variates" (1993).  There a fixed number of tries is drawn for each element and the first
that is accepted counts, so the numbers are the same on every device and nothing is waited for;
that all tries fail (the mode is taken then) happens less than once in 10**10 draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from dlgrad.core.apply import cast, counting, where
from dlgrad.core.base import is_tensor, node_of
from dlgrad.core.gradients import zeros_of
from dlgrad.core.host import known_numbers
from dlgrad.core.tape import ROWS, Derivative, Row, record
from dlgrad.dtype import FLOAT, float32, float64, int64
from dlgrad.errors import DTypeError
from dlgrad.operators.joining import broadcast_tensors
from dlgrad.random import Generator, rand, unrecorded

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

_LARGE = 10.0  # the least mean for the rejection
_TRIES = 20

_ZERO = Derivative("", lambda g, e: zeros_of(g))
ROWS["poisson"] = Row("Poisson", _ZERO)
ROWS["binomial"] = Row("Binomial", _ZERO, _ZERO)


def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Counts of the Poisson distribution, whose means are the elements of `input`, in its dtype.

    RuntimeError for a mean that is negative or NaN, where it is known already.
    """
    _check_float("poisson", input)
    for number in known_numbers(input):
        if not number >= 0:
            raise RuntimeError(
                f"invalid Poisson rate, expected rate to be non-negative, got {number}"
            )
    with unrecorded():
        mean = cast(input.detach(), float64 if input.dtype is float64 else float32)
        drawn = _Draws(mean, generator)
        small, large = mean.clamp(max=_LARGE), mean.clamp(min=_LARGE)
        made = drawn.chosen(
            mean,
            lambda: _searched(drawn.single, (-small).exp(), lambda k: small / k),
            lambda: _poisson_tries(drawn, large),
        )
        made = cast(made, input.dtype)
    record("poisson", None, made, (input,))
    return made


def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """How many of `count` trials succeed, each with probability `prob`; in their dtype.

    `count` and `prob` are float tensors of one dtype that are broadcast together.
    """
    _check_float("binomial", count)
    _check_float("binomial", prob)
    if count.dtype is not prob.dtype:
        raise DTypeError(
            f"binomial: count and prob must have the same dtype, got {count.dtype!r} and "
            f"{prob.dtype!r}"
        )
    with unrecorded():
        kind = float64 if count.dtype is float64 else float32
        trials, share = broadcast_tensors(
            cast(count.detach(), kind).floor().clamp(min=0), cast(prob.detach(), kind)
        )
        likely = share > 0.5  # counts the failures then
        rare = where(likely, 1 - share, share).clamp(min=0)
        mean = trials * rare
        drawn = _Draws(mean, generator)
        made = drawn.chosen(
            mean,
            lambda: _binomial_search(drawn.single, trials, where(mean < _LARGE, rare, 0.0)),
            lambda: _binomial_tries(
                drawn,
                where(mean < _LARGE, 2 * _LARGE, trials),
                where(mean < _LARGE, 0.5, rare),
            ),
        )
        made = where(likely, trials - made, made)
        made = cast(where(share == share, made, math.nan), count.dtype)
    record("binomial", None, made, (count, prob))
    return made


def _check_float(name: str, x: Tensor) -> None:
    if not is_tensor(x):
        raise TypeError(f"{name}() takes tensors, got {type(x).__name__}")
    if x.dtype.kind != FLOAT:
        raise DTypeError(f'"{name}" not implemented for {x.dtype!r}; it takes float tensors')


class _Draws:
    """The uniform numbers of one call: as many for every mean, used or not."""

    def __init__(self, mean: Tensor, generator: Generator | None) -> None:
        shape, kind, device = mean._shape, mean.dtype, mean.device
        self.single = rand(shape, generator=generator, dtype=kind, device=device)
        self.places, self.heights = (
            rand((_TRIES, *shape), generator=generator, dtype=kind, device=device)
            for _ in range(2)
        )

    @staticmethod
    def chosen(
        mean: Tensor, search: Callable[[], Tensor], tries: Callable[[], Tensor]
    ) -> Tensor:
        """The search for small means, the tries for large ones; only what is needed if known."""
        numbers = known_numbers(mean)
        if numbers and max(numbers) < _LARGE:
            return search()
        if numbers and min(numbers) >= _LARGE:
            return tries()
        return where(mean < _LARGE, search(), tries())


# Inversion ----------------------------------------------------------------------------------------


def _searched(share: Tensor, first: Tensor, ratio: Callable[[int], Tensor]) -> Tensor:
    """How many running sums of the probabilities are not above `share`.

    The first probability is given, and what takes each to the next.  Terms too small to matter
    end the search, because a rounded sum need not come up to the largest share.
    """
    digits, most = (53, 50) if share.dtype is float64 else (24, 34)
    term = total = first
    found = zeros_of(share)
    for k in range(1, most + 1):
        found = found + cast((share >= total) & (term > 2.0 ** -(digits + 2)), share.dtype)
        term = term * ratio(k)
        total = total + term
    return found


def _binomial_search(share: Tensor, trials: Tensor, rare: Tensor) -> Tensor:
    odds = rare / (1 - rare)
    first = (trials * (-rare).log1p()).exp()
    return _searched(share, first, lambda k: (trials - (k - 1)) / k * odds)


# Transformed rejection ----------------------------------------------------------------------------


def _stirling(k: Tensor) -> Tensor:
    """log k! less Stirling's formula (k + 1/2) log(k + 1) - (k + 1) + log(2 pi) / 2."""
    x = k + 1
    square = x * x
    return (1 / 12 - (1 / 360 - 1 / 1260 / square) / square) / x


def _tried(
    drawn: _Draws, a: Tensor, b: Tensor, centre: Tensor, scale: Tensor, quick: Tensor,
    most: Tensor | float, score: Callable[[Tensor], Tensor],
) -> Tensor:  # fmt: skip
    """The first accepted of the tries, -1 where there is none.

    `a` and `b` shape the transformation, `scale` its density, `quick` is the height under which
    most are accepted at once, and `score` gives the logarithm of the probability of a count.
    """
    place, height = drawn.places - 0.5, drawn.heights
    edge = 0.5 - place.abs()
    count = ((2 * a / edge + b) * place + centre).floor()
    inside = (count >= 0) & (count <= most) & ((edge >= 0.013) | (height <= edge))
    density = (height * scale / (a / (edge * edge) + b)).log()
    right = inside & (density <= score(count))
    right = right | ((edge >= 0.07) & (height <= quick))
    turn = counting(0, int64, count._shape, node_of(count).device)
    first = where(right, turn, _TRIES).amin(0)
    value = where(turn == first, count, 0.0).sum(0)
    return where(first < _TRIES, value, -1.0)


def _poisson_tries(drawn: _Draws, mean: Tensor) -> Tensor:
    b = 0.931 + 2.53 * mean.sqrt()
    a = -0.059 + 0.02483 * b

    def score(k: Tensor) -> Tensor:
        """Written so that no large terms cancel."""
        apart = k + 1 - mean
        rest = apart - k * (apart / mean).log1p()
        return rest - 0.5 * (2 * math.pi * (k + 1)).log() - _stirling(k)

    found = _tried(
        drawn, a, b, mean + 0.43, 1.1239 + 1.1328 / (b - 3.4), 0.9277 - 3.6224 / (b - 2),
        math.inf, score,
    )  # fmt: skip
    return where(found < 0, mean.floor(), found)


def _binomial_tries(drawn: _Draws, trials: Tensor, rare: Tensor) -> Tensor:
    deviation = (trials * rare * (1 - rare)).sqrt()
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * rare
    hits, misses = (trials + 1) * rare, (trials + 1) * (1 - rare)

    def score(k: Tensor) -> Tensor:
        """Up to a constant, and so that no large terms cancel."""
        others = trials - k
        likely = k * ((k + 1 - hits) / hits).log1p()
        unlikely = others * ((others + 1 - misses) / misses).log1p()
        rest = 0.5 * ((k + 1) * (others + 1)).log() + _stirling(k) + _stirling(others)
        return -likely - unlikely - rest

    mode = hits.floor()
    found = _tried(
        drawn, a, b, trials * rare + 0.5, (2.83 + 5.1 / b) * deviation, 0.92 - 4.2 / b, trials,
        lambda k: score(k) - score(mode),
    )
    return where(found < 0, mode, found)
