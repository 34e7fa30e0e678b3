"""Transforms of the numbers of an image: other dtypes, other ranges.

Floor 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlgrad.core.base import is_tensor
from dlgrad.core.creation import tensor
from dlgrad.data.transforms.base import Transform, as_numbers, check_image
from dlgrad.dtype import BOOL, FLOAT, DType, bool_, float32, get_default_dtype
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.tensor import Tensor


class ToTensor(Transform):
    """An image as floats (channels, height, width), bytes scaled from 0..255 to 0..1.

    A tensor (height, width) gets one channel, a tensor (channels, height, width) or a batch
    stays as it is; an array of another library is (height, width) or (height, width, channels).
    """

    def __call__(self, image: Any) -> Tensor:
        if is_tensor(image):
            made = image
        else:
            made = tensor(image)
            if made.ndim == 3:
                made = made.permute(2, 0, 1)
        if made.ndim == 2:
            made = made.unsqueeze(0)
        if made.ndim not in (3, 4):
            raise ShapeError(f"an image has 2 or 3 dimensions, got shape {list(made.shape)}")
        return convert_image_dtype(made, get_default_dtype()) if made.itemsize == 1 else made


class ConvertImageDtype(Transform):
    """An image in another dtype, its values scaled: 0 to 1 for floats, 0 to the largest integer."""

    def __init__(self, dtype: DType) -> None:
        if not isinstance(dtype, DType) or dtype is bool_:
            raise DTypeError(f"images have numbers: expected a dtype for these, got {dtype!r}")
        self.dtype = dtype

    def __call__(self, image: Tensor) -> Tensor:
        return convert_image_dtype(image, self.dtype)

    def extra_repr(self) -> str:
        return f"{self.dtype!r}"


def convert_image_dtype(image: Tensor, dtype: DType = float32) -> Tensor:
    """See `ConvertImageDtype`."""
    source = image.dtype
    if source is dtype or source.kind == BOOL:
        return image.to(dtype)
    if source.kind == FLOAT:
        if dtype.kind == FLOAT:
            return image.to(dtype)
        # 1 itself must give the largest value, and nothing may round beyond it.
        top = float(dtype.max) + 1.0 - 1e-3
        return (image * top).to(dtype)
    if dtype.kind == FLOAT:
        return image.to(dtype) / source.max
    if source.max > dtype.max:
        return (image // ((int(source.max) + 1) // (int(dtype.max) + 1))).to(dtype)
    return image.to(dtype) * ((int(dtype.max) + 1) // (int(source.max) + 1))


class Normalize(Transform):
    """(image - mean) / std, with a mean and a standard deviation for each channel."""

    def __init__(
        self, mean: Sequence[float] | float, std: Sequence[float] | float, inplace: bool = False
    ) -> None:
        self.mean, self.std = as_numbers(mean), as_numbers(std)
        if 0.0 in self.std:
            raise ValueError("std must not be zero: it would divide by it")
        self.inplace = inplace

    def __call__(self, image: Tensor) -> Tensor:
        check_image(image)
        if image.dtype.kind != FLOAT:
            raise TypeError(
                f"Input tensor should be a float tensor. Got {image.dtype!r}; put ToTensor in front"
            )
        mean, std = (
            tensor(values, dtype=image.dtype, device=image.device).reshape(-1, 1, 1)
            for values in (self.mean, self.std)
        )
        return image.sub_(mean).div_(std) if self.inplace else (image - mean) / std

    def extra_repr(self) -> str:
        return f"mean={self.mean}, std={self.std}"
