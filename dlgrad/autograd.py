"""Backwards along the tape: `backward`, `grad`, and the modes that turn recording on and off.

Floor 6.  The walk goes through the entries from the youngest to the oldest (an entry is always
younger than its sources), without recursion, and only builds graph: nothing is computed until
a gradient is looked at.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from dlgrad import gradients
from dlgrad.apply import cast, copy, filled
from dlgrad.base import TensorBase, from_storage, grad_mode, node_of, requires_grad
from dlgrad.errors import AutogradError, ShapeError
from dlgrad.tape import Entry, edge_of, write

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])
Target = Entry | TensorBase

_NO_HISTORY = (
    "element {} of tensors does not require grad and does not have a grad_fn; compute it from a "
    "tensor with requires_grad=True, outside of no_grad() and without detach()"
)


# Modes ----------------------------------------------------------------------------------------


class _GradModeBlock:
    """A context manager and decorator that sets whether operations are recorded."""

    _enabled = True

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(grad_mode.enabled)
        grad_mode.enabled = self._enabled

    def __exit__(self, *details: object) -> None:
        grad_mode.enabled = self._before.pop()

    def __call__(self, function: F) -> F:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]


class no_grad(_GradModeBlock):
    """Operations in the block (or the decorated function) are not recorded."""

    _enabled = False

    def __new__(cls, function: F | None = None) -> Any:
        block = super().__new__(cls)
        return block if function is None else block(function)

    def __init__(self, function: F | None = None) -> None:
        super().__init__()


class inference_mode(no_grad):
    """The same as `no_grad` here."""


class enable_grad(_GradModeBlock):
    """Operations in the block (or the decorated function) are recorded again."""


class set_grad_enabled(_GradModeBlock):
    """Turns recording on or off, at once; used with `with`, for the block only."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self._outer = grad_mode.enabled
        self._enabled = grad_mode.enabled = bool(mode)

    def __enter__(self) -> None:
        grad_mode.enabled = self._enabled

    def __exit__(self, *details: object) -> None:
        grad_mode.enabled = self._outer

    def __call__(self, function: F) -> F:
        mode, grad_mode.enabled = self._enabled, self._outer

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with set_grad_enabled(mode):
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]


def is_grad_enabled() -> bool:
    """True while operations of this thread are recorded."""
    return grad_mode.enabled


# The walk -------------------------------------------------------------------------------------


def run_hooks(hooks: dict[int, Any] | None, gradient: Tensor) -> Tensor:
    """The gradient after the hooks that `Tensor.register_hook` left."""
    for hook in list((hooks or {}).values()):
        changed = hook(gradient)
        if changed is not None:
            gradient = changed
    return gradient


def fitted(gradient: Tensor, target: Target) -> Tensor:
    """`gradient` in the shape and dtype of its target: broadcasting and promotion undone."""
    if gradient._shape != target._shape:
        gradient = gradients.reduce_to_shape(gradient, target._shape)
    if gradient.dtype is not target.dtype:
        gradient = cast(gradient, target.dtype)
    return gradient


def reachable(roots: Sequence[Target]) -> list[Entry]:
    """All entries below the roots, the youngest first."""
    seen: dict[int, Entry] = {}
    stack = [root for root in roots if isinstance(root, Entry)]
    while stack:
        entry = stack.pop()
        if entry.sequence in seen:
            continue
        seen[entry.sequence] = entry
        for edge in entry.edges:
            if isinstance(edge, Entry) and edge.sequence not in seen:
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
) -> list[tuple[Target, Tensor]]:
    """The gradients at the `wanted` targets, or at all leaves if None, in the order found."""
    order = reachable(roots)
    wanted_ids = None if wanted is None else {id(target) for target in wanted}
    useful = None if wanted_ids is None else leading_to(order, wanted_ids)
    arrived: dict[int, Tensor] = {}
    leaves: dict[int, TensorBase] = {}
    found: list[tuple[Target, Tensor]] = []

    def arrive(target: Target, gradient: Tensor) -> None:
        key = id(target)
        before = arrived.get(key)
        arrived[key] = gradient if before is None else before + gradient
        if not isinstance(target, Entry):
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
                found.append((leaf, run_hooks(leaf._hooks, arrived[key])))
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
    for index, edge in enumerate(entry.edges):
        if edge is None:
            continue
        key = id(edge)
        if not (wanted is None or useful is None or key in wanted or key in useful):
            continue
        part = row.gradient(index, gradient, entry)
        if part is not None:
            arrive(edge, fitted(part, edge))


# What users call ------------------------------------------------------------------------------


def as_tuple(value: Any) -> tuple[Any, ...]:
    return (value,) if isinstance(value, TensorBase) or value is None else tuple(value)


def prepare(outputs: tuple[Tensor, ...], given: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
    """The targets and first gradients of `outputs`, checked."""
    if len(given) != len(outputs):
        raise AutogradError(
            f"got {len(outputs)} tensors and {len(given)} gradients; give one for each"
        )
    roots: list[Target] = []
    seeds: list[Tensor] = []
    for i, (output, seed) in enumerate(zip(outputs, given, strict=True)):
        if not requires_grad(output):
            raise AutogradError(_NO_HISTORY.format(i))
        if seed is None:
            if output.numel() != 1:
                raise AutogradError(
                    "grad can be implicitly created only for scalar outputs, this one has shape "
                    f"{list(output._shape)}; give the gradient or reduce it first, as in "
                    "x.sum().backward()"
                )
            seed = filled(1, output.dtype, output._shape, node_of(output).device)
        elif seed._shape != output._shape:
            raise ShapeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {list(seed._shape)} and "
                f"output[{i}] has a shape of {list(output._shape)}."
            )
        roots.append(edge_of(output))
        seeds.append(fitted(seed, output))
    return roots, seeds


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Adds to `.grad` of the leaves the derivatives of `tensors`, weighted by `grad_tensors`."""
    outputs = as_tuple(tensors)
    given = (None,) * len(outputs) if grad_tensors is None else as_tuple(grad_tensors)
    roots, seeds = prepare(outputs, given)
    retain = create_graph if retain_graph is None else retain_graph
    wanted = None if inputs is None else [edge_of(leaf) for leaf in as_tuple(inputs)]
    tensor_of = {} if wanted is None else dict(zip(map(id, wanted), as_tuple(inputs), strict=True))
    found = walk(roots, seeds, wanted, retain, create_graph)
    taken = {id(seed._storage) for seed in given if seed is not None}
    for target, gradient in found:
        accumulate(tensor_of.get(id(target), target), gradient, create_graph, taken)


def accumulate(leaf: Any, gradient: Tensor, create_graph: bool, taken: set[int]) -> None:
    """Adds `gradient` to `leaf.grad`; storages in `taken` belong to somebody else."""
    if leaf.grad is None:
        storage = gradient._storage
        if create_graph:
            leaf.grad = gradient
        elif gradient._view is None and id(storage) not in taken:
            leaf.grad = from_storage(storage, None)
        else:
            leaf.grad = copy(gradient).detach()
        taken.add(id(storage))
    elif create_graph:
        leaf.grad = leaf.grad + gradient
    else:
        before = grad_mode.enabled
        grad_mode.enabled = False
        try:
            write(leaf.grad, leaf.grad + gradient, fresh=True)
        finally:
            grad_mode.enabled = before


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor, ...]:
    """The derivatives of `outputs` with respect to `inputs`, weighted by `grad_outputs`.

    `.grad` is not touched.  AutogradError where an input was not used, unless `allow_unused`
    (then None stands there) or `materialize_grads` (then zeros).
    """
    if is_grads_batched:
        raise NotImplementedError("is_grads_batched is not supported; call grad for each row")
    results, sources = as_tuple(outputs), as_tuple(inputs)
    given = (None,) * len(results) if grad_outputs is None else as_tuple(grad_outputs)
    for source in sources:
        if not requires_grad(source):
            raise AutogradError("One of the differentiated Tensors does not require grad")
    roots, seeds = prepare(results, given)
    retain = create_graph if retain_graph is None else retain_graph
    wanted = [edge_of(source) for source in sources]
    found = {id(t): g for t, g in walk(roots, seeds, wanted, retain, create_graph)}
    answers: list[Any] = []
    for source, target in zip(sources, wanted, strict=True):
        answer = found.get(id(target))
        if answer is None and materialize_grads:
            answer = filled(0, source.dtype, source._shape, node_of(source).device)
        if answer is None and not allow_unused:
            raise AutogradError(
                "One of the differentiated Tensors appears to not have been used in the graph. "
                "Set allow_unused=True if this is the desired behavior."
            )
        answers.append(answer)
    return tuple(answers)
