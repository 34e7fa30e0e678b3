"""Channels moved into the plane of an image and back, and channels in another order.

Floor 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlgrad.errors import ShapeError

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def _check_image(name: str, input: Tensor) -> None:
    if input.ndim < 3:
        raise ShapeError(
            f"{name} expects input to have at least 3 dimensions, but got input with "
            f"{input.ndim} dimension(s)"
        )


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """[..., C * r * r, H, W] to [..., C, H * r, W * r] (Shi et al., 2016)."""
    _check_image("pixel_shuffle", input)
    factor = upscale_factor
    if factor <= 0:
        raise RuntimeError(
            f"pixel_shuffle expects a positive upscale_factor, but got {upscale_factor}"
        )
    *lead, channels, height, width = input._shape
    if channels % factor**2:
        raise ShapeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square "
            f"of upscale_factor, but input.size(-3)={channels} is not divisible by {factor**2}"
        )
    n = len(lead)
    apart = input.reshape((*lead, channels // factor**2, factor, factor, height, width))
    mixed = apart.permute(*range(n + 1), n + 3, n + 1, n + 4, n + 2)
    return mixed.reshape((*lead, channels // factor**2, height * factor, width * factor))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """[..., C, H * r, W * r] to [..., C * r * r, H, W], the reverse of `pixel_shuffle`."""
    _check_image("pixel_unshuffle", input)
    factor = downscale_factor
    if factor <= 0:
        raise RuntimeError(
            f"pixel_unshuffle expects a positive downscale_factor, but got {downscale_factor}"
        )
    *lead, channels, height, width = input._shape
    for name, size in (("height", height), ("width", width)):
        if size % factor:
            raise ShapeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but "
                f"{size} is not divisible by {factor}"
            )
    n = len(lead)
    apart = input.reshape((*lead, channels, height // factor, factor, width // factor, factor))
    mixed = apart.permute(*range(n + 1), n + 2, n + 4, n + 1, n + 3)
    return mixed.reshape((*lead, channels * factor**2, height // factor, width // factor))


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """[images, g * n, ...]: the first channels of all groups, then all second ones, and so on."""
    if input.ndim < 3:
        raise ShapeError(
            "channel_shuffle expects input with > 2 dims, but got input with sizes "
            f"{list(input._shape)}"
        )
    if groups <= 0:
        raise RuntimeError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}"
        )
    images, channels, *places = input._shape
    if channels % groups:
        raise ShapeError(
            "Number of channels must be divisible by groups. Got "
            f"{channels} channels and {groups} groups."
        )
    apart = input.reshape((images, groups, channels // groups, *places))
    return apart.transpose(1, 2).reshape(input._shape)
