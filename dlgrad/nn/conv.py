"""Convolution layers and transposed convolution layers, over 1 to 3 dimensions.

Floor 7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import dlgrad.nn.functional as F
from dlgrad.core.creation import empty
from dlgrad.core.device_type import DeviceLike
from dlgrad.dtype import DType
from dlgrad.nn import init
from dlgrad.nn.module import Module
from dlgrad.nn.parameter import Parameter
from dlgrad.tensor import Tensor

Sizes = int | tuple[int, ...]
PADDING_MODES = {
    "zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"
}  # fmt: skip


def sizes_of(value: Sizes, count: int, name: str) -> tuple[int, ...]:
    """`value` for each of `count` dimensions, or as it is where it has one number for each."""
    if isinstance(value, int):
        return (value,) * count
    result = tuple(value)
    if len(result) != count or not all(isinstance(v, int) for v in result):
        raise ValueError(f"{name} must be an int or {count} ints, got {value!r}")
    return result


class _Convolution(Module):
    """What all convolutions have; subclasses say over how many dimensions they go."""

    RANK: int
    TRANSPOSED = False

    weight: Parameter
    bias: Parameter | None

    def _set_up(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes,
        padding: Sizes | str,
        dilation: Sizes,
        output_padding: Sizes,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: DeviceLike,
        dtype: DType | None,
    ) -> None:
        super().__init__()
        rank = self.RANK
        if groups < 1:
            raise ValueError(f"groups must be a positive integer, got {groups}")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups must divide in_channels and out_channels, got {groups} groups of "
                f"{in_channels} and {out_channels}"
            )
        if padding_mode not in PADDING_MODES:
            raise ValueError(
                f"padding_mode must be one of {list(PADDING_MODES)}, but got {padding_mode!r}"
            )
        if self.TRANSPOSED and padding_mode != "zeros":
            raise ValueError(
                f'Only "zeros" padding mode is supported for {type(self).__name__}'
            )
        if isinstance(padding, str) and (self.TRANSPOSED or padding not in ("valid", "same")):
            raise ValueError(f"padding must be 'valid', 'same' or a number, got {padding!r}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = sizes_of(kernel_size, rank, "kernel_size")
        self.stride = sizes_of(stride, rank, "stride")
        self.padding = padding if isinstance(padding, str) else sizes_of(padding, rank, "padding")
        self.dilation = sizes_of(dilation, rank, "dilation")
        self.transposed = self.TRANSPOSED
        self.output_padding = sizes_of(output_padding, rank, "output_padding")
        self.groups = groups
        self.padding_mode = padding_mode
        if padding == "same" and any(step != 1 for step in self.stride):
            raise ValueError("padding='same' is not supported for strided convolutions")
        first, second = in_channels, out_channels
        if not self.TRANSPOSED:
            first, second = out_channels, in_channels
        shape = (first, second // groups, *self.kernel_size)
        self.weight = Parameter(empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the first values anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init.fans(self.weight)
            if fan_in:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def _padded(self, input: Tensor) -> tuple[Tensor, Sizes | str]:
        """The input and the zeros still to be put around it, after another kind of padding."""
        if self.padding_mode == "zeros":
            return input, self.padding
        sides: list[int] = []
        for i in range(self.RANK - 1, -1, -1):
            if isinstance(self.padding, str):
                total = self.dilation[i] * (self.kernel_size[i] - 1)
                total = total if self.padding == "same" else 0
                sides += [total // 2, total - total // 2]
            else:
                sides += [self.padding[i]] * 2
        return F.pad(input, sides, PADDING_MODES[self.padding_mode]), 0

    def extra_repr(self) -> str:
        rank = self.RANK
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        ]
        if self.padding != (0,) * rank:
            parts.append(f"padding={self.padding}")
        if self.dilation != (1,) * rank:
            parts.append(f"dilation={self.dilation}")
        if self.output_padding != (0,) * rank:
            parts.append(f"output_padding={self.output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class _Conv(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        self._set_up(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip


class Conv1d(_Conv):
    """1-d convolution: (N, in_channels, L) to (N, out_channels, L'); see `Conv2d`."""

    RANK = 1

    def forward(self, input: Tensor) -> Tensor:
        input, padding = self._padded(input)
        return F.conv1d(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


class Conv2d(_Conv):
    """2-d convolution: (N, in_channels, H, W) to (N, out_channels, H', W').

    `weight` is (out_channels, in_channels / groups, kernel height, kernel width) and `bias`
    (out_channels,); both begin uniformly in +-1/sqrt(fan-in).  `padding` is a number of
    pixels, a pair, "valid" or "same"; the padding is with zeros, or as `padding_mode` says:
    "reflect", "replicate" or "circular".
    """

    RANK = 2

    def forward(self, input: Tensor) -> Tensor:
        input, padding = self._padded(input)
        return F.conv2d(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


class Conv3d(_Conv):
    """3-d convolution: (N, in_channels, D, H, W) to (N, out_channels, D', H', W')."""

    RANK = 3

    def forward(self, input: Tensor) -> Tensor:
        input, padding = self._padded(input)
        return F.conv3d(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


class _ConvTranspose(_Convolution):
    TRANSPOSED = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: str = "zeros",
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        self._set_up(
            in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding,
            groups, bias, padding_mode, device, dtype,
        )  # fmt: skip

    def _output_padding(self, input: Tensor, output_size: Sequence[int] | None) -> tuple[int, ...]:
        """The places to add so that the result has `output_size`, one of those possible."""
        if output_size is None:
            return self.output_padding
        rank = self.RANK
        wanted = tuple(output_size)
        lead = input.ndim - rank
        if len(wanted) == input.ndim:
            wanted = wanted[lead:]
        if len(wanted) != rank:
            raise ValueError(
                f"{type(self).__name__}: for {input.ndim}D input, output_size must have {rank} or "
                f"{input.ndim} elements (got {len(wanted)})"
            )
        extra = []
        assert not isinstance(self.padding, str)
        for i, size in enumerate(wanted):
            least = (
                (input.shape[lead + i] - 1) * self.stride[i]
                - 2 * self.padding[i]
                + self.dilation[i] * (self.kernel_size[i] - 1)
                + 1
            )
            if not least <= size < least + self.stride[i]:
                raise ValueError(
                    f"requested an output size of {list(wanted)}, but dimension {i} must be from "
                    f"{least} to {least + self.stride[i] - 1} (for an input of "
                    f"{list(input.shape[lead:])})"
                )
            extra.append(size - least)
        return tuple(extra)


class ConvTranspose1d(_ConvTranspose):
    """1-d transposed convolution: (N, in_channels, L) to (N, out_channels, L')."""

    RANK = 1

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return F.conv_transpose1d(
            input, self.weight, self.bias, self.stride, self.padding,  # type: ignore[arg-type]
            self._output_padding(input, output_size), self.groups, self.dilation,
        )  # fmt: skip


class ConvTranspose2d(_ConvTranspose):
    """2-d transposed convolution: (N, in_channels, H, W) to (N, out_channels, H', W').

    `weight` is (in_channels, out_channels / groups, kernel height, kernel width).
    H' = (H - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1;
    `output_size` at the call chooses the output padding.
    """

    RANK = 2

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return F.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding,  # type: ignore[arg-type]
            self._output_padding(input, output_size), self.groups, self.dilation,
        )  # fmt: skip


class ConvTranspose3d(_ConvTranspose):
    """3-d transposed convolution: (N, in_channels, D, H, W) to (N, out_channels, D', H', W')."""

    RANK = 3

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return F.conv_transpose3d(
            input, self.weight, self.bias, self.stride, self.padding,  # type: ignore[arg-type]
            self._output_padding(input, output_size), self.groups, self.dilation,
        )  # fmt: skip
