"""Learning rates that change as training goes on: PyTorch's schedulers.

Floor 7.  A scheduler sets the rate of every parameter group when it is made, and again at each
`step()`, which is called after the optimizer's.  Under `dlgrad.jit` a captured `step()` is
repeated before each replay, so the rate moves on there too.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlgrad.jit import current_capture
from dlgrad.optim.optimizer import Group, Optimizer


class LRScheduler:
    """The base of schedulers: subclasses define `rate(group, base_lr, position)`.

    `last_epoch` counts the steps (0 for the first rates); give the count of an earlier run to
    go on from there, with groups that have their "initial_lr".
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"a scheduler needs an Optimizer, got {type(optimizer).__name__}")
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(f"parameter group {i} has no 'initial_lr' to go on from")
        self.optimizer = optimizer
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._advance()

    def rate(self, group: Group, base_lr: float, position: int) -> float:
        """The rate of a group at step `last_epoch`; `group["lr"]` is the one before."""
        raise NotImplementedError

    def step(self) -> None:
        """Moves on to the next rate."""
        self._advance()
        capture = current_capture()
        if capture is not None:
            capture.before_replay(self._advance)

    def _advance(self) -> None:
        self.last_epoch += 1
        for i, group in enumerate(self.optimizer.param_groups):
            group["lr"] = self.rate(group, self.base_lrs[i], i)

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


class LambdaLR(LRScheduler):
    """The initial rate times `lr_lambda(step)`; one function, or one for each group."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        count = len(optimizer.param_groups)
        self._lambdas = [lr_lambda] * count if callable(lr_lambda) else list(lr_lambda)
        if len(self._lambdas) != count:
            raise ValueError(f"{count} groups need {count} functions, got {len(self._lambdas)}")
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


class OneCycleLR(LRScheduler):
    """Up from max_lr / div_factor to `max_lr` and down again, once (Smith and Topin, 2018).

    The rise takes the share `pct_start` of the `total_steps` (or `epochs` times
    `steps_per_epoch`); the fall ends at the first rate / `final_div_factor`.  With
    `three_phase` the fall is as long as the rise and a third phase goes on to the end.
    `cycle_momentum` moves momentum, or the first beta, the other way: from `max_momentum` down
    to `base_momentum` and back.  `anneal_strategy` is "cos" or "linear".
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("give total_steps, or both epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if total_steps < 1:
            raise ValueError(f"OneCycleLR needs at least 1 step, got {total_steps}")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"pct_start must be between 0 and 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        self.total_steps = total_steps
        self.cycle_momentum = cycle_momentum
        self.anneal_strategy = anneal_strategy
        rise = pct_start * total_steps - 1
        end = total_steps - 1
        # (where the phase ends, rates from and to, momenta from and to)
        if three_phase:
            fall = 2 * pct_start * total_steps - 2
            self.phases = [
                (rise, "initial_lr", "max_lr", "max_momentum", "base_momentum"),
                (fall, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
                (end, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
            ]
        else:
            self.phases = [
                (rise, "initial_lr", "max_lr", "max_momentum", "base_momentum"),
                (end, "max_lr", "min_lr", "base_momentum", "max_momentum"),
            ]
        groups = optimizer.param_groups
        if last_epoch == -1:
            highest = _for_each_group(max_lr, groups, "max_lr")
            for group, rate in zip(groups, highest, strict=True):
                group["initial_lr"] = rate / div_factor
                group["max_lr"] = rate
                group["min_lr"] = group["initial_lr"] / final_div_factor
            if cycle_momentum:
                low = _for_each_group(base_momentum, groups, "base_momentum")
                high = _for_each_group(max_momentum, groups, "max_momentum")
                for group, lower, upper in zip(groups, low, high, strict=True):
                    group["base_momentum"], group["max_momentum"] = lower, upper
        if cycle_momentum and not all("betas" in g or "momentum" in g for g in groups):
            raise ValueError(
                "cycle_momentum needs an optimizer with momentum or betas; "
                "pass cycle_momentum=False"
            )
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, base_lr: float, position: int) -> float:
        if self.last_epoch > self.total_steps:  # one more step than used, as in PyTorch
            raise ValueError(
                f"OneCycleLR was made for {self.total_steps} steps and is at step "
                f"{self.last_epoch}"
            )
        ends = [phase[0] for phase in self.phases]
        current = min(bisect_right(ends[:-1], self.last_epoch - 1e-12), len(ends) - 1)
        begin = ends[current - 1] if current else 0.0
        end, lr_from, lr_to, momentum_from, momentum_to = self.phases[current]
        share = (self.last_epoch - begin) / (end - begin) if end != begin else 1.0
        if self.cycle_momentum:
            momentum = self._between(group[momentum_from], group[momentum_to], share)
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum
        return self._between(group[lr_from], group[lr_to], share)

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return start + (end - start) * share
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def _for_each_group(
    value: float | Sequence[float], groups: Sequence[Group], name: str
) -> list[float]:
    if isinstance(value, (int, float)):
        return [float(value)] * len(groups)
    if len(value) != len(groups):
        raise ValueError(f"{name} needs {len(groups)} values, one per group, got {len(value)}")
    return list(value)
