"""Parameter: the tensor that a `Module` trains.

Floor 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from dlgrad.core.creation import empty
from dlgrad.core.device_type import DeviceLike
from dlgrad.dtype import DType
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


class UninitializedParameter(Parameter):
    """A parameter of a layer like `LazyLinear`, whose shape the first input will tell."""

    def __init__(
        self, requires_grad: bool = True, device: DeviceLike = None, dtype: DType | None = None
    ) -> None:
        super().__init__(empty(0, device=device, dtype=dtype), requires_grad)

    def materialize(self, shape: Sequence[int]) -> None:
        """Makes it a `Parameter` of `shape`, whose numbers are still to be set."""
        self.data = empty(tuple(shape), dtype=self.dtype, device=self.device)
        self.__class__ = Parameter  # type: ignore[assignment]

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError(
            "Can't access the shape or the numbers of an uninitialized parameter; call the model "
            "once with an input, or load a state, before"
        )

    shape = property(_refuse)
    size = dim = numel = detach = realize = tolist = item = numpy = _refuse

    def __repr__(self) -> str:
        return "<UninitializedParameter>"


class Buffer(Tensor):
    """A tensor that a `Module` registers as a buffer when it becomes an attribute.

    With `persistent=False` it is left out of the state.
    """

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True) -> None:
        if data is not None and not isinstance(data, Tensor):
            raise TypeError(
                f"a Buffer is made of a Tensor, got {type(data).__name__}; wrap it: "
                "nn.Buffer(dlgrad.tensor(...))"
            )
        source = empty(0) if data is None else data.detach()
        self._set_up(source._storage, source._view, source.dtype)
        self.persistent = persistent
