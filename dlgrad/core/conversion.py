"""`Tensor.to` and its short forms: another dtype, another device.

Floor 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import cast, copy, to_device
from dlgrad.core.base import TensorBase, node_of
from dlgrad.core.creation import check_dtype
from dlgrad.core.device_type import DeviceLike, device, resolve_device
from dlgrad.dtype import DType, dtype_from_name

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def to(
    input: Tensor, *args: Any, dtype: DType | None = None, device: DeviceLike = None,
    non_blocking: bool = False, copy: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """`input` in another dtype and on another device: to(dtype), to(device), to(device, dtype).

    to(other) takes both from a tensor.  The tensor itself where nothing changes, unless `copy`.
    """
    for arg in args:
        if isinstance(arg, DType):
            dtype = arg
        elif isinstance(arg, TensorBase):
            dtype, device = arg.dtype, node_of(arg).device
        elif is_device(arg):
            device = arg
        elif arg is not None and not isinstance(arg, bool):
            raise TypeError(f"to() takes a dtype, a device or a tensor, got {arg!r}")
    check_dtype(dtype)
    out = input
    if device is not None:
        out = to_device(out, resolve_device(device))
    if dtype is not None and dtype is not out.dtype:
        out = cast(out, dtype)
    return clone_of(input) if copy and out is input else out


def is_device(value: Any) -> bool:
    """True for a device or the name of one."""
    return isinstance(value, (str, device))


def clone_of(x: Tensor) -> Tensor:
    """A copy in memory of its own."""
    return copy(x)


def float_(input: Tensor) -> Tensor:
    """As float32."""
    return cast(input, dtype_from_name("float32"))


def double(input: Tensor) -> Tensor:
    """As float64."""
    return cast(input, dtype_from_name("float64"))


def half(input: Tensor) -> Tensor:
    """As float16."""
    return cast(input, dtype_from_name("float16"))


def bfloat16(input: Tensor) -> Tensor:
    """As bfloat16."""
    return cast(input, dtype_from_name("bfloat16"))


def long(input: Tensor) -> Tensor:
    """As int64."""
    return cast(input, dtype_from_name("int64"))


def int_(input: Tensor) -> Tensor:
    """As int32."""
    return cast(input, dtype_from_name("int32"))


def short(input: Tensor) -> Tensor:
    """As int16."""
    return cast(input, dtype_from_name("int16"))


def char(input: Tensor) -> Tensor:
    """As int8."""
    return cast(input, dtype_from_name("int8"))


def byte(input: Tensor) -> Tensor:
    """As uint8."""
    return cast(input, dtype_from_name("uint8"))


def bool_(input: Tensor) -> Tensor:
    """As bool: True where the element is not zero."""
    return cast(input, dtype_from_name("bool"))


def cpu(input: Tensor) -> Tensor:
    """On the CPU."""
    return to_device(input, "cpu")


def cuda(input: Tensor, device: DeviceLike = None, non_blocking: bool = False) -> Tensor:
    """On a CUDA device."""
    return to_device(input, resolve_device("cuda" if device is None else device))


def type_(input: Tensor, dtype: DType | None = None) -> Any:
    """The tensor in another dtype; without one, the name of its own."""
    return f"{input.dtype!r}" if dtype is None else to(input, dtype)


def type_as(input: Tensor, other: Tensor) -> Tensor:
    """In the dtype and on the device of `other`."""
    return to(input, other)
