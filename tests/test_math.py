"""How far our own functions are from the true values, over the whole range of float32.

The unit is the ulp: the distance of float32 numbers at the true value.  `docs/numerics.md`
shows the same limits, and a test keeps the two together.
"""

import ctypes
import math
import re
import struct
from array import array
from pathlib import Path

import pytest
from c_kernels import COMPILERS, compile_library

from dlgrad.c_src.dialect import C
from dlgrad.dtype import float32
from dlgrad.ops import ElementwiseOps
from dlgrad.primitives import apply
from dlgrad.render import with_helpers

E = ElementwiseOps
NUMERICS = Path(__file__).resolve().parent.parent / "docs" / "numerics.md"

# The largest error in ulp, from sampling the whole range far more densely than here.
LIMITS = {
    E.EXP: 1.0,
    E.EXPM1: 0.51,
    E.LOG: 0.9,
    E.LOG1P: 0.51,
    E.SIN: 0.51,
    E.COS: 0.51,
    E.ATAN: 1.5,
    E.TANH: 1.5,
    E.ERF: 1.2,
    E.POW: 0.51,
}
STEP = 104729  # between the bits of one sample and the next; a prime


def true_value(op: ElementwiseOps, *operands: float) -> float:
    """In double, by Python's own functions."""
    table = {E.POW: "_float_power", E.LOG: "_log", E.LOG1P: "_log1p"}
    from dlgrad import primitives

    function = getattr(primitives, table.get(op, ""), None) or getattr(math, op.value, None)
    try:
        return float(function(*operands))
    except ValueError:
        return float("nan")
    except OverflowError:
        return float("inf")


def ulps(got: float, expected: float) -> float:
    """The distance of a float32 from a true value, in ulp."""
    if expected != expected or got != got:
        return 0.0 if expected != expected and got != got else math.inf
    rounded = struct.unpack("<f", struct.pack("<f", max(min(expected, 3e38), -3e38)))[0]
    if abs(expected) > 3.4028234e38 or math.isinf(got):
        right = math.copysign(math.inf, expected)
        return 0.0 if got == right and abs(expected) > 3.4028234e38 else math.inf
    if expected == 0 and (got != 0 or math.copysign(1, got) != math.copysign(1, expected)):
        return math.inf
    exponent = max(math.frexp(rounded)[1] - 24, -149)
    return abs(got - expected) / 2.0**exponent
