"""`@dlgrad.jit`: runs a function once to warm up, captures it, and then replays it.

Floor 6.  The first call runs as always, so that optimizers make their state.  The second
records every launch (`runtime/capture.py`).  From the third on, the function's Python code does not
run: its launches are replayed in one call into the backend, over the memory of the new
arguments.  Whatever a replay could not repeat is an error, never a silently frozen input.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

from dlgrad.core.base import TensorBase, grad_mode, make, node_of
from dlgrad.core.signatures import (
    holds_only_tensors,
    shorten,
    show,
    show_arguments,
    signature,
    structure_changed,
)
from dlgrad.core.storage import Storage, pending_storages, realize
from dlgrad.core.trees import Leaf, flatten, unflatten
from dlgrad.core.watched import Watched
from dlgrad.dtype import DType
from dlgrad.errors import CaptureError, OutOfScopeError
from dlgrad.lazy import graph
from dlgrad.lazy.ops import BufferOps
from dlgrad.lazy.shape import Shape, View
from dlgrad.runtime import engine
from dlgrad.runtime.capture import Capture, Replay, current_capture
from dlgrad.runtime.device import Buffer, Condition, get_backend
from dlgrad.runtime.engine import Run, unrecorded

__all__ = ["Jit", "current_capture", "jit"]

P = ParamSpec("P")
R = TypeVar("R")


# The decorator ----------------------------------------------------------------------------------


class Jit(Generic[P, R]):
    """A function that is captured and replayed; see `jit`."""

    def __init__(self, function: Callable[P, R]) -> None:
        if not callable(function):
            raise TypeError(f"jit takes a function or a module, not {type(function).__name__}")
        functools.update_wrapper(self, function)
        self.function = function
        self.reset()

    def __repr__(self) -> str:
        return f"<dlgrad.jit of {getattr(self.function, '__name__', self.function)}>"

    def reset(self) -> None:
        """Forgets the capture; the next call warms up, and the one after captures anew."""
        self.calls = 0
        self.capture: Capture | None = None
        self.replay: Replay | None = None
        self.direct: Callable[..., Any] | None = None

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """A method: every instance gets a capture of its own."""
        if instance is None:
            return self
        bound: Jit[..., R] = Jit(self.function.__get__(instance, owner))
        name = self.function.__name__
        if instance.__dict__.setdefault(f"__jit_{name}", bound) is bound:
            return bound
        return instance.__dict__[f"__jit_{name}"]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if self.direct is not None and not kwargs:
            result = self.direct(*args)
            if result is not NotImplemented:
                return result  # type: ignore[no-any-return]
        if current_capture() is not None:
            return self.function(*args, **kwargs)
        if grad_mode.differentiated:
            self.refuse_differentiation()
        if self.replay is not None and not kwargs and self.fits(args):
            return self.play(args)  # type: ignore[arg-type]
        tensors: list[TensorBase] = []
        structure = flatten((args, kwargs), tensors)
        if self.replay is None:
            self.calls += 1
            if self.calls == 1:
                result = self.function(*args, **kwargs)
                realize(pending_storages())
                return result
            return self.record(structure, tensors)
        self.check(structure, tensors)
        return self.play(tensors)

    # Recording ----------------------------------------------------------------------------------

    def record(self, structure: Any, tensors: list[TensorBase]) -> R:
        """Runs the function and keeps what it launched."""
        self.structure = structure
        self.only_tensors = holds_only_tensors(structure)
        self.signature = [signature(tensor) for tensor in tensors]
        self.by_position = self.only_tensors and structure == flatten((tuple(tensors), {}), [])
        self.grad_enabled = grad_mode.enabled
        self.watched = Watched(self.function)
        realize(pending_storages())
        inputs = self.private_inputs(tensors, self.watched.storages())
        args, kwargs = unflatten(structure, list(inputs))
        capture = Capture()
        with capture.recording():
            result = self.function(*args, **kwargs)
            realize(pending_storages())
            outputs: list[TensorBase] = []
            self.result = flatten(result, outputs)
            copies = [self.copy_out(output) for output in outputs]
            copying = []
            for copy in copies:
                known = len(capture.runs)
                realize([copy._storage])
                copying.append(capture.runs[known:])
            for storage, memory in capture.moved:
                if storage.node.is_held and storage.buffer is not memory:
                    restore(storage, memory)
        self.outputs = [(copy._shape, copy.dtype, copy._storage.nbytes) for copy in copies]
        memory_in = [tensor._storage.memory() for tensor in inputs]
        memory_out = [copy._storage.memory() for copy in copies]
        self.replay = Replay(capture.runs, memory_in, memory_out)
        self.check_written(inputs, tensors)
        found = [
            (weakref.ref(output._storage), output._storage.memory()) if is_whole(output) else None
            for output in outputs
        ]
        del result, outputs, args, kwargs  # what lives on has another owner
        self.leave_out_copies(capture, copying, found, memory_in, memory_out)
        self.capture = capture
        apart = {id(memory) for memory in memory_in + memory_out}
        self.held = held_storages(m for m in self.replay.buffers if id(m) not in apart)
        self.writes = bool(self.replay.written) or any(self.replay.overwrites)
        self.overwritten = [i for i, written in enumerate(self.replay.overwrites) if written]
        self.direct = self.direct_call(tensors)
        # The tensors that go to the caller are not those that a replay will write.
        shown = [self.copy_out(copy) for copy in copies]
        realize([copy._storage for copy in shown])
        value: R = unflatten(self.result, list(shown))
        return value

    def leave_out_copies(
        self,
        capture: Capture,
        copying: list[list[Run]],
        found: Sequence[tuple[weakref.ref[Storage], Buffer] | None],
        memory_in: list[Buffer],
        memory_out: list[Buffer],
    ) -> None:
        """Lets a replay write the results that nobody but the caller holds where they belong.

        `found` are the storages of the results and their memory, `copying` the runs that copy
        them to `memory_out`, which is changed.
        """
        assert self.replay is not None
        written = {id(buffer) for buffer in self.replay.written}
        apart = {id(buffer) for buffer in memory_in} | self.replay.read_first
        runs = list(capture.runs)
        for number, (copy, result) in enumerate(zip(copying, found, strict=True)):
            if result is None or result[0]() is not None:
                continue
            memory = result[1]
            if id(memory) in written and id(memory) not in apart:
                apart.add(id(memory))
                memory_out[number] = memory
                runs = [run for run in runs if not any(run is left_out for left_out in copy)]
        if len(runs) < len(capture.runs):
            self.replay = Replay(runs, memory_in, memory_out)

    @staticmethod
    def private_inputs(tensors: Sequence[TensorBase], others: set[int]) -> list[TensorBase]:
        """The arguments, each with memory that only it shows from the first element on.

        `others` are the ids of storages that the function knows also from elsewhere.
        """
        seen = set(others)
        inputs = []
        for tensor in tensors:
            if not is_whole(tensor) or id(tensor._storage) in seen:
                tensor = make(graph.copy(node_of(tensor)))
            realize([tensor._storage])
            seen.add(id(tensor._storage))
            inputs.append(tensor)
        return inputs

    def check_written(self, inputs: Sequence[TensorBase], tensors: Sequence[TensorBase]) -> None:
        """CaptureError where the function changes an argument that it was given as a copy."""
        assert self.replay is not None
        written = zip(self.replay.overwrites, inputs, tensors, strict=True)
        for position, (is_written, given, tensor) in enumerate(written):
            others = [*tensors[:position], *tensors[position + 1 :]]
            if is_written and (given is not tensor or shares_storage(tensor, others)):
                self.refuse_written(position)

    def refuse_differentiation(self) -> None:
        name = getattr(self.function, "__name__", "the function")
        raise CaptureError(
            f"{name} is captured, and what a capture gives has no history, so its derivative would "
            f"be zero; let the transform of dlgrad.func have {name}.function, or capture the "
            "transformed function: dlgrad.jit(dlgrad.func.grad(...))"
        )

    def refuse_written(self, position: int) -> None:
        name = getattr(self.function, "__name__", "the function")
        raise CaptureError(
            f"{name} changes its tensor argument {position} in place, which is a view of a part of "
            "a tensor, or is given twice, or is also read from outside the arguments; pass a "
            "whole tensor, once, or return the new value instead"
        )

    @staticmethod
    def copy_out(tensor: TensorBase) -> TensorBase:
        """A pending copy of a result."""
        copied: TensorBase = make(graph.copy(node_of(tensor)))
        return copied

    def direct_call(self, tensors: Sequence[TensorBase]) -> Callable[..., Any] | None:
        """A function that replays without Python, where the backend makes one.

        For functions of tensors that depend on nothing but their arguments, and whose result is
        a tensor or a tuple of them.
        """
        assert self.replay is not None and self.capture is not None
        conditions = self.watched.conditions()
        is_tuple = self.result == (tuple, [Leaf] * len(self.outputs))
        is_plain = self.by_position and (is_tuple or self.result is Leaf)
        is_pure = not (self.held or self.writes or self.capture.refreshes)
        if conditions is None or not is_plain or not is_pure or not all(map(is_whole, tensors)):
            return None
        backend = self.replay.backend
        modes = [
            Condition(grad_mode, "enabled", self.grad_enabled),
            Condition(grad_mode, "differentiated", False),
        ]
        results = [
            self.new_result(Buffer(backend, nbytes), shape, dtype)
            for shape, dtype, nbytes in self.outputs
        ]
        return self.replay.direct([*conditions, *modes, unrecorded()], tensors, results, is_tuple)

    def new_result(self, memory: Buffer, shape: Shape, dtype: DType) -> TensorBase:
        """A tensor for the caller over memory that a replay fills."""
        result: TensorBase = make(graph.buffer(memory, dtype, shape, memory.device))
        return result

    # Replaying ----------------------------------------------------------------------------------

    def fits(self, args: Sequence[Any]) -> bool:
        """Whether a call with tensors by position is surely as the one captured: the quick way.

        Where it says no, `check` looks at everything, and raises if something differs.
        """
        if not self.by_position or len(args) != len(self.signature):
            return False
        for number, (shape, dtype, device) in enumerate(self.signature):
            tensor = args[number]
            if (
                not isinstance(tensor, TensorBase)
                or tensor._shape != shape
                or tensor.dtype is not dtype
                or tensor._storage.node.device != device
            ):
                return False
        return grad_mode.enabled is self.grad_enabled and self.watched.is_same()

    def check(self, structure: Any, tensors: list[TensorBase]) -> None:
        """CaptureError if anything differs from what was captured."""
        name = getattr(self.function, "__name__", "the function")
        hint = (
            "; for such inputs call its .function(...), which runs without jit, or call its "
            ".reset() to capture it anew"
        )
        for position, (tensor, expected) in enumerate(zip(tensors, self.signature, strict=False)):
            if signature(tensor) != expected:
                raise CaptureError(
                    f"{name}: tensor argument {position} was captured as {show(expected)} and is "
                    f"now {show(signature(tensor))}{hint}"
                )
        if self.differs(structure):
            raise CaptureError(
                f"{name} was captured as {name}{show_arguments(self.structure)} and is now called "
                f"as {name}{show_arguments(structure)}; Python values are fixed at the capture, "
                f"so pass what varies as a tensor{hint}"
            )
        if grad_mode.enabled is not self.grad_enabled:
            raise CaptureError(
                f"{name} was captured with gradients "
                f"{'on' if self.grad_enabled else 'off'}, and they are now "
                f"{'on' if grad_mode.enabled else 'off'}{hint}"
            )
        difference = self.watched.difference()
        if difference is not None:
            key, before, now = difference
            raise CaptureError(
                f"{name} reads {key!r}, which was {shorten(before)} when it was captured and "
                f"is now {shorten(now)}; pass it as a tensor argument{hint}"
            )

    def differs(self, structure: Any) -> bool:
        """Whether the arguments are others than those captured, apart from tensors."""
        try:
            if self.only_tensors and structure == self.structure:
                return False  # the usual case; with numbers, 1 and True would be the same
        except Exception:  # something whose comparison is no truth value, such as an array
            return True
        return structure_changed(structure, self.structure)

    def play(self, tensors: Sequence[TensorBase]) -> R:
        assert self.replay is not None and self.capture is not None
        with engine.evaluation():  # the launches share memory between two calls
            if self.held:
                self.take_in_writes()
            inputs = [
                (tensor if tensor._view is None else as_whole(tensor))._storage.memory()
                for tensor in tensors
            ]
            if self.writes:
                for position in self.overwritten:
                    if not is_whole(tensors[position]) or inputs.count(inputs[position]) > 1:
                        self.refuse_written(position)
                self.announce_writes(inputs)
            for refresh in self.capture.refreshes:
                refresh()
            backend = self.replay.backend
            outputs = [Buffer(backend, nbytes) for _, _, nbytes in self.outputs]
            self.replay.run(inputs, outputs)
        results: list[Any] = [
            self.new_result(memory, shape, dtype)
            for memory, (shape, dtype, _) in zip(outputs, self.outputs, strict=True)
        ]
        value: R = results[0] if self.result is Leaf else unflatten(self.result, results)
        return value

    def take_in_writes(self) -> None:
        """Brings what was written to captured tensors since into the memory of the capture."""
        assert self.replay is not None
        written = []
        for reference, memory in self.held:
            storage = reference()
            if storage is None:
                if id(memory) in self.replay.read_first:
                    self.refuse_replaced()
            elif storage.node.op is not BufferOps.BUFFER or storage.node.arg is not memory:
                written.append((storage, memory))
        if written:
            realize([storage for storage, _ in written])
        for storage, memory in written:
            if storage.node.arg is not memory:
                restore(storage, memory)

    def refuse_replaced(self) -> None:
        name = getattr(self.function, "__name__", "the function")
        raise CaptureError(
            f"a tensor that {name} reads from outside its arguments is gone or was replaced by "
            "another since the capture (by model.to(...), x.data = ..., or .grad = None where "
            f"gradients add up); write into it instead (copy_(), zero_()), or call {name}.reset()"
        )

    def announce_writes(self, inputs: Sequence[Buffer]) -> None:
        """Evaluates pending work that still has to read what the replay overwrites.

        The storages that it overwrites count a version up, as after any other write.
        """
        assert self.replay is not None
        written = list(self.replay.written)
        for memory, is_written in zip(inputs, self.replay.overwrites, strict=True):
            if is_written:
                written.append(memory)
        holders: list[Storage] = []
        is_read = False
        for memory in written:
            node = None if memory.shown_by is None else memory.shown_by()
            if node is None:
                continue
            if node.readers and not is_read:
                is_read = engine.has_other_readers(node, ())
            storage = node.holder
            if storage is not None and storage.node is node:
                holders.append(storage)
        if is_read:
            realize(pending_storages())
        for storage in holders:
            storage.version += 1


def shares_storage(tensor: TensorBase, others: Iterable[TensorBase]) -> bool:
    """Whether one of the others shows elements of the same storage."""
    return any(other._storage is tensor._storage for other in others)


def is_whole(tensor: TensorBase) -> bool:
    """Whether the tensor is all of its memory, in row-major order."""
    return tensor._view is None or shows_all(tensor._view, tensor._storage.shape)


@functools.lru_cache(maxsize=4096)
def shows_all(view: View, shape: Shape) -> bool:
    """Whether a view is all of the memory of a storage of that shape, in row-major order."""
    return view.offset == 0 and view.is_contiguous and view.numel == math.prod(shape)


def as_whole(tensor: TensorBase) -> TensorBase:
    """The tensor, or a pending copy of it where it is not all of its memory."""
    return tensor if is_whole(tensor) else make(graph.copy(node_of(tensor)))


def held_storages(buffers: Iterable[Buffer]) -> list[tuple[weakref.ref[Storage], Buffer]]:
    """The living storages whose contents are in `buffers`: parameters, optimizer state."""
    found = []
    for memory in buffers:
        node = None if memory.shown_by is None else memory.shown_by()
        storage = None if node is None or node.owner is None else node.owner()
        if storage is not None and storage.node is node:
            found.append((weakref.ref(storage), memory))
    return found


def restore(storage: Storage, memory: Buffer) -> None:
    """Copies the contents of a storage back to the memory that it had, for the next replay."""
    get_backend(storage.device)
    node = graph.copy(storage.node)
    version = storage.version
    storage.replace(node, 0)
    storage.version = version
    storage.buffer = memory
    realize([storage])
    if storage.buffer is not memory:
        raise CaptureError(
            "a tensor that the function changes in place is still read by work that is not "
            "evaluated; call .realize() on the results of earlier steps before the call"
        )


def _absent(name: str) -> Callable[..., Any]:
    """A name of `torch.jit` that dlgrad has not, and what to use."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OutOfScopeError(
            f"dlgrad has no TorchScript, so there is no jit.{name}: a model is the Python code "
            "that it is. @dlgrad.jit captures a training step; dlgrad.save and dlgrad.load keep "
            "weights"
        )

    return refuse


def _in_eager_mode() -> bool:
    """False: there is no TorchScript."""
    return False


def _as_it_is(function: Callable[P, R] | None = None, **options: Any) -> Any:
    """The function itself: there is no TorchScript that it could be left out of."""
    return function if function is not None else _as_it_is


def jit(function: Callable[P, R]) -> Jit[P, R]:
    """Makes a function of tensors that is captured on its second call and replayed after.

    For a training step: forward, backward and optimizer together.  Arguments may be tensors
    and plain Python values, nested in lists, tuples and dicts; so may results, which come back
    detached and in memory of their own.  Tensors that the function changes in place
    (parameters, optimizer state, running statistics) are changed by every replay.

    Raises CaptureError when shapes, dtypes, devices or Python values differ from those
    captured (also values that the function reads from outside: numbers, strings, tensors by
    identity, the training mode of modules), and when the function moves data between Python
    and the device (from the second call on).  A smaller last batch is another shape:
    `DataLoader(drop_last=True)` leaves it out.  `.reset()` captures anew, and `.function` is
    the function without jit.

    What it cannot see: a Python value that is computed inside the function from something
    that changes, such as a clock or Python's own random numbers.
    """
    return Jit(function)


for _name in ("script", "trace", "trace_module", "load", "save", "freeze"):
    setattr(jit, _name, _absent(_name))
for _name in ("is_scripting", "is_tracing"):
    setattr(jit, _name, _in_eager_mode)
for _name in ("export", "ignore", "unused", "script_if_tracing"):
    setattr(jit, _name, _as_it_is)
