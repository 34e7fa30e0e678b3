"""The helper functions that every C-like language shares, and numbers as text.

Floor 3.  These texts are the definition, in code, of what C leaves undefined: division by
zero, shifts beyond the width, conversions out of range, NaN in a maximum.  `runtime/interp.py`
says the same in Python.  `render.py` puts in front of a kernel the helpers that its text mentions.

Names end in the short name of the dtype: i8 to i64, u8 to u64, f32, f64.
"""

from __future__ import annotations

import math
import re

from dlgrad.codegen.dialect import Dialect
from dlgrad.dtype import (
    ALL_DTYPES,
    BOOL,
    FLOAT,
    SIGNED,
    DType,
    dtype_from_name,
    float32,
    pack_values,
    unpack_values,
)
from dlgrad.errors import DTypeError
from dlgrad.lazy.ops import ElementwiseOps


def short_name(dtype: DType) -> str:
    """How helpers call a dtype: int32 is i32, bfloat16 is bf16."""
    for word, letter in (("bfloat", "bf"), ("float", "f"), ("uint", "u"), ("int", "i")):
        if dtype.name.startswith(word):
            return letter + dtype.name[len(word) :]
    return dtype.name


_BY_SHORT_NAME = {short_name(dtype): dtype for dtype in ALL_DTYPES}


def value_type(dtype: DType, dialect: Dialect) -> str:
    """The type of a number at work; DTypeError where the language has none."""
    try:
        return dialect.values[dtype.name]
    except KeyError:
        raise DTypeError(
            f"{dtype!r} does not exist in {dialect.name}; convert to one of "
            + ", ".join(dialect.values)
        ) from None


def literal(value: bool | int | float, dtype: DType, dialect: Dialect) -> str:
    """A number as text that reads back as exactly that number of that dtype."""
    if dtype.kind == BOOL:
        return "true" if value else "false"
    suffix = dialect.suffixes.get(dtype.name, "")
    if dtype.kind == FLOAT:
        return _float_literal(float(value), dtype, suffix, dialect)
    value = int(value)
    if value == dtype.min and dtype.kind == SIGNED and dtype.itemsize >= 4:
        return f"(-{-(value + 1)}{suffix} - 1)"  # C reads -2147483648 as minus a too large number
    return f"{value}{suffix}"


def _float_literal(value: float, dtype: DType, suffix: str, dialect: Dialect) -> str:
    kind = dtype.compute.name
    if value != value:
        return dialect.nan[kind]
    if value in (float("inf"), float("-inf")):
        return ("-" if value < 0 else "") + dialect.infinity[kind]
    if value == int(value) and abs(value) < 1e18:
        return ("-" if math.copysign(1, value) < 0 else "") + f"{abs(int(value))}.0{suffix}"
    text = repr(value) if dtype.itemsize == 8 else _shortest_float32(value)
    if not set(text) & set(".e"):  # a number next to a whole one: 0.9999999999 as float32
        text += ".0"
    return text + suffix


def _shortest_float32(value: float) -> str:
    """The fewest digits that read back as the same float32 (9 always do)."""
    exact = _round_float32(value)
    for digits in range(1, 9):
        text = f"{value:.{digits}g}"
        near = float(text)  # rounded to double already, so its neighbours must agree
        around = (near, math.nextafter(near, math.inf), math.nextafter(near, -math.inf))
        if all(_round_float32(number) == exact for number in around):
            return text
    return f"{exact:.9g}"


def _round_float32(value: float) -> float:
    return float(unpack_values(float32, pack_values(float32, [value]))[0])


# Templates ------------------------------------------------------------------------------------
# $FN: the prefix of a function; $T: the type, $S its short name; $U: the unsigned type of the
# same width; $W: the unsigned type to compute in; $BITS, $MIN, $MAX: of the type.

_ANY_INTEGER = {
    "maximum": """
$FN $T dg_maximum_$S($T a, $T b)
{
    return a > b ? a : b;
}
""",
    "minimum": """
$FN $T dg_minimum_$S($T a, $T b)
{
    return a < b ? a : b;
}
""",
}

_SIGNED = _ANY_INTEGER | {
    "abs": """
/* The lowest number has no positive twin and stays. */
$FN $T dg_abs_$S($T a)
{
    return a < 0 ? ($T)(0 - ($W)a) : a;
}
""",
    "floordiv": """
/* Division towards minus infinity; by zero it gives 0. */
$FN $T dg_floordiv_$S($T a, $T b)
{
    if (b == 0) return 0;
    if (b == -1) return ($T)(0 - ($W)a);
    const $T quotient = a / b;
    const $T rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? quotient - 1 : quotient;
}
""",
    "mod": """
/* The rest of that division, with the sign of b; by zero it gives a. */
$FN $T dg_mod_$S($T a, $T b)
{
    if (b == 0) return a;
    if (b == -1) return 0;
    const $T rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
""",
    "shl": """
/* Shifts by the width or more, or by a negative count, push everything out. */
$FN $T dg_shl_$S($T a, $T count)
{
    return ($U)count < $BITS ? ($T)(($W)a << count) : 0;
}
""",
    "shr": """
/* Shifts by the width or more, or by a negative count, leave only the sign. */
$FN $T dg_shr_$S($T a, $T count)
{
    return a >> (($U)count < $BITS ? count : $BITS - 1);
}
""",
    "pow": """
/* By squaring, wrapping around; a negative exponent gives the whole part of 1 / power. */
$FN $T dg_pow_$S($T base, $T exponent)
{
    if (exponent < 0)
        return base == 1 ? 1 : base == -1 ? (exponent % 2 ? -1 : 1) : 0;
    $W result = 1;
    $W square = ($W)base;
    for ($U left = ($U)exponent; left != 0; left >>= 1) {
        if (left & 1)
            result *= square;
        square *= square;
    }
    return ($T)result;
}
""",
}

_UNSIGNED = _ANY_INTEGER | {
    "abs": """
$FN $T dg_abs_$S($T a)
{
    return a;
}
""",
    "floordiv": """
/* Division by zero gives 0. */
$FN $T dg_floordiv_$S($T a, $T b)
{
    return b == 0 ? 0 : a / b;
}
""",
    "mod": """
/* The rest of a division by zero is a. */
$FN $T dg_mod_$S($T a, $T b)
{
    return b == 0 ? a : a % b;
}
""",
    "shl": """
/* Shifts by the width or more push everything out. */
$FN $T dg_shl_$S($T a, $T count)
{
    return count < $BITS ? ($T)(($W)a << count) : 0;
}
""",
    "shr": """
/* Shifts by the width or more push everything out. */
$FN $T dg_shr_$S($T a, $T count)
{
    return count < $BITS ? ($T)(a >> count) : 0;
}
""",
    "pow": """
/* By squaring, wrapping around. */
$FN $T dg_pow_$S($T base, $T exponent)
{
    $W result = 1;
    $W square = base;
    for ($T left = exponent; left != 0; left >>= 1) {
        if (left & 1)
            result *= square;
        square *= square;
    }
    return ($T)result;
}
""",
}

_FLOAT = {
    "maximum": """
/* The larger; NaN if either is NaN. */
$FN $T dg_maximum_$S($T a, $T b)
{
    return ((a > b) | (a != a)) ? a : b;
}
""",
    "minimum": """
/* The smaller; NaN if either is NaN. */
$FN $T dg_minimum_$S($T a, $T b)
{
    return ((a < b) | (a != a)) ? a : b;
}
""",
    "floordiv": """
/* floor(a / b), exact where the quotient itself would be rounded up. */
$FN $T dg_floordiv_$S($T a, $T b)
{
    if (b == 0) return a / b;
    const $T rest = $FMOD;
    $T quotient = (a - rest) / b;
    if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
    if (quotient == 0) return a / b * 0;
    const $T whole = $FLOOR;
    return quotient - whole > ($T)0.5 ? whole + 1 : whole;
}
""",
    "mod": """
/* The rest of a floor division, with the sign of b. */
$FN $T dg_mod_$S($T a, $T b)
{
    const $T rest = $FMOD;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
""",
}

_CONVERT = """
/* Towards zero; NaN gives 0, and what does not fit the nearest number that does. */
$FN $T dg_$F_to_$S($X x)
{
    return x != x ? 0
        : x >= $HIGH ? $MAX
        : x <= $LOW ? $MIN
        : ($T)x;
}
"""

_BITCAST = """
/* The same bits as another type. */
$FN $T dg_bitcast_$F_to_$S($X x)
{
    union { $X from; $T to; } bits;
    bits.from = x;
    return bits.to;
}
"""

_MIN = """
$FN $T dg_min($T a, $T b)
{
    return a < b ? a : b;
}
"""

_PHILOX = """
/* Word (counter mod 4) of block (counter / 4) of the Philox 4x32-10 random generator. */
$FN $u32 dg_philox($u64 key, $u64 counter)
{
    $u32 key0 = ($u32)key, key1 = ($u32)(key >> 32);
    $u32 a = ($u32)(counter >> 2), b = ($u32)(counter >> 34), c = 0, d = 0;
    for (int round = 0; round < 10; round++) {
        const $u64 left = ($u64)0xD2511F53u * a;
        const $u64 right = ($u64)0xCD9E8D57u * c;
        a = ($u32)(right >> 32) ^ b ^ key0;
        b = ($u32)right;
        c = ($u32)(left >> 32) ^ d ^ key1;
        d = ($u32)left;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    const $u32 low = counter & 1 ? b : a;
    const $u32 high = counter & 1 ? d : c;
    return counter & 2 ? high : low;
}
"""

_ONE_TYPE = re.compile(r"dg_(abs|maximum|minimum|floordiv|mod|shl|shr|pow)_([a-z]+\d+)$")
_TWO_TYPES = re.compile(r"dg_(bitcast_)?([a-z]+\d+)_to_([a-z]+\d+)$")


def shared_helper(name: str, dialect: Dialect) -> str | None:
    """The text that defines the helper `name` in `dialect`; None if there is none."""
    match = _ONE_TYPE.match(name)
    if match:
        dtype = _BY_SHORT_NAME[match[2]]
        table = _FLOAT if dtype.kind == FLOAT else _SIGNED if dtype.is_signed else _UNSIGNED
        template = table.get(match[1])
        return template and _fill(template, dtype, dialect)
    match = _TWO_TYPES.match(name)
    if match:
        source, target = _BY_SHORT_NAME[match[2]], _BY_SHORT_NAME[match[3]]
        if match[1]:
            return _fill_pair(_BITCAST, source, target, dialect)
        if source.kind == FLOAT and target.is_integer:
            return _fill_pair(_CONVERT, source, target, dialect)
        return None
    if name == "dg_min":
        return _replace(_MIN, {"$FN": dialect.helper_prefix, "$T": dialect.index})
    if name == "dg_philox":
        words = {
            "$FN": dialect.helper_prefix,
            "$u32": dialect.values["uint32"],
            "$u64": dialect.values["uint64"],
        }
        return _replace(_PHILOX, words)
    return None


def _unsigned(dtype: DType, least: int = 1) -> DType:
    """The unsigned type as wide as `dtype`, or of `least` bytes."""
    return dtype_from_name(f"uint{8 * max(dtype.itemsize, least)}")


def _fill(template: str, dtype: DType, dialect: Dialect) -> str:
    words = {
        "$FN": dialect.helper_prefix,
        "$T": value_type(dtype, dialect),
        "$S": short_name(dtype),
        "$BITS": str(8 * dtype.itemsize),
    }
    if dtype.kind == FLOAT:
        words["$FMOD"] = dialect.remainder[dtype.name].format("a", "b")
        floor = dialect.operations[ElementwiseOps.FLOOR, dtype.name]
        words["$FLOOR"] = floor.format("quotient")
    else:
        words["$U"] = value_type(_unsigned(dtype), dialect)
        words["$W"] = value_type(_unsigned(dtype, least=4), dialect)
    return _replace(template, words)


def _fill_pair(template: str, source: DType, target: DType, dialect: Dialect) -> str:
    words = {
        "$FN": dialect.helper_prefix,
        "$F": short_name(source),
        "$X": value_type(source, dialect),
        "$S": short_name(target),
        "$T": value_type(target, dialect),
    }
    if template is _CONVERT:
        words["$HIGH"] = literal(2.0 * (target.max // 2 + 1), source, dialect)
        words["$LOW"] = literal(float(target.min), source, dialect)
        words["$MAX"] = literal(target.max, target, dialect)
        words["$MIN"] = literal(target.min, target, dialect)
    return _replace(template, words)


def _replace(template: str, words: dict[str, str]) -> str:
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.sub(pattern, lambda match: words[match[0]], template).strip()
