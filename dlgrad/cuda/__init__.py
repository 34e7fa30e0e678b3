"""CUDA as a user meets it: is it there, how many GPUs, waiting for them; PyTorch's names.

Floor 7.  The modules beside this one are the room of CUDA, floor 4: NVIDIA GPUs through the
driver library, nvcc and NVRTC.
"""

from __future__ import annotations

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


def _backend(device: object) -> Backend:
    if device is None:
        device = "cuda:0"
    elif isinstance(device, int):
        device = f"cuda:{device}"
    return get_backend(canonical_device(device))


def get_device_name(device: object = None) -> str:
    """The name of a GPU; DeviceError where it is not there."""
    return _backend(device).describe()


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
