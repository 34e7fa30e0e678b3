"""Parameter: the tensor that a `Module` trains.

Floor 7.
"""

from __future__ import annotations

from dlgrad.core.creation import empty
from dlgrad.tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that asks for a gradient, and that a `Module` finds among its attributes.

    It shares the memory of `data`; operations on it give plain tensors.
    """

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        source = empty(0) if data is None else data.detach()
        self._set_up(source._storage, source._view, source.dtype)
        self.requires_grad_(requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"
