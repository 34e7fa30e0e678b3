"""The error function, its relatives and inverses, and the normal distribution's functions.

Floor 6.  All of them rest on one fit: (1 + 2 x) e^(x^2) erfc(x) for x >= 0 is a polynomial in
t = (x - 3) / (x + 3), a Chebyshev series of the exact function.  The definitions are those of
the Digital Library of Mathematical Functions, chapter 7; `docs/numerics.md` lists the errors.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dlgrad.core.apply import unary, where
from dlgrad.core.autocasting import autocasts
from dlgrad.core.composing import by_precision, polynomial, whole
from dlgrad.core.tape import ROWS, Derivative, Entry, Row
from dlgrad.lazy.ops import ElementwiseOps
from dlgrad.operators.comparison import eq, gt, lt
from dlgrad.operators.elementwise import exp, mul, neg, odd

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

_E = ElementwiseOps
_D = Derivative
_ROOT_HALF = math.sqrt(0.5)
_ROOT_PI = math.sqrt(math.pi)

# The coefficients, the lowest power first, for errors of 1e-8 and 5e-18.
_SINGLE = (
    1.25300806, -0.135621069, -0.0475621569, 0.129644114, -0.119275275, 0.0683165678,
    -0.0237635764, 0.00249911687, 0.00187507912, -0.000726453679, -9.25451669e-05, 7.73102422e-05,
)  # fmt: skip
_DOUBLE = (
    1.2530080582697296, -0.1356211061245812, -0.0475622943534492, 0.12964515870276475,
    -0.11927366341538638, 0.06830802734384515, -0.02377051491717134, 0.0025293918180474668,
    0.0018886903449991718, -0.0007798322884823084, -0.00010515971958448065, 0.0001250994355712812,
    4.949196649968345e-06, -2.0100843094844725e-05, -7.308281468783614e-07, 3.473024167841533e-06,
    3.5576086684080595e-07, -6.175617678992323e-07, -1.4047654315428462e-07,
    1.0277997488271058e-07, 4.1064013667940355e-08, -1.3906145791730994e-08,
    -8.217595058711455e-09, 1.2019719440135793e-09, 8.393734858690877e-10, -3.451497487664328e-11,
)  # fmt: skip


def erfc(input: Tensor) -> Tensor:
    """1 - erf(input), exact also where that is small."""
    return whole("erfc", _erfc, input)


def erfcx(input: Tensor) -> Tensor:
    """e^(x^2) erfc(x), which falls slowly where erfc vanishes."""
    return whole("erfcx", _erfcx, input)


def _scaled(x: Tensor) -> Tensor:
    """e^(x^2) erfc(x) for x >= 0."""
    t = 1 - 6 / (x + 3)
    return polynomial(t, by_precision(x, _SINGLE, _DOUBLE)) / (1 + 2 * x)


def _exp_of_square(x: Tensor, sign: int) -> Tensor:
    """e^(sign x^2) for x >= 0, without the error of rounding the square.

    With h = x cut to sixteenths, whose square is exact, x^2 = h^2 + (x - h) (x + h).
    """
    x = where(gt(x, 32), 32.0, x)
    cut = (x * 16).trunc() / 16
    return (cut * cut * sign).exp() * ((x - cut) * (x + cut) * sign).exp()


def _erfc(x: Tensor) -> Tensor:
    size = abs(x)
    tail = _scaled(size) * _exp_of_square(size, -1)
    near = 1 - unary(_E.ERF, x)
    return where(lt(size, 0.5), near, where(lt(x, 0), 2 - tail, tail))


def _erfcx(x: Tensor) -> Tensor:
    size = abs(x)
    right = _scaled(size)
    return where(lt(x, 0), 2 * _exp_of_square(size, 1) - right, right)


# Inverses -----------------------------------------------------------------------------------------


@autocasts
def erfinv(input: Tensor) -> Tensor:
    """The number whose error function is `input`; NaN outside [-1, 1]."""
    return whole("erfinv", lambda x: odd(_inverse(abs(x), 1 - abs(x)), x), input)


def _inverse(p: Tensor, q: Tensor) -> Tensor:
    """The y >= 0 with erf(y) = p and erfc(y) = q = 1 - p: of the two the smaller counts.

    Winitzki's closed form (2008) is right to two thousandths; each step of Halley's method
    cubes that error.
    """
    a = 0.147
    small = lt(p, 0.5)
    logarithm = where(small, (-p * p).log1p(), (q * (1 + p)).log())
    half = 2 / (math.pi * a) + 0.5 * logarithm
    square = (half * half - logarithm / a).sqrt() - half
    y = where(gt(square, 0), square, 0.0).sqrt()
    for _ in range(by_precision(p, 2, 3)):
        upper = _scaled(y) - q * _exp_of_square(y, 1)
        lower = (p - unary(_E.ERF, y)) * (y * y).exp()
        step = where(small, lower, upper) * (0.5 * _ROOT_PI)
        y = y + step / (1 - y * step)
    edge = where(eq(q, 0), math.inf, where(eq(p, 0), p, math.nan))
    return where(gt(p, 0) & gt(q, 0), y, edge)


# The normal distribution --------------------------------------------------------------------------


def ndtr(input: Tensor) -> Tensor:
    """The share of a standard normal distribution below `input`."""
    return whole("ndtr", lambda x: 0.5 * _erfc(x * -_ROOT_HALF), input)


def log_ndtr(input: Tensor) -> Tensor:
    """The logarithm of `ndtr`, exact also where that vanishes."""
    return whole("log_ndtr", _log_ndtr, input)


def _log_ndtr(x: Tensor) -> Tensor:
    size = abs(x) * _ROOT_HALF
    tail = (0.5 * _scaled(size)).log() - size * size
    near = (-0.5 * _erfc(x * _ROOT_HALF)).log1p()
    return where(lt(x, -1), tail, near)


def ndtri(input: Tensor) -> Tensor:
    """The number below which the share `input` of a standard normal distribution lies."""
    return whole("ndtri", _ndtri, input)


def _ndtri(p: Tensor) -> Tensor:
    below = lt(p, 0.5)
    tail = 2 * where(below, p, 1 - p)
    size = _inverse(1 - tail, tail) * math.sqrt(2)
    return where(below, -size, size)


# Derivatives -------------------------------------------------------------------------------------


def _bell(x: Tensor) -> Tensor:
    """e^(-x^2)."""
    return exp(neg(x * x))


_TWO_BY_ROOT_PI = 2 / math.sqrt(math.pi)
_ROOT_TWO_PI = math.sqrt(2 * math.pi)


def _log_ndtr_slope(g: Tensor, e: Entry) -> Tensor:
    """The density by the distribution function; from 0 up without erfcx, which overflows."""
    left = math.sqrt(2 / math.pi) / erfcx(where(lt(e.a, 0), e.a, 0.0) * -math.sqrt(0.5))
    right = exp(-0.5 * e.a * e.a - log_ndtr(e.a)) / _ROOT_TWO_PI
    return mul(g, where(lt(e.a, 0), left, right))


ROWS.update(
    {
        "erfc": Row("Erfc", _D("a", lambda g, e: mul(g, -_TWO_BY_ROOT_PI * _bell(e.a)))),
        "erfcx": Row(
            "SpecialErfcx", _D("ao", lambda g, e: mul(g, 2 * e.a * e.out - _TWO_BY_ROOT_PI))
        ),
        "erfinv": Row("Erfinv", _D("o", lambda g, e: mul(g, exp(e.out * e.out) / _TWO_BY_ROOT_PI))),
        "ndtr": Row(
            "SpecialNdtr", _D("a", lambda g, e: mul(g, exp(-0.5 * e.a * e.a) / _ROOT_TWO_PI))
        ),
        "log_ndtr": Row("SpecialLogNdtr", _D("a", _log_ndtr_slope)),
        "ndtri": Row(
            "SpecialNdtri", _D("o", lambda g, e: mul(g, exp(0.5 * e.out * e.out) * _ROOT_TWO_PI))
        ),
    }
)
