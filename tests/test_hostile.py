"""Bad arguments: a clear exception at the call, and never a crash, a hang or a wild address."""

from __future__ import annotations

import inspect
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hostile_calls
import pytest

import dlgrad
import dlgrad.nn.functional as F
from dlgrad import func, nn, optim
from dlgrad.errors import DeviceError, VerifyError
from dlgrad.nn import init
from dlgrad.tensor import Tensor

HERE = Path(__file__).resolve().parent
X = [[0.5, -1.0, 2.0], [3.0, 0.25, -2.0]]


@pytest.fixture(autouse=True)
def interpreted() -> Iterator[None]:
    """Nothing here needs a compiled kernel."""
    dlgrad.set_default_device("python")
    yield
    dlgrad.set_default_device(None)


def floats(device: str = "python") -> Tensor:
    return dlgrad.tensor(X, device=device)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of the memory of a process")
@pytest.mark.parametrize("seed", [1, 2])
def test_hostile_calls_of_every_public_function(seed: int) -> None:
    """A failure names the call: `hostile_calls.run(...)` repeats it."""
    child = subprocess.run(
        [sys.executable, str(HERE / "hostile_calls.py"), str(seed)],
        capture_output=True, text=True, timeout=200,
        env={**os.environ, "DLGRAD_DEVICE": "python", "PYTHONPATH": str(HERE.parent)},
    )  # fmt: skip
    assert child.returncode == 0, f"the process ended in\n{child.stderr[-3000:]}"
    *complaints, count = child.stdout.strip().split("\n")
    assert not complaints, "\n".join(complaints)
    assert int(count.split()[0]) > 1000


def test_what_the_hostile_calls_complain_of() -> None:
    def complaint_of(call: Callable[[], Any]) -> str:
        with pytest.raises(BaseException) as caught:  # noqa: PT011
            call()
        return hostile_calls.complaint(caught.value)

    def bug() -> None:
        raise VerifyError("a kernel is wrong")

    assert "no attribute 'ndim'" in complaint_of(lambda: (5).ndim)  # type: ignore[attr-defined]
    assert "division" in complaint_of(lambda: 1 / 0)
    assert "a kernel is wrong" in complaint_of(bug)
    assert complaint_of(lambda: floats() + "x") == ""


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: dlgrad.sum([1, 2]), r"sum\(\): argument 'input' must be Tensor, not list"),
        (lambda: dlgrad.ceil("x"), r"ceil\(\): argument 'input' must be Tensor, not str"),
        (lambda: F.conv2d(floats(), 5), r"conv2d\(\): argument 'weight' must be Tensor, not int"),
        (lambda: F.max_pool2d(None, 2), r"argument 'input' must be Tensor, not NoneType"),
        (lambda: nn.Linear(3, 4)("x"), "argument 'input' must be Tensor, not str"),
        (lambda: nn.BatchNorm1d(3)([1]), "argument 'input' must be Tensor, not list"),
        (lambda: dlgrad.linalg.inv(5), "argument 'A' must be Tensor, not int"),
        (lambda: dlgrad.special.entr(5), "argument 'input' must be Tensor, not int"),
        (lambda: init.zeros_(5), "argument 'tensor' must be Tensor, not int"),
        (lambda: dlgrad.sin(nn.ReLU()), "argument 'input' must be Tensor, not ReLU"),
        (lambda: dlgrad.atleast_1d([1, 2]), r"argument 'tensors' cannot be 1 \(int\)"),
        (lambda: floats().gather(0, 5), "argument 'index' must be Tensor, not int"),
        (lambda: floats().view_as(5), "argument 'other' must be Tensor, not int"),
        (lambda: floats().expand_as([1]), "argument 'other' must be Tensor, not list"),
        (lambda: floats().sum(dtype="x"), "expected a dtype such as dlgrad.float32, not str"),
        (lambda: dlgrad.empty(2, dtype=5), "dtype"),
        (lambda: dlgrad.rand(2, generator=5), "'generator' must be Generator or None, not int"),
        (lambda: dlgrad.promote_types(5, dlgrad.int8), "expected a dtype"),
        (lambda: dlgrad.finfo(None), "finfo: expected a dtype"),
        (lambda: func.functional_call(nn.ReLU(), [5]), "expected a dict of tensors"),
        (lambda: floats().realize(5), "argument 'others' must be Tensor, not int"),
        (lambda: setattr(floats(), "data", 5), "must be Tensor, not int"),
    ],
)  # fmt: skip
def test_an_argument_of_a_wrong_kind_is_named(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        call()


def test_an_attribute_error_of_the_user_stays_one() -> None:
    def inner(x: Tensor) -> Any:
        return x.nothing  # type: ignore[attr-defined]

    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return self.nothing(x)

    class Bare(nn.Module):
        def forward(self, x: Tensor, cache: Any = None) -> Any:
            return cache.nothing

    for call in (
        lambda: func.grad(inner)(floats()), lambda: Broken()(floats()),
        lambda: Bare()(floats(), None), lambda: nn.Sequential(Bare())(floats()),
    ):  # fmt: skip
        with pytest.raises(AttributeError, match="nothing"):
            call()


def test_public_functions_keep_their_name_and_signature() -> None:
    for function in (dlgrad.sum, dlgrad.sort, dlgrad.linalg.inv, F.relu, F.max_pool2d, init.ones_):
        assert pickle.loads(pickle.dumps(function)) is function
    assert list(inspect.signature(dlgrad.ceil).parameters) == ["input"]
    assert dlgrad.max_pool2d is F.max_pool2d


@pytest.mark.parametrize(
    "call",
    [
        lambda x, number: x.diagonal(number),
        lambda x, number: x.narrow(0, 0, number),
        lambda x, number: x.narrow(0, number, 1),
        lambda x, number: x.select(0, number),
        lambda x, number: x.as_strided((2,), (1,), number),
        lambda x, number: x.tril(number),
        lambda x, number: x.topk(number),
        lambda x, number: x.rot90(number),
        lambda x, number: x.round(decimals=number),
        lambda x, number: x.cov(correction=number),
        lambda x, number: dlgrad.select_scatter(x, x[0], 0, number),
        lambda x, number: dlgrad.as_strided_scatter(x, x[0], (3,), (1,), number),
        lambda x, number: dlgrad.diag_embed(x, number),
        lambda x, number: dlgrad.diagflat(x, number),
        lambda x, number: dlgrad.histc(x, number),
        lambda x, number: dlgrad.eye(number),
        lambda x, number: dlgrad.eye(2, number),
        lambda x, number: dlgrad.randperm(number),
        lambda x, number: dlgrad.vander(x[0], number),
        lambda x, number: dlgrad.tril_indices(2, 2, number),
        lambda x, number: dlgrad.bincount(x.long().abs().reshape(-1), minlength=number),
        lambda x, number: F.one_hot(x.long().abs(), number),
        lambda x, number: F.avg_pool2d(x[None], 2, divisor_override=number),
        lambda x, number: F.cross_entropy(x, dlgrad.tensor([0, 1]), ignore_index=number),
        lambda x, number: F.embedding(dlgrad.tensor([0]), x, padding_idx=number),
    ],
)  # fmt: skip
def test_no_floats_where_ints_are_expected(call: Callable[[Tensor, Any], Any]) -> None:
    for number in (0.5, math.nan):
        with pytest.raises(TypeError):
            call(floats(), number)


@pytest.mark.parametrize(
    "call",
    [
        lambda: dlgrad.zeros(1 << 60).realize(),
        lambda: dlgrad.zeros(1 << 70).realize(),
        lambda: floats().tril(1 << 70),
        lambda: F.adaptive_avg_pool1d(floats(), 1 << 40),
        lambda: F.interpolate(floats()[None], size=1 << 40),
        lambda: dlgrad.triu_indices(1 << 40, 1 << 40),
        lambda: dlgrad.polygamma(1 << 40, floats()),
        lambda: dlgrad.mvlgamma(floats(), 1 << 40),
        lambda: nn.LSTM(2, 2, num_layers=1 << 40),
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(2, 1, 2), 1 << 40),
    ],
)  # fmt: skip
def test_sizes_beyond_all_bounds_raise_at_once(call: Callable[[], Any]) -> None:
    with pytest.raises((MemoryError, OverflowError, RuntimeError, ValueError)):
        call()


def test_no_kernel_reads_the_memory_of_another_device() -> None:
    """An address of the one device is nonsense on the other."""
    here, there = floats(), floats("cpu")
    place, square = dlgrad.tensor([[0, 1, 0]]), dlgrad.eye(3)
    for call in (
        lambda: here.masked_select(there > 0),
        lambda: there.masked_select(here > 0),
        lambda: here.scatter(0, place, there),
        lambda: here.scatter_add(0, place, there),
        lambda: here.index_add(0, place[0, :2], there),
        lambda: here.index_copy_(0, place[0, :2], there),
        lambda: here.put(place, there[:1]),
        lambda: dlgrad.linalg.solve(square, there.T),
        lambda: dlgrad.linalg.solve_triangular(square.to("cpu"), here.T, upper=True),
        lambda: dlgrad.cholesky_solve(there.T, square),
    ):
        with pytest.raises(DeviceError, match="same device"):
            call()


def test_no_more_bytes_are_read_than_there_are() -> None:
    for device in ("python", "cpu"):
        x = floats(device)
        x.dtype = dlgrad.float64  # nothing to be done by hand; the memory holds float32
        with pytest.raises(RuntimeError, match="48 bytes from byte 0 on are not all in the 24"):
            x.tolist()


def test_floats_are_not_written_into_the_memory_of_integers() -> None:
    for activate in (F.selu, F.elu, F.celu, F.leaky_relu, F.silu):
        x = dlgrad.tensor([1, -2])
        with pytest.raises(RuntimeError, match="can't be cast to the desired output type"):
            activate(x, inplace=True)
        assert x.tolist() == [1, -2]
    with pytest.raises(ValueError, match="offset must be non-negative"):
        dlgrad.frombuffer(bytearray(8), dtype=dlgrad.int8, offset=-3)


def test_reductions_of_nothing_in_the_interpreter() -> None:
    nothing = dlgrad.zeros(3, 0).T
    assert nothing.prod().item() == 1.0
    assert nothing.sum(0).tolist() == [0.0, 0.0, 0.0]
    assert nothing.any().item() is False


def test_a_gradient_that_is_none() -> None:
    param = nn.Parameter(floats())
    right = param.grad = dlgrad.ones(2, 3)
    for wrong, kind, words in (
        (5, TypeError, "expected to be a Tensor or None but got grad of type int"),
        (param, RuntimeError, "as its own grad"),
        (floats()[0], RuntimeError, r"gradient of size '\[3\]' to a tensor of size '\[2, 3\]'"),
        (floats().double(), RuntimeError, "float64 to a tensor of dlgrad.float32"),
        (floats("cpu"), RuntimeError, "on 'cpu' to a tensor on 'python'"),
    ):
        with pytest.raises(kind, match=words):
            param.grad = wrong  # type: ignore[assignment]
        assert param.grad is right
    del param.grad
    assert param.grad is None


def test_a_gradient_of_another_shape_than_its_parameter_has_now() -> None:
    param = nn.Parameter(floats())
    steps = optim.SGD([param], lr=0.1)
    param.grad = floats()
    param.data = dlgrad.ones(3)
    with pytest.raises(RuntimeError, match="the shape of its parameter"):
        steps.step()
    assert param.tolist() == [1.0, 1.0, 1.0]
