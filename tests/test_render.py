"""The writer: golden kernels in three languages, and the details of its text.

`pytest tests/test_render.py --update-golden` writes the golden files anew; review the diff.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from kernel_examples import EXAMPLES, alu, at, cast, given, kernel, load, loop, number, out

from dlgrad.c_src.dialect import C
from dlgrad.codegen.helper_source import literal
from dlgrad.codegen.kernel import (
    Accumulate,
    Accumulator,
    Counter,
    Expr,
    Index,
    Let,
    Load,
    Local,
    Scalar,
    Store,
    parallel_nest,
)
from dlgrad.codegen.render import expression, index_text, render, statements
from dlgrad.codegen.verify import verify
from dlgrad.cuda.dialect import CUDA
from dlgrad.dtype import (
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int32,
    int64,
    uint8,
    uint32,
    uint64,
)
from dlgrad.errors import DTypeError
from dlgrad.lazy.ops import OPS, ElementwiseOps, ReduceOps
from dlgrad.metal.dialect import METAL

E = ElementwiseOps
GOLDEN = Path(__file__).parent / "golden"
DIALECTS = {dialect.name: dialect for dialect in (C, CUDA, METAL)}
X, Y, Z = (Local(name, float32) for name in "xyz")


def has_all_types(example, dialect) -> bool:
    """Metal has no float64."""
    dtypes = {parameter.dtype for parameter in example.kernel.parameters}
    return all(dtype.compute.name in dialect.values for dtype in dtypes)


GOLDEN_CASES = [
    (name, language)
    for name, make in EXAMPLES.items()
    for language, dialect in DIALECTS.items()
    if has_all_types(make(), dialect)
]


@pytest.mark.parametrize(("name", "language"), GOLDEN_CASES)
def test_golden(name, language, update_golden):
    dialect = DIALECTS[language]
    text = render(EXAMPLES[name]().kernel, dialect)
    path = GOLDEN / f"{name}{dialect.extension}"
    if update_golden:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.is_file(), f"no golden file {path.name}; see --update-golden"
    assert text == path.read_text()


def test_no_golden_file_is_left_over():
    expected = {f"{name}{DIALECTS[language].extension}" for name, language in GOLDEN_CASES}
    assert {path.name for path in GOLDEN.iterdir()} == expected


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_well_formed(name):
    verify(EXAMPLES[name]().kernel)


def test_a_dtype_that_a_language_lacks():
    with pytest.raises(DTypeError, match="float64 does not exist in Metal"):
        render(EXAMPLES["blocked_sum"]().kernel, METAL)


# Expressions ----------------------------------------------------------------------------------


def text(expr: Expr, dialect=C) -> str:
    return expression(expr, dialect, (given("p"), given("q", bfloat16)), lambda access: "p[0]")


def add(a: Expr, b: Expr) -> Expr:
    return alu(E.ADD, a, b)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (add(add(X, Y), Z), "x + y + z"),
        (add(X, add(Y, Z)), "x + (y + z)"),  # float sums may not be regrouped
        (alu(E.SUB, X, alu(E.SUB, Y, Z)), "x - (y - z)"),
        (alu(E.MUL, add(X, Y), Z), "(x + y) * z"),
        (add(alu(E.MUL, X, Y), Z), "x * y + z"),
        (alu(E.DIV, X, alu(E.MUL, Y, Z)), "x / (y * z)"),
        (alu(E.NEG, alu(E.MUL, X, Y)), "-(x * y)"),
        (alu(E.NEG, alu(E.NEG, X)), "-(-x)"),
        (alu(E.NEG, number(-1.0)), "-(-1.0f)"),
        (alu(E.LT, add(X, Y), Z), "x + y < z"),
        (alu(E.AND, alu(E.LT, X, Y), alu(E.LT, Y, Z)), "(x < y) & (y < z)"),
        (alu(E.WHERE, alu(E.LT, X, Y), add(X, Y), Z), "x < y ? x + y : z"),
        (add(alu(E.WHERE, alu(E.LT, X, Y), X, Y), Z), "(x < y ? x : y) + z"),
        (alu(E.SQRT, add(X, Y)), "__builtin_sqrtf(x + y)"),
        (alu(E.EXP, X), "dg_exp_f32(x)"),
        (cast(add(X, Y), float64), "(double)(x + y)"),
        (cast(X, int32), "dg_f32_to_i32(x)"),
        (cast(X, bool_), "x != 0.0f"),
        (cast(cast(X, float16), float32), "dg_f16_to_f32(dg_f32_to_f16(x))"),
        (cast(Local("flag", bool_), float32), "(float)flag"),
        (alu(E.MAXIMUM, Local("a", bool_), Local("b", bool_)), "a | b"),
        (Scalar(2, float32), "scalar2"),
        (Local("sum", float32, "j"), "sum[j]"),
        (load(0, at()), "p[0]"),
        (load(1, at()), "dg_bf16_to_f32(p[0])"),
        (Counter(at(("i", 2), offset=1), float32), "(float)(i * 2 + 1)"),
        (Counter(at("i"), int64), "i"),
    ],
)
def test_expression(expr, expected):
    assert text(expr) == expected


def small(value: str, dtype: DType) -> Local:
    return Local(value, dtype)


@pytest.mark.parametrize(
    ("op", "dtype", "in_c", "in_cuda"),
    [
        (E.ADD, int8, "(int8_t)(a + b)", "(signed char)((unsigned int)a + (unsigned int)b)"),
        (E.ADD, int32, "a + b", "(int)((unsigned int)a + (unsigned int)b)"),
        (E.MUL, uint32, "a * b", "a * b"),
        (E.MUL, uint8, "(uint8_t)(a * b)", "(unsigned char)(a * b)"),
        (E.AND, int8, "a & b", "a & b"),
    ],
)
def test_integers_wrap_around(op, dtype, in_c, in_cuda):
    """Signed overflow is defined in C by a compiler flag, elsewhere by unsigned arithmetic."""
    expr = alu(op, small("a", dtype), small("b", dtype))
    assert text(expr, C) == in_c
    assert text(expr, CUDA) == in_cuda


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (1.0, float32, "1.0f"),
        (-0.0, float32, "-0.0f"),
        (0.1, float32, "0.1f"),
        (1 / 3, float32, "0.33333333f"),
        (1 / 3, float64, "0.3333333333333333"),
        (1e-45, float32, "1e-45f"),
        (16777217.0, float64, "16777217.0"),
        (1e30, float32, "1e+30f"),
        (float("inf"), float32, "__builtin_inff()"),
        (float("-inf"), float64, "-__builtin_inf()"),
        (float("nan"), float32, '__builtin_nanf("")'),
        (True, bool_, "true"),
        (-5, int32, "-5"),
        (-(2**31), int32, "(-2147483647 - 1)"),
        (2**63 - 1, int64, "9223372036854775807LL"),
        (2**64 - 1, uint64, "18446744073709551615ULL"),
        (255, uint8, "255"),
    ],
)
def test_literal(value, dtype, expected):
    assert literal(value, dtype, C) == expected


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (at(), "0"),
        (at("i"), "i"),
        (at(("i", "stride"), "j", offset=3), "i * stride + j + 3"),
        (at(("i", -1)), "-i"),
        (at(("i", -2), offset="start"), "start - i * 2"),
        (at("i", offset=-1), "i - 1"),
    ],
)
def test_index(index: Index, expected: str):
    assert index_text(index) == expected


# Whole kernels --------------------------------------------------------------------------------


def test_only_what_is_used_is_there():
    source = render(EXAMPLES["add"]().kernel, C)
    assert "INLINE" not in source and "int32_t" not in source
    assert "float *restrict out = buffers[0];" in source
    assert "sizes[0]" not in source, "the length comes as begin and end"


def test_helpers_come_before_their_users_and_once():
    source = render(EXAMPLES["functions"]().kernel, C)
    assert source.count("INLINE float dg_exp_f32(float x)\n") == 1
    assert source.index("float dg_exp_f32(") < source.index("float dg_tanh_f32(")


def test_the_note_cannot_end_its_comment():
    example = EXAMPLES["add"]().kernel
    source = render(replace(example, note="a */ b\nsecond line"), C)
    assert source.startswith("/* a * / b\n * second line */\n")


def test_loads_leave_the_branches_of_a_select():
    """So that compilers may load both for every lane."""
    source = render(EXAMPLES["select_by_mask"]().kernel, C)
    assert re.search(r"const float x_0 = x\[i\];\n.*mask\[i\] \? x_0 \* 1.25f", source)
    assert "x_0" not in render(EXAMPLES["select_by_mask"]().kernel, CUDA)


def test_a_load_is_repeated_after_a_store():
    place = at("i")
    chosen = alu(E.WHERE, alu(E.LT, load(1, place), number(0.0)), load(0, place), number(0.0))
    body = loop("i", "n", "parallel", Store(0, place, chosen), Store(0, place, chosen))
    source = render(kernel("twice", [out(), given("x")], "n", body), C)
    assert "const float out_0 = out[i];" in source and "const float out_1 = out[i];" in source


def test_a_reduction_that_reads_itself_is_no_vector_loop():
    total = alu(E.MUL, Local("sum", float32), load(1, at("r")))
    body = (
        Accumulator("sum", float32, number(1.0)),
        loop("r", "n", "reduce", Accumulate("sum", ReduceOps.SUM, total)),
        Store(0, at(), Local("sum", float32)),
    )
    assert "#pragma" not in render(kernel("growth", [out(), given("x")], "n", *body), C)


def test_names_that_the_language_needs_are_changed():
    value = Let("double", load(1, at("i")))
    body = loop("i", "n", "parallel", value, Store(0, at("i"), Local("double", float32)))
    source = render(kernel("names", [out(), given("x")], "n", body), C)
    assert "const float double_ = x[i];" in source and "out[i] = double_;" in source
    body = loop(
        "i", "n", "parallel",
        Let("exp", alu(E.EXP, load(1, at("i"), float64))),
        Store(0, at("i"), Local("exp", float64)),
    )  # fmt: skip
    doubles = [out("out", float64), given("x", float64)]
    assert "const double exp_ = exp(x[i]);" in render(kernel("names", doubles, "n", body), CUDA)


def test_vector_lines():
    """Loops without dependences say so, and those with a reduction name it."""
    assert "#pragma omp simd\n" in render(EXAMPLES["add"]().kernel, C)
    extremes = render(EXAMPLES["row_extremes"]().kernel, C)
    assert "#pragma omp simd reduction(max:max_key) reduction(min:min_key)" in extremes
    assert "#pragma" not in render(EXAMPLES["add"]().kernel, CUDA)


@pytest.mark.parametrize(("extent", "vectors"), [(4, True), (100, False), ("m", False)])
def test_lanes_go_to_the_outer_loop_if_the_inner_one_is_short(extent, vectors):
    body = loop(
        "i", "n", "parallel",
        Accumulator("sum", float32, number(0.0)),
        loop("r", extent, "reduce",
             Accumulate("sum", ReduceOps.SUM, load(1, at(("i", 100), "r")))),
        Store(0, at("i"), Local("sum", float32)),
    )  # fmt: skip
    source = render(kernel("short", [out(), given("x")], "n m", body), C)
    line = "    #pragma omp simd\n    for (int64_t i"
    assert (line in source) == vectors


def test_cooperative_kernels_share_loops_only_on_gpus():
    example = EXAMPLES["row_sum_by_groups"]().kernel
    in_cuda = render(example, CUDA)
    assert "for (long long r = lane; r < columns; r += 256)" in in_cuda
    assert "__shared__ float sum_shared[256];" in in_cuda
    assert "if (lane == 0)\n        out[i] = sum;" in in_cuda
    plain = EXAMPLES["row_sum"]().kernel
    assert render(example, C) == render(replace(plain, name=example.name, note=example.note), C)


def test_statements_for_a_template():
    def place(access: Load | Store) -> str:
        return f"tile{access.access}[j]"

    parameters = (out("result", bfloat16), given("bias"))
    body = (
        Let("biased", add(Local("accumulator", float32), Load(1, None, float32, 1))),
        Store(0, None, Local("biased", float32), 0),
    )
    assert statements(body, C, parameters, place) == [
        "const float biased = accumulator + tile1[j];",
        "tile0[j] = dg_f32_to_bf16(biased);",
    ]


def test_parallel_nest():
    assert [x.axis for x in parallel_nest(EXAMPLES["transpose"]().kernel)] == ["i", "j", "k"]
    assert [x.axis for x in parallel_nest(EXAMPLES["max_pool"]().kernel)] == ["i"]
    assert parallel_nest(EXAMPLES["blocked_sum"]().kernel) == ()


NOT_PLAIN = (E.CAST, E.BITCAST, E.PHILOX, E.WHERE)
BITS = (E.INVERT, E.AND, E.OR, E.XOR, E.SHL, E.SHR)


@pytest.mark.parametrize("language", DIALECTS)
@pytest.mark.parametrize("op", [op for op in E if op not in NOT_PLAIN], ids=lambda op: op.value)
def test_every_primitive_has_a_text_in_every_language(op, language):
    operands = [Local(name, int32 if op in BITS else float32) for name in "ab"]
    assert text(alu(op, *operands[: OPS[op].arity]), DIALECTS[language])
