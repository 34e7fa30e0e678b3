"""Training on several machines or devices is not there, and this module says so.

Floor 7.
"""

from typing import Any


def is_available() -> bool:
    """False."""
    return False


def is_initialized() -> bool:
    """False."""
    return False


def is_torchelastic_launched() -> bool:
    """False."""
    return False


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"dlgrad.distributed has no {name!r}: dlgrad trains in one process; is_available() is False"
    )
