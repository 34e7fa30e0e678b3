"""Devices: memory, the contract that a backend fills, and the registry that finds one by name.

Floor 4.  The rooms `c_src/`, `metal/` and `cuda/` each hold one `Backend`; nothing else in the
project names them but the table below, which imports late: `import dlgrad` opens no library and
starts no process.

A kernel is launched with addresses, 64-bit integers and doubles.  A `Launch` names the
addresses by slot and byte offset, so one prepared sequence of launches runs again and again
over different memory: only the slots change.
"""

from __future__ import annotations

import importlib
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dlgrad.errors import DeviceError
from dlgrad.helpers import ForkSafeLock
from dlgrad.runtime.timeline import span

if TYPE_CHECKING:
    from dlgrad.codegen.kernel import Caps, Gemm, Kernel


class Launch(NamedTuple):
    """One kernel call of a sequence.

    `buffers` gives for each parameter the slot and the byte offset within it; `work` is the
    length of the parallel range (the flattened PARALLEL loops of a Kernel; for a Gemm the
    backend's program decides by itself) and `cost` the rough count of operations and bytes,
    by which the machine decides whether threads are worth waking.
    """

    program: Any  # what Backend.compile returned for the kernel
    buffers: tuple[tuple[int, int], ...]
    sizes: tuple[int, ...]
    scalars: tuple[float, ...]
    work: int
    cost: int
    note: str = ""  # op and shapes, for the debug line and the profile
    flops: int = 0
    bytes_moved: int = 0
    scalar_slots: tuple[int, ...] = ()  # see Backend.run
    outputs: tuple[bool, ...] = ()  # which buffers are written
    beside: bool = False  # the launch before is of the same kernel, and may run meanwhile


class Condition(NamedTuple):
    """Something that must be the very object that it was: an attribute, or an item of a dict."""

    owner: Any
    name: str
    value: Any


class Blocks:
    """How many blocks of one kind are open, in all threads: quick to look at where none is."""

    __slots__ = ("open", "_lock")

    def __init__(self) -> None:
        self.open = 0
        self._lock = ForkSafeLock()

    def change(self, more: int) -> None:
        with self._lock.held:
            self.open += more

    def none_open(self) -> Condition:
        return Condition(self, "open", 0)


class Captured(NamedTuple):
    """A captured function of tensors that changes nothing but its results.

    Each argument and each result is a tensor like those of later calls, over all of its memory,
    and the slot of its address.  `lent` are bytes and slot of memory that is needed for the time
    of a call.
    """

    sequence: Any  # what Backend.prepare returned
    addresses: Sequence[int]  # of all slots
    conditions: Sequence[Condition]  # under which a replay is right
    arguments: Sequence[tuple[Any, int]]
    results: Sequence[tuple[Any, int]]
    lent: Sequence[tuple[int, int]]
    is_tuple: bool  # whether the results come as a tuple, or as the only one by itself


class Backend(ABC):
    """What a machine must do.  One instance per device index; all methods are thread-safe."""

    name: str  # "cpu", "cuda:0"
    caps: Caps
    simulated: bool = False  # True where a test double stands in for the hardware

    @abstractmethod
    def allocate(self, nbytes: int) -> int:
        """Memory of `nbytes` (64-byte aligned or better); returns its address or handle."""

    @abstractmethod
    def free(self, address: int, nbytes: int) -> None:
        """Gives memory back; work in flight that uses it must still be correct."""

    @abstractmethod
    def copy_in(self, address: int, offset: int, data: memoryview) -> None:
        """Copies bytes from the host; on return `data` may be reused."""

    @abstractmethod
    def copy_out(self, address: int, offset: int, data: memoryview) -> None:
        """Copies bytes to the host; waits for the work that makes them."""

    @abstractmethod
    def compile(self, kernels: Sequence[Kernel | Gemm]) -> list[Any]:
        """Programs for the kernels, compiled side by side where they are not in the cache."""

    @abstractmethod
    def prepare(self, launches: Sequence[Launch]) -> Any:
        """A sequence ready to run many times."""

    @abstractmethod
    def run(self, sequence: Any, slots: Sequence[int], scalars: Sequence[float]) -> None:
        """Runs a prepared sequence with `slots[i]` as the address of slot i.

        A launch with `scalar_slots` takes its doubles from `scalars` at those positions
        (-1: its own value).
        """

    def replayer(self, captured: Captured) -> Callable[..., Any] | None:
        """A function of tensors that does what `captured` did, with less Python than `run` needs.

        It answers NotImplemented, and has done nothing, where something is not as it was
        captured.  None where this backend has no such way.
        """
        return None

    @abstractmethod
    def synchronize(self) -> None:
        """Returns when all submitted work is done; raises what went wrong in it."""

    def give_back(self) -> None:  # noqa: B027 - most devices keep nothing
        """Returns to the system what memory is kept for later and unused now."""

    @abstractmethod
    def describe(self) -> str:
        """One line for people: the machine, the compiler and its version."""


class _Hooks(threading.local):
    """What this thread wants to know: see `set_transfer_hook`."""

    transfer: Callable[[str], None] | None = None


_hooks = _Hooks()


def set_transfer_hook(hook: Callable[[str], None] | None) -> Callable[[str], None] | None:
    """Calls `hook` with a description before this thread moves data from or to a device.

    Returns the hook before; None removes it.
    """
    before = _hooks.transfer
    _hooks.transfer = hook
    return before


class Buffer:
    """A block of device memory; freed when the last reference to it goes.

    `owner` keeps memory alive that is not ours; `shown_by` is a weak reference to the graph
    node whose value is in the memory now; `shared` says that another library looks at it.
    """

    __slots__ = ("backend", "address", "nbytes", "owner", "shown_by", "shared", "__weakref__")

    def __init__(self, backend: Backend, nbytes: int) -> None:
        self.owner: Any = None
        self.shown_by: weakref.ref[Any] | None = None
        self.shared = False
        self.nbytes = 0  # until the memory is there, so that a failure frees nothing
        self.backend = backend
        self.address = backend.allocate(nbytes) if nbytes else 0
        self.nbytes = nbytes

    def __del__(self) -> None:
        if self.nbytes and self.owner is None:
            self.backend.free(self.address, self.nbytes)

    @classmethod
    def wrap(cls, backend: Backend, address: int, nbytes: int, owner: Any) -> Buffer:
        """Memory that belongs to `owner`, which is kept alive; nothing is copied or freed."""
        buffer = cls.__new__(cls)
        buffer.backend, buffer.address, buffer.nbytes = backend, address, nbytes
        buffer.owner, buffer.shown_by, buffer.shared = owner, None, False
        return buffer

    @property
    def device(self) -> str:
        return self.backend.name

    def copy_in(self, data: memoryview, offset: int = 0) -> None:
        """Copies the bytes of `data` into the buffer from byte `offset`."""
        if _hooks.transfer is not None:
            _hooks.transfer("a tensor was made from Python data")
        self._check_range(offset, data)
        if len(data):
            with span("copy in", "copy"):
                self.backend.copy_in(self.address, offset, data)

    def _check_range(self, offset: int, data: memoryview) -> None:
        if not 0 <= offset <= self.nbytes - data.nbytes:
            raise RuntimeError(
                f"{data.nbytes} bytes from byte {offset} on are not all in the {self.nbytes} bytes "
                "of this memory"
            )

    def copy_out(self, data: memoryview, offset: int = 0) -> None:
        """Copies bytes from `offset` into `data`, as many as it holds."""
        if _hooks.transfer is not None:
            _hooks.transfer("the numbers of a tensor were asked for")
        self._check_range(offset, data)
        if len(data):
            with span("copy out", "copy"):
                self.backend.copy_out(self.address, offset, data)


# The rooms, by device type: the module that is imported late, and what a person calls it.
BACKENDS = {
    "cpu": "dlgrad.c_src.backend",
    "cuda": "dlgrad.cuda.backend",
    "metal": "dlgrad.metal.backend",
    "python": "dlgrad.runtime.interp",  # the interpreter of the loop IR: the oracle of the tests
    "null": "dlgrad.runtime.null",  # renders and plans, computes nothing
}

_opened: dict[str, Backend] = {}
_lock = ForkSafeLock()


def canonical_device(device: Any) -> str:
    """The full name of a device: "cpu", "cuda:0".  Accepts "cuda", "mps" and `dlgrad.device`."""
    text = str(device)
    kind, _, index = text.partition(":")
    kind = {"mps": "metal"}.get(kind, kind)
    if kind not in BACKENDS or (index and not index.isdigit()):
        known = ", ".join(repr(name) for name in BACKENDS)
        raise DeviceError(
            f"unknown device {text!r}; the devices are {known}, with an optional ':0'"
        )
    if kind in ("cuda", "metal"):
        return f"{kind}:{index or 0}"
    if index not in ("", "0"):
        raise DeviceError(f"there is only one {kind!r} device, got {text!r}")
    return kind


def get_backend(device: str) -> Backend:
    """The backend of a canonical device name, opened on first use.

    Raises DeviceError, with the reason, where the device is not there.
    """
    backend = _opened.get(device)
    if backend is None:
        with _lock.held:
            backend = _opened.get(device)
            if backend is None:
                kind, _, index = device.partition(":")
                module = importlib.import_module(BACKENDS[kind])
                backend = _opened[device] = module.open_backend(int(index or 0))
    return backend


def is_there(device: str) -> bool:
    """Whether a device can be used here; opens it."""
    try:
        get_backend(device)
    except DeviceError:
        return False
    return True


def opened_backends() -> list[Backend]:
    """The backends in use so far."""
    return list(_opened.values())
