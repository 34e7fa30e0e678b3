"""Fusion: puts every node of a graph into a group, and says why it cut where it cut.

Floor 2.  Walks the nodes in topological order.  A node joins the group of one of its producers
if the loops fit and no cycle of groups arises; groups that it brings together are merged.
"""

from __future__ import annotations

from collections.abc import Set
from math import prod

from dlgrad.lazy.graph import Node
from dlgrad.lazy.group import (
    Group,
    is_identity,
    permutation,
    read,
    serial_dims,
    squeeze,
    squeezed_dims,
    squeezed_strides,
    written_shape,
)
from dlgrad.lazy.ops import BufferOps, IndexOps, MatrixOps, ReduceOps, is_alone, is_elementwise
from dlgrad.lazy.shape import View
from dlgrad.lazy.simplify import is_computed

# A kernel with more members is cut: compilers slow down, and registers run out long before.
MOST_MEMBERS = 64
# Rows that are read again after their reduction want this many rows for the threads to share,
# unless all of them together are small.
FEWEST_ROWS = 8
SMALL_SPACE = 16384


class Fusion:
    """The groups of one graph.

    `inlined` are the ids of operands that a matmul computes, `roots` those of the results.
    Without `optimize` every node is a group of its own.
    """

    def __init__(
        self, order: list[Node], inlined: Set[int], roots: Set[int], optimize: bool = True
    ) -> None:
        self.order = order
        self.inlined = inlined
        self.roots = roots
        self.optimize = optimize
        self.positions = {id(node): i for i, node in enumerate(order)}
        self.groups: list[Group | None] = []
        self.group_of: dict[int, int] = {}
        self.reasons: list[str] = []
        for node in order:
            if is_computed(node) and id(node) not in inlined:
                self.place(node)

    # Placing nodes in groups ------------------------------------------------------------------

    def producers(self, node: Node) -> list[tuple[Node, View]]:
        """The computed values that `node` reads; through an inlined operand, those it reads."""
        found = []
        for source in node.src:
            producer, view = read(source)
            if id(producer) in self.inlined:
                found += self.producers(producer)
            elif is_computed(producer):
                found.append((producer, view))
        return found

    def place(self, node: Node) -> None:
        """Puts `node` into the group of one of its producers, or into a new one."""
        producers = self.producers(node)
        numbers = sorted({self.group_of[id(p)] for p, _ in producers}, reverse=True)
        chosen = None
        for number in numbers:
            reason = self.refusal(node, number, producers)
            if not reason:
                chosen = number
                break
            self.note_cut(node, number, producers, reason)
        if chosen is None:
            chosen = self.new_group(node)
        group = self.group(chosen)
        self.join(node, group, chosen, producers)
        if is_elementwise(node.op) or node.op is IndexOps.GATHER:
            for number in numbers if self.optimize else ():
                if number != chosen and self.can_merge(number, chosen):
                    self.merge(number, chosen)

    def group(self, number: int) -> Group:
        found = self.groups[number]
        assert found is not None
        return found

    def note_cut(
        self, node: Node, number: int, producers: list[tuple[Node, View]], reason: str
    ) -> None:
        for producer, _ in producers:
            if self.group_of[id(producer)] == number:
                self.reasons.append(
                    f"{producer.op.value} {list(producer.shape)} is stored for "
                    f"{node.op.value} {list(node.shape)}: {reason}"
                )
                break

    def new_group(self, node: Node) -> int:
        if node.op is MatrixOps.MATMUL:
            group = Group(squeeze(node.shape), matmul=node)
        elif isinstance(node.op, ReduceOps):
            group = Group(squeeze(node.src[0].shape), squeezed_dims(node))
        elif is_alone(node.op):
            group = Group(squeeze(written_shape(node)), serial_dims(node), alone=node)
        else:
            group = Group(squeeze(written_shape(node)))
        self.groups.append(group)
        return len(self.groups) - 1

    def join(
        self, node: Node, group: Group, number: int, producers: list[tuple[Node, View]]
    ) -> None:
        if isinstance(node.op, ReduceOps):
            group.reduced = squeezed_dims(node)
            group.outer_level.add(id(node))
        elif group.reduced and squeeze(written_shape(node)) != group.full:
            group.outer_level.add(id(node))
        if group.matmul is not None and group.order is None and node is not group.matmul:
            group.order = self.matmul_order(node, group, producers)
            group.full = squeeze(node.shape)
        group.members.append(node)
        self.group_of[id(node)] = number
        for producer, _ in producers:
            other = self.group_of[id(producer)]
            if other != number:
                group.needs.add(other)

    def refusal(self, node: Node, number: int, producers: list[tuple[Node, View]]) -> str:
        """Why `node` cannot join group `number`; empty if it can."""
        group = self.group(number)
        if not self.optimize:
            return "fusion is off"
        if node.op is MatrixOps.MATMUL:
            return "a matmul reads its operands many times"
        if is_alone(node.op) or group.alone is not None:
            return "it goes through its elements in order"
        if len(group.members) >= MOST_MEMBERS:
            return f"the kernel has {MOST_MEMBERS} operations already"
        if node.op is BufferOps.UPDATE:
            base, _ = read(node.src[0])
            if self.group_of.get(id(base)) == number:
                return "the memory it writes into must be complete"
        if node.op is IndexOps.GATHER and self.group_of.get(id(node.src[0])) == number:
            return "the memory it reads from must be complete"
        for producer, _ in producers:
            if producer.op is BufferOps.UPDATE and self.group_of[id(producer)] == number:
                return "an update writes its values to other places than it computes them"
        if group.matmul is not None:
            reason = self.epilogue_refusal(node, group, number, producers)
        elif isinstance(node.op, ReduceOps):
            reason = self.reduction_refusal(node, group, producers)
        else:
            reason = self.elementwise_refusal(node, group, number, producers)
        if reason:
            return reason
        for producer, _ in producers:
            other = self.group_of[id(producer)]
            if other != number and self.reaches(other, number):
                return "another input of the consumer needs this kernel's result"
        return ""

    def reduction_refusal(
        self, node: Node, group: Group, producers: list[tuple[Node, View]]
    ) -> str:
        producer, view = producers[0]
        if id(producer) in group.outer_level:
            return "a second reduction runs over the results of the first"
        if squeeze(node.src[0].shape) != group.full or not is_identity(view, producer):
            return "the reduction reads it in another order"
        if group.reduced and group.reduced != squeezed_dims(node):
            return "the kernel reduces over other dimensions"
        return ""

    def elementwise_refusal(
        self, node: Node, group: Group, number: int, producers: list[tuple[Node, View]]
    ) -> str:
        shape = squeeze(written_shape(node))
        at_full = shape == group.full
        if not at_full and not (group.reduced and shape == group.outer):
            return "the shapes of the loops differ"
        for producer, view in producers:
            if self.group_of[id(producer)] != number:
                continue
            if id(producer) not in group.outer_level:
                if not at_full or not is_identity(view, producer):
                    return "the consumer reads it in another order"
            elif not at_full:
                if not is_identity(view, producer):
                    return "the consumer reads it in another order"
            else:
                if (
                    view.offset
                    or squeeze(view.shape) != group.full
                    or squeezed_strides(view) != group.row_strides()
                ):
                    return "the consumer repeats it along other dimensions"
                rows = prod(group.outer)
                if rows < FEWEST_ROWS and prod(group.full) > SMALL_SPACE:
                    return f"{rows} rows are too few to keep all threads at work"
        return ""

    def epilogue_refusal(
        self, node: Node, group: Group, number: int, producers: list[tuple[Node, View]]
    ) -> str:
        if not (is_elementwise(node.op) or node.op is BufferOps.COPY):
            return "only element-wise work fits behind a matmul"
        if any(read(source)[0].op is BufferOps.IOTA for source in node.src):
            return "a matmul's epilogue has no counters"
        if group.order is not None and squeeze(node.shape) != group.full:
            return "the shapes of the loops differ"
        chosen = group.order
        for producer, view in producers:
            if self.group_of[id(producer)] != number:
                continue
            if id(producer) in self.roots:
                return "it is a result, and in memory anyway"
            if producer is group.matmul:
                order = permutation(view, producer)
                if order is None or squeeze(view.shape) != squeeze(node.shape):
                    return "the consumer reads it in another order"
                if chosen is not None and chosen != order:
                    return "it is read in two orders"
                chosen = order
            elif not is_identity(view, producer):
                return "the consumer reads it in another order"
        return ""

    def matmul_order(
        self, node: Node, group: Group, producers: list[tuple[Node, View]]
    ) -> tuple[int, ...]:
        for producer, view in producers:
            if producer is group.matmul:
                order = permutation(view, producer)
                assert order is not None
                return order
        raise AssertionError("the first consumer in a matmul's group reads the matmul")

    # Merging ----------------------------------------------------------------------------------

    def reaches(self, start: int, goal: int, skip_direct: bool = False) -> bool:
        """Whether group `start` needs `goal`, directly or through others.

        With `skip_direct` only through others.
        """
        first = self.group(start).needs
        pending = [n for n in first if not (skip_direct and n == goal)]
        seen = set(pending)
        while pending:
            number = pending.pop()
            if number == goal:
                return True
            for needed in self.group(number).needs:
                if needed not in seen:
                    seen.add(needed)
                    pending.append(needed)
        return False

    def can_merge(self, source: int, goal: int) -> bool:
        """Whether all of group `source` can move into `goal`, where its consumer is."""
        a, b = self.group(source), self.group(goal)
        if a.matmul is not None or a.full != b.full:
            return False
        if a.alone is not None or b.alone is not None:
            return False
        if b.matmul is not None and not self.fits_epilogue(a):
            return False
        if a.reduced and b.reduced and a.reduced != b.reduced:
            return False
        if len(a.members) + len(b.members) > MOST_MEMBERS:
            return False
        if a.reduced != b.reduced and (a.reduced or b.reduced) and prod(a.full) > SMALL_SPACE:
            rows = prod((a if a.reduced else b).outer)
            if rows < FEWEST_ROWS:
                return False
        # Every reader of the group counts, not only the one that brings the two together.
        if not all(self.reads_in_place(member, source, a, b) for member in b.members):
            return False
        return not (self.reaches(goal, source, True) or self.reaches(source, goal))

    def reads_in_place(self, member: Node, source: int, a: Group, b: Group) -> bool:
        """Whether `member` of `b` finds what it reads of group `source` where it is computed."""
        for producer, view in self.producers(member):
            if self.group_of[id(producer)] != source:
                continue
            if producer.op is BufferOps.UPDATE or member is b.matmul:
                return False  # an operand must be in memory before the matmul starts
            if member.op is IndexOps.GATHER and producer is member.src[0]:
                return False
            if id(producer) in a.outer_level:
                if isinstance(member.op, ReduceOps):
                    return False
                if squeeze(written_shape(member)) == b.full:
                    if squeezed_strides(view) != a.row_strides() or view.offset:
                        return False
                elif not is_identity(view, producer):
                    return False
            elif not is_identity(view, producer):
                return False
        return True

    @staticmethod
    def fits_epilogue(group: Group) -> bool:
        """True for a group of element-wise work that uses no counters."""
        return all(
            (is_elementwise(member.op) or member.op is BufferOps.COPY)
            and not any(read(source)[0].op is BufferOps.IOTA for source in member.src)
            for member in group.members
        )

    def merge(self, source: int, goal: int) -> None:
        a, b = self.group(source), self.group(goal)
        b.members = sorted(a.members + b.members, key=self.position)
        b.outer_level |= a.outer_level
        b.reduced |= a.reduced
        for member in a.members:
            self.group_of[id(member)] = goal
        b.needs = (a.needs | b.needs) - {source, goal}
        self.groups[source] = None
        for other in self.groups:
            if other is not None and source in other.needs:
                other.needs.discard(source)
                other.needs.add(goal)

    def position(self, node: Node) -> int:
        return self.positions[id(node)]
