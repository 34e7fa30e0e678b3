"""Stochastic gradient descent, plain, with momentum, and averaged.

Floor 7.  Averaged: Polyak and Juditsky, "Acceleration of stochastic approximation by
averaging" (1992).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlgrad.optim.optimizer import Optimizer
from dlgrad.optim.updates import Group, State, decayed, moment
from dlgrad.tensor import Tensor


class SGD(Optimizer):
    """p -= lr * d, where d is the gradient, or with `momentum` a running sum of gradients.

    With g the gradient plus `weight_decay` * p, the running sum is b = momentum * b +
    (1 - dampening) * g (b = g in the first step), and d = b, or g + momentum * b with
    `nesterov`.  `maximize` goes uphill.  `foreach` and `fused` change nothing: a step is always
    fused.
    """

    STRUCTURAL = ("momentum", "weight_decay", "nesterov", "maximize")
    SHOWS_STEP = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening,
            "weight_decay": weight_decay, "nesterov": nesterov, "maximize": maximize,
            "foreach": foreach, "differentiable": differentiable, "fused": fused,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        super().check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")

    def begin(self, param: Tensor, state: State, group: Group) -> None:
        if group["momentum"] != 0:
            state["momentum_buffer"] = moment(param)

    def numbers(self, group: Group, state: State) -> tuple[float, ...]:
        # The running sum begins as zeros, so the first gradient enters it whole.
        entering = 1.0 if state["step"] == 1 else 1.0 - group["dampening"]
        return float(group["lr"]), float(group["weight_decay"]), group["momentum"], entering

    def update(
        self, param: Tensor, grad: Tensor, state: State, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        lr, weight_decay, momentum, entering = numbers
        grad = decayed(param, grad, group, weight_decay)
        if group["momentum"] != 0:
            running = state.get("momentum_buffer")
            if running is None:  # the momentum was zero before
                running = state["momentum_buffer"] = moment(param)
            running.copy_(running * momentum + entering * grad)
            grad = grad + momentum * running if group["nesterov"] else running
        param.sub_(lr * grad)

    def _loaded(
        self, param: Tensor, entries: Mapping[str, Any], known: State, group: Group
    ) -> State:
        result = super()._loaded(param, entries, known, group)
        if entries.get("momentum_buffer") is None:  # it begins with the next gradient
            result["step"] = 0
        return result


class ASGD(Optimizer):
    """SGD with a falling rate, which also keeps the mean of the parameters in state["ax"].

    With g the gradient plus `weight_decay` * p, p = (1 - lambd * eta) * p - eta * g, where
    eta = lr / (1 + lambd * lr * t)^alpha after t steps (lr in the first), and from step `t0`
    on "ax" is the mean of all p since; before it is p.
    """

    COUNTERS = ("eta", "mu")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
            "capturable": capturable,
        }  # fmt: skip
        if alpha < 0:
            raise ValueError(f"Invalid alpha value: {alpha}")
        super().__init__(params, defaults)

    def begin(self, param: Tensor, state: State, group: Group) -> None:
        state["eta"], state["mu"] = float(group["lr"]), 1.0
        state["ax"] = moment(param)

    def numbers(self, group: Group, state: State) -> tuple[float, ...]:
        eta = state["eta"]
        return eta, 1 - group["lambd"] * eta, state["mu"], float(group["weight_decay"])

    def advance(self, group: Group, state: State) -> None:
        lr, step = float(group["lr"]), state["step"]
        state["eta"] = lr / (1 + group["lambd"] * lr * step) ** group["alpha"]
        state["mu"] = 1 / max(1, step - group["t0"])

    def update(
        self, param: Tensor, grad: Tensor, state: State, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        eta, shrinking, share, weight_decay = numbers
        grad = decayed(param, grad, group, weight_decay)
        param.copy_(shrinking * param - eta * grad)
        mean = state["ax"]
        mean.add_(share * (param - mean))
