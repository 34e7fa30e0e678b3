"""PyTorch's `.pt` files without PyTorch: written, read back, and what hostile ones can do."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict

import pytest

import dlgrad
from dlgrad.dtype import ALL_DTYPES
from dlgrad.errors import FileFormatError
from dlgrad.files import pickle_machine, zip_files
from dlgrad.files.pickle_machine import Call, Name, PersistentId, write_pickle

# What comes back -------------------------------------------------------------------------------


def through_file(state, tmp_path):
    dlgrad.save(state, tmp_path / "file.pt")
    return dlgrad.load(tmp_path / "file.pt")


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=lambda dtype: dtype.name)
def test_every_dtype_comes_back(tmp_path, dtype):
    x = dlgrad.tensor([[0, 1, 1], [1, 0, 1]], dtype=dtype)
    loaded = through_file([x, x[0, 1], x[:0]], tmp_path)
    assert [one.dtype for one in loaded] == [dtype] * 3
    assert loaded[0].tolist() == x.tolist() and loaded[1].item() == 1
    assert tuple(loaded[2].shape) == (0, 3)


def test_containers_and_numbers_come_back(tmp_path):
    state = {
        "model": OrderedDict(b=dlgrad.ones(1), a=dlgrad.zeros(1)), "epoch": 7, 3: "three",
        "numbers": [0, 255, 256, -1, 2**31, -(2**40), 2**70, 1.5, float("inf"), True, None],
        "text": "caf\u00e9", "tuple": (1, ("x",), []), "empty": {}, "dtype": dlgrad.float16,
    }  # fmt: skip
    loaded = through_file(state, tmp_path)
    assert list(loaded) == list(state) and list(loaded["model"]) == ["b", "a"]
    assert type(loaded["model"]) is OrderedDict
    for name in set(state) - {"model"}:
        assert loaded[name] == state[name] and type(loaded[name]) is type(state[name])


def test_views_share_memory_and_keep_their_strides(tmp_path):
    base = dlgrad.arange(24.0).reshape(4, 6)
    state = {"base": base, "turned": base.T, "part": base[1:3, ::2], "flipped": base.flip(0),
             "wide": dlgrad.ones(1).expand(3, 2), "leaf": dlgrad.ones(2, requires_grad=True)}
    loaded = through_file(state, tmp_path)
    for name, x in state.items():
        assert loaded[name].tolist() == x.tolist(), name
    assert loaded["turned"].stride() == (1, 6) and loaded["wide"].stride() == (0, 0)
    assert loaded["leaf"].requires_grad and not loaded["base"].requires_grad
    loaded["base"].add_(100)
    assert loaded["part"].tolist() == (base[1:3, ::2] + 100).tolist()
    assert loaded["flipped"].tolist() == base.flip(0).tolist(), "negative strides are a copy"


def test_the_layout_of_a_file(tmp_path):
    path = tmp_path / "file.pt"
    dlgrad.save({"x": dlgrad.arange(3)}, path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            "archive/data.pkl", "archive/byteorder", "archive/data/0", "archive/version",
        ]  # fmt: skip
        assert archive.read("archive/version") == b"3\n"
    members = zip_files.read_directory(memoryview(path.read_bytes()))
    assert {member.begin % 64 for member in members.values()} == {0}


def test_the_file_is_mapped(tmp_path):
    path = tmp_path / "file.pt"
    dlgrad.save({"x": dlgrad.zeros(1 << 22)}, path)  # 16 MiB
    before = path.read_bytes()
    tracemalloc.start()
    loaded = dlgrad.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
    loaded["x"].add_(1)
    assert path.read_bytes() == before


def test_other_writers_are_read(tmp_path):
    """Newer protocols, attributes of an OrderedDict, parameters, and members with a descriptor."""

    class Ordered:
        def __reduce__(self):
            return OrderedDict, (), {"_metadata": {"": {"version": 1}}}

    plain = {"d": Ordered(), "set": {1, 2}, "bytes": b"\0abc", "long": "x" * 300, "b": [True]}
    for protocol in (2, 3, 4, 5):
        path = tmp_path / "file.pt"
        path.write_bytes(archive(pickle.dumps(plain, protocol)))
        assert dlgrad.load(path) == {**plain, "d": OrderedDict()}
    parameter = Call("torch._utils", "_rebuild_parameter", (tensor_call(), True, OrderedDict()))
    path.write_bytes(archive(write_pickle([parameter, parameter])))
    assert [(p.tolist(), p.requires_grad) for p in dlgrad.load(path)] == [([1.0, 2.0], True)] * 2
    stream = Unseekable()
    with zipfile.ZipFile(stream, "w") as file:  # sizes follow the bytes, as PyTorch writes them
        file.writestr("a/data.pkl", b"\x80\x02K\x07.")
    path.write_bytes(bytes(stream.data))
    assert dlgrad.load(path) == 7


class Unseekable(io.RawIOBase):
    def __init__(self):
        self.data = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.data += data
        return len(data)


# What cannot be saved --------------------------------------------------------------------------


def test_what_cannot_be_saved_is_refused(tmp_path):
    cycle = []
    cycle.append(cycle)
    for state, error in (
        ({"f": object()}, TypeError), ({"s": {1}}, TypeError), (cycle, ValueError),
        ({"n": 1 << 1000}, ValueError),
    ):  # fmt: skip
        with pytest.raises(error):
            dlgrad.save(state, tmp_path / "file.pt")
    with pytest.raises(TypeError, match="metadata"):
        dlgrad.save({}, tmp_path / "file.pt", metadata={"a": "b"})
    assert os.listdir(tmp_path) == []


# Hostile files ---------------------------------------------------------------------------------

DATA = struct.pack("<2f", 1.0, 2.0)


def archive(program, *members, method=zipfile.ZIP_STORED, prefix="archive/"):
    """The bytes of an archive with this pickle, two floats as storage 0, and more members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        file.writestr(prefix + "data.pkl", program)
        file.writestr(prefix + "data/0", DATA)
        for name, data in members:
            file.writestr(name, data)
    return out.getvalue()


def tensor_call(*arguments, kind="FloatStorage", key="0", count=2, name="_rebuild_tensor_v2"):
    identity = PersistentId(("storage", Name("torch", kind), key, "cpu", count))
    return Call("torch._utils", name, (identity, *(arguments or (0, (2,), (1,), False, None))))


def tensor_file(*arguments, **settings):
    return archive(write_pickle(tensor_call(*arguments, **settings)))


def patched(data, find, place, value):
    """`data` with `value` written `place` bytes after the last `find`."""
    at = data.rindex(find) + place
    return data[:at] + value + data[at + len(value) :]


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def pickled(function, *arguments, protocol=2):
    return archive(pickle.dumps(Attack(function, *arguments), protocol))


P = b"\x80\x02"  # a pickle of protocol 2
ORDERED = b"ccollections\nOrderedDict\n"
GOOD = tensor_file()
MARKER = "DLGRAD_TEST_WAS_ATTACKED"
CODE = f"import os; os.environ[{MARKER!r}] = '1'"

HOSTILE_PICKLES = {
    "os.system": pickled(os.system, f"touch {MARKER}"),
    "eval": pickled(eval, f"exec({CODE!r})"),
    "exec": pickled(exec, CODE),
    "exec, protocol 4": pickled(exec, CODE, protocol=4),
    "getattr": pickled(getattr, "x", "upper"),
    "a class of ours": archive(P + b"cdlgrad.data.loader\nDataLoader\n)R."),
    "a private function of torch": archive(P + b"ctorch.serialization\nload\n(X\1\0\0\0xtR."),
    "a dotted name": archive(P + b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n."),
    "the protocol 0 instance": archive(b"(S'touch x'\nios\nsystem\n."),
    "the instruction OBJ": archive(P + b"(" + ORDERED + b"o."),
    "an extension": archive(P + b"\x82\1."),
    "a name alone": archive(P + ORDERED + b"."),
    "a name in a list": archive(P + b"]ctorch\nFloatStorage\na."),
    "calling a value": archive(P + b"K\1)R."),
    "calling without a tuple": archive(P + ORDERED + b"]R."),
    "calling a storage type": archive(P + b"ctorch\nFloatStorage\n)R."),
    "building on a function": archive(P + ORDERED + b"}b."),
    "building on a dict": archive(P + b"}}b."),
    "an OrderedDict of pairs": archive(P + ORDERED + b"(]]K\1aatR."),
    "too many arguments": archive(P + ORDERED + b"(K\1K\2tR."),
    "an unknown instruction": archive(P + b"\xff."),
    "no STOP": archive(P + b"K\1"),
    "nothing": archive(b""),
    "STOP alone": archive(b"."),
    "an empty stack": archive(P + b"a."),
    "no mark": archive(P + b"K\1K\2t."),
    "a mark as value": archive(P + b"(."),
    "a memo that is empty": archive(P + b"h\5."),
    "an append to a tuple": archive(P + b")K\1a."),
    "odd items": archive(P + b"}(K\1u."),
    "a list as key": archive(P + b"}]K\1s."),
    "a dict in a set": archive(P + b"\x8f(}\x90."),
    "a deep tuple as key": archive(P + b"}K\1" + b"\x85" * 50_000 + b"K\1s."),
    "a long tuple as key": archive(P + b"}(" + b"K\1" * 100 + b"tK\1s."),
    "a text that is cut": archive(P + b"X\xff\xff\xff\x7fabc."),
    "a text of 2**60 bytes": archive(P + b"\x8d" + struct.pack("<Q", 1 << 60) + b"abc."),
    "a text that is not UTF-8": archive(P + b"X\2\0\0\0\xff\xfe."),
    "a long integer": archive(P + b"\x8b" + struct.pack("<I", 100_000) + b"\1" * 100_000 + b"."),
    "a negative length": archive(P + b"\x8b\xff\xff\xff\xff."),
    "protocol 9": archive(b"\x80\x09N."),
    "a list that holds itself": archive(P + b"]q\0h\0a."),
    "a dict that holds itself": archive(P + b"}q\0K\1h\0s."),
    "deep nesting": archive(P + b"]" * 200 + b"a" * 199 + b"."),
    "a persistent number": archive(P + b"K\1Q."),
    "a persistent tuple": archive(P + b"K\1K\2\x86Q."),
    "a storage as value of size": archive(write_pickle(
        Call("torch", "Size", (("a",),)))),
    "a tensor of a number": archive(write_pickle(
        Call("torch._utils", "_rebuild_tensor_v2", (3, 0, (2,), (1,), False, None)))),
    "a parameter of a number": archive(write_pickle(
        Call("torch._utils", "_rebuild_parameter", (3, True, None)))),
    "a subclass that calls": archive(write_pickle(
        Call("torch._tensor", "_rebuild_from_type_v2",
             (Name("os", "system"), Name("torch", "Tensor"), ("x",), {})))),
    "a subclass that makes a dict": archive(write_pickle(
        Call("torch._tensor", "_rebuild_from_type_v2",
             (Name("collections", "OrderedDict"), Name("torch", "Tensor"), (), {})))),
    "bytes of another codec": archive(write_pickle(Call("_codecs", "encode", ("x", "hex")))),
}  # fmt: skip

HOSTILE_TENSORS = {
    "beyond the storage": tensor_file(0, (3,), (1,)),
    "an offset beyond": tensor_file(2, (1,), (1,)),
    "a negative offset": tensor_file(-1, (2,), (1,)),
    "a negative stride": tensor_file(1, (2,), (-1,)),
    "a negative size": tensor_file(0, (-2,), (1,)),
    "a stride beyond": tensor_file(0, (2,), (1 << 40,)),
    "a huge size": tensor_file(0, (1 << 62,), (1,)),
    "a huge expanded size": tensor_file(0, (1 << 40, 1 << 40), (0, 0)),
    "sizes and strides of two lengths": tensor_file(0, (2,), (1, 1)),
    "a size that is no number": tensor_file(0, ("2",), (1,)),
    "a size that is a bool": tensor_file(0, (True,), (1,)),
    "sizes that are no tuple": tensor_file(0, 2, (1,)),
    "65 dimensions": tensor_file(0, (1,) * 65, (1,) * 65),
    "no storage of that name": tensor_file(key="1"),
    "a path as key": tensor_file(key="../../../etc/passwd"),
    "a storage that is longer": tensor_file(count=3),
    "a storage that is shorter": tensor_file(count=1),
    "a storage of negative size": tensor_file(count=-2),
    "a storage of a huge size": tensor_file(count=1 << 62),
    "a storage without a dtype": tensor_file(kind="UntypedStorage", count=8),
    "complex numbers": tensor_file(kind="ComplexFloatStorage", count=1),
    "bools that are not": tensor_file(0, (8,), (1,), kind="BoolStorage", count=8),
    "one storage, two types": archive(
        write_pickle([tensor_call(), tensor_call(kind="IntStorage")])
    ),
    "too few arguments": tensor_file(0),
    "big-endian": archive(write_pickle(tensor_call()), ("archive/byteorder", b"big")),
    "TorchScript": archive(write_pickle(tensor_call()), ("archive/constants.pkl", P + b")." )),
    "two pickles": archive(write_pickle(tensor_call()), ("other/data.pkl", P + b"N.")),
    "a pickle below": archive(write_pickle(tensor_call()), prefix="a/b/"),
    "packed storages": archive(write_pickle(tensor_call()), method=zipfile.ZIP_DEFLATED),
}  # fmt: skip

HOSTILE_ARCHIVES = {
    "cut": GOOD[:-30],
    "cut in the middle": GOOD[: len(GOOD) // 2],
    "only the start": GOOD[:10],
    "the pickle changed": GOOD.replace(b"cpu", b"cpx", 1),
    "a member beyond the file": patched(GOOD, b"PK\1\2", 42, b"\xff\xff\xff\x7f"),
    "a huge size": patched(GOOD, b"PK\1\2", 24, b"\xfe\xff\xff\xff"),
    "a huge size of both": patched(GOOD, b"PK\1\2", 20, b"\xfe\xff\xff\xff\xfe\xff\xff\xff"),
    "an encrypted member": patched(GOOD, b"PK\1\2", 8, b"\1\0"),
    "an unknown method": patched(GOOD, b"PK\1\2", 10, b"\x63\0"),
    "a directory beyond the file": patched(GOOD, b"PK\5\6", 16, b"\xff\xff\xff\x7f"),
    "a directory of another size": patched(GOOD, b"PK\5\6", 12, b"\1\0\0\0"),
    "another number of members": patched(GOOD, b"PK\5\6", 10, b"\7\0"),
    "several disks": patched(GOOD, b"PK\5\6", 4, b"\1\0"),
    "a name that is not UTF-8": patched(
        patched(GOOD, b"PK\1\2", 8, b"\0\x08"), b"archive/data/0", 0, b"\xff\xff"
    ),
    "overlapping members": patched(GOOD, b"PK\1\2", 42, b"\0\0\0\0"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "name, data",
    [(name, data) for table in (HOSTILE_PICKLES, HOSTILE_TENSORS, HOSTILE_ARCHIVES)
     for name, data in table.items()],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_hostile_file_is_refused_and_costs_nothing(tmp_path, name, data):
    path = tmp_path / "hostile.pt"
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(FileFormatError) as caught:
        dlgrad.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "hostile.pt" in str(caught.value)
    assert len(str(caught.value)) < 600
    assert peak < 4_000_000
    assert MARKER not in os.environ and os.listdir(tmp_path) == ["hostile.pt"]


def test_the_file_that_hostile_ones_are_made_of_is_good(tmp_path):
    (tmp_path / "good.pt").write_bytes(GOOD)
    assert dlgrad.load(tmp_path / "good.pt").tolist() == [1.0, 2.0]


def test_shared_members_without_end_cost_nothing(tmp_path):
    """A thousand million references in a few lists: read as references, not as copies."""
    program = P + b"]q\0" + b"".join(
        b"](" + b"h" + bytes([i]) + (b"h" + bytes([i])) * 9 + b"eq" + bytes([i + 1])
        for i in range(9)
    ) + b"."  # fmt: skip
    (tmp_path / "laughs.pt").write_bytes(archive(program))
    loaded = dlgrad.load(tmp_path / "laughs.pt")
    assert len(loaded) == 10 and loaded[0] is loaded[9]


def test_a_bomb_is_not_unpacked(tmp_path):
    program = P + b"X" + struct.pack("<I", 1 << 26) + b"a" * (1 << 26) + b"."
    data = archive(program, method=zipfile.ZIP_DEFLATED)
    (tmp_path / "bomb.pt").write_bytes(data)
    lying = data.replace(struct.pack("<I", len(program)), struct.pack("<I", 50_000))
    (tmp_path / "lying.pt").write_bytes(lying)
    for name in ("bomb.pt", "lying.pt"):
        tracemalloc.start()
        with pytest.raises(FileFormatError, match=name):
            dlgrad.load(tmp_path / name)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 4_000_000


def test_files_of_old_versions_are_named(tmp_path):
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    (tmp_path / "old.pt").write_bytes(magic + pickle.dumps(1001, 2))
    with pytest.raises(FileFormatError, match="before 1.6"):
        dlgrad.load(tmp_path / "old.pt")


def test_every_cut_and_every_changed_byte_is_an_error_or_a_value(tmp_path):
    """No byte can make reading crash, hang, or raise anything but FileFormatError."""
    path = tmp_path / "file.pt"
    for place in range(len(GOOD)):
        path.write_bytes(GOOD[:place] + bytes([GOOD[place] ^ 0x55]) + GOOD[place + 1 :])
        try:
            dlgrad.load(path)
        except FileFormatError:
            continue
        except Exception as error:
            raise AssertionError(f"byte {place} gives {error!r}") from error
    for length in range(0, len(GOOD), 5):
        path.write_bytes(GOOD[:length])
        with pytest.raises(FileFormatError):
            dlgrad.load(path)


def test_the_limits_of_the_machine():
    deepest = []
    for _ in range(pickle_machine.MAX_DEPTH - 1):
        deepest = [deepest]
    machine = pickle_machine.PickleMachine(pickle.dumps(deepest, 2), {}, lambda _: None)
    assert machine.run() == deepest
