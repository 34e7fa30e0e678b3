"""Compositions remembered: the nodes that a function of tensors made, made again without it.

Floor 6.  A training loop calls the same functions on tensors of the same shapes at every step,
and each call composes the same graph.  When a call comes the second time, the function runs on
placeholders (see `tracing.py`), and what it made of them is kept as a list of steps; later calls
go through that list.  Functions that look at values, return a view or what they were given, or
use memory of their own are not remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

from dlgrad.core.autocasting import is_autocast_enabled
from dlgrad.core.base import TensorBase, from_storage, grad_mode, make, node_of
from dlgrad.core.storage import Storage
from dlgrad.core.tracing import TRACED, current_trace, placeholder
from dlgrad.dtype import get_default_dtype
from dlgrad.errors import VmapError
from dlgrad.lazy import graph
from dlgrad.lazy.graph import Node
from dlgrad.lazy.ops import BufferOps, MovementOps

T = TypeVar("T")

MOST_TEMPLATES = 4096
MOST_STEPS = 200

_BUFFER, _CONST, _VIEW = BufferOps.BUFFER, BufferOps.CONST, MovementOps.VIEW


class Step(NamedTuple):
    """One node: `sources` are places among the inputs and the steps before."""

    op: Any
    sources: tuple[int, ...]
    arg: Any
    dtype: Any
    shape: Any


class Template:
    """What a function makes; `results` are places, `single` says that it returns no tuple."""

    __slots__ = ("steps", "results", "single")

    def __init__(self, steps: list[Step], results: tuple[int, ...], single: bool) -> None:
        self.steps = steps
        self.results = results
        self.single = single


# What is known of a call: nothing yet (no entry), that it came once, what it makes, or that it
# cannot be remembered.
_ONCE, _NEVER = Template([], (), True), Template([], (), True)
_templates: dict[Hashable, Template] = {}


def remembered(key: Hashable, sources: Sequence[TensorBase], function: Callable[..., T]) -> T:
    """`function(*sources)` without a tape, from memory where an equal call came before.

    `key` says which function, with everything that it reads beside the sources; no tensors,
    which would be kept.  The function returns a tensor or a tuple of them.
    """
    if grad_mode.enabled or current_trace() is not None or is_autocast_enabled():
        return function(*sources)
    device = sources[0]._storage.node.device
    try:
        kinds = [(source.dtype, source._shape) for source in sources]
        full = (key, device, get_default_dtype(), *kinds)
        known = _templates.get(full)
    except TypeError:  # something in the key has no hash
        return function(*sources)
    if known is None:
        if len(_templates) >= MOST_TEMPLATES:
            _templates.clear()
        _templates[full] = _ONCE
        return function(*sources)
    if known is _ONCE:
        known = _templates[full] = learn(sources, function) or _NEVER
    if known is _NEVER:
        return function(*sources)
    nodes = []
    depth = 0
    for source in sources:
        nodes.append(node_of(source))
        storage = source._storage
        if storage.depth > depth and storage.node.op is not _BUFFER:
            depth = storage.depth
    for op, places, arg, dtype, shape in known.steps:
        if op is _VIEW:
            nodes.append(graph.view(nodes[places[0]], arg))
        else:
            nodes.append(Node(op, tuple([nodes[i] for i in places]), arg, dtype, shape, device))
    depth += len(known.steps)
    if known.single:
        return make(nodes[-1], depth)  # type: ignore[return-value]
    return tuple([make(nodes[i], depth) for i in known.results])  # type: ignore[return-value]


def learn(sources: Sequence[TensorBase], function: Callable[..., Any]) -> Template | None:
    """What the function makes of tensors like the sources; None where that cannot be kept."""
    rows = [
        placeholder(0, source.dtype, source._shape, source._storage.node.device)
        for source in sources
    ]
    try:
        out = function(*[from_storage(Storage(row, TRACED), None) for row in rows])
    except VmapError:  # it looked at a value
        return None
    single = not isinstance(out, tuple)
    made = [out] if single else list(out)
    if any(one._view is not None or one._storage.node in rows for one in made):
        return None  # no new memory
    ends = [one._storage.node for one in made]
    place = {row: number for number, row in enumerate(rows)}
    device = rows[0].device
    steps: list[Step] = []
    for node in graph.toposort(ends):
        if node in place or node.op is _BUFFER and node in [row.src[0] for row in rows]:
            continue
        varies = node.op is _CONST and isinstance(node.arg, graph.Varying)
        if node.op is _BUFFER or varies or node.device != device or len(steps) >= MOST_STEPS:
            return None
        places = tuple(place[source] for source in node.src)
        place[node] = len(rows) + len(steps)
        steps.append(Step(node.op, places, node.arg, node.dtype, node.shape))
    return Template(steps, tuple(place[end] for end in ends), single)
