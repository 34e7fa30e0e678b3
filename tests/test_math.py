"""How far our own functions are from the true values, over the whole range of float32.

The unit is the ulp: the distance of float32 numbers at the true value.  `docs/numerics.md`
shows the same limits, and a test keeps the two together.
"""

import ctypes
import math
import random
import re
import struct
from array import array
from pathlib import Path

import pytest
from c_kernels import COMPILERS, compile_library

from dlgrad.c_src.dialect import C
from dlgrad.codegen.primitives import apply, round_float
from dlgrad.codegen.render import with_helpers
from dlgrad.dtype import float32, float64
from dlgrad.lazy.ops import ElementwiseOps

E = ElementwiseOps
NUMERICS = Path(__file__).resolve().parent.parent / "docs" / "numerics.md"

# The largest error in ulp: just above what is found by trying every float32 where it bends.
LIMITS = {
    E.EXP: 1.0,
    E.EXPM1: 0.51,
    E.LOG: 0.9,
    E.LOG1P: 0.51,
    E.SIN: 0.51,
    E.COS: 0.51,
    E.ATAN: 1.6,
    E.TANH: 1.5,
    E.ERF: 1.4,
    E.POW: 0.51,
}
STEP = 104729  # from the bits of one sample to the next; a prime
INFINITY, NAN = math.inf, math.nan


def error(got: float, expected: float) -> float:
    """The distance of a float32 from a true value, in ulp; infinite where the kind is wrong."""
    if expected != expected or got != got:
        return 0.0 if expected != expected and got != got else INFINITY
    if math.isinf(got):
        return 0.0 if round_float(expected, float32) == got else INFINITY
    if got == 0 and math.copysign(1, got) != math.copysign(1, expected):
        return INFINITY
    exponent = max(math.frexp(expected)[1] - 24, -149)
    return abs(got - expected) * 2.0**-exponent


CALL = """void {name}(const float *x, const float *y, float *out, int64_t n)
{{
    #pragma omp simd
    for (int64_t i = 0; i < n; i++)
        out[i] = dg_{name}_f32({operands});
}}"""


@pytest.fixture(
    scope="module",
    params=[(name, flags) for name in COMPILERS for flags in ("-ffp-contract=off", "native")],
    ids=lambda param: "-".join(param).replace("--ffp-contract=", "-contract-"),
)
def library(request, tmp_path_factory):
    """Without fused multiply-add, and with whatever this machine has."""
    compiler, flags = request.param
    if flags == "native":
        flags = "-march=native -ffp-contract=fast"
    sources = {}
    for op in LIMITS:
        operands = "x[i], y[i]" if op is E.POW else "x[i]"
        text = CALL.format(name=f"{op.value}", operands=operands).replace("void ", "void run_")
        sources[op.value] = with_helpers(text, C)
    return compile_library(tmp_path_factory.mktemp("math"), sources, compiler, *flags.split())


def results(library, op: E, x: array, y: array) -> array:
    function = library[f"run_{op.value}"]
    function.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64]
    function.restype = None
    out = array("f", bytes(4 * len(x)))
    function(x.buffer_info()[0], y.buffer_info()[0], out.buffer_info()[0], len(x))
    return out


def from_bits(bits: list[int]) -> array:
    return array("f", struct.pack(f"<{len(bits)}I", *bits))


def worst(library, op: E, x: array, y: array | None = None) -> tuple[float, str]:
    """The largest error over the operands, and where it is."""
    largest, where = 0.0, ""
    columns = (x,) if y is None else (x, y)
    got = results(library, op, x, x if y is None else y)
    for *operands, result in zip(*columns, got, strict=True):
        expected = apply(op, operands, float64, float64)
        distance = error(result, expected)
        if distance > largest:
            largest, where = distance, f"{op.value}{operands} = {expected!r}, got {result!r}"
    return largest, where


SPECIAL = from_bits(
    [0, 1, 0x7FFFFF, 0x800000, 0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x7F7FFFFF, 0x7F800000,
     0x7FC00000, 0x33800000, 0x4B000000, 0x4B800001, 0x7E8A0000]
)  # fmt: skip
SPECIAL += array("f", [-value for value in SPECIAL])


@pytest.mark.parametrize("op", [op for op in LIMITS if op is not E.POW], ids=lambda op: op.value)
def test_error_over_the_whole_range(library, op):
    samples = from_bits(list(range(random.Random(op.value).randrange(STEP), 1 << 32, STEP)))
    largest, where = worst(library, op, SPECIAL + samples)
    assert largest <= LIMITS[op], where


NEAR = {
    E.EXP: (-104.5, 89.5),
    E.EXPM1: (-20.0, 20.0),
    E.LOG: (0.4, 2.5),
    E.LOG1P: (-1.0, 2.0),
    E.SIN: (-20.0, 20.0),
    E.COS: (-20.0, 20.0),
    E.ATAN: (-3.0, 3.0),
    E.TANH: (-10.0, 10.0),
    E.ERF: (-4.5, 4.5),
}


@pytest.mark.parametrize("op", NEAR, ids=lambda op: op.value)
def test_error_where_the_function_bends(library, op):
    source = random.Random(op.value)
    samples = array("f", [source.uniform(*NEAR[op]) for _ in range(20_000)])
    largest, where = worst(library, op, samples)
    assert largest <= LIMITS[op], where


def test_large_angles_keep_their_value(library):
    """The float32 that comes closest to a multiple of pi/2 of all."""
    closest = 16367173 * 2.0**72
    for op in (E.SIN, E.COS):
        largest, where = worst(library, op, array("f", [closest, -closest, 3e38]))
        assert largest <= LIMITS[op], where


def test_error_of_powers(library):
    source = random.Random(0)
    pairs = [(math.exp(source.gauss(0, 9)), source.gauss(0, 3)) for _ in range(20_000)]
    pairs += [(1 + source.gauss(0, 1e-3), source.gauss(0, 3e4)) for _ in range(20_000)]
    pairs += [(source.gauss(0, 3), float(source.randint(-40, 40))) for _ in range(10_000)]
    x, y = (array("f", column) for column in zip(*pairs, strict=True))
    largest, where = worst(library, E.POW, x, y)
    assert largest <= LIMITS[E.POW], where


def test_powers_of_special_numbers(library):
    """Every pair, against the rules of C's pow (which are Python's but for what it raises)."""
    values = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 1e-45, 3e38, 16777218.0, 1e10, INFINITY]
    values += [-value for value in values] + [NAN]
    x = array("f", [a for a in values for _ in values])
    y = array("f", [b for _ in values for b in values])
    largest, where = worst(library, E.POW, x, y)
    assert largest <= LIMITS[E.POW], where


def test_the_documentation_shows_these_limits():
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", NUMERICS.read_text(), re.MULTILINE)
    primitives = {op.value for op in E}
    shown = {name: limit for name, limit in rows if name in primitives}
    assert shown == {op.value: str(limit) for op, limit in LIMITS.items()}
