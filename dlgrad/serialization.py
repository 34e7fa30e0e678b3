"""Saving and loading: state dicts and whole training states as safetensors files.

Floor 6.  A mapping of names to tensors becomes a plain safetensors file that other programs
read.  Anything nested (dicts, lists and tuples of tensors, numbers, strings and None, such as
an optimizer's state) becomes one too: its tensors are named by their path, and the rest is
JSON in the metadata.  Nothing in a file is ever executed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from dlgrad import graph
from dlgrad import storage as storages
from dlgrad.base import make
from dlgrad.device import Buffer, get_backend
from dlgrad.device_type import DeviceLike, resolve_device
from dlgrad.dtype import DType, bool_
from dlgrad.errors import FileFormatError
from dlgrad.host import export_bytes, from_bytes
from dlgrad.safetensors import (
    Header,
    check_names,
    header_bytes,
    layout,
    read_header,
    write_atomically,
)
from dlgrad.tensor import Tensor

TREE_KEY = "dlgrad.tree"  # the metadata that holds the structure of a nested state
MAX_DEPTH = 100  # of a nested state

# Bytes ----------------------------------------------------------------------------------------


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


# Saving ---------------------------------------------------------------------------------------


def save(
    state: Any, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a state dict, or any nesting of dicts, lists and tuples, as a safetensors file.

    The leaves may be tensors, bools, numbers, strings and None; keys are strings or ints.
    `metadata` adds strings for readers of the file.  The file appears under its name when it
    is complete and on the disk: a kill at any moment leaves the old file or the new one.
    Raises TypeError for a leaf that cannot be saved, and OSError where writing fails.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            f"save(state, path) takes the path second, but got a {type(path).__name__} there"
        )
    notes = dict(metadata or {})
    bad = [name for item in notes.items() for name in item if not isinstance(name, str)]
    if bad or TREE_KEY in notes:
        raise TypeError(f"metadata maps strings to strings, and not {TREE_KEY!r}: got {notes}")
    if _is_state_dict(state):
        tensors = dict(state)
    else:
        tensors = {}
        notes[TREE_KEY] = json.dumps(_encode(state, "", tensors, 0), separators=(",", ":"))
    check_names(list(tensors))
    storages.realize([tensor._storage for tensor in tensors.values()])
    entries = layout({name: (t.dtype, tuple(t.shape)) for name, t in tensors.items()})
    header = header_bytes(entries, notes)
    chunks = (tensor_bytes(tensors[name]) for name in entries)
    write_atomically(os.fspath(path), _chain(header, chunks))


def _chain(header: bytes, chunks: Any) -> Any:
    yield header
    yield from chunks


def _is_state_dict(state: Any) -> bool:
    return isinstance(state, Mapping) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    )


def _encode(value: Any, path: str, tensors: dict[str, Tensor], depth: int) -> Any:
    """The JSON form of a nested state: leaves as they are, containers and tensors tagged."""
    if depth > MAX_DEPTH:
        raise ValueError(f"a state nested deeper than {MAX_DEPTH} (at {path!r}) cannot be saved")
    if isinstance(value, Tensor):
        name = path or "tensor"
        while name in tensors:  # paths can meet: {"a.b": x, "a": {"b": y}}
            name += "_"
        tensors[name] = value
        return {"tensor": name}
    if value is None or type(value) in (bool, int, float, str):
        return {"float": value.hex()} if type(value) is float else value
    inner = f"{path}." if path else ""
    if isinstance(value, Mapping):
        pairs = []
        for key, member in value.items():
            if type(key) not in (str, int):
                raise TypeError(f"the key {key!r} at {path!r} is neither a string nor an int")
            pairs.append([key, _encode(member, f"{inner}{key}", tensors, depth + 1)])
        return {"dict": pairs}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        members = [_encode(v, f"{inner}{i}", tensors, depth + 1) for i, v in enumerate(value)]
        return {kind: members}
    raise TypeError(
        f"cannot save a {type(value).__name__} (at {path!r}): expected tensors, bools, numbers, "
        "strings, None, and dicts, lists and tuples of them"
    )


# Loading --------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str], device: DeviceLike = None) -> Any:
    """What `save` wrote to the file, or the tensors by name of any safetensors file.

    On the CPU the tensors are the mapped file: pages are read when they are first used, and
    writing to a tensor does not change the file.  Raises FileFormatError where the file is
    damaged or hostile: it is checked completely before a tensor is made.
    """
    path = os.fspath(path)
    data, address = _map_file(path)
    header = read_header(data, path)
    name = resolve_device(device)
    tensors = {
        key: _tensor_at(data, address, header, key, name, path) for key in header.entries
    }
    tree = header.metadata.get(TREE_KEY)
    if tree is None:
        return tensors
    try:
        return _decode(json.loads(tree), tensors, 0)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileFormatError(
            f"the structure in the metadata of {path} is damaged ({error!r})"
        ) from None


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The strings in the `__metadata__` of a safetensors file."""
    path = os.fspath(path)
    return read_header(_map_file(path)[0], path).metadata


def _map_file(path: str) -> tuple[memoryview, int]:
    """The bytes of a file, mapped privately, and the address of the first."""
    import ctypes
    import mmap

    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(b""), 0
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return memoryview(mapping), ctypes.addressof(ctypes.c_char.from_buffer(mapping))


def _tensor_at(
    data: memoryview, address: int, header: Header, key: str, device: str, path: str
) -> Tensor:
    """The tensor of one entry, in place where the device can use the mapped memory."""
    entry = header.entries[key]
    begin, end = header.data_start + entry.begin, header.data_start + entry.end
    part = data[begin:end]
    if entry.dtype is bool_ and bytes(part).translate(None, b"\0\1"):
        raise FileFormatError(f"tensor {ascii(key)} of {path} has bools that are not 0 or 1")
    aligned = (address + begin) % entry.dtype.itemsize == 0
    if device != "cpu" or not aligned or begin == end or sys.byteorder != "little":
        return tensor_from_bytes(part, entry.dtype, entry.shape, device)
    buffer = Buffer.wrap(get_backend(device), address + begin, end - begin, part)
    return make(graph.buffer(buffer, entry.dtype, entry.shape, device))


def _decode(value: Any, tensors: Mapping[str, Tensor], depth: int) -> Any:
    """The inverse of `_encode`; ValueError and its like where the file was made by others."""
    if depth > MAX_DEPTH:
        raise ValueError("it is nested too deep")
    if not isinstance(value, dict):
        if value is None or type(value) in (bool, int, str):
            return value
        raise ValueError(f"a {type(value).__name__} is not expected")
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "float":
        return float.fromhex(content)
    if kind == "dict":
        return {key: _decode(member, tensors, depth + 1) for key, member in content}
    if kind in ("list", "tuple"):
        members = [_decode(member, tensors, depth + 1) for member in content]
        return members if kind == "list" else tuple(members)
    raise ValueError(f"{kind!r} is not expected")
