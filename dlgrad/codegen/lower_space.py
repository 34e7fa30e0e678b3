"""The space of loops of a group: how memory is walked, and what its values are called.

Floor 3.  `LoopSpace` makes a dry run over the group that finds every access to memory, joins
dimensions that all accesses walk as one into axes, names parameters, strides and values, and
turns values into expressions.  `lower.py` chooses the form of the loops.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from math import prod

from dlgrad.codegen.kernel import (
    Alu,
    Caps,
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
    Size,
    Stmt,
    Store,
    can_stream,
)
from dlgrad.codegen.kernel import Counter as CounterExpr
from dlgrad.codegen.lower_values import (
    KernelCall,
    Memory,
    Scratch,
    Values,
    kernel_words,
    load_dtype,
    memory_of,
    shapes_note,
    structure_hash,
)
from dlgrad.dtype import DType, bool_, int64
from dlgrad.lazy.graph import Node, Places
from dlgrad.lazy.group import Group, read, squeezed_strides
from dlgrad.lazy.ops import OPS, BufferOps, ElementwiseOps, IndexOps, ReduceOps
from dlgrad.lazy.schedule import Schedule
from dlgrad.lazy.shape import Shape, View

# Strides and offsets up to this are written into the text: a compiler loads every second
# element well if it knows that it is every second.
SMALL_STRIDE = 4

BYTES_IN_CACHES = 64 << 20  # kernels that move more leave nothing behind for the next one
# Elements that are computed before they go past the caches.  Where there is little to compute,
# few: memory is read on while it takes them in.
STREAM_BLOCK, LIGHT_STREAM_BLOCK = 512, 64
NOWHERE = Scratch(0)  # what a counter walks through


@dataclass
class Access:
    """How one view of one memory moves with the loops of the group."""

    memory: Memory
    strides: Shape  # one for each dimension of the group's full space
    offset: int
    dtype: DType
    name: str = ""
    at_full: bool = False  # used where the loops over the reduced dimensions run

    @property
    def is_counter(self) -> bool:
        return self.memory is NOWHERE


@dataclass
class Axis:
    """A run of dimensions of the full space that every access walks as one."""

    dims: list[int]
    size: int
    reduced: bool
    name: str = ""
    tile: tuple[str, int] | None = None  # (name of the loop over tiles, their length)
    fixed: bool = False  # the extent is written into the text
    written_out: bool = False  # no loop: every place has its own statements


@dataclass
class Scope:
    """The statements of one block, and the values that have a name in it."""

    body: list[Stmt] = field(default_factory=list)
    known: dict[object, Expr] = field(default_factory=dict)


class LoopSpace(Values):
    """The accesses, axes and names of one group; subclasses put the loops around them."""

    def __init__(self, group: Group, schedule: Schedule, caps: Caps) -> None:
        super().__init__(group, schedule)
        self.caps = caps
        self.rank = len(group.full)
        self.reduces = self.needed_reduces()
        self.stages = {id(node): self.stage(node) for node in self.reduces}
        self.accesses: dict[object, Access] = {}
        self.demand: Counter[object] = Counter()
        self.crossing: list[Node] = []  # values per row that the rows read again
        self.at_full = True  # which frame the current expression is in
        self.inner = Scope()
        self.outer = Scope()
        self.current = self.inner
        self.place: dict[int, int] = {}  # written-out indices, by axis number
        self.collecting = True
        self.accumulators: dict[object, Local] = {}
        self.lane: Axis | None = None
        self.used_names: Counter[str] = Counter()
        self.written = list(group.stores)  # what this kernel stores
        self.collect()
        self.axes = self.make_axes()

    # What is needed ---------------------------------------------------------------------------

    def needed_reduces(self) -> list[Node]:
        """The REDUCE members that the stores depend on, in order."""
        needed: set[int] = set()
        pending = list(self.group.stores)
        seen = {id(node) for node in pending}
        while pending:
            node = pending.pop()
            if isinstance(node.op, ReduceOps):
                needed.add(id(node))
            for source in node.src:
                producer, _ = read(source)
                if id(producer) in seen:
                    continue
                if id(producer) in self.members or id(producer) in self.schedule.repeated:
                    seen.add(id(producer))
                    pending.append(producer)
        return [node for node in self.group.members if id(node) in needed]

    def stage(self, node: Node, known: dict[int, int] | None = None) -> int:
        """How many passes over the rows must be complete before `node` can be computed."""
        known = {} if known is None else known
        if id(node) not in known:
            below = 0
            for source in node.src:
                producer, _ = read(source)
                if id(producer) in self.members and producer is not node:
                    below = max(below, self.stage(producer, known))
            known[id(node)] = below + isinstance(node.op, ReduceOps)
        return known[id(node)]

    def full_stores(self) -> list[Node]:
        return [node for node in self.group.stores if id(node) not in self.group.outer_level]

    def outer_stores(self) -> list[Node]:
        return [node for node in self.group.stores if id(node) in self.group.outer_level]

    def collect(self) -> None:
        """A dry run that finds every access, and how often every value is used."""
        for node in self.reduces:
            self.at_full = True
            self.value(node.src[0])
        for node in self.full_stores():
            self.at_full = True
            self.stored_value(node)
            self.store_access(node)
        for node in self.outer_stores():
            self.at_full = False
            self.stored_value(node)
            self.store_access(node)
        self.at_full = True
        self.collecting = False

    def stored_value(self, node: Node) -> Expr:
        if isinstance(node.op, ReduceOps):
            return self.member(node, View.contiguous(node.shape))
        return self.computed(node)

    # Accesses -----------------------------------------------------------------------------------

    def frame_strides(self, view: View) -> Shape:
        """The strides of `view` over all dimensions of the full space, in the current frame."""
        strides = squeezed_strides(view)
        if self.at_full:
            return strides
        along = iter(strides)
        return tuple(0 if dim in self.group.reduced else next(along) for dim in range(self.rank))

    def access(self, memory: Memory, strides: Shape, offset: int, dtype: DType) -> Access:
        key = (id(memory), strides, offset, dtype)
        found = self.accesses.get(key)
        if found is None:
            found = self.accesses[key] = Access(memory, strides, offset, dtype)
        found.at_full |= self.at_full
        return found

    def store_access(self, node: Node) -> Access:
        view = View.contiguous(node.shape)
        if node.op is BufferOps.UPDATE:
            view = node.arg
        elif node.op is IndexOps.SCATTER:
            view = node.arg.view
        return self.access(memory_of(node), self.frame_strides(view), view.offset, node.dtype)

    def load(self, memory: Node, view: View, dtype: DType) -> Expr:
        access = self.access(memory, self.frame_strides(view), view.offset, memory.dtype)
        if self.collecting:
            self.demand[id(access)] += 1
            return Literal(0, dtype)
        known = self.current.known.get((id(access), *self.place.items()))
        if known is not None:
            return known
        expr: Expr = Load(self.parameter(memory), self.index(access), dtype)
        if self.demand[id(access)] > 1:
            name = self.fresh(f"{access.name}_value")
            key = (id(access), *self.place.items())
            return self.let(self.scope_for(expr), key, name, expr)
        return expr

    def counter(self, view: View, dtype: DType) -> Expr:
        access = self.access(NOWHERE, self.frame_strides(view), view.offset, dtype)
        if self.collecting:
            return Literal(0, dtype)
        return CounterExpr(self.index(access), dtype)

    # Computed places ----------------------------------------------------------------------------

    def gather(self, memory: Node, places: Places, index: Expr, dtype: DType) -> Expr:
        view = places.view
        access = self.access(memory, self.frame_strides(view), view.offset, memory.dtype)
        if self.collecting:
            return Literal(0, load_dtype(dtype))
        place, is_inside = self.found_place(index, places.length, access.name)
        where = self.computed_index(access, place, places)
        load = Load(self.parameter(memory), where, load_dtype(dtype))
        return Alu(ElementwiseOps.WHERE, (is_inside, load, nothing(load.dtype)), load.dtype)

    def found_place(self, index: Expr, count: int, word: str) -> tuple[Local, Expr]:
        """`index` clamped into 0 to `count` - 1, named, and whether it was there before."""
        size = CounterExpr(Index((), self.size(self.fresh(f"{word}_count"), count)), int64)
        scope = self.scope_for(index)
        given = self.let(scope, object(), self.fresh(f"{word}_index"), index)
        top = Alu(ElementwiseOps.SUB, (size, Literal(1, int64)), int64)
        low = Alu(ElementwiseOps.MAXIMUM, (given, Literal(0, int64)), int64)
        clamped = Alu(ElementwiseOps.MINIMUM, (low, top), int64)
        place = self.let(scope, object(), self.fresh(f"{word}_place"), clamped)
        return place, Alu(ElementwiseOps.EQ, (given, place), bool_)

    def computed_index(self, access: Access, place: Local, places: Places) -> Index:
        """Where `place` is in the memory of `access`."""
        index = self.index(access)
        step: Size = places.step
        if abs(places.step) > SMALL_STRIDE:
            step = self.size(self.fresh(f"{access.name}_step"), places.step)
        terms = index.terms if step == 0 else (*index.terms, (place.name, step))
        return Index(terms, index.offset)

    # Values -------------------------------------------------------------------------------------

    def member(self, node: Node, view: View) -> Expr:
        outer = id(node) in self.group.outer_level
        if self.collecting:
            return self.collect_member(node, outer)
        if outer and self.at_full:
            return self.row_value(node)
        if isinstance(node.op, ReduceOps):
            return self.accumulators[id(node)]
        return self.computed(node)

    def collect_member(self, node: Node, outer: bool) -> Expr:
        self.demand[id(node)] += 1
        if outer and self.at_full:
            if node not in self.crossing:
                self.crossing.append(node)
                self.at_full = False
                if not isinstance(node.op, ReduceOps):
                    self.computed(node)
                self.at_full = True
        elif not isinstance(node.op, ReduceOps) and self.demand[id(node)] == 1:
            self.computed(node)
        return Literal(0, load_dtype(node.dtype))

    def row_value(self, node: Node) -> Expr:
        """A value per row, read inside the row."""
        known = self.accumulators.get(id(node))
        assert known is not None, "values per row are made before the rows read them"
        return known

    def computed(self, node: Node) -> Expr:
        """The value of a member that is not a reduction, named if it is used more than once."""
        key = (id(node), *self.place.items())
        known = self.current.known.get(key) or self.outer.known.get(key)
        if known is not None:
            return known
        expr = self.compute(node, None)
        if self.collecting or not isinstance(expr, Alu):
            return expr
        scope = self.scope_for(expr)
        if self.demand[id(node)] > 1 or (scope is self.outer and self.current is self.inner):
            return self.let(scope, key, self.fresh(node.op.value), expr)
        return expr

    def scope_for(self, expr: Expr) -> Scope:
        """The outermost block in which everything that `expr` reads is there."""
        if self.current is self.outer or self.lane is not None:
            return self.current
        return self.inner if self.reads_inner(expr) else self.outer

    def reads_inner(self, expr: Expr) -> bool:
        inner_axes = {axis.name for axis in self.axes if axis.reduced}
        if isinstance(expr, Alu):
            return any(self.reads_inner(source) for source in expr.src)
        if isinstance(expr, (Load, CounterExpr)):
            assert expr.index is not None
            inner_names = inner_axes | self.inner_names()
            return any(axis in inner_names for axis, _ in expr.index.terms)
        if isinstance(expr, Local):
            return expr.name in self.inner_names()
        return False

    def inner_names(self) -> set[str]:
        """The values that have a name in the inner block only."""
        return {stmt.name for stmt in self.inner.body if isinstance(stmt, Let)}

    def let(self, scope: Scope, key: object, name: str, expr: Expr) -> Local:
        local = Local(name, expr.dtype)
        scope.body.append(Let(name, expr))
        scope.known[key] = local
        if scope is self.outer and self.current is not self.outer:
            self.current.known[key] = local
        return local

    def fresh(self, word: str) -> str:
        self.used_names[word] += 1
        count = self.used_names[word]
        return word if count == 1 else f"{word}_{count}"

    # Axes ---------------------------------------------------------------------------------------

    def make_axes(self) -> list[Axis]:
        """Joins neighbouring dimensions wherever every access walks them as one."""
        axes: list[Axis] = []
        full, reduced = self.group.full, self.group.reduced
        for dim, size in enumerate(full):
            last = axes[-1] if axes else None
            if (
                last is not None
                and last.reduced == (dim in reduced)
                and all(
                    access.strides[last.dims[-1]] == access.strides[dim] * size
                    for access in self.accesses.values()
                )
            ):
                last.dims.append(dim)
                last.size *= size
            else:
                axes.append(Axis([dim], size, dim in reduced))
        outer_names, inner_names = iter("ijklmnopq"), iter("rstuvwxyz")
        for axis in axes:
            letters = inner_names if axis.reduced else outer_names
            axis.name = next(letters, "") or f"axis_{axis.dims[0]}"
        return axes

    def stride(self, access: Access, axis: Axis) -> int:
        return access.strides[axis.dims[-1]]

    # Text parts: parameters, sizes, indices -----------------------------------------------------

    def name_parameters(self, extra: list[tuple[Scratch, DType]]) -> None:
        """Gives every memory a parameter (outputs first), and every access a name.

        With `extra` outputs, the kernel is the first of a split and knows no values per row.
        """
        self.sizes: dict[str, int] = {}
        if extra:
            self.accesses = {k: a for k, a in self.accesses.items() if a.at_full}
        self.memories: list[Memory] = []
        self.parameters: list[Parameter] = []
        written = [memory_of(node) for node in self.written]
        outputs: list[tuple[Memory, DType]] = [(node, node.dtype) for node in written]
        outputs += extra
        for memory, dtype in outputs:
            if not any(memory is known for known in self.memories):
                name = "out" if not self.memories else f"out{len(self.memories) + 1}"
                self.memories.append(memory)
                self.parameters.append(Parameter(name, dtype, True))
        inputs = 0
        for access in self.accesses.values():
            if access.is_counter or any(access.memory is known for known in self.memories):
                continue
            name = "xyzw"[inputs] if inputs < 4 else f"x{inputs + 1}"
            inputs += 1
            self.memories.append(access.memory)
            self.parameters.append(Parameter(name, access.dtype, False))
        views = Counter[str]()
        for access in self.accesses.values():
            if access.is_counter:
                access.name = "counter"
            else:
                access.name = self.parameters[self.parameter(access.memory)].name
            views[access.name] += 1
            if views[access.name] > 1:
                access.name = f"{access.name}_view{views[access.name]}"

    def parameter(self, memory: Memory) -> int:
        for i, known in enumerate(self.memories):
            if known is memory:
                return i
        raise AssertionError("every memory that is accessed has a parameter")

    def size(self, name: str, value: int) -> str:
        """Makes `name` an integer parameter of this kernel."""
        assert self.sizes.setdefault(name, value) == value
        return name

    def extent(self, axis: Axis) -> Size:
        return axis.size if axis.fixed else self.size(f"size_{axis.name}", axis.size)

    def index(self, access: Access) -> Index:
        terms: list[tuple[str, Size]] = []
        offset = access.offset
        for number, axis in enumerate(self.axes):
            stride = self.stride(access, axis)
            if number in self.place:
                offset += self.place[number] * stride
                continue
            if stride == 0 or axis.size == 1:
                continue
            if axis.tile is not None:
                outer, length = axis.tile
                step: Size = stride * length
                if abs(stride) > SMALL_STRIDE:
                    step = self.size(f"{access.name}_stride_{outer}", stride * length)
                terms.append((outer, step))
            if abs(stride) <= SMALL_STRIDE:
                terms.append((axis.name, stride))
            else:
                terms.append((axis.name, self.size(f"{access.name}_stride_{axis.name}", stride)))
        return Index(tuple(terms), self.offset_size(access, offset))

    def offset_size(self, access: Access, offset: int) -> Size:
        if abs(offset) <= SMALL_STRIDE:
            return offset
        at = "_".join(str(i) for i in self.place.values())
        return self.size(f"{access.name}_offset" + (f"_{at}" if at else ""), offset)

    def store(self, node: Node) -> Store:
        value = self.stored_value(node)
        access = self.store_access(node)
        return Store(self.parameter(access.memory), self.index(access), value)

    # Loops shared out to threads -----------------------------------------------------------------

    def looped(self) -> list[Axis]:
        """The dimensions that stay and have a loop."""
        return [axis for axis in self.axes if not axis.reduced and not axis.written_out]

    def tile_loop(self, axis: Axis, body: tuple[Stmt, ...]) -> Loop:
        assert axis.tile is not None
        name, length = axis.tile
        extent = self.size(f"size_{name}", -(-axis.size // length))
        return Loop(name, extent, LoopKind.PARALLEL, body)

    def wrap_parallel(self, body: list[Stmt]) -> tuple[Stmt, ...]:
        """The loops over the dimensions that stay, shared out to threads."""
        result = tuple(body)
        if self.lane is not None:
            result = (self.tile_loop(self.lane, result),)
        for axis in reversed(self.looped()):
            if axis is not self.lane:
                result = (Loop(axis.name, self.extent(axis), LoopKind.PARALLEL, result),)
        return result

    # The result -----------------------------------------------------------------------------------

    def finish(self, body: tuple[Stmt, ...], work: int) -> KernelCall:
        """The kernel and the numbers of its launch."""
        names = tuple(self.sizes)
        dtypes = tuple(self.scalar_dtypes)
        words = kernel_words(self.group)
        kind = self.parameters[0].dtype.name
        parameters = tuple(self.parameters)
        digest = structure_hash(parameters, names, dtypes, body)
        kernel = Kernel(
            f"{words}_{kind}_{digest}",
            self.note(),
            parameters,
            names,
            dtypes,
            body,
            self.is_cooperative(body),
        )
        elements = prod(self.group.full)
        flops = elements * sum(OPS[node.op].cost for node in self.group.members)
        moved = self.bytes_moved()
        if moved > BYTES_IN_CACHES and self.caps.group_size == 1 and can_stream(kernel):
            block = LIGHT_STREAM_BLOCK if 4 * flops <= moved else STREAM_BLOCK
            kernel = replace(kernel, name=f"{kernel.name}_streamed_{block}", stream=block)
        return KernelCall(
            kernel,
            list(self.memories),
            tuple(self.sizes.values()),
            tuple(self.scalar_positions),
            work,
            flops + moved,
            f"{words} {shapes_note(self.group)}",
            flops,
            moved,
            [m for m, p in zip(self.memories, self.parameters, strict=True) if p.is_output],
        )

    def is_cooperative(self, body: tuple[Stmt, ...]) -> bool:
        """Whether a group of threads should share the loops inside one iteration."""
        return self.caps.group_size > 1 and has_inner_loop(body)

    def bytes_moved(self) -> int:
        total = 0
        for access in self.accesses.values():
            if not access.is_counter:
                sizes = (axis.size for axis in self.axes if self.stride(access, axis) != 0)
                total += prod(sizes) * access.dtype.itemsize
        return total

    def note(self) -> str:
        """What the kernel computes, in the names of its text."""
        places = []
        for parameter in self.parameters:
            access = next((a for a in self.accesses.values() if a.name == parameter.name), None)
            along = ""
            if access is not None:
                axes = [a.name for a in self.axes if self.stride(access, a) != 0]
                along = f"[{', '.join(axes)}]"
            places.append(f"{parameter.name}{along}")
        ops = ", ".join(dict.fromkeys(node.op.value for node in self.group.members))
        reduced = [axis.name for axis in self.axes if axis.reduced]
        over = f", reduced over {', '.join(reduced)}" if reduced else ""
        return f"{ops}{over}: {', '.join(places)}"


def nothing(dtype: DType) -> Literal:
    """What is read outside of a memory: NaN, or 0 where the dtype has none."""
    if dtype.is_floating_point:
        return Literal(float("nan"), dtype)
    return Literal(False if dtype is bool_ else 0, dtype)


def has_inner_loop(body: tuple[Stmt, ...]) -> bool:
    """Whether there is a loop that the threads of a group can share."""
    return any(
        isinstance(stmt, Loop)
        and (stmt.kind is not LoopKind.PARALLEL or has_inner_loop(stmt.body))
        for stmt in body
    )
