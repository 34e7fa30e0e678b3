"""What the groups write to memory, what readers compute again, and what is overwritten in place.

Floor 2.  After fusion: a value that another group needs is stored, unless it is so cheap that
each reader computes it from a value that is in memory anyway.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from dlgrad.lazy.fuse import Fusion
from dlgrad.lazy.graph import Node
from dlgrad.lazy.group import Group, is_identity, read, squeeze, written_shape
from dlgrad.lazy.ops import (
    OPS,
    WRITERS,
    BufferOps,
    IndexOps,
    MatrixOps,
    is_elementwise,
    reads_memory,
)
from dlgrad.lazy.shape import View
from dlgrad.lazy.simplify import CHEAP, is_computed

# A value of so many operations on other values that its readers load is computed there again.
RECOMPUTED = 6


def needs_memory(node: Node) -> bool:
    """Whether the first source of `node` has to be in memory: it is written into, or read from
    at any place."""
    return node.op in WRITERS or node.op is IndexOps.GATHER


def memory_sources(node: Node) -> tuple[Node, ...]:
    """The sources of `node` that have to be in memory as they are."""
    if reads_memory(node.op):
        return node.src
    return node.src[:1] if needs_memory(node) else ()


def memory_read(node: Node, memory: Node) -> bool:
    """Whether a gather takes its elements, and not only its index, from `memory`."""
    return node.src[0] is memory


@dataclass
class ShortForm:
    """A value as a few operations on values in memory."""

    computed: set[int] = field(default_factory=set)  # ids of the nodes that are computed
    loads: list[tuple[Node, View]] = field(default_factory=list)
    cost: int = 0


class Stores:
    """Decides for one fused graph.

    `targets` maps the id of a root to the BUFFER node whose memory it should overwrite; granted
    where nothing else would read the memory afterwards.
    """

    def __init__(self, fusion: Fusion, roots: list[Node], targets: dict[int, Node]) -> None:
        self.fusion = fusion
        self.order = fusion.order
        self.roots = roots
        self.targets = targets
        self.groups = fusion.groups
        self.group_of = fusion.group_of
        self.inlined = fusion.inlined
        self.granted: dict[int, Node] = {}
        self.stored, self.repeated = self.choose_stores()

    # What is written to memory ----------------------------------------------------------------

    def choose_stores(self) -> tuple[set[int], set[int]]:
        """The nodes to write, and the nodes that each reader computes again instead.

        Walks from the roots down, so that the readers of a node are known when it is reached.
        """
        kept = {id(root) for root in self.roots}
        kept |= {id(source) for node in self.order for source in memory_sources(node)}
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
                places = [(home, View.contiguous(written_shape(node)))]
                if key in kept or node.op in WRITERS:
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
        if self.fusion.optimize:
            self.thin_out(stored, repeated, kept, outside)
        for node in self.order:
            if id(node) in stored:
                self.fusion.group(self.group_of[id(node)]).stores.append(node)
        return stored, repeated

    def thin_out(
        self,
        stored: set[int],
        repeated: set[int],
        kept: set[int],
        outside: dict[int, list[tuple[int, View]]],
    ) -> None:
        """Lets readers compute what follows cheaply from other values that they load.

        The derivative of a function wants many values of the way there; of these only those
        are worth their memory that cost something.  Looks at producers first.
        """
        operands = {
            id(read(source)[0])
            for node in self.order
            if node.op is MatrixOps.MATMUL
            for source in node.src
        }
        for node in self.order:
            key = id(node)
            readers = outside.get(key, [])
            if key not in stored or key in kept or key in operands or not readers:
                continue
            if not is_elementwise(node.op):
                continue
            forms = [self.short_form(node, through, stored) for _, through in readers]
            if any(self.group_at(number).alone is not None for number, _ in readers):
                continue
            if any(form is None for form in forms):
                continue
            loads = [form.loads for form in forms if form is not None]
            news = [
                self.new_loads(number, places, outside)
                for (number, _), places in zip(readers, loads, strict=True)
            ]
            if max(news) > 1:
                continue  # one load is what the stored value would have been
            stored.discard(key)
            for (number, _), form in zip(readers, forms, strict=True):
                assert form is not None
                repeated.update(form.computed)
                for producer, view in form.loads:
                    outside.setdefault(id(producer), []).append((number, view))

    def group_at(self, number: int) -> Group:
        return self.fusion.group(number)

    def short_form(self, node: Node, through: View, stored: set[int]) -> ShortForm | None:
        """How `node`, seen through a view, is computed from what is in memory; None if dearly."""
        form = ShortForm()
        pending = [(node, through)]
        if through.numel > node.numel:
            return None
        while pending:
            member, shown = pending.pop()
            form.computed.add(id(member))
            form.cost += OPS[member.op].cost
            if form.cost > RECOMPUTED:
                return None
            for source in member.src:
                producer, view = read(source)
                if producer.op is BufferOps.CONST:
                    continue
                composed = shown.compose(view)
                if composed is None:
                    return None
                if producer.op is BufferOps.BUFFER or id(producer) in stored:
                    form.loads.append((producer, composed))
                elif is_elementwise(producer.op) and id(producer) not in self.inlined:
                    pending.append((producer, composed))
                else:
                    return None
        return form

    def new_loads(
        self,
        number: int,
        loads: list[tuple[Node, View]],
        outside: dict[int, list[tuple[int, View]]],
    ) -> int:
        """How many of `loads` a group does not read so far."""
        found = {
            (id(producer), view)
            for producer, view in loads
            if self.group_of.get(id(producer)) != number
            and not any(
                reader == number and seen == view
                for reader, seen in outside.get(id(producer), ())
            )
        }
        return len(found)

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
        is_base = producer in memory_sources(node)
        for number, through in places:
            if number == home and number == self.group_of.get(id(node)) and not is_base:
                continue
            if is_base:
                outside.setdefault(id(producer), []).append((number, view))
                continue
            moved = through.compose(view) if id(node) not in self.inlined else view
            outside.setdefault(id(producer), []).append((number, moved or view))

    def is_repeatable(self, node: Node, readers: list[tuple[int, View]], total: int) -> bool:
        """Whether the readers of `node` should compute it from its one input themselves."""
        if not is_elementwise(node.op) or total > CHEAP or not self.fusion.optimize:
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
        return (
            producer.op is BufferOps.BUFFER
            or (is_computed(producer) and not is_elementwise(producer.op))
            or self.is_needed_anyway(producer, node)
        )

    def is_needed_anyway(self, producer: Node, node: Node) -> bool:
        """Whether memory will hold `producer` even if `node` is not computed from it."""
        return any(producer is root for root in self.roots)

    # In-place targets and the order of the groups -----------------------------------------------

    def loads(self, group: Group) -> list[tuple[Node, Node, View]]:
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
                elif id(producer) in self.stored and self.group_of.get(id(producer)) != number:
                    found.append((node, producer, view))
                elif id(producer) not in seen and self.group_of.get(id(producer)) != number:
                    seen.add(id(producer))
                    pending.append(producer)
        return found

    def grant_targets(self) -> None:
        """Decides which roots may overwrite the memory of their storage."""
        for number, group in enumerate(self.groups):
            if group is not None:
                for _, memory, _ in self.loads(group):
                    if id(memory) in self.group_of:
                        other = self.group_of[id(memory)]
                        if other != number:
                            group.needs.add(other)
        if not self.targets:
            return
        readers: dict[int, list[tuple[int, Node, View]]] = {}
        for number, group in enumerate(self.groups):
            if group is not None:
                for node, memory, view in self.loads(group):
                    readers.setdefault(id(memory), []).append((number, node, view))
        for root in self.roots:
            target = self.targets.get(id(root))
            if target is None or id(root) in self.granted or root.op in WRITERS:
                continue
            if target in self.granted.values():
                continue
            home = self.group_of[id(root)]
            waits: set[int] = set()
            group = self.fusion.group(home)
            # A later pass over a row must not read what an earlier one has overwritten.
            safe = not group.reduced or id(root) in group.outer_level
            for number, node, view in readers.get(id(target), []):
                if number != home:
                    waits.add(number)
                elif node in (group.matmul, group.alone) or id(node) in self.inlined:
                    safe = False  # operands are read many times
                elif node.op is IndexOps.GATHER and memory_read(node, target):
                    safe = False  # at any place
                elif not is_identity(view, target) or squeeze(target.shape) != squeeze(root.shape):
                    safe = False
            if safe and not any(self.fusion.reaches(number, home) for number in waits):
                self.granted[id(root)] = target
                group.needs |= waits
