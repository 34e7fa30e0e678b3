"""Learning rates that change as training goes on: the base, and rates that fall or rise once.

Floor 7.  A scheduler sets the rate of every parameter group when it is made, and again at each
`step()`, which is called after the optimizer's.  Under `dlgrad.jit` a captured `step()` is
repeated before each replay, so the rate moves on there too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlgrad.jit import current_capture
from dlgrad.optim.optimizer import Optimizer
from dlgrad.optim.updates import Group


class LRScheduler:
    """The base of schedulers: subclasses define `rate`, or `get_lr` for all groups at once.

    `last_epoch` counts the steps (0 for the first rates); give the count of an earlier run to
    go on from there, with groups that have their "initial_lr".
    """

    # Whether a restart begins with the initial rate, where `rate` goes on from the present one.
    STARTS_AFRESH = True

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", float(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming an "
                    "optimizer"
                )
        self.optimizer = optimizer
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._advance()

    def rate(self, group: Group, base_lr: float, position: int) -> float:
        """The rate of a group at step `last_epoch`; `group["lr"]` is the one before."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        """The rates of all groups at step `last_epoch`."""
        groups = zip(self.optimizer.param_groups, self.base_lrs, strict=True)
        return [self.rate(group, base_lr, i) for i, (group, base_lr) in enumerate(groups)]

    def step(self) -> None:
        """Moves on to the next rate."""
        self._advance()
        capture = current_capture()
        if capture is not None:
            capture.before_replay(self._advance)

    def _advance(self) -> None:
        self.last_epoch += 1
        self._set(self.get_lr())

    def _set(self, rates: Sequence[float]) -> None:
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr

    def _restart(self) -> None:
        """Begins at step 0, when the schedulers before it in a sequence have ended."""
        if self.STARTS_AFRESH:
            self._set(self.base_lrs)
        self._begin()

    def _begin(self) -> None:
        """Takes step 0, from the present rates."""
        self.last_epoch = -1
        self._advance()

    def _undo(self) -> None:
        """Takes back the step that making the scheduler was."""
        self.last_epoch -= 1

    def get_last_lr(self) -> list[float]:
        """The present rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions."""
        return {
            name: value
            for name, value in self.__dict__.items()
            if name != "optimizer" and not name.startswith("_")
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over the state of a `state_dict`; the optimizer's rates are in its own."""
        self.__dict__.update(state_dict)


def check_optimizer(optimizer: Any) -> None:
    """TypeError for anything else."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def for_each_group(
    value: float | Sequence[float], groups: Sequence[Group], name: str
) -> list[float]:
    """One number for every group, from a number or a list of them."""
    if isinstance(value, (int, float)):
        return [float(value)] * len(groups)
    if len(value) != len(groups):
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups: {len(groups)} values, "
            f"got {len(value)}"
        )
    return list(value)


class LambdaLR(LRScheduler):
    """The initial rate times `lr_lambda(step)`; one function, or one for each group."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self._lambdas = _functions(optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, base_lr: float, position: int) -> float:
        return base_lr * self._lambdas[position](self.last_epoch)


class StepLR(LRScheduler):
    """Times `gamma` every `step_size` steps."""

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        if step_size < 1:
            raise ValueError(f"step_size must be 1 or more, got {step_size}")
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, base_lr: float, position: int) -> float:
        lr: float = group["lr"]
        changes = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return lr * self.gamma if changes else lr


class MultiStepLR(LRScheduler):
    """Times `gamma` at each step in `milestones`; one that is listed twice counts twice."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Sequence[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, base_lr: float, position: int) -> float:
        lr: float = group["lr"]
        times = Counter(self.milestones)[self.last_epoch]
        return lr * self.gamma**times


class ExponentialLR(LRScheduler):
    """Times `gamma` at every step."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, base_lr: float, position: int) -> float:
        lr: float = group["lr"]
        return lr * self.gamma if self.last_epoch > 0 else lr


class LinearLR(LRScheduler):
    """The factor on the rate goes from `start_factor` to `end_factor` in `total_iters` steps."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueError(
                "start_factor must be above 0 and end_factor from 0, both up to 1, got "
                f"{start_factor} and {end_factor}"
            )
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self, step: int) -> float:
        share = min(step, self.total_iters) / self.total_iters if self.total_iters else 1.0
        return self.start_factor + (self.end_factor - self.start_factor) * share

    def rate(self, group: Group, base_lr: float, position: int) -> float:
        lr: float = group["lr"]
        if self.last_epoch == 0:
            return lr * self._factor(0)
        if self.last_epoch > self.total_iters:
            return lr
        return lr * self._factor(self.last_epoch) / self._factor(self.last_epoch - 1)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine wave from the initial rate to `eta_min` in `T_max` steps, then back."""

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if T_max < 1:
            raise ValueError(f"T_max must be 1 or more, got {T_max}")
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, base_lr: float, position: int) -> float:
        lr: float = group["lr"]
        if self.last_epoch == 0:
            return lr
        before, now = (
            1 + math.cos(math.pi * step / self.T_max)
            for step in (self.last_epoch - 1, self.last_epoch)
        )
        if (self.last_epoch - 1) % (2 * self.T_max) == self.T_max:  # `before` is zero
            return self.eta_min + (base_lr - self.eta_min) * now / 2
        return self.eta_min + (lr - self.eta_min) * now / before

class MultiplicativeLR(LRScheduler):
    """Times `lr_lambda(step)` at every step; one function, or one for each group."""

    STARTS_AFRESH = False

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self._lambdas = _functions(optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, base_lr: float, position: int) -> float:
        lr: float = group["lr"]
        return lr * self._lambdas[position](self.last_epoch) if self.last_epoch > 0 else lr


class ConstantLR(LRScheduler):
    """The rate times `factor` until step `total_iters`."""

    def __init__(
        self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        if not 0 <= factor <= 1:
            raise ValueError(
                f"Constant multiplicative factor expected to be between 0 and 1, got {factor}"
            )
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, base_lr: float, position: int) -> float:
        lr: float = group["lr"]
        if self.last_epoch == 0:
            return lr * self.factor
        return lr / self.factor if self.last_epoch == self.total_iters else lr


class PolynomialLR(LRScheduler):
    """Down to zero in `total_iters` steps, as (1 - step / total_iters)^power."""

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, base_lr: float, position: int) -> float:
        lr: float = group["lr"]
        if self.last_epoch == 0 or self.last_epoch > self.total_iters:
            return lr
        left = self.total_iters - self.last_epoch
        share: float = (left / (left + 1)) ** self.power
        return lr * share


def _functions(optimizer: Optimizer, given: Any) -> list[Callable[[int], float]]:
    """One function for every group, from a function or a list of them."""
    check_optimizer(optimizer)
    count = len(optimizer.param_groups)
    functions = [given] * count if callable(given) else list(given)
    if len(functions) != count:
        raise ValueError(f"Expected {count} lr_lambdas, but got {len(functions)}")
    return functions
