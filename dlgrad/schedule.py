"""Groups the nodes of a simplified graph into kernels, and says why it cut where it cut.

Floor 2.  In: the roots that `simplify` returned.  Out: a `Schedule`: groups in an order in
which every group finds its inputs ready, and for each the values that it stores.

A group has one space of loops: the dimensions of its widest values (`full`), of which `reduced`
are summed over.  A member is at full level (a value per element of the space) or at outer
level (a value per row, after a reduction).  So x, max(x), exp(x - max(x)), its sum and the
quotient are one group: the softmax of the rows of x.  A matmul is a group of its own kind, which
takes element-wise consumers of its result as its epilogue and cheap producers as its prologue.

Shapes are compared squeezed, that is without dimensions of size 1.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import prod

from dlgrad import graph
from dlgrad.graph import Node
from dlgrad.ops import (
    OPS,
    BufferOps,
    MatrixOps,
    MovementOps,
    ReduceOps,
    is_elementwise,
)
from dlgrad.shape import Shape, View, contiguous_strides
from dlgrad.simplify import CHEAP, is_computed

# A kernel with more members is cut: compilers slow down, and registers run out long before.
MOST_MEMBERS = 64
# Rows that are read again after their reduction want this many rows for the threads to share,
# unless all of them together are small.
FEWEST_ROWS = 8
SMALL_SPACE = 16384


def squeeze(shape: Shape) -> Shape:
    """`shape` without dimensions of size 1."""
    return tuple(size for size in shape if size != 1)


def squeezed_strides(view: View) -> Shape:
    """The strides of the dimensions that `squeeze` keeps."""
    return tuple(t for size, t in zip(view.shape, view.strides, strict=True) if size != 1)


def read(source: Node) -> tuple[Node, View]:
    """The node that holds the values, and the view through which `source` shows them."""
    if source.op is MovementOps.VIEW:
        return source.src[0], source.arg
    return source, View.contiguous(source.shape)


def is_identity(view: View, producer: Node) -> bool:
    """True when `view` shows all elements of `producer` in their order."""
    return (
        view.offset == 0
        and view.is_contiguous
        and squeeze(view.shape) == squeeze(producer.shape)
    )


@dataclass(eq=False)
class Group:
    """Nodes that become one kernel."""

    full: Shape
    reduced: frozenset[int] = frozenset()  # dimensions of `full`
    matmul: Node | None = None
    # For a matmul: dimension order[i] of its squeezed result is dimension i of `full`.
    order: tuple[int, ...] | None = None
    members: list[Node] = field(default_factory=list)
    outer_level: set[int] = field(default_factory=set)  # ids of members with a value per row
    needs: set[int] = field(default_factory=set)  # numbers of the groups to run before
    stores: list[Node] = field(default_factory=list)

    @property
    def outer(self) -> Shape:
        return tuple(size for i, size in enumerate(self.full) if i not in self.reduced)

    def row_strides(self) -> Shape:
        """The strides over `full` of a value per row that is stored densely."""
        dense = iter(contiguous_strides(self.outer))
        return tuple(0 if i in self.reduced else next(dense) for i in range(len(self.full)))


@dataclass
class Schedule:
    """What `schedule` returns."""

    groups: list[Group]
    stored: set[int]  # ids of the nodes that are written to memory
    repeated: set[int]  # ids of nodes computed again by each reader instead
    granted: dict[int, Node]  # id of a root -> the buffer node that it overwrites in place
    reasons: list[str]  # why values were cut from their consumers
    keep: list[Node]  # all nodes, so that their ids stay theirs


class Scheduler:
    """Builds one schedule.

    `targets` maps the id of a root to the BUFFER node whose memory it should overwrite; granted
    where nothing else would read the memory afterwards.
    """

    def __init__(self, roots: list[Node], targets: dict[int, Node]) -> None:
        self.roots = roots
        self.targets = targets
        self.order = graph.toposort(roots)
        self.uses = Counter(id(source) for node in self.order for source in node.src)
        self.uses.update(id(root) for root in roots)
        self.groups: list[Group | None] = []
        self.group_of: dict[int, int] = {}
        self.inlined: set[int] = set()
        self.granted: dict[int, Node] = {}
        self.reasons: list[str] = []

    def run(self) -> Schedule:
        self.prepare_updates()
        self.choose_prologues()
        for node in self.order:
            if is_computed(node) and id(node) not in self.inlined:
                self.place(node)
        stored, repeated = self.choose_stores()
        self.grant_targets(stored, repeated)
        return Schedule(
            self.sorted_groups(stored, repeated),
            stored,
            repeated,
            self.granted,
            self.reasons,
            self.order,
        )

    # Updates and prologues --------------------------------------------------------------------

    def prepare_updates(self) -> None:
        """Gives every UPDATE a base that it may overwrite: its own, fresh, or a granted buffer."""
        order: list[Node] = []
        for node in self.order:
            if node.op is BufferOps.UPDATE:
                base, value = node.src
                owned = base.op is BufferOps.EMPTY or (
                    is_computed(base) and self.uses[id(base)] == 1
                )
                if base.op is BufferOps.BUFFER and self.may_overwrite(node, base):
                    self.granted[id(self.last_update(node))] = base
                elif not owned:
                    duplicate = graph.copy(base)
                    self.uses[id(duplicate)] = 1
                    order.append(duplicate)
                    node.src = (duplicate, value)
            order.append(node)
        self.order = order

    def last_update(self, node: Node) -> Node:
        """The end of the chain of updates that starts with `node`."""
        while True:
            after = [
                user for user in self.order if user.op is BufferOps.UPDATE and user.src[0] is node
            ]
            if not after:
                return node
            node = after[0]

    def may_overwrite(self, first: Node, base: Node) -> bool:
        """Whether the chain of updates from `first` may write into the memory of `base`.

        Only the chain itself may read the memory, or the writes would have to wait for reads.
        """
        last = self.last_update(first)
        if self.targets.get(id(last)) is not base:
            return False
        readers = [node for node in self.order if base in node.src]
        return readers == [first]

    def choose_prologues(self) -> None:
        """Marks the element-wise operands that a matmul computes while it packs them."""
        for node in self.order:
            if node.op is not MatrixOps.MATMUL:
                continue
            for operand in node.src:
                if (
                    is_elementwise(operand.op)
                    and self.uses[id(operand)] == 1
                    and OPS[operand.op].cost <= CHEAP
                    and sum(source.op is not BufferOps.CONST for source in operand.src) == 1
                    and not any(is_elementwise(source.op) for source in operand.src)
                    and not any(read(source)[0].op is BufferOps.IOTA for source in operand.src)
                ):
                    self.inlined.add(id(operand))

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
        if is_elementwise(node.op):
            for number in numbers:
                if number != chosen and self.can_merge(number, chosen, node, producers):
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
        elif node.op is BufferOps.UPDATE:
            group = Group(squeeze(node.src[1].shape))
        else:
            group = Group(squeeze(node.shape))
        self.groups.append(group)
        return len(self.groups) - 1

    def join(
        self, node: Node, group: Group, number: int, producers: list[tuple[Node, View]]
    ) -> None:
        if isinstance(node.op, ReduceOps):
            group.reduced = squeezed_dims(node)
            group.outer_level.add(id(node))
        elif group.reduced and squeeze(self.written_shape(node)) != group.full:
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

    @staticmethod
    def written_shape(node: Node) -> Shape:
        """The shape of the values that `node` computes: for an UPDATE, of what it writes."""
        return node.src[1].shape if node.op is BufferOps.UPDATE else node.shape

    def refusal(self, node: Node, number: int, producers: list[tuple[Node, View]]) -> str:
        """Why `node` cannot join group `number`; empty if it can."""
        group = self.group(number)
        if node.op is MatrixOps.MATMUL:
            return "a matmul reads its operands many times"
        if len(group.members) >= MOST_MEMBERS:
            return f"the kernel has {MOST_MEMBERS} operations already"
        if node.op is BufferOps.UPDATE:
            base, _ = read(node.src[0])
            if self.group_of.get(id(base)) == number:
                return "the memory it writes into must be complete"
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
        shape = squeeze(self.written_shape(node))
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
        for producer, view in producers:
            if self.group_of[id(producer)] != number:
                continue
            if producer is group.matmul:
                order = permutation(view, producer)
                if order is None or squeeze(view.shape) != squeeze(node.shape):
                    return "the consumer reads it in another order"
                if group.order is not None and group.order != order:
                    return "another consumer reads it in another order"
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

    def can_merge(
        self, source: int, goal: int, node: Node, producers: list[tuple[Node, View]]
    ) -> bool:
        """Whether all of group `source` can move into `goal`, where its consumer `node` is."""
        a, b = self.group(source), self.group(goal)
        if a.matmul is not None or a.full != b.full:
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
        for producer, view in producers:
            if self.group_of[id(producer)] != source:
                continue
            if id(producer) in a.outer_level:
                at_full = squeeze(node.shape) == b.full
                fits = (
                    squeezed_strides(view) == a.row_strides() and not view.offset
                    if at_full
                    else is_identity(view, producer)
                )
                if not fits:
                    return False
            elif not is_identity(view, producer):
                return False
        return not (self.reaches(goal, source, True) or self.reaches(source, goal))

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
        if not hasattr(self, "_positions"):
            self._positions = {id(n): i for i, n in enumerate(self.order)}
        return self._positions[id(node)]

    # What is written to memory ----------------------------------------------------------------

    def choose_stores(self) -> tuple[set[int], set[int]]:
        """The nodes to write, and the nodes that each reader computes again instead.

        Walks from the roots down, so that the readers of a node are known when it is reached.
        """
        kept = {id(root) for root in self.roots}
        kept |= {id(node.src[0]) for node in self.order if node.op is BufferOps.UPDATE}
        outside: dict[int, list[tuple[int, View]]] = {}  # readers in other groups
        stored: set[int] = set()
        repeated: set[int] = set(self.inlined)
        chain_cost: Counter[int] = Counter()
        for node in reversed(self.order):
            if not is_computed(node):
                continue
            key = id(node)
            readers = outside.get(key, [])
            if key in self.inlined:
                places = readers
            else:
                home = self.group_of[key]
                places = [(home, View.contiguous(self.written_shape(node)))]
                if key in kept or node.op is BufferOps.UPDATE:
                    stored.add(key)
                elif readers:
                    total = chain_cost[key] + OPS[node.op].cost
                    if self.is_repeatable(node, readers, total):
                        repeated.add(key)
                        places = places + readers
                    else:
                        stored.add(key)
            for source in node.src:
                producer, view = read(source)
                if not is_computed(producer):
                    continue
                if key in repeated and key not in self.inlined:
                    chain_cost[id(producer)] = max(
                        chain_cost[id(producer)], chain_cost[key] + OPS[node.op].cost
                    )
                self.add_readers(node, producer, view, places, outside)
        for key in stored:
            self.group(self.group_of[key]).stores.append(self.node_by_id(key))
        for group in self.groups:
            if group is not None:
                group.stores.sort(key=self.position)
        return stored, repeated

    def node_by_id(self, key: int) -> Node:
        if not hasattr(self, "_by_id"):
            self._by_id = {id(node): node for node in self.order}
        return self._by_id[key]

    def add_readers(
        self,
        node: Node,
        producer: Node,
        view: View,
        places: list[tuple[int, View]],
        outside: dict[int, list[tuple[int, View]]],
    ) -> None:
        """Notes who reads `producer` from outside its group when `node` is computed in `places`."""
        home = self.group_of.get(id(producer))
        is_base = node.op is BufferOps.UPDATE and producer is node.src[0]
        for number, through in places:
            if number == home and number == self.group_of.get(id(node)) and not is_base:
                continue
            moved = through.compose(view) if id(node) not in self.inlined else view
            outside.setdefault(id(producer), []).append((number, moved or view))

    def is_repeatable(self, node: Node, readers: list[tuple[int, View]], total: int) -> bool:
        """Whether the readers of `node` should compute it from its one input themselves."""
        if not is_elementwise(node.op) or total > CHEAP:
            return False
        inputs = [source for source in node.src if source.op is not BufferOps.CONST]
        if len(inputs) != 1:
            return False
        producer, view = read(inputs[0])
        for number, through in readers:
            if through.compose(view) is None:
                return False
            if self.group_of.get(id(producer)) == number:
                return False
        return producer.op is BufferOps.BUFFER or (
            is_computed(producer) and not is_elementwise(producer.op)
        ) or self.is_needed_anyway(producer, node)

    def is_needed_anyway(self, producer: Node, node: Node) -> bool:
        """Whether memory will hold `producer` even if `node` is not computed from it."""
        return any(producer is root for root in self.roots)

    # In-place targets and the order of the groups -----------------------------------------------

    def loads(self, group: Group, stored: set[int]) -> list[tuple[Node, Node, View]]:
        """(reader, memory node, view) for each value that the group reads from memory."""
        number = self.groups.index(group)
        found = []
        pending = list(group.members)
        seen: set[int] = set()
        while pending:
            node = pending.pop()
            for source in node.src:
                producer, view = read(source)
                if producer.op is BufferOps.BUFFER:
                    found.append((node, producer, view))
                elif not is_computed(producer):
                    continue
                elif id(producer) in stored and self.group_of.get(id(producer)) != number:
                    found.append((node, producer, view))
                elif id(producer) not in seen and self.group_of.get(id(producer)) != number:
                    seen.add(id(producer))
                    pending.append(producer)
        return found

    def grant_targets(self, stored: set[int], repeated: set[int]) -> None:
        """Decides which roots may overwrite the memory of their storage."""
        for number, group in enumerate(self.groups):
            if group is not None:
                for _, memory, _ in self.loads(group, stored):
                    if id(memory) in self.group_of:
                        other = self.group_of[id(memory)]
                        if other != number:
                            group.needs.add(other)
        if not self.targets:
            return
        readers: dict[int, list[tuple[int, Node, View]]] = {}
        for number, group in enumerate(self.groups):
            if group is not None:
                for node, memory, view in self.loads(group, stored):
                    readers.setdefault(id(memory), []).append((number, node, view))
        for root in self.roots:
            target = self.targets.get(id(root))
            if target is None or id(root) in self.granted or root.op is BufferOps.UPDATE:
                continue
            if target in self.granted.values():
                continue
            home = self.group_of[id(root)]
            waits: set[int] = set()
            safe = self.group(home).matmul is None
            for number, _, view in readers.get(id(target), []):
                if number != home:
                    waits.add(number)
                elif not is_identity(view, target) or squeeze(target.shape) != squeeze(root.shape):
                    safe = False
            if self.group(home).reduced and id(root) not in self.group(home).outer_level:
                safe = False  # a later pass over the row would read what was overwritten
            if safe and not any(self.reaches(number, home) for number in waits):
                self.granted[id(root)] = target
                self.group(home).needs |= waits

    def sorted_groups(self, stored: set[int], repeated: set[int]) -> list[Group]:
        """The groups with something to store, each after those it needs."""
        result: list[Group] = []
        done: set[int] = set()
        for start in range(len(self.groups)):
            if self.groups[start] is None or start in done:
                continue
            stack = [(start, False)]
            while stack:
                number, ready = stack.pop()
                group = self.group(number)
                if ready:
                    if group.stores:
                        result.append(group)
                    continue
                if number in done:
                    continue
                done.add(number)
                stack.append((number, True))
                stack += [(n, False) for n in sorted(group.needs, reverse=True) if n not in done]
        return result


def squeezed_dims(node: Node) -> frozenset[int]:
    """The reduced dimensions of a REDUCE node, as dimensions of its squeezed source."""
    kept = [dim for dim, size in enumerate(node.src[0].shape) if size != 1]
    return frozenset(kept.index(dim) for dim in node.arg)


def permutation(view: View, producer: Node) -> tuple[int, ...] | None:
    """The order of producer's squeezed dimensions that `view` shows, or None."""
    sizes = squeeze(producer.shape)
    strides = contiguous_strides(sizes)
    shown = squeezed_strides(view)
    if view.offset or sorted(shown) != sorted(strides):
        return None
    order = tuple(strides.index(stride) for stride in shown)
    if tuple(sizes[i] for i in order) != squeeze(view.shape):
        return None
    return order


def schedule(roots: list[Node], targets: dict[int, Node]) -> Schedule:
    """Groups what the simplified `roots` need into kernels; see `Scheduler`."""
    return Scheduler(roots, targets).run()
