"""Names of PyTorch's older programs: `FloatTensor`, `LongTensor`, `Variable`, and their like.

Floor 6.  `dlgrad.FloatTensor([1, 2])` makes a tensor and `isinstance(x, dlgrad.FloatTensor)` asks
for its dtype on the CPU; `dlgrad.tensor(data, dtype=...)` and `x.dtype` say the same.
"""

from __future__ import annotations

from typing import Any

from dlgrad.core.creation import empty, tensor
from dlgrad.core.device_type import set_default_device
from dlgrad.dtype import (
    FLOAT,
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    set_default_dtype,
    uint8,
)
from dlgrad.tensor import Tensor


class _Typed(type):
    """The type of tensors of one dtype, `_dtype`; None stands for all."""

    _dtype: DType | None = None

    def __instancecheck__(cls, instance: Any) -> bool:
        if not isinstance(instance, Tensor):
            return False
        return cls._dtype is None or (instance.dtype is cls._dtype and instance.is_cpu)

    def __call__(cls, *data: Any) -> Tensor:
        if cls._dtype is None:
            raise TypeError(f"{cls.__name__} makes no tensors; use dlgrad.tensor")
        if data and all(isinstance(size, int) for size in data):
            return empty(*data, dtype=cls._dtype, device="cpu")
        if len(data) > 1:
            raise TypeError(f"{cls.__name__} takes the data, or the sizes as ints, got {data!r}")
        return tensor(*(data or ([],)), dtype=cls._dtype, device="cpu")


def _typed(name: str, dtype: DType) -> Any:
    text = f"Makes tensors of {dtype!r} on the CPU, and is the type of them for isinstance."
    return _Typed(name, (), {"_dtype": dtype, "__doc__": text, "__module__": "dlgrad"})


FloatTensor = _typed("FloatTensor", float32)
DoubleTensor = _typed("DoubleTensor", float64)
HalfTensor = _typed("HalfTensor", float16)
BFloat16Tensor = _typed("BFloat16Tensor", bfloat16)
LongTensor = _typed("LongTensor", int64)
IntTensor = _typed("IntTensor", int32)
ShortTensor = _typed("ShortTensor", int16)
CharTensor = _typed("CharTensor", int8)
ByteTensor = _typed("ByteTensor", uint8)
BoolTensor = _typed("BoolTensor", bool_)

_BY_NAME = {
    made.__name__: made
    for made in (FloatTensor, DoubleTensor, HalfTensor, BFloat16Tensor, LongTensor, IntTensor,
                 ShortTensor, CharTensor, ByteTensor, BoolTensor)
}  # fmt: skip


class _AnyTensor(_Typed):
    def __call__(cls, data: Tensor, requires_grad: bool = False) -> Tensor:
        if not isinstance(data, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        return data.detach().requires_grad_() if requires_grad else data.detach()


class Variable(metaclass=_AnyTensor):
    """`Variable(x)` is a tensor over the memory of `x`: since tensors record, it adds nothing."""


def set_default_tensor_type(t: Any, /) -> None:
    """The dtype and device of new tensors by the name of an older type: "torch.FloatTensor".

    `set_default_dtype` and `set_default_device` say the same in two.
    """
    name = t if isinstance(t, str) else t.__name__ if isinstance(t, _Typed) else repr(t)
    *place, last = name.split(".")
    made = _BY_NAME.get(last)
    if made is None or place[-1:] not in ([], ["torch"], ["dlgrad"], ["cuda"]):
        raise TypeError(f"invalid type object: {name}; it is one like 'torch.FloatTensor'")
    if made._dtype.kind != FLOAT:
        raise TypeError("only floating-point types are supported as the default type")
    set_default_device("cuda" if place[-1:] == ["cuda"] else None)
    set_default_dtype(made._dtype)
