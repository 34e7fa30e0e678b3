"""Evaluation: finds or builds the plan of what is pending, and runs it.

Floor 5.  `realize` turns nodes into BUFFERs.  Whatever else a living storage shows is computed
along with them if it is on the way, so that nothing is computed twice.  Plans are kept by the
structure of the graph: the second step of a training loop only walks its graph, looks the plan
up, and makes one call into the backend.

A constant of the graph (a Python number) is at first written into the kernels.  When the same
structure comes again with another number at the same place, that place becomes a number given
at launch, so a changing learning rate or loss weight compiles once more and never again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Container, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

from dlgrad import config
from dlgrad.helpers import ForkSafeLock
from dlgrad.lazy import graph
from dlgrad.lazy.graph import Node
from dlgrad.lazy.memory import FREE, NEW
from dlgrad.lazy.ops import BufferOps, MovementOps
from dlgrad.runtime.device import (
    Backend,
    Blocks,
    Buffer,
    Condition,
    get_backend,
    opened_backends,
)
from dlgrad.runtime.report import is_timed, report_time
from dlgrad.runtime.timeline import span

if TYPE_CHECKING:
    from dlgrad.runtime.plan import Plan

_BUFFER, _CONST, _VIEW = BufferOps.BUFFER, BufferOps.CONST, MovementOps.VIEW

MOST_STRUCTURES = 512  # plans of this many graphs are kept
MOST_VARIANTS = 8  # and of each, this many with different constants written in

_lock = ForkSafeLock()


class Run(NamedTuple):
    """One execution of a plan, as a recorder sees it."""

    plan: Plan
    buffers: list[Buffer]  # one for each slot
    scalars: list[float]
    moved: list[tuple[Any, Buffer]]  # storages that got new memory, and what they had


class Recorder:
    """What `capture.py` overrides to see every run."""

    def record(self, run: Run) -> None:
        """Called after a plan ran."""


class _Recording(threading.local):
    """The recorder of this thread."""

    recorder: Recorder | None = None


_recording = _Recording()
_recorders = Blocks()


def set_recorder(recorder: Recorder | None) -> Recorder | None:
    """Makes `recorder` see what this thread evaluates; returns the one before."""
    before = _recording.recorder
    _recording.recorder = recorder
    _recorders.change((recorder is not None) - (before is not None))
    return before


def current_recorder() -> Recorder | None:
    """The recorder of this thread, if there is one."""
    return _recording.recorder


def unrecorded() -> Condition:
    """What must stay as it is for no thread to have a recorder."""
    return _recorders.none_open()


def evaluation() -> AbstractContextManager[object]:
    """What a thread enters to evaluate: one at a time does, since they may share memory."""
    return _lock.held


class Variant(NamedTuple):
    """A plan, the constants it was made for, and which of them may differ."""

    values: list[Any]
    varying: frozenset[int]
    plan: Plan

    def fits(self, values: Sequence[Any]) -> bool:
        return all(
            i in self.varying or same_number(a, b)
            for i, (a, b) in enumerate(zip(self.values, values, strict=True))
        )


def same_number(a: Any, b: Any) -> bool:
    return bool(a == b or (a != a and b != b))


_plans: OrderedDict[Any, list[Variant]] = OrderedDict()
_single: dict[Any, Plan] = {}  # those of graphs of one operation, see `run_alone`


def clear_plans() -> None:
    """Forgets all plans; the kernels stay loaded."""
    with _lock.held:
        _plans.clear()
        _single.clear()


def realize(nodes: Sequence[Node]) -> None:
    """Evaluates `nodes` together; afterwards each is a BUFFER node.

    A storage that had memory keeps it, where nothing pending still has to read what is there.
    """
    with _lock.held:
        if len(nodes) == 1 and run_alone(nodes[0]):
            return
        roots = list(dict.fromkeys(node for node in nodes if not node.is_realized))
        if not roots:
            return
        found = survey(roots)
        if found.device is not None:
            realize_on(get_backend(found.device), roots, found)
            return
        transfer_between_devices(found.order)
        by_device: dict[str, list[Node]] = {}
        for root in roots:
            if not root.is_realized:
                by_device.setdefault(root.device, []).append(root)
        for device, pending in by_device.items():
            realize_on(get_backend(device), pending, survey(pending))


def transfer_between_devices(order: list[Node]) -> None:
    """Realises every copy from another device among the nodes that are needed."""
    crossings = [
        node
        for node in order
        if node.op is BufferOps.COPY and node.src[0].device != node.device
    ]
    for node in crossings:
        source = node.src[0]
        realize([source])
        memory = Buffer(get_backend(node.device), node.nbytes)
        if node.nbytes:
            data = memoryview(bytearray(node.nbytes))
            source.arg.copy_out(data)
            memory.copy_in(data)
        node.become_buffer(memory)


def realize_on(backend: Backend, roots: list[Node], found: Survey) -> None:
    """Evaluates roots that are all on one device; `found` is everything they need."""
    with span("evaluate", "evaluate"):
        evaluate(backend, roots, found)


def evaluate(backend: Backend, roots: list[Node], found: Survey) -> None:
    """Finds what has to be kept on the way to the roots, and runs the graph."""
    wanted = set(roots)
    for node, uses in zip(found.order, found.uses, strict=True):
        src = node.src
        if not src or node in wanted or (node.op is _VIEW and src[0].op is _BUFFER):
            continue  # it is there, or is no work
        if node.owner is not None and node.is_held:
            roots.append(node)
        elif len(node.readers or ()) != uses and has_other_readers(node, found.number):
            roots.append(node)  # not all who read it are part of this graph
    empty = [root for root in roots if 0 in root.shape]
    for root in empty:
        settle(root, Buffer(backend, 0))
    roots = [root for root in roots if root.op is not _BUFFER]
    if roots:
        run_graph(backend, roots, survey(roots) if empty else found)


def run_alone(node: Node) -> bool:
    """Evaluates one operation on memory by the plan of an earlier one like it, if there is one.

    Small work is done so often, one operation at a time, that the walk over the graph would
    take most of the time.
    """
    leaves: dict[Node, int] = {}
    plan = _single.get(single_key(node, leaves))
    if plan is None or _recording.recorder is not None or is_timed():
        return False
    if node.owner is not None:
        holder = node.owner()
        if holder is None or holder.buffer is not None:
            return False
    backend = plan.backend
    memory = Buffer(backend, plan.output_bytes[0])
    addresses = [leaf.arg.address for leaf in leaves]
    addresses.append(memory.address)
    if plan.block_bytes:
        block = Buffer(backend, plan.block_bytes)
        addresses.append(block.address)
    backend.run(plan.sequence, addresses, ())
    settle(node, memory)
    return True


def single_key(node: Node, leaves: dict[Node, int]) -> Any:
    """What decides the plan of one operation on memory or on views of it; None for other graphs.

    The memory goes to `leaves`, numbered in the order of a survey.
    """
    if not node.src:
        return None
    parts: list[Any] = [node.op, node.arg, node.dtype, node.shape, node.device, config.OPT.value]
    for source in node.src:
        leaf = source
        if source.op is _VIEW:
            leaf = source.src[0]
            parts.append(source.arg)
        if leaf.op is not _BUFFER:
            return None
        parts += (leaf.dtype, leaf.shape, leaf.device, leaves.setdefault(leaf, len(leaves)))
    return tuple(parts)


def keep_single(found: Survey, roots: list[Node], plan: Plan) -> None:
    """Remembers a plan for `run_alone`, where it is of that kind."""
    if len(roots) == 1 and plan.in_place == [NEW] and not plan.scalars:
        leaves: dict[Node, int] = {}
        key = single_key(roots[0], leaves)
        if key is not None and list(leaves) == found.leaves:
            if len(_single) >= MOST_STRUCTURES:
                _single.clear()
            _single[key] = plan


def settle(node: Node, memory: Buffer) -> None:
    """Makes `node` realised memory, and tells the storage that shows it."""
    node.become_buffer(memory)
    holder = node.holder
    if holder is not None and holder.node is node:
        holder.buffer = memory


def run_graph(backend: Backend, roots: list[Node], found: Survey) -> None:
    places = {leaf: number for number, leaf in enumerate(found.leaves)}
    targets = [find_target(root, places, found.number) for root in roots]
    key = (
        backend.name,
        config.OPT.value,
        tuple(found.parts),
        tuple([found.number[root] for root in roots]),
        tuple([number for number, _ in targets]),
    )
    values = [node.arg for node in found.constants]
    plan = find_plan(key, values, found, roots, targets, backend)
    keep_single(found, roots, plan)
    execute(plan, found.leaves, roots, [memory for _, memory in targets], values)


# The structure of a graph -------------------------------------------------------------------------


class Survey(NamedTuple):
    """What one walk over a graph tells: everything that the roots need, sources before users.

    `parts` is equal for equal structures: for each node its op, what belongs to the op, and the
    places of its sources.  `uses` counts for each node how often others of this graph read it;
    `leaves` is memory, `constants` are Python numbers; `device` is None where there are several.
    """

    order: list[Node]
    number: dict[Node, int]  # the place of each node in the order
    uses: list[int]
    parts: list[Any]
    leaves: list[Node]
    constants: list[Node]
    device: str | None


def survey(roots: list[Node]) -> Survey:
    """Walks over everything that the roots need; iterative, for long chains.

    It runs at every evaluation, so it does in one loop what three could do more plainly.
    """
    order: list[Node] = []
    number: dict[Node, int] = {}
    uses: list[int] = []
    parts: list[Any] = []
    leaves: list[Node] = []
    constants: list[Node] = []
    device: str | None = roots[0].device
    stack: list[Node | None] = [*reversed(roots)]
    while stack:
        node = stack.pop()
        if node is None:  # all sources of the node below it have their places
            node = stack.pop()
            assert node is not None
            parts += (node.op, node.arg, node.dtype, node.shape)
            for source in node.src:
                place = number[source]
                parts.append(place)
                uses[place] += 1
        elif node in number:
            continue
        elif node.src:
            stack += (node, None)
            stack += node.src[::-1]
            continue
        elif node.op is _BUFFER:
            leaves.append(node)
            parts += (_BUFFER, node.dtype, node.shape)
        elif node.op is _CONST:
            constants.append(node)
            parts += (_CONST, constant_kind(node.arg), node.dtype, node.shape)
        else:
            parts += (node.op, node.arg, node.dtype, node.shape)
        number[node] = len(order)
        order.append(node)
        uses.append(0)
        if node.device != device:
            device = None
    return Survey(order, number, uses, parts, leaves, constants, device)


def constant_kind(value: bool | int | float) -> Any:
    """What the structure says about a constant; exact for those that a double cannot hold."""
    if isinstance(value, (bool, graph.Varying)):
        return value if isinstance(value, bool) else graph.Varying
    if isinstance(value, int):
        return None if -(2**53) <= value <= 2**53 else value
    if value == 0.0:
        return str(value)  # 0.0 and -0.0 are equal but not the same
    return None


def find_target(
    root: Node, places: dict[Node, int], members: Container[Node]
) -> tuple[int, Buffer | None]:
    """Where the value of `root` should go, and the memory if there is some to overwrite.

    `places` numbers the leaves.
    """
    if not root.is_held:
        return NEW, None
    memory: Buffer | None = root.holder.buffer
    if memory is None or memory.nbytes != root.nbytes or memory.device != root.device:
        return NEW, None
    shown: Node | None = None if memory.shown_by is None else memory.shown_by()
    if shown is None:
        return FREE, memory
    if shown.is_held or has_other_readers(shown, members):
        return NEW, None
    return places.get(shown, FREE), memory


def has_other_readers(node: Node, members: Container[Node]) -> bool:
    """Whether pending work outside of this graph needs the value of `node`, maybe by a view.

    A view by itself is no work: tensors keep the views that they have shown, and make new ones
    after a write.  It counts where a storage shows it or work reads it.  A view of memory is left
    as it is when it is on the way, so a storage that shows one reads the memory later, also where
    the view is part of this graph.
    """
    for reference in node.readers or ():
        reader = reference()
        if reader is None or node not in reader.src:
            continue  # it is gone, or memory already
        outside = reader not in members
        if reader.op is MovementOps.VIEW:
            later = reader.is_held and (outside or node.is_realized)
            if later or has_other_readers(reader, members):
                return True
        elif outside and is_wanted(reader):
            return True
    return False


def living_readers(node: Node) -> list[Node]:
    """The nodes that are made of `node` and not memory yet."""
    found = [reference() for reference in node.readers or ()]
    return [reader for reader in found if reader is not None and node in reader.src]


def is_wanted(node: Node) -> bool:
    """Whether a storage shows a node, or something that is made of it; iterative.

    A view that a tensor has kept from before a write keeps nodes alive that nobody wants.
    """
    stack, seen = [node], {id(node)}
    while stack:
        node = stack.pop()
        if node.is_held:
            return True
        for reader in living_readers(node):
            if id(reader) not in seen:
                seen.add(id(reader))
                stack.append(reader)
    return False


# Plans --------------------------------------------------------------------------------------------


def find_plan(
    key: Any,
    values: list[Any],
    found: Survey,
    roots: list[Node],
    targets: list[tuple[int, Buffer | None]],
    backend: Backend,
) -> Plan:
    """The plan of this structure and these constants, built if it is new."""
    variants = _plans.get(key)
    if variants is not None:
        if len(_plans) > MOST_STRUCTURES // 2:  # else none is forgotten soon: a key is long
            _plans.move_to_end(key)
        for variant in variants:
            if variant.fits(values):
                return variant.plan
    varying = frozenset(i for i, value in enumerate(values) if isinstance(value, graph.Varying))
    if variants:
        last = variants[0]
        varying |= last.varying | {
            i
            for i, (a, b) in enumerate(zip(last.values, values, strict=True))
            if not same_number(a, b)
        }
    positions = {id(found.constants[i]): i for i in varying}
    places = [number for number, _ in targets]
    # The planner and all floors below it are imported when the first work is planned.
    from dlgrad.runtime.plan import PlanBuilder

    report_time("python")
    with span("plan", "plan"):
        plan = PlanBuilder(
            found.order, roots, found.leaves, places, positions, backend
        ).build()
    report_time("plan", f"launches: {len(plan.launches)}")
    kept = _plans.setdefault(key, [])
    kept.insert(0, Variant(list(values), varying, plan))
    del kept[MOST_VARIANTS:]
    while len(_plans) > MOST_STRUCTURES:
        _plans.popitem(last=False)
    return plan


def execute(
    plan: Plan,
    leaves: list[Node],
    roots: list[Node],
    memories: list[Buffer | None],
    values: list[Any],
) -> None:
    """Fills the slots of a plan, runs it, and settles the roots."""
    backend = plan.backend
    buffers: list[Buffer] = [leaf.arg for leaf in leaves]
    outputs: list[Buffer] = []
    for place, nbytes, memory in zip(plan.in_place, plan.output_bytes, memories, strict=True):
        if place == NEW or memory is None:
            memory = Buffer(backend, nbytes)
        outputs.append(memory)
    buffers += outputs
    if plan.block_bytes:
        buffers.append(Buffer(backend, plan.block_bytes))
    scalars = [float(values[position]) for position in plan.scalars]
    if config.DEBUG.value >= 2:
        report_time("python")
    backend.run(plan.sequence, [buffer.address for buffer in buffers], scalars)
    recorder = current_recorder()
    if recorder is not None:
        moved = [
            (root.holder, root.holder.buffer)
            for root, memory in zip(roots, outputs, strict=True)
            if root.is_held and root.holder.buffer not in (None, memory)
        ]
        recorder.record(Run(plan, buffers, scalars, moved))
    for root, memory in zip(roots, outputs, strict=True):
        settle(root, memory)


def synchronize(device: str | None = None) -> None:
    """Waits until all submitted work of `device` (default: of every device) is done."""
    for backend in opened_backends():
        if device is None or backend.name == device:
            backend.synchronize()
