"""DLPack: tensors between libraries in one process, without a copy.

Floor 6.  The structures are those of the DLPack standard, version 1 (github.com/dmlc/dlpack): a
capsule holds a pointer to a managed tensor, whose `deleter` the consumer calls when it is done.
Everything here goes through ctypes, so there is nothing to build.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_int32, c_int64, c_uint8, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import filled
from dlgrad.core.base import TensorBase, requires_grad, view_of
from dlgrad.core.host import over_memory
from dlgrad.dtype import DType, dtype_from_name
from dlgrad.lazy.shape import View, contiguous_strides
from dlgrad.runtime.device import get_backend

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

CPU, CUDA, CUDA_HOST, METAL = 1, 2, 3, 8  # kinds of devices
READ_ONLY, IS_COPIED = 1, 2  # flags
_CODES = {"int": 0, "uint": 1, "float": 2, "bfloat": 4, "bool": 6}
_NAMES = {code: name for name, code in _CODES.items()}


class DLDevice(ctypes.Structure):
    """Where memory is."""

    _fields_ = [("device_type", c_int32), ("device_id", c_int32)]


class DLDataType(ctypes.Structure):
    """The type of an element."""

    _fields_ = [("code", c_uint8), ("bits", c_uint8), ("lanes", ctypes.c_uint16)]


class DLTensor(ctypes.Structure):
    """Memory, shape and strides (in elements)."""

    _fields_ = [
        ("data", c_void_p),
        ("device", DLDevice),
        ("ndim", c_int32),
        ("dtype", DLDataType),
        ("shape", ctypes.POINTER(c_int64)),
        ("strides", ctypes.POINTER(c_int64)),
        ("byte_offset", c_uint64),
    ]


_Deleter = ctypes.CFUNCTYPE(None, c_void_p)


class Managed(ctypes.Structure):
    """DLManagedTensor, from before version 1."""

    _fields_ = [("dl_tensor", DLTensor), ("manager_ctx", c_void_p), ("deleter", c_void_p)]


class ManagedVersioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager_ctx", c_void_p),
        ("deleter", c_void_p),
        ("flags", c_uint64),
        ("dl_tensor", DLTensor),
    ]


def _api(name: str, result: Any, *arguments: Any) -> Any:
    """A function of Python's C interface."""
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


_new = _api("PyCapsule_New", ctypes.py_object, c_void_p, c_char_p, c_void_p)
_is_valid = _api("PyCapsule_IsValid", c_int, ctypes.py_object, c_char_p)
_pointer = _api("PyCapsule_GetPointer", c_void_p, ctypes.py_object, c_char_p)
_rename = _api("PyCapsule_SetName", c_int, ctypes.py_object, c_char_p)
# The same for a capsule that is being destroyed, which must not be referred to any more.
_dying_is_valid = _api("PyCapsule_IsValid", c_int, c_void_p, c_char_p)
_dying_pointer = _api("PyCapsule_GetPointer", c_void_p, c_void_p, c_char_p)

# Capsules keep pointers to their names, so these live as long as the process.
_FRESH = {False: ctypes.c_char_p(b"dltensor"), True: ctypes.c_char_p(b"dltensor_versioned")}
_USED = {
    False: ctypes.c_char_p(b"used_dltensor"), True: ctypes.c_char_p(b"used_dltensor_versioned")
}  # fmt: skip

_given_out: dict[int, Any] = {}  # what keeps each exported structure and its memory alive


def _forget(address: int) -> None:
    """The deleter of everything that is exported."""
    _given_out.pop(address, None)


def _forget_capsule(capsule: int) -> None:
    """The destructor of a capsule: one that nobody has taken over releases its tensor."""
    for name in _FRESH.values():
        if _dying_is_valid(capsule, name):
            _forget(_dying_pointer(capsule, name))


_release, _destroy = _Deleter(_forget), _Deleter(_forget_capsule)

# They are called by other libraries until the very end of the process: never free them.
for _callback in (_release, _destroy):
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_callback))


# Out ------------------------------------------------------------------------------------------


def device_of(x: TensorBase) -> tuple[int, int]:
    """The kind and number of the device, as `__dlpack_device__` gives them."""
    kind, _, index = x._storage.device.partition(":")
    known = {"cpu": CPU, "cuda": CUDA, "metal": METAL}
    if kind not in known:
        raise BufferError(f"DLPack knows no device {kind!r}; use x.cpu() first")
    return known[kind], int(index or 0)


def exported(
    x: Tensor, max_version: tuple[int, int] | None, dl_device: tuple[int, int] | None,
    copy: bool | None,
) -> Any:  # fmt: skip
    """A capsule of `x`; see `Tensor.__dlpack__`."""
    if requires_grad(x):
        raise BufferError(
            "Can't export tensors that require gradient, use tensor.detach()"
        )
    if dl_device is not None and tuple(dl_device) != device_of(x):
        if tuple(dl_device) != (CPU, 0) or copy is False:
            raise BufferError(f"cannot export from device {device_of(x)} to {tuple(dl_device)}")
        x, copy = x.cpu(), None
    if copy:
        x = x.clone()
    versioned = isinstance(max_version, tuple) and max_version >= (1,)
    view = view_of(x)
    memory = x._storage.memory()
    memory.shared = True
    get_backend(x._storage.device).synchronize()
    structure: Any = ManagedVersioned() if versioned else Managed()
    numbers = c_int64 * max(len(view.shape), 1)
    shape, strides = numbers(*view.shape), numbers(*view.strides)
    tensor = structure.dl_tensor
    tensor.data = memory.address or None
    tensor.device.device_type, tensor.device.device_id = device_of(x)
    tensor.ndim = len(view.shape)
    name = x.dtype.name.rstrip("0123456789")
    tensor.dtype.code, tensor.dtype.lanes = _CODES[name], 1
    tensor.dtype.bits = 8 * x.dtype.itemsize
    tensor.shape = ctypes.cast(shape, ctypes.POINTER(c_int64))
    tensor.strides = ctypes.cast(strides, ctypes.POINTER(c_int64))
    tensor.byte_offset = view.offset * x.dtype.itemsize if memory.address else 0
    structure.deleter = ctypes.cast(_release, c_void_p)
    if versioned:
        structure.major, structure.minor = 1, 0
        structure.flags = IS_COPIED if copy else 0
    address = ctypes.addressof(structure)
    _given_out[address] = structure, shape, strides, memory
    return _new(address, _FRESH[versioned], ctypes.cast(_destroy, c_void_p))


# In -------------------------------------------------------------------------------------------


class Taken:
    """A managed tensor of another library, which is told when it is no longer needed."""

    def __init__(self, capsule: Any, versioned: bool) -> None:
        self.address = _pointer(capsule, _FRESH[versioned])
        kind = ManagedVersioned if versioned else Managed
        self.structure: Any = kind.from_address(self.address)
        _rename(capsule, _USED[versioned])
        self.release = _Deleter(self.structure.deleter) if self.structure.deleter else None

    def __del__(self) -> None:
        if self.release is not None:
            self.release(self.address)


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor over the memory of an array of another library, or of a DLPack capsule.

    The memory is shared, and kept until the last tensor over it is gone; a read-only array, and
    one whose elements are not aligned, is copied (`copy=False`: BufferError).  `copy=True` copies
    always; `device` is where the tensor shall be.
    """
    capsule = capsule_of(ext_tensor)
    versioned = bool(_is_valid(capsule, _FRESH[True]))
    if not versioned and not _is_valid(capsule, _FRESH[False]):
        raise RuntimeError(
            "from_dlpack got a capsule that was used already, or that is none of DLPack; a "
            "capsule can be taken over once"
        )
    taken = Taken(capsule, versioned)
    tensor = taken.structure.dl_tensor
    flags = taken.structure.flags if versioned else 0
    dtype = dtype_of(tensor.dtype)
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = (
        tuple(tensor.strides[: tensor.ndim]) if tensor.strides else contiguous_strides(shape)
    )
    kind = tensor.device.device_type
    if kind not in (CPU, CUDA_HOST):
        raise BufferError(
            f"from_dlpack takes memory of the CPU, this array is on a device of kind {kind}; move "
            "it to the CPU first"
        )
    address = (tensor.data or 0) + tensor.byte_offset
    made = shared(address, dtype, shape, strides, taken, bool(flags & READ_ONLY), copy)
    return made if device is None else made.to(device=device)


def shared(
    address: int, dtype: DType, shape: tuple[int, ...], strides: tuple[int, ...], owner: Any,
    read_only: bool, copy: bool | None,
) -> Tensor:  # fmt: skip
    """A tensor over foreign memory, or a copy of what is there."""
    if not View(shape, strides).numel:
        return filled(0, dtype, shape, "cpu")
    aligned = address % dtype.itemsize == 0
    if copy is False and (read_only or not aligned):
        why = "is read-only" if read_only else "is not aligned to its elements"
        raise BufferError(f"the memory {why}, so it cannot be shared; allow a copy")
    if not aligned:
        low, high = View(shape, strides).span
        size = dtype.itemsize
        block = ctypes.create_string_buffer((high - low + 1) * size + size)
        start = -ctypes.addressof(block) % size + ctypes.addressof(block)
        ctypes.memmove(start, address + low * size, (high - low + 1) * size)
        address, owner = start - low * size, block
    made = over_memory(address, dtype, shape, strides, owner)
    return made.clone().realize() if copy or read_only else made


def capsule_of(value: Any) -> Any:
    """The capsule of an object, or the one that it is."""
    if type(value).__name__ == "PyCapsule":
        return value
    if not hasattr(value, "__dlpack__"):
        raise TypeError(
            f"from_dlpack takes an array with __dlpack__ or a capsule, got {type(value).__name__}"
        )
    place = value.__dlpack_device__() if hasattr(value, "__dlpack_device__") else (CPU, 0)
    if not isinstance(place, tuple) or len(place) != 2:
        raise TypeError(f"__dlpack_device__ must give a kind and a number, got {place!r:.80}")
    if place[0] not in (CPU, CUDA_HOST):
        raise BufferError(
            f"from_dlpack takes memory of the CPU, this array is on device {tuple(place)}; move "
            "it to the CPU first"
        )
    try:
        return value.__dlpack__(max_version=(1, 0))
    except TypeError:
        return value.__dlpack__()


def dtype_of(kind: DLDataType) -> DType:
    """The dtype of a DLPack type; TypeError for one that there is not."""
    name = _NAMES.get(kind.code)
    if name is None or kind.lanes != 1 or (name == "bool" and kind.bits != 8):
        raise TypeError(
            f"from_dlpack: no dtype for type code {kind.code} with {kind.bits} bits and "
            f"{kind.lanes} lanes"
        )
    try:
        return dtype_from_name(name if name == "bool" else f"{name}{kind.bits}")
    except (KeyError, ValueError, TypeError) as error:
        raise TypeError(f"from_dlpack: there is no dtype {name}{kind.bits}") from error
