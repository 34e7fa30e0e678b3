"""The room of Metal: the GPU of a Mac through the Objective-C run time.

Floor 4.  `is_available` says whether tensors can be on it.
"""

from __future__ import annotations

from dlgrad.runtime.device import is_there


def is_available() -> bool:
    """Whether device "metal" can be used here; `python -m dlgrad` says why not."""
    return is_there("metal:0")
