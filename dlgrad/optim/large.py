"""Optimizers for large models: Lion, LAMB, Muon and Adafactor.

Floor 7.  Chen and others, "Symbolic discovery of optimization algorithms" (2023); You and
others, "Large batch optimization for deep learning" (2020); Jordan and others, "Muon: an
optimizer for hidden layers in neural networks" (2024); Shazeer and Stern, "Adafactor: adaptive
learning rates with sublinear memory cost" (2018).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from dlgrad.dtype import bfloat16, finfo
from dlgrad.optim.optimizer import Optimizer
from dlgrad.optim.updates import Group, State, decay_number, decayed, moment
from dlgrad.tensor import Tensor


class Lion(Optimizer):
    """p = (1 - lr * weight_decay) * p - lr * sign(beta1 * m + (1 - beta1) * g).

    Afterwards m = beta2 * m + (1 - beta2) * g.  It keeps half of Adam's state, and wants a rate
    three to ten times smaller and a weight decay as much larger.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize,
            "decoupled_weight_decay": True,
        }  # fmt: skip
        super().__init__(params, defaults)

    def begin(self, param: Tensor, state: State, group: Group) -> None:
        state["exp_avg"] = moment(param)

    def numbers(self, group: Group, state: State) -> tuple[float, ...]:
        beta1, beta2 = group["betas"]
        return float(group["lr"]), 1 - beta1, 1 - beta2, decay_number(group)

    def update(
        self, param: Tensor, grad: Tensor, state: State, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        lr, new1, new2, decay = numbers
        grad = decayed(param, grad, group, decay)
        mean = state["exp_avg"]
        direction = mean + new1 * (grad - mean)
        mean.add_(new2 * (grad - mean))
        param.sub_(lr * direction.sign())


class LAMB(Optimizer):
    """p -= lr * (|p| / |r|) * r, with r = m / (sqrt(v) + eps) + weight_decay * p and Adam's m, v.

    |x| is the Euclidean norm of the whole parameter; the ratio is 1 where one of them is 0.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def begin(self, param: Tensor, state: State, group: Group) -> None:
        state["exp_avg"], state["exp_avg_sq"] = moment(param), moment(param)

    def numbers(self, group: Group, state: State) -> tuple[float, ...]:
        beta1, beta2 = group["betas"]
        step = state["step"]
        return (
            float(group["lr"]),
            1 / (1 - beta1**step),
            1 - beta1,
            beta2,
            1 - beta2,
            math.sqrt(1 - beta2**step),
            group["eps"],
            float(group["weight_decay"]),
        )

    def update(
        self, param: Tensor, grad: Tensor, state: State, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        lr, scale1, new1, beta2, new2, correction, eps, decay = numbers
        if group["maximize"]:
            grad = -grad
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.add_(new1 * (grad - mean))
        square.copy_(beta2 * square + new2 * (grad * grad))
        direction = scale1 * mean / (square.sqrt() / correction + eps)
        if group["weight_decay"] != 0:
            direction = direction + decay * param
        length, reach = _length(param), _length(direction)
        trust = (length / reach).where((length > 0).logical_and(reach > 0), 1.0)
        param.sub_(lr * trust * direction)


class Muon(Optimizer):
    """Matrices only: p = (1 - lr * weight_decay) * p - rate * U, where U is nearly orthogonal.

    A running mean b = momentum * b + (1 - momentum) * g (with `nesterov`, a step ahead of it)
    becomes U by `ns_steps` Newton-Schulz iterations in bfloat16, U = a U + (b A + c A A) U with
    A = U U^T and the three `ns_coefficients`.  The rate is lr * sqrt(max(1, rows / columns)),
    or lr * 0.2 * sqrt(max(rows, columns)) with `adjust_lr_fn` "match_rms_adamw".  Other
    parameters (biases, embeddings, the last layer) belong in an AdamW beside it.
    """

    STRUCTURAL = ("nesterov",)
    SHOWS_STEP = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        defaults = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        super().check(group)
        if group["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
            raise ValueError(
                "Adjust learning rate function must be None, 'original' or 'match_rms_adamw', "
                f"got {group['adjust_lr_fn']!r}"
            )
        if len(group["ns_coefficients"]) != 3:
            raise ValueError("Coefficients must be a tuple of exactly 3 values")
        if not 0 <= group["ns_steps"] < 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")
        for param in group["params"]:
            if param.ndim != 2:
                raise ValueError(
                    "Muon only supports 2D parameters whereas we found a parameter with size: "
                    f"{tuple(param.shape)}; give the others to AdamW"
                )

    def flags(self, group: Group) -> tuple[Any, ...]:
        fixed = (group[name] for name in ("ns_coefficients", "eps", "ns_steps", "adjust_lr_fn"))
        return (*super().flags(group), *fixed)

    def begin(self, param: Tensor, state: State, group: Group) -> None:
        state["momentum_buffer"] = moment(param)

    def numbers(self, group: Group, state: State) -> tuple[float, ...]:
        lr, momentum = float(group["lr"]), group["momentum"]
        return lr, 1 - lr * group["weight_decay"], momentum, 1 - momentum

    def update(
        self, param: Tensor, grad: Tensor, state: State, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        lr, decay, momentum, new = numbers
        mean = state["momentum_buffer"]
        mean.add_(new * (grad - mean))
        ahead = grad + momentum * (mean - grad) if group["nesterov"] else mean
        direction = _orthogonal(ahead, group)
        rows, columns = param.shape
        factor = math.sqrt(max(1.0, rows / columns))
        if group["adjust_lr_fn"] == "match_rms_adamw":
            factor = 0.2 * math.sqrt(max(rows, columns))
        param.copy_(decay * param - lr * factor * direction.to(param.dtype))


def _orthogonal(matrix: Tensor, group: Group) -> Tensor:
    """`matrix` with its singular values moved to about 1, in bfloat16."""
    own, square, fourth = group["ns_coefficients"]
    tall = matrix.shape[0] > matrix.shape[1]
    current = matrix.to(bfloat16)
    current = current.T if tall else current
    current = current / _length(current).clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = current @ current.T
        mixed = square * gram + fourth * (gram @ gram)
        current = own * current + mixed @ current
    return current.T if tall else current


class Adafactor(Optimizer):
    """Adam without a mean, whose mean square of a matrix is kept as one row and one column.

    The rate is min(lr, 1 / sqrt(t)) times the root mean square of the parameter (at least the
    second `eps`); the share of a new g^2 is t^beta2_decay; a step whose root mean square is
    above `d` is scaled down to it.  The first `eps` (default: the dtype's) keeps divisors from
    zero.  Matrices are those of the last two dimensions; vectors keep the whole mean square.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d,
            "weight_decay": weight_decay, "foreach": foreach, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        super().check(group)
        if not group["beta2_decay"] <= 0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {group['beta2_decay']}")
        if not all(eps is None or eps >= 0 for eps in group["eps"]):
            raise ValueError(f"eps must not be negative, got {group['eps']}")
        if not group["d"] >= 1:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {group['d']}")

    def flags(self, group: Group) -> tuple[Any, ...]:
        return (*super().flags(group), *group["eps"])

    def begin(self, param: Tensor, state: State, group: Group) -> None:
        if param.ndim < 2:
            state["variance"] = moment(param)
            return
        shape = tuple(param.shape)
        state["row_var"] = param.new_zeros((*shape[:-1], 1))
        state["col_var"] = param.new_zeros((*shape[:-2], 1, shape[-1]))

    def numbers(self, group: Group, state: State) -> tuple[float, ...]:
        lr, step = float(group["lr"]), state["step"]
        shrinking = 1 - lr * group["weight_decay"]
        return min(lr, step**-0.5), step ** group["beta2_decay"], shrinking, 1 / group["d"]

    def update(
        self, param: Tensor, grad: Tensor, state: State, group: Group, numbers: Sequence[Tensor]
    ) -> None:
        rate, new, shrinking, limit = numbers
        least, smallest = group["eps"]
        least = finfo(param.dtype).eps if least is None else least
        grad = -grad if group["maximize"] else grad
        size = math.sqrt(param.numel())
        scale = (_length(param) / size).clamp(min=smallest) * rate
        if group["weight_decay"] != 0:
            param.mul_(shrinking)
        square = grad * grad
        if param.ndim > 1:
            row, column = state["row_var"], state["col_var"]
            row.add_(new * (square.mean(-1, keepdim=True) - row))
            column.add_(new * (square.mean(-2, keepdim=True) - column))
            estimate = row * column / row.mean(-2, keepdim=True).clamp(min=least)
        else:
            estimate = state["variance"]
            estimate.add_(new * (square - estimate))
        step = grad * estimate.clamp(min=least * least).rsqrt()
        overshoot = (_length(step) / size * limit).clamp(min=1.0)
        param.sub_(scale / overshoot * step)


def _length(tensor: Tensor) -> Tensor:
    """The Euclidean norm of all elements."""
    return (tensor * tensor).sum().sqrt()
