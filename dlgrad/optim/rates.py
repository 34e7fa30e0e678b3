"""A rate of its own for every element: RMSprop, Adagrad, Adadelta and Rprop.

Floor 7.  Hinton, lecture 6 of "Neural networks for machine learning" (2012), with the centered
form of Graves (2013); Duchi and others, "Adaptive subgradient methods" (2011); Zeiler,
"ADADELTA" (2012); Riedmiller and Braun, "The RPROP algorithm" (1993).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dlgrad.optim.optimizer import Optimizer
from dlgrad.optim.updates import Group, State, decayed, moment
from dlgrad.tensor import Tensor


class RMSprop(Optimizer):
    """p -= lr * g / (sqrt(v) + eps), with the running mean v = alpha * v + (1 - alpha) * g^2.

    g is the gradient plus `weight_decay` * p.  With `centered` the square of the running mean
    of g is taken off v; with `momentum` the quotients are summed up as SGD does.
    """

    STRUCTURAL = ("weight_decay", "momentum", "centered", "maximize")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        super().check(group)
        if not group["alpha"] >= 0:
            raise ValueError(f"alpha must not be negative, got {group['alpha']}")

    def begin(self, param: Tensor, state: State, group: Group) -> None:
        state["square_avg"] = moment(param)
        if group["momentum"] > 0:
            state["momentum_buffer"] = moment(param)
        if group["centered"]:
            state["grad_avg"] = moment(param)

    def numbers(self, group: Group, state: State) -> tuple[float, ...]:
        alpha, decay = group["alpha"], float(group["weight_decay"])
        return float(group["lr"]), alpha, 1 - alpha, group["eps"], group["momentum"], decay

    def update(
        self, param: Tensor, grad: Tensor, state: State, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        lr, alpha, new, eps, momentum, decay = numbers
        grad = decayed(param, grad, group, decay)
        square = state["square_avg"]
        square.copy_(alpha * square + new * (grad * grad))
        spread = square
        if group["centered"]:
            mean = state["grad_avg"]
            mean.add_(new * (grad - mean))
            spread = square - mean * mean
        step = grad / (spread.sqrt() + eps)
        if group["momentum"] > 0:
            running = state["momentum_buffer"]
            running.copy_(momentum * running + step)
            step = running
        param.sub_(lr * step)


class Adagrad(Optimizer):
    """p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps), with the sum s of all g^2.

    The sum begins with `initial_accumulator_value`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "fused": fused,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        super().check(group)
        if not group["initial_accumulator_value"] >= 0:
            raise ValueError(
                "initial_accumulator_value must not be negative, got "
                f"{group['initial_accumulator_value']}"
            )

    def begin(self, param: Tensor, state: State, group: Group) -> None:
        state["sum"] = moment(param, group["initial_accumulator_value"])

    def numbers(self, group: Group, state: State) -> tuple[float, ...]:
        rate = float(group["lr"]) / (1 + (state["step"] - 1) * group["lr_decay"])
        return rate, group["eps"], float(group["weight_decay"])

    def update(
        self, param: Tensor, grad: Tensor, state: State, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        rate, eps, decay = numbers
        grad = decayed(param, grad, group, decay)
        total = state["sum"]
        total.add_(grad * grad)
        param.sub_(rate * grad / (total.sqrt() + eps))


class Adadelta(Optimizer):
    """p -= lr * d, with d = g * sqrt(u + eps) / sqrt(v + eps).

    v and u are running means, with the weight `rho` on the past, of g^2 and of d^2.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize, "capturable": capturable, "foreach": foreach,
            "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        super().check(group)
        if not 0 <= group["rho"] <= 1:
            raise ValueError(f"rho must be between 0 and 1, got {group['rho']}")

    def begin(self, param: Tensor, state: State, group: Group) -> None:
        state["square_avg"], state["acc_delta"] = moment(param), moment(param)

    def numbers(self, group: Group, state: State) -> tuple[float, ...]:
        rho, decay = group["rho"], float(group["weight_decay"])
        return float(group["lr"]), rho, 1 - rho, group["eps"], decay

    def update(
        self, param: Tensor, grad: Tensor, state: State, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        lr, rho, new, eps, decay = numbers
        grad = decayed(param, grad, group, decay)
        square, moved = state["square_avg"], state["acc_delta"]
        square.copy_(rho * square + new * (grad * grad))
        delta = (moved + eps).sqrt() / (square + eps).sqrt() * grad
        moved.copy_(rho * moved + new * (delta * delta))
        param.sub_(lr * delta)


class Rprop(Optimizer):
    """Moves each element by a step of its own against the sign of its gradient.

    The step begins as `lr` and is multiplied by the second of the `etas` while the sign stays,
    by the first when it turns (and then the element rests once), within `step_sizes`.
    """

    STRUCTURAL = ("maximize",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        super().check(group)
        low, high = group["etas"]
        if not 0 < low < 1 < high:
            raise ValueError(f"etas must lie on both sides of 1 and above 0, got {low}, {high}")

    def begin(self, param: Tensor, state: State, group: Group) -> None:
        state["prev"] = moment(param)
        state["step_size"] = moment(param, float(group["lr"]))

    def numbers(self, group: Group, state: State) -> tuple[float, ...]:
        return (*map(float, group["etas"]), *map(float, group["step_sizes"]))

    def update(
        self, param: Tensor, grad: Tensor, state: State, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        slower, faster, least, most = numbers
        if group["maximize"]:
            grad = -grad
        before, size = state["prev"], state["step_size"]
        agreement = grad * before
        turned = agreement < 0
        factor = slower.where(turned, faster.where(agreement > 0, 1.0))
        size.copy_((size * factor).maximum(least).minimum(most))
        grad = grad.where(turned.logical_not(), 0.0)
        before.copy_(grad)
        param.sub_(grad.sign() * size)
