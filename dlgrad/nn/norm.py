"""Normalisation layers.

Floor 7.
"""

from __future__ import annotations

from typing import Any

import dlgrad.nn.functional as F
from dlgrad.autograd import no_grad
from dlgrad.core.creation import empty, ones, tensor, zeros
from dlgrad.core.device_type import DeviceLike
from dlgrad.dtype import DType, int64
from dlgrad.errors import ShapeError
from dlgrad.helpers import warn
from dlgrad.nn import init
from dlgrad.nn.module import Module
from dlgrad.nn.parameter import Parameter
from dlgrad.tensor import Tensor


class _ChannelNorm(Module):
    """Parameters and statistics of a normalisation with one number per channel."""

    _OPTIONAL_STATE = ("num_batches_tracked",)

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def _set_up(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        bias: bool,
        device: DeviceLike,
        dtype: DType | None,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            made = empty(num_features, device=device, dtype=dtype) if wanted else None
            self.register_parameter(name, None if made is None else Parameter(made))
        if track_running_stats:
            self.register_buffer("running_mean", zeros(num_features, device=device, dtype=dtype))
            self.register_buffer("running_var", ones(num_features, device=device, dtype=dtype))
            self.register_buffer("num_batches_tracked", tensor(0, dtype=int64, device=device))
        else:
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                self.register_buffer(name, None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Back to the first values."""
        self.reset_running_stats()
        _reset(self.weight, self.bias)

    def reset_running_stats(self) -> None:
        """Forgets the batches seen."""
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.zero_()

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


def _reset(weight: Tensor | None, bias: Tensor | None) -> None:
    """Ones and zeros."""
    if weight is not None:
        init.ones_(weight)
    if bias is not None:
        init.zeros_(bias)


class _BatchNorm(_ChannelNorm):
    """Normalises each channel over the batch and all places, then scales and shifts.

    Subclasses say which ranks of inputs they take.
    """

    RANKS: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: DeviceLike = None,
        dtype: DType | None = None,
        *,
        bias: bool = True,
    ) -> None:
        self._set_up(
            num_features, eps, momentum, affine, track_running_stats, bias, device, dtype
        )

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in self.RANKS:
            expected = " or ".join(f"{rank}-d" for rank in self.RANKS)
            raise ShapeError(
                f"{type(self).__name__} expects a {expected} input, got shape {tuple(input.shape)}"
            )
        if input.shape[1] != self.num_features:
            raise ShapeError(
                f"{type(self).__name__} has {self.num_features} features, but dimension 1 of the "
                f"input's shape {tuple(input.shape)} is {input.shape[1]}"
            )
        use_batch = self.training or self.running_mean is None
        momentum: Any = 0.0 if self.momentum is None else self.momentum
        if self.training and self.num_batches_tracked is not None:
            with no_grad():
                self.num_batches_tracked.add_(1)
                if self.momentum is None:
                    momentum = 1.0 / self.num_batches_tracked
        tracked = not self.training or self.track_running_stats
        return F.batch_norm(
            input,
            self.running_mean if tracked else None,
            self.running_var if tracked else None,
            self.weight,
            self.bias,
            use_batch,
            momentum,
            self.eps,
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L).

    `weight` and `bias` are (num_features,), one and zero at first (None without `affine`;
    `bias=False` leaves out the shift alone).
    With `track_running_stats` the buffers `running_mean`, `running_var` (unbiased) and
    `num_batches_tracked` (int64) follow the batches seen in training, each new batch with
    weight `momentum` (None: all batches equally), and are used in evaluation.
    """

    RANKS = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images (N, C, H, W); attributes and buffers as in `BatchNorm1d`."""

    RANKS = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of volumes (N, C, D, H, W); the rest as in `BatchNorm1d`."""

    RANKS = (5,)


class _InstanceNorm(_ChannelNorm):
    """Normalises each channel of each image over its places."""

    RANK: int

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: DeviceLike = None,
        dtype: DType | None = None,
        *,
        bias: bool = True,
    ) -> None:
        self._set_up(
            num_features, eps, momentum, affine, track_running_stats, bias, device, dtype
        )

    def forward(self, input: Tensor) -> Tensor:
        rank = self.RANK
        if input.ndim not in (rank + 1, rank + 2):
            raise ShapeError(
                f"{type(self).__name__} expects a {rank + 1}-d or {rank + 2}-d input, got shape "
                f"{tuple(input.shape)}"
            )
        channels = input.shape[-rank - 1]
        if channels != self.num_features:
            if self.affine:
                raise ValueError(
                    f"expected input's size at dim={input.ndim - rank - 1} to match num_features "
                    f"({self.num_features}), but got: {channels}."
                )
            warn(
                f"input's size at dim={input.ndim - rank - 1} does not match num_features. You can "
                "silence this warning by not passing in num_features, which is not used because "
                "affine=False",
            )
        batch = input if input.ndim == rank + 2 else input.unsqueeze(0)
        assert self.momentum is not None
        out = F.instance_norm(
            batch,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.momentum,
            self.eps,
        )
        return out if input.ndim == rank + 2 else out.squeeze(0)


class InstanceNorm1d(_InstanceNorm):
    """Normalises each channel of (N, C, L) or (C, L) over its length.

    `affine` adds `weight` and `bias`; `track_running_stats` adds the buffers of `BatchNorm1d`,
    which are used in evaluation.
    """

    RANK = 1


class InstanceNorm2d(_InstanceNorm):
    """Normalises each channel of (N, C, H, W) or (C, H, W); the rest as in `InstanceNorm1d`."""

    RANK = 2


class InstanceNorm3d(_InstanceNorm):
    """Normalises each channel of (N, C, D, H, W) or (C, D, H, W)."""

    RANK = 3


class LayerNorm(Module):
    """Normalises over the last dimensions `normalized_shape`, then scales and shifts.

    `weight` and `bias` have that shape, one and zero at first (None without
    `elementwise_affine`; `bias=False` leaves out the shift).
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...] | list[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        if isinstance(normalized_shape, int):
            normalized_shape = (normalized_shape,)
        self.normalized_shape = tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        for name, wanted in (("weight", elementwise_affine), ("bias", elementwise_affine and bias)):
            made = empty(self.normalized_shape, device=device, dtype=dtype) if wanted else None
            self.register_parameter(name, None if made is None else Parameter(made))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Back to the first values."""
        _reset(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """x / sqrt(mean(x ** 2) + eps) over the last dimensions `normalized_shape`, times `weight`.

    Without `eps` it is the distance from 1 to the next number of the dtype.
    """

    weight: Parameter | None

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...] | list[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        if isinstance(normalized_shape, int):
            normalized_shape = (normalized_shape,)
        self.normalized_shape = tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        made = empty(self.normalized_shape, device=device, dtype=dtype)
        self.register_parameter("weight", Parameter(made) if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Back to ones."""
        _reset(self.weight, None)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}"
        )


class GroupNorm(Module):
    """Normalises each of `num_groups` groups of channels of each image of (N, C, ...).

    `weight` and `bias` are (num_channels,), one and zero at first.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: DeviceLike = None,
        dtype: DType | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(
                f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            made = empty(num_channels, device=device, dtype=dtype) if wanted else None
            self.register_parameter(name, None if made is None else Parameter(made))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Back to the first values."""
        _reset(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class LocalResponseNorm(Module):
    """x / (k + alpha * mean(x ** 2 over `size` neighbouring channels)) ** beta, for (N, C, ...)."""

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
    ) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
