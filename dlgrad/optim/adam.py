"""Adam and AdamW.

Floor 7.  Kingma and Ba, "Adam: a method for stochastic optimization" (2015); Loshchilov and
Hutter, "Decoupled weight decay regularization" (2019).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from dlgrad.optim.optimizer import Group, Optimizer, State, moment
from dlgrad.tensor import Tensor


class Adam(Optimizer):
    """p -= lr * m / (sqrt(v) + eps), with bias-corrected running means m of g and v of g^2.

    g is the gradient plus `weight_decay` * p.  `amsgrad` uses the largest v so far, `maximize`
    goes uphill, `decoupled_weight_decay` shrinks the parameter directly, as AdamW does.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay,
            "amsgrad": amsgrad, "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        super().check(group)
        betas = group["betas"]
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be two numbers from 0 up to but not 1, got {betas}")

    def flags(self, group: Group) -> tuple[bool, ...]:
        return (
            group["weight_decay"] != 0,
            bool(group["amsgrad"]),
            bool(group["maximize"]),
            bool(group.get("decoupled_weight_decay", False)),
        )

    def numbers(self, group: Group, step: int) -> tuple[float, ...]:
        beta1, beta2 = group["betas"]
        lr, decay = float(group["lr"]), group["weight_decay"]
        if group.get("decoupled_weight_decay", False):
            decay = 1 - lr * decay
        return (
            lr / (1 - beta1**step),
            1 - beta1,
            beta2,
            1 - beta2,
            math.sqrt(1 - beta2**step),
            group["eps"],
            decay,
        )

    def update(
        self, param: Tensor, grad: Tensor, state: State, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        step_size, new1, beta2, new2, correction, eps, decay = numbers
        if group["maximize"]:
            grad = -grad
        if group["weight_decay"] != 0:
            if group.get("decoupled_weight_decay", False):
                param.mul_(decay)
            else:
                grad = grad + decay * param
        mean = moment(state, "exp_avg", param)
        mean.add_(new1 * (grad - mean))
        square = moment(state, "exp_avg_sq", param)
        square.copy_(beta2 * square + new2 * (grad * grad))
        if group["amsgrad"]:
            largest = moment(state, "max_exp_avg_sq", param)
            largest.copy_(largest.maximum(square))
            square = largest
        param.sub_(step_size * mean / (square.sqrt() / correction + eps))


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter directly: p *= 1 - lr * weight_decay."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad,
            maximize=maximize, decoupled_weight_decay=True,
        )  # fmt: skip
