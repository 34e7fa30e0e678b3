"""The logarithm of the gamma function, its derivatives, and the Hurwitz zeta function.

Floor 6.  DLMF is the Digital Library of Mathematical Functions, whose numbers name the formulas;
`docs/numerics.md` lists the errors.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import where
from dlgrad.core.base import is_tensor
from dlgrad.core.composing import as_float, by_precision, need_tensor, polynomial, whole
from dlgrad.core.tape import ROWS, Derivative, Row
from dlgrad.operators.comparison import eq, ge, gt, isinf, lt
from dlgrad.operators.elementwise import mul, neg, odd

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

_D = Derivative
_EULER = 0.5772156649015329
# The Bernoulli numbers B_2, B_4 ... B_24 (DLMF 24.2).
_BERNOULLI = (
    1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798,
    -174611 / 330, 854513 / 138, -236364091 / 2730,
)  # fmt: skip
LARGEST_FACTORIAL = 170  # of those that float64 holds
MOST_DIMENSIONS = 1000  # of mvlgamma, whose kernel has a term for each
_LARGE = 8.0  # from here on the asymptotic series are exact


@cache
def _zeta_less_one(s: int) -> float:
    """The Riemann zeta function less 1, by the sum of Euler and Maclaurin (DLMF 25.2.9)."""
    n = 12
    terms = [k**-s for k in range(2, n)]
    terms += [n ** (1 - s) / (s - 1), 0.5 * n**-s]
    factor = s * float(n) ** (-s - 1)
    for j, number in enumerate(_BERNOULLI[:8], start=1):
        terms.append(number / math.factorial(2 * j) * factor)
        factor *= (s + 2 * j - 1) * (s + 2 * j) / (n * n)
    return math.fsum(terms)


def lgamma(input: Tensor) -> Tensor:
    """The logarithm of the absolute value of the gamma function."""
    return whole("lgamma", _lgamma, input)


def _lgamma(x: Tensor) -> Tensor:
    right = _lgamma_right(where(lt(x, 0.5), 1 - x, x))
    # DLMF 5.5.3: gamma(x) gamma(1 - x) = pi / sin(pi x)
    part = abs(x - x.round())
    left = math.log(math.pi) - (part * math.pi).sin().log() - right
    # Near zero 1 - x loses x: there gamma(x) = gamma(1 + x) / x.
    near = _series(x) - x.log1p() - abs(x).log()
    out = where(lt(x, 0.5), where(lt(abs(x), 0.5), near, left), right)
    return where(isinf(x), math.inf, out)


def _lgamma_right(x: Tensor) -> Tensor:
    """log(gamma(x)) for x >= 0.5.

    Up to 8 by gamma(x) = (x - 1) (x - 2) ... gamma(x - k) with x - k next to 2, so that nothing
    cancels; from 8 on by Stirling's series, DLMF 5.11.1.
    """
    product: Any = 1.0
    rest = x
    for _ in range(6):
        above = ge(rest, 2.5)
        rest = where(above, rest - 1, rest)
        product = product * where(above, rest, 1.0)
    t = where(lt(rest, 1.5), rest - 1, rest - 2)
    shifted = where(lt(rest, 1.5), (rest + 0).log(), 0.0)
    near = _series(t) - shifted + product.log()
    z = where(lt(x, _LARGE), _LARGE, x)
    inverse = 1 / z
    terms = [b / (2 * k * (2 * k - 1)) for k, b in enumerate(_BERNOULLI, start=1)]
    count = by_precision(x, 3, 9)
    tail = inverse * polynomial(inverse * inverse, terms[:count])
    logarithm = z.log()
    far = (z - 0.5) * (logarithm - 1) + (0.5 * math.log(2 * math.pi) - 0.5 + tail)
    return where(lt(x, _LARGE), near, far)


def _series(t: Tensor) -> Tensor:
    """log(gamma(2 + t)) for |t| <= 1/2, DLMF 5.7.3."""
    count = by_precision(t, 14, 28)
    terms = [(-1) ** k * _zeta_less_one(k) / k for k in range(2, count)]
    return t * polynomial(t, [1 - _EULER, *terms])


def digamma(input: Tensor) -> Tensor:
    """The derivative of `lgamma`."""
    return whole("digamma", _digamma, input)


def _digamma(x: Tensor) -> Tensor:
    left = lt(x, 0)
    z = where(left, 1 - x, x)
    total: Any = 0.0
    for _ in range(int(_LARGE)):  # DLMF 5.5.2: psi(z + 1) = psi(z) + 1 / z
        small = lt(z, _LARGE)
        total = total - where(small, 1 / z, 0.0)
        z = where(small, z + 1, z)
    inverse = 1 / z
    square = inverse * inverse
    terms = [-b / (2 * k) for k, b in enumerate(_BERNOULLI, start=1)]  # DLMF 5.11.2
    count = by_precision(x, 4, 9)
    right = total + (z.log() - 0.5 * inverse + square * polynomial(square, terms[:count]))
    part = x - x.round()
    out = where(left, right - math.pi * _cotangent(part), right)  # DLMF 5.5.4
    out = where(left & eq(part, 0), math.nan, out)
    return where(eq(x, 0), -1 / x, out)


def _cotangent(turns: Tensor) -> Tensor:
    """cot(pi turns) for |turns| <= 1/2, exact in both its pole and its zeros."""
    size = abs(turns)
    far = ((0.5 - size) * math.pi).tan()
    value = where(lt(size, 0.25), 1 / (size * math.pi).tan(), far)
    return odd(value, turns)


def polygamma(n: int, input: Tensor) -> Tensor:
    """The derivative of order `n` of `digamma`.

    Differs from PyTorch: infinite at the poles, where PyTorch gives a large number for n = 1.
    """
    need_tensor("polygamma", input)
    if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n <= LARGEST_FACTORIAL:
        raise RuntimeError(
            f"polygamma(n, x) does not support n={n!r}; it is a whole number from 0 to "
            f"{LARGEST_FACTORIAL}"
        )
    if n == 0:
        return digamma(input)
    return whole("polygamma", lambda x: _polygamma(n, x), input, arg=n)


def polygamma_of(input: Tensor, n: int) -> Tensor:
    """The method: `polygamma(n, input)`."""
    return polygamma(n, input)


def _polygamma(n: int, x: Tensor) -> Tensor:
    left = lt(x, 0)
    z = where(left, 1 - x, x)
    right = _hurwitz(float(n + 1), z) * ((-1) ** (n + 1) * math.factorial(n))  # DLMF 25.11.12
    # DLMF 5.15.6, with the derivatives of cot(pi x) as polynomials in it.
    terms = [0.0, 1.0]
    for _ in range(n):
        slopes = [k * term for k, term in enumerate(terms)][1:]
        terms = [0.0] * (len(slopes) + 2)
        for k, slope in enumerate(slopes):
            terms[k] -= math.pi * slope
            terms[k + 2] -= math.pi * slope
    part = x - x.round()
    reflected = (right - polynomial(_cotangent(part), terms) * math.pi * (-1) ** n) * (-1) ** n
    reflected = where(eq(part, 0), math.inf * (-1) ** (n + 1), reflected)
    return where(left, reflected, right)


def _hurwitz(s: Any, q: Tensor) -> Tensor:
    """The sum of (q + k)^-s over all k >= 0, for s > 1 and q > 0: by Euler and Maclaurin."""
    shift = 9
    total = q**-s
    for k in range(1, shift):
        total = total + (q + k) ** -s
    a = q + shift
    power = a**-s
    total = total + power * (a / (s - 1) + 0.5)
    factor = s * power / a
    inverse = 1 / (a * a)
    for j, number in enumerate(_BERNOULLI[: by_precision(q, 5, 10)], start=1):
        total = total + factor * (number / math.factorial(2 * j))
        factor = factor * ((s + (2 * j - 1)) * (s + 2 * j)) * inverse
    return where(isinf(q), 0.0, where(eq(q, 0), math.inf, total))


def zeta(input: Any, other: Any) -> Tensor:
    """The Hurwitz zeta function: the sum of (other + k) ** -input over all k >= 0.

    Infinite for input = 1 and at the poles, NaN for input < 1; for a negative `other` only
    whole numbers of `input` have a value.  A number may stand for one of them; there is a
    derivative by `other` only.

    Differs from PyTorch: NaN for `other` below -16.
    """
    like = other if is_tensor(other) else input
    need_tensor("zeta", like)
    total = as_float(input + other)
    one = total * 0 + input if not is_tensor(input) else input.to(total.dtype)
    two = total * 0 + other if not is_tensor(other) else other.to(total.dtype)
    return whole("zeta", _zeta, one, two)


def _zeta(s: Tensor, q: Tensor) -> Tensor:
    steps = where(gt(-q, 0), (-q).ceil(), 0.0)
    right = _hurwitz(s, where(lt(q, 0), q + steps, q))
    # The terms before the first positive one, as far as they are asked for in practice.
    before: Any = 0.0
    for k in range(16):
        base = where(gt(steps, k), q + k, 1.0)
        odd = eq(s - 2 * (s / 2).floor(), 1) & lt(base, 0)
        size = abs(base) ** -s
        before = before + where(gt(steps, k), where(odd, -size, size), 0.0)
    out = right + before
    out = where(lt(q, 0) & (s != s.floor()), math.nan, where(gt(steps, 16), math.nan, out))
    out = where((q <= 0) & eq(q, q.floor()), math.inf, out)
    return where(eq(s, 1), math.inf, where(lt(s, 1), math.nan, out))


def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The logarithm of the gamma function of dimension `p`, for input > (p - 1) / 2."""
    need_tensor("mvlgamma", input)
    if isinstance(p, bool) or not isinstance(p, int) or p < 1:
        raise RuntimeError(f"p has to be greater than or equal to 1, got {p!r}")
    if p > MOST_DIMENSIONS:
        raise RuntimeError(f"mvlgamma: p has to be at most {MOST_DIMENSIONS}, got {p}")
    x = as_float(input)
    total = lgamma(x)
    for j in range(1, p):
        total = total + lgamma(x - 0.5 * j)
    return total + 0.25 * p * (p - 1) * math.log(math.pi)


ROWS.update(
    {
        "lgamma": Row("Lgamma", _D("a", lambda g, e: mul(g, digamma(e.a)))),
        "digamma": Row("Digamma", _D("a", lambda g, e: mul(g, polygamma(1, e.a)))),
        "polygamma": Row(
            "Polygamma", _D("a", lambda g, e: mul(g, polygamma(e.arg + 1, e.a)))
        ),
        "zeta": Row(
            "SpecialZeta", None, _D("ab", lambda g, e: mul(g, neg(e.a * zeta(e.a + 1, e.b))))
        ),
    }
)
