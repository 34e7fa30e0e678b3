"""The reverse of max pooling: maxima put back to their places, zeros around them.

Floor 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.core.dims import as_sizes, pair
from dlgrad.dtype import int64
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.lazy.shape import Shape
from dlgrad.operators.gathers import scatter

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

Sizes = int | Sequence[int]


def _output_sizes(
    name: str, input: Tensor, kernel: Shape, stride: Shape, padding: Shape, output_size: Any
) -> Shape:
    rank = len(kernel)
    usual = tuple(
        (input._shape[i - rank] - 1) * stride[i] + kernel[i] - 2 * padding[i] for i in range(rank)
    )
    if output_size is None:
        return usual
    sizes = as_sizes((output_size,))
    if len(sizes) in (rank + 1, rank + 2):
        sizes = sizes[-rank:]
    if len(sizes) != rank:
        raise ValueError(
            f"{name}: output_size should be a sequence containing {rank} or {rank + 2} elements, "
            f"but it has a length of '{len(sizes)}'"
        )
    for size, most, step in zip(sizes, usual, stride, strict=True):
        if not most - step < size < most + step:
            raise ValueError(
                f"invalid output_size {list(sizes)} (each must be within {list(stride)} of "
                f"{list(usual)})"
            )
    return sizes


def _unpool(
    name: str, rank: int, input: Tensor, indices: Tensor, kernel_size: Sizes, stride: Any,
    padding: Sizes, output_size: Any,
) -> Tensor:  # fmt: skip
    if indices.dtype is not int64:
        raise DTypeError(f"elements in indices should be type int64 but got: {indices.dtype!r}")
    if input._shape != indices._shape:
        raise ShapeError(
            f"Expected shape of indices to be: {list(input._shape)} same as that of the input "
            f"tensor but got indices tensor with shape: {list(indices._shape)}"
        )
    if input.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"{name}: Input to {name} should be a {rank + 1}d or {rank + 2}d Tensor, but got "
            f"shape {list(input._shape)}"
        )
    kernel = pair(kernel_size, rank, "kernel_size")
    steps = kernel if stride is None or stride in ([], ()) else pair(stride, rank, "stride")
    if min(steps) <= 0:
        raise RuntimeError(f"strides should be greater than zero, but got stride: {steps}")
    sides = pair(padding, rank, "padding")
    sizes = _output_sizes(name, input, kernel, steps, sides, output_size)
    lead = input._shape[:-rank]
    count = math.prod(input._shape[-rank:])
    base = input.new_zeros(lead + (math.prod(sizes),))
    flat, places = input.reshape(lead + (count,)), indices.reshape(lead + (count,))
    return scatter(base, -1, places, flat).reshape(lead + sizes)


def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Sizes, stride: Any = None, padding: Sizes = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """The maxima of `max_pool1d` at their `indices`, and zeros elsewhere."""
    return _unpool(
        "max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size
    )


def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Sizes, stride: Any = None, padding: Sizes = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """The maxima of `max_pool2d` at their `indices`, and zeros elsewhere.

    `output_size` chooses among the sizes that pool to the same one.
    """
    return _unpool(
        "max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size
    )


def max_unpool3d(
    input: Tensor, indices: Tensor, kernel_size: Sizes, stride: Any = None, padding: Sizes = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """The maxima of `max_pool3d` at their `indices`, and zeros elsewhere."""
    return _unpool(
        "max_unpool3d", 3, input, indices, kernel_size, stride, padding, output_size
    )
