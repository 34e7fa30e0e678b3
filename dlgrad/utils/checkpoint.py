"""Checkpoints of activations: less memory for one more forward pass.

Floor 7.  What a checkpointed function computes on the way is not kept: its results are evaluated
at once, and the backward pass calls the function again, with the random numbers of the first
time.  The gradients of that part are evaluated before the walk goes on, so what the second call
keeps is gone before the next part needs memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.autograd.modes import enable_grad
from dlgrad.autograd.walk import walk
from dlgrad.core.apply import move
from dlgrad.core.base import from_storage, grad_mode, requires_grad, view_of
from dlgrad.core.joint import attach, outside_of, start_call
from dlgrad.core.storage import realize
from dlgrad.core.tape import Entry, Row, edge_of, next_sequence, stale
from dlgrad.core.tracing import current_trace
from dlgrad.core.trees import flatten, unflatten
from dlgrad.errors import AutogradError
from dlgrad.random import default_generator

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


class CheckpointEntry(Entry):
    """The entry of a checkpointed call: how to call the function again."""

    def __init__(
        self, function: Callable[..., Any], structure: Any, tensors: Sequence[Tensor],
        outside: list[Any], mark: Any,
    ) -> None:  # fmt: skip
        self.function: Callable[..., Any] | None = function
        self.structure = structure
        self.tensors = tensors
        self.versions_of_inputs = [x._storage.version for x in tensors]
        self.outside = outside
        self.mark = mark
        self.wanted = [i for i, x in enumerate(tensors) if requires_grad(x)]
        edges = [edge_of(tensors[i]) for i in self.wanted] + outside
        start_call(self, Row("Checkpoint", joint=_gradients), edges)

    def check(self) -> None:
        if self.function is None:
            raise AutogradError(
                "Trying to backward through the graph a second time: the arguments of a "
                "checkpointed function are freed. Specify retain_graph=True for the first pass."
            )
        for x, version in zip(self.tensors, self.versions_of_inputs, strict=True):
            if x._storage.version != version:
                raise stale(self.name(), x._shape, x._storage, version)

    def free(self) -> None:
        self.function = None
        self.tensors = ()


def own_tensors(tensors: Sequence[Tensor], follow: bool) -> list[Tensor]:
    """The arguments for one call: new leaves, or views that lead on to what was given."""
    found = []
    for x in tensors:
        if not requires_grad(x):
            found.append(x)
        elif follow:
            found.append(move("reshape", None, x, view_of(x)))
        else:
            found.append(x.detach().requires_grad_())
    return found


def called(function: Callable[..., Any], structure: Any, tensors: list[Tensor]) -> Any:
    """The results of the function for these tensors, recorded."""
    args, kwargs = unflatten(structure, tensors)
    with enable_grad():
        return function(*args, **kwargs)


def _gradients(gradient: Any, entry: Entry) -> Sequence[Tensor | None]:
    """Calls the function again, and walks backwards through that call alone."""
    assert isinstance(entry, CheckpointEntry) and entry.function is not None
    create_graph = grad_mode.enabled
    evaluate(gradient.parts.values())
    since = next_sequence()
    own = own_tensors(entry.tensors, create_graph)
    with default_generator.rewound(entry.mark):
        results = called(entry.function, entry.structure, own)
    outputs: list[Any] = []
    flatten(results, outputs)
    outputs = [x for x in outputs if requires_grad(x)]
    if len(outputs) <= max(gradient.parts):
        raise AutogradError(
            "a checkpointed function gave other results when it was called again for the "
            "backward pass; it must depend on nothing but its arguments"
        )
    targets = [edge_of(own[i]) for i in entry.wanted] + entry.outside
    roots = [edge_of(outputs[place]) for place in gradient.parts]
    seeds = list(gradient.parts.values())
    found = {
        id(target): part
        for target, part in walk(roots, seeds, targets, create_graph, create_graph, since)
    }
    parts = [found.get(id(target)) for target in targets]
    evaluate(part for part in parts if part is not None)
    return parts


def evaluate(tensors: Any) -> None:
    """Computes tensors now, so that what they were made of can go; not inside of `vmap`."""
    if current_trace() is None:
        realize([x._storage for x in tensors])


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    determinism_check: str = "default",
    debug: bool = False,
    **kwargs: Any,
) -> Any:
    """`function(*args, **kwargs)`, which is called again where its gradients are needed.

    Between the two passes only the arguments and results are kept.  `function` must depend on
    its arguments (and on parameters) alone; random numbers of the default stream come again the
    same, unless `preserve_rng_state` is False.  `use_reentrant`, `determinism_check` and `debug`
    are accepted and change nothing: gradients of arguments and of parameters, also to higher
    orders and through `autograd.grad`, are right in every case.
    """
    tensors: list[Any] = []
    structure = flatten((args, kwargs), tensors)
    if not grad_mode.enabled:
        return function(*args, **kwargs)
    mark = default_generator.mark() if preserve_rng_state else None
    since = next_sequence()
    own = own_tensors(tensors, False)
    results = called(function, structure, own)
    outputs: list[Any] = []
    shape = flatten(results, outputs)
    recorded = [x for x in outputs if requires_grad(x)]
    if not recorded:
        return results
    outside = outside_of(recorded, since, {id(x) for x in own})
    shown = [from_storage(x._storage, x._view) if requires_grad(x) else x for x in outputs]
    call = CheckpointEntry(function, structure, tensors, outside, mark)
    place = 0
    for x, result in zip(outputs, shown, strict=True):
        if requires_grad(x):
            attach(call, place, result)
            place += 1
    del results, recorded, own, outputs
    evaluate(shown)
    return unflatten(shape, shown)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
) -> Any:  # fmt: skip
    """The functions (or the children of a `Sequential`) one after the other, in `segments`.

    Every segment but the last is a checkpoint; each is `len(functions) // segments` long.
    """
    chain = list(functions.children()) if hasattr(functions, "children") else list(functions)
    if not 1 <= segments <= len(chain):
        raise ValueError(f"segments must be from 1 to {len(chain)}, got {segments}")
    length = len(chain) // segments

    def part(start: int, end: int) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            for function in chain[start:end]:
                x = function(x)
            return x

        return run

    start = 0
    for _ in range(segments - 1):
        input = checkpoint(
            part(start, start + length), input, use_reentrant=use_reentrant,
            preserve_rng_state=preserve_rng_state,
        )  # fmt: skip
        start += length
    return part(start, len(chain))(input)
