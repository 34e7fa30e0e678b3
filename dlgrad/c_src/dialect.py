"""C as a dialect of the writer.

Floor 4.  The text is C11 without a single header: types come from the compiler's own macros,
so nothing of a system's SDK is needed to compile it.  The compiler is told that signed
arithmetic wraps around (-fwrapv), that `omp simd` lines mean vector loops (-fopenmp-simd,
which needs no run-time library), and that nobody reads errno or the floating-point flags; the
flags themselves are in `probe.py`.
"""

from __future__ import annotations

from dlgrad.c_src.math_source import MATH_HELPERS, MATH_OPERATIONS
from dlgrad.codegen.dialect import Dialect
from dlgrad.dtype import ALL_DTYPES
from dlgrad.lazy.ops import ElementwiseOps as E

_TYPES = {dtype.name: f"{dtype.name}_t" for dtype in ALL_DTYPES if dtype.is_integer}
_FLOATS = {"float32": "float", "float64": "double"}
_HALVES = {"float16": "uint16_t", "bfloat16": "uint16_t"}

_BUILTINS = {
    E.SQRT: "__builtin_sqrt",
    E.ABS: "__builtin_fabs",
    E.FLOOR: "__builtin_floor",
    E.CEIL: "__builtin_ceil",
    E.TRUNC: "__builtin_trunc",
    E.ROUND: "__builtin_rint",
}
_OPERATIONS = {
    (op, name): builtin + suffix + "({0})"
    for op, builtin in _BUILTINS.items()
    for name, suffix in (("float32", "f"), ("float64", ""))
}

TURNED_SIDE = 16


def _turn_helper() -> str:
    """A transpose of 16 x 16: for each bit of a place, half of two rows change places."""
    lanes = range(TURNED_SIDE)

    def picks(bit: int, high: bool) -> str:
        own, other = (TURNED_SIDE, bit) if high else (0, TURNED_SIDE - bit)
        numbers = [lane + own if bool(lane & bit) == high else lane + other for lane in lanes]
        return ", ".join(map(str, numbers))

    stages = "\n".join(
        f"        DG_SWAP({bit}, DG_PICKS({picks(bit, False)}),\n"
        f"            DG_PICKS({picks(bit, True)}));"
        for bit in (8, 4, 2, 1)
    )
    return f"""
/* Element (i, j) of a tile of 16 x 16, to[16 * i + j], is from[step * j + i]; four bytes each. */
INLINE void dg_turn(
    void *to, const void *from, int64_t step, int64_t rows, int64_t columns)
{{
    typedef uint32_t __attribute__((may_alias)) word;
    word *const block = to;
    const word *const start = from;
#if defined(__AVX2__) && (defined(__clang__) || __GNUC__ >= 12)
    typedef uint32_t line __attribute__((vector_size(64), aligned(4), may_alias));
    if (rows == 16 && columns == 16) {{
        line lines[16];
        for (int j = 0; j < 16; j++)
            lines[j] = *(const line *)(start + step * j);
        /* Two lines whose numbers differ in one bit exchange the halves that differ in it too. */
#define DG_PICKS(...) __VA_ARGS__
#define DG_SWAP(bit, low, high) \\
        for (int j = 0; j < 16; j++) \\
            if (!(j & bit)) {{ \\
                const line x = lines[j], y = lines[j + bit]; \\
                lines[j] = __builtin_shufflevector(x, y, low); \\
                lines[j + bit] = __builtin_shufflevector(x, y, high); \\
            }}
{stages}
#undef DG_SWAP
#undef DG_PICKS
        for (int i = 0; i < 16; i++)
            *(line *)(block + 16 * i) = lines[i];
        return;
    }}
#endif
    for (int64_t j = 0; j < columns; j++)
        for (int64_t i = 0; i < rows; i++)
            block[16 * i + j] = start[step * j + i];
}}
"""


_HELPERS = {
    "dg_stream": """
/* Copies bytes past the caches, by whole vectors where the processor can and the place fits. */
INLINE void dg_stream(void *to, const void *from, int64_t count)
{
    char *at = to;
    const char *next = from;
#ifdef __SSE2__
#if defined(__AVX512F__)
    enum { WIDE = 64 };
#elif defined(__AVX__)
    enum { WIDE = 32 };
#else
    enum { WIDE = 16 };
#endif
    typedef float wide __attribute__((vector_size(WIDE), may_alias));
    typedef float loose __attribute__((vector_size(WIDE), aligned(1), may_alias));
    if ((__UINTPTR_TYPE__)at % WIDE == 0)
        for (; count >= WIDE; count -= WIDE, at += WIDE, next += WIDE) {
            const wide values = *(const loose *)next;
#ifdef __AVX__
            __asm__ volatile("vmovntps %1, %0" : "=m"(*(wide *)at) : "x"(values));
#else
            __asm__ volatile("movntps %1, %0" : "=m"(*(wide *)at) : "x"(values));
#endif
        }
#endif
    __builtin_memcpy(at, next, (__SIZE_TYPE__)count);
}
""",
    "dg_stream_end": """
/* What was streamed is there for everybody from here on. */
INLINE void dg_stream_end(void)
{
#ifdef __SSE2__
    __asm__ volatile("sfence" : : : "memory");
#endif
}
""",
    "dg_turn": _turn_helper(),
    "INLINE": "#define INLINE static inline __attribute__((always_inline))",
    "bool": "#include <stdbool.h>",
    "true": "#include <stdbool.h>",
    "false": "#include <stdbool.h>",
    "dg_f16_to_f32": """
/* float16 to float32: shift the bits into place, then correct the exponent by a product, which
   also makes the small numbers normal.  Infinity and NaN keep their exponent of ones. */
INLINE float dg_f16_to_f32(uint16_t half)
{
#ifdef __aarch64__
    union { uint16_t bits; __fp16 number; } in = { half };
    return (float)in.number;
#else
    union { uint32_t bits; float number; } out = { (uint32_t)(half & 0x7fff) << 13 };
    const bool special = out.bits >= 0x0f800000;
    out.number *= 0x1p112f;
    out.bits |= (special ? 0x7f800000 : 0) | (uint32_t)(half & 0x8000) << 16;
    return out.number;
#endif
}
""",
    "dg_f32_to_f16": """
/* float32 to float16, to the nearest, ties to even.  Adding a power of two that is as much
   larger as the half has fewer bits makes the adder do the rounding. */
INLINE uint16_t dg_f32_to_f16(float x)
{
#ifdef __aarch64__
    union { __fp16 number; uint16_t bits; } out = { (__fp16)x };
    return out.bits;
#else
    union { float number; uint32_t bits; } in = { x }, low, sum;
    const uint32_t sign = in.bits >> 16 & 0x8000;
    in.bits &= 0x7fffffff;
    /* Below 2^-14 the spacing is 2^-24, which is that of floats near 0.5. */
    sum.number = in.number + 0.5f;
    const uint32_t small = sum.bits - 0x3f000000;
    /* Above, add half a unit less one, and one more if the last bit kept is odd. */
    low.bits = in.bits + 0xfff + (in.bits >> 13 & 1);
    const uint32_t normal = (low.bits - 0x38000000) >> 13;
    const uint32_t finite = in.bits < 0x38800000 ? small : normal;
    const uint32_t large = in.bits > 0x7f800000 ? 0x7e00 : 0x7c00;
    return (uint16_t)(sign | (in.bits >= 0x477ff000 ? large : finite));
#endif
}
""",
    "dg_bf16_to_f32": """
/* bfloat16 is the upper half of a float32. */
INLINE float dg_bf16_to_f32(uint16_t half)
{
    union { uint32_t bits; float number; } out = { (uint32_t)half << 16 };
    return out.number;
}
""",
    "dg_f32_to_bf16": """
/* float32 to bfloat16, to the nearest, ties to even. */
INLINE uint16_t dg_f32_to_bf16(float x)
{
    union { float number; uint32_t bits; } in = { x };
    const uint32_t rounded = (in.bits + 0x7fff + (in.bits >> 16 & 1)) >> 16;
    return (uint16_t)(x != x ? 0x7fc0 : rounded);
}
""",
    "dg_philox": """
/* Word (counter mod 4) of block (counter / 4) of the Philox 4x32-10 random generator.  Every
   32-bit word has 64 bits of room, the form in which vector units multiply. */
INLINE uint32_t dg_philox(uint64_t key, uint64_t counter)
{
    const uint64_t mask = 0xffffffffULL;
    uint64_t key0 = key & mask, key1 = key >> 32;
    uint64_t a = counter >> 2 & mask, b = counter >> 34, c = 0, d = 0;
    for (int round = 0; round < 10; round++) {
        const uint64_t left = 0xD2511F53ULL * a;
        const uint64_t right = 0xCD9E8D57ULL * c;
        a = right >> 32 ^ b ^ key0;
        b = right & mask;
        c = left >> 32 ^ d ^ key1;
        d = left & mask;
        key0 = (key0 + 0x9E3779B9ULL) & mask;
        key1 = (key1 + 0xBB67AE85ULL) & mask;
    }
    const uint64_t low = counter & 1 ? b : a;
    const uint64_t high = counter & 1 ? d : c;
    return (uint32_t)(counter & 2 ? high : low);
}
""",
}

_RESERVED = frozenset(
    {
        "buffers", "sizes", "scalars", "begin", "end", "place", "stop", "first", "last", "lane",
        "INLINE", "bool", "true", "false", "auto", "break", "case", "char", "const", "continue",
        "default", "do", "double", "else", "enum", "extern", "float", "for", "goto", "if", "inline",
        "int", "long", "register", "restrict", "return", "short", "signed", "sizeof", "static",
        "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while",
    }
)  # fmt: skip

_KEYS = """
/* An integer that orders as the floats do, with NaN {end}. */
INLINE {integer} dg_{op}_key_{short}({number} x)
{{
    union {{ {number} number; {integer} bits; }} in = {{ x }};
    const {integer} key = in.bits ^ (in.bits >> {shift} & {mask});
    return x != x ? {extreme} : key;
}}
"""

_FROM_KEY = """
/* The float of such an integer. */
INLINE {number} dg_from_key_{short}({integer} key)
{{
    union {{ {integer} bits; {number} number; }} out = {{ key ^ (key >> {shift} & {mask}) }};
    return out.number;
}}
"""


def _key_helpers() -> dict[str, str]:
    """The integer keys by which loops find a maximum; see codegen/writer.py, `reduction_loop`."""
    helpers = {}
    for short, number, bits in (("f32", "float", 32), ("f64", "double", 64)):
        suffix = "LL" if bits == 64 else ""
        highest = f"0x7{'f' * (bits // 4 - 1)}{suffix}"
        words = {
            "short": short,
            "number": number,
            "integer": f"int{bits}_t",
            "shift": str(bits - 1),
            "mask": highest,
        }
        helpers[f"dg_from_key_{short}"] = _FROM_KEY.format(**words)
        # Both ends are the bits of a NaN, so NaN survives the way back.
        for op, end, extreme in (("max", "highest", highest), ("min", "lowest", f"-{highest} - 1")):
            text = _KEYS.format(op=op, end=end, extreme=extreme, **words)
            helpers[f"dg_{op}_key_{short}"] = text
    return helpers


def _type_helpers() -> dict[str, str]:
    """int64_t and the rest from the compiler's macros, each where it is used."""
    return {
        name: f"typedef __{name.removesuffix('_t').upper()}_TYPE__ {name};"
        for name in _TYPES.values()
    }


C = Dialect(
    name="C",
    extension=".c",
    values={"bool": "bool"} | _TYPES | _FLOATS | _HALVES,
    elements={"bool": "uint8_t"} | _TYPES | _FLOATS | _HALVES,
    index="int64_t",
    suffixes={"float32": "f", "uint32": "u", "int64": "LL", "uint64": "ULL"},
    infinity={"float32": "__builtin_inff()", "float64": "__builtin_inf()"},
    nan={"float32": '__builtin_nanf("")', "float64": '__builtin_nan("")'},
    widen={"float16": "dg_f16_to_f32({0})", "bfloat16": "dg_bf16_to_f32({0})"},
    narrow={"float16": "dg_f32_to_f16({0})", "bfloat16": "dg_f32_to_bf16({0})"},
    bitcast="dg_bitcast_{source}_to_{target}({0})",
    operations=_OPERATIONS | MATH_OPERATIONS,
    remainder={
        "float32": "__builtin_fmodf({0}, {1})",
        "float64": "__builtin_fmod({0}, {1})",
    },
    helpers=_HELPERS | _key_helpers() | _type_helpers() | MATH_HELPERS,
    helper_prefix="INLINE",
    signed_wraps=True,
    opening="void {name}({parameters})",
    more_parameters=(
        "void *const *buffers",
        "const int64_t *sizes",
        "const double *scalars",
        "int64_t begin",
        "int64_t end",
    ),
    input_declaration="const {type} *restrict {name} = buffers[{position}];",
    output_declaration="{type} *restrict {name} = buffers[{position}];",
    size_declaration="const int64_t {name} = sizes[{position}];",
    scalar_declaration="const {type} {name} = ({type})scalars[{position}];",
    integer_scalar_declaration="const {type} {name} = ({type})scalars[{position}];",
    simd="#pragma omp simd",
    simd_reduction=" reduction({operator}:{names})",
    stream="dg_stream({to}, {block}, ({count}) * (int64_t)sizeof({type}));",
    stream_end="dg_stream_end();",
    turn="dg_turn({block}, {start}, {step}, {rows}, {columns});",
    turned_side=TURNED_SIDE,
    reserved=_RESERVED,
)
