"""Checks of both intermediate forms: the tensor graph and the loop IR.

Floor 3.  What comes in is believed to be right; a VerifyError is a bug in dlgrad, found where
it was made and not where it crashes.  On in the tests, and with `DLGRAD_VERIFY=1`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from dlgrad.codegen.kernel import (
    Accumulate,
    Accumulator,
    Alu,
    Assign,
    Counter,
    Expr,
    Gemm,
    Index,
    Kernel,
    Lane,
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
    lane_terms,
)
from dlgrad.dtype import BOOL, FLOAT, DType, bool_, int64, uint32, uint64
from dlgrad.errors import VerifyError
from dlgrad.lazy import factors
from dlgrad.lazy.graph import Node, toposort
from dlgrad.lazy.ops import (
    OPS,
    BufferOps,
    ElementwiseOps,
    FactorOps,
    IndexOps,
    MatrixOps,
    MovementOps,
    Op,
    ReduceOps,
    Result,
    SerialOps,
)
from dlgrad.lazy.shape import View

E = ElementwiseOps


def verify(kernel: Kernel | Gemm) -> None:
    """Raises VerifyError unless `kernel` is well formed."""
    if isinstance(kernel, Gemm):
        _verify_gemm(kernel)
    else:
        _verify_loops(kernel)


def verify_graph(roots: Sequence[Node]) -> None:
    """Raises VerifyError unless every node that `roots` need follows the rules of its op."""
    for node in toposort(list(roots)):
        problem = _node_problem(node)
        if problem:
            sources = ", ".join(map(repr, node.src))
            raise VerifyError(f"{node!r} of ({sources}): {problem}")


def dtype_problem(op: Op, sources: Sequence[DType], result: DType) -> str:
    """What is wrong with the dtypes of an op, by the op table; empty if nothing is."""
    info = OPS[op]
    if len(sources) != info.arity:
        return f"{op.value} takes {info.arity} operands, got {len(sources)}"
    operands = list(sources)
    if op is E.WHERE and operands.pop(0) is not bool_:
        return f"the condition of where is {sources[0].name}, not bool"
    if isinstance(op, IndexOps):
        if operands.pop() is not int64:
            return f"the index of {op.value} is {sources[-1].name}, not int64"
        if any(dtype is not result for dtype in operands):
            return f"{op.value} gives {result.name}"
        return ""
    if op is E.PHILOX:
        fits = all(dtype is uint64 for dtype in operands) and result is uint32
        return "" if fits else "philox takes two uint64 and gives uint32"
    if any(dtype is not operands[0] for dtype in operands):
        return f"the operands of {op.value} differ: " + ", ".join(d.name for d in operands)
    for dtype in (operands or [result]) if op is not E.BITCAST else [*operands, result]:
        allowed = {BOOL: info.bools, FLOAT: info.floats}.get(dtype.kind, info.integers)
        if not allowed:
            return f"{op.value} does not take {dtype.name}"
    expected = {
        Result.SAME: operands[0] if operands else result,
        Result.LAST: operands[-1] if operands else result,
        Result.BOOL: bool_,
        Result.GIVEN: result,
    }[info.result]
    if result is not expected:
        return f"the result of {op.value} is {result.name}, expected {expected.name}"
    if op is E.BITCAST and operands[0].itemsize != result.itemsize:
        return f"bitcast from {operands[0].name} to {result.name}, of another size"
    return ""


# The loop IR ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scope:
    """What is known at one place of a kernel."""

    loops: tuple[Loop, ...] = ()
    lets: dict[str, DType] = field(default_factory=dict)
    accumulators: dict[str, tuple[Accumulator, int]] = field(default_factory=dict)  # and depth


class _Checker:
    def __init__(self, kernel: Kernel | Gemm) -> None:
        self.kernel = kernel
        self.parameters = kernel.parameters
        self.sizes: frozenset[str] = frozenset()
        self.accesses = 0
        if isinstance(kernel, Kernel):
            self.sizes = frozenset(kernel.sizes)
        else:
            self.accesses = kernel.accesses

    def require(self, condition: bool, problem: str) -> None:
        if not condition:
            raise VerifyError(f"kernel {self.kernel.name}: {problem}")

    def names(self) -> None:
        names = [p.name for p in self.parameters] + sorted(self.sizes)
        for name in [self.kernel.name, *names]:
            self.require(name.isidentifier(), f"{name!r} is not a name")
        self.require(len(names) == len(set(names)), f"names are not unique: {names}")
        if isinstance(self.kernel, Kernel):
            given = self.kernel.sizes
            self.require(len(given) == len(self.sizes), f"sizes are not unique: {given}")

    # Expressions

    def size(self, size: Size) -> None:
        known = size in self.sizes if isinstance(size, str) else True
        self.require(known, f"size {size!r} is not an integer parameter")

    @staticmethod
    def computed_numbers(scope: _Scope) -> set[str]:
        """The names of the int64 values in scope, which may stand where an axis stands."""
        numbers = {name for name, dtype in scope.lets.items() if dtype is int64}
        return numbers | {
            name
            for name, (variable, _) in scope.accumulators.items()
            if variable.dtype is int64 and variable.lanes == 1
        }

    def index(self, index: Index, scope: _Scope) -> None:
        axes = {loop.axis for loop in scope.loops} | self.computed_numbers(scope)
        for axis, stride in index.terms:
            self.require(axis in axes, f"axis {axis!r} is used outside its loop")
            self.require(stride != 0, f"the stride of axis {axis!r} is 0")
            self.size(stride)
        self.size(index.offset)

    def access(self, expr: Load | Store, scope: _Scope) -> Parameter:
        self.require(0 <= expr.buffer < len(self.parameters), f"no parameter {expr.buffer}")
        if isinstance(self.kernel, Gemm):
            known = 0 <= expr.access < self.accesses
            self.require(known and expr.index is None, f"access {expr.access} is not known")
        else:
            self.require(expr.index is not None, "an access without an index")
            assert expr.index is not None
            self.index(expr.index, scope)
        return self.parameters[expr.buffer]

    def expr(self, expr: Expr, scope: _Scope) -> None:
        if isinstance(expr, Literal):
            self.literal(expr)
        elif isinstance(expr, Scalar):
            known = 0 <= expr.position < len(self.kernel.scalars)
            self.require(known, f"no scalar {expr.position}")
            dtype = self.kernel.scalars[expr.position].compute
            self.require(expr.dtype is dtype, f"scalar {expr.position} is {dtype.name}")
        elif isinstance(expr, Load):
            parameter = self.access(expr, scope)
            fits = expr.dtype is parameter.dtype.compute
            self.require(fits, f"a load from {parameter.name} as {expr.dtype.name}")
        elif isinstance(expr, Counter):
            self.index(expr.index, scope)
        elif isinstance(expr, Local):
            self.local(expr, scope)
        else:
            self.alu(expr, scope)

    def literal(self, expr: Literal) -> None:
        value, dtype = expr.value, expr.dtype
        if dtype.kind == FLOAT:
            fits = not isinstance(value, bool)
        else:
            fits = isinstance(value, int) and dtype.min <= value <= dtype.max
        self.require(fits, f"{value!r} as a literal of {dtype.name}")

    def local(self, expr: Local, scope: _Scope) -> None:
        if expr.name in scope.accumulators:
            accumulator = scope.accumulators[expr.name][0]
            dtype = accumulator.dtype
            self.lane(accumulator, expr.lane, scope)
        else:
            self.require(expr.name in scope.lets, f"{expr.name!r} is used before it is set")
            self.require(expr.lane is None, f"{expr.name!r} has no lanes")
            dtype = scope.lets[expr.name]
        self.require(expr.dtype is dtype, f"{expr.name!r} is {dtype.name}")

    def lane(self, accumulator: Accumulator, lane: Lane, scope: _Scope) -> None:
        """Every place of the axes is a lane of its own, and there are so many lanes."""
        name = accumulator.name
        self.require((lane is not None) == (accumulator.lanes > 1), f"the lane of {name!r}")
        strides = {axis: step for axis, step in lane_terms(lane) if isinstance(step, int)}
        self.require(len(strides) == len(lane_terms(lane)), f"strides of the lanes of {name!r}")
        reach = 1
        for axis, stride in sorted(strides.items(), key=lambda item: item[1]):
            loops = [loop for loop in scope.loops if loop.axis == axis]
            self.require(bool(loops), f"lane axis {axis!r} is used outside its loop")
            length = loops[0].tile[1] if loops[0].tile else loops[0].extent
            self.require(stride >= reach, f"lane axis {axis!r} of {name!r} meets another")
            reach = stride * length if isinstance(length, int) else accumulator.lanes + 1
            fits = reach <= accumulator.lanes
            self.require(fits, f"{name!r} has {accumulator.lanes} lanes, axis {axis!r} {length}")

    def alu(self, expr: Alu, scope: _Scope) -> None:
        for source in expr.src:
            self.expr(source, scope)
        dtypes = [source.dtype for source in expr.src]
        problem = dtype_problem(expr.op, dtypes, expr.dtype)
        self.require(not problem, problem)
        if expr.op not in (E.CAST, E.BITCAST, E.WHERE):
            halves = [dtype.name for dtype in dtypes if dtype.is_half]
            self.require(not halves, f"{expr.op.value} computes in {halves}, not in float32")

    # Statements

    def block(self, body: Sequence[Stmt], scope: _Scope) -> None:
        scope = replace(
            scope, lets=dict(scope.lets), accumulators=dict(scope.accumulators)
        )
        for stmt in body:
            self.statement(stmt, scope)

    def statement(self, stmt: Stmt, scope: _Scope) -> None:
        if isinstance(stmt, Loop):
            self.loop(stmt, scope)
        elif isinstance(stmt, Let):
            self.expr(stmt.value, scope)
            self.new_name(stmt.name, scope)
            scope.lets[stmt.name] = stmt.value.dtype
        elif isinstance(stmt, Accumulator):
            self.expr(stmt.initial, scope)
            self.require(stmt.initial.dtype is stmt.dtype, f"the start of {stmt.name!r}")
            self.require(stmt.lanes >= 1, f"{stmt.name!r} has {stmt.lanes} lanes")
            self.new_name(stmt.name, scope)
            scope.accumulators[stmt.name] = (stmt, len(scope.loops))
        elif isinstance(stmt, (Accumulate, Assign)):
            self.accumulate(stmt, scope)
        else:
            self.store(stmt, scope)

    def new_name(self, name: str, scope: _Scope) -> None:
        taken = {p.name for p in self.parameters} | self.sizes
        taken |= scope.lets.keys() | scope.accumulators.keys()
        taken |= {loop.axis for loop in scope.loops}
        self.require(name.isidentifier(), f"{name!r} is not a name")
        self.require(name not in taken, f"{name!r} is set twice")

    def loop(self, stmt: Loop, scope: _Scope) -> None:
        if stmt.kind is LoopKind.PARALLEL or stmt.extent not in self.computed_numbers(scope):
            self.size(stmt.extent)
        self.new_name(stmt.axis, scope)
        if stmt.tile is not None:
            outer, length = stmt.tile
            known = any(loop.axis == outer for loop in scope.loops)
            self.require(known, f"tile axis {outer!r} is used outside its loop")
            self.require(length > 0, f"a tile of {length}")
        if stmt.kind is LoopKind.PARALLEL:
            kinds = {loop.kind for loop in scope.loops}
            self.require(kinds <= {LoopKind.PARALLEL}, f"{stmt.axis!r} is parallel inside another")
        self.block(stmt.body, replace(scope, loops=(*scope.loops, stmt)))

    def accumulate(self, stmt: Accumulate | Assign, scope: _Scope) -> None:
        self.expr(stmt.value, scope)
        self.require(stmt.name in scope.accumulators, f"{stmt.name!r} is no accumulator here")
        accumulator, depth = scope.accumulators[stmt.name]
        same = stmt.value.dtype is accumulator.dtype
        verb = "added" if isinstance(stmt, Accumulate) else "assigned"
        self.require(same, f"{stmt.value.dtype.name} is {verb} to {stmt.name!r}")
        self.lane(accumulator, stmt.lane, scope)
        for loop in scope.loops[depth:]:
            apart = loop.kind in (LoopKind.PARALLEL, LoopKind.LANES)
            shared = apart and all(
                loop.axis != axis for axis, _ in lane_terms(stmt.lane)
            )
            self.require(not shared, f"iterations of {loop.axis!r} share {stmt.name!r}")

    def store(self, stmt: Store, scope: _Scope) -> None:
        self.expr(stmt.value, scope)
        parameter = self.access(stmt, scope)
        self.require(parameter.is_output, f"a store to the input {parameter.name}")
        fits = stmt.value.dtype in (parameter.dtype, parameter.dtype.compute)
        self.require(fits, f"{stmt.value.dtype.name} is stored to {parameter.name}")


def _verify_loops(kernel: Kernel) -> None:
    checker = _Checker(kernel)
    checker.names()
    loops = [s for s in kernel.body if isinstance(s, Loop) and s.kind is LoopKind.PARALLEL]
    checker.require(len(loops) <= 1, f"{len(loops)} outermost parallel loops")
    checker.block(kernel.body, _Scope())


def _verify_gemm(gemm: Gemm) -> None:
    checker = _Checker(gemm)
    checker.names()
    for operand in (gemm.a, gemm.b):
        checker.expr(operand, _Scope())
        same = operand.dtype is gemm.accumulate
        checker.require(same, f"an operand is {operand.dtype.name}")
    for stmt in gemm.epilogue:
        checker.require(isinstance(stmt, (Let, Store)), f"{type(stmt).__name__} in an epilogue")
    checker.block(gemm.epilogue, _Scope(lets={"accumulator": gemm.accumulate}))
    for access, group in gemm.contiguous:
        known = 0 <= access < gemm.accesses and group in ("m", "n", "k")
        checker.require(known, f"contiguous access {access} along {group!r}")


# The tensor graph -----------------------------------------------------------------------------


def _node_problem(node: Node) -> str:
    dtypes = [source.dtype for source in node.src]
    problem = dtype_problem(node.op, dtypes, node.dtype)
    if problem:
        return problem
    if any(size < 0 for size in node.shape):
        return "a negative size"
    if node.op is not BufferOps.COPY:
        elsewhere = [source.device for source in node.src if source.device != node.device]
        if elsewhere:
            return f"a source is on {elsewhere[0]}"
    shapes = [source.shape for source in node.src]
    if isinstance(node.op, ElementwiseOps) or node.op is BufferOps.COPY:
        return "" if all(s == node.shape for s in shapes) else f"the shapes differ: {shapes}"
    if isinstance(node.op, ReduceOps):
        return _reduce_problem(node)
    if node.op is MovementOps.VIEW:
        return _view_problem(node.arg, node.src[0], node)
    if node.op is BufferOps.UPDATE:
        base, value = node.src
        if base.shape != node.shape:
            return f"the result of an update of {base.shape}"
        if node.arg.overlaps_itself:
            return f"{node.arg} overlaps itself"
        return _view_problem(node.arg, base, value)
    if isinstance(node.op, IndexOps):
        return _places_problem(node)
    if isinstance(node.op, FactorOps):
        return factors.problem(node)
    if isinstance(node.op, SerialOps):
        known = 0 <= node.arg[0] < len(node.shape) and shapes == [node.shape]
        return "" if known else f"dimension {node.arg[0]} of {shapes}"
    if node.op is MatrixOps.MATMUL:
        return _matmul_problem(node)
    if node.op is BufferOps.IOTA and not 0 <= node.arg < len(node.shape):
        return f"dimension {node.arg} of {node.shape}"
    if node.op is BufferOps.CONST and node.arg is None:
        return "no argument"
    return ""


def _view_problem(view: View, memory: Node, shown: Node) -> str:
    if view.shape != shown.shape:
        return f"{view} does not have the shape {shown.shape}"
    low, high = view.span
    if low < 0 or high >= memory.numel:
        return f"{view} shows elements {low} to {high} of {memory.numel}"
    return ""


def _places_problem(node: Node) -> str:
    memory, index, places = node.src[0], node.src[-1], node.arg
    if places.view.shape != index.shape or places.view.strides[places.dim] != 0:
        return f"{places} of an index of {index.shape}"
    if node.op is IndexOps.SCATTER and (
        memory.shape != node.shape or node.src[1].shape != index.shape
    ):
        return f"{node.src[1].shape} scattered by {index.shape} into {memory.shape}"
    low, high = places.view.span
    last = places.step * max(places.length - 1, 0)
    low, high = low + min(last, 0), high + max(last, 0)
    if index.numel and not (low >= 0 and high < memory.numel):
        return f"{places} is outside of {memory.numel} elements"
    return ""


def _reduce_problem(node: Node) -> str:
    dims, shape = node.arg, node.src[0].shape
    if not dims or list(dims) != sorted(set(dims)) or not 0 <= dims[0] <= dims[-1] < len(shape):
        return f"dimensions {dims} of {shape}"
    expected = tuple(1 if i in dims else size for i, size in enumerate(shape))
    return "" if node.shape == expected else f"the shape is {node.shape}, expected {expected}"


def _matmul_problem(node: Node) -> str:
    a, b = (source.shape for source in node.src)
    batch, m, n, k = node.arg
    if len(a) != batch + m + k or len(b) != batch + k + n:
        return f"the ranks of {a} and {b} are not those of {node.arg}"
    if a[:batch] != b[:batch] or a[batch + m :] != b[batch : batch + k]:
        return f"{a} and {b} do not fit by {node.arg}"
    expected = a[: batch + m] + b[batch + k :]
    return "" if node.shape == expected else f"the shape is {node.shape}, expected {expected}"
