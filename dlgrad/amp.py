"""Automatic mixed precision: `autocast`, and `GradScaler` for float16.

Floor 7.  float16 has no numbers below 6e-8, so small gradients vanish.  A scaler multiplies the
loss by a large number, divides the gradients by it, leaves out the step where one of them is
infinite or NaN, and moves the number.  All of that stays on the device: nothing waits for a
value, and the whole step can be captured by `dlgrad.jit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlgrad.autograd import no_grad
from dlgrad.core.autocasting import autocast, get_autocast_dtype, is_autocast_enabled
from dlgrad.core.creation import tensor, zeros
from dlgrad.dtype import float16, float32, int32
from dlgrad.operators.joining import stack
from dlgrad.optim.optimizer import Optimizer
from dlgrad.runtime.device import BACKENDS
from dlgrad.tensor import Tensor

__all__ = [
    "GradScaler", "autocast", "get_autocast_dtype", "is_autocast_available", "is_autocast_enabled",
]  # fmt: skip


def is_autocast_available(device_type: str) -> bool:
    """Whether `autocast` knows the kind of device."""
    return device_type in BACKENDS


READY, UNSCALED, STEPPED = "ready", "unscaled", "stepped"


class GradScaler:
    """Scales losses, unscales gradients, and skips steps whose gradients are not finite.

        scaler = GradScaler()
        with autocast("cuda"):
            loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)  # only where the gradients are looked at, or clipped
        scaler.step(optimizer)
        scaler.update()

    The scale begins as `init_scale`; `update` multiplies it by `backoff_factor` after a step
    that was skipped, and by `growth_factor` after `growth_interval` good ones in a row.  It
    lives on the device of the first loss, so `device` may be anything.
    """

    def __init__(
        self,
        device: Any = None,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if growth_factor <= 1.0:
            raise ValueError(f"The growth factor must be > 1.0, got {growth_factor}")
        if backoff_factor >= 1.0:
            raise ValueError(f"The backoff factor must be < 1.0, got {backoff_factor}")
        self._enabled = enabled
        self._init_scale = init_scale
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._init_tracker = 0
        self._scale: Tensor | None = None  # float32, no dimensions
        self._tracker: Tensor | None = None  # int32: good steps since the scale has changed
        self._found: dict[int, dict[str, Tensor]] = {}  # by id of the optimizer, and device
        self._stages: dict[int, str] = {}

    def scale(self, outputs: Any) -> Any:
        """A loss, or every one in a list or tuple, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._on(str(outputs.device))
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(self.scale(output) for output in outputs)
        raise ValueError(
            f"outputs must be a Tensor or a list or tuple of Tensors, got {type(outputs).__name__}"
        )

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divides the gradients of the optimizer's parameters by the scale, once per step."""
        if not self._enabled:
            return
        stage = self._stages.get(id(optimizer), READY)
        if stage == UNSCALED:
            raise RuntimeError(
                "unscale_() has already been called on this optimizer since the last update()."
            )
        if stage == STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        gradients: dict[str, list[Tensor]] = {}
        for group in optimizer.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    if param.grad.dtype is float16:
                        raise ValueError(
                            "Attempting to unscale FP16 gradients. Keep the parameters in "
                            "float32, and let autocast do the rest"
                        )
                    gradients.setdefault(str(param.device), []).append(param.grad)
        found = self._found.setdefault(id(optimizer), {})
        with no_grad():
            for device, members in gradients.items():
                inverse = 1.0 / self._on(device)
                for gradient in members:
                    gradient.mul_(inverse)
                sound = stack([gradient.isfinite().all() for gradient in members]).all()
                if device not in found:
                    found[device] = zeros((), device=device).realize()
                found[device].copy_(sound.logical_not())
        self._stages[id(optimizer)] = UNSCALED

    def step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        """The optimizer's step, which changes nothing where a gradient is not finite.

        An optimizer with a `step` of its own is called or not, and for that the check is
        waited for; its result is returned.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if args or "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        stage = self._stages.get(id(optimizer), READY)
        if stage == STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if stage == READY:
            self.unscale_(optimizer)
        found = self._found[id(optimizer)]
        if not found:
            raise AssertionError(
                "No inf checks were recorded for this optimizer: none of its parameters has a "
                "gradient; call backward() first"
            )
        self._stages[id(optimizer)] = STEPPED
        if type(optimizer).step is Optimizer.step:
            return optimizer.step(found_inf=found, **kwargs)
        if any(flag.item() for flag in found.values()):
            return None
        return optimizer.step(**kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Moves the scale, by what was found in this step, or to `new_scale`."""
        if not self._enabled:
            return
        if self._scale is None or self._tracker is None:
            raise AssertionError(
                "Attempted update but the scale is not there yet; call scale(loss) first"
            )
        with no_grad():
            if new_scale is not None:
                self._scale.copy_(new_scale)
            else:
                device = str(self._scale.device)
                flags = [
                    flag.to(device)
                    for key in self._stages
                    for flag in self._found[key].values()
                ]
                if not flags:
                    raise AssertionError("No inf checks were recorded prior to update.")
                bad = flags[0] != 0
                for flag in flags[1:]:
                    bad = bad.logical_or(flag != 0)
                good = self._tracker + 1
                due = good == self._growth_interval
                grown = self._scale * self._growth_factor
                grown = grown.where(due.logical_and(grown.isfinite()), self._scale)
                self._scale.copy_((self._scale * self._backoff_factor).where(bad, grown))
                self._tracker.copy_((good * 0).where(bad.logical_or(due), good))
        self._stages.clear()

    def _on(self, device: str) -> Tensor:
        """The scale on a device."""
        if self._scale is None:
            self._scale = tensor(self._init_scale, dtype=float32, device=device).realize()
            self._tracker = tensor(self._init_tracker, dtype=int32, device=device).realize()
        return self._scale if str(self._scale.device) == device else self._scale.to(device)

    # What it says -----------------------------------------------------------------------------

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def get_scale(self) -> float:
        """The present scale; 1 where the scaler is not enabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else float(self._scale.item())

    def _get_growth_tracker(self) -> int:
        return self._init_tracker if self._tracker is None else int(self._tracker.item())

    def get_growth_factor(self) -> float:
        """What the scale is multiplied by after enough good steps."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Sets what the scale is multiplied by after enough good steps."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale is multiplied by after a step that was skipped."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Sets what the scale is multiplied by after a step that was skipped."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """How many good steps in a row let the scale grow."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Sets how many good steps in a row let the scale grow."""
        self._growth_interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        """The scale, its settings, and the number of good steps; empty if not enabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._get_growth_tracker(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over the state of a `state_dict`."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled "
                "instance of GradScaler."
            )
        self._init_scale = float(state_dict["scale"])
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._init_tracker = int(state_dict["_growth_tracker"])
        if self._scale is not None and self._tracker is not None:
            with no_grad():
                self._scale.fill_(self._init_scale)
                self._tracker.fill_(self._init_tracker)
