"""PyTorch's files (`.pt`, `.pth`): a zip archive of one pickle and the storages it names.

Floor 6.  Reading runs nothing: the pickle goes through `pickle_machine`, which is given the
few names that make tensors and plain containers.  Tensors lie on the mapped file, share memory
where they did when they were saved, and keep their strides.  Writing gives an archive that
`torch.load` reads with `weights_only=True`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, BinaryIO

from dlgrad.core.base import from_storage, is_tensor, view_of
from dlgrad.core.storage import Storage
from dlgrad.dtype import (
    FLOAT,
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
from dlgrad.files.mapped import MappedFile, quote, tensor_bytes, view_on
from dlgrad.files.pickle_machine import (
    Call,
    Constructor,
    Name,
    PersistentId,
    PickleMachine,
    write_pickle,
)
from dlgrad.files.zip_files import STORED, Member, unpack, write_member
from dlgrad.lazy.shape import View
from dlgrad.tensor import Size, Tensor

MAX_PICKLE_BYTES = 1 << 25
MAX_NOTE_BYTES = 1 << 10  # of the small members beside the pickle

STORAGE_OF_DTYPE = {
    bool_: "BoolStorage",
    uint8: "ByteStorage",
    int8: "CharStorage",
    int16: "ShortStorage",
    int32: "IntStorage",
    int64: "LongStorage",
    float16: "HalfStorage",
    bfloat16: "BFloat16Storage",
    float32: "FloatStorage",
    float64: "DoubleStorage",
}
_UNTYPED = "UntypedStorage"
# The dtypes without a storage class of their own: the tensor names them.
_NAMED_DTYPES = (uint16, uint32, uint64)


def is_legacy(data: memoryview) -> bool:
    """Whether the file begins like those of PyTorch before 1.6: a pickled magic number."""
    return bytes(data[:2]) == b"\x80\x02" and b"\xfc\x9cF\xf9 j\xa8P\x19" in bytes(data[:32])


# Reading --------------------------------------------------------------------------------------


class _StoredBytes:
    """A storage of an archive: a member, and one flat tensor for each dtype it is used as."""

    def __init__(self, file: MappedFile, member: Member, dtype: DType | None, location: str):
        self.file, self.member = file, member
        self.dtype, self.location = dtype, location
        self.flat: dict[DType, Tensor] = {}

    def as_dtype(self, dtype: DType) -> Tensor:
        found = self.flat.get(dtype)
        if found is None:
            nbytes = self.member.packed // dtype.itemsize * dtype.itemsize
            found = self.file.part(self.member.begin, nbytes, dtype, self.location)
            self.flat[dtype] = found
        return found


class _Archive:
    """The members of one file, and the storages read so far."""

    def __init__(self, file: MappedFile, members: Mapping[str, Member], prefix: str) -> None:
        self.file, self.members, self.prefix = file, members, prefix
        self.storages: dict[str, _StoredBytes] = {}

    def storage(self, identity: Any) -> _StoredBytes:
        """The storage that the pickle names as ('storage', class, key, location, size)."""
        if type(identity) is not tuple or len(identity) != 5 or identity[0] != "storage":
            raise FileFormatError(f"it names a storage as {quote(identity)}")
        _, kind, key, location, count = identity
        if not isinstance(kind, Name) or kind.name not in _STORAGES:
            raise FileFormatError(f"it names a storage of the type {quote(kind)}")
        if type(key) is not str or type(location) is not str or type(count) is not int:
            raise FileFormatError(f"it names a storage as {quote(identity[2:])}")
        dtype = _STORAGES[kind.name]
        known = self.storages.get(key)
        if known is not None:
            if known.dtype is not dtype:
                raise FileFormatError(f"it uses the storage {quote(key)} with two types")
            return known
        member = self.members.get(f"{self.prefix}data/{key}")
        if member is None or member.method != STORED:
            raise FileFormatError(f"the bytes of its storage {quote(key)} are missing or packed")
        nbytes = count * (1 if dtype is None else dtype.itemsize)
        if count < 0 or nbytes != member.packed:
            raise FileFormatError(
                f"its storage {quote(key)} has {member.packed} bytes and claims {quote(nbytes)}"
            )
        made = self.storages[key] = _StoredBytes(self.file, member, dtype, location)
        return made


_STORAGES: dict[str, DType | None] = {
    **{name: dtype for dtype, name in STORAGE_OF_DTYPE.items()},
    _UNTYPED: None,
}


def _rebuild(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any = False,
    hooks: Any = None, *more: Any,
) -> Tensor:  # fmt: skip
    """A tensor on a storage; a dtype comes before the rest where the storage has none."""
    if not isinstance(storage, _StoredBytes):
        raise FileFormatError(f"a tensor lies on {quote(storage)}, which is no storage")
    dtype = storage.dtype
    if dtype is None:
        if not more or not isinstance(more[0], DType):
            raise FileFormatError("a tensor has neither a typed storage nor a dtype")
        dtype = more[0]
    for numbers in ((offset,), size, stride):
        whole = isinstance(numbers, (tuple, list)) and all(type(n) is int for n in numbers)
        if not whole or min(numbers, default=0) < 0:
            raise FileFormatError(f"a tensor has the place, sizes or strides {quote(numbers)}")
    if len(size) != len(stride):
        raise FileFormatError(f"a tensor has {len(size)} sizes and {len(stride)} strides")
    made = view_on(storage.as_dtype(dtype), View(tuple(size), tuple(stride), offset))
    return made.requires_grad_() if requires_grad is True and dtype.kind == FLOAT else made


def _rebuild_parameter(data: Any, requires_grad: Any = True, *more: Any) -> Tensor:
    if not is_tensor(data):
        raise FileFormatError(f"a parameter is made of {quote(data)}")
    if requires_grad is True and data.dtype.kind == FLOAT:
        return data.detach().requires_grad_()
    return data


def _rebuild_from_type(make: Any, kind: Any, arguments: Any, state: Any) -> Tensor:
    """A tensor with Python attributes, which are left out."""
    if not isinstance(make, Constructor) or not isinstance(arguments, tuple):
        raise FileFormatError("a tensor with attributes is not made as PyTorch makes it")
    made = make.make(*arguments)
    if not is_tensor(made):
        raise FileFormatError(f"a tensor with attributes is made by {make.name}")
    return made


def _make_size(sizes: Any = ()) -> Size:
    if not isinstance(sizes, (tuple, list)) or not all(type(size) is int for size in sizes):
        raise FileFormatError(f"a size is made of {quote(sizes)}")
    return Size(sizes)


def _make_device(kind: Any, index: Any = None) -> str:
    return str(kind) if index is None else f"{kind}:{index}"


def _make_dict(pairs: Any = ()) -> OrderedDict[Any, Any]:
    if not isinstance(pairs, (tuple, list)) or pairs:
        raise FileFormatError("an OrderedDict is not made as PyTorch makes it")
    return OrderedDict()


def _make_set(members: Any = ()) -> set[Any]:
    if not isinstance(members, (tuple, list)) or not all(
        type(member) in (bool, int, float, str) for member in members
    ):
        raise FileFormatError(f"a set is made of {quote(members)}")
    return set(members)


def _make_bytes(text: Any, encoding: Any) -> bytes:
    if type(text) is not str or encoding != "latin1":
        raise FileFormatError("bytes are not made as Python makes them")
    return text.encode("latin1")


def _names() -> dict[tuple[str, str], Any]:
    """What a pickle in a PyTorch file may name."""
    table: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): Constructor("OrderedDict", _make_dict),
        ("_codecs", "encode"): Constructor("encode", _make_bytes),
        ("torch", "Size"): Constructor("Size", _make_size),
        ("torch", "device"): Constructor("device", _make_device),
        ("torch", "Tensor"): Name("torch", "Tensor"),
        ("torch.nn.parameter", "Parameter"): Name("torch.nn.parameter", "Parameter"),
        ("torch._tensor", "_rebuild_from_type_v2"):
            Constructor("_rebuild_from_type_v2", _rebuild_from_type),
    }  # fmt: skip
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"):
        table["torch._utils", name] = Constructor(name, _rebuild)
    for name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
        table["torch._utils", name] = Constructor(name, _rebuild_parameter)
    for module in ("builtins", "__builtin__"):
        table[module, "set"] = Constructor("set", _make_set)
    for name in _STORAGES:
        table["torch", name] = table["torch.storage", name] = Name("torch", name)
    for dtype in (*STORAGE_OF_DTYPE, *_NAMED_DTYPES):
        table["torch", dtype.name] = dtype
    return table


def read_torch(file: MappedFile, members: Mapping[str, Member]) -> Any:
    """What `torch.save` wrote: tensors and plain containers; FileFormatError for more."""
    try:
        return _read(file, members)
    except FileFormatError as error:
        raise FileFormatError(f"{file.name} is not a PyTorch file to be read: {error}") from None


def _read(file: MappedFile, members: Mapping[str, Member]) -> Any:
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise FileFormatError("it is a zip archive without the one member data.pkl")
    prefix = pickles[0].removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in members:
        raise FileFormatError(
            "it is a TorchScript program; save the state_dict() of the module instead"
        )
    order = members.get(f"{prefix}byteorder")
    if order is not None and unpack(file.data, order, MAX_NOTE_BYTES) != b"little":
        raise FileFormatError("its numbers are big-endian")
    archive = _Archive(file, members, prefix)
    program = bytes(unpack(file.data, members[pickles[0]], MAX_PICKLE_BYTES))
    return PickleMachine(program, _names(), archive.storage).run()


# Writing --------------------------------------------------------------------------------------


class _Writer:
    """Turns tensors into calls that rebuild them, and numbers the storages behind them."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        self.storages: list[Tensor] = []

    def encode(self, value: Any) -> Any:
        """`value` with its tensors as calls; containers are copied."""
        if is_tensor(value):
            return self.encode_tensor(value)
        if isinstance(value, Mapping):
            kind = OrderedDict if isinstance(value, OrderedDict) else dict
            return kind((key, self.encode(member)) for key, member in value.items())
        if isinstance(value, (list, tuple)):
            members = [self.encode(member) for member in value]
            return members if isinstance(value, list) else tuple(members)
        if isinstance(value, DType):
            return Name("torch", value.name)
        return value

    def encode_tensor(self, tensor: Tensor) -> Call:
        storage, view = self.stored(tensor)
        nbytes, dtype = storage.nbytes, tensor.dtype
        named = dtype in _NAMED_DTYPES
        kind = Name("torch.storage", _UNTYPED) if named else Name("torch", STORAGE_OF_DTYPE[dtype])
        count = nbytes if named else nbytes // dtype.itemsize
        number = str(self.numbers[id(storage)])
        identity = PersistentId(("storage", kind, number, "cpu", count))
        requires_grad = tensor.requires_grad and tensor.is_leaf
        arguments: tuple[Any, ...] = (
            identity, view.offset, view.shape, view.strides, requires_grad, OrderedDict(),
        )  # fmt: skip
        if named:
            arguments += (Name("torch", dtype.name),)
            return Call("torch._utils", "_rebuild_tensor_v3", arguments)
        return Call("torch._utils", "_rebuild_tensor_v2", arguments)

    def stored(self, tensor: Tensor) -> tuple[Storage, View]:
        """The storage to write for a tensor, and how the tensor lies on it.

        A tensor with negative strides, which PyTorch does not have, is written as a copy.
        """
        view = view_of(tensor)
        source = tensor
        if min(view.strides, default=0) < 0:
            source = tensor.detach().contiguous().clone()
            view = view_of(source)
        storage = source._storage
        if id(storage) not in self.numbers:
            self.numbers[id(storage)] = len(self.storages)
            self.storages.append(source)
        return storage, view


def write_torch(value: Any, file: BinaryIO) -> None:
    """Writes tensors and plain containers as `torch.save` does.

    Raises TypeError or ValueError, before anything is written, for what cannot be saved.
    """
    import zipfile

    writer = _Writer()
    try:
        program = write_pickle(writer.encode(value))
    except RecursionError:
        raise ValueError(
            "a state that is nested too deep, or holds itself, cannot be saved"
        ) from None
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        write_member(archive, "archive/data.pkl", program)
        write_member(archive, "archive/byteorder", b"little")
        for number, tensor in enumerate(writer.storages):
            write_member(archive, f"archive/data/{number}", _storage_bytes(tensor))
        write_member(archive, "archive/version", b"3\n")


def _storage_bytes(tensor: Tensor) -> bytearray:
    """All elements of the storage behind a tensor."""
    storage = tensor._storage
    return tensor_bytes(from_storage(storage, View.contiguous((storage.node.numel,))))
