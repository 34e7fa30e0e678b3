"""What transforms have in common: the base class, checks of images and of settings.

Floor 7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dlgrad.core.base import is_tensor
from dlgrad.dtype import FLOAT
from dlgrad.errors import ShapeError
from dlgrad.operators.padding import pad
from dlgrad.tensor import Tensor

Pair = tuple[float, float]


class Transform:
    """The base of transforms: subclasses define `__call__`, and `extra_repr` for their repr."""

    def __call__(self, image: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(image)")

    def extra_repr(self) -> str:
        """The settings, as text."""
        return ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"


class Compose(Transform):
    """Several transforms, one after another."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image

    def __repr__(self) -> str:
        lines = "".join(f"    {transform!r}\n" for transform in self.transforms)
        return f"Compose(\n{lines})"


class Lambda(Transform):
    """A function as a transform."""

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        if not callable(lambd):
            raise TypeError(f"Lambda takes a function, got {type(lambd).__name__}")
        self.lambd = lambd

    def __call__(self, image: Any) -> Any:
        return self.lambd(image)


# Images -------------------------------------------------------------------------------------------


def check_image(image: Any) -> None:
    """TypeError or ShapeError for what is neither an image nor a batch."""
    if not is_tensor(image):
        raise TypeError(
            f"expected an image as a tensor, got {type(image).__name__}; put ToTensor in front"
        )
    if image.ndim not in (3, 4):
        raise ShapeError(
            "an image is (channels, height, width), with one dimension in front for a batch; "
            f"got shape {list(image.shape)}"
        )


def count_images(image: Tensor) -> int:
    """How many images there are, each with a draw of its own."""
    return image.shape[0] if image.ndim == 4 else 1


def as_floats(image: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """What `change` makes of a batch of floats; integers are rounded and kept in their range."""
    batch = image if image.ndim == 4 else image.unsqueeze(0)
    if image.dtype.kind == FLOAT:
        made = change(batch)
    else:
        made = change(batch.float()).round().clamp(image.dtype.min, image.dtype.max)
        made = made.to(image.dtype)
    return made if image.ndim == 4 else made.squeeze(0)


def padded_to(image: Tensor, size: tuple[int, int], fill: float) -> Tensor:
    """Padded on all sides, where it is smaller than `size`, until it is not."""
    (height, width), (rows, columns) = image.shape[-2:], size
    top, left = max(rows - height, 0) // 2, max(columns - width, 0) // 2
    bottom, right = max(rows - height, 0) - top, max(columns - width, 0) - left
    if top + left + bottom + right == 0:
        return image
    return pad(image, (left, right, top, bottom), "constant", fill)


# Settings -----------------------------------------------------------------------------------------


def as_numbers(value: float | Sequence[float]) -> list[float]:
    """One number for each channel, or one for all."""
    numbers = value.tolist() if is_tensor(value) else value
    return [float(n) for n in numbers] if isinstance(numbers, Sequence) else [float(numbers)]


def as_probability(p: float) -> float:
    """`p`, checked."""
    if not 0 <= p <= 1:
        raise ValueError(f"a probability is a number from 0 to 1, got {p!r}")
    return p


def as_pair(values: Sequence[float], name: str) -> Pair:
    """Two numbers as they are."""
    if not isinstance(values, Sequence) or len(values) != 2:
        raise ValueError(f"{name} should be a sequence of 2 numbers, got {values!r}")
    return float(values[0]), float(values[1])


def as_range(value: float | Sequence[float], name: str) -> Pair:
    """(low, high) of a range, or of one number for (-number, number)."""
    if isinstance(value, Sequence):
        return as_pair(value, name)
    if value < 0:
        raise ValueError(f"{name} as one number must not be negative, got {value}")
    return -float(value), float(value)


def as_size(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width, from both or from one number for both."""
    numbers = [size] if isinstance(size, int) else list(size)
    if len(numbers) not in (1, 2):
        raise ValueError(f"a size is one number or (height, width), got {size!r}")
    rows, columns = numbers[0], numbers[-1]
    if rows < 1 or columns < 1:
        raise ValueError(f"a size is at least 1, got {size!r}")
    return rows, columns
