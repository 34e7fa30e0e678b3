"""`Function`: an operation with a derivative written by the user.

Floor 6.  The context that `forward` and `backward` share is the entry of the tape itself, as in
PyTorch: `y.grad_fn.saved_tensors` works.  A function with several results puts one entry per
result on the tape, each of which hands its gradient to the context in a `Bundle`.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dlgrad.autograd.modes import no_grad
from dlgrad.core.apply import filled
from dlgrad.core.base import TensorBase, from_storage, grad_mode, requires_grad
from dlgrad.core.joint import result_entry, start_call
from dlgrad.core.tape import Bundle, Entry, Row, edge_of, stale, start_entry
from dlgrad.dtype import float32
from dlgrad.errors import AutogradError, ShapeError

if TYPE_CHECKING:
    from dlgrad.core.storage import Storage
    from dlgrad.dtype import DType
    from dlgrad.lazy.shape import Shape, View
    from dlgrad.tensor import Tensor

_FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after "
    "they have already been freed). Specify retain_graph=True if you need to backward through "
    "the graph a second time or if you need to access saved tensors after calling backward."
)


class SavedResult(NamedTuple):
    """A result that its own function saved: the tensor itself would close a circle."""

    place: int
    storage: Storage
    view: View | None


class Slot(NamedTuple):
    """What a result is, and whether it has a derivative."""

    shape: Shape
    dtype: DType
    device: str
    differentiable: bool


class FunctionCtx(Entry):
    """What `forward` leaves for `backward`; attributes of any other name may be set, too."""

    def __init__(self, function: type[Function], args: tuple[Any, ...]) -> None:
        self.needs_input_grad = tuple(
            isinstance(arg, TensorBase) and requires_grad(arg) for arg in args
        )
        self.materialize_grads = True
        self._function = function
        self._kept: tuple[Any, ...] | None = ()
        self._kept_versions: list[int] = []
        self._fixed: set[int] = set()
        self._dirty: tuple[Any, ...] = ()
        self._results: list[Slot] = []
        self._holders: list[weakref.ref[Entry] | None] = []
        edges = [edge_of(arg) if isinstance(arg, TensorBase) and requires_grad(arg) else None
                 for arg in args]  # fmt: skip
        start_call(self, Row(function.__name__, joint=_call_backward, suffix="Backward"), edges)

    # What `forward` calls -----------------------------------------------------------------------

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps tensors for `backward`, which refuses them if they are overwritten meanwhile."""
        for i, tensor in enumerate(tensors):
            if tensor is not None and not isinstance(tensor, TensorBase):
                raise TypeError(
                    "save_for_backward can only save variables, but argument "
                    f"{i} is of type {type(tensor).__name__}; set it as an attribute of ctx"
                )
        self._kept = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Accepted; derivatives forwards are made of those backwards here."""

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Says which arguments `forward` has changed in place; it must return them."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Says which results have no derivative."""
        self._fixed = {id(tensor) for tensor in tensors}

    def set_materialize_grads(self, value: bool) -> None:
        """With False, `backward` gets None for a result that nobody used, not zeros."""
        self.materialize_grads = bool(value)

    # What `backward` reads ----------------------------------------------------------------------

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """The tensors of `save_for_backward`; AutogradError if one was overwritten since."""
        self.check()
        assert self._kept is not None
        return tuple(
            self._result(item) if isinstance(item, SavedResult) else item for item in self._kept
        )

    def _result(self, item: SavedResult) -> Tensor:
        tensor = from_storage(item.storage, item.view)
        slot = self._results[item.place]
        if slot.differentiable:
            tensor._entry, tensor._requires = self._entry_of(item.place), True
        return tensor

    # What the walk calls ------------------------------------------------------------------------

    def check(self) -> None:
        if self._kept is None:
            raise AutogradError(_FREED)
        for item, version in zip(self._kept, self._kept_versions, strict=False):
            if item is not None:
                storage = item.storage if isinstance(item, SavedResult) else item._storage
                if storage.version != version:
                    shape = storage.shape if isinstance(item, SavedResult) else item._shape
                    raise stale(self.name(), shape, storage, version)

    def free(self) -> None:
        if self._kept:
            self._kept = None

    # The results --------------------------------------------------------------------------------

    def _attach(self, args: tuple[Any, ...], outputs: list[Any]) -> list[Any]:
        """Puts the results on the tape; returns them, as they go to the caller."""
        given = {id(arg) for arg in args if isinstance(arg, TensorBase)}
        dirty = {id(tensor) for tensor in self._dirty}
        shown: list[Any] = []
        for output in outputs:
            tensor = isinstance(output, TensorBase)
            differentiable = (
                tensor and output.dtype.is_floating_point and id(output) not in self._fixed
            )
            if tensor and id(output) not in dirty and (
                id(output) in given or requires_grad(output)
            ):
                shown.append(from_storage(output._storage, output._view))
            else:
                shown.append(output)
            self._results.append(
                Slot(output._shape, output.dtype, output._storage.node.device, differentiable)
                if tensor
                else Slot((), float32, "cpu", False)
            )
        self._keep(outputs)
        self._holders = [None] * len(outputs)
        if len(outputs) == 1:
            slot = self._results[0]
            self._shape, self.dtype, self.device = slot.shape, slot.dtype, slot.device
        for index, output in enumerate(shown):
            if self._results[index].differentiable:
                if id(output) in dirty:
                    check_dirty(output)
                output._entry, output._requires = self._entry_of(index), True
        return shown

    def _keep(self, outputs: list[Any]) -> None:
        """Notes the versions of what was saved, and lets go of results among it."""
        places = {id(output): index for index, output in enumerate(outputs)}
        kept: list[Any] = []
        for tensor in self._kept or ():
            index = -1 if tensor is None else places.get(id(tensor), -1)
            kept.append(tensor if index < 0 else SavedResult(index, tensor._storage, tensor._view))
            self._kept_versions.append(0 if tensor is None else tensor._storage.version)
        self._kept = tuple(kept)

    def _entry_of(self, index: int) -> Entry:
        """The entry of one result: the context itself where there is only one."""
        if len(self._results) == 1:
            return self
        holder = self._holders[index]
        entry = None if holder is None else holder()
        if entry is None:
            slot = self._results[index]
            entry = result_entry(self, index, slot.shape, slot.dtype, slot.device)
            self._holders[index] = weakref.ref(entry)
        return entry

    def _gradients(self, gradient: Tensor | Bundle) -> list[Tensor | None]:
        """The gradients of all results, zeros or None for those that got none."""
        found: list[Tensor | None] = [None] * len(self._results)
        if isinstance(gradient, Bundle):
            for index, part in gradient.parts.items():
                found[index] = part
        else:
            found[0] = gradient
        if self.materialize_grads:
            for index, slot in enumerate(self._results):
                if found[index] is None:
                    found[index] = filled(0, slot.dtype, slot.shape, slot.device)
        return found


def check_dirty(tensor: TensorBase) -> None:
    """AutogradError where a change in place by `forward` cannot be put on the tape."""
    if tensor._base is not None:
        raise AutogradError(
            "a view was marked dirty: a Function can change whole tensors in place, not views of "
            "them; return a new tensor instead"
        )
    if tensor._requires and tensor._entry is None:
        raise AutogradError(
            "a leaf Variable that requires grad is being used in an in-place operation. Return a "
            "new tensor instead, or clone() the argument before the call."
        )


def _call_backward(gradient: Tensor | Bundle, ctx: Entry) -> Sequence[Tensor | None]:
    """The gradients of all arguments, from the user's `backward`, checked."""
    assert isinstance(ctx, FunctionCtx)
    results = ctx._function._derivative()(ctx, *ctx._gradients(gradient))
    results = list(results) if isinstance(results, (tuple, list)) else [results]
    count, name = len(ctx.edges), ctx.name()
    while len(results) > count and results[-1] is None:
        results.pop()
    if len(results) != count:
        raise AutogradError(
            f"function {name} returned an incorrect number of gradients (expected {count}, got "
            f"{len(results)}): one for each argument of forward, None where there is none"
        )
    for index, (part, edge) in enumerate(zip(results, ctx.edges, strict=True)):
        if part is None or edge is None:
            continue
        if not isinstance(part, TensorBase):
            raise TypeError(
                f"function {name} returned a {type(part).__name__} as gradient {index}; return a "
                "tensor or None"
            )
        if not reduces_to(part._shape, edge._shape):
            raise ShapeError(
                f"Function {name} returned an invalid gradient at index {index} - got "
                f"{list(part._shape)} but expected shape compatible with {list(edge._shape)}"
            )
    return results


def reduces_to(shape: Shape, target: Shape) -> bool:
    """Whether broadcasting `target` can give `shape`."""
    lead = len(shape) - len(target)
    return lead >= 0 and all(
        wanted in (size, 1) for size, wanted in zip(shape[lead:], target, strict=True)
    )


class Function:
    """The base of operations with a derivative of their own; call `apply`, never the class.

    A subclass has static methods: `forward(ctx, *args)` (or `forward(*args)` beside
    `setup_context(ctx, inputs, output)`) computes, unrecorded; `backward(ctx, *gradients)` takes
    one gradient per result and gives one per argument, None where there is none.  Written in
    tensor operations, `backward` can be differentiated again.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            f"{type(self).__name__} is not called as an object: use "
            f"{type(self).__name__}.apply(...) with a static forward and backward"
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Computes the results."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Saves for `backward` what `forward(*args)` without a context got and gave."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradients of the arguments from those of the results."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom "
            "autograd.Function to use it with backward mode AD."
        )

    vjp = backward

    @classmethod
    def _derivative(cls) -> Callable[..., Any]:
        """The user's `backward`, under either of its names."""
        return cls.vjp if cls.vjp is not Function.vjp else cls.backward

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """The results of `forward`, recorded."""
        ctx = FunctionCtx(cls, args)
        separate = cls.setup_context is not Function.setup_context
        with no_grad():
            if separate:
                output = cls.forward(*args)
                cls.setup_context(ctx, args, output)
            else:
                output = cls.forward(ctx, *args)
        outputs = list(output) if isinstance(output, tuple) else [output]
        if not (grad_mode.enabled and any(ctx.needs_input_grad)):
            return output
        for tensor in ctx._dirty:
            if not any(tensor is result for result in outputs):
                raise AutogradError(
                    "Some elements marked as dirty during the forward method were not returned "
                    "as output. The inputs that are modified inplace must all be outputs of the "
                    "Function."
                )
        shown = ctx._attach(args, outputs)
        return tuple(shown) if isinstance(output, tuple) else shown[0]


def _refuse_twice(gradient: Tensor | Bundle, entry: Entry) -> Sequence[Tensor | None]:
    raise AutogradError(
        "trying to differentiate twice a function that was marked with @once_differentiable"
    )


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A `backward` that cannot be differentiated: a second derivative raises, and is never 0."""

    @functools.wraps(backward)
    def wrapped(ctx: Any, *gradients: Any) -> Any:
        with no_grad():
            results = backward(ctx, *gradients)
        sources = [g for g in gradients if isinstance(g, TensorBase) and requires_grad(g)]
        sources += [t for t in ctx._kept or () if isinstance(t, TensorBase) and requires_grad(t)]
        if not (grad_mode.enabled and sources):
            return results
        marked = []
        for result in results if isinstance(results, tuple) else (results,):
            if isinstance(result, TensorBase) and result.dtype.is_floating_point:
                entry = Entry()
                row = Row("Once", joint=_refuse_twice, suffix="")
                start_entry(entry, row, [edge_of(s) for s in sources])
                entry._shape, entry.dtype = result._shape, result.dtype
                entry.device = result._storage.node.device
                result = from_storage(result._storage, result._view)
                result._entry, result._requires = entry, True
            marked.append(result)
        return tuple(marked) if isinstance(results, tuple) else marked[0]

    return wrapped
