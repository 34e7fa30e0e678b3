"""From pending nodes to a plan: kernels, their order and their memory, ready to run again.

Floor 5.  A plan belongs to a structure, not to tensors: memory that exists (the leaves), results
(the outputs) and the block for intermediates are slots, filled in at each run.  Numbers that
were seen to vary from run to run are the plan's scalars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlgrad import config
from dlgrad.codegen.kernel import Caps
from dlgrad.codegen.lower import lower_loops
from dlgrad.codegen.lower_matmul import lower_matmul
from dlgrad.codegen.lower_rotations import lower_factor
from dlgrad.codegen.lower_serial import lower_serial
from dlgrad.codegen.lower_values import KernelCall, memory_of
from dlgrad.codegen.verify import verify, verify_graph
from dlgrad.helpers import debug_print
from dlgrad.lazy import graph
from dlgrad.lazy.graph import Node
from dlgrad.lazy.memory import FREE, NEW, Lifetime, place
from dlgrad.lazy.ops import BufferOps, FactorOps
from dlgrad.lazy.schedule import Schedule, schedule
from dlgrad.lazy.simplify import ScalarParameter, simplify
from dlgrad.runtime.device import Backend, Launch


@dataclass
class Plan:
    """A prepared sequence of launches and what its slots mean.

    Slots: the leaves in order, the outputs in order, then the block of `block_bytes`.
    `in_place[i]` is the leaf whose memory output i overwrites, or FREE for memory that its
    storage has but nobody reads, or NEW for fresh memory.
    """

    backend: Backend
    sequence: Any
    launches: list[Launch]
    in_place: list[int]
    output_bytes: list[int]
    block_bytes: int
    scalars: tuple[int, ...]  # positions among the graph's constants


class PlanBuilder:
    """Builds the plan of one graph on one device.

    `targets[i]` says where output i should go: the number of a leaf, FREE or NEW.
    """

    def __init__(
        self,
        order: list[Node],
        roots: list[Node],
        leaves: list[Node],
        targets: Sequence[int],
        varying: dict[int, int],
        backend: Backend,
    ) -> None:
        self.order = order
        self.roots = roots
        self.leaves = leaves
        self.targets = targets
        self.varying = varying  # id of a CONST node -> its position among the constants
        self.backend = backend
        self.caps: Caps = backend.caps

    def build(self) -> Plan:
        if config.VERIFY.value:
            verify_graph(self.roots)
        order, roots = self.with_parameters()
        new_roots = self.distinct(simplify(order, roots))
        wanted: dict[int, Node] = {}
        for root, target in zip(new_roots, self.targets, strict=True):
            if target != NEW:
                wanted[id(root)] = self.leaves[target] if target >= 0 else free_leaf(root)
        result = schedule(new_roots, wanted, bool(config.OPT.value))
        self.explain(result)
        calls = self.lower(result)
        return self.assemble(calls, new_roots, result)

    def with_parameters(self) -> tuple[list[Node], list[Node]]:
        """The graph with a ScalarParameter in every constant that varies."""
        if not self.varying:
            return self.order, self.roots
        new: dict[int, Node] = {}
        order = []
        for node in self.order:
            copy = node
            if id(node) in self.varying:
                argument = ScalarParameter(self.varying[id(node)])
                copy = Node(node.op, (), argument, node.dtype, node.shape, node.device)
            elif any(new[id(source)] is not source for source in node.src):
                src = tuple(new[id(source)] for source in node.src)
                copy = Node(node.op, src, node.arg, node.dtype, node.shape, node.device)
            new[id(node)] = copy
            order.append(copy)
        return order, [new[id(root)] for root in self.roots]

    @staticmethod
    def distinct(roots: list[Node]) -> list[Node]:
        """Every root a node of its own, because each has memory of its own."""
        seen: set[int] = set()
        result = []
        for root in roots:
            if id(root) in seen:
                root = graph.copy(root)
            seen.add(id(root))
            result.append(root)
        return result

    def explain(self, result: Schedule) -> None:
        if config.DEBUG.value >= 3:
            debug_print(f"schedule of {len(result.groups)} kernels")
            for reason in result.reasons:
                debug_print(f"  cut: {reason}")
        if config.DEBUG.value >= 5:
            for node in result.keep:
                debug_print(f"  {node} from {list(node.src)}")

    def lower(self, result: Schedule) -> list[KernelCall]:
        calls: list[KernelCall] = []
        for group in result.groups:
            if group.matmul is not None:
                calls.append(lower_matmul(group, result, self.caps))
            elif group.alone is not None and isinstance(group.alone.op, FactorOps):
                calls.append(lower_factor(group))
            elif group.alone is not None:
                calls += lower_serial(group, result, self.caps)
            else:
                calls += lower_loops(group, result, self.caps)
        if config.VERIFY.value:
            for call in calls:
                verify(call.kernel)
        if config.DEBUG.value >= 5:
            for call in calls:
                debug_print(str(call.kernel))
        return calls

    # Memory -------------------------------------------------------------------------------------

    def assemble(self, calls: list[KernelCall], roots: list[Node], result: Schedule) -> Plan:
        in_place = []
        slots: dict[int, tuple[int, int]] = {}
        for number, leaf in enumerate(self.leaves):
            slots[id(leaf)] = (number, 0)
        for number, root in enumerate(roots):
            slot = (len(self.leaves) + number, 0)
            memory = memory_of(root)
            granted = result.granted.get(id(root))
            if memory.op is BufferOps.BUFFER:
                in_place.append(self.leaf_number(memory))
                continue
            slots[id(memory)] = slot
            if granted is None:
                in_place.append(NEW)
            else:
                in_place.append(self.leaf_number(granted))
        same = {id(memory_of(root)): id(result.granted[id(root)])
                for root in roots if id(root) in result.granted}  # fmt: skip
        used = [call for call in calls if self.has_work(call)]
        used, beside = bring_together(used, same)
        block = self.place_intermediates(used, slots, len(self.leaves) + len(roots))
        programs = self.backend.compile([call.kernel for call in used])
        scalars = tuple(sorted(self.varying.values()))
        launches = [
            self.launch(call, program, slots, scalars, near)
            for call, program, near in zip(used, programs, beside, strict=True)
        ]
        return Plan(
            self.backend,
            self.backend.prepare(launches),
            launches,
            in_place,
            [root.nbytes for root in roots],
            block,
            scalars,
        )

    def leaf_number(self, node: Node) -> int:
        for number, leaf in enumerate(self.leaves):
            if leaf is node:
                return number
        return FREE

    def place_intermediates(
        self, calls: list[KernelCall], slots: dict[int, tuple[int, int]], block_slot: int
    ) -> int:
        """Gives every memory that is neither leaf nor output a place in the block."""
        lifetimes: dict[int, Lifetime] = {}
        for step, call in enumerate(calls):
            for memory in call.memory:
                key = id(memory)
                if key in slots:
                    continue
                known = lifetimes.get(key)
                if known is None:
                    lifetimes[key] = Lifetime(memory.nbytes, step, step)
                else:
                    known.last = step
        offsets, total = place(list(lifetimes.values()))
        for key, offset in zip(lifetimes, offsets, strict=True):
            slots[key] = (block_slot, offset)
        return total

    @staticmethod
    def has_work(call: KernelCall) -> bool:
        """False for launches that write nothing because a size is zero."""
        return any(memory.nbytes for memory in call.writes)

    def launch(
        self,
        call: KernelCall,
        program: Any,
        slots: dict[int, tuple[int, int]],
        scalars: tuple[int, ...],
        beside: bool,
    ) -> Launch:
        positions = tuple(scalars.index(position) for position in call.scalars)
        return Launch(
            program,
            tuple(slots[id(memory)] for memory in call.memory),
            call.sizes,
            (0.0,) * len(call.scalars),
            call.work,
            call.cost,
            call.note,
            call.flops,
            call.bytes_moved,
            positions,
            tuple(parameter.is_output for parameter in call.kernel.parameters),
            beside,
        )


def bring_together(
    calls: list[KernelCall], same: dict[int, int]
) -> tuple[list[KernelCall], list[bool]]:
    """Puts independent calls of one kernel next to each other.

    Returns the new order, and for each call whether it may run beside the one before it.
    `same` maps the id of an output to that of the memory it overwrites.  A call moves back to
    the next call of its kernel, if nothing in between touches what it writes or writes what
    it touches.
    """
    touched = [{same.get(id(m), id(m)) for m in call.memory} for call in calls]
    written = [{same.get(id(m), id(m)) for m in call.writes} for call in calls]

    def conflict(a: int, b: int) -> bool:
        return bool(touched[a] & written[b] or written[a] & touched[b])

    groups = [[number] for number in range(len(calls))]
    last_of: dict[str, int] = {}  # the group that holds the latest call of a kernel
    for number, call in enumerate(calls):
        before = last_of.get(call.kernel.name)
        last_of[call.kernel.name] = number
        if before is None:
            continue
        between = [n for group in groups[before + 1 : number + 1] for n in group]
        if not any(conflict(a, b) for a in groups[before] for b in between):
            groups[number] = groups[before] + groups[number]
            groups[before] = []
    order = [number for group in groups for number in group]
    beside = [i > 0 for group in groups for i in range(len(group))]
    return [calls[number] for number in order], beside


def free_leaf(root: Node) -> Node:
    """Stands for memory that a storage has and that nobody will read."""
    return graph.buffer(None, root.dtype, root.shape, root.device)
