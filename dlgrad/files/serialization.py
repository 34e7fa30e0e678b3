"""Saving and loading: state dicts, whole training states, and the files of other programs.

Floor 6.  The format of dlgrad is safetensors.  A mapping of names to tensors becomes a plain
file that other programs read.  Anything nested (dicts, lists and tuples of tensors, numbers,
strings and None, such as an optimizer's state) becomes one too: its tensors are named by their
path, and the rest is JSON in the metadata.  Names like `model.pt` and `array.npy` choose
another format; a file that is read is known by its first bytes.  Nothing in a file is ever
executed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from errno import ENOENT
from typing import Any, BinaryIO

from dlgrad.core import storage as storages
from dlgrad.core.base import view_of
from dlgrad.dtype import DType, dtype_from_name
from dlgrad.errors import FileFormatError
from dlgrad.files import gguf, npy, torch_file
from dlgrad.files.mapped import MappedFile, tensor_bytes, tensor_from_bytes
from dlgrad.files.pickle_machine import not_to_be_saved
from dlgrad.files.safetensors import check_names, header_bytes, layout, read_header
from dlgrad.files.zip_files import read_directory
from dlgrad.helpers import atomic_file
from dlgrad.tensor import Tensor

__all__ = ["load", "load_metadata", "save", "tensor_bytes", "tensor_from_bytes"]

TREE_KEY = "dlgrad.tree"  # the metadata that holds the structure of a nested state
MAX_DEPTH = 100  # of a nested state

_FORMATS = {
    ".pt": "torch", ".pth": "torch", ".npy": "npy", ".npz": "npz", ".safetensors": "safetensors",
}  # fmt: skip

# Saving ---------------------------------------------------------------------------------------


def save(
    state: Any,
    path: str | os.PathLike[str] | BinaryIO,
    metadata: Mapping[str, str] | None = None,
    *,
    format: str | None = None,
) -> None:
    """Writes a state dict, or any nesting of dicts, lists and tuples.

    The leaves may be tensors, dtypes, bools, numbers, strings and None; keys are strings or
    ints.  `path` is a path or a binary file that is open for writing.  `format` is
    "safetensors", "torch" (what `torch.load` reads), "npy" (one tensor) or "npz" (names to
    tensors); by default the end of the name decides (.pt and .pth, .npy, .npz), and anything
    else is safetensors.  `metadata` adds strings to a safetensors file.

    A path gets its new contents when they are complete and on the disk: a kill at any moment
    leaves the old file or the new one.  Raises TypeError or ValueError for what cannot be
    saved, and OSError where writing fails.
    """
    is_file = hasattr(path, "write")
    if not is_file and not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            f"save(state, path) takes the path second, but got a {type(path).__name__} there"
        )
    write = _writer(state, _format_for(path, format), metadata)
    if is_file:
        opened: Any = nullcontext(path)
    else:
        name = os.path.abspath(os.fspath(path))  # type: ignore[arg-type]
        folder = os.path.dirname(name)
        if not os.path.isdir(folder):
            raise FileNotFoundError(ENOENT, "the folder to write into does not exist", folder)
        opened = atomic_file(name, mode=0o666, lasting=True)
    with opened as file:
        write(file)


def _format_for(path: Any, given: str | None) -> str:
    if given is None:
        return _FORMATS.get(os.path.splitext(str(path))[1].lower(), "safetensors")
    known = sorted(set(_FORMATS.values()))
    if given not in known:
        raise ValueError(f"there is no format {given!r} to write; the formats are {known}")
    return given


def _writer(
    state: Any, format: str, metadata: Mapping[str, str] | None
) -> Callable[[BinaryIO], None]:
    """What writes `state` into an open file; the state is checked now."""
    if format == "safetensors":
        return _safetensors_writer(state, dict(metadata or {}))
    if metadata is not None:
        raise TypeError(f"metadata belongs into safetensors files, not into {format}")
    if format == "torch":
        return lambda file: torch_file.write_torch(state, file)
    if format == "npz":
        return lambda file: npy.write_npz(state, file)
    content = npy.npy_bytes(state)
    return lambda file: _write(file, content)


def _write(file: BinaryIO, content: bytes) -> None:
    file.write(content)


def _safetensors_writer(state: Any, notes: dict[str, str]) -> Callable[[BinaryIO], None]:
    bad = [name for item in notes.items() for name in item if not isinstance(name, str)]
    if bad or TREE_KEY in notes:
        raise TypeError(f"metadata maps strings to strings, and not {TREE_KEY!r}: got {notes}")
    if _is_state_dict(state):
        tensors = dict(state)
        if _are_tied(tensors):  # each name has its bytes for other readers; ours reads the tree
            notes[TREE_KEY] = _to_json(_tied_tree(tensors))
    else:
        tensors = {}
        notes[TREE_KEY] = _to_json(_encode(state, "", tensors, {}, 0))
    check_names(list(tensors))
    storages.realize([tensor._storage for tensor in tensors.values()])
    places = layout({name: (t.dtype, tuple(t.shape)) for name, t in tensors.items()})
    entries = {name: places[name] for name in tensors}  # the order of the state
    header = header_bytes(entries, notes)

    def write(file: BinaryIO) -> None:
        file.write(header)
        for name in places:
            file.write(tensor_bytes(tensors[name]))

    return write


def _is_state_dict(state: Any) -> bool:
    return isinstance(state, Mapping) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    )


def _place_of(tensor: Tensor) -> tuple[Any, ...]:
    """Equal for tensors that are the same elements of the same memory."""
    return (id(tensor._storage), view_of(tensor))


def _are_tied(tensors: Mapping[str, Tensor]) -> bool:
    places = {_place_of(tensor) for tensor in tensors.values() if tensor.numel()}
    return len(places) < sum(tensor.numel() > 0 for tensor in tensors.values())


def _tied_tree(tensors: Mapping[str, Tensor]) -> Any:
    """The tree of a state dict in which a tensor is named by the first of its names."""
    names: dict[Any, str] = {}
    for name, tensor in tensors.items():
        names.setdefault(_place_of(tensor), name)
    return {"dict": [[name, {"tensor": names[_place_of(t)]}] for name, t in tensors.items()]}


def _to_json(tree: Any) -> str:
    return json.dumps(tree, separators=(",", ":"))


def _encode(
    value: Any, path: str, tensors: dict[str, Tensor], names: dict[Any, str], depth: int
) -> Any:
    """The JSON form of a nested state: leaves as they are, containers and tensors tagged.

    A tensor that was met before, by its place in memory, is named once more, not stored again.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"a state nested deeper than {MAX_DEPTH} (at {path!r}) cannot be saved")
    if isinstance(value, Tensor):
        place = _place_of(value)
        if place not in names:
            name = path or "tensor"
            while name in tensors:  # paths can meet: {"a.b": x, "a": {"b": y}}
                name += "_"
            tensors[name] = value
            names[place] = name
        return {"tensor": names[place]}
    if value is None or type(value) in (bool, int, float, str):
        return {"float": value.hex()} if type(value) is float else value
    if isinstance(value, DType):
        return {"dtype": value.name}
    inner = f"{path}." if path else ""
    if isinstance(value, Mapping):
        pairs = []
        for key, member in value.items():
            if type(key) not in (str, int):
                raise TypeError(f"the key {key!r} at {path!r} is neither a string nor an int")
            encoded = _encode(member, f"{inner}{key}", tensors, names, depth + 1)
            pairs.append([key, encoded])
        return {"dict": pairs}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {
            kind: [
                _encode(member, f"{inner}{i}", tensors, names, depth + 1)
                for i, member in enumerate(value)
            ]
        }
    raise TypeError(not_to_be_saved(value, path))


# Loading --------------------------------------------------------------------------------------


def load(
    path: str | os.PathLike[str] | BinaryIO,
    map_location: Any = None,
    *,
    weights_only: bool = True,
    mmap: bool = True,
) -> Any:
    """What `save` wrote, or a file of another program: safetensors, PyTorch, NumPy or GGUF.

    A PyTorch file gives tensors and plain containers, an `.npy` file a tensor, the others a
    dict of tensors by name.  `path` is a path or a binary file that is open for reading.

    `map_location` says where tensors go: a device for all, a dict from the locations in the
    file ("cpu", "cuda:0") to devices, or a function of (tensor, location) that gives a tensor,
    a device or None; by default, and where it says None, tensors go to the default device.

    On the CPU the tensors are the mapped file: pages are read when they are first used, and
    writing to a tensor does not change the file; `mmap=False` reads it all at once.  Raises
    FileFormatError where the file is damaged or hostile: it is checked before a tensor is
    made, and nothing in it is executed.  `weights_only` can only be True.
    """
    if not weights_only:
        raise ValueError(
            "weights_only=False would execute what is in the file, which dlgrad never does; "
            "leave it out"
        )
    file = MappedFile(path, map_location, mmap)
    start = bytes(file.data[:8])
    if start.startswith((b"PK\3\4", b"PK\5\6")):
        return _load_zip(file)
    if start.startswith(npy.MAGIC):
        return npy.read_npy(file)
    if start.startswith(gguf.MAGIC):
        return gguf.read_gguf(file)
    if torch_file.is_legacy(file.data):
        raise FileFormatError(
            f"{file.name} has the format of PyTorch before 1.6, which is not read: load it with "
            "PyTorch and save it again, or as safetensors"
        )
    return _load_safetensors(file)


def _load_zip(file: MappedFile) -> Any:
    """A PyTorch file where the archive has a pickle, and else an `.npz` file."""
    try:
        members = read_directory(file.data)
    except FileFormatError as error:
        raise FileFormatError(f"{file.name} is not a zip archive to be read: {error}") from None
    if any(name.endswith("data.pkl") for name in members):
        return torch_file.read_torch(file, members)
    return npy.read_npz(file, members)


def _load_safetensors(file: MappedFile) -> Any:
    header = read_header(file.data, file.name)
    tree = header.metadata.get(TREE_KEY)
    tensors = {
        name: file.tensor(
            header.data_start + entry.begin, entry.end - entry.begin, entry.dtype, entry.shape
        )
        for name, entry in header.entries.items()
    }
    if tree is None:
        return tensors
    try:
        return _decode(json.loads(tree), tensors, 0)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise FileFormatError(
            f"the structure in the metadata of {file.name} is damaged ({error!r})"
        ) from None


def load_metadata(path: str | os.PathLike[str] | BinaryIO) -> dict[str, Any]:
    """The strings in the `__metadata__` of a safetensors file, or the metadata of a GGUF file."""
    file = MappedFile(path)
    if bytes(file.data[:4]) == gguf.MAGIC:
        return gguf.read_gguf_metadata(file)
    return dict(read_header(file.data, file.name).metadata)


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
    if kind == "dtype":
        return dtype_from_name(content)
    if kind == "dict":
        return {key: _decode(member, tensors, depth + 1) for key, member in content}
    if kind in ("list", "tuple"):
        members = [_decode(member, tensors, depth + 1) for member in content]
        return members if kind == "list" else tuple(members)
    raise ValueError(f"{kind!r} is not expected")
