"""Long reductions to few results, split into parts that threads can share.

Floor 3.  In: a `Group` with one pass of reductions.  Out: two launches: one that leaves partial
results of parts of the rows in scratch memory, and one that reduces those and goes on with what
follows the reduction.  The parts depend on the sizes alone, so a result does not depend on the
number of threads.
"""

from __future__ import annotations

from math import prod

from dlgrad.codegen.kernel import Index, Loop, LoopKind, Store
from dlgrad.codegen.lower_loops import LoopKernel
from dlgrad.codegen.lower_space import Access, Scope
from dlgrad.codegen.lower_values import KernelCall, Memory, Scratch, load_dtype, memory_of
from dlgrad.lazy import graph
from dlgrad.lazy.graph import Node
from dlgrad.lazy.group import Group, read
from dlgrad.lazy.shape import View

PART = 8192  # elements of one part
COLUMNS_PART = 1 << 17  # the same where columns accumulate side by side
FEWEST_PARTS = 8


class SplitKernel(LoopKernel):
    """Lowers one group to two kernels."""

    def lower_parts(self) -> list[KernelCall]:
        """Partial results of parts of the rows into scratch memory, then their reduction."""
        reduced = [axis for axis in self.axes if axis.reduced]
        axis = max(reduced, key=lambda axis: axis.size)
        others = prod(other.size for other in reduced) // max(axis.size, 1)
        columns = 1 if self.lane is None else min(self.columns, self.lane.size)
        part = PART if self.lane is None else COLUMNS_PART
        length = max(1, min(part // max(1, others * columns), axis.size // FEWEST_PARTS))
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
        last = LoopKernel(second, self.schedule, self.caps).lower()
        last.memory = [self.combined.get(id(m), scratch_of(m)) for m in last.memory]
        last.writes = [self.combined.get(id(m), m) for m in last.writes]
        return [first, last]

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


def scratch_of(memory: Memory) -> Memory:
    """The scratch memory behind a BUFFER node that was made for it; others as they are."""
    if isinstance(memory, Node) and isinstance(memory.arg, Scratch):
        return memory.arg
    return memory
