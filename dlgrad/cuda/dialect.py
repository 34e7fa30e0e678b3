"""CUDA C++ as data for the writer.

Floor 4.  Sizes and numbers are typed parameters of the kernel; one thread does one place of
the parallel range, or one block does it where the kernel is cooperative.
"""

from __future__ import annotations

from dlgrad.codegen.dialect import Dialect
from dlgrad.lazy.ops import ElementwiseOps as E

BLOCK = 256  # threads

_VALUES = {
    "bool": "bool",
    "uint8": "unsigned char",
    "uint16": "unsigned short",
    "uint32": "unsigned int",
    "uint64": "unsigned long long",
    "int8": "signed char",
    "int16": "short",
    "int32": "int",
    "int64": "long long",
    "float32": "float",
    "float64": "double",
    "float16": "__half",
    "bfloat16": "__nv_bfloat16",
}

# The functions of the CUDA mathematics library; float32 has an f at the end of each name.
_FUNCTIONS = {
    E.ABS: "fabs",
    E.SQRT: "sqrt",
    E.EXP: "exp",
    E.EXPM1: "expm1",
    E.LOG: "log",
    E.LOG1P: "log1p",
    E.SIN: "sin",
    E.COS: "cos",
    E.ATAN: "atan",
    E.TANH: "tanh",
    E.ERF: "erf",
    E.FLOOR: "floor",
    E.CEIL: "ceil",
    E.TRUNC: "trunc",
    E.ROUND: "rint",
    E.POW: "pow",
}

_SIGNED = ("int8", "int16", "int32", "int64")
_UNSIGNED = ("uint8", "uint16", "uint32", "uint64")


def _operations() -> dict[tuple[E, str], str]:
    table = {}
    for op, name in _FUNCTIONS.items():
        arguments = "({0}, {1})" if op is E.POW else "({0})"
        table[op, "float32"] = f"{name}f{arguments}"
        table[op, "float64"] = name + arguments
    for dtype in _SIGNED + _UNSIGNED:
        table[E.MAXIMUM, dtype] = "max({0}, {1})"
        table[E.MINIMUM, dtype] = "min({0}, {1})"
    for dtype in _SIGNED:
        table[E.ABS, dtype] = f"dg_abs<{_VALUES[dtype]}>({{0}})"
    for dtype in _UNSIGNED:
        table[E.ABS, dtype] = "({0})"
    return table


_HELPERS = {
    "__half": "#include <cuda_fp16.h>",
    "__nv_bfloat16": "#include <cuda_bf16.h>",
    "dg_min": """
/* The smaller of two sizes. */
__device__ static inline long long dg_min(long long a, long long b)
{
    return a < b ? a : b;
}
""",
    "dg_abs": """
/* Without its sign; the lowest number stays as it is. */
template <typename T> __device__ static inline T dg_abs(T a)
{
    return a < 0 ? (T)(0 - (unsigned long long)a) : a;
}
""",
}

CUDA = Dialect(
    name="CUDA",
    extension=".cu",
    values=_VALUES,
    elements=_VALUES,
    index="long long",
    suffixes={"float32": "f", "uint32": "u", "int64": "LL", "uint64": "ULL"},
    # The header of CUDA that names these numbers is not there for its run-time compiler.
    infinity={
        "float32": "__int_as_float(0x7f800000)",
        "float64": "__longlong_as_double(0x7ff0000000000000LL)",
    },
    nan={
        "float32": "__int_as_float(0x7fc00000)",
        "float64": "__longlong_as_double(0x7ff8000000000000LL)",
    },
    widen={"float16": "__half2float({0})", "bfloat16": "__bfloat162float({0})"},
    narrow={"float16": "__float2half({0})", "bfloat16": "__float2bfloat16({0})"},
    bitcast="dg_bitcast_{source}_to_{target}({0})",
    operations=_operations(),
    remainder={"float32": "fmodf({0}, {1})", "float64": "fmod({0}, {1})"},
    helpers=_HELPERS,
    helper_prefix="__device__ static inline",
    signed_wraps=False,
    opening=f'extern "C" __global__ void __launch_bounds__({BLOCK}) {{name}}({{parameters}})',
    input_parameter="const {type} *{name}",
    output_parameter="{type} *{name}",
    size_parameter="long long {name}",
    scalar_parameter="{type} {name}",
    more_parameters=("long long work",),
    thread_index="(long long)blockIdx.x * blockDim.x + threadIdx.x",
    group_index="blockIdx.x",
    group_lane="threadIdx.x",
    group_size=BLOCK,
    shared_array="__shared__ {type} {name}[{size}];",
    barrier="__syncthreads();",
)
