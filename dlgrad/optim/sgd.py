"""Stochastic gradient descent.

Floor 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dlgrad.optim.optimizer import Group, Optimizer, State, moment
from dlgrad.tensor import Tensor


class SGD(Optimizer):
    """p -= lr * d, where d is the gradient, or with `momentum` a running sum of gradients.

    With g the gradient plus `weight_decay` * p, the running sum is b = momentum * b +
    (1 - dampening) * g (b = g in the first step), and d = b, or g + momentum * b with
    `nesterov`.  `maximize` goes uphill.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening,
            "weight_decay": weight_decay, "nesterov": nesterov, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        super().check(group)
        if not group["momentum"] >= 0:
            raise ValueError(f"momentum must not be negative, got {group['momentum']}")
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError("nesterov needs a momentum above zero and zero dampening")

    def flags(self, group: Group) -> tuple[bool, ...]:
        return (
            group["momentum"] != 0,
            group["weight_decay"] != 0,
            bool(group["nesterov"]),
            bool(group["maximize"]),
        )

    def numbers(self, group: Group, step: int) -> tuple[float, ...]:
        # The running sum begins as zeros, so the first gradient enters it whole.
        entering = 1.0 if step == 1 else 1.0 - group["dampening"]
        return float(group["lr"]), group["weight_decay"], group["momentum"], entering

    def update(
        self, param: Tensor, grad: Tensor, state: State, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        lr, weight_decay, momentum, entering = numbers
        if group["maximize"]:
            grad = -grad
        if group["weight_decay"] != 0:
            grad = grad + weight_decay * param
        if group["momentum"] != 0:
            running = moment(state, "momentum_buffer", param)
            running.copy_(running * momentum + entering * grad)
            grad = grad + momentum * running if group["nesterov"] else running
        param.sub_(lr * grad)
