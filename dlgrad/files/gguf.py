"""GGUF, the format of llama.cpp: metadata, and tensors that may be quantised.

Floor 6.  A file is a header (version, counts), the metadata as typed pairs, the table of the
tensors, and their data on multiples of an alignment.  Everything is checked before a tensor is
made.  Unquantised tensors lie on the mapped file.  Q8_0 and Q4_0 hold blocks of 32 numbers
with one float16 scale each: such a tensor becomes float32 when it is first used, by ordinary
operations on views of the mapped bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from dlgrad.dtype import (
    DType,
    bfloat16,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from dlgrad.errors import FileFormatError
from dlgrad.files.mapped import MAX_DIMENSIONS, MAX_ELEMENTS, MappedFile, quote, view_on
from dlgrad.lazy.shape import View
from dlgrad.operators.joining import cat
from dlgrad.tensor import Tensor

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32  # where the metadata names no other
MAX_TEXT_BYTES = 1 << 24
MAX_ARRAY = 1 << 22  # members of an array in the metadata; a vocabulary has some 260,000
MAX_NESTING = 4
BLOCK = 32  # numbers that share a scale

_NUMBERS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_BOOL, _TEXT, _ARRAY = 7, 8, 9
_PLAIN: dict[int, DType] = {
    0: float32, 1: float16, 24: int8, 25: int16, 26: int32, 27: int64, 28: float64, 30: bfloat16,
}  # fmt: skip
_Q4_0, _Q8_0 = 2, 8
_BLOCK_BYTES = {_Q4_0: 2 + BLOCK // 2, _Q8_0: 2 + BLOCK}


@dataclass(frozen=True)
class _Entry:
    """One tensor: its type's number, row-major shape, and where its bytes are in the file."""

    name: str
    kind: int
    shape: tuple[int, ...]
    begin: int
    nbytes: int


class _Reader:
    """Reads the head of a file from front to back, never beyond its end."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.position = len(MAGIC)

    def number(self, format: str) -> Any:
        (value,) = struct.unpack_from(format, self.data, self.position)
        self.position += struct.calcsize(format)
        return value

    def text(self) -> str:
        length = self.number("<Q")
        if length > min(MAX_TEXT_BYTES, len(self.data) - self.position):
            raise FileFormatError(f"a text in it claims {length} bytes")
        self.position += length
        return bytes(self.data[self.position - length : self.position]).decode("utf-8", "replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _BOOL:
            return bool(self.number("<B"))
        if kind == _TEXT:
            return self.text()
        if kind != _ARRAY or depth >= MAX_NESTING:
            raise FileFormatError(f"its metadata has a value of the type {kind}")
        member, count = self.number("<I"), self.number("<Q")
        if count > min(MAX_ARRAY, len(self.data) - self.position):
            raise FileFormatError(f"an array in its metadata claims {count} members")
        return [self.value(member, depth + 1) for _ in range(count)]


def read_gguf(file: MappedFile) -> dict[str, Tensor]:
    """The tensors by name; Q8_0 and Q4_0 as float32, the others in their own dtype."""
    try:
        _, entries = _read_head(file.data)
        return {entry.name: _tensor(file, entry) for entry in entries}
    except FileFormatError as error:
        raise FileFormatError(f"{file.name} is not a GGUF file to be read: {error}") from None


def read_gguf_metadata(file: MappedFile) -> dict[str, Any]:
    """The metadata: numbers, bools, strings and lists of them by name."""
    try:
        return _read_head(file.data)[0]
    except FileFormatError as error:
        raise FileFormatError(f"{file.name} is not a GGUF file to be read: {error}") from None


def _read_head(data: memoryview) -> tuple[dict[str, Any], list[_Entry]]:
    reader = _Reader(data)
    try:
        version = reader.number("<I")
        if bytes(data[: len(MAGIC)]) != MAGIC or version not in VERSIONS:
            raise FileFormatError(f"it has the version {version}; {VERSIONS} are read")
        tensors, pairs = reader.number("<Q"), reader.number("<Q")
        if max(tensors, pairs) > len(data) // 8:
            raise FileFormatError(f"it claims {tensors} tensors and {pairs} metadata entries")
        metadata: dict[str, Any] = {}
        for _ in range(pairs):
            key = reader.text()
            if key in metadata:
                raise FileFormatError(f"its metadata has {quote(key)} twice")
            metadata[key] = reader.value(reader.number("<I"))
        table = [_read_entry(reader) for _ in range(tensors)]
    except struct.error:
        raise FileFormatError("it ends within its header") from None
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise FileFormatError(f"its alignment is {quote(alignment)}, not a power of two")
    start = reader.position + -reader.position % alignment
    return metadata, _placed(table, start, alignment, len(data))


def _read_entry(reader: _Reader) -> _Entry:
    """An entry whose place is still counted from the start of the data."""
    name = reader.text()
    rank = reader.number("<I")
    if rank > MAX_DIMENSIONS:
        raise FileFormatError(f"tensor {quote(name)} has {rank} dimensions")
    shape = tuple(reader.number("<Q") for _ in range(rank))[::-1]  # the file's order is reversed
    kind, offset = reader.number("<I"), reader.number("<Q")
    count = 1
    for size in shape:
        count *= size
    if count > MAX_ELEMENTS or max(shape, default=0) > MAX_ELEMENTS:
        raise FileFormatError(f"tensor {quote(name)} has the shape {quote(list(shape))}")
    if kind in _PLAIN:
        return _Entry(name, kind, shape, offset, count * _PLAIN[kind].itemsize)
    if kind not in _BLOCK_BYTES:
        raise FileFormatError(
            f"tensor {quote(name)} has the type {kind}; F32, F16, BF16, F64, I8 to I64, Q8_0 and "
            "Q4_0 are read"
        )
    if not shape or shape[-1] % BLOCK:
        raise FileFormatError(f"tensor {quote(name)} has rows that are no whole blocks of {BLOCK}")
    return _Entry(name, kind, shape, offset, count // BLOCK * _BLOCK_BYTES[kind])


def _placed(table: list[_Entry], start: int, alignment: int, end: int) -> list[_Entry]:
    """The entries with their places in the file; they must be aligned, inside, and apart."""
    if len({entry.name for entry in table}) != len(table):
        raise FileFormatError("it has two tensors of one name")
    position = 0
    for entry in sorted(table, key=lambda entry: (entry.begin, entry.nbytes)):
        if entry.begin % alignment or entry.begin < position:
            raise FileFormatError(f"tensor {quote(entry.name)} overlaps others, or is not aligned")
        position = entry.begin + entry.nbytes
        if start + position > end:
            raise FileFormatError(f"tensor {quote(entry.name)} is not inside of the file")
    return [
        _Entry(entry.name, entry.kind, entry.shape, start + entry.begin, entry.nbytes)
        for entry in table
    ]


def _tensor(file: MappedFile, entry: _Entry) -> Tensor:
    if entry.kind in _PLAIN:
        return file.tensor(entry.begin, entry.nbytes, _PLAIN[entry.kind], entry.shape)
    step = _BLOCK_BYTES[entry.kind]
    blocks = entry.nbytes // step
    halves = file.part(entry.begin, entry.nbytes, float16)
    scales = view_on(halves, View((blocks, 1), (step // 2, 1))).float()
    if entry.kind == _Q8_0:
        bytes_of = file.part(entry.begin, entry.nbytes, int8)
        values = view_on(bytes_of, View((blocks, BLOCK), (step, 1), 2 if blocks else 0)).float()
    else:  # the low halves of the 16 bytes come first, then the high ones
        bytes_of = file.part(entry.begin, entry.nbytes, uint8)
        pairs = view_on(bytes_of, View((blocks, BLOCK // 2), (step, 1), 2 if blocks else 0))
        values = cat([pairs & 15, pairs >> 4], dim=1).float() - 8.0
    dequantised: Tensor = (values * scales).reshape(entry.shape)
    return dequantised
