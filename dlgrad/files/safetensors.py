"""The safetensors file format: bytes in, a checked table of tensors out, and the way back.

Floor 6.  A file is an unsigned 64-bit length, that many bytes of JSON, and the data.  The
JSON maps each name to `dtype`, `shape` and `data_offsets` (begin and end within the data);
the key `__metadata__` holds strings.  Everything in a header is checked before anything is
allocated or used: a file is untrusted input.  Tensors stand above, in `serialization`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlgrad.dtype import (
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
    uint8,
    uint16,
    uint32,
    uint64,
)
from dlgrad.errors import FileFormatError
from dlgrad.files.mapped import MAX_DIMENSIONS, quote

MAX_HEADER_BYTES = 100_000_000
MAX_SIZE = (1 << 63) - 1
ALIGNMENT = 64  # where the data of a written file begins, so that it can be used in place

DTYPE_OF_NAME: dict[str, DType] = {
    "BOOL": bool_,
    "U8": uint8,
    "I8": int8,
    "U16": uint16,
    "I16": int16,
    "F16": float16,
    "BF16": bfloat16,
    "U32": uint32,
    "I32": int32,
    "F32": float32,
    "U64": uint64,
    "I64": int64,
    "F64": float64,
}
NAME_OF_DTYPE = {dtype: name for name, dtype in DTYPE_OF_NAME.items()}


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: bytes `begin` to `end` of the data, counted from its start."""

    dtype: DType
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """What the header of a file says; the data begins at byte `data_start` of the file."""

    entries: dict[str, Entry]
    metadata: dict[str, str]
    data_start: int


# Reading --------------------------------------------------------------------------------------


def read_header(data: bytes | memoryview, path: str) -> Header:
    """The checked header of the file whose bytes are `data`; `path` is for the messages.

    Raises FileFormatError, saying what is wrong, for a file that is not valid.
    """
    try:
        return _read_header(memoryview(data))
    except FileFormatError as error:
        raise FileFormatError(f"{path} is not a valid safetensors file: {error}") from None


def _read_header(data: memoryview) -> Header:
    if len(data) < 8:
        raise FileFormatError(f"it has {len(data)} bytes, fewer than the 8 of a header length")
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise FileFormatError(
            f"its first 8 bytes say that a header of {length} bytes follows, and more than "
            f"{MAX_HEADER_BYTES} are not accepted; it is damaged, or of another format"
        )
    if 8 + length > len(data):
        raise FileFormatError(
            f"its header claims {length} bytes, but the file has {len(data) - 8} after the length"
        )
    fields = _parse_json(bytes(data[8 : 8 + length]))
    metadata = _check_metadata(fields.pop("__metadata__", {}))
    entries = {name: _check_entry(name, entry) for name, entry in fields.items()}
    _check_tiling(entries, len(data) - 8 - length)
    return Header(entries, metadata, 8 + length)


def _parse_json(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise FileFormatError("its header does not begin with '{'")
    try:
        fields = json.loads(text.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except FileFormatError:
        raise
    except (ValueError, RecursionError) as error:  # covers bad UTF-8 and numbers too long
        raise FileFormatError(f"its header is not JSON ({error})") from None
    assert isinstance(fields, dict)  # it begins with '{'
    return fields


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in fields if names.count(name) > 1)
        raise FileFormatError(f"its header has the key {quote(twice)} twice")
    return fields


def _check_metadata(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FileFormatError("its __metadata__ is not a table of strings")
    return metadata


def _check_entry(name: str, fields: Any) -> Entry:
    who = f"tensor {quote(name)}"
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise FileFormatError(f"{who} needs exactly dtype, shape and data_offsets")
    dtype_name, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    dtype = DTYPE_OF_NAME.get(dtype_name) if isinstance(dtype_name, str) else None
    if dtype is None:
        known = ", ".join(DTYPE_OF_NAME)
        raise FileFormatError(
            f"{who} has the dtype {quote(dtype_name)}; the dtypes read here are {known}"
        )
    if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise FileFormatError(
            f"{who} has the shape {quote(shape)}; at most {MAX_DIMENSIONS} sizes are expected, "
            "each a whole number from 0 to 2**63 - 1"
        )
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise FileFormatError(
            f"{who} has the data_offsets {quote(offsets)}; [begin, end] is expected"
        )
    begin, end = offsets
    nbytes = dtype.itemsize
    for size in shape:
        nbytes *= size
    if nbytes != end - begin:
        raise FileFormatError(
            f"{who} of {dtype.name} {shape} needs {nbytes} bytes, "
            f"but its data_offsets span {end - begin}"
        )
    return Entry(dtype, tuple(shape), begin, end)


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(
        type(size) is int and 0 <= size <= MAX_SIZE for size in value
    )


def _check_tiling(entries: Mapping[str, Entry], nbytes: int) -> None:
    """The tensors must cover the data exactly: no hole, no overlap, nothing beyond."""
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != position:
            kind = "a hole" if entry.begin > position else "an overlap"
            raise FileFormatError(
                f"there is {kind} before tensor {quote(name)}, which begins at byte "
                f"{entry.begin} of the data where {position} is expected"
            )
        position = entry.end
    if position != nbytes:
        raise FileFormatError(
            f"its tensors take {position} bytes of data, but the file holds {nbytes}"
        )


# Writing --------------------------------------------------------------------------------------


def layout(tensors: Mapping[str, tuple[DType, tuple[int, ...]]]) -> dict[str, Entry]:
    """Where each tensor goes: wide dtypes first, then by name, so that all are aligned."""
    entries = {}
    position = 0
    for name in sorted(tensors, key=lambda name: (-tensors[name][0].itemsize, name)):
        dtype, shape = tensors[name]
        nbytes = dtype.itemsize
        for size in shape:
            nbytes *= size
        entries[name] = Entry(dtype, shape, position, position + nbytes)
        position += nbytes
    return entries


def header_bytes(entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> bytes:
    """The header with its length in front, padded so that the data begins aligned."""
    fields: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    for name, entry in entries.items():
        fields[name] = {
            "dtype": NAME_OF_DTYPE[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [entry.begin, entry.end],
        }
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    if len(text) > MAX_HEADER_BYTES:
        raise ValueError(
            f"a header of {len(text)} bytes is too long: the format allows {MAX_HEADER_BYTES}"
        )
    return len(text).to_bytes(8, "little") + text


def check_names(names: Sequence[str]) -> None:
    """Raises ValueError for a name that the format keeps for itself."""
    if "__metadata__" in names:
        raise ValueError("'__metadata__' cannot be the name of a tensor: the format uses it")
