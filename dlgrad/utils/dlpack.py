"""DLPack under PyTorch's names.

Floor 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlgrad.core.dlpack import from_dlpack as from_dlpack

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule of the tensor's memory, which one consumer may take over."""
    return tensor.__dlpack__()
