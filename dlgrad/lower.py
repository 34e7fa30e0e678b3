"""From a group of fused nodes to loop kernels.

Floor 3.  In: a `Group` of element-wise work and reductions.  Out: one `KernelCall`, or two
where a long reduction to few results is split into parts that threads can share.

The dimensions of the group become loops in one of these forms:
- points: no reduction, or one over so few elements (a pooling window) that it is written out;
- rows: the reduced dimensions are the inner loops, one row after the other;
- columns: memory runs along a dimension that stays, so the reduction is the outer loop and a
  tile of columns accumulates side by side.
"""

from __future__ import annotations

from collections import Counter
from itertools import product
from math import prod

from dlgrad import graph
from dlgrad.graph import Node
from dlgrad.group import Group, read
from dlgrad.kernel import (
    Accumulate,
    Accumulator,
    Caps,
    Index,
    Literal,
    Local,
    Loop,
    LoopKind,
    Stmt,
    Store,
)
from dlgrad.lower_space import Access, Axis, LoopSpace, Scope
from dlgrad.lower_values import (
    KernelCall,
    Memory,
    Scratch,
    identity_literal,
    load_dtype,
    memory_of,
)
from dlgrad.ops import ReduceOps
from dlgrad.schedule import Schedule
from dlgrad.shape import View

SMALL_REDUCTION = 16  # this many elements are written out one by one
COLUMNS = 64  # columns that accumulate side by side
ROW_BLOCK = 4096  # a longer row is summed in blocks, for accuracy
LONG_ROW = 4 * ROW_BLOCK
PART = 8192  # elements of one part of a split reduction
FEW_PLACES = 4  # a last dimension of so few places is written out too
FEW_RESULTS = 16  # with fewer rows than this, and
MANY_ELEMENTS = 32768  # more elements than this, a reduction is split
FEW_OUTER = 32  # with fewer outer iterations than this, and
LONG_INNER = 8192  # an inner loop longer than this, the inner loop is shared out too
INNER_TILE = 4096


class LoopKernel(LoopSpace):
    """Lowers one group."""

    # The forms ----------------------------------------------------------------------------------

    def lower(self) -> list[KernelCall]:
        reduced = [axis for axis in self.axes if axis.reduced]
        elements = prod(axis.size for axis in reduced)
        if self.is_points():
            self.choose_written_out()
            self.name_parameters([])
            return [self.finish(self.points(), self.parallel_work())]
        self.choose_lane()
        if self.is_split(elements):
            return self.split()
        self.name_parameters([])
        body = self.passes()
        return [self.finish(self.wrap_parallel(body), self.parallel_work())]

    def choose_lane(self) -> None:
        """Chooses columns over rows where memory runs along a dimension that stays."""
        if not self.schedule.optimize:
            return
        votes: Counter[int] = Counter()  # elements that lie in a row along each axis
        for access in self.accesses.values():
            if access.is_counter:
                continue
            walked = [axis for axis in self.axes if self.stride(access, axis) != 0]
            for number, axis in enumerate(self.axes):
                if self.stride(access, axis) == 1:
                    votes[number] += prod(other.size for other in walked)
        if not votes:
            return
        fastest = max(votes, key=lambda number: votes[number])
        axis = self.axes[fastest]
        if not axis.reduced and axis.size >= 8:
            self.lane = axis
            axis.tile = (f"tile_{axis.name}", COLUMNS)

    def is_split(self, elements: int) -> bool:
        rows = prod(
            -(-axis.size // COLUMNS) if axis is self.lane else axis.size
            for axis in self.axes
            if not axis.reduced
        )
        return (
            rows < FEW_RESULTS
            and elements * rows >= MANY_ELEMENTS
            and bool(self.reduces)
            and self.schedule.optimize
            and not self.crossing
            and set(self.stages.values()) == {1}
        )

    # Points -------------------------------------------------------------------------------------

    def choose_written_out(self) -> None:
        """Reduced dimensions have no loops here, nor has a last dimension of very few places."""
        for axis in self.axes:
            axis.written_out = axis.reduced
        last = self.axes[-1] if len(self.axes) > 1 else None
        if last is not None and self.schedule.optimize and not self.reduces:
            last.written_out = last.size <= FEW_PLACES

    def looped(self) -> list[Axis]:
        """The dimensions that stay and have a loop."""
        return [axis for axis in self.axes if not axis.reduced and not axis.written_out]

    def points(self) -> tuple[Stmt, ...]:
        """One value after the other; a small reduction is written out."""
        outer = self.looped()
        self.tile_long_inner(outer)
        written_out = [n for n, axis in enumerate(self.axes) if axis.written_out]
        places = [
            dict(zip(written_out, at, strict=True))
            for at in product(*(range(self.axes[n].size) for n in written_out))
        ]
        self.current = self.outer = self.inner
        last = max(self.stages.values(), default=0)
        for stage in range(last + 1):
            self.point_stage(stage, places)
            self.place = {}
            self.at_full = False
            for node in self.crossing:
                if self.stage(node) == stage + 1 and id(node) not in self.accumulators:
                    self.keep_row_value(node)
        self.at_full = False
        for node in self.outer_stores():
            self.inner.body.append(self.store(node))
        return self.wrap_points(outer)

    def point_stage(self, stage: int, places: list[dict[int, int]]) -> None:
        """One pass over the written-out places."""
        sums = [node for node in self.reduces if self.stages[id(node)] == stage + 1]
        for node in sums:
            self.declare(node, self.inner.body)
        stores = [node for node in self.full_stores() if self.stage(node) == stage]
        for place in places:
            self.place = place
            self.at_full = True
            for node in sums:
                value = self.value(node.src[0])
                self.inner.body.append(
                    Accumulate(self.accumulators[id(node)].name, self.reduce_op(node), value)
                )
            for node in stores:
                self.inner.body.append(self.store(node))
        self.place = {}

    def tile_long_inner(self, outer: list[Axis]) -> None:
        if len(outer) < 2 or not self.schedule.optimize:
            return
        iterations = prod(axis.size for axis in outer[:-1])
        if iterations < FEW_OUTER and outer[-1].size >= LONG_INNER:
            outer[-1].tile = (f"tile_{outer[-1].name}", INNER_TILE)

    def wrap_points(self, outer: list[Axis]) -> tuple[Stmt, ...]:
        body: tuple[Stmt, ...] = tuple(self.inner.body)
        if not outer:
            return body
        last = outer[-1]
        kind = LoopKind.LANES if len(outer) > 1 else LoopKind.PARALLEL
        body = (Loop(last.name, self.extent(last), kind, body, last.tile),)
        if last.tile is not None:
            body = (self.tile_loop(last, body),)
        for axis in reversed(outer[:-1]):
            body = (Loop(axis.name, self.extent(axis), LoopKind.PARALLEL, body),)
        return body

    def tile_loop(self, axis: Axis, body: tuple[Stmt, ...]) -> Loop:
        assert axis.tile is not None
        name, length = axis.tile
        extent = self.size(f"size_{name}", -(-axis.size // length))
        return Loop(name, extent, LoopKind.PARALLEL, body)

    # Rows and columns ---------------------------------------------------------------------------

    @staticmethod
    def reduce_op(node: Node) -> ReduceOps:
        assert isinstance(node.op, ReduceOps)
        return node.op

    def declare(self, node: Node, body: list[Stmt]) -> None:
        """An accumulator for a REDUCE node, set to the start value."""
        dtype = load_dtype(node.dtype)
        name = self.fresh(node.op.value)
        lanes = 1 if self.lane is None else COLUMNS
        body.append(Accumulator(name, dtype, identity_literal(self.reduce_op(node), dtype), lanes))
        lane = None if self.lane is None else self.lane.name
        self.accumulators[id(node)] = Local(name, dtype, lane)

    def passes(self) -> list[Stmt]:
        """The body of one row, or of one tile of columns: pass after pass, then the results."""
        last = max(
            [*self.stages.values(), *(self.stage(node) for node in self.full_stores())], default=0
        )
        for stage in range(last + 1):
            sums = [node for node in self.reduces if self.stages[id(node)] == stage + 1]
            stores = [node for node in self.full_stores() if self.stage(node) == stage]
            if sums or stores:
                self.one_pass(sums, stores)
            self.at_full = False
            for node in self.crossing:
                if self.stage(node) == stage + 1 and id(node) not in self.accumulators:
                    self.keep_row_value(node)
        self.row_results()
        return self.outer.body

    def one_pass(self, sums: list[Node], stores: list[Node]) -> None:
        """Loops over the reduced dimensions once."""
        for node in sums:
            self.declare(node, self.outer.body)
        self.inner = Scope()
        self.current = self.inner
        self.at_full = True
        reduced = [axis for axis in self.axes if axis.reduced]
        partial = self.wants_partial_sums(reduced) and bool(sums)
        if partial and len(reduced) == 1 and reduced[0].tile is None:
            reduced[0].tile = (f"block_{reduced[0].name}", ROW_BLOCK)
        lane = None if self.lane is None else self.lane.name
        totals: list[tuple[str, Node]] = []
        for node in sums:
            total = self.accumulators[id(node)].name
            name = total
            if partial:
                name = self.fresh(f"partial_{node.op.value}")
                totals.append((name, node))
            value = self.value(node.src[0])
            self.inner.body.append(Accumulate(name, self.reduce_op(node), value, lane))
        for node in stores:
            self.inner.body.append(self.store(node))
        self.current = self.outer
        self.outer.body += self.wrap_reduced(reduced, bool(sums), totals)

    def wants_partial_sums(self, reduced: list[Axis]) -> bool:
        """Whether a row is long enough to be summed in blocks (columns are left alone)."""
        if self.lane is not None or not self.schedule.optimize:
            return False
        length = reduced[-1].size if reduced[-1].tile is None else reduced[-1].tile[1]
        blocked = len(reduced) > 1 or reduced[0].tile is not None
        return (blocked and length >= 16) or length >= LONG_ROW

    def wrap_reduced(
        self, reduced: list[Axis], accumulates: bool, totals: list[tuple[str, Node]]
    ) -> list[Stmt]:
        """The loops over the reduced dimensions around the statements of the inner scope."""
        body: list[Stmt] = list(self.inner.body)
        last = reduced[-1]
        if self.lane is not None:
            lane = self.lane
            body = [Loop(lane.name, self.extent(lane), LoopKind.LANES, tuple(body), lane.tile)]
            kind = LoopKind.SERIAL
        else:
            kind = LoopKind.REDUCE if accumulates else LoopKind.LANES
        body = [Loop(last.name, self.extent(last), kind, tuple(body), last.tile)]
        if totals:
            before: list[Stmt] = []
            after: list[Stmt] = []
            for name, node in totals:
                total = self.accumulators[id(node)]
                op = self.reduce_op(node)
                before.append(Accumulator(name, total.dtype, identity_literal(op, total.dtype)))
                after.append(Accumulate(total.name, op, Local(name, total.dtype)))
            body = before + body + after
        if last.tile is not None and last.tile[0].startswith("block_"):
            blocks = self.size(f"size_{last.tile[0]}", -(-last.size // last.tile[1]))
            body = [Loop(last.tile[0], blocks, LoopKind.SERIAL, tuple(body))]
        for axis in reversed(reduced[:-1]):
            body = [Loop(axis.name, self.extent(axis), LoopKind.SERIAL, tuple(body), axis.tile)]
        return body

    def keep_row_value(self, node: Node) -> None:
        """Computes a value per row once, for the passes that read it."""
        if self.lane is None:
            value = self.stored_value(node)
            if not isinstance(value, Local):
                value = self.let(self.outer, (id(node),), self.fresh(node.op.value), value)
            self.accumulators[id(node)] = value
            return
        if isinstance(node.op, ReduceOps):
            return
        self.inner = self.current = Scope()
        value = self.stored_value(node)
        name = self.fresh(node.op.value)
        zero = Literal(0.0 if value.dtype.is_floating_point else 0, value.dtype)
        lane = self.lane
        self.outer.body.append(Accumulator(name, value.dtype, zero, COLUMNS))
        self.inner.body.append(Accumulate(name, ReduceOps.SUM, value, lane.name))
        self.outer.body.append(
            Loop(lane.name, self.extent(lane), LoopKind.LANES, tuple(self.inner.body), lane.tile)
        )
        self.current = self.outer
        self.accumulators[id(node)] = Local(name, value.dtype, lane.name)

    def row_results(self) -> None:
        """The stores of values per row, after the last pass."""
        self.at_full = False
        if self.lane is None:
            self.current = self.outer
            for node in self.outer_stores():
                self.outer.body.append(self.store(node))
            return
        self.inner = self.current = Scope()
        for node in self.outer_stores():
            self.inner.body.append(self.store(node))
        self.close_lane_loop()

    def close_lane_loop(self) -> None:
        lane = self.lane
        assert lane is not None
        if self.inner.body:
            self.outer.body.append(
                Loop(
                    lane.name, self.extent(lane), LoopKind.LANES, tuple(self.inner.body), lane.tile
                )
            )
        self.current = self.outer

    def wrap_parallel(self, body: list[Stmt]) -> tuple[Stmt, ...]:
        """The loops over the dimensions that stay, shared out to threads."""
        result = tuple(body)
        if self.lane is not None:
            result = (self.tile_loop(self.lane, result),)
        for axis in reversed(self.looped()):
            if axis is not self.lane:
                result = (Loop(axis.name, self.extent(axis), LoopKind.PARALLEL, result),)
        return result

    def parallel_work(self) -> int:
        """How many iterations the PARALLEL loops have together."""
        work = 1
        outer = self.looped()
        for axis in outer:
            if axis.tile is not None:
                work *= -(-axis.size // axis.tile[1])
            elif not (self.is_points() and len(outer) > 1 and axis is outer[-1]):
                work *= axis.size
        return work

    def is_points(self) -> bool:
        """Whether every place is computed by itself: see `points`."""
        reduced = [axis.size for axis in self.axes if axis.reduced]
        if not self.schedule.optimize:
            return not reduced
        return 0 < prod(reduced) <= SMALL_REDUCTION

    # Split reductions -----------------------------------------------------------------------------

    def split(self) -> list[KernelCall]:
        """Partial results of parts of the rows into scratch memory, then their reduction."""
        reduced = [axis for axis in self.axes if axis.reduced]
        axis = max(reduced, key=lambda axis: axis.size)
        others = prod(other.size for other in reduced) // max(axis.size, 1)
        columns = 1 if self.lane is None else min(COLUMNS, self.lane.size)
        length = max(1, PART // max(1, others * columns))
        length = 1 << (length.bit_length() - 1)  # few different texts
        axis.tile = ("part", length)
        parts = -(-axis.size // length)
        outer = self.group.outer
        scratches = [
            Scratch(parts * prod(outer) * load_dtype(node.dtype).itemsize) for node in self.reduces
        ]
        self.written = self.full_stores()
        self.name_parameters(
            [(s, load_dtype(n.dtype)) for s, n in zip(scratches, self.reduces, strict=True)]
        )
        self.one_pass(self.reduces, self.full_stores())
        self.store_partials(scratches, parts)
        body = (
            Loop(
                "part",
                self.size("size_part", parts),
                LoopKind.PARALLEL,
                self.wrap_parallel(self.outer.body),
            ),
        )
        first = self.finish(body, self.parallel_work() * parts)
        second = self.combine_group(scratches, parts)
        return [first, *LoopKernel(second, self.schedule, self.caps).lower_combined(self.combined)]

    def store_partials(self, scratches: list[Scratch], parts: int) -> None:
        """scratch[part, outer...] = the partial results, densely."""
        outer = self.group.outer
        strides = iter(View.contiguous(outer).strides)
        dense = tuple(0 if d in self.group.reduced else next(strides) for d in range(self.rank))
        self.at_full = False
        if self.lane is not None:
            self.inner = self.current = Scope()
        for scratch, node in zip(scratches, self.reduces, strict=True):
            access = Access(scratch, dense, 0, load_dtype(node.dtype))
            access.name = self.parameters[self.parameter(scratch)].name
            index = self.index(access)
            part = self.size("part_stride", prod(outer))
            terms = (("part", part), *(t for t in index.terms if t[0] != "part"))
            store = Store(self.parameter(scratch), Index(terms), self.accumulators[id(node)])
            (self.outer if self.lane is None else self.inner).body.append(store)
        if self.lane is not None:
            self.close_lane_loop()

    def combine_group(self, scratches: list[Scratch], parts: int) -> Group:
        """The group that reduces the parts and goes on with what followed the reduction."""
        outer = self.group.outer
        rebuilt: dict[int, Node] = {}
        members: list[Node] = []
        for scratch, node in zip(scratches, self.reduces, strict=True):
            dtype = load_dtype(node.dtype)
            memory = graph.buffer(scratch, dtype, (parts, *outer), node.device)
            total = Node(node.op, (memory,), (0,), node.dtype, node.shape, node.device)
            rebuilt[id(node)] = total
            members.append(total)
        self.combined: dict[int, Memory] = {}
        for node in self.group.members:
            if id(node) in self.group.outer_level and id(node) not in rebuilt:
                src = tuple(self.rebuilt_source(source, rebuilt) for source in node.src)
                new = Node(node.op, src, node.arg, node.dtype, node.shape, node.device)
                rebuilt[id(node)] = new
                members.append(new)
        stores = []
        for node in self.outer_stores():
            new = rebuilt[id(node)]
            self.combined[id(new)] = memory_of(node)
            stores.append(new)
        return Group(
            (parts, *outer),
            frozenset({0}),
            members=members,
            outer_level={id(member) for member in members},
            stores=stores,
        )

    def rebuilt_source(self, source: Node, rebuilt: dict[int, Node]) -> Node:
        producer, view = read(source)
        if id(producer) not in rebuilt:
            return source
        return graph.view(rebuilt[id(producer)], view)

    def lower_combined(self, places: dict[int, Memory]) -> list[KernelCall]:
        """Lowers the second kernel of a split; its stores go where the first group's belong."""
        calls = self.lower()
        for call in calls:
            call.memory = [places.get(id(m), scratch_of(m)) for m in call.memory]
            call.writes = [places.get(id(m), m) for m in call.writes]
        return calls


def scratch_of(memory: Memory) -> Memory:
    """The scratch memory behind a BUFFER node that was made for it; others as they are."""
    if isinstance(memory, Node) and isinstance(memory.arg, Scratch):
        return memory.arg
    return memory


def lower_loops(group: Group, schedule: Schedule, caps: Caps) -> list[KernelCall]:
    """The launches that compute one group of element-wise work and reductions."""
    return LoopKernel(group, schedule, caps).lower()
