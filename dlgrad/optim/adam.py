"""Adam and its closest relatives: AdamW, Adamax, NAdam and RAdam.

Floor 7.  Kingma and Ba, "Adam: a method for stochastic optimization" (2015), also for Adamax;
Loshchilov and Hutter, "Decoupled weight decay regularization" (2019); Dozat, "Incorporating
Nesterov momentum into Adam" (2016); Liu and others, "On the variance of the adaptive learning
rate and beyond" (2020).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from dlgrad.optim.optimizer import Optimizer
from dlgrad.optim.updates import Group, State, decay_number, decayed, moment
from dlgrad.tensor import Tensor


class Adam(Optimizer):
    """p -= lr * m / (sqrt(v) + eps), with bias-corrected running means m of g and v of g^2.

    g is the gradient plus `weight_decay` * p.  `amsgrad` uses the largest v so far, `maximize`
    goes uphill, `decoupled_weight_decay` shrinks the parameter directly, as AdamW does.
    `foreach`, `fused` and `capturable` change nothing: a step is always fused, and can always
    be captured by `dlgrad.jit`.
    """

    STRUCTURAL = ("weight_decay", "amsgrad", "maximize", "decoupled_weight_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "amsgrad": amsgrad, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, defaults)

    def begin(self, param: Tensor, state: State, group: Group) -> None:
        state["exp_avg"], state["exp_avg_sq"] = moment(param), moment(param)
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = moment(param)

    def numbers(self, group: Group, state: State) -> tuple[float, ...]:
        beta1, beta2 = group["betas"]
        step = state["step"]
        return (
            float(group["lr"]) / (1 - beta1**step),
            1 - beta1,
            beta2,
            1 - beta2,
            math.sqrt(1 - beta2**step),
            group["eps"],
            decay_number(group),
        )

    def update(
        self, param: Tensor, grad: Tensor, state: State, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        step_size, new1, beta2, new2, correction, eps, decay = numbers
        grad = decayed(param, grad, group, decay)
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.add_(new1 * (grad - mean))
        square.copy_(beta2 * square + new2 * (grad * grad))
        if group["amsgrad"]:
            largest = state["max_exp_avg_sq"]
            largest.copy_(largest.maximum(square))
            square = largest
        param.sub_(step_size * mean / (square.sqrt() / correction + eps))


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter directly: p *= 1 - lr * weight_decay."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad,
            foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip


class Adamax(Optimizer):
    """p -= lr * m / u, where m is Adam's and u = max(beta2 * u, |g| + eps)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
            "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def begin(self, param: Tensor, state: State, group: Group) -> None:
        state["exp_avg"], state["exp_inf"] = moment(param), moment(param)

    def numbers(self, group: Group, state: State) -> tuple[float, ...]:
        beta1, beta2 = group["betas"]
        step_size = float(group["lr"]) / (1 - beta1 ** state["step"])
        return step_size, 1 - beta1, beta2, group["eps"], decay_number(group)

    def update(
        self, param: Tensor, grad: Tensor, state: State, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        step_size, new1, beta2, eps, decay = numbers
        grad = decayed(param, grad, group, decay)
        mean, largest = state["exp_avg"], state["exp_inf"]
        mean.add_(new1 * (grad - mean))
        largest.copy_((beta2 * largest).maximum(grad.abs() + eps))
        param.sub_(step_size * mean / largest)


class NAdam(Optimizer):
    """Adam with Nesterov's momentum: the gradient of this step enters ahead of the mean.

    Its momentum grows as mu_t = beta1 * (1 - 0.96^(t * momentum_decay) / 2).
    """

    STRUCTURAL = ("weight_decay", "maximize", "decoupled_weight_decay")
    COUNTERS = ("mu_product",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        super().check(group)
        if not group["momentum_decay"] >= 0:
            raise ValueError(
                f"momentum_decay must not be negative, got {group['momentum_decay']}"
            )

    def begin(self, param: Tensor, state: State, group: Group) -> None:
        state["mu_product"] = 1.0
        state["exp_avg"], state["exp_avg_sq"] = moment(param), moment(param)

    @staticmethod
    def _momentum(group: Group, step: int) -> float:
        decay: float = 0.96 ** (step * group["momentum_decay"])
        return float(group["betas"][0]) * (1 - 0.5 * decay)

    def numbers(self, group: Group, state: State) -> tuple[float, ...]:
        beta1, beta2 = group["betas"]
        lr, step = float(group["lr"]), state["step"]
        now, following = self._momentum(group, step), self._momentum(group, step + 1)
        product = state["mu_product"] * now
        return (
            lr * (1 - now) / (1 - product),
            lr * following / (1 - product * following),
            1 - beta1,
            beta2,
            1 - beta2,
            math.sqrt(1 - beta2**step),
            group["eps"],
            decay_number(group),
        )

    def advance(self, group: Group, state: State) -> None:
        state["mu_product"] *= self._momentum(group, state["step"])

    def update(
        self, param: Tensor, grad: Tensor, state: State, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        of_gradient, of_mean, new1, beta2, new2, correction, eps, decay = numbers
        grad = decayed(param, grad, group, decay)
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.add_(new1 * (grad - mean))
        square.copy_(beta2 * square + new2 * (grad * grad))
        param.sub_((of_gradient * grad + of_mean * mean) / (square.sqrt() / correction + eps))


class RAdam(Optimizer):
    """Adam that waits: p -= lr * m until v is known well enough, then with a growing trust in v."""

    STRUCTURAL = ("weight_decay", "maximize", "decoupled_weight_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def begin(self, param: Tensor, state: State, group: Group) -> None:
        state["exp_avg"], state["exp_avg_sq"] = moment(param), moment(param)

    def numbers(self, group: Group, state: State) -> tuple[float, ...]:
        beta1, beta2 = group["betas"]
        step = state["step"]
        remaining = 1 - beta2**step
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2**step / remaining
        rectified = 0.0  # the factor on 1 / (sqrt(v) + eps), or zero: do without v
        if length > 5:
            ratio = (length - 4) * (length - 2) * longest
            ratio /= (longest - 4) * (longest - 2) * length
            rectified = math.sqrt(ratio * remaining)
        return (
            float(group["lr"]) / (1 - beta1**step),
            1 - beta1,
            beta2,
            1 - beta2,
            rectified,
            group["eps"],
            decay_number(group),
        )

    def update(
        self, param: Tensor, grad: Tensor, state: State, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        step_size, new1, beta2, new2, rectified, eps, decay = numbers
        grad = decayed(param, grad, group, decay)
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.add_(new1 * (grad - mean))
        square.copy_(beta2 * square + new2 * (grad * grad))
        factor = (rectified / (square.sqrt() + eps)).where(rectified > 0, 1.0)
        param.sub_(step_size * mean * factor)
