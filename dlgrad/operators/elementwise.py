"""Element-wise operations under PyTorch's names, composed from the primitives.

Floor 6.  Each function takes tensors and Python numbers, promotes and broadcasts them, and
returns a new tensor.  Integer input of a function that has float results (`exp`, `sin`, ...)
becomes the default float type.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import (
    as_number,
    binary,
    cast,
    exact,
    result_dtype,
    unary,
    where,
)
from dlgrad.core.autocasting import autocasts
from dlgrad.core.base import Number, TensorBase, is_tensor
from dlgrad.core.composing import as_float, composed, need_tensor, paused
from dlgrad.core.dims import as_int
from dlgrad.dtype import BOOL, FLOAT, DType, bool_, get_default_dtype
from dlgrad.errors import DTypeError
from dlgrad.lazy.ops import ElementwiseOps
from dlgrad.operators.comparison import eq, ge, isnan, le, logical_and, lt, ne, signbit

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

_E = ElementwiseOps


# Arithmetic -----------------------------------------------------------------------------------


def _both_bool(a: Any, b: Any) -> bool:
    return _is_bool(a) and _is_bool(b)


def _is_bool(x: Any) -> bool:
    return x.dtype is bool_ if isinstance(x, TensorBase) else isinstance(x, bool)


def _scaled(input: Any, other: Any, alpha: Number) -> Any:
    """alpha * other, with PyTorch's checks of the kind of `alpha`."""
    if isinstance(alpha, bool):
        if not _both_bool(input, other):
            raise RuntimeError("Boolean alpha only supported for Boolean results.")
    elif isinstance(alpha, float) and result_dtype((input, other)).kind != FLOAT:
        raise RuntimeError(
            "For integral input tensors, argument alpha must not be a floating point number."
        )
    return other * alpha


def add(input: Any, other: Any, *, alpha: Number = 1) -> Tensor:
    """input + alpha * other."""
    if alpha != 1 or isinstance(alpha, bool):
        other = _scaled(input, other, alpha)
    return binary(_E.ADD, input, other)


def sub(input: Any, other: Any, *, alpha: Number = 1) -> Tensor:
    """input - alpha * other."""
    if _both_bool(input, other):
        raise DTypeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` "
            "or `logical_xor()` operator instead."
        )
    if alpha != 1 or isinstance(alpha, bool):
        other = _scaled(input, other, alpha)
    return binary(_E.SUB, input, other)


def rsub(input: Any, other: Any, *, alpha: Number = 1) -> Tensor:
    """other - alpha * input."""
    need_tensor("rsub", input)
    return sub(other, input, alpha=alpha)


def mul(input: Any, other: Any) -> Tensor:
    """input * other."""
    return binary(_E.MUL, input, other)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other; `rounding_mode` "trunc" or "floor" rounds and keeps integers.

    What is rounded has the gradient zero.
    """
    if rounding_mode is None:
        return binary(_E.DIV, input, other, result=get_default_dtype())
    if rounding_mode == "floor":
        with paused():
            out = floor_divide(input, other)
        return composed("div_floor", out, *filter(is_tensor, (input, other)))
    if rounding_mode != "trunc":
        raise RuntimeError(
            "div expected rounding_mode to be one of None, 'trunc', or 'floor' "
            f"but found {rounding_mode!r}"
        )
    if result_dtype((input, other)).kind == FLOAT:
        return trunc(binary(_E.DIV, input, other))
    quotient = floor_divide(input, other)
    inexact = logical_and(ne(mul(quotient, other), input), lt(quotient, 0))
    return add(quotient, inexact)


def _check_divisor(input: Any, other: Any) -> None:
    """RuntimeError for the integer division by the number zero; a zero in a tensor gives 0."""
    if not is_tensor(other) and other == 0 and result_dtype((input, other)).kind != FLOAT:
        raise RuntimeError("ZeroDivisionError: integer division or modulo by zero")


def floor_divide(input: Any, other: Any) -> Tensor:
    """input // other, rounded towards minus infinity.

    Differs from PyTorch: an integer zero in a tensor `other` gives 0, not an error.
    """
    _check_divisor(input, other)
    return binary(_E.FLOORDIV, input, other)


def remainder(input: Any, other: Any) -> Tensor:
    """input % other, with the sign of the divisor.

    Differs from PyTorch: an integer zero in a tensor `other` gives `input`, not an error.
    """
    _check_divisor(input, other)
    return binary(_E.MOD, input, other)


def fmod(input: Tensor, other: Any) -> Tensor:
    """The remainder with the sign of the dividend.

    Differs from PyTorch: an integer zero in a tensor `other` gives `input`, not an error.
    """
    need_tensor("fmod", input)
    _check_divisor(input, other)
    if result_dtype((input, other)).kind != FLOAT:
        return sub(input, mul(div(input, other, rounding_mode="trunc"), other))
    with paused():
        # Exact: the rest of the sizes with the sign of the dividend.
        size = other.abs() if is_tensor(other) else math.fabs(other)
        rest = binary(_E.MOD, input.abs(), size)
        out = where(signbit(input), neg(rest), rest)
    sources = (input, other) if is_tensor(other) else (input,)
    return composed("fmod", out, *sources)


@autocasts
def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent; a number may stand for one of them."""
    if not isinstance(exponent, TensorBase):
        need_tensor("pow", input)
        exponent = as_number(exponent, "exponent")
        if input.dtype.kind != FLOAT and isinstance(exponent, int) and exponent < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        simple = _simple_power(input, exponent)
        if simple is not None:
            return simple
    return binary(_E.POW, input, exponent)


def _simple_power(x: Tensor, exponent: Number) -> Tensor | None:
    """Small exponents, by multiplications."""
    if x.dtype.kind == BOOL or (x.dtype.kind != FLOAT and isinstance(exponent, float)):
        return None
    if exponent == 1:
        return copy_values(x)
    if exponent == 2:
        return x * x
    if exponent == 3:
        return x * x * x
    if x.dtype.kind != FLOAT:
        return None
    if exponent == 0.5:
        return sqrt(x)
    if exponent == -0.5:
        return rsqrt(x)
    if exponent == -1:
        return reciprocal(x)
    if exponent == -2:
        return reciprocal(x * x)
    return None


def copy_values(x: Tensor) -> Tensor:
    """A new tensor with the same values."""
    return x.clone()


def square(input: Tensor) -> Tensor:
    """input * input."""
    if input.dtype is bool_:
        return pow(input, 2)
    return binary(_E.MUL, input, input)


def neg(input: Tensor) -> Tensor:
    """-input."""
    if input.dtype is bool_:
        raise DTypeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to "
            "invert a mask, use the `~` or `logical_not()` operator instead."
        )
    return unary(_E.NEG, input)


def abs(input: Tensor) -> Tensor:
    """The absolute value."""
    return input.clone() if input.dtype is bool_ else unary(_E.ABS, input)


def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1 (0 for NaN)."""
    with paused():
        dtype = input.dtype
        out = input.clone() if dtype is bool_ else cast(input > 0, dtype) - cast(input < 0, dtype)
    return composed("sign", out, input)


def odd(size: Tensor, x: Tensor) -> Tensor:
    """`size`, with a minus where `x` is negative: an odd function by its values from 0 up."""
    return where(lt(x, 0), -size, size)


@autocasts
def reciprocal(input: Tensor) -> Tensor:
    """1 / input."""
    return div(1.0, as_float(input))


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two, NaN if either is."""
    need_tensor("maximum", input)
    need_tensor("maximum", other, "other")
    return binary(_E.MAXIMUM, input, other)


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two, NaN if either is."""
    need_tensor("minimum", input)
    need_tensor("minimum", other, "other")
    return binary(_E.MINIMUM, input, other)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """`input` limited to [min, max]; either may be left out, either may be a tensor."""
    if min is None and max is None:
        raise RuntimeError("clamp: At least one of 'min' or 'max' must not be None")
    if isinstance(min, TensorBase) or isinstance(max, TensorBase):
        out = input
        if min is not None:
            out = where(ge(out, min) | isnan(out), out, min)
        if max is not None:
            out = where(le(out, max) | isnan(out), out, max)
        return out
    with paused():
        out = input
        if min is not None:
            out = binary(_E.MAXIMUM, out, _bound(min, out.dtype))
        if max is not None:
            out = binary(_E.MINIMUM, out, _bound(max, out.dtype))
    return composed("clamp", out, input, arg=(min, max))


def _bound(value: Any, dtype: DType) -> Any:
    number = as_number(value, "min and max")
    return exact(number, dtype) if isinstance(number, int) else number


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """`input`, or `min` where that is larger."""
    return clamp(input, min, None)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """`input`, or `max` where that is smaller."""
    return clamp(input, None, max)


def _rounded_once(function: Callable[..., Tensor], *operands: Any) -> Tensor:
    """`function(*operands)`; half types are computed in float32 from end to end."""
    dtype = result_dtype(operands)
    if not dtype.is_half:
        return function(*operands)
    wide = [cast(x, x.dtype.compute) if is_tensor(x) else x for x in operands]
    return cast(function(*wide), dtype)


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight * (end - input), from the nearer of the two, so that both ends are exact."""
    for name, value in (("end", end), ("weight", weight)):
        if is_tensor(value) and value.dtype is not input.dtype:
            raise DTypeError(
                f"expected dtype {input.dtype!r} for `{name}` but got dtype {value.dtype!r}"
            )

    def between(input: Tensor, end: Tensor, weight: Any) -> Tensor:
        way = sub(end, input)
        near = add(input, mul(weight, way))
        if not is_tensor(weight):
            return near if math.fabs(weight) < 0.5 else sub(end, mul(way, 1 - weight))
        far = sub(end, mul(way, 1 - weight))
        return where(lt(abs(weight), 0.5), near, far)

    return _rounded_once(between, input, end, weight)


@autocasts
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    return _rounded_once(
        lambda a, b, c: add(a, mul(b, c), alpha=value), input, tensor1, tensor2
    )


@autocasts
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """input + value * tensor1 / tensor2, of floats."""
    if result_dtype((tensor1, tensor2)).kind != FLOAT:
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported; use "
            "input + value * (tensor1 / tensor2).trunc() or convert to floats first"
        )
    return _rounded_once(
        lambda a, b, c: add(a, div(b, c), alpha=value), input, tensor1, tensor2
    )


# Powers, exponentials, logarithms -----------------------------------------------------------------


def sqrt(input: Tensor) -> Tensor:
    """The square root; NaN below zero."""
    return unary(_E.SQRT, as_float(input))


@autocasts
def rsqrt(input: Tensor) -> Tensor:
    """1 / sqrt(input)."""
    input = as_float(input)
    with paused():
        out = div(1.0, unary(_E.SQRT, input))
    return composed("rsqrt", out, input)


@autocasts
def exp(input: Tensor) -> Tensor:
    """e ** input."""
    return unary(_E.EXP, as_float(input))


def exp2(input: Tensor) -> Tensor:
    """2 ** input."""
    return pow_of(2.0, as_float(input))


def pow_of(number: float, exponent: Tensor) -> Tensor:
    """number ** exponent."""
    return binary(_E.POW, number, exponent)


@autocasts
def expm1(input: Tensor) -> Tensor:
    """e ** input - 1, accurate near zero."""
    return unary(_E.EXPM1, as_float(input))


@autocasts
def log(input: Tensor) -> Tensor:
    """The natural logarithm."""
    return unary(_E.LOG, as_float(input))


@autocasts
def log2(input: Tensor) -> Tensor:
    """The logarithm to base 2."""
    return log(input) * (1 / math.log(2))


@autocasts
def log10(input: Tensor) -> Tensor:
    """The logarithm to base 10."""
    return log(input) * (1 / math.log(10))


@autocasts
def log1p(input: Tensor) -> Tensor:
    """log(1 + input), accurate near zero."""
    return unary(_E.LOG1P, as_float(input))


def xlogy(input: Any, other: Any) -> Tensor:
    """input * log(other), and 0 where input is 0 (unless other is NaN)."""
    if is_tensor(other):
        nothing = isnan(other)
        nothing = ~nothing & eq(input, 0) if is_tensor(input) else ~nothing & (input == 0)
    else:
        need_tensor("xlogy", input)
        nothing = eq(input, 0)
    return where(nothing, 0.0, mul(input, log(where(nothing, 1.0, other))))


def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other)), without overflow; of floats."""
    return _log_of_sum("logaddexp", input, other)


def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    """log2(2 ** input + 2 ** other), without overflow; of floats."""
    return _log_of_sum("logaddexp2", input, other, math.log(2))


def _log_of_sum(name: str, a: Tensor, b: Tensor, unit: float = 1.0) -> Tensor:
    """log(exp(a) + exp(b)) for arguments and result in `unit`s."""
    need_tensor(name, a)
    need_tensor(name, b, "other")
    if result_dtype((a, b)).kind != FLOAT:
        raise DTypeError(f"{name} takes floats, got {a.dtype!r} and {b.dtype!r}")
    with paused():
        top = maximum(a, b)
        apart = mul(neg(abs(sub(a, b))), unit)
        near = top + mul(log1p(exp(apart)), 1 / unit)
        out = where(eq(a, b), top + math.log(2) / unit, near)
    return composed(name, out, a, b)


# Other functions ----------------------------------------------------------------------------------


def sin(input: Tensor) -> Tensor:
    """The sine of an angle in radians."""
    return unary(_E.SIN, as_float(input))


def cos(input: Tensor) -> Tensor:
    """The cosine of an angle in radians."""
    return unary(_E.COS, as_float(input))


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return unary(_E.TANH, as_float(input))


def erf(input: Tensor) -> Tensor:
    """The error function."""
    return unary(_E.ERF, as_float(input))


# Rounding -----------------------------------------------------------------------------------------


def _rounding(op: ElementwiseOps, x: Tensor) -> Tensor:
    return x.clone() if x.dtype.kind != FLOAT else unary(op, x)


def floor(input: Tensor) -> Tensor:
    """The next whole number below or at `input`."""
    return _rounding(_E.FLOOR, input)


def ceil(input: Tensor) -> Tensor:
    """The next whole number above or at `input`."""
    return _rounding(_E.CEIL, input)


def trunc(input: Tensor) -> Tensor:
    """The whole number next to `input` on the side of zero."""
    return _rounding(_E.TRUNC, input)


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest whole number, ties to even; or that many decimals."""
    decimals = as_int("round", decimals, "decimals")
    if decimals == 0 or input.dtype.kind != FLOAT:
        return _rounding(_E.ROUND, input)
    scale = math.pow(10.0, math.fabs(decimals))
    if decimals > 0:
        return div(unary(_E.ROUND, input * scale), scale)
    return unary(_E.ROUND, div(input, scale)) * scale


def frac(input: Tensor) -> Tensor:
    """The part of `input` after the point, with its sign."""
    return sub(input, trunc(input))
