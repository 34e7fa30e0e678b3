"""Parameter: the tensor that a `Module` trains.

Floor 7.
"""

from __future__ import annotations

from dlgrad.core.creation import empty
from dlgrad.tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that asks for a gradient, and that a `Module` finds among its attributes.

    It shares the memory of `data`, a tensor; operations on it give plain tensors.  Raises
    TypeError for anything but a tensor.
    """

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        if data is not None and not isinstance(data, Tensor):
            raise TypeError(
                f"a Parameter is made of a Tensor, got {type(data).__name__}; wrap it: "
                "nn.Parameter(dlgrad.tensor(...))"
            )
        source = empty(0) if data is None else data.detach()
        self._set_up(source._storage, source._view, source.dtype)
        self.requires_grad_(requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"
