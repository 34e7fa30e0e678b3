"""Helpers of the distributions: parameters of one shape, probabilities and their logarithms.

Floor 7.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeVar

from dlgrad.autograd import enable_grad
from dlgrad.core.creation import full, tensor
from dlgrad.core.device_type import DeviceLike
from dlgrad.dtype import DType, finfo, get_default_dtype
from dlgrad.operators.joining import broadcast_tensors
from dlgrad.runtime.capture import current_capture
from dlgrad.tensor import Tensor

T = TypeVar("T")


class lazy_property(cached_property[T]):
    """A property that is computed once, and recorded even if `no_grad` asks for it first."""

    def __get__(  # type: ignore[override]
        self, instance: object, owner: type[Any] | None = None
    ) -> T:
        with enable_grad():
            return super().__get__(instance, owner)


def number(value: float, dtype: DType, device: DeviceLike) -> Tensor:
    """A number as a tensor: in memory, so that it can be checked, or in a captured step's text."""
    if current_capture() is not None:
        return full((), value, dtype=dtype, device=device)
    return tensor(value, dtype=dtype, device=device)


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """The values as float tensors of one shape; numbers take the dtype of the tensors."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    for value in values:
        if not isinstance(value, (Tensor, int, float)):
            raise ValueError(
                "Input arguments must all be instances of Number or dlgrad.Tensor, got "
                f"{type(value).__name__}"
            )
    model = tensors[0] if tensors else None
    dtype = get_default_dtype() if model is None else model.dtype
    device = None if model is None else model.device
    made = [
        value if isinstance(value, Tensor) else number(float(value), dtype, device)
        for value in values
    ]
    return tuple(broadcast_tensors(*made))


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities a little away from 0 and 1, so that their logarithms are finite."""
    eps = finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """Probabilities from their logits (`is_binary`) or logarithms up to a constant."""
    return logits.sigmoid() if is_binary else logits.softmax(-1)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """The inverse of `logits_to_probs`."""
    inside = clamp_probs(probs)
    return inside.log() - (-inside).log1p() if is_binary else inside.log()
