"""Gradients kept in bounds.

Floor 7.  `foreach` is accepted: equal kernels become one launch anyway.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from dlgrad.autograd import no_grad
from dlgrad.core.creation import tensor
from dlgrad.operators.joining import stack
from dlgrad.tensor import Tensor

Tensors = Tensor | Iterable[Tensor]


def _gradients(parameters: Tensors) -> list[Tensor]:
    listed = [parameters] if isinstance(parameters, Tensor) else parameters
    return [parameter.grad for parameter in listed if parameter.grad is not None]


def get_total_norm(
    tensors: Tensors,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all tensors together, as if they were one vector.

    `norm_type` is the power, math.inf for the largest element.  With `error_if_nonfinite` a
    norm that is not finite raises RuntimeError.
    """
    listed = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not listed:
        return tensor(0.0)
    with no_grad():
        magnitudes = [one.detach().abs() for one in listed]
        if math.isinf(norm_type):
            total = stack([magnitude.max() for magnitude in magnitudes]).max()
        else:
            sums = [magnitude.pow(norm_type).sum() for magnitude in magnitudes]
            total = stack(sums).sum().pow(1 / norm_type)
        if error_if_nonfinite and not math.isfinite(total.item()):
            raise RuntimeError(
                f"The total norm of order {norm_type} for gradients from `parameters` is "
                f"non-finite ({total.item()}), so it cannot be clipped. To disable this error and "
                "scale the gradients by the non-finite norm anyway, set "
                "`error_if_nonfinite=False`"
            )
    norm: Tensor = total
    return norm


def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scales the gradients by max_norm / total_norm where that is below 1."""
    with no_grad():
        factor = (max_norm / (total_norm + 1e-6)).clamp(max=1.0)
        for gradient in _gradients(parameters):
            gradient.mul_(factor)


def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scales the gradients so that the norm of all of them together is at most `max_norm`.

    Returns that norm as it was before; see `get_total_norm` for the other arguments.
    """
    listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    total = get_total_norm(_gradients(listed), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(listed, max_norm, total)
    return total


def clip_grad_value_(
    parameters: Tensors, clip_value: float, foreach: bool | None = None
) -> None:
    """Cuts every element of the gradients to +-`clip_value`."""
    with no_grad():
        for gradient in _gradients(parameters):
            gradient.clamp_(-clip_value, clip_value)
