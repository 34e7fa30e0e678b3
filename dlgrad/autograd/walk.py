"""Backwards along the tape: from gradients of results to gradients of what they were made of.

Floor 6.  The walk goes through the entries from the youngest to the oldest (an entry is always
younger than its sources), without recursion, and only builds graph: nothing is computed until
a gradient is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.autograd.anomaly import check
from dlgrad.core import gradients
from dlgrad.core import place_gradients as place_gradients  # fills its rows of the table
from dlgrad.core.apply import cast
from dlgrad.core.base import TensorBase, grad_mode
from dlgrad.core.tape import Bundle, Entry, Row, anomaly
from dlgrad.core.templates import remembered
from dlgrad.errors import AutogradError, ShapeError

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

Target = Entry | TensorBase


def run_hooks(hooks: dict[int, Any] | None, gradient: Tensor) -> Tensor:
    """The gradient after the hooks that `Tensor.register_hook` left, in order of their numbers."""
    for _, hook in sorted((hooks or {}).items()):
        changed = hook(gradient)
        if changed is None:
            continue
        if not isinstance(changed, TensorBase):
            raise TypeError(
                f"a gradient hook returns a tensor or None, got {type(changed).__name__}"
            )
        if changed._shape != gradient._shape:
            raise ShapeError(
                f"hook {getattr(hook, '__name__', hook)!r} has changed the size of value: "
                f"{list(gradient._shape)} came in and {list(changed._shape)} out"
            )
        gradient = changed  # type: ignore[assignment]
    return gradient


def fitted(gradient: Tensor, target: Target) -> Tensor:
    """`gradient` in the shape and dtype of its target: broadcasting and promotion undone."""
    if gradient._shape != target._shape:
        gradient = gradients.reduce_to_shape(gradient, target._shape)
    if gradient.dtype is not target.dtype:
        gradient = cast(gradient, target.dtype)
    return gradient


def reachable(roots: Sequence[Target], since: int = 0) -> list[Entry]:
    """All entries below the roots whose sequence number is at least `since`, the youngest first."""
    seen: dict[int, Entry] = {}
    stack = [root for root in roots if isinstance(root, Entry) and root.sequence >= since]
    while stack:
        entry = stack.pop()
        if entry.sequence in seen:
            continue
        seen[entry.sequence] = entry
        for edge in entry.edges:
            if isinstance(edge, Entry) and edge.sequence >= since and edge.sequence not in seen:
                stack.append(edge)
    return [seen[number] for number in sorted(seen, reverse=True)]


def leading_to(order: list[Entry], wanted: set[int]) -> set[int]:
    """The ids of the entries from which a target in `wanted` (ids) can be reached."""
    useful = set()
    for entry in reversed(order):
        for edge in entry.edges:
            if edge is not None and (id(edge) in wanted or id(edge) in useful):
                useful.add(id(entry))
                break
    return useful


def walk(
    roots: Sequence[Target],
    seeds: Sequence[Tensor],
    wanted: Sequence[Target] | None,
    retain_graph: bool,
    create_graph: bool,
    since: int = 0,
) -> list[tuple[Target, Tensor]]:
    """The gradients at the `wanted` targets, or at all leaves if None, in the order found.

    Entries with a smaller sequence number than `since` count as leaves, and no hooks of leaves
    run then: the walk that follows will come there again.
    """
    order = reachable(roots, since)
    wanted_ids = None if wanted is None else {id(target) for target in wanted}
    useful = None if wanted_ids is None else leading_to(order, wanted_ids)
    arrived: dict[int, Tensor] = {}
    leaves: dict[int, Target] = {}
    found: list[tuple[Target, Tensor]] = []

    def arrive(target: Target, gradient: Tensor) -> None:
        key = id(target)
        before = arrived.get(key)
        arrived[key] = gradient if before is None else before + gradient
        if not isinstance(target, Entry) or target.sequence < since:
            leaves[key] = target

    before = grad_mode.enabled
    grad_mode.enabled = create_graph
    try:
        for root, seed in zip(roots, seeds, strict=True):
            arrive(root, seed)
        for entry in order:
            gradient = arrived.pop(id(entry), None)
            if gradient is None:
                continue
            if entry.hooks:
                gradient = run_hooks(entry.hooks, gradient)
            if wanted_ids is not None and id(entry) in wanted_ids:
                found.append((entry, gradient))
            if useful is None or id(entry) in useful:
                send_on(entry, gradient, wanted_ids, useful, arrive)
                if not retain_graph:
                    entry.free()
        for key, leaf in leaves.items():
            if wanted_ids is None or key in wanted_ids:
                gradient = arrived[key]
                if not since and isinstance(leaf, TensorBase) and leaf._hooks is not None:
                    gradient = run_hooks(leaf._hooks.before, gradient)
                found.append((leaf, gradient))
    finally:
        grad_mode.enabled = before
    return found


def send_on(
    entry: Entry,
    gradient: Tensor,
    wanted: set[int] | None,
    useful: set[int] | None,
    arrive: Callable[[Target, Tensor], None],
) -> None:
    """Applies the derivatives of one entry and hands the results to its sources."""
    entry.check()
    row = entry.row
    parts = None if row.joint is None else row.joint(gradient, entry)
    for index, edge in enumerate(entry.edges):
        if edge is None:
            continue
        key = id(edge)
        if not (wanted is None or useful is None or key in wanted or key in useful):
            continue
        part = rule_result(row, index, gradient, entry, edge) if parts is None else parts[index]
        if part is not None:
            part = fitted(part, edge)
            if anomaly.enabled and anomaly.check_nan and not isinstance(part, Bundle):
                check(entry, index, part)
            arrive(edge, part)


def rule_result(
    row: Row, index: int, gradient: Tensor, entry: Entry, edge: Target
) -> Tensor | None:
    """The gradient of one source, which `edge` leads to.

    What a rule composes is remembered (`core/templates.py`), and with it how that is fitted.
    """
    derivative = None if row.each is not None else row.derivatives[index]
    if derivative is None or not derivative.needs or anomaly.enabled or grad_mode.enabled:
        return row.gradient(index, gradient, entry)
    places, sources = [], [gradient]
    for place, tensor in enumerate(entry.saved or ()):
        if tensor is not None:
            places.append(place)
            sources.append(tensor)
    if entry.out_storage is not None:
        sources.append(entry.out)
    shapes = tuple([None if edge is None else edge._shape for edge in entry.edges])
    rule = derivative.rule

    def apply(g: Tensor, *others: Tensor) -> Tensor:
        part = rule(g, entry if g is gradient else entry.standing_for(places, others))
        return fitted(part, edge)

    key = (derivative, entry.arg, tuple(places), shapes, edge.dtype)
    return remembered(key, sources, apply)


def as_tuple(value: Any) -> tuple[Any, ...]:
    """One tensor (or None) as a tuple; sequences as tuples."""
    return (value,) if isinstance(value, TensorBase) or value is None else tuple(value)


def no_history(position: int) -> AutogradError:
    """The error for a result that nothing recorded has made."""
    return AutogradError(
        f"element {position} of tensors does not require grad and does not have a grad_fn; "
        "compute it from a tensor with requires_grad=True, outside of no_grad() and without "
        "detach()"
    )
