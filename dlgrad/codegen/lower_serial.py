"""Kernels that go through their elements in order: scatters, scans and sorts.

Floor 3.  In: a `Group` with one member.  Its loops share out every dimension but one; along
that one the elements come one after the other, so the result is the same on every machine and
with any number of threads.  Where memory runs along another dimension, a tile of columns goes
side by side.
"""

from __future__ import annotations

from dlgrad.codegen.kernel import (
    Accumulate,
    Accumulator,
    Alu,
    Assign,
    Caps,
    Counter,
    Expr,
    Index,
    Let,
    Literal,
    Load,
    Local,
    Loop,
    LoopKind,
    Size,
    Stmt,
    Store,
)
from dlgrad.codegen.lower_space import Axis, LoopSpace
from dlgrad.codegen.lower_values import KernelCall, Scratch, identity_literal, load_dtype, memory_of
from dlgrad.dtype import DType, bool_, int64
from dlgrad.lazy.graph import Places
from dlgrad.lazy.group import Group
from dlgrad.lazy.ops import COMBINE, ElementwiseOps, IndexOps, SerialOps
from dlgrad.lazy.schedule import Schedule

COLUMNS = 64  # columns that go side by side
FEWEST_COLUMNS = 8
RUNS = ("left", "right", "middle", "limit")  # the variables of a merge
E = ElementwiseOps


class SerialKernel(LoopSpace):
    """Lowers one scatter, scan or sort."""

    def lower(self) -> KernelCall:
        node = self.group.alone
        assert node is not None
        self.node = node
        self.along: Axis | None = next((axis for axis in self.axes if axis.reduced), None)
        self.current = self.outer = self.inner
        if node.op is SerialOps.ARGSORT:
            return self.sort()
        self.choose_columns()
        self.name_parameters([])
        body = self.scatter() if node.op is IndexOps.SCATTER else self.scan()
        return self.finish(self.wrap_parallel(body), self.parallel_work())

    def choose_columns(self) -> None:
        """Lets the last dimension go side by side, where the elements in order are far apart."""
        last = self.axes[-1] if self.axes else None
        if last is None or last.reduced or self.along is None or not self.schedule.optimize:
            return
        if last.size >= FEWEST_COLUMNS:
            self.lane = last
            last.tile = (f"tile_{last.name}", COLUMNS)

    def is_cooperative(self, body: tuple[Stmt, ...]) -> bool:
        """One thread does a row: what comes in order cannot be shared."""
        return False

    # Loops --------------------------------------------------------------------------------------

    def in_order(self, body: list[Stmt]) -> list[Stmt]:
        """The loop along the one dimension, around the loop over a tile of columns."""
        lane = self.lane
        if lane is not None:
            body = [Loop(lane.name, self.extent(lane), LoopKind.LANES, tuple(body), lane.tile)]
        if self.along is not None:
            extent = self.extent(self.along)
            body = [Loop(self.along.name, extent, LoopKind.SERIAL, tuple(body))]
        return body

    def parallel_work(self) -> int:
        work = 1
        for axis in self.axes:
            if axis is self.lane:
                work *= -(-axis.size // COLUMNS)
            elif axis is not self.along:
                work *= axis.size
        return work

    # Scatter ------------------------------------------------------------------------------------

    def scatter(self) -> list[Stmt]:
        """out[place] = value, or what is there combined with it; the last one stays."""
        node = self.node
        places: Places = node.arg
        value, index = self.value(node.src[1]), self.value(node.src[2])
        access = self.store_access(node)
        place, is_inside = self.found_place(index, places.length, access.name)
        target = self.computed_index(access, place, places)
        number = self.parameter(access.memory)
        old = Load(number, target, load_dtype(node.dtype))
        if places.combine is not None:
            value = Alu(COMBINE[places.combine], (old, value), old.dtype)
        value = Alu(E.WHERE, (is_inside, value, old), old.dtype)
        return self.in_order([*self.inner.body, Store(number, target, value)])

    # Scan ---------------------------------------------------------------------------------------

    def scan(self) -> list[Stmt]:
        """out = what the elements so far come to."""
        node, dtype = self.node, load_dtype(self.node.dtype)
        op = node.arg[1]
        access = self.store_access(node)
        lanes = 1 if self.lane is None else COLUMNS
        lane = None if self.lane is None else self.lane.name
        if op == "logsumexp":
            start, body, result = self.log_of_sum(lanes, lane)
        else:
            total = self.fresh("total")
            start = [Accumulator(total, dtype, identity_literal(op, dtype), lanes)]
            value = self.value(node.src[0])
            body = [*self.inner.body, Accumulate(total, op, value, lane)]
            result = Local(total, dtype, lane)
        body.append(Store(self.parameter(access.memory), self.index(access), result))
        return [*start, *self.in_order(body)]

    def log_of_sum(self, lanes: int, lane: str | None) -> tuple[list[Stmt], list[Stmt], Expr]:
        """log(sum(exp(x))) so far, as the largest element and the sum of exp(x - largest).

        The sum is rescaled whenever a larger element comes, so nothing overflows.
        """
        dtype = load_dtype(self.node.dtype)
        lowest, zero = Literal(float("-inf"), dtype), Literal(0.0, dtype)
        top, total = Local("top", dtype, lane), Local("total", dtype, lane)
        start: list[Stmt] = [
            Accumulator("top", dtype, lowest, lanes),
            Accumulator("total", dtype, zero, lanes),
        ]
        value = self.value(self.node.src[0])
        given, larger = Local("given", dtype), Local("larger", dtype)
        # The difference of two equal infinities is 0 here: it keeps a sum as it is.
        kept, added = (
            Alu(
                E.EXP,
                (
                    Alu(
                        E.WHERE,
                        (Alu(E.EQ, (x, larger), bool_), zero, Alu(E.SUB, (x, larger), dtype)),
                        dtype,
                    ),
                ),
                dtype,
            )
            for x in (top, given)
        )
        new_total = Alu(E.ADD, (Alu(E.MUL, (total, kept), dtype), added), dtype)
        body: list[Stmt] = [
            *self.inner.body,
            Let("given", value),
            Let("larger", Alu(E.MAXIMUM, (top, given), dtype)),
            Let("new_total", new_total),
            Assign("total", Local("new_total", dtype), lane),
            Assign("top", larger, lane),
        ]
        # Before the first element above -inf, the sum counts elements that are exp(-inf).
        result = Alu(E.ADD, (larger, Alu(E.LOG, (Local("new_total", dtype),), dtype)), dtype)
        return start, body, result

    # Sort ---------------------------------------------------------------------------------------

    def sort(self) -> KernelCall:
        """A merge sort from the bottom up, two passes at a time between two memories.

        Keys travel with their places.  Runs of `width` elements are merged pairwise; an even
        number of passes ends where it started.
        """
        dtype = load_dtype(self.node.src[0].dtype)
        count = self.node.numel
        keys = [Scratch(count * dtype.itemsize) for _ in range(2)]
        spare = Scratch(count * int64.itemsize)
        self.name_parameters([(keys[0], dtype), (keys[1], dtype), (spare, int64)])
        body = SortText(self, keys, spare, dtype).body()
        return self.finish(self.wrap_parallel(body), self.parallel_work())


class SortText:
    """The statements that sort one row, through pairs of (keys, places) in memory."""

    def __init__(
        self, kernel: SerialKernel, keys: list[Scratch], spare: Scratch, dtype: DType
    ) -> None:
        self.kernel = kernel
        self.dtype = dtype
        self.descending: bool = kernel.node.arg[1]
        row = kernel.index(kernel.store_access(kernel.node))
        along = kernel.along
        length = 1 if along is None else along.size
        self.axis = "r" if along is None else along.name
        self.length: Size = 1 if along is None else kernel.extent(along)
        self.row = Index(tuple(term for term in row.terms if term[0] != self.axis), row.offset)
        self.step = next((step for name, step in row.terms if name == self.axis), 1)
        self.first = kernel.parameter(keys[0]), kernel.parameter(memory_of(kernel.node))
        self.second = kernel.parameter(keys[1]), kernel.parameter(spare)
        # Two passes make runs of four out of runs of one.
        self.double_passes = kernel.size("size_passes", (max(length - 1, 0).bit_length() + 1) // 2)

    def at(self, name: str) -> Index:
        """Element `name` of this row."""
        return Index((*self.row.terms, (name, self.step)), self.row.offset)

    def body(self) -> list[Stmt]:
        """Every element with its place, then pairs of passes over longer and longer runs."""
        kernel = self.kernel
        value = kernel.value(kernel.node.src[0])
        keys, places = self.first
        filled: list[Stmt] = [
            *kernel.inner.body,
            Store(keys, self.at(self.axis), value),
            Store(places, self.at(self.axis), Counter(Index(((self.axis, 1),)), int64)),
        ]
        width = Local("width", int64)
        double = Assign("width", _plus(width, width))
        passes = [*self.merge(self.first, self.second), double]
        passes += [*self.merge(self.second, self.first), double]
        return [
            Loop(self.axis, self.length, LoopKind.SERIAL, tuple(filled)),
            Accumulator("width", int64, Literal(1, int64)),
            *(Accumulator(name, int64, Literal(0, int64)) for name in RUNS),
            Loop("double_pass", self.double_passes, LoopKind.SERIAL, tuple(passes)),
        ]

    def merge(self, source: tuple[int, int], target: tuple[int, int]) -> list[Stmt]:
        """One pass: the runs of `source` merged pairwise into `target`.

        `left` and `right` count through a pair of runs, which end before `middle` and `limit`.
        """
        zero, one = Literal(0, int64), Literal(1, int64)
        left, right, middle, limit = (Local(name, int64) for name in RUNS)
        width, length = Local("width", int64), Counter(Index((), self.length), int64)
        slot = Counter(Index((("slot", 1),)), int64)
        starts, takes_left = Local("starts", bool_), Local("takes_left", bool_)
        left_key, right_key = Local("left_key", self.dtype), Local("right_key", self.dtype)
        left_place, right_place = Local("left_place", int64), Local("right_place", int64)
        has_left = Alu(E.LT, (left, middle), bool_)
        has_right = Alu(E.LT, (right, limit), bool_)
        right_first = Alu(E.AND, (has_right, self.precedes(right_key, left_key)), bool_)
        stays = Alu(E.EQ, (right_first, Literal(False, bool_)), bool_)
        body: list[Stmt] = [
            Let("starts", Alu(E.EQ, (slot, limit), bool_)),
            Assign("left", _choose(starts, slot, left)),
            Assign("middle", _choose(starts, _least(_plus(slot, width), length), middle)),
            Assign("right", _choose(starts, middle, right)),
            Assign("limit", _choose(starts, _least(_plus(middle, width), length), limit)),
            # A run that is used up is read at its last element, and not taken from.
            Let("left_place", _least(left, Alu(E.SUB, (length, one), int64))),
            Let("right_place", _least(right, Alu(E.SUB, (length, one), int64))),
            Let("left_key", Load(source[0], self.at("left_place"), self.dtype)),
            Let("right_key", Load(source[0], self.at("right_place"), self.dtype)),
            Let("takes_left", Alu(E.AND, (has_left, stays), bool_)),
            Let("chosen", _choose(takes_left, left_place, right_place)),
            Store(target[0], self.at("slot"), _choose(takes_left, left_key, right_key)),
            Store(target[1], self.at("slot"), Load(source[1], self.at("chosen"), int64)),
            Assign("left", _plus(left, _choose(takes_left, one, zero))),
            Assign("right", _plus(right, _choose(takes_left, zero, one))),
        ]
        return [
            *(Assign(name, zero) for name in RUNS),
            Loop("slot", self.length, LoopKind.SERIAL, tuple(body)),
        ]

    def precedes(self, a: Expr, b: Expr) -> Expr:
        """Whether `a` stands strictly before `b`; NaN counts as the largest number."""
        low, high = (b, a) if self.descending else (a, b)
        less = Alu(E.LT, (low, high), bool_)
        if not self.dtype.is_floating_point:
            return less
        only_high = Alu(
            E.AND, (Alu(E.EQ, (low, low), bool_), Alu(E.NE, (high, high), bool_)), bool_
        )
        return Alu(E.OR, (less, only_high), bool_)


def _plus(a: Expr, b: Expr) -> Expr:
    return Alu(E.ADD, (a, b), int64)


def _least(a: Expr, b: Expr) -> Expr:
    return Alu(E.MINIMUM, (a, b), int64)


def _choose(condition: Expr, a: Expr, b: Expr) -> Expr:
    return Alu(E.WHERE, (condition, a, b), b.dtype)


def lower_serial(group: Group, schedule: Schedule, caps: Caps) -> list[KernelCall]:
    """The launch of an op that is a kernel by itself."""
    return [SerialKernel(group, schedule, caps).lower()]
