"""The schedule: which kernels compute a graph, in which order, and what they store.

Floor 2.  In: the roots that `simplify` returned.  Out: a `Schedule`: groups in an order in
which every group finds its inputs ready.  `fuse.py` makes the groups, `stores.py` decides what
goes through memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from dlgrad.lazy import graph
from dlgrad.lazy.fuse import Fusion
from dlgrad.lazy.graph import Node
from dlgrad.lazy.group import Group, read
from dlgrad.lazy.ops import OPS, WRITERS, BufferOps, MatrixOps, is_elementwise
from dlgrad.lazy.simplify import CHEAP, is_computed
from dlgrad.lazy.stores import Stores


@dataclass
class Schedule:
    """What `schedule` returns."""

    groups: list[Group]
    stored: set[int]  # ids of the nodes that are written to memory
    repeated: set[int]  # ids of nodes computed again by each reader instead
    granted: dict[int, Node]  # id of a root -> the buffer node that it overwrites in place
    reasons: list[str]  # why values were cut from their consumers
    optimize: bool
    keep: list[Node]  # all nodes, so that their ids stay theirs


class Scheduler:
    """Builds one schedule.

    `targets` maps the id of a root to the BUFFER node whose memory it should overwrite.
    """

    def __init__(self, roots: list[Node], targets: dict[int, Node], optimize: bool) -> None:
        self.optimize = optimize
        self.roots = roots
        self.targets = targets
        self.order = graph.toposort(roots)
        self.uses = Counter(id(source) for node in self.order for source in node.src)
        self.uses.update(id(root) for root in roots)
        self.granted: dict[int, Node] = {}

    def run(self) -> Schedule:
        self.prepare_updates()
        results = {id(root) for root in self.roots}
        prologues = self.prologues() if self.optimize else set()
        fusion = Fusion(self.order, prologues, results, self.optimize)
        stores = Stores(fusion, self.roots, self.targets)
        stores.granted.update(self.granted)
        stores.grant_targets()
        return Schedule(
            sorted_groups(fusion),
            stores.stored,
            stores.repeated,
            stores.granted,
            fusion.reasons,
            self.optimize,
            self.order,
        )

    # Updates and prologues --------------------------------------------------------------------

    def prepare_updates(self) -> None:
        """Gives every writer a base that it may overwrite: its own, fresh, or a granted buffer."""
        order: list[Node] = []
        for node in self.order:
            if node.op in WRITERS:
                base = node.src[0]
                owned = base.op is BufferOps.EMPTY or (
                    is_computed(base) and self.uses[id(base)] == 1
                )
                if base.op is BufferOps.BUFFER and self.may_overwrite(node, base):
                    self.granted[id(self.last_update(node))] = base
                elif not owned:
                    duplicate = graph.copy(base)
                    self.uses[id(duplicate)] = 1
                    order.append(duplicate)
                    node.src = (duplicate, *node.src[1:])
            order.append(node)
        self.order = order

    def last_update(self, node: Node) -> Node:
        """The end of the chain of updates that starts with `node`, and share its memory.

        A value that is read besides is kept, so the next update writes into a copy of it.
        """
        while True:
            after = [
                user for user in self.order if user.op in WRITERS and user.src[0] is node
            ]
            if not after or self.uses[id(node)] != 1:
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

    def prologues(self) -> set[int]:
        """The ids of the element-wise operands that a matmul computes while it packs them."""
        found: set[int] = set()
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
                    found.add(id(operand))
        return found


def sorted_groups(fusion: Fusion) -> list[Group]:
    """The groups with something to store, each after those it needs."""
    result: list[Group] = []
    done: set[int] = set()
    for start in range(len(fusion.groups)):
        if fusion.groups[start] is None or start in done:
            continue
        stack = [(start, False)]
        while stack:
            number, ready = stack.pop()
            group = fusion.group(number)
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


def schedule(roots: list[Node], targets: dict[int, Node], optimize: bool = True) -> Schedule:
    """Groups what the simplified `roots` need into kernels; see `Scheduler`.

    Without `optimize` every operation is a kernel, in the plainest form of its loops.
    """
    return Scheduler(roots, targets, optimize).run()
