"""Averages of a model's weights over its training, and the rates that go with them.

Floor 7.  Izmailov and others, "Averaging weights leads to wider optima and better
generalization" (2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from itertools import chain
from typing import Any

from dlgrad.autograd import no_grad
from dlgrad.core.creation import zeros
from dlgrad.dtype import int64
from dlgrad.nn.module import Module
from dlgrad.nn.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from dlgrad.optim.optimizer import Optimizer
from dlgrad.optim.schedules import LRScheduler, check_optimizer, for_each_group
from dlgrad.optim.updates import Group
from dlgrad.tensor import Tensor

NORMS = (BatchNorm1d, BatchNorm2d, BatchNorm3d)

Average = Callable[[Tensor, Tensor, Any], Tensor]
Averages = Callable[[Sequence[Tensor], Sequence[Tensor], Any], None]


def get_swa_avg_fn() -> Average:
    """The mean of all weights so far: (averaged, new, count) to averaged + difference / count."""

    def average(averaged: Tensor, current: Tensor, count: Any) -> Tensor:
        mean: Tensor = averaged + (current - averaged) / (count + 1)
        return mean

    return average


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """An exponential moving average: decay * averaged + (1 - decay) * new."""
    _check_decay(decay)

    def average(averaged: Tensor, current: Tensor, count: Any) -> Tensor:
        return decay * averaged + (1 - decay) * current

    return average


def get_swa_multi_avg_fn() -> Averages:
    """As `get_swa_avg_fn`, for lists of tensors, written in place."""
    return _for_lists(get_swa_avg_fn())


def get_ema_multi_avg_fn(decay: float = 0.999) -> Averages:
    """As `get_ema_avg_fn`, for lists of tensors, written in place."""
    return _for_lists(get_ema_avg_fn(decay))


def _check_decay(decay: float) -> None:
    if not 0 <= decay <= 1:
        raise ValueError(
            f"Invalid decay value {decay} provided. Please provide a value in [0,1] range."
        )


def _for_lists(average: Average) -> Averages:
    def averages(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Any) -> None:
        with no_grad():
            for old, new in zip(averaged, current, strict=True):
                old.copy_(average(old, new, count))

    return averages


class AveragedModel(Module):
    """A copy of `model` (as `module`) whose weights are an average of the model's.

    `update_parameters(model)` takes the present weights in; the first time it copies them.
    `avg_fn(averaged, current, count)` gives the new average (by default the mean of all);
    `multi_avg_fn` writes whole lists of them.  With `use_buffers` buffers are averaged as well,
    otherwise they are copied.  An update may be part of a function under `dlgrad.jit`.
    """

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Average | None = None,
        multi_avg_fn: Averages | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise ValueError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module.to(device)
        self.register_buffer("n_averaged", zeros((), dtype=int64, device=device).realize())
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Takes the present weights of `model` into the average."""
        with no_grad():
            averaged = [old.detach() for old in self._averaged(self.module)]
            current = [
                new.detach().to(old.device)
                for old, new in zip(averaged, self._averaged(model), strict=True)
            ]
            count = self.n_averaged
            if self.multi_avg_fn is not None:
                self.multi_avg_fn(averaged, current, count)
                results = averaged
            else:
                average = self.avg_fn or get_swa_avg_fn()
                results = [
                    average(old, new, count)
                    for old, new in zip(averaged, current, strict=True)
                ]
            for old, new, result in zip(averaged, current, results, strict=True):
                old.copy_(new.where(count == 0, result))
            if not self.use_buffers:
                for old, new in zip(self.module.buffers(), model.buffers(), strict=True):
                    old.copy_(new.detach().to(old.device))
            count.add_(1)

    def _averaged(self, model: Module) -> Iterable[Tensor]:
        """The tensors of a model that are averaged."""
        if self.use_buffers:
            return chain(model.parameters(), model.buffers())
        return model.parameters()


def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Measures the running statistics of all batch norms of `model` anew, on `loader`.

    An item of the loader is a batch, or a list or tuple whose first part is one.
    """
    norms = [module for module in model.modules() if isinstance(module, NORMS)]
    if not norms:
        return
    was_training, momenta = model.training, [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    model.train()
    with no_grad():
        for item in loader:
            batch = item[0] if isinstance(item, (list, tuple)) else item
            model(batch if device is None else batch.to(device)).realize()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """Moves each rate to `swa_lr` in `anneal_epochs` steps ("cos" or "linear") and keeps it."""

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | Sequence[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(
                f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}"
            )
        groups = optimizer.param_groups
        for group, lr in zip(groups, for_each_group(swa_lr, groups, "swa_lr"), strict=True):
            group["swa_lr"] = lr
        self.anneal_epochs = anneal_epochs
        self.anneal_strategy = anneal_strategy
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """How much of `swa_lr` is in the rate at a step."""
        share = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return share if self.anneal_strategy == "linear" else (1 - math.cos(math.pi * share)) / 2

    def rate(self, group: Group, base_lr: float, position: int) -> float:
        step = self.last_epoch if self.anneal_epochs else max(1, self.last_epoch)
        before, now = self._share(step - 1), self._share(step)
        goal: float = group["swa_lr"]
        # The rate as it would be without this scheduler: another one may have changed it.
        own = goal if before == 1 else (group["lr"] - before * goal) / (1 - before)
        return goal * now + own * (1 - now)
