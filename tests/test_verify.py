"""The checks of both intermediate forms: what is wrong is found, what is right passes."""

from dataclasses import replace

import pytest
from kernel_examples import EXAMPLES, alu, at, given, kernel, load, loop, number, out

from dlgrad.codegen.kernel import (
    Accumulate,
    Accumulator,
    Alu,
    Gemm,
    Let,
    Literal,
    Load,
    Local,
    Scalar,
    Store,
)
from dlgrad.codegen.verify import verify, verify_graph
from dlgrad.dtype import bool_, float16, float32, int32, int64, uint8
from dlgrad.errors import VerifyError
from dlgrad.lazy import graph
from dlgrad.lazy.graph import Contraction, Node
from dlgrad.lazy.ops import BufferOps, ElementwiseOps, MatrixOps, MovementOps, ReduceOps
from dlgrad.lazy.shape import View
from dlgrad.runtime.device import Buffer, get_backend

E, R = ElementwiseOps, ReduceOps
X = load(1, at("i"))
START = Accumulator("sum", float32, number(0.0))
SUM = Local("sum", float32)


def wrong(problem: str, *body, sizes: str = "n m") -> None:
    """The statements, in a parallel loop over i with an output and an input, are refused."""
    parameters = [out(), given("x"), given("y", int32), given("h", float16)]
    made = kernel("wrong", parameters, sizes, loop("i", "n", "parallel", *body))
    with pytest.raises(VerifyError, match=problem):
        verify(made)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_right(name):
    verify(EXAMPLES[name]().kernel)


@pytest.mark.parametrize(
    ("problem", "value"),
    [
        ("axis 'j' is used outside its loop", load(1, at("j"))),
        ("the stride of axis 'i' is 0", load(1, at(("i", 0)))),
        ("size 'q' is not an integer parameter", load(1, at(("i", "q")))),
        ("size 'q' is not an integer parameter", load(1, at("i", offset="q"))),
        ("no parameter 9", load(9, at("i"))),
        ("a load from x as int32", load(1, at("i"), int32)),
        ("a load from h as float16", load(3, at("i"), float16)),
        ("without an index", Load(1, None, float32)),
        ("'value' is used before it is set", Local("value", float32)),
        ("no scalar 0", Scalar(0, float32)),
        ("True as a literal of float32", number(True)),
        ("the operands of add differ: float32, int32", alu(E.ADD, X, load(2, at("i"), int32))),
        ("sqrt does not take int32", alu(E.SQRT, load(2, at("i"), int32))),
        ("invert does not take bool", alu(E.INVERT, number(True, bool_))),
        ("add takes 2 operands, got 1", Alu(E.ADD, (X,), float32)),
        ("the result of lt is float32, expected bool", Alu(E.LT, (X, X), float32)),
        ("condition of where is float32", alu(E.WHERE, X, X, X)),
        ("of another size", Alu(E.BITCAST, (X,), int64)),
        ("computes in ..float16", alu(E.NEG, Alu(E.CAST, (X,), float16))),
        ("philox takes two uint64", alu(E.PHILOX, number(1, uint8), number(1, uint8))),
        ("int32 is stored to out", load(2, at("i"), int32)),
    ],
)
def test_wrong_expressions(problem, value):
    wrong(problem, Store(0, at("i"), value))


def test_literals_fit_their_dtype():
    wrong("256 as a literal of uint8", Let("v", number(256, uint8)))
    wrong("0.5 as a literal of int32", Let("v", Literal(0.5, int32)))


@pytest.mark.parametrize(
    ("problem", "body"),
    [
        ("a store to the input x", [Store(1, at("i"), X)]),
        ("'v' is set twice", [Let("v", X), Let("v", X)]),
        ("'x' is set twice", [Let("x", X)]),
        ("'i' is set twice", [loop("i", 3, "serial")]),
        ("'a b' is not a name", [Let("a b", X)]),
        ("'sum' is no accumulator here", [Accumulate("sum", R.SUM, X)]),
        ("the start of 'sum'", [Accumulator("sum", float32, number(0, int32))]),
        ("int32 is added to 'sum'", [START, Accumulate("sum", R.SUM, load(2, at("i"), int32))]),
        ("iterations of 'j' share 'sum'", [START, loop("j", 4, "lanes",
                                                       Accumulate("sum", R.SUM, X))]),
        ("'j' is parallel inside another", [loop("k", 4, "serial", loop("j", 4, "parallel"))]),
        ("size 'q' is not an integer", [loop("j", "q", "serial")]),
        ("tile axis 't' is used outside", [loop("j", "m", "lanes", tile=("t", 8))]),
        ("the lane of 'sum'", [Accumulator("sum", float32, number(0.0), 8),
                               Store(0, at("i"), SUM)]),
        ("'sum' has 8 lanes, axis 'j' 16", [
            Accumulator("sum", float32, number(0.0), 8),
            loop("j", 16, "lanes", Accumulate("sum", R.SUM, X, "j"))]),
        ("'sum' has 8 lanes, axis 'j' m", [
            Accumulator("sum", float32, number(0.0), 8),
            loop("j", "m", "lanes", Accumulate("sum", R.SUM, X, "j"))]),
        ("'v' is used before it is set", [loop("j", 4, "serial", Let("v", X)),
                                          Store(0, at("i"), Local("v", float32))]),
    ],
)  # fmt: skip
def test_wrong_statements(problem, body):
    wrong(problem, *body)


def test_wrong_kernels():
    wrong("names are not unique", sizes="n x")
    nest = loop("i", "n", "parallel", Store(0, at("i"), X))
    two = kernel("two", [out(), given("x")], "n", nest, nest)
    with pytest.raises(VerifyError, match="2 outermost parallel loops"):
        verify(two)


# Gemm -----------------------------------------------------------------------------------------

GEMM = Gemm(
    name="matmul",
    note="a @ b",
    parameters=(out(), given("a"), given("b")),
    scalars=(),
    accumulate=float32,
    a=Load(1, None, float32, 1),
    b=Load(2, None, float32, 2),
    epilogue=(Store(0, None, Local("accumulator", float32), 0),),
    accesses=3,
    contiguous=((1, "k"), (2, "n")),
)


def test_a_right_matmul():
    verify(GEMM)


@pytest.mark.parametrize(
    ("problem", "change"),
    [
        ("access 3 is not known", {"a": Load(1, None, float32, 3)}),
        ("access 1 is not known", {"a": Load(1, at("i"), float32, 1)}),
        ("an operand is int32", {"b": number(1, int32)}),
        ("Accumulator in an epilogue", {"epilogue": (START,)}),
        ("'total' is used before", {"epilogue": (Store(0, None, Local("total", float32), 0),)}),
        ("contiguous access 0 along 'batch'", {"contiguous": ((0, "batch"),)}),
    ],
)
def test_a_wrong_matmul(problem, change):
    with pytest.raises(VerifyError, match=problem):
        verify(replace(GEMM, **change))


# The tensor graph -----------------------------------------------------------------------------


def buffer(shape, dtype=float32, device="null") -> Node:
    memory = Buffer(get_backend("null"), 4)
    return graph.buffer(memory, dtype, shape, device)


def test_a_right_graph():
    a, b = buffer((4, 3)), buffer((3, 5))
    product = graph.matmul(a, b, Contraction(0, 1, 1, 1))
    moved = graph.view(product, View.contiguous((4, 5)).permute((1, 0)))
    total = graph.reduce(R.SUM, graph.elementwise(E.EXP, moved), (0,))
    flag = graph.elementwise(E.LT, total, graph.const(0, float32, (1, 4), "null"))
    base = graph.empty(bool_, (2, 4), "null")
    update = graph.update(base, flag, View((1, 4), (4, 1), 4))
    verify_graph([update, graph.iota(0, int64, (3,), "null"), graph.copy(total, "cpu")])


def node(op, src, arg, shape, dtype=float32, device="null") -> Node:
    return Node(op, tuple(src), arg, dtype, shape, device)


A = buffer((4, 3))


@pytest.mark.parametrize(
    ("problem", "bad"),
    [
        ("the shapes differ", node(E.NEG, [A], None, (3, 4))),
        ("a source is on null", node(E.NEG, [A], None, (4, 3), device="cpu")),
        ("expected float32", node(E.NEG, [A], None, (4, 3), int32)),
        ("a negative size", node(E.NEG, [A], None, (4, -3))),
        (r"dimensions \(1, 0\)", node(R.SUM, [A], (1, 0), (1, 1))),
        (r"dimensions \(2,\)", node(R.SUM, [A], (2,), (4, 3))),
        ("the shape is", node(R.SUM, [A], (0,), (4, 3))),
        ("shows elements 1 to 12 of 12",
         node(MovementOps.VIEW, [A], View((4, 3), (3, 1), 1), (4, 3))),
        ("does not have the shape", node(MovementOps.VIEW, [A], View.contiguous((12,)), (3, 4))),
        ("do not fit", node(MatrixOps.MATMUL, [A, A], Contraction(0, 1, 1, 1), (4, 3))),
        ("the ranks", node(MatrixOps.MATMUL, [A, A], Contraction(1, 1, 1, 1), (4, 3))),
        ("dimension 1", graph.iota(1, int64, (4,), "null")),
        ("no argument", node(BufferOps.CONST, [], None, (4,))),
        ("overlaps itself",
         graph.update(A, graph.empty(float32, (2, 2), "null"), View((2, 2), (1, 1)))),
    ],
)  # fmt: skip
def test_a_wrong_graph(problem, bad):
    with pytest.raises(VerifyError, match=problem):
        verify_graph([bad])
