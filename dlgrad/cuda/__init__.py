"""CUDA as a user meets it: is it there, how many GPUs, waiting for them; PyTorch's names.

Floor 7.  The modules beside this one are the room of CUDA, floor 4: NVIDIA GPUs through the
driver library, nvcc and NVRTC.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dlgrad.errors import DeviceError
from dlgrad.runtime.device import Backend, canonical_device, get_backend, is_there, opened_backends


def is_available() -> bool:
    """Whether device "cuda" can be used here; `python -m dlgrad` says why not."""
    return is_there("cuda:0")


def device_count() -> int:
    """How many GPUs can be used (opens each of them)."""
    count = 0
    while is_there(f"cuda:{count}"):
        count += 1
    return count


def current_device() -> int:
    """0: a device named "cuda" without a number is the first GPU."""
    _backend(None)
    return 0


def is_initialized() -> bool:
    """Whether a GPU has been opened."""
    return any(backend.name.startswith("cuda") for backend in opened_backends())


def init() -> None:
    """Opens the first GPU; DeviceError where there is none."""
    _backend(None)


def set_device(device: Any) -> None:
    """Takes the first GPU, which a device named "cuda" is anyway.

    DeviceError for another one: name it where a tensor is made, as in device="cuda:1".
    """
    if _backend(device).name != "cuda:0":
        raise DeviceError(
            f"the device 'cuda' is always the first GPU; for {device!r} give its name to "
            "set_default_device or to the call that makes a tensor, as in device='cuda:1'"
        )


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """True where there is a GPU: bfloat16 is stored, and computed in float32."""
    return is_available()


def _backend(device: object) -> Backend:
    if device is None:
        device = "cuda:0"
    elif isinstance(device, int):
        device = f"cuda:{device}"
    return get_backend(canonical_device(device))


def get_device_name(device: object = None) -> str:
    """The name of a GPU; DeviceError where it is not there."""
    return _backend(device).describe()


def get_device_capability(device: object = None) -> tuple[int, int]:
    """The generation of a GPU, as (9, 0) for sm_90."""
    architecture: Any = getattr(_backend(device), "architecture", "sm_00")
    number = int(architecture.removeprefix("sm_"))
    return number // 10, number % 10


# Memory -------------------------------------------------------------------------------------------


def memory_allocated(device: object = None) -> int:
    """Bytes of a GPU that tensors and plans hold now; 0 before it is opened."""
    return _memory(device, "in_use")


def max_memory_allocated(device: object = None) -> int:
    """The most bytes held at once, since the start or since `reset_peak_memory_stats`."""
    return _memory(device, "most_in_use")


def memory_reserved(device: object = None) -> int:
    """Bytes that the driver has given: held, or kept for later until `empty_cache`."""
    return _memory(device, "reserved")


def reset_peak_memory_stats(device: object = None) -> None:
    """Counts `max_memory_allocated` from what is held now."""
    backend: Any = _opened(device)
    if backend is not None:
        backend.most_in_use = backend.in_use


reset_max_memory_allocated = reset_peak_memory_stats


def _opened(device: object) -> Backend | None:
    """The GPU, if it is in use already: to ask for its memory opens nothing."""
    wanted = f"cuda:{device}" if isinstance(device, int) else str(device or "cuda")
    name = canonical_device(wanted)
    return next((backend for backend in opened_backends() if backend.name == name), None)


def _memory(device: object, what: str) -> int:
    found = getattr(_opened(device), what, 0)
    count: int = found() if callable(found) else found
    return count


# Order of work ------------------------------------------------------------------------------------


class Event:
    """A moment in the work of the GPU: `start.record()`, and `start.elapsed_time(end)`.

    `record` waits for the GPU and reads the clock.  Operations are lazy: what is to be measured
    is evaluated between two events, by `realize()` or an optimizer's step.
    """

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False
    ) -> None:
        if interprocess:
            raise NotImplementedError("dlgrad has no events that other processes can wait for")
        self.enable_timing = enable_timing
        self._time: float | None = None

    def record(self, stream: object = None) -> None:
        """Marks the end of the work that was submitted."""
        _backend(None).synchronize()
        self._time = time.perf_counter()

    def synchronize(self) -> None:
        """Nothing is left to wait for once an event is recorded."""

    def wait(self, stream: object = None) -> None:
        """Nothing is left to wait for once an event is recorded."""

    def query(self) -> bool:
        """True: `record` has waited."""
        return True

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to `end_event`."""
        if not (self.enable_timing and end_event.enable_timing):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if self._time is None or end_event._time is None:
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        return (end_event._time - self._time) * 1e3


def synchronize(device: object = None) -> None:
    """Waits until all submitted work of the GPU is done."""
    _backend(device).synchronize()


def empty_cache() -> None:
    """Returns to the driver what memory is kept for later and unused now."""
    for backend in opened_backends():
        if backend.name.startswith("cuda"):
            backend.give_back()


def manual_seed(seed: int) -> None:
    """Starts the random stream anew: it is one for all devices."""
    from dlgrad.random import manual_seed as start

    start(seed)


manual_seed_all = manual_seed


def get_rng_state(device: object = None) -> Any:
    """The state of the random stream, which is one for all devices."""
    from dlgrad.random import get_rng_state as state

    return state()


def set_rng_state(new_state: Any, device: object = None) -> None:
    """Goes back to a state of the random stream."""
    from dlgrad.random import set_rng_state as start

    start(new_state)


if TYPE_CHECKING:
    from dlgrad.cuda import amp as amp


def __getattr__(name: str) -> Any:
    if name == "amp":  # it needs optimizers, which a kernel does not
        import dlgrad.cuda.amp as found

        return found
    raise AttributeError(f"module 'dlgrad.cuda' has no attribute {name!r}")
