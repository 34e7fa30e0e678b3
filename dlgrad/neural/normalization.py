"""Normalisation: of batches, layers, groups, single images and neighbouring channels.

Floor 6.  `standardize` is the core of batch, layer, group and instance norm: its derivative is
one row, so the backward pass reads the data as seldom as it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlgrad.core.apply import reduce
from dlgrad.core.autocasting import autocasts
from dlgrad.core.base import grad_mode
from dlgrad.core.composing import composed, paused
from dlgrad.core.dims import as_sizes
from dlgrad.core.tape import ROWS, Derivative, Entry, Row
from dlgrad.core.templates import remembered
from dlgrad.dtype import FLOAT, finfo
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.lazy.ops import ReduceOps
from dlgrad.lazy.shape import Shape
from dlgrad.neural.pooling import avg_pool2d
from dlgrad.operators.elementwise import add, div, mul, rsqrt, sub
from dlgrad.operators.indexing import assign
from dlgrad.operators.padding import pad_constant
from dlgrad.operators.reductions import count_of

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def _mean_over(x: Tensor, dims: Shape) -> Tensor:
    return reduce(ReduceOps.SUM, x, dims, True) * (1.0 / max(count_of(x._shape, dims), 1))


def standardize(x: Tensor, dims: Shape, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) / sqrt(var + eps) over `dims`, with the mean and the (biased) variance.

    Mean and variance carry no gradient of their own.
    """
    eps = float(eps)  # a tensor would be kept as part of the name of a template
    with paused():
        out, scale, average, variance = remembered(
            ("standardize", dims, eps), (x,), lambda x: _standardized(x, dims, eps)
        )
    return composed("standardize", out, x, scale, arg=(dims, eps)), average, variance


def _standardized(x: Tensor, dims: Shape, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    average = _mean_over(x, dims)
    apart = sub(x, average)
    variance = _mean_over(mul(apart, apart), dims)
    scale = rsqrt(variance + eps)
    return mul(apart, scale), scale, average, variance


def _standardize_gradient(g: Tensor, e: Entry) -> Tensor:
    dims, eps = e.arg
    out, scale = e.out, e.b
    if grad_mode.enabled:  # the scale depends on x too, and may be differentiated again
        apart = sub(e.a, _mean_over(e.a, dims))
        scale = rsqrt(_mean_over(mul(apart, apart), dims) + eps)
    inner = sub(sub(g, _mean_over(g, dims)), mul(out, _mean_over(mul(g, out), dims)))
    return mul(scale, inner)


ROWS["standardize"] = Row("NativeBatchNorm", Derivative("abo", _standardize_gradient), None)


def _wide(x: Tensor) -> Tensor:
    """Halves as float32: the statistics, and all that follows, are rounded once at the end."""
    return x.to(x.dtype.compute)


def _per_channel(x: Tensor, ndim: int) -> Tensor:
    """A vector with one number per channel, shaped to meet [images, channels, ...]."""
    return x.reshape((-1,) + (1,) * (ndim - 2))


def _check_channels(input: Tensor, **vectors: Tensor | None) -> None:
    """ShapeError unless each vector has one number per channel."""
    for name, vector in vectors.items():
        if vector is not None and vector.numel() != input._shape[1]:
            raise ShapeError(
                f"{name} should contain {input._shape[1]} elements not {vector.numel()}"
            )


def _scaled_channels(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        x = mul(x, _per_channel(weight, x.ndim))
    return x if bias is None else add(x, _per_channel(bias, x.ndim))


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
        if not input.numel():
            return input.clone()
        raise ShapeError(f"batch_norm: expected at least 2D input, got shape {input._shape}")
    _check_channels(input, running_mean=running_mean, weight=weight, bias=bias)
    if training:
        dims = (0, *range(2, input.ndim))
        count = count_of(input._shape, dims)
        if count <= 1:
            raise ValueError(
                f"Expected more than 1 value per channel when training, got input size "
                f"{list(input._shape)}"
            )
        out, average, variance = standardize(_wide(input), dims, eps)
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
        out = mul(sub(_wide(input), _per_channel(running_mean, input.ndim)), scale)
    return _scaled_channels(out, weight, bias).to(input.dtype)


def _move_towards(running: Tensor | None, value: Tensor, momentum: float) -> None:
    if running is not None:
        value = value.reshape(running._shape)
        assign(running, running * (1 - momentum) + value.to(running.dtype) * momentum)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalises each channel of each image of [images, channels, ...].

    With `use_input_stats` by its own mean and variance, whose averages over the images move
    `running_mean` and `running_var` by the share `momentum`; otherwise with those two.
    """
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ValueError(
                "Expected running_mean and running_var to be defined when use_input_stats is False"
            )
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if input.ndim < 3:
        raise ShapeError(f"instance_norm: expected at least 3D input, got shape {input._shape}")
    _check_channels(input, running_mean=running_mean, weight=weight, bias=bias)
    dims = tuple(range(2, input.ndim))
    count = count_of(input._shape, dims)
    if count <= 1:
        raise ValueError(
            "Expected more than 1 spatial element when training, got input size "
            f"{list(input._shape)}"
        )
    out, average, variance = standardize(_wide(input), dims, eps)
    with paused():
        unbiased = variance * (count / (count - 1))
        _move_towards(running_mean, _mean_over(average, (0,)), momentum)
        _move_towards(running_var, _mean_over(unbiased, (0,)), momentum)
    return _scaled_channels(out, weight, bias).to(input.dtype)


def _check_normalized(
    input: Tensor, normalized_shape: Sequence[int], **vectors: Tensor | None
) -> Shape:
    """The dimensions that `normalized_shape` names, the last ones; ShapeError if others."""
    shape = as_sizes((normalized_shape,))
    if not shape:
        raise ShapeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least "
            "one element, but got normalized_shape = []"
        )
    for name, vector in vectors.items():
        if vector is not None and vector._shape != shape:
            raise ShapeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of "
                f"shape {list(vector._shape)} and normalized_shape = {list(shape)}"
            )
    if input._shape[-len(shape) :] != shape:
        raise ShapeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, "
            f"{', '.join(map(str, shape))}], but got input of size {list(input._shape)}"
        )
    return tuple(range(input.ndim - len(shape), input.ndim))


@autocasts
def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalises over the last dimensions, which must have the sizes `normalized_shape`."""
    dims = _check_normalized(input, normalized_shape, weight=weight, bias=bias)
    out, _, _ = standardize(_wide(input), dims, eps)
    if weight is not None:
        out = mul(out, weight)
    return (out if bias is None else add(out, bias)).to(input.dtype)


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """input / sqrt(mean(input ** 2) + eps) over the last dimensions (Zhang, Sennrich, 2019).

    Without `eps` it is the distance from 1 to the next number of the dtype.
    """
    dims = _check_normalized(input, normalized_shape, weight=weight)
    if input.dtype.kind != FLOAT:
        raise DTypeError(f"rms_norm takes floating-point tensors, got {input.dtype!r}")
    wide = _wide(input)
    small = finfo(input.dtype).eps if eps is None else eps
    out = mul(wide, rsqrt((wide * wide).mean(dims, keepdim=True) + small))
    return (out if weight is None else mul(out, weight)).to(input.dtype)


@autocasts
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalises each group of channels of each image."""
    if num_groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    if input.ndim < 2:
        raise ShapeError(
            "Expected at least 2 dimensions for input tensor but received "
            f"{input.ndim}"
        )
    images, channels = input._shape[:2]
    if channels % num_groups:
        raise ShapeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input "
            f"of shape {list(input._shape)} and num_groups={num_groups}"
        )
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and vector._shape != (channels,):
            raise ShapeError(
                f"Expected {name} to be a vector of size equal to the number of channels in "
                f"input, but got {name} of shape {list(vector._shape)} and input of shape "
                f"{list(input._shape)}"
            )
    if count_of(input._shape, tuple(range(input.ndim))) == num_groups:
        raise ValueError(
            "Expected more than 1 value per channel when training, got input size "
            f"{list(input._shape)}"
        )
    size = channels // num_groups * count_of(input._shape, tuple(range(2, input.ndim)))
    grouped = input.reshape((images, num_groups, size))
    out = standardize(_wide(grouped), (2,), eps)[0].reshape(input._shape)
    return _scaled_channels(out, weight, bias).to(input.dtype)


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """input / (k + alpha * mean(input ** 2 over `size` neighbouring channels)) ** beta.

    The neighbours of [images, channels, ...] beyond the first and the last count as 0.
    """
    if input.ndim < 3:
        raise ValueError(
            "Expected 3D or higher dimensionality input (got "
            f"{input.ndim} dimensions); the second is the channels"
        )
    if not input.numel():
        return input
    images, channels = input._shape[:2]
    squares = mul(input, input).reshape((images, 1, channels, -1))
    around = [(0, 0), (0, 0), (size // 2, (size - 1) // 2), (0, 0)]
    near = avg_pool2d(pad_constant(squares, around, 0), (size, 1), 1).reshape(input._shape)
    return div(input, (near * alpha + k) ** beta)
