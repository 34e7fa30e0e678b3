"""Making tensors, their dtypes and promotion, and numbers in and out."""

from __future__ import annotations

import array
import copy
import ctypes
import pickle
from typing import Any

import pytest

import dlgrad
from dlgrad.dtype import ALL_DTYPES
from dlgrad.tensor import Tensor


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        (3, "int64", ()),
        (2.5, "float32", ()),
        (True, "bool", ()),
        ([1, 2], "int64", (2,)),
        ([1, 2.0], "float32", (2,)),
        ([True, 2], "int64", (2,)),
        ([[True], [False]], "bool", (2, 1)),
        ([], "float32", (0,)),
        ([[], []], "float32", (2, 0)),
        (range(4), "int64", (4,)),
        ((1.5, (2.5)), "float32", (2,)),
    ],
)
def test_data(data: Any, dtype: str, shape: tuple[int, ...]) -> None:
    x = dlgrad.tensor(data)
    assert x.dtype.name == dtype
    assert x.shape == shape
    plain = list(data) if isinstance(data, (range, tuple)) else data
    assert x.tolist() == plain


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=lambda dtype: dtype.name)
def test_every_dtype(dtype: dlgrad.DType) -> None:
    values = [0, 1, 1, 0] if dtype is dlgrad.bool else [0, 1, 2, 100]
    x = dlgrad.tensor(values, dtype=dtype)
    assert x.dtype is dtype
    assert x.tolist() == values
    assert (x[1:] * 1).dtype is (dlgrad.int64 if dtype is dlgrad.bool else dtype)
    assert x.double().tolist() == values
    assert x.to(dlgrad.float32).to(dtype).tolist() == values
    assert pickle.loads(pickle.dumps(x)).tolist() == values


def test_buffers_and_arrays() -> None:
    x = dlgrad.tensor(array.array("d", [1.5, 2.5]))
    assert x.dtype is dlgrad.float64
    assert x.tolist() == [1.5, 2.5]
    grid = ((ctypes.c_int16 * 2) * 2)((1, 2), (3, 4))
    y = dlgrad.tensor(grid)
    assert y.dtype is dlgrad.int16
    assert y.tolist() == [[1, 2], [3, 4]]
    every_other = memoryview(array.array("i", [1, 2, 3, 4, 5]))[::2]
    assert dlgrad.tensor(every_other, dtype=dlgrad.float32).tolist() == [1.0, 3.0, 5.0]
    raw = dlgrad.frombuffer(b"\x01\x00\x02\x00\x03\x00", dtype=dlgrad.int16, offset=2)
    assert raw.tolist() == [2, 3]
    with pytest.raises(ValueError, match="6 bytes"):
        dlgrad.frombuffer(b"\x01" * 6, dtype=dlgrad.int32, count=2)
    assert dlgrad.tensor([dlgrad.tensor(1.5), 2]).tolist() == [1.5, 2.0]


class Interface:
    """An array that only has `__array_interface__`."""

    def __init__(self, strides: tuple[int, ...] | None) -> None:
        self.memory = (ctypes.c_float * 6)(0, 1, 2, 3, 4, 5)
        self.__array_interface__ = {
            "version": 3,
            "typestr": "<f4",
            "shape": (2, 3) if strides is None else (3, 2),
            "data": (ctypes.addressof(self.memory), True),
            "strides": strides,
        }


def test_array_interface_in() -> None:
    assert dlgrad.tensor(Interface(None)).tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    turned = dlgrad.tensor(Interface((4, 12)))
    assert turned.tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]


def test_array_interface_out() -> None:
    x = dlgrad.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])[:, 1:].T
    interface = x.__array_interface__
    assert interface["typestr"] == "<f4"
    assert interface["shape"] == (2, 2)
    if str(x.device) == "cpu":
        assert interface["strides"] == (4, 12)
        first = ctypes.c_float.from_address(interface["data"][0])
        assert first.value == 2.0
    with pytest.raises(TypeError, match="bfloat16"):
        _ = x.bfloat16().__array_interface__


def test_shared_memory() -> None:
    numbers = array.array("f", [1.0, 2.0, 3.0])
    x = dlgrad.from_numpy(numbers)
    numbers[0] = 50.0
    assert x.tolist() == [50.0, 2.0, 3.0]
    assert dlgrad.from_numpy(memoryview(numbers)[::2]).tolist() == [50.0, 3.0]


def test_fillers() -> None:
    assert dlgrad.zeros(2, 3).tolist() == [[0.0] * 3] * 2
    assert dlgrad.ones((2,), dtype=dlgrad.int8).tolist() == [1, 1]
    assert dlgrad.full((2,), 7).dtype is dlgrad.int64
    assert dlgrad.full([2], 1.5).tolist() == [1.5, 1.5]
    assert dlgrad.full((), True).dtype is dlgrad.bool
    assert dlgrad.empty(3, 0).shape == (3, 0)
    x = dlgrad.ones(2, 2, dtype=dlgrad.float64, requires_grad=True)
    assert dlgrad.zeros_like(x).dtype is dlgrad.float64
    assert not dlgrad.zeros_like(x).requires_grad
    assert dlgrad.full_like(x, 3).tolist() == [[3.0, 3.0], [3.0, 3.0]]
    assert x.new_zeros(3).dtype is dlgrad.float64
    assert dlgrad.eye(2, 3).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((4,), [0, 1, 2, 3]),
        ((1, 4), [1, 2, 3]),
        ((5, 0, -2), [5, 3, 1]),
        ((0,), []),
        ((1.0, 2.5, 0.5), [1.0, 1.5, 2.0]),
        ((2.5,), [0.0, 1.0, 2.0]),
        ((0, 1, 0.25), [0.0, 0.25, 0.5, 0.75]),
    ],
)
def test_arange(arguments: tuple[Any, ...], expected: list[Any]) -> None:
    x = dlgrad.arange(*arguments)
    assert x.tolist() == expected
    whole = all(isinstance(value, int) for value in arguments)
    assert x.dtype is (dlgrad.int64 if whole else dlgrad.float32)


def test_linspace() -> None:
    assert dlgrad.linspace(0, 1, 5).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert dlgrad.linspace(3, 10, 5).tolist() == [3.0, 4.75, 6.5, 8.25, 10.0]
    assert dlgrad.linspace(2, 5, 1).tolist() == [2.0]
    assert dlgrad.linspace(0, 0.1, 7).tolist()[-1] == dlgrad.tensor(0.1).item()


# Promotion ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "dtype"),
    [
        (lambda i, f, b, z: i + 1, "int32"),
        (lambda i, f, b, z: i + 1.5, "float32"),
        (lambda i, f, b, z: i / i, "float32"),
        (lambda i, f, b, z: i + True, "int32"),
        (lambda i, f, b, z: b + 1, "int64"),
        (lambda i, f, b, z: b + b, "bool"),
        (lambda i, f, b, z: f + 1.5, "float16"),
        (lambda i, f, b, z: f + z, "float16"),
        (lambda i, f, b, z: i + z, "float64"),
        (lambda i, f, b, z: i + f, "float16"),
        (lambda i, f, b, z: z + 1, "float64"),
        (lambda i, f, b, z: i < f, "bool"),
        (lambda i, f, b, z: i.sum(), "int64"),
        (lambda i, f, b, z: b.sum(), "int64"),
        (lambda i, f, b, z: i.sum(dtype=dlgrad.float32), "float32"),
        (lambda i, f, b, z: i.exp(), "float32"),
        (lambda i, f, b, z: 1.5 ** i, "float32"),
        (lambda i, f, b, z: i ** 2, "int32"),
        (lambda i, f, b, z: dlgrad.where(b, i, 1.0), "float32"),
    ],
)  # fmt: skip
def test_promotion(call: Any, dtype: str) -> None:
    i = dlgrad.tensor([1, 2], dtype=dlgrad.int32)
    f = dlgrad.tensor([1, 2], dtype=dlgrad.float16)
    b = dlgrad.tensor([True, False])
    z = dlgrad.tensor(1.5, dtype=dlgrad.float64)
    assert call(i, f, b, z).dtype.name == dtype


def test_default_dtype() -> None:
    dlgrad.set_default_dtype(dlgrad.float64)
    try:
        assert dlgrad.tensor([1.5]).dtype is dlgrad.float64
        assert (dlgrad.tensor([1]) / 2).dtype is dlgrad.float64
        assert dlgrad.zeros(1).dtype is dlgrad.float64
    finally:
        dlgrad.set_default_dtype(dlgrad.float32)
    with pytest.raises(TypeError, match="floating"):
        dlgrad.set_default_dtype(dlgrad.int32)


def test_numbers_wrap_and_saturate() -> None:
    x = dlgrad.tensor([250], dtype=dlgrad.uint8)
    assert (x + 10).tolist() == [4]
    assert (x + 300).tolist() == [38]
    assert dlgrad.tensor([1e300]).tolist() == [float("inf")]
    assert dlgrad.tensor([2.9, -2.9]).int().tolist() == [2, -2]


# Python's protocols ---------------------------------------------------------------------------


def test_as_a_python_number() -> None:
    x = dlgrad.tensor(3)
    assert int(x) == 3
    assert float(x) == 3.0
    assert bool(x)
    assert [10, 20, 30, 40][x] == 40
    assert f"{dlgrad.tensor(1.23456):.2f}" == "1.23"
    assert len(dlgrad.zeros(3, 2)) == 3
    assert 2.0 in dlgrad.tensor([1.0, 2.0])
    assert [row.tolist() for row in dlgrad.eye(2)] == [[1.0, 0.0], [0.0, 1.0]]
    first, second = dlgrad.tensor([5, 6])
    assert (first.item(), second.item()) == (5, 6)
    with pytest.raises(TypeError, match="integer"):
        [1, 2][dlgrad.tensor(0.5)]
    with pytest.raises(TypeError, match="0-d"):
        iter(x)
    assert {x: 1}[x] == 1


def test_copies_and_pickles() -> None:
    x = dlgrad.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    x.note = "kept"
    (x * x).sum().backward()
    twin = copy.deepcopy({"a": x, "b": x})
    assert twin["a"] is twin["b"]
    assert twin["a"].requires_grad
    assert twin["a"].grad is not None
    assert twin["a"].grad.tolist() == [[2.0, 4.0], [6.0, 8.0]]
    back = pickle.loads(pickle.dumps(x[:, 1].detach()))
    assert back.tolist() == [2.0, 4.0]
    again = pickle.loads(pickle.dumps(x))
    assert again.requires_grad
    assert again.note == "kept"
    with pytest.raises(RuntimeError, match="leaves"):
        copy.deepcopy(x * 2)


def test_conversion() -> None:
    x = dlgrad.tensor([1.5, -0.5])
    assert x.to(dlgrad.float32) is x
    assert x.to("cpu", dlgrad.int64).tolist() == [1, 0]
    assert x.to(dlgrad.tensor([1], dtype=dlgrad.float64)).dtype is dlgrad.float64
    assert x.type(dlgrad.int8).dtype is dlgrad.int8
    assert [x.half().dtype, x.double().dtype, x.long().dtype, x.bool().dtype] == [
        dlgrad.float16, dlgrad.float64, dlgrad.int64, dlgrad.bool,
    ]  # fmt: skip
    assert x.bool().tolist() == [True, True]
    with pytest.raises(TypeError, match="to\\(\\) takes"):
        x.to(3.5)


def test_devices() -> None:
    assert dlgrad.zeros(1).device == dlgrad.device("cpu")
    assert str(dlgrad.device("cuda", 1)) == "cuda:1"
    assert repr(dlgrad.device("cuda:1")) == "device(type='cuda', index=1)"
    assert dlgrad.device("cpu").index is None
    with pytest.raises(RuntimeError, match="unknown device"):
        dlgrad.zeros(1, device="tpu")
    x = dlgrad.tensor([1.0, 2.0], device="python")
    assert x.device.type == "python"
    assert (x + 1).device.type == "python"
    assert x.to("cpu").device.type == "cpu"
    assert x.to("cpu").tolist() == [1.0, 2.0]
    with pytest.raises(RuntimeError, match="same device"):
        x + dlgrad.zeros(2, device="cpu")
    assert (x + dlgrad.tensor(1.0, device="cpu")).tolist() == [2.0, 3.0]
    dlgrad.set_default_device("python")
    try:
        assert dlgrad.zeros(1).device.type == "python"
    finally:
        dlgrad.set_default_device(None)


def test_gradients_cross_devices() -> None:
    x = dlgrad.tensor([1.0, 2.0], device="cpu", requires_grad=True)
    (x.to("python") ** 2).sum().backward()
    assert x.grad is not None
    assert str(x.grad.device) == "cpu"
    assert x.grad.tolist() == [2.0, 4.0]


def test_shapes() -> None:
    x = dlgrad.zeros(2, 3, 4)
    assert x.shape == (2, 3, 4) == x.size()
    assert repr(x.shape) == "dlgrad.Size([2, 3, 4])"
    assert x.shape.numel() == x.numel() == 24
    assert (x.size(-1), x.dim(), x.ndim, x.nbytes, x.itemsize) == (4, 3, 3, 96, 4)
    assert isinstance(dlgrad.Tensor([1, 2]), Tensor)
    assert dlgrad.Tensor([1, 2]).dtype is dlgrad.float32
    assert dlgrad.Tensor(2, 3).shape == (2, 3)


def test_long_pending_chains_are_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    from dlgrad.core import storage

    monkeypatch.setattr(storage, "DEPTH_LIMIT", 10)
    x = dlgrad.tensor([0.0])
    for _ in range(25):
        x = x + 1
    assert x._storage.depth <= 10
    assert x.tolist() == [25.0]


def test_many_imported_bytes_evaluate_what_is_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    from dlgrad.core import storage

    monkeypatch.setattr(storage, "BYTES_LIMIT", 1000)
    monkeypatch.setattr(storage, "_imported_bytes", 0)
    kept = [dlgrad.tensor([1.0] * 100) * 2 for _ in range(4)]
    assert kept[0]._storage.node.is_realized
    assert not kept[3]._storage.node.is_realized
