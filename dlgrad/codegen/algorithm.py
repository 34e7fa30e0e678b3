"""A notation for algorithms in the loop IR: Python's operators and blocks for its statements.

Floor 3.  What stands between `with algorithm.loop(...)` and its end is the body of that loop;
`number + 1` is an expression, `block[i, j] = number` a store.  So an algorithm that goes through
its elements in order reads here as it does in a book, and is a `Kernel` in the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dlgrad.codegen.kernel import (
    Accumulate,
    Accumulator,
    Alu,
    Assign,
    Counter,
    Expr,
    Index,
    Let,
    Literal,
    Load,
    Local,
    Loop,
    LoopKind,
    Parameter,
    Size,
    Stmt,
    Store,
)
from dlgrad.codegen.lower_values import Memory
from dlgrad.dtype import DType, bool_, int64
from dlgrad.lazy.ops import ElementwiseOps, ReduceOps

E = ElementwiseOps


class Number:
    """An expression with Python's operators; the other operand may be a Python number."""

    __slots__ = ("expr",)

    def __init__(self, expr: Expr) -> None:
        self.expr = expr

    @property
    def dtype(self) -> DType:
        return self.expr.dtype

    def apply(self, op: ElementwiseOps, *others: Operand) -> Number:
        """`op` on this number and others, in the dtype of this number."""
        sources = (self.expr, *(self.like(other).expr for other in others))
        compares = op in (E.LT, E.LE, E.EQ, E.NE)
        return Number(Alu(op, sources, bool_ if compares else self.dtype))

    def like(self, value: Operand) -> Number:
        """`value` as an expression of this number's dtype."""
        if isinstance(value, Number):
            return value
        typed = float(value) if self.dtype.is_floating_point else int(value)
        return Number(Literal(typed, self.dtype))

    def __add__(self, other: Operand) -> Number:
        return self.apply(E.ADD, other)

    def __sub__(self, other: Operand) -> Number:
        return self.apply(E.SUB, other)

    def __mul__(self, other: Operand) -> Number:
        return self.apply(E.MUL, other)

    def __truediv__(self, other: Operand) -> Number:
        return self.apply(E.DIV, other)

    def __neg__(self) -> Number:
        return self.apply(E.NEG)

    def __abs__(self) -> Number:
        return self.apply(E.ABS)

    def __lt__(self, other: Operand) -> Number:
        return self.apply(E.LT, other)

    def __gt__(self, other: Operand) -> Number:
        return self.like(other).apply(E.LT, self)

    def __and__(self, other: Number) -> Number:
        return self.apply(E.AND, other)

    def equals(self, other: Operand) -> Number:
        """Whether the two are equal."""
        return self.apply(E.EQ, other)

    def sqrt(self) -> Number:
        """The square root."""
        return self.apply(E.SQRT)

    def cast(self, dtype: DType) -> Number:
        """The number converted to `dtype`."""
        return self if self.dtype is dtype else Number(Alu(E.CAST, (self.expr,), dtype))

    @property
    def axis(self) -> str:
        """The name under which an index may use this number."""
        if isinstance(self.expr, Counter) and len(self.expr.index.terms) == 1:
            return self.expr.index.terms[0][0]
        assert isinstance(self.expr, Local) and self.dtype is int64
        return self.expr.name


Operand = Number | int | float


def choose(condition: Number, a: Number, b: Operand) -> Number:
    """`a` where the condition holds, else `b`.

    Neither may read memory (give what was read a name first): a writer may take a load out of a
    choice, to a place before the stores of a loop around it.
    """
    other = a.like(b)
    return Number(Alu(E.WHERE, (condition.expr, a.expr, other.expr), a.dtype))


class Block:
    """A row-major block of memory in a parameter, as seen by one iteration."""

    def __init__(self, algorithm: Algorithm, parameter: int, start: Index, strides: list[Size]):
        self.algorithm = algorithm
        self.parameter = parameter
        self.start = start
        self.strides = strides

    def index(self, places: Number | tuple[Number, ...]) -> Index:
        places = places if isinstance(places, tuple) else (places,)
        pairs = zip(places, self.strides, strict=True)
        terms = tuple((place.axis, stride) for place, stride in pairs)
        return Index((*self.start.terms, *terms), self.start.offset)

    def __getitem__(self, places: Number | tuple[Number, ...]) -> Number:
        dtype = self.algorithm.parameters[self.parameter].dtype
        return Number(Load(self.parameter, self.index(places), dtype))

    def __setitem__(self, places: Number | tuple[Number, ...], value: Number) -> None:
        self.algorithm.add(Store(self.parameter, self.index(places), value.expr))


class Algorithm:
    """The parameters, integers and statements of a kernel while it is written down."""

    def __init__(self) -> None:
        self.parameters: list[Parameter] = []
        self.memory: list[Memory] = []
        self.sizes: dict[str, int] = {}
        self.body: list[Stmt] = []
        self.conditions = 0

    def parameter(self, name: str, memory: Memory, dtype: DType, is_output: bool) -> int:
        """Makes `memory` a parameter and returns its number."""
        self.parameters.append(Parameter(name, dtype, is_output))
        self.memory.append(memory)
        return len(self.parameters) - 1

    def size(self, name: str, value: int) -> Number:
        """An integer that is given at launch."""
        assert self.sizes.setdefault(name, value) == value
        return Number(Counter(Index((), name), int64))

    def block(
        self, parameter: int, matrix: Number, step: str, offset: Size, *strides: Size
    ) -> Block:
        """The block that starts at `offset + matrix * step` of a parameter."""
        return Block(self, parameter, Index(((matrix.axis, step),), offset), list(strides))

    def add(self, stmt: Stmt) -> None:
        """Adds a statement to the innermost loop that is open."""
        self.body.append(stmt)

    def let(self, name: str, value: Number) -> Number:
        """Names a value."""
        self.add(Let(name, value.expr))
        return Number(Local(name, value.dtype))

    def variable(self, name: str, value: Number) -> Number:
        """A variable that starts with `value`."""
        self.add(Accumulator(name, value.dtype, value.expr))
        return Number(Local(name, value.dtype))

    def zero(self, name: str, dtype: DType) -> Number:
        """A variable that starts with 0."""
        start = 0.0 if dtype.is_floating_point else 0
        return self.variable(name, Number(Literal(start, dtype)))

    def assign(self, variable: Number, value: Number) -> None:
        """variable = value."""
        assert isinstance(variable.expr, Local)
        self.add(Assign(variable.expr.name, value.expr))

    def gather(self, variable: Number, value: Number, op: ReduceOps = ReduceOps.SUM) -> None:
        """Adds `value` to a variable, or keeps the larger; for a REDUCE loop."""
        assert isinstance(variable.expr, Local)
        self.add(Accumulate(variable.expr.name, op, value.expr))

    @contextmanager
    def loop(
        self, axis: str, extent: Number | int, kind: LoopKind = LoopKind.SERIAL
    ) -> Iterator[Number]:
        """for axis in range(extent); the extent is a launch integer or a named int64 value."""
        outside, self.body = self.body, []
        yield Number(Counter(Index(((axis, 1),)), int64))
        limit: Size
        if isinstance(extent, int):
            limit = extent
        elif isinstance(extent.expr, Counter):
            assert isinstance(extent.expr.index.offset, str) and not extent.expr.index.terms
            limit = extent.expr.index.offset
        else:
            limit = extent.axis
        outside.append(Loop(axis, limit, kind, tuple(self.body)))
        self.body = outside

    @contextmanager
    def when(self, condition: Number) -> Iterator[None]:
        """The body once, or not at all: a loop of one iteration or none."""
        self.conditions += 1
        number = self.conditions
        one = Number(Literal(1, int64))
        times = self.let(f"times_{number}", choose(condition, one, 0))
        with self.loop(f"once_{number}", times):
            yield
