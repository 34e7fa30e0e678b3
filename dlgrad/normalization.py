"""Normalisation, dropout, the linear layer and padding, as functions.

Floor 6.  `standardize` is the core of batch, layer, group and instance norm: its derivative is
one row, so the backward pass reads the data as seldom as it can.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlgrad import random
from dlgrad.apply import reduce
from dlgrad.base import grad_mode
from dlgrad.dtype import FLOAT
from dlgrad.elementwise import add, composed, mul, paused, rsqrt, sub
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.indexing import assign
from dlgrad.linear import matmul
from dlgrad.movement import pad_constant
from dlgrad.ops import ReduceOps
from dlgrad.reductions import count_of
from dlgrad.shape import Shape
from dlgrad.tape import ROWS, Derivative, Entry, Row

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def _mean_over(x: Tensor, dims: Shape) -> Tensor:
    return reduce(ReduceOps.SUM, x, dims, True) * (1.0 / max(count_of(x._shape, dims), 1))


def standardize(x: Tensor, dims: Shape, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) / sqrt(var + eps) over `dims`, with the mean and the (biased) variance.

    Mean and variance carry no gradient of their own.
    """
    with paused():
        average = _mean_over(x, dims)
        apart = sub(x, average)
        variance = _mean_over(mul(apart, apart), dims)
        scale = rsqrt(variance + eps)
        out = mul(apart, scale)
    return composed("standardize", out, x, arg=(dims, eps, scale)), average, variance


def _standardize_gradient(g: Tensor, e: Entry) -> Tensor:
    dims, eps, scale = e.arg
    out = e.out
    if grad_mode.enabled:  # the scale depends on x too, and may be differentiated again
        apart = sub(e.a, _mean_over(e.a, dims))
        scale = rsqrt(_mean_over(mul(apart, apart), dims) + eps)
    inner = sub(sub(g, _mean_over(g, dims)), mul(out, _mean_over(mul(g, out), dims)))
    return mul(scale, inner)


ROWS["standardize"] = Row("NativeBatchNorm", Derivative("ao", _standardize_gradient))


def _per_channel(x: Tensor, ndim: int) -> Tensor:
    """A vector with one number per channel, shaped to meet [images, channels, ...]."""
    return x.reshape((-1,) + (1,) * (ndim - 2))


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalises each channel of [images, channels, ...].

    In training, with the mean and variance of the batch, which also move `running_mean` and
    `running_var` by the share `momentum`; otherwise with those two.
    """
    if input.ndim < 2:
        raise ShapeError(f"batch_norm: expected at least 2D input, got shape {input._shape}")
    for name, vector in (("running_mean", running_mean), ("weight", weight), ("bias", bias)):
        if vector is not None and vector.numel() != input._shape[1]:
            raise ShapeError(
                f"{name} should contain {input._shape[1]} elements not {vector.numel()}"
            )
    if training:
        dims = (0, *range(2, input.ndim))
        count = count_of(input._shape, dims)
        if count <= 1:
            raise ValueError(
                f"Expected more than 1 value per channel when training, got input size "
                f"{list(input._shape)}"
            )
        out, average, variance = standardize(input, dims, eps)
        with paused():
            unbiased = variance * (count / (count - 1))
            _move_towards(running_mean, average, momentum)
            _move_towards(running_var, unbiased, momentum)
    else:
        if running_mean is None or running_var is None:
            raise ValueError(
                "Expected running_mean and running_var to be defined when training is False"
            )
        scale = _per_channel(rsqrt(running_var + eps), input.ndim)
        out = mul(sub(input, _per_channel(running_mean, input.ndim)), scale)
    if weight is not None:
        out = mul(out, _per_channel(weight, input.ndim))
    return out if bias is None else add(out, _per_channel(bias, input.ndim))


def _move_towards(running: Tensor | None, value: Tensor, momentum: float) -> None:
    if running is not None:
        value = value.reshape(running._shape)
        assign(running, running * (1 - momentum) + value.to(running.dtype) * momentum)


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalises over the last dimensions, which must have the sizes `normalized_shape`."""
    shape = tuple(normalized_shape)
    if not shape or input._shape[-len(shape) :] != shape:
        raise ShapeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, "
            f"{', '.join(map(str, shape))}], but got input of size {list(input._shape)}"
        )
    out, _, _ = standardize(input, tuple(range(input.ndim - len(shape), input.ndim)), eps)
    if weight is not None:
        out = mul(out, weight)
    return out if bias is None else add(out, bias)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalises each group of channels of each image."""
    images, channels = input._shape[:2]
    if channels % num_groups:
        raise ShapeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input "
            f"of shape {list(input._shape)} and num_groups={num_groups}"
        )
    grouped = input.reshape((images, num_groups, -1))
    out = standardize(grouped, (2,), eps)[0].reshape(input._shape)
    if weight is not None:
        out = mul(out, _per_channel(weight, input.ndim))
    return out if bias is None else add(out, _per_channel(bias, input.ndim))


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias, for weight [out, in]."""
    if weight.ndim not in (1, 2):
        raise ShapeError(f"linear: weight must be 1D or 2D, but it has shape {weight._shape}")
    if not input._shape or input._shape[-1] != weight._shape[-1]:
        rows = math.prod(input._shape[:-1])
        raise ShapeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows}x{(input._shape or (0,))[-1]} and "
            f"{weight._shape[-1]}x{weight._shape[0]}); input {input._shape} needs a last "
            f"dimension of {weight._shape[-1]} for this layer"
        )
    out = matmul(input, weight.t())
    return out if bias is None else add(out, bias)


# Dropout --------------------------------------------------------------------------------------


def _drop_mask(input: Tensor, shape: Shape, p: float) -> Tensor:
    """1 / (1 - p) with probability 1 - p, else 0."""
    keep = random.rand(shape, device=input.device) >= p
    return keep.to(input.dtype) * (1.0 / (1.0 - p))


def _dropout(input: Tensor, p: float, training: bool, inplace: bool, shape: Shape) -> Tensor:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0.0:
        return input
    if input.dtype.kind != FLOAT:
        raise DTypeError(f"dropout takes floating-point tensors, got {input.dtype!r}")
    factor: Any = 0.0 if p == 1.0 else _drop_mask(input, shape, p)
    return input.mul_(factor) if inplace else mul(input, factor)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeros elements with probability `p` and scales the others by 1 / (1 - p)."""
    return _dropout(input, p, training, inplace, input._shape)


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeros whole channels of [images, channels, height, width] with probability `p`."""
    lead = max(input.ndim - 2, 1)
    return _dropout(input, p, training, inplace, input._shape[:lead] + (1,) * (input.ndim - lead))


# Padding --------------------------------------------------------------------------------------


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Pads the last dimensions: (before, after) of the last one, then of the one before it, ..."""
    pairs = list(pad)
    if len(pairs) % 2 or len(pairs) > 2 * input.ndim:
        raise RuntimeError(
            f"Padding length must be divisible by 2 and at most twice the number of dimensions "
            f"of the input, but got {pairs} for shape {input._shape}"
        )
    if mode != "constant":
        raise NotImplementedError(f"pad mode {mode!r} is not there yet; 'constant' is")
    sides = [(0, 0)] * (input.ndim - len(pairs) // 2)
    sides += [(pairs[i], pairs[i + 1]) for i in range(len(pairs) - 2, -1, -2)]
    fill = value or 0
    return pad_constant(input, sides, fill if input.dtype.kind == FLOAT else int(fill))
