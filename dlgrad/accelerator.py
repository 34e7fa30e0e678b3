"""The one GPU of the machine, whichever kind it is.

Floor 7.
"""

from __future__ import annotations

from dlgrad.core.device_type import device
from dlgrad.runtime import engine
from dlgrad.runtime.device import is_there


def is_available() -> bool:
    """Whether there is a GPU that tensors can be on."""
    return current_accelerator() is not None


def current_accelerator(check_available: bool = False) -> device | None:
    """The kind of the GPU as a device, or None."""
    for kind in ("cuda", "metal"):
        if is_there(f"{kind}:0"):
            return device(kind)
    return None


def device_count() -> int:
    """How many such GPUs there are."""
    found = current_accelerator()
    if found is None:
        return 0
    count = 1
    while is_there(f"{found.type}:{count}"):
        count += 1
    return count


def synchronize() -> None:
    """Waits until all submitted work is done."""
    engine.synchronize()
