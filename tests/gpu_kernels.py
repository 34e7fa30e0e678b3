"""A few kernels in loop IR, written by hand, for the tests of the GPU backends."""

from __future__ import annotations

from dlgrad.codegen.kernel import (
    Accumulate,
    Accumulator,
    Alu,
    Counter,
    Gemm,
    Index,
    Kernel,
    Literal,
    Load,
    Local,
    Loop,
    LoopKind,
    Parameter,
    Scalar,
    Store,
)
from dlgrad.dtype import DType, bfloat16, float16, float32, int32, int64
from dlgrad.lazy.ops import ElementwiseOps as E
from dlgrad.lazy.ops import ReduceOps

HERE = Index((("i", 1),))


def parameters(*dtypes: DType) -> tuple[Parameter, ...]:
    """An output called `out`, then inputs called a, b, ..."""
    names = ("out", "a", "b", "c", "d")
    return tuple(Parameter(names[i], dtype, i == 0) for i, dtype in enumerate(dtypes))


def elementwise() -> Kernel:
    """out = exp(a) + b * scalar0"""
    a, b = Load(1, HERE, float32), Load(2, HERE, float32)
    scaled = Alu(E.MUL, (b, Scalar(0, float32)), float32)
    value = Alu(E.ADD, (Alu(E.EXP, (a,), float32), scaled), float32)
    body = (Loop("i", "count", LoopKind.PARALLEL, (Store(0, HERE, value),)),)
    note = "out = exp(a) + b * scalar0"
    dtypes = parameters(float32, float32, float32)
    return Kernel("exp_add_mul", note, dtypes, ("count",), (float32,), body)


def integer_scalar() -> Kernel:
    """out[i] = i * scalar0 + scalar1, in int64, of which one number is negative."""
    counter = Counter(HERE, int64)
    product = Alu(E.MUL, (counter, Scalar(0, int64)), int64)
    value = Alu(E.ADD, (product, Scalar(1, int64)), int64)
    body = (Loop("i", "count", LoopKind.PARALLEL, (Store(0, HERE, value),)),)
    return Kernel("line", "a line", parameters(int64), ("count",), (int64, int64), body)


def halves(dtype: DType) -> Kernel:
    """out = a + 1 in a 16-bit float type"""
    value = Alu(E.ADD, (Load(1, HERE, float32), Literal(1.0, float32)), float32)
    body = (Loop("i", "count", LoopKind.PARALLEL, (Store(0, HERE, value),)),)
    return Kernel(
        f"add_{dtype.name}", "out = a + 1", parameters(dtype, dtype), ("count",), (), body
    )


def row_reduction(op: ReduceOps, cooperative: bool) -> Kernel:
    """out[row] = op over the columns of a"""
    place = Index((("row", "columns"), ("column", 1)))
    start = {ReduceOps.SUM: 0.0, ReduceOps.MAX: float("-inf")}[op]
    body = (
        Accumulator("total", float32, Literal(start, float32)),
        Loop(
            "column",
            "columns",
            LoopKind.REDUCE,
            (Accumulate("total", op, Load(1, place, float32)),),
        ),
        Store(0, Index((("row", 1),)), Local("total", float32)),
    )
    loop = Loop("row", "rows", LoopKind.PARALLEL, body)
    name = f"{op.value}_rows" + "_together" * cooperative
    return Kernel(
        name,
        f"{op.value} of each row",
        parameters(float32, float32),
        ("rows", "columns"),
        (),
        (loop,),
        cooperative=cooperative,
    )


def matmul(accumulate: DType = float32, element: DType = float32) -> Gemm:
    """out = (a * 2) @ b + c, of any ranks and layout"""
    kind = accumulate
    load = [Load(i, None, kind, i - 1) for i in range(4)]
    doubled = Alu(E.MUL, (load[1], Literal(2, kind)), kind)
    total = Alu(E.ADD, (Local("accumulator", kind), load[3]), kind)
    return Gemm(
        f"matmul_{element.name}",
        "out = (a * 2) @ b + c",
        parameters(element, element, element, element),
        (),
        kind,
        doubled,
        load[2],
        (Store(0, None, total, 3),),
        accesses=4,
    )


def matmul_sizes(
    batch: int, m: tuple[int, int], n: int, k: int, transposed: bool
) -> tuple[int, ...]:
    """The integers of a launch of `matmul`: m has two dimensions, b may be stored transposed.

    a is [batch, m0, m1, k], b [batch, k, n] or [batch, n, k], c [n], out [batch, m0, m1, n].
    """
    rows = m[0] * m[1]
    a = (0, rows * k, m[1] * k, k, 0, 1)
    b = (0, n * k, 0, 0, *((k, 1) if transposed else (1, n)))
    c = (0, 0, 0, 0, 1, 0)
    out = (0, rows * n, m[1] * n, n, 1, 0)
    return (1, 2, 1, 1, batch, *m, n, k, *a, *b, *c, *out)


def examples() -> list[Kernel | Gemm]:
    """One of each, to be compiled."""
    return [
        elementwise(),
        integer_scalar(),
        halves(float16),
        halves(bfloat16),
        row_reduction(ReduceOps.SUM, False),
        row_reduction(ReduceOps.SUM, True),
        row_reduction(ReduceOps.MAX, True),
        matmul(),
        matmul(int32, int32),
        matmul(float32, float16),
    ]
