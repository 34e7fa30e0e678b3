"""Windows of images as columns, and columns added up to images again.

Floor 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlgrad.core.dims import pair
from dlgrad.errors import ShapeError
from dlgrad.lazy.shape import Shape
from dlgrad.operators.padding import pad_constant
from dlgrad.operators.windows import Geometry, add_windows, window_view, windows

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

Sizes = int | Sequence[int]


def _geometry(
    name: str, kernel_size: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes
) -> Geometry:
    kernel, steps = pair(kernel_size, 2, "kernel_size"), pair(stride, 2, "stride")
    dilations, sides = pair(dilation, 2, "dilation"), pair(padding, 2, "padding")
    for what, values in (("kernel size", kernel), ("stride", steps), ("dilation", dilations)):
        if min(values) <= 0:
            raise RuntimeError(f"{name}: {what} should be greater than zero, but got {values}")
    if min(sides) < 0:
        raise RuntimeError(f"{name}: padding should be non-negative, but got {sides}")
    return Geometry(kernel, steps, tuple((side, side) for side in sides), dilations)


def unfold(
    input: Tensor, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
) -> Tensor:
    """The windows of [images, channels, height, width] as [images, channels * kernel, windows].

    `padding` puts zeros around the image; one image may come without a dimension of images.
    """
    if input.ndim == 3:
        return unfold(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    if input.ndim != 4:
        raise ShapeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
            f"dimensions for input, but got: {list(input._shape)}"
        )
    geometry = _geometry("unfold", kernel_size, dilation, padding, stride)
    counts = geometry.counts(input._shape[2:], "unfold")
    padded = pad_constant(input, [(0, 0), (0, 0), *geometry.padding], 0)
    cut = windows(padded, counts, geometry).permute(0, 1, 4, 5, 2, 3)
    images, channels = input._shape[:2]
    return cut.reshape((images, channels * math.prod(geometry.kernel), math.prod(counts)))


def fold(
    input: Tensor,
    output_size: Sizes,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Tensor:
    """The reverse of `unfold`, adding where windows overlap.

    [images, channels * kernel, windows] to [images, channels, *output_size].
    """
    if input.ndim == 2:
        return fold(
            input.unsqueeze(0), output_size, kernel_size, dilation, padding, stride
        ).squeeze(0)
    if input.ndim != 3:
        raise ShapeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and "
            f"non-zero dimensions for input, but got: {list(input._shape)}"
        )
    geometry = _geometry("fold", kernel_size, dilation, padding, stride)
    sizes = pair(output_size, 2, "output_size")
    images, columns, count = input._shape
    area = math.prod(geometry.kernel)
    if not columns or columns % area:
        raise ShapeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, "
            f"but got input.size(1)={columns} and kernel_size={geometry.kernel}."
        )
    counts = geometry.counts(sizes, "fold")
    if count != math.prod(counts):
        raise ShapeError(
            f"Given output_size={sizes}, kernel_size={geometry.kernel}, dilation="
            f"{geometry.dilation}, padding={padding}, stride={geometry.stride}, expected size of "
            f"input's dimension 2 to match the calculated number of sliding blocks "
            f"{counts[0]} * {counts[1]} = {math.prod(counts)}, but got input.size(2)={count}."
        )
    channels = columns // area
    cut = input.reshape((images, channels, *geometry.kernel, *counts)).permute(0, 1, 4, 5, 2, 3)
    padded: Shape = (images, channels) + tuple(
        size + before + after
        for size, (before, after) in zip(sizes, geometry.padding, strict=True)
    )
    whole = add_windows(cut, padded, window_view(padded, counts, geometry))
    for i, size in enumerate(sizes):
        whole = whole.narrow(2 + i, geometry.padding[i][0], size)
    return whole
