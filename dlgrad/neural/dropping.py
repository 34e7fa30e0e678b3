"""Dropout: elements or whole channels set to zero at random, while training.

Floor 6.  A mask is a function of the generator's place in its stream, so it needs no memory and
is the same in the backward pass.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dlgrad import random
from dlgrad.core.apply import where
from dlgrad.dtype import FLOAT
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.helpers import warn
from dlgrad.lazy.shape import Shape
from dlgrad.operators.elementwise import mul
from dlgrad.operators.indexing import assign

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

# The limit of selu for very negative input: what alpha dropout puts in the place of an element.
SELU_FLOOR = -1.0507009873554805 * 1.6732632423543772


def _drops(name: str, input: Tensor, p: float, training: bool) -> bool:
    """True where there is something to drop."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0.0:
        return False
    if input.dtype.kind != FLOAT:
        raise DTypeError(f"{name} takes floating-point tensors, got {input.dtype!r}")
    return True


def _kept(input: Tensor, shape: Shape, p: float) -> Tensor:
    """True with probability 1 - p."""
    return random.rand(shape, device=input.device) >= p


def _per_channel(input: Tensor, lead: int) -> Shape:
    """The shape of one number for each place of the first `lead` dimensions."""
    if input.ndim < lead:
        raise ShapeError(
            f"Feature dropout requires at least {lead} dimensions in the input, got {input.ndim}"
        )
    return input._shape[:lead] + (1,) * (input.ndim - lead)


def _dropout(
    name: str, input: Tensor, p: float, training: bool, inplace: bool, shape: Shape
) -> Tensor:
    if not _drops(name, input, p, training):
        return input
    factor: Any = 0.0
    if p != 1.0:
        factor = _kept(input, shape, p).to(input.dtype) * (1.0 / (1.0 - p))
    return input.mul_(factor) if inplace else mul(input, factor)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeros elements with probability `p` and scales the others by 1 / (1 - p)."""
    return _dropout("dropout", input, p, training, inplace, input._shape)


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeros whole channels of [images, channels, length] or [channels, length]."""
    if input.ndim not in (2, 3):
        raise ShapeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.ndim}D input. Note that "
            "dropout1d exists to provide channel-wise dropout on inputs with 1 spatial dimension, "
            "a channel dimension, and an optional batch dimension (i.e. 2D or 3D inputs)."
        )
    shape = _per_channel(input, input.ndim - 1)
    return _dropout("dropout1d", input, p, training, inplace, shape)


def _warn_about_rank(name: str, input: Tensor, expected: tuple[int, ...]) -> None:
    if input.ndim not in expected:
        warn(
            f"{name}: Received a {input.ndim}-D input to {name}, which is deprecated and will "
            "result in an error in a future release; the dimensions are the batch, the channels "
            "and the places of an image",
        )


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeros whole channels of [images, channels, height, width].

    Three dimensions are [images, channels, length] here, as in PyTorch.
    """
    _warn_about_rank("dropout2d", input, (3, 4))
    return _dropout("dropout2d", input, p, training, inplace, _per_channel(input, 2))


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeros whole channels of [images, channels, d, h, w] or [channels, d, h, w]."""
    _warn_about_rank("dropout3d", input, (4, 5))
    shape = _per_channel(input, 2 if input.ndim == 5 else 1)
    return _dropout("dropout3d", input, p, training, inplace, shape)


def _alpha_dropout(
    name: str, input: Tensor, p: float, training: bool, inplace: bool, shape: Shape
) -> Tensor:
    if not _drops(name, input, p, training):
        return input
    if p == 1.0:
        out = mul(input, 0.0)
    else:
        scale = 1.0 / math.sqrt((1.0 - p) * (1.0 + p * SELU_FLOOR**2))
        shift = -scale * SELU_FLOOR * p
        out = where(_kept(input, shape, p), input, SELU_FLOOR) * scale + shift
    if inplace:
        assign(input, out)
        return input
    return out


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Sets elements to the floor of selu with probability `p`; keeps mean and variance.

    For layers with `selu` (Klambauer et al., "Self-normalizing neural networks", 2017).
    """
    return _alpha_dropout("alpha_dropout", input, p, training, inplace, input._shape)


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """`alpha_dropout` of whole channels of [images, channels, ...]."""
    shape = _per_channel(input, 2) if training else ()
    return _alpha_dropout("feature_alpha_dropout", input, p, training, inplace, shape)
