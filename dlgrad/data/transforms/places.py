"""Transforms that move the pixels of an image by fixed rules.

Floor 7.
"""

from __future__ import annotations

from collections.abc import Sequence

from dlgrad.data.transforms.base import Transform, as_floats, as_size, check_image, padded_to
from dlgrad.neural.interpolation import interpolate
from dlgrad.operators.padding import pad
from dlgrad.tensor import Tensor

_PADDING_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}


class Pad(Transform):
    """Adds a border: one width, (left and right, top and bottom), or (left, top, right, bottom).

    `padding_mode` is "constant" (with `fill`), "edge" or "reflect".
    """

    def __init__(
        self, padding: int | Sequence[int], fill: float = 0, padding_mode: str = "constant"
    ) -> None:
        if padding_mode not in _PADDING_MODES:
            raise ValueError(
                f"padding_mode is 'constant', 'edge' or 'reflect', got {padding_mode!r}"
            )
        self.padding, self.fill, self.padding_mode = _borders(padding), fill, padding_mode

    def __call__(self, image: Tensor) -> Tensor:
        check_image(image)
        left, top, right, bottom = self.padding
        mode = _PADDING_MODES[self.padding_mode]
        value = self.fill if mode == "constant" else None
        return pad(image, (left, right, top, bottom), mode, value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, fill={self.fill}, padding_mode={self.padding_mode}"


class CenterCrop(Transform):
    """The middle of an image; where the image is smaller it is padded with zeros."""

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = as_size(size)

    def __call__(self, image: Tensor) -> Tensor:
        check_image(image)
        image = padded_to(image, self.size, 0)
        (height, width), (rows, columns) = image.shape[-2:], self.size
        top, left = round((height - rows) / 2), round((width - columns) / 2)
        return image[..., top : top + rows, left : left + columns]

    def extra_repr(self) -> str:
        return f"size={self.size}"


class Resize(Transform):
    """An image in another size: (height, width), or the shorter side as one number.

    `interpolation` is "bilinear", "nearest" or "bicubic".  Nothing is smoothed before an image
    is made smaller (`antialias=False` of torchvision).
    """

    def __init__(self, size: int | Sequence[int], interpolation: str = "bilinear") -> None:
        if interpolation not in ("bilinear", "nearest", "bicubic"):
            raise ValueError(
                f"interpolation is 'bilinear', 'nearest' or 'bicubic', got {interpolation!r}"
            )
        self.shorter = size if isinstance(size, int) else None
        self.size = as_size(size)
        self.interpolation = interpolation

    def __call__(self, image: Tensor) -> Tensor:
        check_image(image)
        height, width = image.shape[-2:]
        size = self.size
        if self.shorter is not None:
            if height <= width:
                size = (self.shorter, int(self.shorter * width / height))
            else:
                size = (int(self.shorter * height / width), self.shorter)
        if size == (height, width):
            return image
        return as_floats(image, lambda batch: interpolate(batch, size, mode=self.interpolation))

    def extra_repr(self) -> str:
        size = self.size if self.shorter is None else self.shorter
        return f"size={size}, interpolation={self.interpolation}"


def _borders(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom."""
    if isinstance(padding, int):
        return (padding,) * 4
    if len(padding) == 4:
        left, top, right, bottom = padding
        return left, top, right, bottom
    if len(padding) == 2:
        return (padding[0], padding[1]) * 2
    raise ValueError(f"padding is one width, 2 or 4 of them, got {list(padding)}")
