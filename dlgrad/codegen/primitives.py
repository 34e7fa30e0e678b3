"""Every element-wise primitive in Python: the definition that the languages have to meet.

Floor 3.  In and out go Python numbers (bool, int, float) that are exactly representable in
their dtype.  Integers wrap around; floats are rounded after each operation.  Where C leaves
something undefined, the choice made here is the one that `helper_source.py` writes down:
division by zero gives 0 (and the dividend as rest), a shift by the width or more pushes
everything out, a conversion to an integer clamps and takes NaN as 0.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

from dlgrad.dtype import BOOL, DType, float32, pack_values, unpack_values
from dlgrad.lazy.ops import ElementwiseOps

E = ElementwiseOps
Number = Any  # bool, int or float, as the dtype says

_INFINITY = float("inf")
_NAN = float("nan")
_FLOAT32 = struct.Struct("<f")


def wrap(value: int, dtype: DType) -> int:
    """An integer cut to the bits of `dtype`."""
    bits = 8 * dtype.itemsize
    value &= (1 << bits) - 1
    return value - (1 << bits) if dtype.is_signed and value >> (bits - 1) else value


def round_float(value: float, dtype: DType) -> float:
    """The nearest number of a float dtype, ties to even."""
    if dtype is float32:
        try:
            return float(_FLOAT32.unpack(_FLOAT32.pack(value))[0])
        except OverflowError:
            return math.copysign(_INFINITY, value)
    if dtype.itemsize == 8:
        return value
    return float(unpack_values(dtype, pack_values(dtype, [value]))[0])


def fit(value: Number, dtype: DType) -> Number:
    """A result of arithmetic brought back to what `dtype` can hold."""
    if dtype.is_floating_point:
        return round_float(value, dtype)
    return bool(value) if dtype.kind == BOOL else wrap(int(value), dtype)


# Conversions ----------------------------------------------------------------------------------


def convert(value: Number, source: DType, target: DType) -> Number:
    """CAST: `value` of type `source` as a number of type `target`."""
    if target.kind == BOOL:
        return value != 0
    if target.is_integer:
        return _to_integer(value, target) if source.is_floating_point else wrap(value, target)
    if not source.is_floating_point:
        value = _float_of(int(value), 24 if target.compute is float32 else 53)
    elif target.is_half:
        value = round_float(value, float32)
    return round_float(value, target)


def _to_integer(value: float, target: DType) -> int:
    if value != value:
        return 0
    if math.isinf(value):
        return int(target.max if value > 0 else target.min)
    return int(min(max(int(value), target.min), target.max))


def _float_of(value: int, bits: int) -> float:
    """The nearest float with so many significant bits, ties to even, rounded once."""
    extra = max(abs(value).bit_length() - bits, 0)
    kept, rest = abs(value) >> extra, abs(value) & ((1 << extra) - 1)
    half = (1 << extra) >> 1
    if rest > half or (extra and rest == half and kept & 1):
        kept += 1
    return math.copysign(math.ldexp(kept, extra), value)


def bitcast(value: Number, source: DType, target: DType) -> Number:
    """BITCAST: the same bits as another type of the same size."""
    return unpack_values(target, pack_values(source, [value]))[0]


# Integers -------------------------------------------------------------------------------------


def _integer_power(base: int, exponent: int, dtype: DType) -> int:
    if exponent < 0:
        return {1: 1, -1: -1 if exponent % 2 else 1}.get(base, 0)
    return pow(base, exponent, 1 << (8 * dtype.itemsize))


def _shift_left(a: int, count: int, dtype: DType) -> int:
    return a << count if 0 <= count < 8 * dtype.itemsize else 0


def _shift_right(a: int, count: int, dtype: DType) -> int:
    bits = 8 * dtype.itemsize
    return a >> (count if 0 <= count < bits else bits)


def philox(key: int, counter: int) -> int:
    """Word (counter mod 4) of block (counter / 4) of Philox 4x32-10 under a 64-bit key."""
    mask = 0xFFFFFFFF
    key0, key1 = key & mask, key >> 32
    a, b, c, d = (counter >> 2) & mask, counter >> 34, 0, 0
    for _ in range(10):
        left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (right >> 32) ^ b ^ key0, right & mask, (left >> 32) ^ d ^ key1, left & mask
        key0, key1 = (key0 + 0x9E3779B9) & mask, (key1 + 0xBB67AE85) & mask
    return (a, b, c, d)[counter & 3]


# Floats ---------------------------------------------------------------------------------------


def _guarded(function: Callable[[float], float], overflow: float = _NAN) -> Callable[..., float]:
    """A function of `math` that gives NaN or infinity where Python raises."""

    def call(value: float, dtype: DType) -> float:
        try:
            return function(value)
        except OverflowError:
            return overflow
        except ValueError:
            return _NAN

    return call


def _log(value: float) -> float:
    return -_INFINITY if value == 0 else math.log(value)


def _log1p(value: float) -> float:
    return -_INFINITY if value == -1 else math.log1p(value)


def _whole(function: Callable[[float], int]) -> Callable[..., float]:
    """A rounding function that keeps infinities, NaN and the sign of zero."""

    def call(value: float, dtype: DType) -> float:
        if not math.isfinite(value):
            return value
        return math.copysign(float(function(value)), value)

    return call


def _divide(a: float, b: float, dtype: DType) -> float:
    if b != 0:
        return a / b
    if a == 0 or a != a:
        return _NAN
    return math.copysign(_INFINITY, a) * math.copysign(1.0, b)


def _remainder(a: float, b: float) -> float:
    """C's fmod."""
    try:
        return math.fmod(a, b)
    except ValueError:
        return _NAN


def _float_power(a: float, b: float) -> float:
    try:
        return math.pow(a, b)
    except OverflowError:
        pass
    except ValueError:
        if a != 0:
            return _NAN  # a negative number to a fraction
    odd = b == math.floor(b) and math.fmod(b, 2) != 0
    return math.copysign(_INFINITY, a) if odd else _INFINITY


# Any kind -------------------------------------------------------------------------------------


def _power(a: Number, b: Number, dtype: DType) -> Number:
    return _float_power(a, b) if dtype.is_floating_point else _integer_power(a, b, dtype)


def _modulo(a: Number, b: Number, dtype: DType) -> Number:
    if not dtype.is_floating_point:
        return a % b if b else a
    rest = _remainder(a, b)
    return rest + b if rest != 0 and (rest < 0) != (b < 0) else rest


def _floor_divide(a: Number, b: Number, dtype: DType) -> Number:
    if not dtype.is_floating_point:
        return a // b if b else 0
    if b == 0:
        return _divide(a, b, dtype)
    rest = _remainder(a, b)
    quotient = round_float(round_float(a - rest, dtype) / b, dtype)
    if rest != 0 and (rest < 0) != (b < 0):
        quotient = round_float(quotient - 1, dtype)
    if quotient == 0:
        return round_float(a / b, dtype) * 0
    if not math.isfinite(quotient):
        return quotient
    whole = float(math.floor(quotient))
    return whole + 1 if quotient - whole > 0.5 else whole


_UNARY: dict[ElementwiseOps, Callable[..., Number]] = {
    E.NEG: lambda a, dtype: -a,
    E.ABS: lambda a, dtype: abs(a),
    E.INVERT: lambda a, dtype: ~a,
    E.SQRT: _guarded(math.sqrt),
    E.EXP: _guarded(math.exp, _INFINITY),
    E.EXPM1: _guarded(math.expm1, _INFINITY),
    E.LOG: _guarded(_log),
    E.LOG1P: _guarded(_log1p),
    E.SIN: _guarded(math.sin),
    E.COS: _guarded(math.cos),
    E.ATAN: _guarded(math.atan),
    E.TANH: _guarded(math.tanh),
    E.ERF: _guarded(math.erf),
    E.FLOOR: _whole(math.floor),
    E.CEIL: _whole(math.ceil),
    E.TRUNC: _whole(math.trunc),
    E.ROUND: _whole(round),
}

_BINARY: dict[ElementwiseOps, Callable[..., Number]] = {
    E.ADD: lambda a, b, dtype: a + b,
    E.SUB: lambda a, b, dtype: a - b,
    E.MUL: lambda a, b, dtype: a * b,
    E.DIV: _divide,
    E.FLOORDIV: _floor_divide,
    E.MOD: _modulo,
    E.POW: _power,
    E.MAXIMUM: lambda a, b, dtype: a if a > b or a != a else b,
    E.MINIMUM: lambda a, b, dtype: a if a < b or a != a else b,
    E.LT: lambda a, b, dtype: a < b,
    E.LE: lambda a, b, dtype: a <= b,
    E.EQ: lambda a, b, dtype: a == b,
    E.NE: lambda a, b, dtype: a != b,
    E.AND: lambda a, b, dtype: a & b,
    E.OR: lambda a, b, dtype: a | b,
    E.XOR: lambda a, b, dtype: a ^ b,
    E.SHL: _shift_left,
    E.SHR: _shift_right,
}


def apply(op: ElementwiseOps, values: list[Number], source: DType, dtype: DType) -> Number:
    """`op` on numbers of type `source` (of a WHERE: the choices), as a number of `dtype`."""
    if op is E.CAST:
        return convert(values[0], source, dtype)
    if op is E.BITCAST:
        return bitcast(values[0], source, dtype)
    if op is E.WHERE:
        return values[1] if values[0] else values[2]
    if op is E.PHILOX:
        return philox(values[0], values[1])
    function = _UNARY.get(op) or _BINARY[op]
    return fit(function(*values, source), dtype)
