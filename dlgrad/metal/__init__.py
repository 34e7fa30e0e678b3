"""The room of Metal: the GPU of a Mac through the Objective-C run time.

Floor 4.  `is_available` says whether tensors can be on it.
"""

from __future__ import annotations

from dlgrad.device import get_backend
from dlgrad.errors import DeviceError


def is_available() -> bool:
    """Whether device "metal" can be used here; `python -m dlgrad` says why not."""
    try:
        get_backend("metal:0")
    except DeviceError:
        return False
    return True
