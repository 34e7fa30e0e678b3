"""The modified Bessel functions of the first kind, of order 0 and 1.

Floor 6.  Small arguments by the power series, DLMF 10.25.2, whose terms are all positive; large
ones by the asymptotic series, DLMF 10.40.1 (Digital Library of Mathematical Functions).
`docs/numerics.md` lists the errors.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dlgrad.core.apply import where
from dlgrad.core.composing import by_precision, polynomial, whole
from dlgrad.core.tape import ROWS, Derivative, Entry, Row
from dlgrad.operators.comparison import eq, gt, lt
from dlgrad.operators.elementwise import div, mul, odd, sign

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

_D = Derivative


def i0(input: Tensor) -> Tensor:
    """The modified Bessel function of order 0."""
    return whole("i0", lambda x: _grown(_scaled(0, abs(x)), abs(x)), input)


def i0e(input: Tensor) -> Tensor:
    """i0(x) e^-|x|."""
    return whole("i0e", lambda x: _scaled(0, abs(x)), input)


def i1(input: Tensor) -> Tensor:
    """The modified Bessel function of order 1."""
    return whole("i1", lambda x: odd(_grown(_scaled(1, abs(x)), abs(x)), x), input)


def i1e(input: Tensor) -> Tensor:
    """i1(x) e^-|x|."""
    return whole("i1e", lambda x: odd(_scaled(1, abs(x)), x), input)


def _grown(scaled: Tensor, x: Tensor) -> Tensor:
    """scaled * e^x, in two halves so that only a result overflows."""
    half = (0.5 * x).exp()
    return half * scaled * half


def _scaled(order: int, x: Tensor) -> Tensor:
    """The function of order 0 or 1 times e^-x, for x >= 0."""
    limit, small_terms, large_terms = by_precision(x, (9.0, 22, 14), (20.0, 48, 34))
    inside = where(lt(x, limit), x, limit)
    # Powers of (x / limit)^2, which keep every coefficient in the range of the dtype.
    unit = (inside / limit) * (inside / limit)
    series = [1.0]
    for k in range(1, small_terms):
        series.append(series[-1] * (limit * limit / 4) / (k * (k + order)))
    near = polynomial(unit, series) * (-inside).exp()
    if order == 1:
        near = near * inside * 0.5
    outside = where(gt(x, limit), x, limit)
    inverse = limit / outside
    tail = [1.0]
    for k in range(1, large_terms):
        tail.append(-tail[-1] * (4 * order - (2 * k - 1) ** 2) / (8 * k * limit))
    far = polynomial(inverse, tail) / (outside * (2 * math.pi)).sqrt()
    return where(gt(x, limit), far, near)


def _i1_slope(g: Tensor, e: Entry, scaled: bool) -> Tensor:
    zero = eq(e.a, 0)
    x = where(zero, 1.0, e.a)
    if scaled:
        slope = i0e(e.a) - mul(e.out, sign(e.a) + 1 / x)
    else:
        slope = i0(e.a) - div(e.out, x)
    return mul(g, where(zero, 0.5, slope))


ROWS.update(
    {
        "i0": Row("I0", _D("a", lambda g, e: mul(g, i1(e.a)))),
        "i0e": Row("SpecialI0E", _D("ao", lambda g, e: mul(g, i1e(e.a) - sign(e.a) * e.out))),
        "i1": Row("SpecialI1", _D("ao", lambda g, e: _i1_slope(g, e, False))),
        "i1e": Row("SpecialI1E", _D("ao", lambda g, e: _i1_slope(g, e, True))),
    }
)
