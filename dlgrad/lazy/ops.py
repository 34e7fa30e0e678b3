"""The op table: every primitive of the tensor graph, and nothing else in the project lists them.

Floor 1.  A user-facing function checks, promotes, broadcasts and composes; only the primitives
below reach a kernel.  To add one: a row here, a line in `runtime/interp.py`, a line in each
dialect's table, a gradient row in `core/gradients.py`, a rule for one more dimension in
`core/batching.py` and a case in `tests/op_cases.py`.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Named(Enum):
    """A member is found in tables by what it is; by its name, which Enum does, takes longer."""

    __hash__ = object.__hash__


class BufferOps(Named):
    """Where numbers come from, and writes into memory that exists."""

    BUFFER = "buffer"  # realised memory; arg: the device buffer
    CONST = "const"  # one number everywhere; arg: the Python number
    EMPTY = "empty"  # memory with unspecified contents
    IOTA = "iota"  # the index along one dimension; arg: the dimension
    COPY = "copy"  # the same numbers in memory of its own; arg: the target device
    UPDATE = "update"  # src 0 with src 1 written through a view; arg: View of src 0


class ElementwiseOps(Named):
    """One output element from the elements at the same place; unary, binary and ternary."""

    # Unary
    CAST = "cast"  # to node.dtype
    BITCAST = "bitcast"  # the same bits as node.dtype, of equal size
    NEG = "neg"
    ABS = "abs"
    INVERT = "invert"  # ~ on integers, not on bool
    SQRT = "sqrt"
    EXP = "exp"
    EXPM1 = "expm1"
    LOG = "log"
    LOG1P = "log1p"
    SIN = "sin"
    COS = "cos"
    ATAN = "atan"
    TANH = "tanh"
    ERF = "erf"
    FLOOR = "floor"
    CEIL = "ceil"
    TRUNC = "trunc"
    ROUND = "round"  # to the nearest, ties to even
    # Binary
    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    DIV = "div"  # true division, floats only
    FLOORDIV = "floordiv"  # towards minus infinity, as Python's //
    MOD = "mod"  # the sign of the divisor, as Python's %
    POW = "pow"
    MAXIMUM = "maximum"  # NaN wins
    MINIMUM = "minimum"  # NaN wins
    LT = "lt"
    LE = "le"
    EQ = "eq"
    NE = "ne"
    AND = "and"
    OR = "or"
    XOR = "xor"
    SHL = "shl"
    SHR = "shr"  # arithmetic on signed types
    PHILOX = "philox"  # (key uint64, counter uint64) -> uint32, see random.py
    # Ternary
    WHERE = "where"  # (condition bool, a, b)


class ReduceOps(Named):
    """Many elements along some dimensions to one; the dimensions stay, with size 1."""

    SUM = "sum"
    PROD = "prod"
    MAX = "max"  # NaN wins; `any` on bool
    MIN = "min"  # NaN wins; `all` on bool


class MovementOps(Named):
    """The same numbers at other places."""

    VIEW = "view"  # arg: View over the row-major elements of the source


class MatrixOps(Named):
    """Contractions."""

    MATMUL = "matmul"  # arg: Contraction, see graph.py


class IndexOps(Named):
    """Elements at computed places; the index is int64.  What is outside is read as NaN (as 0 by
    integers) and not written."""

    GATHER = "gather"  # (memory, index); arg: Places, see graph.py
    SCATTER = "scatter"  # src 0 with src 1 written at the places src 2, in order; arg: Places


class SerialOps(Named):
    """Whole rows along one dimension, by an algorithm that goes through them in order."""

    SCAN = "scan"  # results so far; arg: (dimension, ReduceOps or "logsumexp")
    ARGSORT = "argsort"  # places in stable order, NaN as the largest; arg: (dim, descending)


class FactorOps(Named):
    """Whole matrices, by an algorithm that goes through each in order; see `factors.py`."""

    LU = "lu"  # with exchanges of rows
    PERMUTATION = "permutation"  # the order of rows after the exchanges; arg: how many rows
    TRIANGULAR = "triangular"  # (matrices, right sides as rows); arg: (is upper, has diagonal 1)
    CHOLESKY = "cholesky"  # reads the lower triangle
    QR = "qr"  # arg: how many columns Q has
    EIGH = "eigh"  # of symmetric matrices, ascending
    SVD = "svd"  # descending; a matrix has at least as many rows as columns


Op = (
    BufferOps | ElementwiseOps | ReduceOps | MovementOps | MatrixOps | IndexOps | SerialOps
    | FactorOps
)  # fmt: skip


class Result(Enum):
    """How the dtype of an op's result follows from its sources."""

    SAME = "the common dtype of the sources"
    BOOL = "bool"
    GIVEN = "named by the node"
    LAST = "the dtype of the last source"


class OpInfo(NamedTuple):
    """One row of the op table.

    `arity` counts the sources.  `floats`, `integers` and `bools` say which kinds of dtype the
    op takes.  `cost` is a rough count of machine operations per element, which the scheduler
    weighs against reading the result from memory.  `symbol` is how a person writes the op.
    """

    arity: int
    result: Result = Result.SAME
    floats: bool = True
    integers: bool = True
    bools: bool = False
    cost: int = 1
    symbol: str | None = None
    differentiable: bool = True


_E, _R, _B = ElementwiseOps, ReduceOps, BufferOps
_BITS = OpInfo(2, floats=False, bools=True, differentiable=False)
_COMPARE = OpInfo(2, Result.BOOL, bools=True, differentiable=False)
_STEP = OpInfo(1, integers=False, differentiable=False)  # piecewise constant: gradient zero
_FACTOR = OpInfo(1, integers=False, cost=1000, differentiable=False)


def _float_only(cost: int, arity: int = 1, symbol: str | None = None) -> OpInfo:
    return OpInfo(arity, integers=False, cost=cost, symbol=symbol)


OPS: dict[Op, OpInfo] = {
    _B.BUFFER: OpInfo(0, Result.GIVEN, bools=True, cost=0, differentiable=False),
    _B.CONST: OpInfo(0, Result.GIVEN, bools=True, cost=0, differentiable=False),
    _B.EMPTY: OpInfo(0, Result.GIVEN, bools=True, cost=0, differentiable=False),
    _B.IOTA: OpInfo(0, Result.GIVEN, cost=1, differentiable=False),
    _B.COPY: OpInfo(1, bools=True, cost=0),
    _B.UPDATE: OpInfo(2, bools=True, cost=0),
    _E.CAST: OpInfo(1, Result.GIVEN, bools=True),
    _E.BITCAST: OpInfo(1, Result.GIVEN, differentiable=False),
    _E.NEG: OpInfo(1, symbol="-"),
    _E.ABS: OpInfo(1),
    _E.INVERT: OpInfo(1, floats=False, differentiable=False, symbol="~"),
    _E.SQRT: _float_only(6),
    _E.EXP: _float_only(12),
    _E.EXPM1: _float_only(16),
    _E.LOG: _float_only(14),
    _E.LOG1P: _float_only(16),
    _E.SIN: _float_only(20),
    _E.COS: _float_only(20),
    _E.ATAN: _float_only(16),
    _E.TANH: _float_only(16),
    _E.ERF: _float_only(20),
    _E.FLOOR: _STEP,
    _E.CEIL: _STEP,
    _E.TRUNC: _STEP,
    _E.ROUND: _STEP,
    _E.ADD: OpInfo(2, symbol="+"),
    _E.SUB: OpInfo(2, symbol="-"),
    _E.MUL: OpInfo(2, symbol="*"),
    _E.DIV: _float_only(4, 2, "/"),
    _E.FLOORDIV: OpInfo(2, cost=8, differentiable=False),
    _E.MOD: OpInfo(2, cost=8),
    _E.POW: OpInfo(2, cost=40),
    _E.MAXIMUM: OpInfo(2, bools=True),
    _E.MINIMUM: OpInfo(2, bools=True),
    _E.LT: _COMPARE._replace(symbol="<"),
    _E.LE: _COMPARE._replace(symbol="<="),
    _E.EQ: _COMPARE._replace(symbol="=="),
    _E.NE: _COMPARE._replace(symbol="!="),
    _E.AND: _BITS._replace(symbol="&"),
    _E.OR: _BITS._replace(symbol="|"),
    _E.XOR: _BITS._replace(symbol="^"),
    _E.SHL: OpInfo(2, symbol="<<", floats=False, differentiable=False),
    _E.SHR: OpInfo(2, symbol=">>", floats=False, differentiable=False),
    _E.PHILOX: OpInfo(2, Result.GIVEN, floats=False, cost=60, differentiable=False),
    _E.WHERE: OpInfo(3, Result.LAST, bools=True),
    _R.SUM: OpInfo(1),
    _R.PROD: OpInfo(1),
    _R.MAX: OpInfo(1, bools=True),
    _R.MIN: OpInfo(1, bools=True),
    MovementOps.VIEW: OpInfo(1, bools=True, cost=0),
    MatrixOps.MATMUL: OpInfo(2, cost=1000),
    IndexOps.GATHER: OpInfo(2, Result.GIVEN, bools=True, cost=4),
    IndexOps.SCATTER: OpInfo(3, Result.GIVEN, bools=True, cost=8),
    # The derivatives of scans have rows by name: they depend on what is scanned.
    SerialOps.SCAN: OpInfo(1, bools=True, cost=2, differentiable=False),
    SerialOps.ARGSORT: OpInfo(1, Result.GIVEN, bools=True, cost=200, differentiable=False),
    # So have those of factorizations: what is differentiated is what they are used for.
    FactorOps.LU: _FACTOR,
    FactorOps.PERMUTATION: OpInfo(1, floats=False, cost=1000, differentiable=False),
    FactorOps.TRIANGULAR: _FACTOR._replace(arity=2),
    FactorOps.CHOLESKY: _FACTOR,
    FactorOps.QR: _FACTOR,
    FactorOps.EIGH: _FACTOR,
    FactorOps.SVD: _FACTOR,
}

# Ops whose result lies in the memory of their first source: they write into what is there.
WRITERS = (BufferOps.UPDATE, IndexOps.SCATTER)


def is_alone(op: Op) -> bool:
    """True for ops that are a kernel by themselves: nothing is fused with them."""
    return op is IndexOps.SCATTER or isinstance(op, (SerialOps, FactorOps))


def reads_memory(op: Op) -> bool:
    """True for ops that read all their sources as row-major blocks in memory."""
    return isinstance(op, FactorOps)


def is_elementwise(op: Op) -> bool:
    """True for ops whose output element needs only the elements at the same place."""
    return isinstance(op, ElementwiseOps)


def reduce_identity(op: ReduceOps, minimum: int | float, maximum: int | float) -> int | float:
    """The value that leaves any other unchanged; `minimum` and `maximum` are those of the dtype.

    For floats pass the infinities.
    """
    return {
        ReduceOps.SUM: 0,
        ReduceOps.PROD: 1,
        ReduceOps.MAX: minimum,
        ReduceOps.MIN: maximum,
    }[op]


# The element-wise op that combines two partial results of a reduction.
COMBINE: dict[ReduceOps, ElementwiseOps] = {
    ReduceOps.SUM: ElementwiseOps.ADD,
    ReduceOps.PROD: ElementwiseOps.MUL,
    ReduceOps.MAX: ElementwiseOps.MAXIMUM,
    ReduceOps.MIN: ElementwiseOps.MINIMUM,
}
