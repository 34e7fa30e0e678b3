"""Making tensors: from data, filled with a number, or counting.

Floor 6.  `dtype`, `device` and `requires_grad` are keyword arguments everywhere; the defaults
are the default float type (int64 or bool where the data is) and the default device.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dlgrad import graph
from dlgrad.apply import counting, filled, where
from dlgrad.base import Number, TensorBase, is_tensor, make, node_of
from dlgrad.device_type import DeviceLike, resolve_device
from dlgrad.dims import as_sizes
from dlgrad.dtype import FLOAT, DType, float64, get_default_dtype, int64, scalar_dtype
from dlgrad.errors import DTypeError
from dlgrad.host import from_bytes, from_foreign, import_data
from dlgrad.shape import Shape

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


def default_float() -> DType:
    """The default float type."""
    return get_default_dtype()


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
    if hasattr(data, "__array_interface__") and hasattr(data, "__buffer__"):
        shared = from_foreign(data, place)
        return shared if dtype is None else shared.to(dtype)
    return import_data(data, dtype, place)


def from_numpy(array: Any) -> Tensor:
    """A CPU tensor that shares the memory of a contiguous, writable NumPy array (else a copy)."""
    return from_foreign(array, "cpu")


def frombuffer(
    buffer: Any, *, dtype: DType, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A one-dimensional tensor with a copy of the bytes of `buffer`, read as `dtype`."""
    raw = memoryview(buffer).cast("B")[offset:]
    length = len(raw) // dtype.itemsize if count < 0 else count
    if length * dtype.itemsize > len(raw):
        raise ValueError(
            f"the buffer holds {len(raw)} bytes after offset {offset}, but {count} elements of "
            f"{dtype!r} need {length * dtype.itemsize}"
        )
    made = from_bytes(raw[: length * dtype.itemsize], dtype, (length,), resolve_device(None))
    return _leaf(made, requires_grad)


def _fill(
    value: Number, shape: Shape, dtype: DType | None, device: DeviceLike, requires_grad: bool
) -> Tensor:
    check_dtype(dtype)
    for size in shape:
        if size < 0:
            raise RuntimeError(
                f"Trying to create tensor with negative dimension {size}: {list(shape)}"
            )
    made = filled(value, dtype or get_default_dtype(), shape, resolve_device(device))
    return _leaf(made, requires_grad)


def zeros(
    *size: Any, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Zeros."""
    return _fill(0, as_sizes(size), dtype, device, requires_grad)


def ones(
    *size: Any, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Ones."""
    return _fill(1, as_sizes(size), dtype, device, requires_grad)


def empty(
    *size: Any, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Memory to be written; what it holds until then is not defined."""
    return _fill(0, as_sizes(size), dtype, device, requires_grad)


def full(
    size: Any, fill_value: Any, *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """`fill_value` everywhere; its own type gives the dtype."""
    if is_tensor(fill_value):
        fill_value = fill_value.item()
    kind = dtype or scalar_dtype(fill_value)
    return _fill(fill_value, as_sizes((size,)), kind, device, requires_grad)


def zeros_like(input: Tensor, *, dtype: DType | None = None, device: DeviceLike = None,
               requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Zeros in the shape, dtype and device of `input`."""
    return full_like(input, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones_like(input: Tensor, *, dtype: DType | None = None, device: DeviceLike = None,
              requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Ones in the shape, dtype and device of `input`."""
    return full_like(input, 1, dtype=dtype, device=device, requires_grad=requires_grad)


def empty_like(input: Tensor, *, dtype: DType | None = None, device: DeviceLike = None,
               requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Memory in the shape, dtype and device of `input`, to be written."""
    return full_like(input, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def full_like(
    input: Tensor, fill_value: Number, *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """`fill_value` in the shape, dtype and device of `input`."""
    place = node_of(input).device if device is None else device
    return _fill(fill_value, input._shape, dtype or input.dtype, place, requires_grad)


def arange(
    start: Number, end: Number | None = None, step: Number = 1, *, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """start, start + step, ... up to but without `end`; arange(n) counts from 0."""
    if end is None:
        start, end = 0, start
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if dtype is None:
        whole = all(isinstance(value, int) for value in (start, end, step))
        dtype = int64 if whole else get_default_dtype()
    if all(isinstance(value, int) for value in (start, end, step)):
        count = -(-(end - start) // step)
    else:
        count = math.ceil((end - start) / step)
    exact = float64 if dtype.kind == FLOAT else int64
    made = counting(0, int64, (int(count),), resolve_device(device))
    if exact is float64 and dtype is not float64 and isinstance(step, int):
        exact = dtype  # whole steps are exact in any float type that holds the end
    made = made.to(exact)
    if step != 1:
        made = made * step
    if start != 0:
        made = made + start
    return _leaf(made.to(dtype), requires_grad)


def linspace(
    start: Number, end: Number, steps: int, *, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """`steps` numbers at equal distances from `start` to `end`, both included."""
    if steps < 0:
        raise RuntimeError(f"number of steps must be non-negative, got {steps}")
    dtype = dtype or get_default_dtype()
    place = resolve_device(device)
    width = (end - start) / max(steps - 1, 1)
    index = counting(0, int64, (steps,), place)
    kind = dtype if dtype.kind == FLOAT else float64
    # From both ends, so that the last number is `end` exactly.
    up = index.to(kind) * width + start
    down = (index - (steps - 1)).to(kind) * width + end
    made = where(index < steps / 2, up, down) if steps > 1 else up
    return _leaf(made.to(dtype), requires_grad)


def eye(
    n: int, m: int | None = None, *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A matrix of n rows and m columns (n) with ones on its diagonal."""
    shape, place = (n, n if m is None else m), resolve_device(device)
    on = counting(0, int64, shape, place) == counting(1, int64, shape, place)
    return _leaf(on.to(dtype or get_default_dtype()), requires_grad)


def uninitialized(shape: Shape, dtype: DType, device: str) -> Tensor:
    """Memory whose contents do not matter because all of it will be written."""
    return make(graph.empty(dtype, shape, device))
