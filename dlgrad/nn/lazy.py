"""Layers that take the number of features or channels from their first input.

Floor 7.  The parameters whose shape is unknown are there from the start, so an optimizer can hold
them; the first call (or a `load_state_dict`) gives them their shape and first values, and the
layer becomes the plain one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlgrad.core.creation import ones, zeros
from dlgrad.core.device_type import DeviceLike
from dlgrad.dtype import DType
from dlgrad.nn.conv import Conv1d, Conv2d, Conv3d, Sizes
from dlgrad.nn.linear import Linear
from dlgrad.nn.module import Module
from dlgrad.nn.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from dlgrad.nn.parameter import UninitializedParameter
from dlgrad.tensor import Tensor


class _Lazy(Module):
    """What lazy layers have in common: the class they become, and how they meet an input."""

    PLAIN: type[Module]

    def _meet(self, size: int) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters for inputs with `size` features or channels."""
        raise NotImplementedError

    def _size_of(self, input: Tensor) -> int:
        if input.ndim < 2:
            raise RuntimeError(
                f"{type(self).__name__} reads the number of channels in dimension 1 of its first "
                f"input, got the shape {tuple(input.shape)}; give a batch"
            )
        return input.shape[1]

    def _size_in(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        """The same by the shapes of a state, or None."""
        raise NotImplementedError

    def _take_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        size = self._size_in(shapes)
        if size is not None:
            self._settle(size)

    def _settle(self, size: int) -> None:
        """Gives shapes and first values to the parameters that have none."""
        shapes = self._meet(size)
        unknown = [
            name for name in shapes if isinstance(getattr(self, name), UninitializedParameter)
        ]
        for name in unknown:
            getattr(self, name).materialize(shapes[name])
        if unknown:
            self.reset_parameters()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not args or not isinstance(args[0], Tensor):
            raise TypeError(f"{type(self).__name__} takes the input as its first argument")
        self._settle(self._size_of(args[0]))
        self.__class__ = self.PLAIN  # type: ignore[assignment]
        return self(*args, **kwargs)

    def _forget_shapes(self, *names: str) -> None:
        """The parameters of these names are given their shapes later."""
        for name in names:
            known = self._parameters[name]
            if known is not None:
                self._parameters[name] = UninitializedParameter(
                    device=known.device, dtype=known.dtype
                )


class LazyLinear(_Lazy, Linear):
    """`Linear` whose `in_features` is the size of the last dimension of the first input."""

    PLAIN = Linear

    def __init__(
        self, out_features: int, bias: bool = True, device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:  # fmt: skip
        Linear.__init__(self, 1, out_features, bias, device, dtype)
        self.in_features = 0
        self._forget_shapes("weight")

    def _size_of(self, input: Tensor) -> int:
        return input.shape[-1]

    def _size_in(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        return shapes["weight"][-1] if "weight" in shapes else None

    def _meet(self, size: int) -> dict[str, tuple[int, ...]]:
        self.in_features = size
        return {"weight": (self.out_features, size)}


class _LazyConv(_Lazy):
    """A convolution whose `in_channels` is the size of dimension 1 of the first input."""

    in_channels: int
    out_channels: int
    groups: int
    kernel_size: tuple[int, ...]

    def __init__(
        self, out_channels: int, kernel_size: Sizes, stride: Sizes = 1, padding: Sizes | str = 0,
        dilation: Sizes = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
        device: DeviceLike = None, dtype: DType | None = None,
    ) -> None:  # fmt: skip
        start: Any = self.PLAIN.__init__
        start(
            self, groups, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip
        self.in_channels = 0
        self._forget_shapes("weight")

    def _size_in(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        return shapes["weight"][1] * self.groups if "weight" in shapes else None

    def _meet(self, size: int) -> dict[str, tuple[int, ...]]:
        if size % self.groups:
            raise ValueError(
                f"groups must divide in_channels, got {self.groups} groups of {size} channels"
            )
        self.in_channels = size
        return {"weight": (self.out_channels, size // self.groups, *self.kernel_size)}


class LazyConv1d(_LazyConv, Conv1d):
    """`Conv1d` whose `in_channels` is the size of dimension 1 of the first input."""

    PLAIN = Conv1d


class LazyConv2d(_LazyConv, Conv2d):
    """`Conv2d` whose `in_channels` is the size of dimension 1 of the first input."""

    PLAIN = Conv2d


class LazyConv3d(_LazyConv, Conv3d):
    """`Conv3d` whose `in_channels` is the size of dimension 1 of the first input."""

    PLAIN = Conv3d


class _LazyBatchNorm(_Lazy):
    """A batch norm whose `num_features` is the size of dimension 1 of the first input."""

    num_features: int
    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(
        self, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: DeviceLike = None, dtype: DType | None = None,
    ) -> None:  # fmt: skip
        start: Any = self.PLAIN.__init__
        start(self, 1, eps, momentum, affine, track_running_stats, device, dtype)
        self.num_features = 0
        self._forget_shapes("weight", "bias")

    def _size_in(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        known = [shapes[name][0] for name in ("weight", "running_mean") if name in shapes]
        return known[0] if known else None

    def _meet(self, size: int) -> dict[str, tuple[int, ...]]:
        self.num_features = size
        for name, make in (("running_mean", zeros), ("running_var", ones)):
            known = self._buffers[name]
            if known is not None and known.shape != (size,):
                self._buffers[name] = make(size, dtype=known.dtype, device=known.device)
        return {
            name: (size,) for name in ("weight", "bias") if self._parameters[name] is not None
        }


class LazyBatchNorm1d(_LazyBatchNorm, BatchNorm1d):
    """`BatchNorm1d` whose `num_features` is the size of dimension 1 of the first input."""

    PLAIN = BatchNorm1d


class LazyBatchNorm2d(_LazyBatchNorm, BatchNorm2d):
    """`BatchNorm2d` whose `num_features` is the size of dimension 1 of the first input."""

    PLAIN = BatchNorm2d


class LazyBatchNorm3d(_LazyBatchNorm, BatchNorm3d):
    """`BatchNorm3d` whose `num_features` is the size of dimension 1 of the first input."""

    PLAIN = BatchNorm3d
