"""The loops of a group of fused nodes: points, rows and columns.

Floor 3.  In: a `Group` of element-wise work and reductions.  Out: a `KernelCall`.  `lower.py`
says what the forms are and chooses between them and those of other files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import product
from math import prod

from dlgrad.codegen.kernel import (
    Accumulate,
    Accumulator,
    Caps,
    Expr,
    Literal,
    Load,
    Local,
    Loop,
    LoopKind,
    Stmt,
    Store,
)
from dlgrad.codegen.lower_rows import Keeper
from dlgrad.codegen.lower_space import Access, Axis, LoopSpace, Scope
from dlgrad.codegen.lower_values import KernelCall, identity_literal, load_dtype
from dlgrad.lazy.graph import Node
from dlgrad.lazy.group import Group
from dlgrad.lazy.ops import ReduceOps
from dlgrad.lazy.schedule import Schedule

SMALL_REDUCTION = 16  # this many elements are written out one by one
FEWEST_COLUMNS = 64  # columns that accumulate side by side,
MORE_COLUMNS = (1024, 256)  # or so many, where the memory is that wide and threads have enough
MOST_SUMS = 4  # with more sums than this, the widest tile would not stay in the nearest cache
ROW_BLOCK = 4096  # a longer row is summed in blocks, for accuracy
LONG_ROW = 4 * ROW_BLOCK
FEW_PLACES = 4  # a last dimension of so few places is written out too
FEW_RESULTS = 16  # with fewer rows than this, and
MANY_ELEMENTS = 32768  # more elements than this, a reduction is split,
MANY_IN_COLUMNS = 1 << 17  # or than this, where columns accumulate side by side
FEW_OUTER = 32  # with fewer outer iterations than this, and
LONG_INNER = 8192  # an inner loop longer than this, the inner loop is shared out too
INNER_TILE = 4096


class LoopKernel(LoopSpace):
    """Lowers one group."""

    def __init__(self, group: Group, schedule: Schedule, caps: Caps) -> None:
        self.kept: dict[int, Access] = {}  # id of a value -> where an earlier pass left it
        self.kept_in: dict[int, Node] = {}  # id of a result -> the value in its place so far
        self.columns = FEWEST_COLUMNS
        super().__init__(group, schedule, caps)
        if not self.is_points():
            self.choose_lane()

    def computed(self, node: Node) -> Expr:
        access = self.kept.get(id(node))
        if access is None or not self.at_full:
            return super().computed(node)
        known = self.current.known.get(id(node))
        if known is None:
            load = Load(self.parameter(access.memory), self.index(access), node.dtype)
            known = self.let(self.inner, id(node), self.fresh(f"kept_{node.op.value}"), load)
        return known

    # The forms ----------------------------------------------------------------------------------

    def lower(self) -> KernelCall:
        if self.is_points():
            self.choose_written_out()
            self.name_parameters([])
            return self.finish(self.points(), self.parallel_work())
        self.name_parameters([])
        body = self.passes()
        return self.finish(self.wrap_parallel(body), self.parallel_work())

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
            self.columns = next(
                (n for n in MORE_COLUMNS if self.fits_columns(n)), FEWEST_COLUMNS
            )
            axis.tile = (f"tile_{axis.name}", self.columns)

    def fits_columns(self, columns: int) -> bool:
        """Whether tiles of so many columns are full, stay cached, and leave work to share."""
        assert self.lane is not None
        if self.lane.size < columns or columns * len(self.reduces) > MOST_SUMS * MORE_COLUMNS[0]:
            return False
        return self.rows(columns) >= FEW_RESULTS or self.can_split()

    def rows(self, columns: int) -> int:
        """How many rows, or tiles of so many columns, there are to share out."""
        return prod(
            -(-axis.size // columns) if axis is self.lane else axis.size
            for axis in self.axes
            if not axis.reduced
        )

    def is_split(self) -> bool:
        """Whether the reductions are shared out in parts, as the rows are too few."""
        return (
            not self.is_points()
            and self.rows(self.columns) < FEW_RESULTS
            and self.can_split()
        )

    def can_split(self) -> bool:
        """Whether threads can share the reductions themselves, and all rows are worth it."""
        elements = prod(axis.size for axis in self.axes)
        return (
            elements >= (MANY_ELEMENTS if self.lane is None else MANY_IN_COLUMNS)
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

    # Rows and columns ---------------------------------------------------------------------------

    @staticmethod
    def reduce_op(node: Node) -> ReduceOps:
        assert isinstance(node.op, ReduceOps)
        return node.op

    def declare(self, node: Node, body: list[Stmt]) -> None:
        """An accumulator for a REDUCE node, set to the start value."""
        dtype = load_dtype(node.dtype)
        name = self.fresh(node.op.value)
        lanes = 1 if self.lane is None else self.columns
        body.append(Accumulator(name, dtype, identity_literal(self.reduce_op(node), dtype), lanes))
        lane = None if self.lane is None else self.lane.name
        self.accumulators[id(node)] = Local(name, dtype, lane)

    def passes(self) -> list[Stmt]:
        """The body of one row, or of one tile of columns: pass after pass, then the results."""
        keeper = Keeper(self, self.columns)
        for stage in range(keeper.last + 1):
            sums = [node for node in self.reduces if self.stages[id(node)] == stage + 1]
            stores = [node for node in self.full_stores() if self.stage(node) == stage]
            kept = keeper.kept.get(stage, [])
            if sums or stores:
                self.one_pass(sums, stores, kept)
            for node, place in kept:
                self.kept[id(node)] = self.store_access(place)
                self.kept_in[id(place)] = node
            self.at_full = False
            for node in self.crossing:
                if self.stage(node) == stage + 1 and id(node) not in self.accumulators:
                    self.keep_row_value(node)
        self.row_results()
        return self.outer.body

    def one_pass(
        self, sums: list[Node], stores: list[Node], kept: Sequence[tuple[Node, Node]] = ()
    ) -> None:
        """Loops over the reduced dimensions once; `kept` values are written for later passes."""
        for node in sums:
            self.declare(node, self.outer.body)
        self.inner = Scope()
        self.current = self.inner
        self.at_full = True
        reduced = [axis for axis in self.axes if axis.reduced]
        partial = self.wants_partial_sums(reduced) and bool(sums)
        if partial and len(reduced) == 1 and reduced[0].tile is None:
            reduced[0].tile = (f"block_{reduced[0].name}", ROW_BLOCK)
        for node in stores:  # what is in the place of a result is read before it is written
            if self.kept_in.get(id(node), node) is not node:
                self.computed(self.kept_in[id(node)])
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
        for node, place in kept:
            if not any(node is stored for stored in stores):
                access = self.store_access(place)
                store = Store(self.parameter(access.memory), self.index(access), self.value(node))
                self.inner.body.append(store)
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
        self.outer.body.append(Accumulator(name, value.dtype, zero, self.columns))
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
