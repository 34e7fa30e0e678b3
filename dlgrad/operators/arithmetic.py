"""Less common arithmetic: signs, extremes beside NaN, floats taken apart, common divisors.

Floor 6.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from dlgrad.core.apply import binary, bitcast, cast, result_dtype, unary, where
from dlgrad.core.base import is_tensor
from dlgrad.core.composing import as_float, composed, need_tensor, paused, whole
from dlgrad.core.gradients import zeros_of
from dlgrad.core.tape import ROWS, Derivative, Row
from dlgrad.dtype import BOOL, FLOAT, DType, float32, float64, get_default_dtype, int32, int64
from dlgrad.errors import DTypeError
from dlgrad.lazy.ops import ElementwiseOps
from dlgrad.operators.comparison import eq, ge, gt, isfinite, isinf, isnan, le, lt, ne, signbit
from dlgrad.operators.elementwise import abs, div, mul, pow, pow_of, sign

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

_E = ElementwiseOps
_D = Derivative
_ZERO = _D("", lambda g, e: zeros_of(g))


# Signs ------------------------------------------------------------------------------------------


def positive(input: Tensor) -> Tensor:
    """The tensor itself, as `+x`."""
    need_tensor("positive", input)
    if input.dtype.kind == BOOL:
        raise DTypeError("The `+` operator, on a bool tensor is not supported.")
    return input


def sgn(input: Tensor) -> Tensor:
    """The same as `sign`: there are no complex tensors."""
    return sign(input)


def copysign(input: Tensor, other: Any) -> Tensor:
    """The size of `input` with the sign of `other`, also of its zeros; floats come out."""
    need_tensor("copysign", input)
    dtype = result_dtype((input, other))
    if dtype.kind != FLOAT:
        dtype = get_default_dtype()
    with paused():
        size = abs(cast(input, dtype))
        if is_tensor(other):
            out = where(signbit(other), -size, size)
        else:
            out = -size if math.copysign(1.0, other) < 0 else size
    return composed("copysign", out, *((input, other) if is_tensor(other) else (input,)))


def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 below zero, 1 above it, and `values` at zero (NaN stays)."""
    need_tensor("heaviside", input)
    need_tensor("heaviside", values, "values")
    if input.dtype is not values.dtype:
        raise DTypeError(
            "heaviside is not yet implemented for tensors with different dtypes: "
            f"{input.dtype!r} and {values.dtype!r}"
        )
    with paused():
        step = where(isnan(input), input, cast(gt(input, 0), input.dtype))
        return where(eq(input, 0), values, step)


def angle(input: Tensor) -> Tensor:
    """pi for negative numbers, else 0 (NaN stays), as floats."""
    with paused():
        x = as_float(input)
        out = where(isnan(x), x, where(lt(x, 0), math.pi, 0.0))
        out = cast(out, x.dtype)
    return composed("angle", out, x)


# Extremes and special values ----------------------------------------------------------------------


def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two; where one is NaN, the other."""
    need_tensor("fmax", input)
    need_tensor("fmax", other, "other")
    return where(ge(input, other) | isnan(other), input, other)


def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two; where one is NaN, the other."""
    need_tensor("fmin", input)
    need_tensor("fmin", other, "other")
    return where(le(input, other) | isnan(other), input, other)


def nan_to_num(
    input: Tensor,
    nan: float | None = None,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Tensor:
    """`nan` (0) for NaN, and for infinities `posinf` and `neginf` (the limits of the dtype)."""
    dtype = input.dtype
    if dtype.kind != FLOAT:
        return input.clone()
    high = float(dtype.max) if posinf is None else posinf
    low = float(dtype.min) if neginf is None else neginf
    out = where(isnan(input), 0.0 if nan is None else nan, input)
    return where(eq(input, math.inf), high, where(eq(input, -math.inf), low, out))


# Powers and roots ---------------------------------------------------------------------------------


def float_power(input: Any, exponent: Any) -> Tensor:
    """input ** exponent in float64; a number may stand for one of them."""
    if is_tensor(exponent):
        exponent = cast(exponent, float64)
    elif not is_tensor(input):
        raise TypeError("float_power: at least one argument must be a Tensor, not two numbers")
    return pow(cast(input, float64), exponent) if is_tensor(input) else pow_of(input, exponent)


def hypot(input: Tensor, other: Tensor) -> Tensor:
    """sqrt(input^2 + other^2), without overflow of the squares; of floats."""
    need_tensor("hypot", input)
    need_tensor("hypot", other, "other")
    dtype = result_dtype((input, other))
    if dtype.kind != FLOAT:
        raise DTypeError(f"hypot takes floats, got {input.dtype!r} and {other.dtype!r}")
    return whole("hypot", _hypot, cast(input, dtype), cast(other, dtype))


def _hypot(a: Tensor, b: Tensor) -> Tensor:
    large = binary(_E.MAXIMUM, abs(a), abs(b))
    small = binary(_E.MINIMUM, abs(a), abs(b))
    ratio = small / where(eq(large, 0), 1.0, large)
    out = large * unary(_E.SQRT, 1 + ratio * ratio)
    return where(isinf(a) | isinf(b), math.inf, out)


def deg2rad(input: Tensor) -> Tensor:
    """An angle in degrees as radians."""
    return as_float(input) * (math.pi / 180)


def rad2deg(input: Tensor) -> Tensor:
    """An angle in radians as degrees."""
    return as_float(input) * (180 / math.pi)


# Floats taken apart -------------------------------------------------------------------------------


class MantissaExponent(NamedTuple):
    """A float as mantissa * 2 ** exponent."""

    mantissa: Tensor
    exponent: Tensor


def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """input * 2 ** other."""
    need_tensor("ldexp", input)
    need_tensor("ldexp", other, "other")
    return mul(input, pow_of(2.0, other))


def frexp(input: Tensor) -> MantissaExponent:
    """(mantissa, exponent): a mantissa from 0.5 to 1, with the sign, and an int32 exponent.

    Zeros, infinities and NaN have the exponent 0.
    """
    if input.dtype.kind != FLOAT:
        raise DTypeError(f"frexp() only supports floating-point dtypes, got {input.dtype!r}")
    with paused():
        double = input.dtype is float64
        x = input if double else cast(input, float32)
        integer, bits, bias = (int64, 52, 1022) if double else (int32, 23, 126)
        small = lt(abs(x), 2.0 ** (1 - bias))
        word = bitcast(where(small, x * 2.0 ** (bits + 1), x), integer)
        mask = (1 << (11 if double else 8)) - 1
        raised = ((word >> bits) & mask) - bias
        exponent = where(small, raised - (bits + 1), raised)
        kept = word & ~(mask << bits)
        mantissa = bitcast(kept | (bias << bits), x.dtype)
        plain = isfinite(x) & ne(x, 0)
        mantissa = cast(where(plain, mantissa, x), input.dtype)
        exponent = cast(where(plain, exponent, 0), int32)
    return MantissaExponent(composed("frexp", mantissa, input), exponent)


# Whole numbers ------------------------------------------------------------------------------------


def _common_integers(name: str, input: Any, other: Any) -> DType:
    need_tensor(name, input)
    need_tensor(name, other, "other")
    dtype = result_dtype((input, other))
    if not dtype.is_integer:
        raise DTypeError(f"{name} takes integers, got {input.dtype!r} and {other.dtype!r}")
    return dtype


def gcd(input: Tensor, other: Tensor) -> Tensor:
    """The greatest common divisor, from 0 up; of integers."""
    dtype = _common_integers("gcd", input, other)
    a, b = abs(cast(input, dtype)), abs(cast(other, dtype))
    # Euclid's algorithm takes the most steps for neighbours in Fibonacci's sequence: so many.
    steps = math.ceil(8 * dtype.itemsize * math.log(2) / math.log((1 + math.sqrt(5)) / 2))
    for _ in range(steps):
        done = eq(b, 0)
        a, b = where(done, a, b), where(done, b, binary(_E.MOD, a, b))
    return abs(a)


def lcm(input: Tensor, other: Tensor) -> Tensor:
    """The least common multiple, from 0 up; of integers."""
    dtype = _common_integers("lcm", input, other)
    divisor = gcd(input, other)
    return abs(mul(binary(_E.FLOORDIV, cast(input, dtype), divisor), other))


# Derivatives -------------------------------------------------------------------------------------

ROWS.update(
    {
        "angle": Row("Angle", _ZERO),
        "copysign": Row(
            "Copysign",
            _D("ao", lambda g, e: where(eq(e.a, 0), 0.0, mul(g, sign(e.a) * sign(e.out)))),
            _ZERO,
        ),
        "hypot": Row(
            "Hypot",
            _D("ao", lambda g, e: mul(g, div(e.a, e.out))),
            _D("bo", lambda g, e: mul(g, div(e.b, e.out))),
        ),
        "frexp": Row(
            "Frexp", _D("ao", lambda g, e: mul(g, where(eq(e.a, e.out), 1.0, div(e.out, e.a))))
        ),
    }
)
