"""Convolutions of any rank, as one contraction over windows of the padded input.

Floor 6.  Three bilinear functions are closed under differentiation: `convolve` (input with
weight), `spread` (output gradient with weight: the input's gradient, and what a transposed
convolution computes) and `correlate` (input with output gradient: the weight's gradient).  Each
is recorded as one operation whose derivatives are the other two.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from dlgrad.core.apply import contract, embed, reduce, same_device
from dlgrad.core.autocasting import autocasts
from dlgrad.core.composing import composed, paused
from dlgrad.core.dims import pair
from dlgrad.core.tape import ROWS, Derivative, Row
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.lazy.graph import Contraction
from dlgrad.lazy.ops import ReduceOps
from dlgrad.lazy.shape import Shape, View
from dlgrad.operators.elementwise import add, mul
from dlgrad.operators.movement import contiguous, permute
from dlgrad.operators.padding import pad_constant
from dlgrad.operators.repeating import flip
from dlgrad.operators.windows import Geometry, windows

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

FEW_PRODUCTS = 16  # of input channels times places of the kernel


class Plan(NamedTuple):
    """The windows of a convolution, its groups, and the spatial sizes of input and output."""

    geometry: Geometry
    groups: int
    sizes: Shape
    counts: Shape


def _grouped_windows(x: Tensor, plan: Plan) -> Tensor:
    """[groups, in / groups, kernel..., images, counts...] of input [images, in, ...]."""
    geometry, rank = plan.geometry, plan.geometry.rank
    pads = [(0, 0), (0, 0), *geometry.padding]
    if any(before or after for before, after in geometry.padding):
        x = pad_constant(x, pads, 0)
    images, channels = x._shape[:2]
    x = contiguous(x).reshape((images, plan.groups, channels // plan.groups) + x._shape[2:])
    shown = windows(x, plan.counts, geometry)
    counts = list(range(3, 3 + rank))
    kernel = list(range(3 + rank, 3 + 2 * rank))
    return permute(shown, [1, 2, *kernel, 0, *counts])


def _grouped_output(g: Tensor, plan: Plan) -> Tensor:
    """[groups, channels / groups, images, counts...] of output [images, channels, counts...]."""
    images, channels = g._shape[:2]
    g = g.reshape((images, plan.groups, channels // plan.groups) + g._shape[2:])
    return permute(g, [1, 2, 0, *range(3, g.ndim)])


def _dropped(x: Tensor, groups: int) -> Tensor:
    """Without the dimension of groups where there is only one, so that it is no batch."""
    return x.squeeze(0) if groups == 1 else x


def convolve(x: Tensor, weight: Tensor, plan: Plan) -> Tensor:
    """[images, out, counts...] of x [images, in, ...] with weight [out, in / groups, kernel...]."""
    with paused():
        groups, rank = plan.groups, plan.geometry.rank
        filters = weight.reshape((groups, weight._shape[0] // groups) + weight._shape[1:])
        if groups > 1 and prod(weight._shape[1:]) <= FEW_PRODUCTS:
            out = _few_products(x, filters, plan)
        else:
            dims = Contraction(int(groups > 1), 1, 1 + rank, 1 + rank)
            shown = _dropped(_grouped_windows(x, plan), groups)
            out = contract(_dropped(filters, groups), shown, dims)
            order = [2, 0, 1] if groups > 1 else [1, 0]
            out = contiguous(permute(out, [*order, *range(len(order), out.ndim)]))
            out = out.reshape((x._shape[0], weight._shape[0]) + plan.counts)
    return composed("convolve", out, x, weight, arg=plan)


def _few_products(x: Tensor, filters: Tensor, plan: Plan) -> Tensor:
    """The convolution as sums of so few products that a matrix product would not pay.

    `filters` are [groups, out / groups, in / groups, kernel...].
    """
    rank, groups = plan.geometry.rank, plan.groups
    shown = permute(_grouped_windows(x, plan), _images_first(rank))
    weights = permute(filters, [0, 1, *range(3, 3 + rank), 2])
    weights = weights.reshape(weights._shape[:2] + (1,) * rank + weights._shape[2:])
    products = mul(shown.unsqueeze(2), weights)
    summed = tuple(range(3 + rank, 4 + 2 * rank))
    out = reduce(ReduceOps.SUM, products, summed, False)
    return out.reshape((x._shape[0], groups * filters._shape[1]) + plan.counts)


def _images_first(rank: int) -> list[int]:
    """[images, groups, counts..., kernel..., in / groups] of what `_grouped_windows` returns."""
    return [2 + rank, 0, *range(3 + rank, 3 + 2 * rank), *range(2, 2 + rank), 1]


def correlate(x: Tensor, g: Tensor, plan: Plan) -> Tensor:
    """[out, in / groups, kernel...] of x [images, in, ...] with g [images, out, counts...]."""
    with paused():
        groups, rank = plan.groups, plan.geometry.rank
        shown = _grouped_windows(x, plan)
        inner = 2 + rank  # groups, channels and kernel stand before the images
        shown = permute(shown, [0, *range(inner, shown.ndim), *range(1, inner)])
        dims = Contraction(int(groups > 1), 1, 1 + rank, 1 + rank)
        left = _dropped(_grouped_output(g, plan), groups)
        out = contract(left, _dropped(shown, groups), dims)
        out = out.reshape((g._shape[1], x._shape[1] // groups) + plan.geometry.kernel)
    return composed("correlate", out, x, g, arg=plan)


def spread(g: Tensor, weight: Tensor, plan: Plan) -> Tensor:
    """[images, in, sizes...] from g [images, out, counts...]: every window adds up to its input.

    This is a convolution of `g`, set apart by the stride, with the weight turned around.
    """
    with paused():
        groups, geometry, rank = plan.groups, plan.geometry, plan.geometry.rank
        shape, place = list(g._shape[:2]), View.contiguous(g._shape)
        lows, begins = [], []
        for size, count, kernel, stride, (before, _), dilation in zip(
            plan.sizes, plan.counts, *_per_dim(geometry), strict=True
        ):
            reach = dilation * (kernel - 1)
            begin = reach - before  # where the first element goes; negative begins are cut after
            lows.append(max(-begin, 0))
            begins.append(max(begin, 0))
            needed = size + reach + max(-begin, 0)
            shape.append(max(needed, max(begin, 0) + (count - 1) * stride + 1))
        apart = View.contiguous(tuple(shape))
        for i, (begin, stride) in enumerate(zip(begins, geometry.stride, strict=True)):
            apart = apart.slice(2 + i, begin, place.shape[2 + i], stride)
        wide = embed(g, tuple(shape), apart)
        for i, (size, low, kernel, dilation) in enumerate(
            zip(plan.sizes, lows, geometry.kernel, geometry.dilation, strict=True)
        ):
            length = size + dilation * (kernel - 1)
            wide = wide if wide._shape[2 + i] == length else wide.narrow(2 + i, low, length)
        turned = _turned(weight, groups, rank)
        around = Geometry(geometry.kernel, (1,) * rank, ((0, 0),) * rank, geometry.dilation)
        sizes = tuple(wide._shape[2:])
        out = convolve(wide, turned, Plan(around, groups, sizes, plan.sizes))
    return composed("spread", out, g, weight, arg=plan)


def _per_dim(
    geometry: Geometry,
) -> tuple[Sequence[int], Sequence[int], Sequence[tuple[int, int]], Sequence[int]]:
    return geometry.kernel, geometry.stride, geometry.padding, geometry.dilation


def _turned(weight: Tensor, groups: int, rank: int) -> Tensor:
    """[in, out / groups, kernel...], the kernel reversed, of [out, in / groups, kernel...]."""
    out, inside = weight._shape[:2]
    kernel = weight._shape[2:]
    grouped = weight.reshape((groups, out // groups, inside) + kernel)
    grouped = permute(grouped, [0, 2, 1, *range(3, 3 + rank)])
    turned = flip(grouped, *range(3, 3 + rank))
    return turned.reshape((groups * inside, out // groups) + kernel)


ROWS.update(
    {
        "convolve": Row(
            "Convolution",
            Derivative("b", lambda g, e: spread(g, e.b, e.arg)),
            Derivative("a", lambda g, e: correlate(e.a, g, e.arg)),
        ),
        "correlate": Row(
            "ConvolutionWeight",
            Derivative("b", lambda g, e: spread(e.b, g, e.arg)),
            Derivative("a", lambda g, e: convolve(e.a, g, e.arg)),
        ),
        "spread": Row(
            "ConvolutionInput",
            Derivative("b", lambda g, e: convolve(g, e.b, e.arg)),
            Derivative("a", lambda g, e: correlate(g, e.a, e.arg)),
        ),
    }
)


# What users call ------------------------------------------------------------------------------

Sizes = int | Sequence[int]


def _same_padding(kernel: Shape, dilation: Shape, stride: Shape) -> tuple[tuple[int, int], ...]:
    if any(step != 1 for step in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return tuple((total // 2, total - total // 2) for total in totals)


def _convolution(
    name: str,
    rank: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes | str,
    dilation: Sizes,
    groups: int,
) -> Tensor:
    if weight.ndim != rank + 2:
        raise ShapeError(f"{name}: weight must be {rank + 2}D, but it has shape {weight._shape}")
    if input.ndim == rank + 1:  # one image without a dimension of images
        single = _convolution(
            name, rank, input.unsqueeze(0), weight, bias, stride, padding, dilation, groups
        )
        return single.squeeze(0)
    if input.ndim != rank + 2:
        raise ShapeError(
            f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input to {name}, but got "
            f"input of size: {list(input._shape)}"
        )
    strides, dilations = pair(stride, rank, "stride"), pair(dilation, rank, "dilation")
    kernel = weight._shape[2:]
    check_steps(name, strides, dilations, kernel)
    _check_channels(name, input, weight, bias, groups)
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise RuntimeError(f"Invalid padding string: {padding!r}; use 'same' or 'valid'")
        pads = ((0, 0),) * rank
        if padding == "same":
            pads = _same_padding(kernel, dilations, strides)
    else:
        sides = pair(padding, rank, "padding")
        if min(sides) < 0:
            raise RuntimeError("negative padding is not supported")
        pads = tuple((side, side) for side in sides)
    geometry = Geometry(kernel, strides, pads, dilations)
    counts = geometry.counts(input._shape[2:], name)
    out = convolve(input, weight, Plan(geometry, groups, input._shape[2:], counts))
    if bias is None or groups == 1:
        return out if bias is None else add(out, bias.reshape((-1,) + (1,) * rank))
    # In the shape of the groups, so that the bias is added in the kernel of the convolution.
    channels = (groups, weight._shape[0] // groups)
    grouped = out.reshape(out._shape[:1] + channels + counts)
    return add(grouped, bias.reshape(channels + (1,) * rank)).reshape(out._shape)


def check_steps(name: str, stride: Shape, dilation: Shape, kernel: Shape) -> None:
    """RuntimeError where a stride, a dilation or a size of the kernel is not positive."""
    if min(stride) <= 0:
        raise RuntimeError(f"non-positive stride is not supported, got stride={stride} in {name}")
    if min(dilation) <= 0:
        raise RuntimeError(f"dilation should be greater than zero, got {dilation} in {name}")
    if min(kernel) <= 0:
        raise RuntimeError(f"{name}: the kernel must not be empty, got sizes {kernel}")


def check_together(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """DTypeError or DeviceError unless all are of one dtype and on one device."""
    if input.dtype is not weight.dtype:
        raise DTypeError(
            f"Input type ({input.dtype!r}) and weight type ({weight.dtype!r}) should be the same"
        )
    if bias is not None and bias.dtype is not input.dtype:
        raise DTypeError(
            f"Input type ({input.dtype!r}) and bias type ({bias.dtype!r}) should be the same"
        )
    same_device((input, weight))


def _check_channels(
    name: str, input: Tensor, weight: Tensor, bias: Tensor | None, groups: int
) -> None:
    if groups <= 0:
        raise RuntimeError(f"non-positive groups is not supported, got groups={groups}")
    if input._shape[1] != weight._shape[1] * groups:
        raise ShapeError(
            f"Given groups={groups}, weight of size {list(weight._shape)}, expected "
            f"input{list(input._shape)} to have {weight._shape[1] * groups} channels, but got "
            f"{input._shape[1]} channels instead"
        )
    if weight._shape[0] % groups:
        raise ShapeError(
            f"Given groups={groups}, weight of size {list(weight._shape)}: its "
            f"{weight._shape[0]} output channels must be a multiple of the number of groups"
        )
    if bias is not None and bias._shape != (weight._shape[0],):
        raise ShapeError(
            f"Given weight of size {list(weight._shape)}, expected bias to be 1-dimensional "
            f"with {weight._shape[0]} elements, but got bias of size {list(bias._shape)} instead"
        )
    check_together(input, weight, bias)


@autocasts
def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1,
    padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Slides weight [out, in / groups, length] over input [images, in, length]."""
    return _convolution("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@autocasts
def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1,
    padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Slides weight [out, in / groups, height, width] over input [images, in, height, width].

    `padding` adds zeros around the input: a number, one per dimension, "valid" (none) or "same"
    (the output gets the size of the input).
    """
    return _convolution("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@autocasts
def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1,
    padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Slides weight [out, in / groups, d, h, w] over input [images, in, d, h, w]."""
    return _convolution("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)
