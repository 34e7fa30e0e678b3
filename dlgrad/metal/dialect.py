"""The Metal Shading Language as data for the writer.

Floor 4.  Sizes come as one array of `long` whose last entry is the length of the parallel
range, numbers as one array of 64-bit words: the bits of a float, or an integer.  They have
fixed places in the argument table, behind every buffer.
"""

from __future__ import annotations

from dlgrad.codegen.dialect import Dialect
from dlgrad.lazy.ops import ElementwiseOps as E
from dlgrad.metal.math_source import MATH_HELPERS

GROUP = 256  # threads
SIZES_INDEX = 29  # in the argument table, which ends at 30
NUMBERS_INDEX = 30

_VALUES = {
    "bool": "bool",
    "uint8": "uchar",
    "uint16": "ushort",
    "uint32": "uint",
    "uint64": "ulong",
    "int8": "char",
    "int16": "short",
    "int32": "int",
    "int64": "long",
    "float32": "float",
    "float16": "half",
    "bfloat16": "bfloat",
}

_FUNCTIONS = {
    E.ABS: "fabs",
    E.SQRT: "sqrt",
    E.EXP: "exp",
    E.LOG: "log",
    E.SIN: "sin",
    E.COS: "cos",
    E.ATAN: "atan",
    E.TANH: "tanh",
    E.FLOOR: "floor",
    E.CEIL: "ceil",
    E.TRUNC: "trunc",
    E.ROUND: "rint",
    # What MSL does not have
    E.EXPM1: "dg_expm1",
    E.LOG1P: "dg_log1p",
    E.ERF: "dg_erf",
}

_SIGNED = ("int8", "int16", "int32", "int64")
_UNSIGNED = ("uint8", "uint16", "uint32", "uint64")


def _operations() -> dict[tuple[E, str], str]:
    table = {(op, "float32"): f"{name}({{0}})" for op, name in _FUNCTIONS.items()}
    table[E.POW, "float32"] = "pow({0}, {1})"
    for dtype in _SIGNED + _UNSIGNED:
        kind = _VALUES[dtype]  # small integers become int on the way, and MSL has no mixed max
        table[E.MAXIMUM, dtype] = f"max({kind}({{0}}), {kind}({{1}}))"
        table[E.MINIMUM, dtype] = f"min({kind}({{0}}), {kind}({{1}}))"
    for dtype in _SIGNED:
        table[E.ABS, dtype] = f"dg_abs<{_VALUES[dtype]}>({{0}})"
    for dtype in _UNSIGNED:
        table[E.ABS, dtype] = "({0})"
    return table


_PROLOGUE = "#include <metal_stdlib>\nusing namespace metal;"

_HELPERS = {
    # The name of every kernel function brings the library in.
    "kernel": _PROLOGUE,
    "dg_min": """
/* The smaller of two sizes. */
static inline long dg_min(long a, long b)
{
    return a < b ? a : b;
}
""",
    "dg_abs": """
/* Without its sign; the lowest number stays as it is. */
template <typename T> static inline T dg_abs(T a)
{
    return a < 0 ? T(0 - ulong(a)) : a;
}
""",
    **MATH_HELPERS,
}

METAL = Dialect(
    name="Metal",
    extension=".metal",
    values=_VALUES,
    elements=_VALUES,
    index="long",
    suffixes={"float32": "f", "uint32": "u", "int64": "l", "uint64": "ul"},
    infinity={"float32": "INFINITY"},
    nan={"float32": "NAN"},
    widen={"float16": "float({0})", "bfloat16": "float({0})"},
    narrow={"float16": "half({0})", "bfloat16": "bfloat({0})"},
    bitcast="as_type<{type}>({0})",
    operations=_operations(),
    remainder={"float32": "fmod({0}, {1})"},
    helpers=_HELPERS,
    helper_prefix="static inline",
    signed_wraps=False,
    opening="kernel void {name}({parameters})",
    input_parameter="device const {type} *{name} [[buffer({position})]]",
    output_parameter="device {type} *{name} [[buffer({position})]]",
    more_parameters=(
        f"constant long *sizes [[buffer({SIZES_INDEX})]]",
        f"constant ulong *numbers [[buffer({NUMBERS_INDEX})]]",
        "uint group [[threadgroup_position_in_grid]]",
        "uint local_index [[thread_index_in_threadgroup]]",
    ),
    size_declaration="const long {name} = sizes[{position}];",
    scalar_declaration="const {type} {name} = as_type<{type}>(uint(numbers[{position}]));",
    integer_scalar_declaration="const {type} {name} = {type}(numbers[{position}]);",
    thread_index=f"long(group) * {GROUP} + local_index",
    work_declaration="const long work = sizes[{sizes}];",
    group_index="group",
    group_lane="local_index",
    group_size=GROUP,
    shared_array="threadgroup {type} {name}[{size}];",
    barrier="threadgroup_barrier(mem_flags::mem_threadgroup);",
)
