"""Schedulers of schedulers, and one that watches a figure.

Floor 7.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from dlgrad.optim.optimizer import Optimizer
from dlgrad.optim.schedules import LRScheduler, check_optimizer, for_each_group


class Combined(LRScheduler):
    """The base of those that hold other schedulers of the same optimizer."""

    _schedulers: list[LRScheduler]

    def _check(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler]) -> None:
        for i, scheduler in enumerate(schedulers):
            if not isinstance(scheduler, LRScheduler):
                raise TypeError(
                    f"{type(self).__name__} at index {i} should be a scheduler, got "
                    f"{type(scheduler).__name__}"
                )
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(
                    f"{type(self).__name__} does not support ReduceLROnPlateau, whose step needs "
                    f"a figure, but got one at index {i}; step it beside this one"
                )
            if scheduler.optimizer is not optimizer:
                raise ValueError(
                    f"{type(self).__name__} expects all schedulers to belong to the same "
                    f"optimizer, but the one at index {i} belongs to another"
                )

    def _undo(self) -> None:
        for scheduler in self._schedulers:
            scheduler._undo()

    def state_dict(self) -> dict[str, Any]:
        """The state of this scheduler, and under "_schedulers" that of those it holds."""
        held = [scheduler.state_dict() for scheduler in self._schedulers]
        return {**super().state_dict(), "_schedulers": held}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over the state of a `state_dict`."""
        own = {name: value for name, value in state_dict.items() if name != "_schedulers"}
        super().load_state_dict(own)
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)


class SequentialLR(Combined):
    """One scheduler after the other: the next one begins at each step in `milestones`."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        if not schedulers:
            raise ValueError("SequentialLR expects at least one scheduler, but got no scheduler")
        self._check(optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                "SequentialLR expects one scheduler more than milestones, but got "
                f"{len(schedulers)} schedulers and {len(milestones)} milestones"
            )
        self._schedulers = list(schedulers)
        self._milestones = list(milestones)
        self.optimizer = optimizer
        self.last_epoch = last_epoch + 1
        # Making a scheduler was its first step: only the first one should have taken it.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._undo()
        self._schedulers[bisect_right(self._milestones, 0)]._advance()

    def _advance(self) -> None:
        self.last_epoch += 1
        current = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[current]
        if current > 0 and self._milestones[current - 1] == self.last_epoch:
            scheduler._restart()
        else:
            scheduler._advance()

    def _restart(self) -> None:
        self.last_epoch = 0
        self._schedulers[bisect_right(self._milestones, 0)]._restart()

    def _begin(self) -> None:
        self.last_epoch = 0
        self._schedulers[bisect_right(self._milestones, 0)]._begin()


class ChainedScheduler(Combined):
    """Several schedulers at the same time, each changing the rate that the one before left."""

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        if not schedulers:
            raise ValueError(
                "ChainedScheduler expects at least one scheduler to be chained, but got no "
                "scheduler"
            )
        if not isinstance(schedulers, Sequence) or not isinstance(schedulers[0], LRScheduler):
            raise TypeError(f"ChainedScheduler takes a list of schedulers, got {schedulers!r:.80}")
        self.optimizer = optimizer or schedulers[0].optimizer
        self._check(self.optimizer, schedulers)
        self._schedulers = list(schedulers)

    def _advance(self) -> None:
        for scheduler in self._schedulers:
            scheduler._advance()

    def _restart(self) -> None:
        self._set([group["initial_lr"] for group in self.optimizer.param_groups])
        self._begin()

    def _begin(self) -> None:
        for scheduler in self._schedulers:
            scheduler._begin()


class ReduceLROnPlateau(LRScheduler):
    """Times `factor` when a figure has not become better for more than `patience` steps.

    Better is lower (`mode` "min") or higher ("max") than the best so far, by the share
    `threshold` of it ("rel") or by the amount ("abs").  After a reduction `cooldown` steps do
    not count.  No rate goes below `min_lr`, and changes of less than `eps` are left out.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        if factor >= 1.0:
            raise ValueError(f"Factor should be < 1.0, got {factor}")
        check_optimizer(optimizer)
        if mode not in ("min", "max"):
            raise ValueError(f"mode {mode} is unknown! It must be 'min' or 'max'")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"threshold mode {threshold_mode} is unknown! It must be 'rel' or 'abs'"
            )
        self.optimizer = optimizer
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        self.min_lrs = for_each_group(min_lr, optimizer.param_groups, "min_lr")
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = 0
        self.num_bad_epochs = 0
        self.last_epoch = 0

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Takes in the figure of one more epoch: a number, or a tensor with one element."""
        figure = float(metrics)
        self.last_epoch += 1
        if self._is_better(figure):
            self.best = figure
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0

    @property
    def in_cooldown(self) -> bool:
        """Whether steps do not count yet after a reduction."""
        return self.cooldown_counter > 0

    def _is_better(self, figure: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            bar = self.best * (1 + sign * self.threshold)
        else:
            bar = self.best + sign * self.threshold
        return figure > bar if self.mode == "max" else figure < bar

    def _reduce(self) -> None:
        for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            old = float(group["lr"])
            new = max(old * self.factor, least)
            if old - new > self.eps:
                group["lr"] = new
