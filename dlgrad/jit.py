"""`@dlgrad.jit`: runs a function once to warm up, captures it, and then replays it.

Floor 6.  The first call runs as always, so that optimizers make their state.  The second
records every launch (`runtime/capture.py`).  From the third on, the function's Python code does not
run: its launches are replayed in one call into the backend, over the memory of the new
arguments.  Whatever a replay could not repeat is an error, never a silently frozen input.
"""

from __future__ import annotations

import functools
import operator
import sys
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

from dlgrad.core.autocasting import autocast_dtypes, fresh_casts, without_blocks
from dlgrad.core.base import TensorBase, grad_mode, make, node_of, requires_grad, transforms
from dlgrad.core.captured_memory import (
    as_whole,
    held_storages,
    is_whole,
    restore,
    shares_storage,
)
from dlgrad.core.refusals import (
    name_of,
    not_to_be_differentiated,
    replaced_outside,
    unclear_write,
)
from dlgrad.core.signatures import (
    holds_only_tensors,
    shorten,
    show,
    show_arguments,
    show_autocast,
    signature,
    structure_changed,
)
from dlgrad.core.storage import Storage, only_own, pending_storages, realize
from dlgrad.core.torch_script import add_names
from dlgrad.core.trees import Leaf, flatten, unflatten
from dlgrad.core.watched import Watched
from dlgrad.dtype import DType
from dlgrad.errors import CaptureError
from dlgrad.helpers import ForkSafeLock
from dlgrad.lazy import graph
from dlgrad.lazy.ops import BufferOps
from dlgrad.lazy.shape import Shape, View
from dlgrad.runtime import engine
from dlgrad.runtime.capture import Capture, Replay, current_capture
from dlgrad.runtime.device import Buffer, Condition
from dlgrad.runtime.engine import Run, unrecorded

__all__ = ["Jit", "current_capture", "jit"]

P = ParamSpec("P")
R = TypeVar("R")

_capturing = ForkSafeLock()  # who captures holds it


# The decorator ----------------------------------------------------------------------------------


class Jit(Generic[P, R]):
    """A function that is captured and replayed; see `jit`."""

    def __init__(self, function: Callable[P, R]) -> None:
        if not callable(function):
            raise TypeError(f"jit takes a function or a module, not {type(function).__name__}")
        functools.update_wrapper(self, function)
        self.function = function
        self.warming = 0  # threads that run the function before there is a capture
        self._forget()

    def __repr__(self) -> str:
        return f"<dlgrad.jit of {getattr(self.function, '__name__', self.function)}>"

    def reset(self) -> None:
        """Forgets the capture; the next call warms up, and the one after captures anew."""
        with _capturing.held, engine.evaluation():  # not while another thread replays
            self._forget()

    def _forget(self) -> None:
        """As if there was no call yet."""
        self.calls = 0
        self.capture: Capture | None = None  # set when all else of a capture is there
        self.replay: Replay | None = None
        self.direct: Callable[..., Any] | None = None

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """A method: every instance gets a capture of its own."""
        if instance is None:
            return self
        name = f"__jit_{getattr(self.function, '__qualname__', '')}"
        bound: Jit[..., R] | None = instance.__dict__.get(name)
        method = self.function.__get__(instance, owner)
        if bound is None or bound.function != method:  # a copied instance has that of another
            bound = Jit(method)
            if name in instance.__dict__:
                instance.__dict__[name] = bound
            bound = instance.__dict__.setdefault(name, bound)
        return bound

    def __reduce__(self) -> Any:
        """A copy is of the function alone: what was captured belongs to this one's memory."""
        owner = getattr(self.function, "__self__", None)
        name = getattr(self.function, "__name__", "")
        if isinstance(getattr(type(owner), name, None), Jit):
            return getattr, (owner, name)
        module, path = getattr(self, "__module__", ""), getattr(self, "__qualname__", "-")
        try:
            if operator.attrgetter(path)(sys.modules[module]) is self:
                return path
        except (AttributeError, KeyError):
            pass
        return Jit, (self.function,)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        direct = self.direct
        if direct is not None and not kwargs:
            result = direct(*args)
            if result is not NotImplemented:
                return result  # type: ignore[no-any-return]
        if current_capture() is not None:
            return self.function(*args, **kwargs)
        if grad_mode.differentiated:
            raise not_to_be_differentiated(self.function)
        capture = self.capture
        if capture is None:
            result = self.start(args, kwargs)
        elif not kwargs and self.fits(args):
            result = self.play(args, capture)  # type: ignore[arg-type]
        else:
            tensors: list[TensorBase] = []
            self.check(flatten((args, kwargs), tensors), tensors)
            result = self.play(tensors, capture)
        # Another thread may have captured, or forgotten, the function meanwhile.
        return self(*args, **kwargs) if result is NotImplemented else result

    # Recording ----------------------------------------------------------------------------------

    def start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call before there is a capture; NotImplemented where there is one now."""
        with _capturing.held:
            if self.capture is not None:
                return NotImplemented
            self.calls += 1
            if self.calls > 1 and not self.warming:
                return self.record(args, kwargs)
            self.warming += 1
        try:
            result = self.function(*args, **kwargs)
            realize(pending_storages())
            return result
        finally:
            with _capturing.held:
                self.warming -= 1

    def record(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        """Runs the function and keeps what it launched."""
        tensors: list[TensorBase] = []
        structure = flatten((args, kwargs), tensors)
        self.structure = structure
        self.only_tensors = holds_only_tensors(structure)
        self.signature = [signature(tensor) for tensor in tensors]
        self.by_position = self.only_tensors and structure == flatten((tuple(tensors), {}), [])
        self.grad_enabled = grad_mode.enabled
        self.autocast = autocast_dtypes()
        self.watched = Watched(self.function)
        realize(pending_storages())
        outside = self.watched.storages()
        inputs = self.private_inputs(tensors, outside)
        args, kwargs = unflatten(structure, list(inputs))
        capture = Capture()
        with capture.recording(), fresh_casts(), only_own():
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
        self.check_written(inputs, tensors, outside)
        found = [
            (weakref.ref(output._storage), output._storage.memory()) if is_whole(output) else None
            for output in outputs
        ]
        del result, outputs, args, kwargs  # what lives on has another owner
        self.leave_out_copies(capture, copying, found, memory_in, memory_out)
        apart = {id(memory) for memory in memory_in + memory_out}
        self.held = held_storages(m for m in self.replay.buffers if id(m) not in apart)
        self.writes = bool(self.replay.written) or any(self.replay.overwrites)
        self.overwritten = [i for i, written in enumerate(self.replay.overwrites) if written]
        direct = self.direct_call(tensors, capture)
        # The tensors that go to the caller are not those that a replay will write.
        shown = [self.copy_out(copy) for copy in copies]
        realize([copy._storage for copy in shown])
        value: R = unflatten(self.result, list(shown))
        capture.runs.clear()  # with the memory of these arguments and results
        self.replay.buffers = [m for m in self.replay.buffers if id(m) not in apart]
        self.capture, self.direct = capture, direct
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

        They are copies, since the function may know an argument also from elsewhere: from a
        list, another function, a default.  Only those that a gradient goes to are themselves;
        for them `others` are the ids of storages that the function surely knows.
        """
        seen = set(others)
        inputs = []
        for tensor in tensors:
            is_itself = requires_grad(tensor) and is_whole(tensor)
            if not is_itself or id(tensor._storage) in seen:
                tensor = make(graph.copy(node_of(tensor)))
            realize([tensor._storage])
            seen.add(id(tensor._storage))
            inputs.append(tensor)
        return inputs

    def check_written(
        self, inputs: Sequence[TensorBase], tensors: Sequence[TensorBase], outside: set[int]
    ) -> None:
        """Hands on what the function changed in the copies that it was given.

        CaptureError where it is not clear what would have to change: see `refuse_written`.
        """
        assert self.replay is not None
        changed = []
        written = zip(self.replay.overwrites, inputs, tensors, strict=True)
        for position, (is_written, given, tensor) in enumerate(written):
            others = [*tensors[:position], *tensors[position + 1 :]]
            is_unclear = (
                not is_whole(tensor)
                or shares_storage(tensor, others)
                or id(tensor._storage) in outside
            )
            if is_written and is_unclear:
                raise unclear_write(self.function, position)
            if is_written and given is not tensor:
                changed.append((tensor._storage, given))
        for storage, given in changed:
            node = graph.view_on(given._storage.node, View.contiguous(storage.shape))
            storage.replace(graph.copy(node), 0)
        realize([storage for storage, _ in changed])

    @staticmethod
    def copy_out(tensor: TensorBase) -> TensorBase:
        """A pending copy of a result."""
        copied: TensorBase = make(graph.copy(node_of(tensor)))
        return copied

    def direct_call(
        self, tensors: Sequence[TensorBase], capture: Capture
    ) -> Callable[..., Any] | None:
        """A function that replays without Python, where the backend makes one.

        For functions of tensors that depend on nothing but their arguments, and whose result is
        a tensor or a tuple of them.
        """
        assert self.replay is not None
        conditions = self.watched.conditions()
        is_tuple = self.result == (tuple, [Leaf] * len(self.outputs))
        is_plain = self.by_position and self.outputs and (is_tuple or self.result is Leaf)
        is_lasting = any(id(memory) in self.replay.read_first for memory in self.replay.written)
        is_pure = not (self.held or self.overwritten or is_lasting or capture.refreshes)
        if self.autocast or conditions is None or not (is_plain and is_pure):
            return None
        if not all(map(is_whole, tensors)):
            return None
        backend = self.replay.backend
        modes = [
            Condition(grad_mode, "enabled", self.grad_enabled),
            transforms.none_open(),
            without_blocks(),
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
        return (
            grad_mode.enabled is self.grad_enabled
            and autocast_dtypes() == self.autocast
            and self.watched.is_same()
        )

    def check(self, structure: Any, tensors: list[TensorBase]) -> None:
        """CaptureError if anything differs from what was captured."""
        name = name_of(self.function)
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
        if autocast_dtypes() != self.autocast:
            raise CaptureError(
                f"{name} was captured {show_autocast(self.autocast)}, and is now called "
                f"{show_autocast(autocast_dtypes())}{hint}"
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

    def play(self, tensors: Sequence[TensorBase], capture: Capture) -> Any:
        """The results of a replay; NotImplemented where the capture is another now."""
        with engine.evaluation():  # the launches share memory between two calls
            if self.capture is not capture or self.replay is None:
                return NotImplemented
            if self.held:
                self.take_in_writes()
            inputs = [
                (tensor if tensor._view is None else as_whole(tensor))._storage.memory()
                for tensor in tensors
            ]
            if self.writes:
                for position in self.overwritten:
                    if not is_whole(tensors[position]) or inputs.count(inputs[position]) > 1:
                        raise unclear_write(self.function, position)
                self.announce_writes(inputs)
            for refresh in capture.refreshes:
                refresh()
            backend = self.replay.backend
            outputs = [Buffer(backend, nbytes) for _, _, nbytes in self.outputs]
            self.replay.run(inputs, outputs)
            results: list[Any] = [
                self.new_result(memory, shape, dtype)
                for memory, (shape, dtype, _) in zip(outputs, self.outputs, strict=True)
            ]
            return results[0] if self.result is Leaf else unflatten(self.result, results)

    def take_in_writes(self) -> None:
        """Brings what was written to captured tensors since into the memory of the capture."""
        assert self.replay is not None
        written = []
        for reference, memory in self.held:
            storage = reference()
            if storage is None:
                if id(memory) in self.replay.read_first:
                    raise replaced_outside(self.function)
            elif storage.node.op is not BufferOps.BUFFER or storage.node.arg is not memory:
                written.append((storage, memory))
        if written:
            realize([storage for storage, _ in written])
        for storage, memory in written:
            if storage.node.arg is not memory:
                restore(storage, memory)

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


def jit(function: Callable[P, R]) -> Jit[P, R]:
    """Makes a function of tensors that is captured on its second call and replayed after.

    For a training step: forward, backward and optimizer together.  Arguments may be tensors
    and plain Python values, nested in lists, tuples and dicts; so may results, which come back
    detached and in memory of their own.  Tensors that the function changes in place
    (parameters, optimizer state, running statistics) are changed by every replay.

    Raises CaptureError when shapes, dtypes, devices or Python values differ from those
    captured (also values that the function reads from outside: numbers, strings, dtypes, tensors
    by identity, the training mode of modules; whether gradients and autocast are on), and when
    the function moves data between Python and the device (from the second call on).  A smaller
    last batch is another shape: `DataLoader(drop_last=True)` leaves it out.  `.reset()` captures
    anew, and `.function` is the function without jit.  A copy (`copy.deepcopy` of a module with
    such a method, pickle) captures for itself.

    What it cannot see: a Python value that is computed inside the function from something
    that changes, such as a clock or Python's own random numbers.
    """
    return Jit(function)


add_names(jit)
