"""The bytes of a file, and tensors that lie on them.

Floor 6.  A file is mapped, so that its pages are read when a tensor is first used; the mapping
is private, so that writing to such a tensor does not change the file.  What a place in the
file means is the business of the formats: `safetensors`, `torch_file`, `npy` and `gguf`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from dlgrad.core.base import from_storage, is_tensor, make
from dlgrad.core.device_type import DeviceLike, resolve_device
from dlgrad.core.host import export_bytes, from_bytes
from dlgrad.dtype import DType, bool_
from dlgrad.errors import FileFormatError
from dlgrad.lazy import graph
from dlgrad.lazy.shape import View
from dlgrad.runtime.device import Buffer, get_backend
from dlgrad.tensor import Tensor

MAX_DIMENSIONS = 64
MAX_ELEMENTS = (1 << 63) - 1


def tensor_from_bytes(
    data: bytes | bytearray | memoryview,
    dtype: DType,
    shape: tuple[int, ...],
    device: DeviceLike = None,
) -> Tensor:
    """A new tensor whose elements, row-major and little-endian, are a copy of `data`."""
    needed = dtype.itemsize
    for size in shape:
        needed *= size
    if memoryview(data).nbytes != needed:
        given = memoryview(data).nbytes
        raise ValueError(f"{dtype!r} {list(shape)} needs {needed} bytes, got {given}")
    return from_bytes(data, dtype, shape, resolve_device(device))


def tensor_bytes(tensor: Tensor) -> bytearray:
    """A copy of the elements of `tensor` as bytes, row-major and little-endian."""
    return export_bytes(tensor.detach().contiguous())


def quote(value: Any) -> str:
    """A value from a file for a message: escaped, and never long."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


class MappedFile:
    """The bytes of a file (`data`), with tensors made on them and placed by `map_location`.

    `source` is a path, or an object with `read()` that gives bytes; `mmap=False` reads the
    whole file into memory instead.  `map_location` is what `dlgrad.load` takes.
    """

    def __init__(self, source: Any, map_location: Any = None, mmap: bool = True) -> None:
        self.map_location = map_location
        if hasattr(source, "read"):
            self.name = str(getattr(source, "name", "the file object"))
            self.data, self.address = _hold(source.read())
            return
        self.name = os.fspath(source)
        if isinstance(self.name, bytes):
            self.name = os.fsdecode(self.name)
        with open(self.name, "rb") as file:
            if mmap:
                self.data, self.address = _map(file)
            else:
                self.data, self.address = _hold(file.read())

    @classmethod
    def of_bytes(
        cls, content: bytearray | memoryview, name: str, map_location: Any
    ) -> MappedFile:
        """Writable bytes in memory that stand for the file `name`."""
        made = cls.__new__(cls)
        made.map_location, made.name = map_location, name
        made.data, made.address = _hold(content)
        return made

    def device_for(self, location: str) -> str:
        """The device for a tensor that the file says was at `location`."""
        target = self.map_location
        if isinstance(target, Mapping):
            target = target.get(location)
        return resolve_device(None if callable(target) else target)

    def placed(self, tensor: Tensor, location: str) -> Tensor:
        """What a callable `map_location` makes of a tensor; other tensors are in place already."""
        if not callable(self.map_location):
            return tensor
        answer = self.map_location(tensor, location)
        if answer is None or is_tensor(answer):
            return tensor if answer is None else answer
        return tensor.to(device=answer)

    def part(self, begin: int, nbytes: int, dtype: DType, location: str = "cpu") -> Tensor:
        """The elements at `begin`, one-dimensional and on their device, in place if they can be.

        The caller has checked that the bytes are inside the file.
        """
        piece = self.data[begin : begin + nbytes]
        if dtype is bool_ and _has_odd_bools(piece):
            raise FileFormatError(f"{self.name} has bools that are not 0 or 1")
        device = self.device_for(location)
        count = nbytes // dtype.itemsize
        aligned = (self.address + begin) % dtype.itemsize == 0
        if device != "cpu" or not aligned or not nbytes or sys.byteorder != "little":
            return self.placed(from_bytes(piece, dtype, (count,), device), location)
        buffer = Buffer.wrap(get_backend(device), self.address + begin, nbytes, piece)
        return self.placed(make(graph.buffer(buffer, dtype, (count,), device)), location)

    def tensor(
        self, begin: int, nbytes: int, dtype: DType, shape: tuple[int, ...], location: str = "cpu"
    ) -> Tensor:
        """A row-major tensor at `begin`; the sizes and `nbytes` were checked by the caller."""
        return self.part(begin, nbytes, dtype, location).reshape(shape)


def view_on(flat: Tensor, view: View) -> Tensor:
    """The elements of one-dimensional `flat` that `view` names, sharing its memory.

    Raises FileFormatError where the view leaves the memory, or is larger than a tensor can be.
    """
    low, high = view.span
    if view.numel > MAX_ELEMENTS or len(view.shape) > MAX_DIMENSIONS:
        raise FileFormatError(f"a tensor of shape {quote(list(view.shape))} is too large")
    if low < 0 or high >= flat.numel():
        raise FileFormatError(
            f"a tensor of shape {quote(list(view.shape))}, strides {quote(list(view.strides))} "
            f"and offset {quote(view.offset)} does not fit into its {flat.numel()} elements"
        )
    return from_storage(flat._storage, view)


def _has_odd_bools(piece: memoryview) -> bool:
    step = 1 << 20
    return any(
        bytes(piece[start : start + step]).translate(None, b"\0\1")
        for start in range(0, len(piece), step)
    )


def _map(file: Any) -> tuple[memoryview, int]:
    """The bytes of an open file, mapped privately, and the address of the first."""
    import ctypes
    import mmap

    if os.fstat(file.fileno()).st_size == 0:
        return memoryview(b""), 0
    mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return memoryview(mapping), ctypes.addressof(ctypes.c_char.from_buffer(mapping))


def _hold(content: bytes | bytearray | memoryview) -> tuple[memoryview, int]:
    """The same of bytes in memory."""
    import ctypes

    if not len(content):
        return memoryview(b""), 0
    memory = bytearray(content) if isinstance(content, bytes) else content
    return memoryview(memory), ctypes.addressof(ctypes.c_char.from_buffer(memory))
