"""Learning rates that go up and down: one cycle, many cycles, and restarts.

Floor 7.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from dlgrad.optim.optimizer import Optimizer
from dlgrad.optim.schedules import LRScheduler, check_optimizer, for_each_group
from dlgrad.optim.updates import Group


def check_momentum(groups: Sequence[Group]) -> None:
    """ValueError where a group has no momentum to cycle."""
    if not all("betas" in group or "momentum" in group for group in groups):
        raise ValueError(
            "optimizer must support momentum or beta1 with `cycle_momentum` option enabled; "
            "pass cycle_momentum=False"
        )


def set_momentum(group: Group, momentum: float) -> None:
    """Sets the momentum of a group, or its first beta."""
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


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
        if div_factor <= 0 or final_div_factor <= 0:
            raise ValueError(
                "div_factor and final_div_factor must be greater than 0, got "
                f"{div_factor} and {final_div_factor}"
            )
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        check_optimizer(optimizer)
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
            highest = for_each_group(max_lr, groups, "max_lr")
            for group, rate in zip(groups, highest, strict=True):
                group["initial_lr"] = rate / div_factor
                group["max_lr"] = rate
                group["min_lr"] = group["initial_lr"] / final_div_factor
            if cycle_momentum:
                low = for_each_group(base_momentum, groups, "base_momentum")
                high = for_each_group(max_momentum, groups, "max_momentum")
                for group, lower, upper in zip(groups, low, high, strict=True):
                    group["base_momentum"], group["max_momentum"] = lower, upper
        if cycle_momentum:
            check_momentum(groups)
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
            set_momentum(group, momentum)
        return self._between(group[lr_from], group[lr_to], share)

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return start + (end - start) * share
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


class CyclicLR(LRScheduler):
    """Up from `base_lr` to `max_lr` in `step_size_up` steps and down again, over and over.

    Smith, "Cyclical learning rates for training neural networks" (2017).  The way down takes
    `step_size_down` steps (by default as many).  The height of the cycles stays ("triangular"),
    halves each time ("triangular2"), or shrinks by `gamma` with every step ("exp_range"); or
    it is scaled by `scale_fn` of the number of the cycle, from 1 on, or of the step, as
    `scale_mode` ("cycle" or "iterations") says.  With `cycle_momentum` the momentum goes the
    other way, from `max_momentum` to `base_momentum` and back.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        groups = optimizer.param_groups
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError(
                f"mode is invalid and scale_fn is None: mode must be 'triangular', 'triangular2' "
                f"or 'exp_range', got {mode!r}"
            )
        self.total_size = float(step_size_up + (step_size_down or step_size_up))
        self.step_ratio = step_size_up / self.total_size
        self.mode, self.gamma = mode, gamma
        self._scale_fn = scale_fn
        self.scale_mode = scale_mode
        self.cycle_momentum = cycle_momentum
        lowest = for_each_group(base_lr, groups, "base_lr")
        self.max_lrs = for_each_group(max_lr, groups, "max_lr")
        if last_epoch == -1:
            for group, lr in zip(groups, lowest, strict=True):
                group["lr"] = group["initial_lr"] = lr
        if cycle_momentum:
            check_momentum(groups)
            self.base_momentums = for_each_group(base_momentum, groups, "base_momentum")
            self.max_momentums = for_each_group(max_momentum, groups, "max_momentum")
        super().__init__(optimizer, last_epoch)
        self.base_lrs = lowest

    def _scale(self, cycle: int) -> float:
        if self._scale_fn is not None:
            return self._scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.mode == "triangular2":
            return 1 / 2.0 ** (cycle - 1)
        return 1.0 if self.mode == "triangular" else float(self.gamma**self.last_epoch)

    def rate(self, group: Group, base_lr: float, position: int) -> float:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        place = 1 + self.last_epoch / self.total_size - cycle
        if place <= self.step_ratio:
            height = place / self.step_ratio
        else:
            height = (place - 1) / (self.step_ratio - 1)
        height *= self._scale(cycle)
        if self.cycle_momentum:
            low, high = self.base_momentums[position], self.max_momentums[position]
            set_momentum(group, high - (high - low) * height)
        return base_lr + (self.max_lrs[position] - base_lr) * height


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine wave to `eta_min` in `T_0` steps, then anew, each `T_mult` times as long.

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts" (2017).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if T_0 <= 0 or not isinstance(T_0, int):
            raise ValueError(f"Expected positive integer T_0, but got {T_0}")
        if T_mult < 1 or not isinstance(T_mult, int):
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        self._share = 0.0  # of a step, on top of `last_epoch`
        super().__init__(optimizer, last_epoch)

    def step(self, epoch: float | None = None) -> None:
        """Moves on to the next rate, or to that of a whole or broken number of steps."""
        if epoch is None:
            super().step()
            return
        if epoch < 0:
            raise ValueError(f"Expected non-negative epoch, but got {epoch}")
        self.last_epoch, self._share = math.floor(epoch), epoch - math.floor(epoch)
        self._set(self.get_lr())

    def _advance(self) -> None:
        self._share = 0.0
        super()._advance()

    def rate(self, group: Group, base_lr: float, position: int) -> float:
        since, length = self.last_epoch + self._share, self.T_0
        while since >= length:
            since -= length
            length *= self.T_mult
        wave = (1 + math.cos(math.pi * since / length)) / 2
        return self.eta_min + (base_lr - self.eta_min) * wave
