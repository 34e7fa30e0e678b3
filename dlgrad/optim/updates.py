"""What the updates of optimizers have in common: their numbers in memory, states, weight decay.

Floor 7.
"""

from __future__ import annotations

from typing import Any

from dlgrad.core.base import make_view
from dlgrad.core.creation import full_like
from dlgrad.core.creation import tensor as make_tensor
from dlgrad.dtype import DType, pack_values
from dlgrad.lazy.shape import View
from dlgrad.tensor import Tensor

Group = dict[str, Any]
State = dict[str, Any]


class Numbers:
    """A handful of numbers in device memory, which kernels read as zero-dimensional tensors."""

    def __init__(self, count: int, dtype: DType, device: str) -> None:
        self._tensor = make_tensor([0.0] * count, dtype=dtype, device=device)
        self._memory = self._tensor._storage.memory()
        self._values: tuple[float, ...] | None = None
        self.dtype = dtype
        self.views = [make_view(self._tensor, View((), (), i)) for i in range(count)]

    def write(self, values: tuple[float, ...]) -> None:
        """Gives the numbers new values, if they differ from the present ones."""
        if values != self._values:
            self._memory.copy_in(memoryview(pack_values(self.dtype, list(values))))
            self._values = values


class Cohort:
    """Parameters of one group whose states count the same, on one device: one set of numbers."""

    def __init__(self, group: Group, parameters: list[Tensor], key: Any) -> None:
        self.group = group
        self.parameters = parameters
        self.key = key
        self.numbers: Numbers | None = None


def moment(param: Tensor, value: float = 0.0) -> Tensor:
    """A state tensor like a parameter, with one value everywhere."""
    return full_like(param.detach(), value, requires_grad=False)


def decay_number(group: Group) -> float:
    """The number for `decayed`: the weight decay, or the factor of a decoupled one."""
    decay = float(group["weight_decay"])
    if group.get("decoupled_weight_decay"):
        return 1 - float(group["lr"]) * decay
    return decay


def decayed(param: Tensor, grad: Tensor, group: Group, decay: Tensor) -> Tensor:
    """The gradient to follow: turned around with "maximize", and with the weight decay in it.

    A "decoupled_weight_decay" shrinks the parameter itself instead.
    """
    if group["maximize"]:
        grad = -grad
    if group["weight_decay"] != 0:
        if group.get("decoupled_weight_decay"):
            param.mul_(decay)
        else:
            grad = grad + decay * param
    return grad
