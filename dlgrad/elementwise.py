"""Element-wise operations under PyTorch's names, composed from the primitives.

Floor 6.  Each function takes tensors and Python numbers, promotes and broadcasts them, and
returns a new tensor.  Integer input of a function that has float results (`exp`, `sin`, ...)
becomes the default float type.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dlgrad.apply import (
    as_number,
    binary,
    cast,
    filled,
    result_dtype,
    unary,
    where,
)
from dlgrad.base import Number, TensorBase, grad_mode, is_tensor, node_of
from dlgrad.dtype import BOOL, FLOAT, DType, bool_, get_default_dtype
from dlgrad.errors import DTypeError
from dlgrad.ops import ElementwiseOps
from dlgrad.tape import record

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

_E = ElementwiseOps


def as_float(x: TensorBase) -> Tensor:
    """`x`, or its conversion to the default float type if it holds integers or bools."""
    if x.dtype.kind == FLOAT:
        return x  # type: ignore[return-value]
    return cast(x, get_default_dtype())


def composed(name: str, out: Tensor, *sources: TensorBase, arg: Any = None) -> Tensor:
    """Records `out`, computed while recording was paused, as one operation `name`."""
    record(name, arg, out, sources)
    return out


class paused:
    """`with paused():` composes without a tape; the operation is recorded as a whole after."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = grad_mode.enabled
        grad_mode.enabled = False

    def __exit__(self, *details: object) -> None:
        grad_mode.enabled = self._before


# Arithmetic -----------------------------------------------------------------------------------


def _both_bool(a: Any, b: Any) -> bool:
    return _is_bool(a) and _is_bool(b)


def _is_bool(x: Any) -> bool:
    return x.dtype is bool_ if isinstance(x, TensorBase) else isinstance(x, bool)


def add(input: Any, other: Any, *, alpha: Number = 1) -> Tensor:
    """input + alpha * other."""
    if alpha != 1:
        other = other * alpha
    if _both_bool(input, other):
        return binary(_E.OR, input, other)
    return binary(_E.ADD, input, other)


def sub(input: Any, other: Any, *, alpha: Number = 1) -> Tensor:
    """input - alpha * other."""
    if _both_bool(input, other):
        raise DTypeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` "
            "or `logical_xor()` operator instead."
        )
    if alpha != 1:
        other = other * alpha
    return binary(_E.SUB, input, other)


def rsub(input: Any, other: Any, *, alpha: Number = 1) -> Tensor:
    """other - alpha * input."""
    return sub(other, input, alpha=alpha)


def mul(input: Any, other: Any) -> Tensor:
    """input * other."""
    if _both_bool(input, other):
        return binary(_E.AND, input, other)
    return binary(_E.MUL, input, other)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other; `rounding_mode` "trunc" or "floor" rounds and keeps integers."""
    if rounding_mode is None:
        return binary(_E.DIV, input, other, result=get_default_dtype())
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode != "trunc":
        raise ValueError(
            "div expected rounding_mode to be one of None, 'trunc', or 'floor' "
            f"but found {rounding_mode!r}"
        )
    if result_dtype((input, other)).kind == FLOAT:
        return trunc(binary(_E.DIV, input, other))
    quotient = floor_divide(input, other)
    inexact = logical_and(ne(mul(quotient, other), input), lt(quotient, 0))
    return add(quotient, inexact)


def floor_divide(input: Any, other: Any) -> Tensor:
    """input // other, rounded towards minus infinity."""
    return binary(_E.FLOORDIV, input, other)


def remainder(input: Any, other: Any) -> Tensor:
    """input % other, with the sign of the divisor."""
    return binary(_E.MOD, input, other)


def fmod(input: Any, other: Any) -> Tensor:
    """The remainder with the sign of the dividend."""
    return sub(input, mul(div(input, other, rounding_mode="trunc"), other))


def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent."""
    if not isinstance(exponent, TensorBase):
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


def reciprocal(input: Tensor) -> Tensor:
    """1 / input."""
    return div(1.0, as_float(input))


def maximum(input: Any, other: Any) -> Tensor:
    """The larger of two, NaN if either is."""
    return binary(_E.MAXIMUM, input, other)


def minimum(input: Any, other: Any) -> Tensor:
    """The smaller of two, NaN if either is."""
    return binary(_E.MINIMUM, input, other)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """`input` limited to [min, max]; either may be left out, either may be a tensor."""
    if min is None and max is None:
        raise RuntimeError("clamp: At least one of 'min' or 'max' must not be None")
    if isinstance(min, TensorBase) or isinstance(max, TensorBase):
        out = input
        if min is not None:
            out = where(out < min, min, out)
        if max is not None:
            out = where(out > max, max, out)
        return out
    with paused():
        out = input
        if min is not None:
            out = binary(_E.MAXIMUM, out, min)
        if max is not None:
            out = binary(_E.MINIMUM, out, max)
    return composed("clamp", out, input, arg=(min, max))


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight * (end - input)."""
    return add(input, mul(weight, sub(end, input)))


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    return add(input, tensor1 * tensor2, alpha=value)


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """input + value * tensor1 / tensor2."""
    return add(input, div(tensor1, tensor2), alpha=value)


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """A copy with `value` (a number or a zero-dimensional tensor) where the bool `mask` holds."""
    if is_tensor(value):
        value = cast(value, input.dtype)
    else:
        value = filled(value, input.dtype, (), node_of(input).device)
    return where(mask, value, input)


# Powers, exponentials, logarithms -----------------------------------------------------------------


def sqrt(input: Tensor) -> Tensor:
    """The square root; NaN below zero."""
    return unary(_E.SQRT, as_float(input))


def rsqrt(input: Tensor) -> Tensor:
    """1 / sqrt(input)."""
    input = as_float(input)
    with paused():
        out = div(1.0, unary(_E.SQRT, input))
    return composed("rsqrt", out, input)


def exp(input: Tensor) -> Tensor:
    """e ** input."""
    return unary(_E.EXP, as_float(input))


def exp2(input: Tensor) -> Tensor:
    """2 ** input."""
    return pow_of(2.0, as_float(input))


def pow_of(number: float, exponent: Tensor) -> Tensor:
    """number ** exponent."""
    return binary(_E.POW, number, exponent)


def expm1(input: Tensor) -> Tensor:
    """e ** input - 1, accurate near zero."""
    return unary(_E.EXPM1, as_float(input))


def log(input: Tensor) -> Tensor:
    """The natural logarithm."""
    return unary(_E.LOG, as_float(input))


def log2(input: Tensor) -> Tensor:
    """The logarithm to base 2."""
    return log(input) * (1 / math.log(2))


def log10(input: Tensor) -> Tensor:
    """The logarithm to base 10."""
    return log(input) * (1 / math.log(10))


def log1p(input: Tensor) -> Tensor:
    """log(1 + input), accurate near zero."""
    return unary(_E.LOG1P, as_float(input))


def xlogy(input: Any, other: Any) -> Tensor:
    """input * log(other), and 0 where input is 0 (unless other is NaN)."""
    nothing = eq(input, 0) & ~isnan(other) if is_tensor(other) else eq(input, 0)
    return where(nothing, 0.0, mul(input, log(where(nothing, 1.0, other))))


def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other)), without overflow."""
    with paused():
        top = maximum(input, other)
        apart = -abs(sub(input, other))
        near = top + log1p(exp(apart))
        out = where(input == other, top + math.log(2), near)
    return composed("logaddexp", out, input, other)


# Trigonometry -----------------------------------------------------------------------------------


def sin(input: Tensor) -> Tensor:
    """The sine of an angle in radians."""
    return unary(_E.SIN, as_float(input))


def cos(input: Tensor) -> Tensor:
    """The cosine of an angle in radians."""
    return unary(_E.COS, as_float(input))


def tan(input: Tensor) -> Tensor:
    """The tangent of an angle in radians."""
    input = as_float(input)
    return div(sin(input), cos(input))


def atan(input: Tensor) -> Tensor:
    """The angle whose tangent is `input`, in (-pi/2, pi/2)."""
    return unary(_E.ATAN, as_float(input))


def asin(input: Tensor) -> Tensor:
    """The angle whose sine is `input`; NaN outside [-1, 1]."""
    input = as_float(input)
    with paused():
        out = atan(div(input, sqrt((1 - input) * (1 + input))))
    return composed("asin", out, input)


def acos(input: Tensor) -> Tensor:
    """The angle whose cosine is `input`; NaN outside [-1, 1]."""
    input = as_float(input)
    with paused():
        # Half-angle form: exact at both ends, where pi/2 - asin would cancel.
        out = 2 * atan(sqrt(div(1 - input, 1 + input)))
    return composed("acos", out, input)


def sinh(input: Tensor) -> Tensor:
    """The hyperbolic sine."""
    input = as_float(input)
    with paused():
        half = expm1(abs(input))
        size = where(abs(input) < 80, 0.5 * (half + div(half, half + 1)), 0.5 * half)
        out = where(input < 0, -size, size)
    return composed("sinh", out, input)


def cosh(input: Tensor) -> Tensor:
    """The hyperbolic cosine."""
    input = as_float(input)
    with paused():
        half = 0.5 * exp(abs(input))
        out = half + div(0.25, half)
    return composed("cosh", out, input)


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
    if decimals == 0 or input.dtype.kind != FLOAT:
        return _rounding(_E.ROUND, input)
    scale = math.pow(10.0, math.fabs(decimals))
    if decimals > 0:
        return div(unary(_E.ROUND, input * scale), scale)
    return unary(_E.ROUND, div(input, scale)) * scale


def frac(input: Tensor) -> Tensor:
    """The part of `input` after the point, with its sign."""
    return sub(input, trunc(input))


# Comparison and logic -------------------------------------------------------------------------


def lt(input: Any, other: Any) -> Tensor:
    """input < other."""
    return binary(_E.LT, input, other, result=bool_)


def le(input: Any, other: Any) -> Tensor:
    """input <= other."""
    return binary(_E.LE, input, other, result=bool_)


def gt(input: Any, other: Any) -> Tensor:
    """input > other."""
    return binary(_E.LT, other, input, result=bool_)


def ge(input: Any, other: Any) -> Tensor:
    """input >= other."""
    return binary(_E.LE, other, input, result=bool_)


def eq(input: Any, other: Any) -> Tensor:
    """input == other, element by element."""
    return binary(_E.EQ, input, other, result=bool_)


def ne(input: Any, other: Any) -> Tensor:
    """input != other, element by element."""
    return binary(_E.NE, input, other, result=bool_)


def isnan(input: Tensor) -> Tensor:
    """True where the element is not a number."""
    return ne(input, input)


def isinf(input: Tensor) -> Tensor:
    """True where the element is an infinity."""
    if input.dtype.kind != FLOAT:
        return filled(False, bool_, input._shape, node_of(input).device)
    with paused():
        return eq(abs(input), math.inf)


def isfinite(input: Tensor) -> Tensor:
    """True where the element is neither infinite nor NaN."""
    if input.dtype.kind != FLOAT:
        return filled(True, bool_, input._shape, node_of(input).device)
    with paused():
        return lt(abs(input), math.inf)


def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """True where |input - other| <= atol + rtol * |other|."""
    if input.dtype is not other.dtype:
        raise DTypeError(f"{input.dtype!r} did not match {other.dtype!r}; convert one with .to()")
    with paused():
        close = eq(input, other)
        if input.dtype.kind != BOOL:
            apart = abs(sub(input, other))
            bound = add(mul(abs(other), rtol), atol)
            finite = logical_and(isfinite(other), isfinite(input))
            close = logical_or(close, logical_and(finite, le(apart, bound)))
        if equal_nan:
            close = logical_or(close, logical_and(isnan(input), isnan(other)))
        return close


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """True if `isclose` holds everywhere (evaluates)."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


def equal(input: Tensor, other: Tensor) -> bool:
    """True if both have the same shape and the same elements (evaluates)."""
    return input._shape == other._shape and bool(eq(input, other).all())


def as_bool(x: Tensor) -> Tensor:
    """True where the element is not zero."""
    return x if x.dtype is bool_ else ne(x, 0)


def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """True where both are non-zero."""
    return binary(_E.AND, as_bool(input), as_bool(other))


def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """True where either is non-zero."""
    return binary(_E.OR, as_bool(input), as_bool(other))


def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """True where exactly one is non-zero."""
    return binary(_E.XOR, as_bool(input), as_bool(other))


def logical_not(input: Tensor) -> Tensor:
    """True where the element is zero."""
    return binary(_E.XOR, as_bool(input), True)


# Bits -----------------------------------------------------------------------------------------


def _bits(op: ElementwiseOps, input: Any, other: Any, bools: bool = True) -> Tensor:
    dtype: DType = result_dtype((input, other))
    if dtype.kind == FLOAT or (dtype.kind == BOOL and not bools):
        raise DTypeError(f"bitwise {op.value!r} takes integers, got {dtype!r}")
    return binary(op, input, other)


def bitwise_and(input: Any, other: Any) -> Tensor:
    """input & other, on integers or bools."""
    return _bits(_E.AND, input, other)


def bitwise_or(input: Any, other: Any) -> Tensor:
    """input | other, on integers or bools."""
    return _bits(_E.OR, input, other)


def bitwise_xor(input: Any, other: Any) -> Tensor:
    """input ^ other, on integers or bools."""
    return _bits(_E.XOR, input, other)


def bitwise_left_shift(input: Any, other: Any) -> Tensor:
    """input << other, on integers."""
    return _bits(_E.SHL, input, other, bools=False)


def bitwise_right_shift(input: Any, other: Any) -> Tensor:
    """input >> other, on integers; the sign is kept."""
    return _bits(_E.SHR, input, other, bools=False)


def bitwise_not(input: Tensor) -> Tensor:
    """~input, on integers or bools."""
    if input.dtype.kind == FLOAT:
        raise DTypeError(f"~ takes integers or bools, got {input.dtype!r}")
    return logical_not(input) if input.dtype is bool_ else unary(_E.INVERT, input)
