"""Making tensors: from data, or filled with a number.

Floor 6.  `dtype`, `device` and `requires_grad` are keyword arguments everywhere; the defaults
are the default float type (int64 or bool where the data is) and the default device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import as_number, exact, filled
from dlgrad.core.base import Number, TensorBase, is_tensor, make_view, node_of
from dlgrad.core.device_type import DeviceLike, resolve_device
from dlgrad.core.dims import as_sizes
from dlgrad.core.host import from_bytes, from_foreign, has_buffer, import_data
from dlgrad.dtype import DType, get_default_dtype, scalar_dtype
from dlgrad.errors import DTypeError
from dlgrad.lazy.shape import Shape, View

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def _leaf(made: Tensor, requires_grad: bool) -> Tensor:
    return made.requires_grad_() if requires_grad else made


def tensor(
    data: Any,
    *,
    dtype: DType | None = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor with a copy of `data`: a number, nested sequences, a buffer, an array, a tensor."""
    check_dtype(dtype)
    if device is None and isinstance(data, TensorBase):
        place = node_of(data).device
    else:
        place = resolve_device(device)
    return _leaf(import_data(data, dtype, place), requires_grad)


def check_dtype(dtype: DType | None) -> None:
    """TypeError where `dtype` is no dtype."""
    if dtype is not None and not isinstance(dtype, DType):
        raise DTypeError(f"dtype must be a dlgrad.dtype such as dlgrad.float32, got {dtype!r}")


def as_tensor(
    data: Any, dtype: DType | None = None, device: DeviceLike = None
) -> Tensor:
    """`data` itself if it is a tensor that fits, or one that shares its memory where it can."""
    if is_tensor(data):
        return data.to(device=device or data.device, dtype=dtype or data.dtype)
    place = resolve_device(device)
    if hasattr(data, "__array_interface__") and has_buffer(data):
        shared = from_foreign(data, place)
        return shared if dtype is None else shared.to(dtype)
    return import_data(data, dtype, place)


def asarray(
    obj: Any, *, dtype: DType | None = None, device: DeviceLike = None, copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor of `obj`: with `copy` True a new one; False raises where one would be needed."""
    if copy:
        return tensor(obj, dtype=dtype, device=device, requires_grad=requires_grad)
    shares = is_tensor(obj) or hasattr(obj, "__array_interface__")
    made = as_tensor(obj, dtype, device)
    if copy is False and (not shares or (is_tensor(obj) and made is not obj)):
        raise ValueError(
            "can't alias arbitrary sequence into a tensor."
            if not shares
            else "can't alias a tensor with another dtype or device; leave copy=None"
        )
    return made.detach().requires_grad_() if requires_grad else made


def from_numpy(array: Any) -> Tensor:
    """A CPU tensor that shares the memory of a writable NumPy array (of another: a copy).

    Operations are lazy: what is pending reads the array when it is evaluated, so `realize()` it
    before the array is changed.
    """
    return from_foreign(array, "cpu")


def frombuffer(
    buffer: Any, *, dtype: DType, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A one-dimensional tensor with a copy of the bytes of `buffer`, read as `dtype`."""
    check_dtype(dtype)
    whole = memoryview(buffer).cast("B")
    if not 0 <= offset <= len(whole):
        raise ValueError(
            f"offset must be non-negative and no greater than buffer length ({len(whole)}), got "
            f"{offset}"
        )
    raw = whole[offset:]
    length = len(raw) // dtype.itemsize if count < 0 else count
    if length * dtype.itemsize > len(raw):
        raise ValueError(
            f"the buffer holds {len(raw)} bytes after offset {offset}, but {count} elements of "
            f"{dtype!r} need {length * dtype.itemsize}"
        )
    made = from_bytes(raw[: length * dtype.itemsize], dtype, (length,), resolve_device(None))
    return _leaf(made, requires_grad)


def _number(value: Any) -> Number:
    """A Python number, which may come as a tensor of one element."""
    if isinstance(value, complex):
        raise NotImplementedError("complex numbers are not supported")
    return value.item() if is_tensor(value) else as_number(value, "fill_value")


def _sizes(name: str, size: tuple[Any, ...], named: Any) -> Shape:
    """The sizes of f(2, 3), f((2, 3)) and f(size=(2, 3)); TypeError where there are none."""
    if named is not None:
        return as_sizes((named,))
    if not size:
        raise TypeError(f'{name}() missing 1 required positional arguments: "size"')
    return as_sizes(size)


def _fill(
    value: Number, shape: Shape, dtype: DType | None, device: DeviceLike, requires_grad: bool
) -> Tensor:
    check_dtype(dtype)
    for size in shape:
        if size < 0:
            raise RuntimeError(
                f"Trying to create tensor with negative dimension {size}: {list(shape)}"
            )
    kind = dtype or get_default_dtype()
    return _leaf(filled(exact(value, kind), kind, shape, resolve_device(device)), requires_grad)


def zeros(
    *shape: Any, size: Any = None, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Zeros: zeros(2, 3), zeros((2, 3)) or zeros(size=(2, 3)).  RuntimeError for a size below 0."""
    return _fill(0, _sizes("zeros", shape, size), dtype, device, requires_grad)


def ones(
    *shape: Any, size: Any = None, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Ones: ones(2, 3), ones((2, 3)) or ones(size=(2, 3)).  RuntimeError for a size below 0."""
    return _fill(1, _sizes("ones", shape, size), dtype, device, requires_grad)


def empty(
    *shape: Any, size: Any = None, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Memory of a shape, as in empty(2, 3); what it holds until it is written is not defined."""
    return _fill(0, _sizes("empty", shape, size), dtype, device, requires_grad)


def full(
    size: Any, fill_value: Any, *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """`fill_value` everywhere in the shape `size`; its own type gives the dtype.

    RuntimeError where an integer type cannot hold the number.
    """
    check_dtype(dtype)
    kind = fill_value.dtype if is_tensor(fill_value) else scalar_dtype(_number(fill_value))
    return _fill(_number(fill_value), as_sizes((size,)), dtype or kind, device, requires_grad)


def zeros_like(
    input: Tensor, *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """Zeros in the shape, dtype and device of `input`."""
    return full_like(input, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones_like(
    input: Tensor, *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """Ones in the shape, dtype and device of `input`."""
    return full_like(input, 1, dtype=dtype, device=device, requires_grad=requires_grad)


def empty_like(
    input: Tensor, *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """Memory in the shape, dtype and device of `input`, to be written."""
    return full_like(input, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def full_like(
    input: Tensor, fill_value: Any, *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """`fill_value` in the shape, dtype and device of `input`."""
    place = node_of(input).device if device is None else device
    return _fill(_number(fill_value), input._shape, dtype or input.dtype, place, requires_grad)


def empty_strided(
    size: Any, stride: Any, *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Memory to be written, seen with `size` and `stride` (in elements)."""
    shown = View(as_sizes((size,)), as_sizes((stride,)))
    if len(shown.shape) != len(shown.strides) or min(shown.shape + shown.strides, default=0) < 0:
        raise RuntimeError(
            "empty_strided: size and stride must have the same length and not be negative, got "
            f"{list(shown.shape)} and {list(shown.strides)}"
        )
    memory = _fill(0, (shown.span[1] + 1,), dtype, device, False)
    return _leaf(make_view(memory, shown).detach(), requires_grad)


def scalar_tensor(
    s: Any, *, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """A zero-dimensional tensor, of the default float type unless `dtype` says otherwise."""
    return _fill(_number(s), (), dtype, device, requires_grad)


# In the dtype and on the device of a tensor -----------------------------------------------------


def new_tensor(
    input: Tensor, data: Any, *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor with a copy of `data`, in the dtype and on the device of `input`."""
    place = node_of(input).device if device is None else device
    return tensor(data, dtype=dtype or input.dtype, device=place, requires_grad=requires_grad)


def new_full(
    input: Tensor, size: Any, fill_value: Any, *, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """`fill_value` everywhere, in the dtype and on the device of `input`."""
    place = node_of(input).device if device is None else device
    kind = dtype or input.dtype
    return full(size, fill_value, dtype=kind, device=place, requires_grad=requires_grad)


def new_zeros(
    input: Tensor, *size: Any, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Zeros in the dtype and on the device of `input`."""
    shape = as_sizes(size)
    return new_full(input, shape, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def new_ones(
    input: Tensor, *size: Any, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Ones in the dtype and on the device of `input`."""
    shape = as_sizes(size)
    return new_full(input, shape, 1, dtype=dtype, device=device, requires_grad=requires_grad)


def new_empty(
    input: Tensor, *size: Any, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Memory to be written, in the dtype and on the device of `input`."""
    shape = as_sizes(size)
    return new_full(input, shape, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def new_empty_strided(
    input: Tensor, size: Any, stride: Any, *, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """`empty_strided` in the dtype and on the device of `input`."""
    place = node_of(input).device if device is None else device
    kind = dtype or input.dtype
    return empty_strided(size, stride, dtype=kind, device=place, requires_grad=requires_grad)
