"""The room of CUDA: NVIDIA GPUs through the driver library, nvcc and NVRTC.

Floor 4.  `is_available` says whether tensors can be on it.
"""

from __future__ import annotations

from dlgrad.device import get_backend
from dlgrad.errors import DeviceError


def is_available() -> bool:
    """Whether device "cuda" can be used here; `python -m dlgrad` says why not."""
    try:
        get_backend("cuda:0")
    except DeviceError:
        return False
    return True
