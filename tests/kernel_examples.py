"""Kernels built by hand in the loop IR, one for each thing that a kernel can do.

They are the canonical examples: golden files show them in every language, and the interpreter
and compiled C must agree on them.
"""

from __future__ import annotations

from dataclasses import dataclass

from dlgrad.codegen.kernel import (
    Accumulate,
    Accumulator,
    Alu,
    Counter,
    Expr,
    Index,
    Kernel,
    Let,
    Literal,
    Load,
    Local,
    Loop,
    LoopKind,
    Parameter,
    Scalar,
    Size,
    Stmt,
    Store,
)
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
from dlgrad.lazy.ops import OPS, ElementwiseOps, ReduceOps, Result

E, R = ElementwiseOps, ReduceOps
INFINITY = float("inf")


@dataclass(frozen=True)
class Example:
    """A kernel with integers and numbers for one launch.

    `counts` gives the number of elements of each parameter, `work` the length of the parallel
    range, `close` the relative error that floats may have (0: the same bits).
    """

    kernel: Kernel
    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    work: int
    scalars: tuple[float, ...] = ()
    close: float = 0.0


# Short words for the IR -----------------------------------------------------------------------


def out(name: str = "out", dtype: DType = float32) -> Parameter:
    return Parameter(name, dtype, True)


def given(name: str, dtype: DType = float32) -> Parameter:
    return Parameter(name, dtype, False)


def at(*terms: tuple[str, Size] | str, offset: Size = 0) -> Index:
    """An index; a bare axis has stride 1."""
    pairs = tuple((term, 1) if isinstance(term, str) else term for term in terms)
    return Index(pairs, offset)


def load(buffer: int, index: Index, dtype: DType = float32) -> Load:
    return Load(buffer, index, dtype)


def number(value: bool | int | float, dtype: DType = float32) -> Literal:
    return Literal(value, dtype)


def alu(op: ElementwiseOps, *src: Expr) -> Alu:
    return Alu(op, src, bool_ if OPS[op].result is Result.BOOL else src[-1].dtype)


def cast(value: Expr, dtype: DType) -> Alu:
    return Alu(E.CAST, (value,), dtype)


def loop(axis: str, extent: Size, kind: str, *body: Stmt, tile: tuple[str, int] | None = None):
    return Loop(axis, extent, LoopKind(kind), body, tile)


def flat(*values: Expr) -> Loop:
    """One parallel axis `i` that stores each value to the parameter of its place."""
    stores = [Store(position, at("i"), value) for position, value in enumerate(values)]
    return loop("i", "n", "parallel", *stores)


def kernel(
    name: str,
    parameters: list[Parameter],
    sizes: str,
    *body: Stmt,
    scalars: tuple[DType, ...] = (),
    cooperative: bool = False,
) -> Kernel:
    note = name.replace("_", " ")
    return Kernel(
        f"{name}_example", note, tuple(parameters), tuple(sizes.split()), scalars, body, cooperative
    )


# Element-wise ---------------------------------------------------------------------------------

I = at("i")  # noqa: E741
N = 37  # more than two vectors, and not a multiple of one


def add() -> Example:
    value = alu(E.ADD, load(1, I), load(2, I))
    return Example(
        kernel("add", [out(), given("x"), given("y")], "n", flat(value)), (N,), (N,) * 3, N
    )


def fused_chain() -> Example:
    """relu(x * y + z) * 2 + exp(-x), with a value that is used twice."""
    x = Local("x_value", float32)
    total = alu(E.ADD, alu(E.MUL, x, load(2, I)), load(3, I))
    rectified = alu(E.WHERE, alu(E.LT, number(0.0), Local("sum", float32)),
                    Local("sum", float32), number(0.0))  # fmt: skip
    value = alu(E.ADD, alu(E.MUL, rectified, number(2.0)), alu(E.EXP, alu(E.NEG, x)))
    body = loop(
        "i", "n", "parallel",
        Let("x_value", load(1, I)), Let("sum", total), Store(0, I, value),
    )  # fmt: skip
    parameters = [out(), given("x"), given("y"), given("z")]
    return Example(kernel("fused_chain", parameters, "n", body), (N,), (N,) * 4, N, close=3e-7)


def rows_plus_bias() -> Example:
    """Lanes inside parallel rows, with strides that are parameters."""
    place = at(("i", "x_stride_i"), "j")
    value = alu(E.ADD, load(1, place), load(2, at("j")))
    inner = loop("j", "columns", "lanes", Store(0, at(("i", "columns"), "j"), value))
    body = loop("i", "rows", "parallel", inner)
    parameters = [out(), given("x"), given("bias")]
    return Example(
        kernel("rows_plus_bias", parameters, "rows columns x_stride_i", body),
        (5, 19, 23), (95, 5 * 23, 19), 5,
    )  # fmt: skip


def transpose() -> Example:
    """Three parallel loops in a nest, flattened into one range."""
    value = load(1, at("i", ("j", "n"), ("k", "nm")))
    store = Store(0, at(("i", "mk"), ("j", "p"), "k"), value)
    body = loop("i", "n", "parallel", loop("j", "m", "parallel", loop("k", "p", "parallel", store)))
    sizes = (3, 4, 7, 12, 28)
    return Example(
        kernel("transpose", [out(), given("x")], "n m p nm mk", body), sizes, (84, 84), 84
    )


def backwards_slice() -> Example:
    """A negative stride, a constant one, and an offset."""
    value = load(1, at(("i", -3), offset="start"))
    return Example(
        kernel("backwards_slice", [out(), given("x")], "n start", flat(value)),
        (N, 3 * N), (N, 3 * N + 1), N,
    )  # fmt: skip


def select_by_mask() -> Example:
    value = alu(E.WHERE, load(1, I, bool_), alu(E.MUL, load(2, I), number(1.25)), number(0.0))
    parameters = [out(), given("mask", bool_), given("x")]
    return Example(kernel("select_by_mask", parameters, "n", flat(value)), (N,), (N,) * 3, N)


def compare() -> Example:
    less = alu(E.LE, load(1, I), load(2, I))
    known = alu(E.EQ, load(1, I), load(1, I))
    value = alu(E.AND, less, alu(E.XOR, known, number(True, bool_)))
    other = alu(E.OR, less, alu(E.NE, load(1, I), number(0.0)))
    parameters = [out("out", bool_), given("x"), given("y"), out("out2", bool_)]
    body = loop("i", "n", "parallel", Store(0, I, value), Store(3, I, other))
    return Example(kernel("compare", parameters, "n", body), (N,), (N,) * 4, N)


def maximum_minimum() -> Example:
    low = alu(E.MINIMUM, load(1, I), load(2, I))
    value = alu(E.MAXIMUM, low, number(-1.5))
    return Example(
        kernel("maximum_minimum", [out(), given("x"), given("y")], "n", flat(value)),
        (N,), (N,) * 3, N,
    )  # fmt: skip


def halves() -> Example:
    """bfloat16 and float16 in, float32 at work, float16 out, with a rounding on the way."""
    rounded = cast(cast(alu(E.MUL, load(1, I), load(2, I)), float16), float32)
    value = alu(E.ADD, rounded, number(0.125))
    parameters = [out("out", float16), given("x", bfloat16), given("y", float16)]
    return Example(kernel("halves", parameters, "n", flat(value)), (N,), (N,) * 3, N)


def to_bfloat16() -> Example:
    parameters = [out("out", bfloat16), given("x")]
    return Example(
        kernel("to_bfloat16", parameters, "n", flat(load(1, I))), (N,), (N,) * 2, N
    )


def casts() -> Example:
    x = load(4, I)
    values = [cast(x, int32), cast(x, uint8), cast(x, bool_), cast(load(5, I, int64), float32)]
    parameters = [
        out("whole", int32), out("byte", uint8), out("flag", bool_), out("number"),
        given("x"), given("y", int64),
    ]  # fmt: skip
    return Example(kernel("casts", parameters, "n", flat(*values)), (N,), (N,) * 6, N)


def bits() -> Example:
    value = Alu(E.BITCAST, (load(1, I),), int32)
    shifted = alu(E.SHR, value, number(23, int32))
    back = Alu(E.BITCAST, (alu(E.AND, value, number(0x7F800000, int32)),), float32)
    parameters = [out("out", int32), given("x"), out("power")]
    body = loop("i", "n", "parallel", Store(0, I, shifted), Store(2, I, back))
    return Example(kernel("bits", parameters, "n", body), (N,), (N,) * 3, N)


def small_integers() -> Example:
    """Arithmetic of 8 bits wraps around at each step."""
    x, y = load(2, I, int8), load(3, I, int8)
    doubled = alu(E.ADD, alu(E.MUL, x, y), alu(E.NEG, x))
    rest = alu(E.MOD, alu(E.FLOORDIV, x, y), number(5, int8))
    parameters = [out("out", int8), out("rest", int8), given("x", int8), given("y", int8)]
    return Example(
        kernel("small_integers", parameters, "n", flat(doubled, rest)), (N,), (N,) * 4, N
    )


def integers() -> Example:
    x, y = load(2, I, int32), load(3, I, int32)
    mixed = alu(E.SUB, alu(E.MUL, x, y), alu(E.SHL, x, number(3, int32)))
    power = alu(E.POW, alu(E.INVERT, x), alu(E.AND, y, number(7, int32)))
    parameters = [out("out", int32), out("power", int32), given("x", int32), given("y", int32)]
    return Example(kernel("integers", parameters, "n", flat(mixed, power)), (N,), (N,) * 4, N)


def float_remainder() -> Example:
    values = [alu(op, load(2, I), load(3, I)) for op in (E.FLOORDIV, E.MOD)]
    parameters = [out("quotient"), out("rest"), given("x"), given("y")]
    return Example(
        kernel("float_remainder", parameters, "n", flat(*values)), (N,), (N,) * 4, N, close=2e-7
    )


def functions() -> Example:
    ops = (E.EXP, E.LOG, E.TANH, E.ERF, E.SIN, E.SQRT)
    values = [alu(op, load(len(ops), I)) for op in ops]
    parameters = [*(out(f"{op.value}_out") for op in ops), given("x")]
    return Example(
        kernel("functions", parameters, "n", flat(*values)), (N,), (N,) * 7, N, close=2e-7
    )


def power_of_doubles() -> Example:
    value = alu(E.POW, load(1, I, float64), number(0.1, float64))
    parameters = [out("out", float64), given("x", float64)]
    return Example(
        kernel("power_of_doubles", parameters, "n", flat(value)), (N,), (N,) * 2, N, close=1e-15
    )


def counting() -> Example:
    value = alu(E.ADD, Counter(at(("i", 2), offset=5), float32), number(0.5))
    other = Counter(at("i"), int64)
    parameters = [out(), out("place", int64)]
    return Example(kernel("counting", parameters, "n", flat(value, other)), (N,), (N,) * 2, N)


def random_words() -> Example:
    """The generator, under a key that is given at launch."""
    key = cast(Scalar(0, int64), uint64)
    value = Alu(E.PHILOX, (key, Counter(I, uint64)), uint32)
    return Example(
        kernel("random_words", [out("out", uint32)], "n", flat(value), scalars=(int64,)),
        (N,), (N,), N, (1234567890123.0,),
    )  # fmt: skip


def optimizer_step() -> Example:
    """Reads and writes the same memory: parameter and momentum."""
    velocity = alu(E.ADD, alu(E.MUL, Scalar(0, float32), load(1, I)), load(2, I))
    moved = alu(E.SUB, load(0, I), alu(E.MUL, Scalar(1, float32), Local("velocity", float32)))
    body = loop(
        "i", "n", "parallel",
        Let("velocity", velocity), Store(1, I, Local("velocity", float32)), Store(0, I, moved),
    )  # fmt: skip
    parameters = [out("weight"), out("momentum"), given("gradient")]
    return Example(
        kernel("optimizer_step", parameters, "n", body, scalars=(float32, float32)),
        (N,), (N,) * 3, N, (0.9, 0.01),
    )  # fmt: skip


# Reductions -----------------------------------------------------------------------------------

ROW = at(("i", "columns"), "r")


def row_loop(*body: Stmt, kind: str = "reduce") -> Loop:
    return loop("r", "columns", kind, *body)


def row_sum(cooperative: bool = False) -> Example:
    body = loop(
        "i", "rows", "parallel",
        Accumulator("sum", float32, number(0.0)),
        row_loop(Accumulate("sum", R.SUM, load(1, ROW))),
        Store(0, I, Local("sum", float32)),
    )  # fmt: skip
    name = "row_sum_by_groups" if cooperative else "row_sum"
    return Example(
        kernel(name, [out(), given("x")], "rows columns", body, cooperative=cooperative),
        (4, 33), (4, 4 * 33), 4, close=1e-5,
    )  # fmt: skip


def row_sum_by_groups() -> Example:
    return row_sum(cooperative=True)


def row_extremes() -> Example:
    """NaN wins in both."""
    body = loop(
        "i", "rows", "parallel",
        Accumulator("max", float32, number(-INFINITY)),
        Accumulator("min", float32, number(INFINITY)),
        row_loop(Accumulate("max", R.MAX, load(2, ROW)), Accumulate("min", R.MIN, load(2, ROW))),
        Store(0, I, Local("max", float32)),
        Store(1, I, Local("min", float32)),
    )  # fmt: skip
    parameters = [out("highest"), out("lowest"), given("x")]
    return Example(
        kernel("row_extremes", parameters, "rows columns", body), (9, 33), (9, 9, 9 * 33), 9
    )


def any_and_all() -> Example:
    body = loop(
        "i", "rows", "parallel",
        Accumulator("any", bool_, number(False, bool_)),
        Accumulator("all", bool_, number(True, bool_)),
        row_loop(
            Accumulate("any", R.MAX, load(2, ROW, bool_)),
            Accumulate("all", R.MIN, load(2, ROW, bool_)),
        ),
        Store(0, I, Local("any", bool_)),
        Store(1, I, Local("all", bool_)),
    )  # fmt: skip
    parameters = [out("some", bool_), out("every", bool_), given("x", bool_)]
    return Example(
        kernel("any_and_all", parameters, "rows columns", body), (9, 17), (9, 9, 9 * 17), 9
    )


def softmax(cooperative: bool = False) -> Example:
    """Three passes over a row."""
    shifted = alu(E.EXP, alu(E.SUB, load(1, ROW), Local("top", float32)))
    body = loop(
        "i", "rows", "parallel",
        Accumulator("top", float32, number(-INFINITY)),
        row_loop(Accumulate("top", R.MAX, load(1, ROW))),
        Accumulator("total", float32, number(0.0)),
        row_loop(Accumulate("total", R.SUM, shifted)),
        Let("scale", alu(E.DIV, number(1.0), Local("total", float32))),
        row_loop(Store(0, ROW, alu(E.MUL, shifted, Local("scale", float32))), kind="lanes"),
    )  # fmt: skip
    name = "softmax_by_groups" if cooperative else "softmax"
    return Example(
        kernel(name, [out(), given("x")], "rows columns", body, cooperative=cooperative),
        (5, 33), (165, 165), 5, close=1e-5,
    )  # fmt: skip


def softmax_by_groups() -> Example:
    return softmax(cooperative=True)


def column_sum() -> Example:
    """A tile of columns side by side, the rows one after the other."""
    tile, place = ("tile", 16), at(("r", "columns"), ("tile", 16), "j")
    body = loop(
        "tile", "tiles", "parallel",
        Accumulator("sum", float32, number(0.0), 16),
        loop("r", "rows", "serial",
             loop("j", "columns", "lanes",
                  Accumulate("sum", R.SUM, load(1, place), "j"), tile=tile)),
        loop("j", "columns", "lanes",
             Store(0, at(("tile", 16), "j"), Local("sum", float32, "j")), tile=tile),
    )  # fmt: skip
    return Example(
        kernel("column_sum", [out(), given("x")], "tiles columns rows", body),
        (3, 41, 6), (41, 6 * 41), 3, close=1e-5,
    )  # fmt: skip


def blocked_sum() -> Example:
    """All elements to one, in blocks, without a parallel loop."""
    body = (
        Accumulator("sum", float64, number(0.0, float64)),
        loop("block", "blocks", "serial",
             Accumulator("partial", float64, number(0.0, float64)),
             loop("r", "n", "reduce",
                  Accumulate("partial", R.SUM, load(1, at(("block", 16), "r"), float64)),
                  tile=("block", 16)),
             Accumulate("sum", R.SUM, Local("partial", float64))),
        Store(0, at(), Local("sum", float64)),
    )  # fmt: skip
    parameters = [out("out", float64), given("x", float64)]
    return Example(
        kernel("blocked_sum", parameters, "n blocks", *body), (41, 3), (1, 41), 1, close=1e-13
    )


def max_pool() -> Example:
    """Windows of 2 x 2, written out."""
    window = [load(1, at(("i", "two_rows"), ("j", 2), offset=o)) for o in (0, 1, "row", "row_1")]
    inner = loop(
        "j", "columns", "lanes",
        Accumulator("max", float32, number(-INFINITY)),
        *(Accumulate("max", R.MAX, value) for value in window),
        Store(0, at(("i", "columns"), "j"), Local("max", float32)),
    )  # fmt: skip
    body = loop("i", "rows", "parallel", inner)
    sizes = (3, 11, 44, 22, 23)
    return Example(
        kernel("max_pool", [out(), given("x")], "rows columns two_rows row row_1", body),
        sizes, (33, 132), 3,
    )  # fmt: skip


def integer_product() -> Example:
    body = (
        Let("start", load(1, at(), int64)),
        loop("i", "rows", "parallel",
             Accumulator("product", int64, Local("start", int64)),
             row_loop(Accumulate("product", R.PROD, load(2, ROW, int64))),
             Store(0, I, Local("product", int64))),
    )  # fmt: skip
    parameters = [out("out", int64), given("first", int64), given("x", int64)]
    return Example(
        kernel("integer_product", parameters, "rows columns", *body), (3, 21), (3, 1, 63), 3
    )


EXAMPLES = {
    make.__name__: make
    for make in (
        add, fused_chain, rows_plus_bias, transpose, backwards_slice, select_by_mask, compare,
        maximum_minimum, halves, to_bfloat16, casts, bits, small_integers, integers,
        float_remainder, functions, power_of_doubles, counting, random_words, optimizer_step,
        row_sum, row_sum_by_groups, row_extremes, any_and_all, softmax, softmax_by_groups,
        column_sum, blocked_sum, max_pool, integer_product,
    )
}  # fmt: skip
