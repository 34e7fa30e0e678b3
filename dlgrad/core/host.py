"""Numbers in and out: Python lists, buffers and arrays of other libraries.

Floor 6.  `import_data` makes a realised tensor of what Python holds; `export_bytes` gives the
elements of a tensor as bytes, evaluated first.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import cast, fit_number
from dlgrad.core.base import (
    Number,
    TensorBase,
    from_storage,
    is_tensor,
    make,
    node_of,
    view_of,
)
from dlgrad.core.storage import Storage, note_import
from dlgrad.dtype import (
    BOOL,
    FLOAT,
    DType,
    bool_,
    dtype_from_name,
    get_default_dtype,
    int64,
    pack_values,
    unpack_values,
)
from dlgrad.lazy import graph
from dlgrad.lazy.ops import BufferOps
from dlgrad.lazy.shape import Shape, View
from dlgrad.runtime.capture import current_capture
from dlgrad.runtime.device import Buffer, get_backend

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

# The characters of `struct` and the buffer protocol; a long is 4 or 8 bytes by platform.
_BUFFER_FORMATS = {
    "?": "bool", "B": "uint8", "H": "uint16", "I": "uint32", "Q": "uint64",
    "b": "int8", "h": "int16", "i": "int32", "q": "int64",
    "e": "float16", "f": "float32", "d": "float64",
    "l": f"int{8 * ctypes.sizeof(ctypes.c_long)}",
    "L": f"uint{8 * ctypes.sizeof(ctypes.c_long)}",
}  # fmt: skip
_INTERFACE_KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float"}

MOST_CHECKED = 4096  # as many arguments are looked at one by one, at little cost


# In -------------------------------------------------------------------------------------------


def from_bytes(data: Any, dtype: DType, shape: Shape, device: str) -> Tensor:
    """A tensor with a copy of row-major bytes."""
    raw = memoryview(data).cast("B")
    memory = Buffer(get_backend(device), len(raw))
    if len(raw):
        memory.copy_in(raw)
    note_import(len(raw))
    return make(graph.buffer(memory, dtype, shape, device))


def from_numbers(values: list[Any], dtype: DType, shape: Shape, device: str) -> Tensor:
    """A tensor of Python numbers in row-major order."""
    if dtype.kind == BOOL:
        values = [bool(value) for value in values]
    elif dtype.kind != FLOAT:
        values = [as_integer(value, dtype) for value in values]
    else:
        values = [float(value) for value in values]
    return from_bytes(pack_values(dtype, values), dtype, shape, device)


def as_integer(value: Number, dtype: DType) -> int:
    """A number as an int, floats cut to what `dtype` holds; ValueError for NaN and infinity."""
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"cannot convert float {value} to {dtype!r}")
    return int(fit_number(int(value), dtype)) if isinstance(value, float) else int(value)


def flatten_nested(data: Any) -> tuple[list[Any], Shape]:
    """The numbers of nested sequences in row-major order, and their shape; iterative."""
    shape: list[int] = []
    level: list[Any] = [data]
    while level and is_sequence(level[0]):
        size = len(level[0])
        for item in level:
            if not is_sequence(item) or len(item) != size:
                got = f"length {len(item)}" if is_sequence(item) else type(item).__name__
                raise ValueError(
                    f"expected sequence of length {size} at dim {len(shape)} (got {got}): all "
                    "rows must have the same length"
                )
        shape.append(size)
        level = [part for item in level for part in item]
    for item in level:
        if is_sequence(item):
            raise ValueError(
                f"expected a number at dim {len(shape)}, got a sequence: all rows must have the "
                "same depth"
            )
    return level, tuple(shape)


def is_sequence(value: Any) -> bool:
    """Whether nested data goes deeper here; TypeError for texts, which are sequences of texts."""
    if isinstance(value, (str, bytes)):
        raise _no_number(value)
    if isinstance(value, (list, tuple, range)):
        return True
    if isinstance(value, TensorBase):
        return bool(value._shape)
    return hasattr(value, "__getitem__") and hasattr(value, "__len__") and bool(
        getattr(value, "shape", True)
    )


def as_scalar(value: Any) -> Number:
    """A leaf of nested data as a Python number."""
    if isinstance(value, (bool, int, float)):
        return value
    if hasattr(value, "item"):
        return as_scalar(value.item())
    if hasattr(value, "__index__"):
        return int(value.__index__())
    if isinstance(value, complex):
        raise NotImplementedError("complex numbers are not supported")
    if hasattr(value, "__float__"):
        return float(value)
    raise _no_number(value)


def _no_number(value: Any) -> TypeError:
    return TypeError(
        f"cannot make a tensor of {value!r} ({type(value).__name__}); give a number, a bool, an "
        "array, or nested lists of them"
    )


def infer_dtype(values: list[Any]) -> DType:
    """bool, int64 or the default float type, whichever holds all of the Python numbers."""
    kinds = {type(value) for value in values}
    if not kinds or not kinds <= {bool, int}:
        return get_default_dtype()
    return bool_ if kinds == {bool} else int64


def import_data(data: Any, dtype: DType | None, device: str) -> Tensor:
    """A tensor with a copy of numbers, nested sequences, buffers or arrays."""
    if is_tensor(data):
        copied = data.detach().to(device=device, dtype=dtype or data.dtype)
        return copied.clone() if copied._storage is data._storage else copied
    foreign = read_foreign(data)
    if foreign is not None:
        raw, own, shape = foreign
        made = from_bytes(raw, own, shape, device)
        return made if dtype is None or dtype is own else cast(made, dtype).detach()
    values, shape = flatten_nested(data)
    values = [as_scalar(value) for value in values]
    return from_numbers(values, dtype or infer_dtype(values), shape, device)


def read_foreign(data: Any) -> tuple[Any, DType, Shape] | None:
    """(row-major bytes, dtype, shape) of an object with a buffer or an array interface."""
    if isinstance(data, (list, tuple, int, float, range)):
        return None
    try:
        view = memoryview(data)
    except (TypeError, ValueError, BufferError):
        return read_interface(data)
    dtype = dtype_of_format(view.format)
    raw = view.tobytes() if not view.c_contiguous else view.cast("B") if view.nbytes else b""
    return raw, dtype, tuple(view.shape or ())


def dtype_of_format(text: str) -> DType:
    """The dtype of a buffer's format; TypeError where there is none."""
    plain = text.lstrip("@=<")
    name = _BUFFER_FORMATS.get(plain)
    if name is None:
        raise TypeError(
            f"can't convert a buffer of format {text!r}: the element types are "
            f"{', '.join(_BUFFER_FORMATS)} in the machine's own byte order"
        )
    return dtype_from_name(name)


def read_interface(data: Any) -> tuple[Any, DType, Shape] | None:
    """The same through `__array_interface__`; None where there is none."""
    interface = getattr(data, "__array_interface__", None)
    if interface is None:
        return None
    dtype, shape = interface_dtype(interface["typestr"]), tuple(interface["shape"])
    count = View.contiguous(shape).numel
    address = interface["data"][0]
    strides = interface.get("strides")
    if strides is None:
        raw = (ctypes.c_char * (count * dtype.itemsize)).from_address(address) if count else b""
        return bytes(raw), dtype, shape
    pieces = []
    for offset in offsets(View(shape, tuple(strides))):
        pieces.append(ctypes.string_at(address + offset, dtype.itemsize))
    return b"".join(pieces), dtype, shape


def interface_dtype(typestr: str) -> DType:
    """The dtype of an array interface, such as "<f4"; TypeError where there is none."""
    order, kind, size = typestr[0], typestr[1], int(typestr[2:])
    name = _INTERFACE_KINDS.get(kind)
    if name is None or (order == ">" and size > 1):
        raise TypeError(f"can't convert an array of type {typestr!r}")
    return dtype_from_name(name if name == "bool" else f"{name}{8 * size}")


def has_buffer(data: Any) -> bool:
    """Whether `memoryview` takes an object, and its steps lead forwards."""
    try:
        return min(memoryview(data).strides or (), default=0) >= 0
    except (TypeError, ValueError, BufferError):
        return False


def from_foreign(data: Any, device: str) -> Tensor:
    """A tensor that shares the memory of a writable CPU array; a copy where it cannot.

    TypeError for an object without a buffer, ValueError for negative strides.
    """
    if isinstance(data, (list, tuple, int, float, range)):
        raise TypeError(
            f"expected np.ndarray (got {type(data).__name__}): an object with memory to share; "
            "dlgrad.tensor(...) copies any numbers"
        )
    view = memoryview(data)
    dtype = dtype_of_format(view.format)
    steps = view.strides or ()
    if min(steps, default=0) < 0:
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative "
            "strides are not currently supported. (You can probably work around this by making a "
            "copy of your array with array.copy().)"
        )
    uneven = any(step % dtype.itemsize for step in steps)
    if view.readonly or not view.nbytes or device != "cpu" or uneven:
        return import_data(data, dtype, device)
    if view.c_contiguous:
        address = ctypes.addressof((ctypes.c_char * view.nbytes).from_buffer(view.cast("B")))
    elif hasattr(data, "__array_interface__"):
        address = data.__array_interface__["data"][0]
    else:
        return import_data(data, dtype, device)
    if address % dtype.itemsize:
        return import_data(data, dtype, device)
    strides = tuple(step // dtype.itemsize for step in steps)
    return over_memory(address, dtype, tuple(view.shape or ()), strides, (data, view))


def over_memory(address: int, dtype: DType, shape: Shape, strides: Shape, owner: Any) -> Tensor:
    """A CPU tensor over memory that somebody else owns; strides in elements, of any sign.

    `owner` is kept as long as the memory is used.
    """
    view = View(shape, strides, 0)
    low, high = view.span
    count = high - low + 1
    start = address + low * dtype.itemsize
    memory = Buffer.wrap(get_backend("cpu"), start, count * dtype.itemsize, owner)
    memory.shared = True
    if view.is_contiguous:
        return make(graph.buffer(memory, dtype, shape, "cpu"))
    node = graph.buffer(memory, dtype, (count,), "cpu")
    return from_storage(Storage(node), View(shape, strides, -low))


# Out ------------------------------------------------------------------------------------------


def offsets(view: View) -> list[int]:
    """The memory elements that a view shows, in row-major order of its indices."""
    places = [view.offset]
    for size, stride in zip(view.shape, view.strides, strict=True):
        steps = [i * stride for i in range(size)]
        places = [place + step for place in places for step in steps]
    return places


def export_bytes(x: TensorBase) -> bytearray:
    """The elements of `x` in row-major order; evaluates."""
    node, view = x._storage.node, view_of(x)
    size = x.dtype.itemsize
    count = view.numel
    if not count:
        return bytearray()
    if view.is_contiguous:
        out = bytearray(count * size)
        x._storage.memory().copy_out(memoryview(out), view.offset * size)
        return out
    if node.numel > max(4 * count, 4096):
        few = make(graph.copy(node_of(x)))
        return export_bytes(few)
    whole = bytearray(node.nbytes)
    x._storage.memory().copy_out(memoryview(whole))
    return gather_bytes(whole, size, view)


def gather_bytes(data: bytearray, size: int, view: View) -> bytearray:
    """The elements of `data` that `view` names."""
    out = bytearray()
    for place in offsets(view):
        out += data[place * size : (place + 1) * size]
    return out


def export_numbers(x: TensorBase) -> list[Any]:
    """The elements of `x` as Python numbers in row-major order; evaluates."""
    data = export_bytes(x)
    return list(unpack_values(x.dtype, memoryview(data)))


def known_numbers(values: Tensor) -> list[Any]:
    """The elements, where they are known already and few; else none.

    Numbers that are not computed yet, or on another device, are not waited for.
    """
    storage = values._storage
    if (
        storage.node.op is not BufferOps.BUFFER
        or storage.device != "cpu"
        or storage.node.numel > MOST_CHECKED
        or current_capture() is not None
    ):
        return []
    return export_numbers(values)


def nested(values: Sequence[Any], shape: Shape) -> Any:
    """Row-major values as nested lists of `shape`; one value for an empty shape."""
    if not shape:
        return values[0]
    level = list(values)
    for size in reversed(shape[1:]):
        if size == 0:
            return empty_nested(shape)
        level = [level[i : i + size] for i in range(0, len(level), size)]
    return level


def empty_nested(shape: Shape) -> list[Any]:
    """Nested lists for a shape with a zero in it."""
    if not shape or shape[0] == 0:
        return []
    return [empty_nested(shape[1:]) for _ in range(shape[0])]
