"""Trigonometric and hyperbolic functions and their inverses; angles are in radians.

Floor 6.  Integer input becomes the default float type.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dlgrad.core.apply import binary, unary, where
from dlgrad.core.autocasting import autocasts
from dlgrad.core.composing import as_float, need_tensor, whole
from dlgrad.core.tape import ROWS, Derivative, Entry, Row
from dlgrad.dtype import get_default_dtype
from dlgrad.lazy.ops import ElementwiseOps
from dlgrad.operators.comparison import eq, gt, lt, signbit
from dlgrad.operators.elementwise import cos, div, mul, neg, sin, sqrt

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

_E = ElementwiseOps
_D = Derivative


@autocasts
def tan(input: Tensor) -> Tensor:
    """The tangent of an angle."""
    return whole("tan", lambda x: binary(_E.DIV, unary(_E.SIN, x), unary(_E.COS, x)), input)


def sinc(input: Tensor) -> Tensor:
    """sin(pi x) / (pi x), and 1 at 0."""
    return whole("sinc", _sinc, input)


def _sinc(x: Tensor) -> Tensor:
    angle = x * math.pi
    zero = eq(x, 0)
    return where(zero, 1.0, binary(_E.DIV, sin(angle), where(zero, 1.0, angle)))


def atan(input: Tensor) -> Tensor:
    """The angle whose tangent is `input`, in (-pi/2, pi/2)."""
    return unary(_E.ATAN, as_float(input))


@autocasts
def asin(input: Tensor) -> Tensor:
    """The angle whose sine is `input`; NaN outside [-1, 1]."""
    return whole("asin", lambda x: atan(x / unary(_E.SQRT, (1 - x) * (1 + x))), input)


@autocasts
def acos(input: Tensor) -> Tensor:
    """The angle whose cosine is `input`; NaN outside [-1, 1]."""
    # Half-angle form: exact at both ends, where pi/2 - asin would cancel.
    return whole("acos", lambda x: 2 * atan(unary(_E.SQRT, (1 - x) / (1 + x))), input)


@autocasts
def atan2(input: Tensor, other: Tensor) -> Tensor:
    """The angle of the point (other, input), in [-pi, pi], with the rules of C for zeros."""
    need_tensor("atan2", input)
    need_tensor("atan2", other, "other")
    sum_of = binary(_E.ADD, input, other, result=get_default_dtype())
    return whole("atan2", _atan2, input.to(sum_of.dtype), other.to(sum_of.dtype))


def _atan2(y: Tensor, x: Tensor) -> Tensor:
    size_x, size_y = abs(x), abs(y)
    same = eq(size_x, size_y)  # both zero or both infinite would be divided to NaN
    steep = gt(size_y, size_x)
    ratio = where(steep, size_x, size_y) / where(steep, size_y, where(same, 1.0, size_x))
    both_zero = eq(size_x, 0) & eq(size_y, 0)
    ratio = where(same, where(both_zero, 0.0, 1.0), ratio)
    angle = atan(ratio)
    angle = where(steep, math.pi / 2 - angle, angle)
    angle = where(signbit(x), math.pi - angle, angle)
    angle = where(signbit(y), -angle, angle)
    return where((x != x) | (y != y), math.nan, angle)


# Hyperbolic -----------------------------------------------------------------------------------


def _like(size: Tensor, x: Tensor) -> Tensor:
    """`size` with the sign of `x`; `x` itself where it is a zero."""
    return where(lt(x, 0), -size, where(eq(x, 0), x, size))


@autocasts
def sinh(input: Tensor) -> Tensor:
    """The hyperbolic sine."""
    return whole("sinh", _sinh, input)


def _sinh(x: Tensor) -> Tensor:
    # Through e^(|x|/2), so that nothing overflows before the result does.
    half = unary(_E.EXP, abs(x) * 0.5)
    small = unary(_E.EXPM1, abs(x))
    near = 0.5 * (small + small / (small + 1))
    return _like(where(lt(abs(x), 20), near, (0.5 * half) * half), x)


@autocasts
def cosh(input: Tensor) -> Tensor:
    """The hyperbolic cosine."""
    return whole("cosh", _cosh, input)


def _cosh(x: Tensor) -> Tensor:
    half = unary(_E.EXP, abs(x) * 0.5)
    return (0.5 * half) * half + (0.5 / half) / half


def asinh(input: Tensor) -> Tensor:
    """The number whose hyperbolic sine is `input`."""
    return whole("asinh", _asinh, input)


def _asinh(x: Tensor) -> Tensor:
    size = abs(x)
    large = gt(size, 1e4)
    square = where(large, 1.0, size * size)
    near = unary(_E.LOG1P, size + square / (1 + unary(_E.SQRT, 1 + square)))
    return _like(where(large, _log_of_double(size), near), x)


def _log_of_double(x: Tensor) -> Tensor:
    """log(2 x + 1 / (2 x)) for a large x, where x * x could overflow."""
    return unary(_E.LOG, x) + (math.log(2) + 0.25 / x / x)


def acosh(input: Tensor) -> Tensor:
    """The number from 0 up whose hyperbolic cosine is `input`; NaN below 1."""
    return whole("acosh", _acosh, input)


def _acosh(x: Tensor) -> Tensor:
    large = gt(x, 1e4)
    above = where(large, 1.0, x) - 1
    near = unary(_E.LOG1P, above + unary(_E.SQRT, above * (above + 2)))
    far = unary(_E.LOG, x) + (math.log(2) - 0.25 / x / x)
    return where(large, far, near)


def atanh(input: Tensor) -> Tensor:
    """The number whose hyperbolic tangent is `input`; NaN outside [-1, 1]."""
    return whole("atanh", _atanh, input)


def _atanh(x: Tensor) -> Tensor:
    size = abs(x)
    return _like(0.5 * unary(_E.LOG1P, 2 * size / (1 - size)), x)


# Derivatives -------------------------------------------------------------------------------------


def _sinc_slope(g: Tensor, e: Entry) -> Tensor:
    angle = e.a * math.pi
    zero = eq(e.a, 0)
    slope = div(angle * cos(angle) - sin(angle), where(zero, 1.0, angle * e.a))
    return mul(g, where(zero, 0.0, slope))


def _polar(g: Tensor, e: Entry, leg: Tensor) -> Tensor:
    """g * leg / (a^2 + b^2), and 0 at the origin."""
    square = e.a * e.a + e.b * e.b
    return mul(g, where(eq(square, 0), 0.0, div(leg, where(eq(square, 0), 1.0, square))))


ROWS.update(
    {
        "tan": Row("Tan", _D("o", lambda g, e: mul(g, 1 + e.out * e.out))),
        "sinc": Row("Sinc", _D("a", _sinc_slope)),
        "asin": Row("Asin", _D("a", lambda g, e: div(g, sqrt((1 - e.a) * (1 + e.a))))),
        "acos": Row("Acos", _D("a", lambda g, e: neg(div(g, sqrt((1 - e.a) * (1 + e.a)))))),
        "atan2": Row(
            "Atan2",
            _D("ab", lambda g, e: _polar(g, e, e.b)),
            _D("ab", lambda g, e: _polar(g, e, neg(e.a))),
        ),
        "sinh": Row("Sinh", _D("a", lambda g, e: mul(g, cosh(e.a)))),
        "cosh": Row("Cosh", _D("a", lambda g, e: mul(g, sinh(e.a)))),
        "asinh": Row("Asinh", _D("a", lambda g, e: div(g, sqrt(1 + e.a * e.a)))),
        "acosh": Row("Acosh", _D("a", lambda g, e: div(g, sqrt((e.a - 1) * (e.a + 1))))),
        "atanh": Row("Atanh", _D("a", lambda g, e: div(g, (1 - e.a) * (1 + e.a)))),
    }
)


arccos, arccosh, arcsin, arcsinh = acos, acosh, asin, asinh
arctan, arctan2, arctanh = atan, atan2, atanh
