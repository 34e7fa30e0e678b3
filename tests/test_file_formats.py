"""NumPy's and GGUF files without NumPy: read, written, quantised, damaged and hostile."""

import io
import struct
import tracemalloc
import zipfile

import pytest

import dlgrad
from dlgrad.dtype import ALL_DTYPES
from dlgrad.errors import DTypeError, FileFormatError
from dlgrad.files.serialization import load_metadata

# .npy and .npz ---------------------------------------------------------------------------------


def npy(header, data=b"", version=1, length=None):
    """The bytes of an .npy file with this header text."""
    text = header.encode()
    size = len(text) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(
        "<H" if version == 1 else "<I", size
    ) + text + data  # fmt: skip


def header(descr="<f4", shape="(2,)", fortran=False):
    return f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


F2 = struct.pack("<2f", 1.0, 2.0)


@pytest.mark.parametrize(
    "dtype", [dtype for dtype in ALL_DTYPES if dtype.format], ids=lambda dtype: dtype.name
)
def test_arrays_come_back(tmp_path, dtype):
    x = dlgrad.tensor([[0, 1, 1], [1, 0, 1]], dtype=dtype)
    for number, one in enumerate((x, x[0], x[0, 1], x.T, x[:0])):
        path = tmp_path / f"{number}.npy"
        dlgrad.save(one, path)
        loaded = dlgrad.load(path)
        assert loaded.dtype is dtype and loaded.shape == one.shape
        assert loaded.tolist() == one.tolist()


def test_the_layout_of_an_npy_file(tmp_path):
    dlgrad.save(dlgrad.tensor([1.0, 2.0]), tmp_path / "x.npy")
    data = (tmp_path / "x.npy").read_bytes()
    assert data == npy(header()[:-1] + " " * 60 + "\n", F2)
    assert (len(data) - 8) % 64 == 0


def test_other_writers_are_read(tmp_path):
    path = tmp_path / "x.npy"
    swapped = struct.pack(">2f", 1.0, 2.0)
    for data, expected in (
        (npy(header("<f4", "(2,)"), F2, version=2), [1.0, 2.0]),
        (npy(header(">f4"), swapped), [1.0, 2.0]),
        (npy(header("|b1"), b"\1\0"), [True, False]),
        (npy(header("<f4", "(2, 1)", True), F2), [[1.0], [2.0]]),
        (npy(header("<i2", "(2, 3)", True), struct.pack("<6h", *range(6))), [[0, 2, 4], [1, 3, 5]]),
        (npy(header("<f4", "()"), F2[:4]), 1.0),
        (npy(header(shape="(2L,)").replace("L", ""), F2), [1.0, 2.0]),
    ):
        path.write_bytes(data)
        assert dlgrad.load(path).tolist() == expected


def test_archives_come_back(tmp_path):
    path = tmp_path / "x.npz"
    state = {"b": dlgrad.ones(2, 3), "a/c": dlgrad.arange(4), "": dlgrad.tensor(1.5)}
    dlgrad.save(state, path)
    loaded = dlgrad.load(path)
    assert list(loaded) == list(state)
    assert all(loaded[name].tolist() == state[name].tolist() for name in state)
    dlgrad.save({}, path)
    assert dlgrad.load(path) == {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("packed.npy", npy(header(shape="(1000,)"), bytes(4000)))
    assert dlgrad.load(path)["packed"].tolist() == [0.0] * 1000


def test_what_numpy_has_not_is_refused(tmp_path):
    with pytest.raises(DTypeError, match=r"x\.float\(\)"):
        dlgrad.save(dlgrad.ones(1, dtype=dlgrad.bfloat16), tmp_path / "x.npy")
    for state, name in (({"x": 1}, "x.npy"), ([1], "x.npz"), ({"x": 1}, "x.npz")):
        with pytest.raises(TypeError):
            dlgrad.save(state, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


HOSTILE_NPY = {
    "cut in the magic": b"\x93NUMPY\1",
    "version 9": npy(header(), F2, version=9),
    "a header beyond the file": npy(header(), length=60_000),
    "a header of 4 GB": npy(header(), F2, version=2, length=0xFFFFFFF0),
    "a call": npy("{'descr': __import__('os').system('x'), 'shape': (2,)}\n", F2),
    "deep brackets": npy("(" * 60_000),
    "objects": npy(header("|O"), b"cos\nsystem\n"),
    "complex": npy(header("<c8", "(1,)"), F2),
    "text": npy(header("<U2", "(1,)"), F2),
    "a structure": npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", F2),
    "128 bits": npy(header("<f16", "(1,)"), F2 * 2),
    "2 byte bools": npy(header("<b2", "(1,)"), b"\1\0"),
    "bools that are not": npy(header("|b1"), b"\1\2"),
    "too short": npy(header(shape="(3,)"), F2),
    "too long": npy(header(shape="(1,)"), F2),
    "a negative size": npy(header(shape="(-2,)"), F2),
    "a huge shape": npy(header(shape="(9223372036854775807, 9223372036854775807)"), F2),
    "a huge shape with a zero": npy(header(shape=f"(0, {10**30})")),
    "many dimensions": npy(header(shape="(" + "1, " * 65 + ")"), F2[:4]),
    "spaces in a number": npy(header(shape="(1 2,)"), F2),
    "a long number": npy(header(shape=f"({'9' * 5000},)"), F2),
}


def refused(path, data):
    """Whether reading is refused with the name of the file, and without much memory."""
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(FileFormatError, match=path.name) as caught:
        dlgrad.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak < 4_000_000 and len(str(caught.value)) < 600


@pytest.mark.parametrize("name", HOSTILE_NPY)
def test_a_hostile_npy_file_is_refused(tmp_path, name):
    assert refused(tmp_path / "x.npy", HOSTILE_NPY[name])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("x.npy", HOSTILE_NPY[name])
    assert refused(tmp_path / "x.npz", out.getvalue())


def test_a_bomb_is_not_unpacked(tmp_path):
    out = io.BytesIO()
    size = 80 << 20
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", npy(header("|u1", f"({size},)"), bytes(size)))
    assert refused(tmp_path / "x.npz", out.getvalue())


# GGUF ------------------------------------------------------------------------------------------


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def pair(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


def entry(name, sizes, kind, offset):
    """An entry of the table; sizes as the file has them, the fastest first."""
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


def gguf(pairs=(), entries=(), data=b"", version=3, counts=None, alignment=32):
    tensors, notes = counts or (len(entries), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, notes)
    head += b"".join(pairs) + b"".join(entries)
    return head + bytes(-len(head) % alignment) + data


def half(value):
    return struct.pack("<e", value)


Q8 = [half(0.5) + bytes(range(32)), half(-2.0) + struct.pack("32b", *range(-16, 16))]
Q4 = half(0.25) + bytes(i | (15 - i) << 4 for i in range(16))


def test_gguf(tmp_path):
    path = tmp_path / "model.gguf"
    words = struct.pack("<IQ", 8, 2) + text("a") + text("b")
    nested = struct.pack("<IQ", 9, 1) + struct.pack("<IQ", 5, 2) + struct.pack("<2i", -1, 2)
    pairs = [
        pair("name", 8, text("tiny")), pair("layers", 4, struct.pack("<I", 2)),
        pair("scale", 6, struct.pack("<f", 0.5)), pair("fast", 7, b"\1"),
        pair("big", 10, struct.pack("<Q", 1 << 60)), pair("words", 9, words),
        pair("nested", 9, nested),
    ]  # fmt: skip
    parts = {
        "f32": ((3, 2), 0, struct.pack("<6f", *range(6))),
        "f16": ((2,), 1, half(1.5) + half(-2.0)),
        "bf16": ((2,), 30, b"\x80\x3f\x00\xc0"),
        "i8": ((2,), 24, b"\1\xff"),
        "i64": ((1,), 27, struct.pack("<q", -7)),
        "q8": ((32, 2), 8, Q8[0] + Q8[1]),
        "q4": ((32,), 2, Q4),
        "none": ((0, 4), 0, b""),
    }
    entries, data = [], b""
    for name, (sizes, kind, content) in parts.items():
        data += bytes(-len(data) % 32)
        entries.append(entry(name, sizes, kind, len(data)))
        data += content
    path.write_bytes(gguf(pairs, entries, data))
    loaded = dlgrad.load(path)
    assert list(loaded) == list(parts)
    assert loaded["f32"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert loaded["f16"].tolist() == [1.5, -2.0] and loaded["f16"].dtype is dlgrad.float16
    assert loaded["bf16"].tolist() == [1.0, -2.0] and loaded["bf16"].dtype is dlgrad.bfloat16
    assert loaded["i8"].tolist() == [1, -1] and loaded["i64"].tolist() == [-7]
    assert loaded["q8"].dtype is dlgrad.float32
    assert loaded["q8"].tolist() == [
        [0.5 * i for i in range(32)], [-2.0 * i for i in range(-16, 16)],
    ]  # fmt: skip
    low, high = [0.25 * (i - 8) for i in range(16)], [0.25 * (7 - i) for i in range(16)]
    assert loaded["q4"].tolist() == low + high
    assert tuple(loaded["none"].shape) == (4, 0)
    assert load_metadata(path) == {
        "name": "tiny", "layers": 2, "scale": 0.5, "fast": True, "big": 1 << 60,
        "words": ["a", "b"], "nested": [[-1, 2]],
    }  # fmt: skip


def test_another_alignment(tmp_path):
    path = tmp_path / "model.gguf"
    pairs = [pair("general.alignment", 4, struct.pack("<I", 64))]
    path.write_bytes(gguf(pairs, [entry("x", (2,), 0, 0)], F2, alignment=64))
    assert dlgrad.load(path)["x"].tolist() == [1.0, 2.0]


HUGE = struct.pack("<Q", 1 << 62)
HOSTILE_GGUF = {
    "cut after the magic": b"GGUF",
    "version 1": gguf(version=1),
    "big-endian": gguf(version=3 << 24),
    "huge counts": gguf(counts=(1 << 60, 1 << 60)),
    "too many tensors": gguf(counts=(5, 0)),
    "a huge text": gguf([HUGE + b"abc"]),
    "a huge array": gguf([pair("a", 9, struct.pack("<I", 0) + HUGE)]),
    "arrays in arrays": gguf([pair("a", 9, struct.pack("<IQ", 9, 1) * 50)]),
    "an unknown value": gguf([pair("a", 13, b"")]),
    "a key twice": gguf([pair("a", 7, b"\1")] * 2),
    "an alignment of 3": gguf([pair("general.alignment", 4, struct.pack("<I", 3))]),
    "an alignment of text": gguf([pair("general.alignment", 8, text("32"))]),
    "an unknown type": gguf((), [entry("x", (32,), 12, 0)], bytes(64)),
    "many dimensions": gguf((), [text("x") + struct.pack("<I", 1 << 31)], bytes(64)),
    "a huge size": gguf((), [entry("x", (1 << 62,), 0, 0)], F2),
    "huge sizes": gguf((), [entry("x", (1 << 62, 1 << 62), 0, 0)], F2),
    "beyond the file": gguf((), [entry("x", (3,), 0, 0)], F2),
    "an offset beyond": gguf((), [entry("x", (2,), 0, 64)], F2),
    "an offset of 2**64 - 32": gguf((), [entry("x", (2,), 0, (1 << 64) - 32)], F2),
    "not aligned": gguf((), [entry("x", (1,), 0, 4)], F2),
    "an overlap": gguf((), [entry("x", (12,), 0, 0), entry("y", (1,), 0, 32)], bytes(64)),
    "a name twice": gguf((), [entry("x", (1,), 0, 0), entry("x", (1,), 0, 32)], bytes(64)),
    "half a block": gguf((), [entry("x", (16,), 8, 0)], bytes(64)),
    "a block without sizes": gguf((), [entry("x", (), 8, 0)], bytes(64)),
}


@pytest.mark.parametrize("name", HOSTILE_GGUF)
def test_a_hostile_gguf_file_is_refused(tmp_path, name):
    assert refused(tmp_path / "x.gguf", HOSTILE_GGUF[name])


def test_every_cut_is_refused(tmp_path):
    whole = gguf([pair("a", 8, text("b"))], [entry("x", (2,), 0, 0)], F2)
    for length in range(4, len(whole)):
        assert refused(tmp_path / "x.gguf", whole[:length])
