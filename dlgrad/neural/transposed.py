"""Transposed convolutions: the gradient of a convolution with respect to its input, as a layer.

Floor 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlgrad.core.autocasting import autocasts
from dlgrad.core.dims import pair
from dlgrad.errors import ShapeError
from dlgrad.neural.convolution import Plan, Sizes, check_steps, check_together, spread
from dlgrad.operators.elementwise import add
from dlgrad.operators.windows import Geometry

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def _check(
    name: str, rank: int, input: Tensor, weight: Tensor, bias: Tensor | None, groups: int
) -> None:
    if weight.ndim != rank + 2:
        raise ShapeError(f"{name}: weight must be {rank + 2}D, but it has shape {weight._shape}")
    if input.ndim != rank + 2:
        raise ShapeError(
            f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input to {name}, but got "
            f"input of size: {list(input._shape)}"
        )
    if groups <= 0:
        raise RuntimeError(f"non-positive groups is not supported, got groups={groups}")
    if input._shape[1] != weight._shape[0]:
        raise ShapeError(
            f"Given transposed=1, weight of size {list(weight._shape)}, expected input"
            f"{list(input._shape)} to have {weight._shape[0]} channels, but got "
            f"{input._shape[1]} channels instead"
        )
    if weight._shape[0] % groups:
        raise ShapeError(
            f"Given groups={groups}, weight of size {list(weight._shape)}: its "
            f"{weight._shape[0]} input channels must be a multiple of the number of groups"
        )
    channels = weight._shape[1] * groups
    if bias is not None and bias._shape != (channels,):
        raise ShapeError(
            f"Given transposed=1, weight of size {list(weight._shape)}, expected bias to be "
            f"1-dimensional with {channels} elements, but got bias of size "
            f"{list(bias._shape)} instead"
        )
    check_together(input, weight, bias)


def _transposed(
    name: str,
    rank: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes,
    output_padding: Sizes,
    groups: int,
    dilation: Sizes,
) -> Tensor:
    if input.ndim == rank + 1:  # one image without a dimension of images
        single = _transposed(
            name, rank, input.unsqueeze(0), weight, bias, stride, padding, output_padding,
            groups, dilation,
        )  # fmt: skip
        return single.squeeze(0)
    _check(name, rank, input, weight, bias, groups)
    strides, sides = pair(stride, rank, "stride"), pair(padding, rank, "padding")
    extra, dilations = (
        pair(output_padding, rank, "output_padding"), pair(dilation, rank, "dilation")
    )  # fmt: skip
    kernel = weight._shape[2:]
    check_steps(name, strides, dilations, kernel)
    if min(sides) < 0 or min(extra) < 0:
        raise RuntimeError(f"{name}: negative padding is not supported, got {sides} and {extra}")
    for more, step, apart in zip(extra, strides, dilations, strict=True):
        if more >= max(step, apart):
            raise RuntimeError(
                "output padding must be smaller than either stride or dilation, but got "
                f"output_padding {extra} with stride {strides} and dilation {dilations}"
            )
    counts = input._shape[2:]
    sizes = tuple(
        (counts[i] - 1) * strides[i] - 2 * sides[i] + dilations[i] * (kernel[i] - 1) + extra[i] + 1
        for i in range(rank)
    )
    if min(sizes) <= 0:
        raise ShapeError(
            f"Given input size per channel: {list(counts)}. Calculated output size per channel: "
            f"{list(sizes)}. Output size is too small"
        )
    geometry = Geometry(kernel, strides, tuple((side, side) for side in sides), dilations)
    plan = Plan(geometry, groups, sizes, counts)
    if bias is None:
        return spread(input, weight, plan)
    wide = input.dtype.compute  # halves are rounded once, after the bias
    out = spread(input.to(wide), weight.to(wide), plan)
    return add(out, bias.to(wide).reshape((-1,) + (1,) * rank)).to(input.dtype)


@autocasts
def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1,
    padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Tensor:  # fmt: skip
    """Adds weight [in, out / groups, length] up at the places of input [images, in, length].

    The result has (length - 1) * stride - 2 * padding + dilation * (kernel - 1) +
    output_padding + 1 places.
    """
    return _transposed("conv_transpose1d", 1, input, weight, bias, stride, padding,
                       output_padding, groups, dilation)  # fmt: skip


@autocasts
def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1,
    padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Tensor:  # fmt: skip
    """Adds weight [in, out / groups, h, w] up at the places of input [images, in, h, w].

    The sizes of the result are those of `conv_transpose1d`, in each dimension.
    """
    return _transposed("conv_transpose2d", 2, input, weight, bias, stride, padding,
                       output_padding, groups, dilation)  # fmt: skip


@autocasts
def conv_transpose3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1,
    padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Tensor:  # fmt: skip
    """Adds weight [in, out / groups, d, h, w] up at the places of input [images, in, d, h, w].

    The sizes of the result are those of `conv_transpose1d`, in each dimension.
    """
    return _transposed("conv_transpose3d", 3, input, weight, bias, stride, padding,
                       output_padding, groups, dilation)  # fmt: skip
