"""Saving and loading: what comes back, what a hostile file can do (nothing), and atomic writes."""

import io
import json
import os
import random
import subprocess
import sys
import textwrap
import time
import tracemalloc

import pytest

import dlgrad
from dlgrad import helpers
from dlgrad.dtype import ALL_DTYPES
from dlgrad.errors import FileFormatError
from dlgrad.files import safetensors
from dlgrad.files.serialization import load_metadata, tensor_bytes, tensor_from_bytes


def same(a, b):
    return a.dtype is b.dtype and tuple(a.shape) == tuple(b.shape) and a.tolist() == b.tolist()


# What comes back -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=lambda dtype: dtype.name)
def test_every_dtype_comes_back(tmp_path, dtype):
    values = [[0, 1, 1], [1, 0, 1]] if dtype is dlgrad.bool else [[0, 1, 2], [3, 100, 7]]
    saved = {"x": dlgrad.tensor(values, dtype=dtype), "y": dlgrad.tensor(1, dtype=dtype)}
    dlgrad.save(saved, tmp_path / "file.safetensors")
    loaded = dlgrad.load(tmp_path / "file.safetensors")
    assert sorted(loaded) == ["x", "y"]
    assert same(loaded["x"], saved["x"]) and same(loaded["y"], saved["y"])


def test_special_floats_empty_and_strided_tensors_come_back(tmp_path):
    base = dlgrad.arange(24, dtype=dlgrad.float32).reshape(2, 3, 4)
    saved = {
        "empty": dlgrad.zeros(0, 3),
        "special": dlgrad.tensor([float("inf"), float("-inf"), -0.0]),
        "transposed": base.permute(2, 0, 1),
        "part": base[1, 1:],
        "expanded": dlgrad.tensor([5.0]).expand(3, 2),
        "nested.name with spaces \u00e9": dlgrad.tensor([1]),
    }
    path = tmp_path / "file.safetensors"
    dlgrad.save(saved, path)
    loaded = dlgrad.load(path)
    assert {name: same(loaded[name], saved[name]) for name in saved} == dict.fromkeys(saved, True)
    assert str(loaded["special"].tolist()[2]) == "-0.0"


def test_the_layout_of_a_file(tmp_path):
    path = tmp_path / "file.safetensors"
    dlgrad.save({"b": dlgrad.tensor([1.5]), "a": dlgrad.tensor([7], dtype=dlgrad.uint8),
                 "c": dlgrad.tensor([1])}, path, metadata={"format": "pt"})  # fmt: skip
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert (8 + length) % 64 == 0
    assert json.loads(data[8 : 8 + length]) == {
        "__metadata__": {"format": "pt"},
        "c": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]},
        "a": {"dtype": "U8", "shape": [1], "data_offsets": [12, 13]},
    }
    assert data[8 + length :] == b"\1" + 7 * b"\0" + b"\0\0\xc0\x3f" + b"\7"
    assert load_metadata(path) == {"format": "pt"}


def test_a_file_without_padding_is_read(tmp_path):
    """Other writers do not align: an odd header puts every tensor at an odd address."""
    header = b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    assert len(header) % 2 == 0
    header += b" "
    path = tmp_path / "odd.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0\x80\x3f\0\0\0\x40")
    assert dlgrad.load(path)["x"].tolist() == [1.0, 2.0]


def test_nested_states_come_back(tmp_path):
    state = {
        "model": {"w": dlgrad.ones(2, 2), "w.b": dlgrad.zeros(1)},
        "model.w": dlgrad.tensor([3]),
        "optimizer": {
            "state": {0: {"step": dlgrad.tensor(3.0)}, 1: {}},
            "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "amsgrad": False, "params": [0]}],
        },
        "epoch": 7,
        "best": float("inf"),
        "note": "caf\u00e9",
        "nothing": None,
    }
    path = tmp_path / "run.safetensors"
    dlgrad.save(state, path)
    loaded = dlgrad.load(path)
    assert list(loaded) == list(state)
    assert loaded["optimizer"]["param_groups"] == state["optimizer"]["param_groups"]
    assert isinstance(loaded["optimizer"]["param_groups"][0]["betas"], tuple)
    assert loaded["optimizer"]["state"][0]["step"].item() == 3.0
    assert loaded["optimizer"]["state"][1] == {}
    assert [loaded[name] for name in ("epoch", "best", "note", "nothing")] == [
        7, float("inf"), "caf\u00e9", None,
    ]  # fmt: skip
    assert same(loaded["model"]["w"], state["model"]["w"])
    assert same(loaded["model"]["w.b"], state["model"]["w.b"])
    assert same(loaded["model.w"], state["model.w"])


def test_the_order_of_names_is_kept(tmp_path):
    names = ["w", "a", "step", "z"]
    state = {name: dlgrad.ones(2, dtype=dtype) for name, dtype in zip(
        names, (dlgrad.uint8, dlgrad.float64, dlgrad.int16, dlgrad.float32), strict=True)}
    path = tmp_path / "file.safetensors"
    dlgrad.save(state, path)
    assert list(dlgrad.load(path)) == names


def test_shared_tensors_stay_shared(tmp_path):
    path = tmp_path / "file.safetensors"
    weight = dlgrad.ones(2, 3)
    tied = {"embedding": weight, "other": dlgrad.zeros(1), "": weight, "turned": weight.T}
    dlgrad.save(tied, path)
    loaded = dlgrad.load(path)
    assert list(loaded) == list(tied)
    assert set(safetensors.read_header(path.read_bytes(), "file").entries) == set(tied)
    loaded["embedding"].add_(1)
    assert loaded[""].tolist() == [[2.0] * 3] * 2, "one memory under both names"
    assert loaded["turned"].tolist() == [[1.0] * 2] * 3, "another view is a copy"
    dlgrad.save({"model": tied, "best": {"w": weight}}, path)
    entries = safetensors.read_header(path.read_bytes(), "file").entries
    assert sorted(entries) == ["model.embedding", "model.other", "model.turned"]
    nested = dlgrad.load(path)
    nested["best"]["w"].zero_()
    assert nested["model"]["embedding"].tolist() == [[0.0] * 3] * 2


def test_dtypes_are_leaves(tmp_path):
    for name in ("file", "file.pt"):
        dlgrad.save({"dtype": dlgrad.bfloat16}, tmp_path / name)
        assert dlgrad.load(tmp_path / name) == {"dtype": dlgrad.bfloat16}


def test_map_location(tmp_path):
    path = tmp_path / "file"
    dlgrad.save({"x": dlgrad.ones(2)}, path)
    seen = []

    def place(tensor, location):
        seen.append((tensor.tolist(), location))
        return tensor * 2

    assert dlgrad.load(path, "python")["x"].device.type == "python"
    assert dlgrad.load(path, {"cpu": "python"})["x"].device.type == "python"
    assert dlgrad.load(path, {"cuda:0": "python"})["x"].device.type == "cpu"
    assert dlgrad.load(path, place)["x"].tolist() == [2.0, 2.0]
    assert seen == [([1.0, 1.0], "cpu")]
    assert dlgrad.load(path, lambda tensor, location: "python")["x"].device.type == "python"
    with pytest.raises(dlgrad.DeviceError):
        dlgrad.load(path, "moon")


def test_open_files(tmp_path):
    for format in ("safetensors", "torch", "npz"):
        file = io.BytesIO()
        dlgrad.save({"x": dlgrad.arange(3)}, file, format=format)
        file.seek(0)
        assert dlgrad.load(file)["x"].tolist() == [0, 1, 2]
    with open(tmp_path / "file", "w+b") as file:
        dlgrad.save({"x": dlgrad.arange(3)}, file)
        file.seek(0)
        assert dlgrad.load(file, mmap=False)["x"].tolist() == [0, 1, 2]


def test_nothing_is_ever_executed(tmp_path):
    with pytest.raises(ValueError, match="weights_only"):
        dlgrad.load(tmp_path / "file", weights_only=False)
    with pytest.raises(ValueError, match="no format 'pickle'"):
        dlgrad.save({}, tmp_path / "file", format="pickle")


def test_loading_copies_nothing_and_writing_does_not_change_the_file(tmp_path):
    path = tmp_path / "file.safetensors"
    dlgrad.save({"x": dlgrad.zeros(1 << 22)}, path)  # 16 MiB
    before = path.read_bytes()
    tracemalloc.start()
    loaded = dlgrad.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
    loaded["x"].add_(1)
    assert loaded["x"][0].item() == 1.0
    assert path.read_bytes() == before


def test_a_loaded_tensor_outlives_its_file(tmp_path):
    path = tmp_path / "file.safetensors"
    dlgrad.save({"x": dlgrad.arange(1000)}, path)
    loaded = dlgrad.load(path)
    dlgrad.save({"x": dlgrad.zeros(3)}, path)
    path.unlink()
    assert loaded["x"].sum().item() == 499500


def test_bytes_there_and_back():
    x = dlgrad.arange(6, dtype=dlgrad.int16).reshape(2, 3)
    assert tensor_bytes(x.T) == bytes([0, 0, 3, 0, 1, 0, 4, 0, 2, 0, 5, 0])
    assert same(tensor_from_bytes(tensor_bytes(x), dlgrad.int16, (2, 3)), x)
    with pytest.raises(ValueError, match="needs 6 bytes, got 5"):
        tensor_from_bytes(b"12345", dlgrad.int16, (3,))


# What cannot be saved --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state, message",
    [
        ({"f": object()}, "cannot save object"),
        ({"f": {1.5: 2}}, "the key 1.5"),
        ({"s": {1, 2}}, "cannot save set"),
        (print, "builtin_function"),
        ({"m": [dlgrad.nn.Linear(1, 1)]}, r"Linear \(at 'm.0'\).*save its state_dict\(\)"),
    ],
)
def test_what_cannot_be_saved_is_refused(tmp_path, state, message):
    path = tmp_path / "file.safetensors"
    with pytest.raises(TypeError, match=message):
        dlgrad.save(state, path)
    assert os.listdir(tmp_path) == []


def test_reserved_names_are_refused(tmp_path):
    path = tmp_path / "file.safetensors"
    with pytest.raises(ValueError, match="__metadata__"):
        dlgrad.save({"__metadata__": dlgrad.zeros(1)}, path)
    with pytest.raises(TypeError, match="metadata"):
        dlgrad.save({"x": dlgrad.zeros(1)}, path, metadata={"a": 1})
    with pytest.raises(TypeError, match="metadata"):
        dlgrad.save({"x": dlgrad.zeros(1)}, path, metadata={"dlgrad.tree": "x"})


def test_a_cycle_is_refused(tmp_path):
    state = {}
    state["self"] = state
    with pytest.raises(ValueError, match="nested deeper"):
        dlgrad.save(state, tmp_path / "file.safetensors")


# Hostile files ---------------------------------------------------------------------------------


def entry(dtype="F32", shape=(1,), begin=0, end=4):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def file_of(header, data=b"", length=None):
    """The bytes of a file; `header` may be text or something for json.dumps."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


F4 = b"\0" * 4
HOSTILE = {
    "empty": b"",
    "short": b"\1\0\0",
    "length beyond the file": file_of({}, length=1000),
    "length of 2^64 - 1": file_of({}, length=(1 << 64) - 1),
    "length over the limit": file_of({}, length=100_000_001),
    "no header": b"\0" * 8,
    "not an object": file_of(b"[1, 2]"),
    "a space first": file_of(b' {"x": 1}'),
    "cut JSON": file_of(b'{"x": '),
    "not UTF-8": file_of(b'{"\xff": 1}'),
    "deep JSON": file_of(b'{"x":' + b"[" * 100_000),
    "number of 5000 digits": file_of(b'{"x": ' + b"9" * 5000 + b"}"),
    "key twice": file_of(
        b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', F4
    ),
    "inner key twice": file_of(
        b'{"x":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', F4
    ),
    "entry is a number": file_of({"x": 3}),
    "entry without dtype": file_of({"x": {"shape": [1], "data_offsets": [0, 4]}}, F4),
    "entry with more": file_of({"x": {**entry(), "extra": 1}}, F4),
    "unknown dtype": file_of({"x": entry("F99")}, F4),
    "dtype is a list": file_of({"x": entry(["F32"])}, F4),
    "negative size": file_of({"x": entry(shape=(-1,))}, F4),
    "fractional size": file_of({"x": entry(shape=(1.0,))}, F4),
    "bool as size": file_of({"x": entry(shape=(True,))}, F4),
    "shape is a string": file_of({"x": {**entry(), "shape": "1"}}, F4),
    "size over 2^63": file_of({"x": entry(shape=(1 << 63, 0), end=0)}),
    "a product that overflows": file_of({"x": entry(shape=(1 << 32, 1 << 32), end=0)}),
    "a billion elements in 4 bytes": file_of({"x": entry(shape=(10**9,))}, F4),
    "65 dimensions": file_of({"x": entry(shape=(1,) * 65)}, F4),
    "span too long": file_of({"x": entry(end=8)}, F4 * 2),
    "backwards": file_of({"x": entry(shape=(0,), begin=4, end=0)}, F4),
    "one offset": file_of({"x": {**entry(), "data_offsets": [0]}}, F4),
    "offset beyond the file": file_of({"x": entry(begin=0, end=4)}),
    "negative offset": file_of({"x": entry(begin=-4, end=0)}),
    "bytes left over": file_of({"x": entry()}, F4 + b"more"),
    "bytes without tensors": file_of({}, b"data"),
    "a hole": file_of({"x": entry(), "y": entry(begin=8, end=12)}, F4 * 3),
    "a hole first": file_of({"x": entry(begin=4, end=8)}, F4 * 2),
    "an overlap": file_of({"x": entry(), "y": entry(begin=2, end=6)}, b"\0" * 6),
    "the same bytes twice": file_of({"x": entry(), "y": entry()}, F4),
    "metadata is a list": file_of({"__metadata__": []}),
    "metadata with a number": file_of({"__metadata__": {"a": 1}}),
    "a bool of 2": file_of({"x": entry("BOOL", (1,), 0, 1)}, b"\2"),
    "a tree that is no JSON": file_of({"__metadata__": {"dlgrad.tree": "{"}}),
    "a tree with an unknown tensor": file_of(
        {"__metadata__": {"dlgrad.tree": '{"tensor": "y"}'}}
    ),
    "a tree with an unknown kind": file_of({"__metadata__": {"dlgrad.tree": '{"call": "id"}'}}),
    "a tree with two kinds": file_of(
        {"__metadata__": {"dlgrad.tree": '{"list": [], "tuple": []}'}}
    ),
    "a tree with a list as key": file_of(
        {"__metadata__": {"dlgrad.tree": '{"dict": [[[1], 2]]}'}}
    ),
    "a tree with a float out of range": file_of(
        {"__metadata__": {"dlgrad.tree": '{"float": "0x1p+9999"}'}}
    ),
    "a deep tree": file_of(
        {"__metadata__": {"dlgrad.tree": '{"list":[' * 5000 + "]}" * 5000}}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_and_costs_nothing(tmp_path, name):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(HOSTILE[name])
    tracemalloc.start()
    with pytest.raises(FileFormatError) as caught:
        dlgrad.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "hostile.safetensors" in str(caught.value)
    assert len(str(caught.value)) < 600
    assert peak < 4_000_000


def test_every_cut_of_a_file_is_refused(tmp_path):
    path = tmp_path / "file.safetensors"
    dlgrad.save({"x": dlgrad.arange(5), "y": dlgrad.ones(2, 2)}, path)
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(FileFormatError):
            dlgrad.load(path)


def test_changed_bytes_are_an_error_or_a_value():
    """No change of a file makes reading raise anything but FileFormatError."""
    for format in ("safetensors", "torch", "npz"):
        file = io.BytesIO()
        state = {"x": dlgrad.arange(5), "y": dlgrad.ones(2, 2)}
        dlgrad.save(state if format == "npz" else {**state, "z": [1.5, None]}, file, format=format)
        good, rng = file.getvalue(), random.Random(f"seed of {format}")
        for number in range(400):
            data = bytearray(good)
            for _ in range(rng.choice((1, 2, 4))):
                place = rng.randrange(len(data))
                data[place : place + rng.randrange(2)] = rng.randbytes(rng.randrange(2))
            try:
                dlgrad.load(io.BytesIO(bytes(data)))
            except FileFormatError:
                continue
            except Exception as error:
                raise AssertionError(f"{format}, change {number}: {error!r}") from error


def test_limits_are_inclusive():
    shape = (1,) * safetensors.MAX_DIMENSIONS
    header = safetensors.read_header(file_of({"x": entry(shape=shape)}, F4), "file")
    assert header.entries["x"].shape == shape
    empty = safetensors.read_header(file_of({}), "file")
    assert empty.entries == {} and empty.metadata == {}


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        dlgrad.load(tmp_path / "none.safetensors")


# Writing ---------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def chunks():
        yield b"new"
        raise RuntimeError("cut")

    written = helpers.atomic_file(str(path), lasting=True)
    with pytest.raises(RuntimeError, match="cut"), written as file:
        file.writelines(chunks())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_kill_while_saving_leaves_a_readable_file(tmp_path):
    """A process saves without end until it is killed; the file is whole all the same."""
    path = tmp_path / "file.safetensors"
    program = textwrap.dedent(
        f"""
        from dlgrad import helpers
        from dlgrad.files import safetensors
        from dlgrad.dtype import uint8
        entries = safetensors.layout({{"x": (uint8, (1 << 20,))}})
        header = safetensors.header_bytes(entries, {{}})
        number = 0
        while True:
            number = (number + 1) % 256
            chunks = [header, *[bytes([number]) * (1 << 16)] * 16]
            with helpers.atomic_file({str(path)!r}, lasting=True) as file:
                file.writelines(chunks)
            if number == 1:
                print("saved", flush=True)
        """
    )
    for round in range(8):
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        with process:
            assert process.stdout.readline()
            time.sleep(0.013 * round)  # in another place of a save each time
            process.kill()
        data = dlgrad.load(path)["x"]
        assert data.amin().item() == data.amax().item()

