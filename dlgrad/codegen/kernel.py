"""The loop IR: what a kernel does, before it is text in any language.

Floor 3.  `lower.py` writes it, `runtime/interp.py` runs it in Python (that is its definition),
`render.py` prints it as C, MSL or CUDA.  Two kinds of kernel exist: `Kernel`, a nest of loops
over fused element-wise and reduce work, and `Gemm`, the matmul template with fused producers and
consumers.  Both take at launch: the addresses of their buffers, a list of 64-bit integers
(sizes, strides, offsets) and a list of doubles (constants that change from call to call).

Every index is offset + sum(axis * stride).  A stride or an extent is either a number fixed in
the text or the name of an integer parameter.  In the place of an axis there may be a computed
number, the name of an int64 value in scope: so a kernel gathers, scatters and sorts.  Such an
index is in range too: what could leave the memory is clamped before it is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from dlgrad.dtype import DType
from dlgrad.lazy.ops import ElementwiseOps, ReduceOps

Size = int | str  # a number fixed in the text, or the name of an integer parameter


# Expressions ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Index:
    """A place in a buffer, counted in elements: offset + sum(axis * stride)."""

    terms: tuple[tuple[str, Size], ...]  # (axis or int64 value, stride), strides are never 0
    offset: Size = 0


Lane = str | Index | None  # a place among the lanes of an accumulator


def lane_terms(lane: Lane) -> tuple[tuple[str, Size], ...]:
    """The axes that choose a lane, with their strides."""
    if lane is None:
        return ()
    return ((lane, 1),) if isinstance(lane, str) else lane.terms


@dataclass(frozen=True)
class Literal:
    """A number fixed in the text."""

    value: bool | int | float
    dtype: DType


@dataclass(frozen=True)
class Scalar:
    """A number given at launch: entry `position` of the list of doubles."""

    position: int
    dtype: DType


@dataclass(frozen=True)
class Load:
    """One element of parameter `buffer`.

    float16 and bfloat16 elements arrive as float32 (`dtype` is then float32), because half
    types compute in float32.  In a Gemm, `access` numbers the row of stride tables that finds
    the element, and `index` is None.
    """

    buffer: int
    index: Index | None
    dtype: DType
    access: int = -1


@dataclass(frozen=True)
class Alu:
    """An element-wise op on expressions; the operands of a binary op have one dtype.

    CAST and BITCAST convert from `src[0].dtype` to `dtype`; comparisons give bool.
    """

    op: ElementwiseOps
    src: tuple[Expr, ...]
    dtype: DType


@dataclass(frozen=True)
class Local:
    """The value of a `Let` or of an `Accumulator` in scope.

    An accumulator with lanes is read at the current place of the axis `lane`, or at the sum of
    axes times strides, all of them numbers fixed in the text.
    """

    name: str
    dtype: DType
    lane: Lane = None


@dataclass(frozen=True)
class Counter:
    """An affine function of the loop axes, as a number (iota)."""

    index: Index
    dtype: DType


Expr = Literal | Scalar | Load | Alu | Local | Counter


# Statements -----------------------------------------------------------------------------------


class LoopKind(Enum):
    """What a machine may do with a loop."""

    PARALLEL = "parallel"  # iterations share nothing: threads, or a grid
    SERIAL = "serial"  # in order
    LANES = "lanes"  # iterations share nothing: vector lanes
    REDUCE = "reduce"  # accumulates; partial sums may be combined in any order


@dataclass(frozen=True)
class Loop:
    """for axis in range(extent): body.

    The extent of a loop that is not PARALLEL may also be the name of an int64 value in scope.

    With `tile = (outer, length)` the loop covers one tile of a longer axis: it runs
    min(length, extent - outer * length) times, and an index names both axes.
    """

    axis: str
    extent: Size
    kind: LoopKind
    body: tuple[Stmt, ...]
    tile: tuple[str, int] | None = None


@dataclass(frozen=True)
class Let:
    """A value named once and never changed."""

    name: str
    value: Expr


@dataclass(frozen=True)
class Accumulator:
    """A variable, or one for each of `lanes` places, set to `initial`."""

    name: str
    dtype: DType
    initial: Expr
    lanes: int = 1


@dataclass(frozen=True)
class Accumulate:
    """name = combine(name, value) with the combining op of `op`; `lane` as in Local."""

    name: str
    op: ReduceOps
    value: Expr
    lane: Lane = None


@dataclass(frozen=True)
class Assign:
    """name = value, for an `Accumulator` that is used as a plain variable; `lane` as in Local."""

    name: str
    value: Expr
    lane: Lane = None


@dataclass(frozen=True)
class Store:
    """Writes `value` to an element of parameter `buffer`; converts to the parameter's dtype.

    The value's dtype is the parameter's, or float32 for a half type.  In a Gemm, `access` is
    used in place of `index`, as in Load.
    """

    buffer: int
    index: Index | None
    value: Expr
    access: int = -1


Stmt = Loop | Let | Accumulator | Accumulate | Assign | Store


# Kernels --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    """A buffer of the kernel: its name in the text, its element type, and what is done to it."""

    name: str
    dtype: DType
    is_output: bool


@dataclass(frozen=True)
class Kernel:
    """A loop nest.

    `body` is any number of `Let`s and one outermost PARALLEL loop, or several nested PARALLEL
    loops with nothing between them (the machine may flatten them into one range); a kernel
    that is a single element has no loop at all.

    At launch: addresses in the order of `parameters`, integers in the order of `sizes`,
    doubles in the order of `scalars` (their dtypes).

    `cooperative` is for GPUs: one group of threads, not one thread, does each iteration of the
    parallel range, and shares the outermost REDUCE and LANES loops within it.  Elsewhere it
    says nothing.

    With `stream` the results are more than caches hold and are best written past them, so many
    elements at a time.  It is only there for kernels that do not read what they write, of one
    PARALLEL loop whose stores follow its axis, or of tiles whose stores follow their lines.
    """

    name: str  # readable and unique: op words and a hash of the structure
    note: str  # what it computes, for the comment above the text
    parameters: tuple[Parameter, ...]
    sizes: tuple[str, ...]
    scalars: tuple[DType, ...]
    body: tuple[Stmt, ...]
    cooperative: bool = False
    stream: int = 0


def can_stream(kernel: Kernel) -> bool:
    """Whether a kernel may have `stream`."""
    if len(kernel.body) != 1 or not isinstance(kernel.body[0], Loop):
        return False
    loop = kernel.body[0]
    if loop.kind is not LoopKind.PARALLEL or loop.tile is not None:
        return False
    written, read = set(), set()
    for stmt in loop.body:
        if not isinstance(stmt, (Let, Store)):
            return False
        read |= {load.buffer for load in loads_of(stmt.value)}
        if isinstance(stmt, Store):
            written.add(stmt.buffer)
            if stmt.index != Index(((loop.axis, 1),)):
                return False
    return not written & read


def loads_of(expr: Expr) -> list[Load]:
    """The loads in an expression."""
    if isinstance(expr, Load):
        return [expr]
    sources = expr.src if isinstance(expr, Alu) else ()
    return [load for source in sources for load in loads_of(source)]


def parallel_nest(kernel: Kernel) -> tuple[Loop, ...]:
    """The PARALLEL loops whose flattened iterations are the kernel's range, outermost first.

    The range is the product of their extents, row-major; without such a loop it is 1.
    """
    nest: list[Loop] = []
    body = kernel.body
    while True:
        loops = [s for s in body if isinstance(s, Loop) and s.kind is LoopKind.PARALLEL]
        if len(loops) != 1 or (nest and len(body) != 1):
            return tuple(nest)
        if loops[0].tile is not None:
            return tuple(nest)
        nest.append(loops[0])
        body = loops[0].body


@dataclass(frozen=True)
class Gemm:
    """result[batch, m, n] = epilogue(sum over k of a[batch, m, k] * b[batch, k, n]).

    `a` and `b` are expressions whose `Load`s carry an `access`; so are the loads of `epilogue`,
    a list of Stores whose values may read `Local("accumulator", accumulate)`.  Loads in `a`
    move with the groups batch, m and k; in `b` with batch, k and n; in the epilogue with
    batch, m and n.

    The integers at launch, in this order:
      rank of batch, of m, of n, of k;
      the sizes of the batch dimensions, of m, of n, of k (row-major, last fastest);
      then for each access in order: its offset, and a stride for every one of those dimensions
      (batch, m, n, k; 0 where the access does not move).
    So one compiled Gemm serves every rank, every layout and every window of a convolution:
    an address is offset + row_table[m] + column_table[n or k], and the kernel makes the tables.
    `contiguous` names the accesses known to have stride 1 along the last dimension of that
    group, as (access, group) with group one of "m", "n", "k": a hint for vector loads, to be
    checked against the tables.
    """

    name: str
    note: str
    parameters: tuple[Parameter, ...]
    scalars: tuple[DType, ...]
    accumulate: DType
    a: Expr
    b: Expr
    epilogue: tuple[Stmt, ...]  # Lets and Stores
    accesses: int
    contiguous: tuple[tuple[int, str], ...] = field(default=())


# What a machine can do ------------------------------------------------------------------------


@dataclass(frozen=True)
class Caps:
    """Facts about a device that shape its kernels; plain data, handed down by the engine.

    `vector_bytes` and `registers` describe the vector unit, `bfloat16_pairs` says that it
    multiplies pairs of bfloat16 and adds them up (vdpbf16ps), the cache sizes are in bytes,
    `workers` counts the threads (CPU) or the resident groups (GPU) worth feeding, and
    `group_size` the cooperating threads of one group (1 on a CPU).
    """

    dtypes: tuple[DType, ...]
    vector_bytes: int = 16
    registers: int = 16
    bfloat16_pairs: bool = False
    level1_cache: int = 32 * 1024
    level2_cache: int = 1024 * 1024
    workers: int = 1
    group_size: int = 1
