"""NumPy's files: `.npy`, one array, and `.npz`, a zip archive of them.

Floor 6.  An `.npy` file is a magic word, a header that is the text of a Python dict (element
type, order, shape), and the elements.  The header is matched against the one form that it can
have, never evaluated; arrays of Python objects are refused.  The format is the one that
NumPy's documentation specifies as `numpy.lib.format`.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, BinaryIO, NamedTuple

from dlgrad.core.base import is_tensor
from dlgrad.dtype import DType, dtype_from_name
from dlgrad.errors import DTypeError, FileFormatError
from dlgrad.files.mapped import (
    MAX_DIMENSIONS,
    MAX_ELEMENTS,
    MappedFile,
    quote,
    tensor_bytes,
    view_on,
)
from dlgrad.files.zip_files import STORED, Member, unpack, write_member
from dlgrad.lazy.shape import View
from dlgrad.tensor import Tensor

MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 1 << 16
ALIGNMENT = 64

_KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float"}
_LETTERS = {name[:3]: letter for letter, name in _KINDS.items()}
_HEADER = re.compile(
    r"\{\s*'descr':\s*'([<>|=])([a-zA-Z])(\d{1,4})',"
    r"\s*'fortran_order':\s*(True|False),"
    r"\s*'shape':\s*\(([\d\s,]*)\),?\s*\}\s*"
)
_SWAPS = {2: "H", 4: "I", 8: "Q"}


class _Array(NamedTuple):
    """What a header says; the elements begin `start` bytes after the magic word's first."""

    dtype: DType
    shape: tuple[int, ...]
    fortran: bool
    swapped: bool
    start: int

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def view(self) -> View:
        """How the elements lie in memory: row-major, or column-major for Fortran's order."""
        if not self.fortran:
            return View.contiguous(self.shape)
        turned = View.contiguous(self.shape[::-1])
        return View(self.shape, turned.strides[::-1])


# Reading --------------------------------------------------------------------------------------


def read_npy(file: MappedFile) -> Tensor:
    """The array of an `.npy` file as a tensor on the mapped file."""
    try:
        return _array_at(file, 0, len(file.data))
    except FileFormatError as error:
        raise FileFormatError(f"{file.name} is not an .npy file to be read: {error}") from None


def read_npz(file: MappedFile, members: Mapping[str, Member]) -> dict[str, Tensor]:
    """The arrays of an `.npz` file by name, in the order of the file."""
    try:
        return dict(_arrays(file, members))
    except FileFormatError as error:
        raise FileFormatError(f"{file.name} is not an .npz file to be read: {error}") from None


def _arrays(file: MappedFile, members: Mapping[str, Member]) -> Iterator[tuple[str, Tensor]]:
    for member in members.values():
        name = member.name.removesuffix(".npy")
        if member.method == STORED:
            yield name, _array_at(file, member.begin, member.packed)
        else:
            loose = MappedFile.of_bytes(
                unpack(file.data, member, member.unpacked), file.name, file.map_location
            )
            yield name, _array_at(loose, 0, member.unpacked)


def _array_at(file: MappedFile, begin: int, nbytes: int) -> Tensor:
    """The array whose magic word is at `begin`, and which has `nbytes` with its header."""
    head = _read_header(bytes(file.data[begin : begin + min(nbytes, MAX_HEADER_BYTES)]))
    if head.start + head.nbytes != nbytes:
        raise FileFormatError(
            f"its shape {quote(list(head.shape))} needs {head.nbytes} bytes of data, but it has "
            f"{nbytes - head.start}"
        )
    if head.swapped:
        numbers = array(_SWAPS[head.dtype.itemsize])
        numbers.frombytes(file.data[begin + head.start : begin + nbytes])
        numbers.byteswap()
        file = MappedFile.of_bytes(bytearray(numbers.tobytes()), file.name, file.map_location)
        begin = -head.start
    flat = file.part(begin + head.start, head.nbytes, head.dtype)
    return view_on(flat, head.view) if head.fortran else flat.reshape(head.shape)


def _read_header(data: bytes) -> _Array:
    if data[:6] != MAGIC or len(data) < 10:
        raise FileFormatError("it does not begin like one")
    version = data[6]
    if version not in (1, 2, 3):
        raise FileFormatError(f"it has the version {version}; 1 to 3 are read")
    width = 2 if version == 1 else 4
    length = int.from_bytes(data[8 : 8 + width], "little")
    start = 8 + width + length
    if start > len(data):
        raise FileFormatError(f"its header claims {length} bytes, which it has not")
    match = _HEADER.fullmatch(data[8 + width : start].decode("latin1"))
    if match is None:
        raise FileFormatError(
            f"its header is {quote(data[8 + width : start])}; a plain array of numbers is read"
        )
    order, letter, digits, fortran, sizes = match.groups()
    itemsize = int(digits)
    try:
        name = _KINDS[letter] + ("" if letter == "b" else str(8 * itemsize))
        dtype = dtype_from_name(name)
    except (KeyError, DTypeError):
        raise FileFormatError(
            f"its element type is {order + letter + digits!r}; bools, integers and floats of up "
            "to 64 bits are read"
        ) from None
    if dtype.itemsize != itemsize:
        raise FileFormatError(f"its element type is {order + letter + digits!r}")
    shape = _read_sizes(sizes)
    swapped = order == ">" and itemsize > 1
    return _Array(dtype, shape, fortran == "True" and len(shape) > 1, swapped, start)


def _read_sizes(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if len(words) > MAX_DIMENSIONS or any(len(word) > 19 or " " in word for word in words):
        raise FileFormatError(f"its shape is ({quote(text)})")
    shape = tuple(int(word) for word in words)
    if prod(shape) > MAX_ELEMENTS or max(shape, default=0) > MAX_ELEMENTS:
        raise FileFormatError(f"its shape is ({quote(text)}), which is too large")
    return shape


# Writing --------------------------------------------------------------------------------------


def npy_bytes(tensor: Any) -> bytes:
    """The contents of an `.npy` file; TypeError for what is no tensor, or is bfloat16."""
    if not is_tensor(tensor):
        raise TypeError(f"an .npy file holds a tensor, got a {type(tensor).__name__}")
    dtype = tensor.dtype
    if dtype.format is None:
        raise DTypeError("NumPy has no bfloat16: save x.float(), or use another format")
    order = "|" if dtype.itemsize == 1 else "<"
    letter = _LETTERS[dtype.name[:3]]
    sizes = ", ".join(map(str, tensor._shape)) + ("," if len(tensor._shape) == 1 else "")
    text = (
        f"{{'descr': '{order}{letter}{dtype.itemsize}', 'fortran_order': False, "
        f"'shape': ({sizes}), }}"
    )
    padding = -(len(MAGIC) + 4 + len(text) + 1) % ALIGNMENT
    header = (text + " " * padding + "\n").encode("latin1")
    return MAGIC + b"\1\0" + len(header).to_bytes(2, "little") + header + tensor_bytes(tensor)


def write_npz(tensors: Any, file: BinaryIO) -> None:
    """Writes named tensors as an `.npz` archive, unpacked, in their order."""
    import zipfile

    if not isinstance(tensors, Mapping) or not all(isinstance(name, str) for name in tensors):
        raise TypeError("an .npz file holds a mapping of names to tensors")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, tensor in tensors.items():
            write_member(archive, f"{name}.npy", npy_bytes(tensor))
