"""What a row keeps from one pass over it for the next: values that cost more than a load.

Floor 3.  A kernel over rows goes over each row several times; softmax needs exp(x - max) for
the sum and again for the quotient.  Such a value is written where a result of the kernel will
be written later (or is written there anyway), and read back while it is still in the cache.
"""

from __future__ import annotations

from math import prod

from dlgrad.codegen.lower_space import LoopSpace
from dlgrad.codegen.lower_values import memory_of
from dlgrad.lazy.graph import Node
from dlgrad.lazy.group import read
from dlgrad.lazy.ops import OPS, WRITERS, BufferOps

DEAR = 8  # a value of this cost is worth a store and a load
MOST_KEPT = 4  # values with a place of their own


class Keeper:
    """Decides, for the passes of one kernel, which values are kept and where.

    `kept[s]` lists (value, the node whose memory takes it) for the pass of stage s.
    """

    def __init__(self, space: LoopSpace, columns: int) -> None:
        self.space = space
        self.columns = columns  # that go side by side
        self.members = {id(node): node for node in space.group.members}
        stages = [*space.stages.values(), *(space.stage(node) for node in space.full_stores())]
        self.last = max(stages, default=0)
        self.kept: dict[int, list[tuple[Node, Node]]] = {}
        if self.row_fits_the_cache():
            self.choose()

    def row_fits_the_cache(self) -> bool:
        if self.last < 1 or not self.space.schedule.optimize or self.space.caps.group_size > 1:
            return False
        columns = 1 if self.space.lane is None else self.columns
        row = columns * prod(axis.size for axis in self.space.axes if axis.reduced)
        return 4 * MOST_KEPT * row <= self.space.caps.level2_cache

    def roots(self, stage: int) -> list[Node]:
        """What the pass of a stage computes."""
        space = self.space
        sums = [node.src[0] for node in space.reduces if space.stages[id(node)] == stage + 1]
        stores = [node for node in space.full_stores() if space.stage(node) == stage]
        return [read(source)[0] for source in sums] + stores

    def needed(self, stage: int, known: set[int]) -> list[Node]:
        """The full-level members that a pass computes, users before what they use."""
        found: dict[int, Node] = {}
        pending = self.roots(stage)[::-1]
        while pending:
            node = pending.pop()
            if id(node) not in self.members or id(node) in found or id(node) in known:
                continue
            if id(node) in self.space.group.outer_level:
                continue
            found[id(node)] = node
            pending += [read(source)[0] for source in node.src]
        return list(found.values())

    def cost(self, node: Node, known: set[int]) -> int:
        """The operations per element that a value takes anew."""
        seen: set[int] = set()
        pending, total = [node], 0
        while pending:
            node = pending.pop()
            if id(node) in seen or id(node) in known or id(node) not in self.members:
                continue
            if id(node) in self.space.group.outer_level:
                continue
            seen.add(id(node))
            total += OPS[node.op].cost
            pending += [read(source)[0] for source in node.src]
        return total

    def choose(self) -> None:
        known: set[int] = set()
        taken: set[int] = set()  # ids of the nodes whose memory holds a kept value
        for stage in range(self.last):
            here = self.needed(stage, known)
            later = {
                id(node) for next_stage in range(stage + 1, self.last + 1)
                for node in self.needed(next_stage, known)
            }  # fmt: skip
            for node in here:
                if id(node) not in later:
                    continue
                if id(node) in taken:  # what was kept in its place is gone after this pass
                    self.kept.setdefault(stage, []).append((node, node))
                    continue
                if self.cost(node, known) < DEAR or self.is_part_of_kept(node, stage, known):
                    continue
                place = self.place(node, stage, known, taken)
                if place is not None:
                    taken.add(id(place))
                    self.kept.setdefault(stage, []).append((node, place))
            known.update(id(node) for node, _ in self.kept.get(stage, ()))

    def is_part_of_kept(self, node: Node, stage: int, known: set[int]) -> bool:
        """Whether all later uses of `node` lie below values that are kept already."""
        kept_here = {id(value) for value, _ in self.kept.get(stage, ())}
        return not any(
            member is node
            for next_stage in range(stage + 1, self.last + 1)
            for member in self.needed(next_stage, known | kept_here)
        )

    def place(
        self, node: Node, stage: int, known: set[int], taken: set[int]
    ) -> Node | None:
        """The result whose memory can hold `node` until the result itself is written."""
        if node.dtype.is_half or node.op in WRITERS:
            return None
        stores = self.space.full_stores()
        if any(node is stored for stored in stores):
            return node
        for stored in stores:
            memory = memory_of(stored)
            if (
                id(stored) not in taken
                and self.space.stage(stored) > stage
                and stored.op not in WRITERS
                and stored.dtype is node.dtype
                and stored.numel == node.numel
                and memory.op is not BufferOps.BUFFER
                and id(stored) not in self.space.schedule.granted
                and not self.is_needed_after(node, stored, known)
            ):
                return stored
        return None

    def is_needed_after(self, node: Node, stored: Node, known: set[int]) -> bool:
        """Whether passes want `node` when `stored` has been written, apart from in `stored`."""
        stages = range(self.space.stage(stored) + 1, self.last + 1)
        others = known | {id(stored)}
        return any(member is node for stage in stages for member in self.needed(stage, others))
