"""Numbers of the gamma distribution, with their derivative by its shape.

Floor 6.  A number is drawn by the method of Marsaglia and Tsang ("A simple method for generating
gamma variables", 2000), which accepts more than 95 of 100 tries.  Here every element makes the
same `TRIES` tries and takes the first that is accepted, so that a draw takes the same words of
the random stream on every device; that none is accepted happens once in 10**10 elements, and
gives the mode.

The derivative is that of the inverse cumulative probability where the draw lies, as in PyTorch:
dz/da = -(dF/da) / f.  With L = log z - digamma(a), that is the integral of (L - y) z
exp(z (1 - e^-y) - a y) over y from 0 to infinity with a minus, or, since the integral over all of
the density's logarithmic slope is zero, that of its upper tail.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import cast, where
from dlgrad.core.creation import tensor
from dlgrad.core.tape import ROWS, Derivative, Row, record
from dlgrad.dtype import FLOAT, DType, finfo, float32, float64
from dlgrad.errors import DTypeError
from dlgrad.operators.gamma_functions import digamma
from dlgrad.operators.ranges import arange
from dlgrad.random import Generator, rand, randn, unrecorded

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

TRIES = 8
_SERIES_TERMS = 24
_SERIES_UP_TO = 2.0  # the series in z converges quickly below


def standard_gamma(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Numbers of the gamma distribution of rate 1 whose shape parameters are `input`, positive.

    Gradients reach `input` once: the slope has no derivative of its own, as in PyTorch.
    """
    if input.dtype.kind != FLOAT:
        raise DTypeError(f"standard_gamma takes floating-point parameters, got {input.dtype!r}")
    with unrecorded():
        kind = float64 if input.dtype is float64 else float32
        made = cast(_drawn(cast(input.detach(), kind), generator), input.dtype)
    record("standard_gamma", None, made, (input,))
    return made


def _drawn(alpha: Tensor, generator: Generator | None) -> Tensor:
    settings: dict[str, Any] = {"generator": generator, "dtype": alpha.dtype}
    settings["device"] = alpha.device
    shape = alpha._shape
    normal = randn((TRIES, *shape), **settings)
    uniform = 1 - rand((TRIES, *shape), **settings)  # in (0, 1]
    share = 1 - rand(shape, **settings)
    small = alpha < 1
    centre = where(small, alpha + 1, alpha) - 1 / 3
    cube = (1 + normal / (9 * centre).sqrt()) ** 3
    inside = cube.clamp(min=finfo(alpha.dtype).tiny)
    bound = 0.5 * normal.square() + centre * (1 - cube + inside.log())
    tries = where((cube > 0) & (uniform.log() < bound), cube, -1.0)
    chosen: Tensor = tries[TRIES - 1]
    for number in range(TRIES - 2, -1, -1):
        chosen = where(tries[number] > 0, tries[number], chosen)
    drawn = centre * where(chosen > 0, chosen, 1.0)
    # gamma(a) is gamma(a + 1) times a uniform number to the power 1 / a.
    drawn = where(small, drawn * (share.log() / alpha).exp(), drawn)
    return drawn.clamp(min=finfo(alpha.dtype).tiny)


# The derivative -----------------------------------------------------------------------------------


def gamma_slope(drawn: Tensor, alpha: Tensor) -> Tensor:
    """How a number of the gamma distribution moves with its shape parameter, element-wise."""
    kind = float64 if alpha.dtype is float64 else float32
    z, a = cast(drawn, kind), cast(alpha, kind)
    near = z <= _SERIES_UP_TO
    slope = where(near, _near_zero(where(near, z, 1.0), a), _by_quadrature(z, a))
    return cast(slope, alpha.dtype)


def _near_zero(z: Tensor, a: Tensor) -> Tensor:
    """-z e^z times the sum over k of (-z)^k / k! (L / (a + k) - 1 / (a + k)^2)."""
    beyond = z.log() - digamma(a + 1)  # L is 1 / a more
    logarithm = (beyond + a.reciprocal()).unsqueeze(-1)
    k = arange(1, _SERIES_TERMS, dtype=z.dtype, device=z.device)
    factors = tuple((-1.0) ** n / math.factorial(n) for n in range(1, _SERIES_TERMS))
    factor = _table(factors, z.dtype, str(z.device))
    apart = a.unsqueeze(-1) + k
    terms = factor * z.unsqueeze(-1) ** k * (logarithm - apart.reciprocal()) / apart
    return -z * z.exp() * (beyond / a + terms.sum(-1))


def _by_quadrature(z: Tensor, a: Tensor) -> Tensor:
    """The integral over the tail that z lies nearer to, by the rule of Gauss and Legendre."""
    exact = z.dtype is float64
    points, weights = gauss_legendre(48 if exact else 24)
    depth = 40.0 if exact else 20.0  # e to the minus that is left out
    side = where(z > a, 1.0, -1.0).to(z.dtype)
    # The exponent is convex: z y^2 / 2 and |z - a| y lie below it, the other way z y^2 / 3.
    rough = (2.5 * depth / z).sqrt()
    rough = where((rough > 1) & (z <= a), (depth + z) / a, rough)
    end = rough.minimum(depth / (z - a).abs().clamp(min=finfo(z.dtype).tiny))
    place = _table(points, z.dtype, str(z.device))
    weight = _table(weights, z.dtype, str(z.device))
    moved = (side * end).unsqueeze(-1) * place
    logarithm = (z.log() - digamma(a)).unsqueeze(-1)
    exponent = z.unsqueeze(-1) * moved.expm1() - a.unsqueeze(-1) * moved
    whole = (weight * (logarithm + moved) * (-exponent).exp()).sum(-1)
    return side * z * end * whole


@cache
def _table(values: tuple[float, ...], dtype: DType, device: str) -> Tensor:
    """The numbers in memory: made once, before a step is captured."""
    return tensor(values, dtype=dtype, device=device)


@cache
def gauss_legendre(count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Points in (0, 1) and weights that integrate polynomials of degree 2 count - 1 exactly."""
    points, weights = [], []
    for number in range(count):
        x = math.cos(math.pi * (number + 0.75) / (count + 0.5))
        for _ in range(10):  # Newton's method on the Legendre polynomial
            value, before = x, 1.0
            for degree in range(2, count + 1):
                after = ((2 * degree - 1) * x * value - (degree - 1) * before) / degree
                value, before = after, value
            slope = count * (x * value - before) / (x * x - 1)
            x -= value / slope
        points.append((1 + x) / 2)
        weights.append(1 / ((1 - x * x) * slope * slope))
    return tuple(points), tuple(weights)


def _slope_rule(g: Tensor, e: Any) -> Tensor:
    with unrecorded():
        slope = gamma_slope(e.out.detach(), e.a.detach())
    return g * slope


ROWS["standard_gamma"] = Row("StandardGamma", Derivative("ao", _slope_rule))
