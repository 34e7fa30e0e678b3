"""The interpreter against compiled C: kernels, and every primitive of every dtype."""

import math
import random

import pytest
from c_kernels import (
    COMPILERS,
    compile_library,
    need_compiler,
    random_buffer,
    random_numbers,
    run_compiled,
)
from kernel_examples import EXAMPLES, Example, at, cast, given, load, loop, out

from dlgrad.c_src.dialect import C
from dlgrad.codegen.kernel import Alu, Kernel, Store
from dlgrad.codegen.primitives import apply, philox, wrap
from dlgrad.codegen.render import render
from dlgrad.codegen.verify import dtype_problem, verify
from dlgrad.dtype import (
    ALL_DTYPES,
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
    unpack_values,
)
from dlgrad.errors import VerifyError
from dlgrad.lazy.ops import OPS, ElementwiseOps, Result
from dlgrad.runtime.interp import run_kernel

E = ElementwiseOps
NAN, INFINITY = float("nan"), float("inf")

# What the mathematics library of C, or our own functions, may differ by: units in the last place.
INEXACT = {
    E.EXP, E.EXPM1, E.LOG, E.LOG1P, E.SIN, E.COS, E.ATAN, E.TANH, E.ERF, E.POW,
}  # fmt: skip


def make_buffers(example: Example, seed: int) -> list[bytearray]:
    source = random.Random(seed)
    return [
        random_buffer(parameter.dtype, count, source)
        for parameter, count in zip(example.kernel.parameters, example.counts, strict=True)
    ]


def views(buffers: list[bytearray]) -> list[memoryview]:
    return [memoryview(data) for data in buffers]


def same(a: float, b: float, close: float) -> bool:
    if a == b:
        return math.copysign(1, a) == math.copysign(1, b) or close > 0
    return (a != a and b != b) or math.isclose(a, b, rel_tol=close, abs_tol=close)


def differences(dtype: DType, expected: bytes, got: bytes, close: float) -> list[str]:
    pairs = zip(unpack_values(dtype, expected), unpack_values(dtype, got), strict=True)
    return [
        f"element {place}: interpreter {a!r}, C {b!r}"
        for place, (a, b) in enumerate(pairs)
        if not same(a, b, close)
    ]


@pytest.fixture(scope="module", params=COMPILERS)
def library(request, tmp_path_factory):
    sources = {name: render(make().kernel, C) for name, make in EXAMPLES.items()}
    folder = tmp_path_factory.mktemp(request.param)
    return compile_library(folder, sources, request.param, "-Wall", "-ffp-contract=off")


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("pieces", [1, 3])
def test_compiled_c_does_what_the_interpreter_says(library, name, pieces):
    """Also when the range is cut in pieces, in any order."""
    example = EXAMPLES[name]()
    for seed in range(3):
        expected, got = make_buffers(example, seed), make_buffers(example, seed)
        run_kernel(example.kernel, views(expected), example.sizes, example.scalars)
        cuts = [example.work * i // pieces for i in range(pieces + 1)]
        for begin, end in reversed(list(zip(cuts, cuts[1:], strict=False))):
            if begin < end:
                run_compiled(
                    library, example.kernel, got, example.sizes, example.scalars, begin, end
                )
        for parameter, a, b in zip(example.kernel.parameters, expected, got, strict=True):
            problems = differences(parameter.dtype, bytes(a), bytes(b), example.close)
            assert not problems, f"{parameter.name}: {problems[:3]}"


# Every primitive ------------------------------------------------------------------------------


def primitive_cases() -> list[tuple[ElementwiseOps, DType, DType]]:
    """(op, dtype of the operands, dtype of the result) for all that the op table allows."""
    cases = []
    for op in ElementwiseOps:
        for dtype in ALL_DTYPES:
            if op in (E.CAST, E.BITCAST):
                targets = [d for d in ALL_DTYPES if op is E.CAST or d.itemsize == dtype.itemsize]
            elif OPS[op].result is Result.BOOL:
                targets = [bool_]
            else:
                targets = [uint32 if op is E.PHILOX else dtype]
            for target in targets:
                sources = [dtype] * OPS[op].arity
                if op is E.WHERE:
                    sources[0] = bool_
                works = op in (E.CAST, E.BITCAST, E.WHERE) or not dtype.is_half
                if works and not dtype_problem(op, sources, target):
                    cases.append((op, dtype, target))
    return cases


COUNT = 300


def primitive_kernel(number: int, op: ElementwiseOps, dtype: DType, target: DType) -> Kernel:
    place = at("i")
    kinds = [dtype] * OPS[op].arity
    if op is E.WHERE:
        kinds[0] = bool_
    parameters = [out("out", target), *(given(f"x{i}", kind) for i, kind in enumerate(kinds))]
    operands = []
    for i, kind in enumerate(kinds):
        operand = load(i + 1, place, kind.compute)
        operands.append(cast(operand, kind) if kind.is_half else operand)
    value = Alu(op, tuple(operands), target)
    body = loop("i", "n", "parallel", Store(0, place, value))
    return Kernel(f"primitive_{number}", op.value, tuple(parameters), ("n",), (), (body,))


CASES = primitive_cases()


@pytest.fixture(scope="module")
def primitives(tmp_path_factory):
    """All primitives in few files, which compile much quicker than one for each."""
    compiler = need_compiler()
    folder = tmp_path_factory.mktemp("primitives")
    kernels = [primitive_kernel(i, *case) for i, case in enumerate(CASES)]
    for kernel in kernels:
        verify(kernel)
    sources = {}
    for kind in range(16):
        texts = [render(kernel, C) for kernel in kernels[kind::16]]
        sources[f"primitives_{kind}"] = merge(texts)
    flags = ("-w", "-O1", "-ffp-contract=off")
    return kernels, compile_library(folder, sources, compiler, *flags)


def merge(texts: list[str]) -> str:
    """Several kernel texts as one file: each helper once."""
    blocks: dict[str, None] = {}
    for text in texts:
        for block in text.split("\n\n"):
            lines = block.split("\n")
            single = all(line.startswith(("typedef", "#")) for line in lines)
            blocks.update(dict.fromkeys(lines if single else [block]))
    return "\n\n".join(blocks)


def operand_numbers(op: ElementwiseOps, dtype: DType, source: random.Random) -> list:
    numbers = random_numbers(dtype, COUNT, source)
    if op is E.PHILOX or op not in (E.SHL, E.SHR):
        return numbers
    return [n if source.random() < 0.2 else abs(n) % 70 for n in numbers]


@pytest.mark.parametrize("number", range(len(CASES)), ids=[
    f"{op.value}-{dtype.name}-{target.name}" for op, dtype, target in CASES
])  # fmt: skip
def test_primitive(primitives, number):
    kernels, compiled = primitives
    op, dtype, target = CASES[number]
    kernel = kernels[number]
    source = random.Random(number)
    expected = [random_buffer(p.dtype, COUNT, source) for p in kernel.parameters]
    got = [bytearray(data) for data in expected]
    run_kernel(kernel, views(expected), (COUNT,), ())
    run_compiled(compiled, kernel, got, (COUNT,), (), 0, COUNT)
    close = 0.0
    if op in INEXACT and target.is_floating_point:
        close = 2.5e-7 if target is float32 else 4e-16
    problems = differences(target, bytes(expected[0]), bytes(got[0]), close)
    assert not problems, problems[:3]


# What the definitions say ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "operands", "dtype", "expected"),
    [
        (E.ADD, [127, 1], int8, -128),
        (E.MUL, [200, 2], uint8, 144),
        (E.NEG, [-128], int8, -128),
        (E.ABS, [-(2**31)], int32, -(2**31)),
        (E.FLOORDIV, [-7, 2], int32, -4),
        (E.FLOORDIV, [7, 0], int32, 0),
        (E.FLOORDIV, [-(2**31), -1], int32, -(2**31)),
        (E.MOD, [-7, 2], int32, 1),
        (E.MOD, [7, -2], int32, -1),
        (E.MOD, [7, 0], int32, 7),
        (E.FLOORDIV, [-7.5, 2.0], float32, -4.0),
        (E.MOD, [-7.5, 2.0], float32, 0.5),
        (E.DIV, [1.0, -0.0], float32, -INFINITY),
        (E.SHL, [1, 32], int32, 0),
        (E.SHL, [1, -1], int32, 0),
        (E.SHR, [-8, 40], int32, -1),
        (E.SHR, [8, 40], uint32, 0),
        (E.POW, [2, 10], int32, 1024),
        (E.POW, [3, 41], int32, wrap(3**41, int32)),
        (E.POW, [2, -1], int64, 0),
        (E.POW, [-1, -3], int64, -1),
        (E.POW, [-8.0, 1 / 3], float64, NAN),
        (E.POW, [-0.0, -3.0], float64, -INFINITY),
        (E.MAXIMUM, [1.0, NAN], float32, NAN),
        (E.MINIMUM, [NAN, 1.0], float32, NAN),
        (E.ROUND, [2.5], float32, 2.0),
        (E.ROUND, [-0.4], float32, -0.0),
        (E.EXP, [1000.0], float64, INFINITY),
        (E.LOG, [0.0], float64, -INFINITY),
        (E.LOG, [-1.0], float64, NAN),
        (E.INVERT, [5], uint8, 250),
    ],
)
def test_definition(op, operands, dtype, expected):
    assert same(apply(op, operands, dtype, dtype), expected, 0.0)


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (NAN, float32, int32, 0),
        (1e20, float32, int32, 2**31 - 1),
        (-INFINITY, float32, int64, -(2**63)),
        (-3.7, float32, int8, -3),
        (-3.7, float32, uint8, 0),
        (300.0, float32, uint8, 255),
        (300, int32, uint8, 44),
        (0.1, float32, bool_, True),
        (NAN, float32, bool_, True),
        (True, bool_, float32, 1.0),
        (2**24 + 1, int64, float32, float(2**24)),
        (2**63 - 1, int64, float64, 2.0**63),
        (70000.0, float32, float16, INFINITY),
        (1.00390625, float32, bfloat16, 1.0),
        (-1, int8, uint64, 2**64 - 1),
    ],
)
def test_conversion(value, source, target, expected):
    assert apply(E.CAST, [value], source, target) == expected


def test_integers_become_floats_with_one_rounding():
    """By way of double, 2^60 + 2^36 + 1 would fall on a tie of float32 and go down."""
    value = 2**60 + 2**36 + 1
    assert apply(E.CAST, [value], int64, float32) == float(2**60 + 2**37)


def test_philox_is_the_published_generator():
    """The known answers of Philox 4x32-10 for a zero key and counter."""
    words = [philox(0, counter) for counter in range(4)]
    assert words == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


def test_a_kernel_that_leaves_its_memory_is_caught():
    example = EXAMPLES["add"]()
    buffers = make_buffers(example, 0)
    with pytest.raises(VerifyError, match="element 37 of x, which has 37 elements"):
        run_kernel(example.kernel, views(buffers), (38,), ())


