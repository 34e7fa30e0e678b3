"""Gradients kept in bounds.

Floor 7.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from dlgrad.autograd import no_grad
from dlgrad.creation import tensor
from dlgrad.movement import stack
from dlgrad.tensor import Tensor


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    listed = [parameters] if isinstance(parameters, Tensor) else parameters
    return [parameter.grad for parameter in listed if parameter.grad is not None]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scales the gradients so that the norm of all of them together is at most `max_norm`.

    Returns that norm as it was before.  `norm_type` is the power, math.inf for the largest
    element.  With `error_if_nonfinite` a norm that is not finite raises RuntimeError.
    """
    gradients = _gradients(parameters)
    if not gradients:
        return tensor(0.0)
    with no_grad():
        magnitudes = [gradient.detach().abs() for gradient in gradients]
        if math.isinf(norm_type):
            total = stack([magnitude.max() for magnitude in magnitudes]).max()
        else:
            sums = [magnitude.pow(norm_type).sum() for magnitude in magnitudes]
            total = stack(sums).sum().pow(1 / norm_type)
        if error_if_nonfinite and not math.isfinite(total.item()):
            raise RuntimeError(f"the norm of the gradients is {total.item()}, not a finite number")
        factor = (max_norm / (total + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor)
    norm: Tensor = total
    return norm


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Cuts every element of the gradients to +-`clip_value`."""
    with no_grad():
        for gradient in _gradients(parameters):
            gradient.clamp_(-clip_value, clip_value)
