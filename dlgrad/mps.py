"""The GPU of a Mac under PyTorch's name for it; the device itself is called "metal" here, too.

Floor 7.
"""

from __future__ import annotations

from dlgrad.random import get_rng_state, manual_seed, seed, set_rng_state
from dlgrad.runtime.device import get_backend, is_there, opened_backends

__all__ = [
    "device_count", "empty_cache", "get_rng_state", "is_available", "manual_seed", "seed",
    "set_rng_state", "synchronize",
]  # fmt: skip


def is_available() -> bool:
    """Whether the device can be used here."""
    return is_there("metal:0")


def device_count() -> int:
    """1 or 0."""
    return int(is_available())


def synchronize() -> None:
    """Waits until all submitted work of the GPU is done."""
    get_backend("metal:0").synchronize()


def empty_cache() -> None:
    """Returns to the system what memory is kept for later and unused now."""
    for backend in opened_backends():
        if backend.name.startswith("metal"):
            backend.give_back()
