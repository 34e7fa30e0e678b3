"""Transforms at random: crops, flips, affine maps, and rectangles that are erased.

Floor 7.  Each image of a batch gets a draw of its own.  Random numbers come from the
`generator` of a transform; without one from the worker of a `DataLoader` that runs it, or from
`dlgrad.manual_seed`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from dlgrad.core.apply import where
from dlgrad.core.creation import tensor
from dlgrad.data.streams import stream
from dlgrad.data.transforms.base import (
    Pair,
    Transform,
    as_floats,
    as_numbers,
    as_pair,
    as_probability,
    as_range,
    as_size,
    check_image,
    count_images,
    padded_to,
)
from dlgrad.data.transforms.places import Pad
from dlgrad.neural.grids import affine_grid, grid_sample
from dlgrad.operators.gathers import gather
from dlgrad.random import Generator
from dlgrad.tensor import Tensor


class RandomCrop(Transform):
    """A part of `size` from a random place, after `padding` as in `Pad`.

    With `pad_if_needed` a smaller image is padded as far as it must be; otherwise it is a
    ValueError.
    """

    def __init__(
        self, size: int | Sequence[int], padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False, fill: float = 0, padding_mode: str = "constant",
        generator: Generator | None = None,
    ) -> None:  # fmt: skip
        self.size = as_size(size)
        self.pad = None if padding is None else Pad(padding, fill, padding_mode)
        self.pad_if_needed, self.fill = pad_if_needed, fill
        self.generator = generator

    def __call__(self, image: Tensor) -> Tensor:
        check_image(image)
        if self.pad is not None:
            image = self.pad(image)
        if self.pad_if_needed:
            image = padded_to(image, self.size, self.fill)
        (height, width), (rows, columns) = image.shape[-2:], self.size
        if rows > height or columns > width:
            raise ValueError(
                f"Required crop size {self.size} is larger than input image size {(height, width)}"
            )
        draw = stream(self.generator).randrange
        places = [
            (draw(height - rows + 1), draw(width - columns + 1)) for _ in range(count_images(image))
        ]
        if image.ndim == 3:
            top, left = places[0]
            return image[:, top : top + rows, left : left + columns]
        return _cropped(_cropped(image, [top for top, _ in places], rows, 2),
                        [left for _, left in places], columns, 3)  # fmt: skip

    def extra_repr(self) -> str:
        return f"size={self.size}, padding={self.pad and self.pad.padding}"


def _cropped(images: Tensor, starts: Sequence[int], length: int, dim: int) -> Tensor:
    """For image i of a batch, `length` lines along `dim` from line starts[i] on."""
    lines = [[start + k for k in range(length)] for start in starts]
    shape = [1] * images.ndim
    shape[0], shape[dim] = len(starts), length
    index = tensor(lines, device=images.device).reshape(shape)
    full = [length if i == dim else size for i, size in enumerate(images.shape)]
    return gather(images, dim, index.expand(full))


class RandomHorizontalFlip(Transform):
    """Mirrors left and right with probability `p`."""

    dim = -1

    def __init__(self, p: float = 0.5, generator: Generator | None = None) -> None:
        self.p = as_probability(p)
        self.generator = generator

    def __call__(self, image: Tensor) -> Tensor:
        check_image(image)
        draw = stream(self.generator).random
        turned = [draw() < self.p for _ in range(count_images(image))]
        return _chosen(image, turned, lambda image: image.flip(self.dim))

    def extra_repr(self) -> str:
        return f"p={self.p}"


class RandomVerticalFlip(RandomHorizontalFlip):
    """Mirrors top and bottom with probability `p`."""

    dim = -2


def _chosen(image: Tensor, chosen: Sequence[bool], change: Callable[[Tensor], Tensor]) -> Tensor:
    """The images, those that are chosen changed."""
    if not any(chosen):
        return image
    if all(chosen):
        return change(image)
    mask = tensor(chosen, device=image.device).reshape(-1, 1, 1, 1)
    return where(mask, change(image), image)


class RandomAffine(Transform):
    """Turns, moves, scales and shears an image about its middle.

    - `degrees`: the range of the angle, or its largest absolute value; positive is clockwise.
    - `translate`: the largest shares of width and height to move by.
    - `scale`: the range of the factor.
    - `shear`: in degrees: the largest absolute value or the range along x, or both ranges
      (along x, along y) as four numbers.
    - `interpolation`: "nearest" or "bilinear"; `fill`: the value outside of the image.
    """

    def __init__(
        self, degrees: float | Sequence[float], translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None, shear: float | Sequence[float] | None = None,
        interpolation: str = "nearest", fill: float = 0, generator: Generator | None = None,
    ) -> None:  # fmt: skip
        self.degrees = as_range(degrees, "degrees")
        self.translate = None if translate is None else as_pair(translate, "translate")
        self.scale = None if scale is None else as_pair(scale, "scale")
        if self.translate is not None and not all(0 <= share <= 1 for share in self.translate):
            raise ValueError("translation values should be between 0 and 1")
        if self.scale is not None and min(self.scale) <= 0:
            raise ValueError("scale values should be positive")
        if interpolation not in ("nearest", "bilinear"):
            raise ValueError(f"interpolation is 'nearest' or 'bilinear', got {interpolation!r}")
        shears: Sequence[float] = (0.0,) * 4
        if isinstance(shear, Sequence) and len(shear) == 4:
            shears = [float(angle) for angle in shear]
        elif shear is not None:
            shears = (*as_range(shear, "shear"), 0.0, 0.0)
        self.shear = tuple(shears)
        self.interpolation, self.fill = interpolation, fill
        self.generator = generator

    def __call__(self, image: Tensor) -> Tensor:
        check_image(image)
        height, width = image.shape[-2:]
        rng = stream(self.generator)
        maps = []
        for _ in range(count_images(image)):
            angle = rng.uniform(*self.degrees)
            across, down = self.translate or (0.0, 0.0)
            move = (round(rng.uniform(-across, across) * width),
                    round(rng.uniform(-down, down) * height))  # fmt: skip
            factor = rng.uniform(*(self.scale or (1.0, 1.0)))
            x0, x1, y0, y1 = self.shear
            shear = (rng.uniform(x0, x1), rng.uniform(y0, y1))
            maps.append(_source_map(angle, move, factor, shear, width, height))

        def moved(batch: Tensor) -> Tensor:
            theta = tensor(maps, dtype=batch.dtype, device=batch.device)
            grid = affine_grid(theta, batch.shape, align_corners=False)
            found = grid_sample(
                batch - self.fill, grid, self.interpolation, "zeros", align_corners=False
            )
            return found + self.fill

        return as_floats(image, moved)

    def extra_repr(self) -> str:
        return (
            f"degrees={self.degrees}, translate={self.translate}, scale={self.scale}, "
            f"shear={self.shear}, interpolation={self.interpolation}, fill={self.fill}"
        )


class RandomRotation(RandomAffine):
    """Turns an image about its middle; positive degrees are counter-clockwise, as in torchvision.

    - `degrees`: the range of the angle, or its largest absolute value.
    - `interpolation`: "nearest" or "bilinear"; `fill`: the value outside of the image.

    The size stays: NotImplementedError for `expand`, with which images of a batch would differ.
    """

    def __init__(
        self, degrees: float | Sequence[float], interpolation: str = "nearest",
        expand: bool = False, fill: float = 0, generator: Generator | None = None,
    ) -> None:  # fmt: skip
        if expand:
            raise NotImplementedError(
                "RandomRotation keeps the size of an image; Pad before it keeps the corners"
            )
        low, high = as_range(degrees, "degrees")
        super().__init__((-high, -low), None, None, None, interpolation, fill, generator)

    def extra_repr(self) -> str:
        low, high = self.degrees
        return f"degrees={(-high, -low)}, interpolation={self.interpolation}, fill={self.fill}"


def _source_map(
    angle: float, move: tuple[int, int], scale: float, shear: Pair, width: int, height: int
) -> list[list[float]]:
    """Where a point of the result comes from, in coordinates from -1 to 1.

    The result is made by a rotation, a shear and a scaling about the middle, then a move; this
    is the inverse of that.
    """
    turn, along_x, along_y = (math.radians(degrees) for degrees in (angle, *shear))
    if math.cos(along_x) * math.cos(along_y) == 0:
        raise ValueError("a shear of 90 degrees leaves nothing of an image")
    # Rotation times shear, [[a, b], [c, d]], of determinant 1.
    a = math.cos(turn - along_y) / math.cos(along_y)
    b = -math.cos(turn - along_y) * math.tan(along_x) / math.cos(along_y) - math.sin(turn)
    c = math.sin(turn - along_y) / math.cos(along_y)
    d = -math.sin(turn - along_y) * math.tan(along_x) / math.cos(along_y) + math.cos(turn)
    inverse = [[d / scale, -b / scale], [-c / scale, a / scale]]
    rows = []
    for (xx, xy), own in zip(inverse, (width, height), strict=True):
        offset = -xx * move[0] - xy * move[1]
        rows.append([xx * width / own, xy * height / own, 2 * offset / own])
    return rows


class RandomErasing(Transform):
    """Overwrites a random rectangle with probability `p`.

    `scale` is the range of its share of the area, `ratio` that of its height over its width;
    `value` is a number, or one for each channel.
    """

    def __init__(
        self, p: float = 0.5, scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3), value: float | Sequence[float] = 0,
        inplace: bool = False, generator: Generator | None = None,
    ) -> None:  # fmt: skip
        self.p = as_probability(p)
        self.scale, self.ratio = as_pair(scale, "scale"), as_pair(ratio, "ratio")
        if not 0 <= self.scale[0] <= self.scale[1] <= 1:
            raise ValueError("Scale should be between 0 and 1")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError("ratio should be a range of positive numbers")
        self.value = as_numbers(value)
        self.inplace = inplace
        self.generator = generator

    def __call__(self, image: Tensor) -> Tensor:
        check_image(image)
        height, width = image.shape[-2:]
        rng = stream(self.generator)
        inside = []
        for _ in range(count_images(image)):
            top, left, rows, columns = self._rectangle(rng, height, width)
            inside.append((top, left, top + rows, left + columns))
        edges = tensor(inside, device=image.device).reshape(-1, 1, 1, 1, 4)
        row = tensor(range(height), device=image.device).reshape(height, 1)
        column = tensor(range(width), device=image.device)
        upper, first, lower, last = (edges.select(4, i) for i in range(4))
        erased = (row >= upper) & (row < lower) & (column >= first) & (column < last)
        if image.ndim == 3:
            erased = erased.squeeze(0)
        value = tensor(self.value, device=image.device).to(image.dtype).reshape(-1, 1, 1)
        made = where(erased, value, image)
        return image.copy_(made) if self.inplace else made

    def _rectangle(self, rng: Any, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width; empty where there shall be none, or none fits."""
        if rng.random() >= self.p:
            return 0, 0, 0, 0
        for _ in range(10):
            area = height * width * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            rows, columns = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if rows < height and columns < width:
                top, left = rng.randint(0, height - rows), rng.randint(0, width - columns)
                return top, left, rows, columns
        return 0, 0, 0, 0

    def extra_repr(self) -> str:
        return f"p={self.p}, scale={self.scale}, ratio={self.ratio}, value={self.value}"
