"""Tensors in the hands of others: buffers, DLPack, pickle, copies, and Python's protocols."""

from __future__ import annotations

import array
import copy
import ctypes
import gc
import operator
import pickle
import sys
import weakref
from typing import Any

import pytest

import dlgrad
from dlgrad import nn
from dlgrad.core.dlpack import ManagedVersioned, _given_out
from dlgrad.errors import AutogradError

# Buffers ----------------------------------------------------------------------------------------


def test_numbers_come_in_from_buffers() -> None:
    numbers = array.array("h", [1, -2, 3])
    copied = dlgrad.tensor(numbers)
    assert copied.dtype is dlgrad.int16 and copied.tolist() == [1, -2, 3]
    shared = dlgrad.from_numpy(numbers)  # anything with a writable buffer
    numbers[0] = 50
    assert shared[0].item() == 50 and copied[0].item() == 1
    shared.mul_(2)  # evaluated at once, because somebody else looks at the memory
    assert numbers.tolist() == [100, -4, 6]
    grid = memoryview(bytearray(range(6))).cast("B", (2, 3))
    assert dlgrad.tensor(grid).tolist() == [[0, 1, 2], [3, 4, 5]]
    every_second = memoryview(array.array("i", [1, 2, 3, 4]))[::2]
    assert dlgrad.from_numpy(every_second).tolist() == [1, 3]
    assert dlgrad.from_numpy(memoryview(b"ab")).tolist() == [97, 98]  # read-only: a copy
    with pytest.raises(TypeError, match=r"expected np.ndarray \(got list\)"):
        dlgrad.from_numpy([1, 2])
    with pytest.raises(ValueError, match="negative"):
        dlgrad.from_numpy(memoryview(numbers)[::-1])
    with pytest.raises(BufferError):
        numbers.append(1)  # its memory is in use


def memory_at(interface: dict[str, Any], count: int) -> list[float]:
    return list((ctypes.c_float * count).from_address(interface["data"][0]))


def test_array_interface_shares_and_keeps_memory() -> None:
    x = dlgrad.tensor([[1.0, 2.0], [3.0, 4.0]])
    interface = x.__array_interface__
    assert (interface["shape"], interface["typestr"]) == ((2, 2), "<f4")
    assert x.T.__array_interface__["strides"] == (4, 8)
    pending = x * 10
    x.add_(1)
    assert memory_at(interface, 4) == [2.0, 3.0, 4.0, 5.0]
    assert pending.tolist() == [[10.0, 20.0], [30.0, 40.0]]
    assert x.bool().__array_interface__["typestr"] == "|b1"
    with pytest.raises(RuntimeError, match="detach"):
        _ = x.clone().requires_grad_().__array_interface__
    with pytest.raises(TypeError, match="bfloat16"):
        _ = x.bfloat16().__array_interface__


@pytest.mark.skipif(sys.version_info < (3, 12), reason="classes export buffers from 3.12 on")
def test_memoryview_of_a_tensor() -> None:
    x = dlgrad.arange(6.0).reshape(2, 3)
    view = memoryview(x)  # type: ignore[arg-type]
    view[0, 1] = 50.0
    assert x.tolist() == [[0.0, 50.0, 2.0], [3.0, 4.0, 5.0]]
    x.add_(1)
    assert view.tolist() == x.tolist()
    with pytest.raises(BufferError, match="contiguous"):
        memoryview(x.T)  # type: ignore[arg-type]


# DLPack -----------------------------------------------------------------------------------------


def test_dlpack_there_and_back() -> None:
    x = dlgrad.arange(12.0).reshape(3, 4)
    for given in (x, x.T, x[1:, ::2], x[0, 0], x.bfloat16(), x.bool(), x.to(dlgrad.uint16)):
        back = dlgrad.from_dlpack(given)
        assert back.tolist() == given.tolist() and back.dtype is given.dtype
        assert back.stride() == given.stride() and back.data_ptr() == given.data_ptr()
    back = dlgrad.from_dlpack(x)
    back.add_(1)
    assert x[0, 0].item() == 1.0
    assert dlgrad.from_dlpack(dlgrad.zeros(0, 3)).shape == (0, 3)
    assert dlgrad.from_dlpack(x, copy=True).data_ptr() != x.data_ptr()
    assert x.__dlpack_device__() == (1, 0)
    capsule = dlgrad.utils.dlpack.to_dlpack(x)
    assert dlgrad.utils.dlpack.from_dlpack(capsule).tolist() == x.tolist()


def test_dlpack_lifetimes() -> None:
    gc.collect()
    before = len(_given_out)
    kept = []
    for i in range(300):
        x = dlgrad.full((8,), float(i))
        capsule = x.__dlpack__(max_version=(1, 0) if i % 2 else None)
        if i % 3:
            kept.append(dlgrad.from_dlpack(capsule))
        del capsule, x
    gc.collect()
    assert len(_given_out) == before + 200
    for _ in range(50):
        dlgrad.full((8,), -1.0).realize()  # takes memory that was given back too early
    assert dlgrad.stack(kept)[:, 3].tolist() == [float(i) for i in range(300) if i % 3]
    kept.clear()
    gc.collect()
    assert len(_given_out) == before


def test_what_dlpack_refuses() -> None:
    x = dlgrad.ones(2)
    capsule = x.__dlpack__()
    dlgrad.from_dlpack(capsule)
    with pytest.raises(RuntimeError, match="used already"):
        dlgrad.from_dlpack(capsule)
    with pytest.raises(TypeError, match="__dlpack__"):
        dlgrad.from_dlpack([1, 2])
    with pytest.raises(BufferError, match="detach"):
        x.clone().requires_grad_().__dlpack__()
    with pytest.raises(BufferError, match="cannot export"):
        x.__dlpack__(dl_device=(2, 0))

    class Elsewhere:
        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

        __dlpack__ = None

    with pytest.raises(BufferError, match="CPU"):
        dlgrad.from_dlpack(Elsewhere())


class Wrapped:
    """An array whose structure is changed before somebody sees it."""

    def __init__(self, change: Any) -> None:
        self.x = dlgrad.arange(4.0)
        self.change = change

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def __dlpack__(self, **options: Any) -> Any:
        known = set(_given_out)
        capsule = self.x.__dlpack__(**options)
        (address,) = set(_given_out) - known
        self.change(ManagedVersioned.from_address(address))
        return capsule


def test_foreign_structures() -> None:
    def read_only(managed: Any) -> None:
        managed.flags = 1

    copied = dlgrad.from_dlpack(Wrapped(read_only))
    copied.add_(1)
    assert copied.tolist() == [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(BufferError, match="read-only"):
        dlgrad.from_dlpack(Wrapped(read_only), copy=False)

    def shifted(managed: Any) -> None:
        managed.dl_tensor.byte_offset, managed.dl_tensor.shape[0] = 2, 3

    assert len(dlgrad.from_dlpack(Wrapped(shifted)).tolist()) == 3  # not aligned: copied

    def without_strides(managed: Any) -> None:
        managed.dl_tensor.strides = None

    assert dlgrad.from_dlpack(Wrapped(without_strides)).tolist() == [0.0, 1.0, 2.0, 3.0]

    def complex_numbers(managed: Any) -> None:
        managed.dl_tensor.dtype.code = 5

    with pytest.raises(TypeError, match="type code 5"):
        dlgrad.from_dlpack(Wrapped(complex_numbers))


# Pickle and copies ------------------------------------------------------------------------------


def test_pickle_keeps_what_is_shared() -> None:
    x = dlgrad.arange(6.0)
    part, turned = x[2:4], x.reshape(2, 3).T
    x2, part2, turned2 = pickle.loads(pickle.dumps((x, part, turned)))
    part2.zero_()
    assert x2.tolist() == [0.0, 1.0, 0.0, 0.0, 4.0, 5.0]
    assert turned2.tolist() == [[0.0, 0.0], [1.0, 4.0], [0.0, 5.0]]
    assert x.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    for dtype in (dlgrad.bfloat16, dlgrad.bool, dlgrad.uint64):
        back = pickle.loads(pickle.dumps(dlgrad.ones(2, dtype=dtype)))
        assert back.dtype is dtype and back.tolist() == dlgrad.ones(2, dtype=dtype).tolist()


def test_pickle_keeps_the_kind_of_tensor() -> None:
    parameter = nn.Parameter(dlgrad.ones(2))
    parameter.name_of_mine = "kept"
    back = pickle.loads(pickle.dumps(parameter))
    assert type(back) is nn.Parameter and back.requires_grad and back.name_of_mine == "kept"
    assert not pickle.loads(pickle.dumps(parameter * 2)).requires_grad
    layer = nn.Linear(2, 2)
    model = pickle.loads(pickle.dumps(nn.Sequential(layer, nn.ReLU(), layer)))
    assert model[0].weight is model[2].weight
    assert model[0].weight.tolist() == layer.weight.tolist()


def test_copies() -> None:
    x = dlgrad.arange(4.0)
    x.requires_grad_()
    (x * x).sum().backward()
    shallow, deep = copy.copy(x.detach()), copy.deepcopy(x)
    assert deep.requires_grad and deep.is_leaf and deep.grad.tolist() == x.grad.tolist()
    with dlgrad.no_grad():
        x.add_(1)
    assert shallow.tolist() == x.tolist() and deep.tolist() == [0.0, 1.0, 2.0, 3.0]
    base = dlgrad.zeros(4)
    base2, part2 = copy.deepcopy([base, base[1:3]])
    part2.fill_(5)
    assert base2.tolist() == [0.0, 5.0, 5.0, 0.0] and base.tolist() == [0.0] * 4
    with pytest.raises(AutogradError, match="graph leaves"):
        copy.deepcopy(x * 2)
    layer = nn.Linear(2, 2)
    model = copy.deepcopy(nn.Sequential(layer, layer))
    assert model[0].weight is model[1].weight and model[0].weight is not layer.weight


# Protocols --------------------------------------------------------------------------------------


def test_python_protocols() -> None:
    x = dlgrad.tensor([[1, 2], [3, 4]])
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]] and len(x) == 2
    assert [row.tolist() for row in reversed(x)] == [[3, 4], [1, 2]]
    assert 3 in x and 5 not in x and dlgrad.tensor(4) in x
    assert [10, 20, 30][dlgrad.tensor([2])] == 30 and operator.index(dlgrad.tensor(7)) == 7
    assert hash(x) == hash(x) and len({x, x, x.clone()}) == 2
    assert {"tolist", "requires_grad"} <= set(dir(x))
    assert bool(dlgrad.tensor([2])) and not dlgrad.tensor(0.0)
    assert weakref.ref(x)() is x
    assert (f"{dlgrad.tensor(2.5):.3f}", f"{dlgrad.tensor(True)}") == ("2.500", "True")
    with pytest.raises(TypeError, match="unsupported format string passed to Tensor"):
        format(x, ".3f")
    with pytest.raises(RuntimeError, match="only supports Tensor or scalar"):
        _ = "a" in x
    with pytest.raises(RuntimeError, match="more than one value"):
        bool(x)
    with pytest.raises(RuntimeError, match="no values"):
        bool(dlgrad.zeros(0))
    with pytest.raises(TypeError, match="0-d tensor"):
        len(dlgrad.tensor(1))
    with pytest.raises(TypeError, match="0-d tensor"):
        iter(dlgrad.tensor(1))
    with pytest.raises(TypeError, match="converted to an index"):
        operator.index(dlgrad.tensor(1.0))
