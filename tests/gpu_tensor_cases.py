"""Tensors on a GPU against the same work done by the interpreter.

Run by `test_cuda.py` and `test_metal.py` in child processes, like `gpu_cases.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from gpu_cases import DEVICE, SIMULATED
from launches import recorded

import dlgrad
from dlgrad import Tensor, nn
from dlgrad.dtype import ALL_DTYPES, DType, bool_, float32, float64, int32
from dlgrad.errors import DlgradError, DTypeError
from dlgrad.runtime.device import get_backend

PYTHON = "python"  # slow, but it compiles nothing


def flat(values) -> list:
    """The numbers of nested lists in order."""
    if not isinstance(values, list):
        return [values]
    return [number for part in values for number in flat(part)]


def check(function: Callable[..., Tensor], *shapes: tuple[int, ...], close: float = 1e-5) -> None:
    """The function gives the same on the GPU as in Python, and its result is on the GPU."""
    dlgrad.manual_seed(3)
    inputs = [dlgrad.randn(*shape, device=PYTHON) for shape in shapes]
    expected = function(*inputs)
    result = function(*(x.to(DEVICE) for x in inputs))
    assert result.device.type == DEVICE
    assert result.shape == expected.shape and result.dtype is expected.dtype
    assert flat(result.tolist()) == pytest.approx(
        flat(expected.tolist()), rel=close, abs=close, nan_ok=True
    )


def dtypes() -> tuple[DType, ...]:
    return get_backend(f"{DEVICE}:0").caps.dtypes


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=lambda dtype: dtype.name)
def test_there_and_back(dtype: DType) -> None:
    values = [True, False, True] if dtype is bool_ else [0, 1, 100]
    if dtype not in dtypes():
        with pytest.raises(DTypeError):
            dlgrad.tensor(values, dtype=dtype, device=DEVICE).add(1).tolist()
        return
    x = dlgrad.tensor(values, dtype=dtype, device=DEVICE)
    assert x.device.type == DEVICE and x.dtype is dtype
    assert x.tolist() == values
    assert x.cpu().tolist() == values and x.cpu().device.type == "cpu"
    assert x.cpu().to(DEVICE).clone().tolist() == values


def test_creation() -> None:
    at = {"device": DEVICE}
    assert dlgrad.zeros(2, 3, **at).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert dlgrad.ones(2, dtype=int32, **at).tolist() == [1, 1]
    assert dlgrad.full((2, 2), 7.5, **at).tolist() == [[7.5, 7.5], [7.5, 7.5]]
    assert dlgrad.arange(3, 12, 4, **at).tolist() == [3, 7, 11]
    assert dlgrad.eye(3, **at).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert dlgrad.tensor(4.5, **at).item() == 4.5
    assert dlgrad.zeros(0, 3, **at).tolist() == []


def test_random_numbers_are_the_same_everywhere() -> None:
    dlgrad.manual_seed(11)
    expected = dlgrad.rand(1000, device=PYTHON), dlgrad.randn(7, device=PYTHON)
    dlgrad.manual_seed(11)
    x, y = dlgrad.rand(1000, device=DEVICE), dlgrad.randn(7, device=DEVICE)
    assert x.tolist() == expected[0].tolist()
    assert y.tolist() == pytest.approx(expected[1].tolist(), rel=1e-5)


def test_a_chain_is_one_kernel() -> None:
    x = dlgrad.arange(600, dtype=float32, device=DEVICE).realize()
    with recorded() as seen:
        y = ((x / 600 - 0.5) * 3).exp().sqrt().relu() + x
        y.realize()
    assert len(seen.launches) == 1
    expected = [math.sqrt(math.exp((i / 600 - 0.5) * 3)) + i for i in range(600)]
    assert y.tolist() == pytest.approx(expected, rel=1e-5)


ELEMENTWISE = {
    "arithmetic": lambda x, y: (x + y) * (x - 0.5) / (y.abs() + 1) - x**2,
    "functions": lambda x, y: x.sin() + y.cos() + x.tanh() * y.atan() + (x / 4).exp(),
    "logarithms": lambda x, y: (x.abs() + 1e-3).log() + y.abs().log1p() + (y / 8).expm1(),
    "activations": lambda x, y: x.relu() + y.sigmoid() + nn.functional.gelu(x),
    "choices": lambda x, y: dlgrad.where(x > y, x, y * 2) + (x == y),
    "integers": lambda x, y: ((x * 9).to(int32) // 4 + (y * 9).to(int32) % 5) * 3,
    "rounding": lambda x, y: (x * 3).floor() + (y * 3).round() - x.ceil() + y.trunc(),
    "transposed": lambda x, y: x.T.contiguous() + y.T * 2,
    "strided": lambda x, y: x[:, ::2] - y[:, 1::2].flip(0),
    "broadcast": lambda x, y: x + y[0] * x[:, :1],
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name: str) -> None:
    check(ELEMENTWISE[name], (6, 10), (6, 10))


REDUCTIONS = {
    "all": lambda x: x.sum(),
    "rows": lambda x: x.sum(-1),
    "columns": lambda x: x.sum(0, keepdim=True),
    "both ends": lambda x: x.mean((0, 2)),
    "maximum": lambda x: x.amax(1),
    "minimum": lambda x: x.min(),
    "product": lambda x: (x / 4 + 1).prod(2),
    "fused": lambda x: (x.exp() * 2).sum(1).sqrt(),
    "any": lambda x: (x > 2).any(0),
    "position": lambda x: x.argmax(1),
    "softmax": lambda x: x.softmax(-1),
    "variance": lambda x: x.var(1),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str) -> None:
    check(REDUCTIONS[name], (3, 40, 7), close=2e-5)


def test_long_sums() -> None:
    check(lambda x: x.sum(), (9000,), close=1e-4)
    check(lambda x: x.max(), (9000,))


@pytest.mark.parametrize("shape", [(300, 20), (40, 300), (5, 70, 9)])
def test_sums_of_columns(shape: tuple[int, ...]) -> None:
    check(lambda x: (x * 2).sum(0), shape, close=1e-4)
    check(lambda x: x.sum(-2).exp().amax(-1), shape, close=1e-3)
    check(lambda x: (x - x.mean(0)) / x.std(0), shape, close=1e-3)


def test_nan_wins() -> None:
    x = dlgrad.tensor([1.0, float("nan"), 3.0], device=DEVICE)
    assert math.isnan(x.max().item()) and math.isnan(x.min().item())


MATMULS = [
    ((3, 4), (4, 5)),
    ((33, 17), (17, 20)),
    ((4,), (4,)),
    ((2, 3), (3,)),
    ((2, 5, 3), (2, 3, 4)),
    ((2, 1, 5, 3), (3, 3, 4)),
]


@pytest.mark.parametrize("shapes", MATMULS)
def test_matmul(shapes) -> None:
    check(lambda a, b: a @ b, *shapes, close=1e-4)


def test_matmul_of_views_with_fused_work() -> None:
    check(lambda a, b, c: (a.T @ b.T + c).relu() * 2, (6, 5), (7, 6), (7,), close=1e-4)
    check(lambda a, b: a[::2, 1:] @ (b * 3).exp(), (6, 5), (4, 3), close=1e-4)
    check(lambda a: a @ a.T, (1, 20), close=1e-4)


@pytest.mark.parametrize("dtype", [dlgrad.float16, dlgrad.bfloat16, int32])
def test_matmul_of_other_dtypes(dtype: DType) -> None:
    def work(a: Tensor, b: Tensor) -> Tensor:
        return ((a * 8).to(dtype) @ (b * 8).to(dtype)).to(float32)

    check(work, (5, 6), (6, 4), close=1e-2)


def test_writing_in_place() -> None:
    def work(x: Tensor) -> Tensor:
        y = x.clone()
        y[1:, ::2] += 1
        y[0] = 7.0
        y.mul_(2)
        return y

    check(work, (4, 5))


def test_gradients() -> None:
    def work(x: Tensor, w: Tensor, v: Tensor) -> Tensor:
        w, v = w.detach().requires_grad_(), v.detach().requires_grad_()
        loss = ((x @ w).tanh() @ v).softmax(-1).log().mean()
        loss.backward()
        return dlgrad.cat([w.grad.flatten(), v.grad.flatten()])

    check(work, (6, 5), (5, 4), (4, 3), close=1e-4)


def test_convolution() -> None:
    def work(x: Tensor, w: Tensor) -> Tensor:
        w = w.detach().requires_grad_()
        y = nn.functional.max_pool2d(nn.functional.conv2d(x, w, padding=1).relu(), 2)
        (y * y).sum().backward()
        return dlgrad.cat([y.flatten(), w.grad.flatten()])

    check(work, (2, 2, 6, 6), (3, 2, 3, 3), close=1e-3)


def train(device: str) -> list[float]:
    """The losses of a small network over a few steps."""
    dlgrad.manual_seed(5)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).to(device)
    optimizer = dlgrad.optim.AdamW(model.parameters(), lr=0.05)
    x = dlgrad.randn(12, 4, device=PYTHON).to(device)
    target = dlgrad.arange(12, device=PYTHON).to(device) % 3
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_training() -> None:
    losses = train(DEVICE)
    assert losses == pytest.approx(train(PYTHON), rel=1e-4)
    assert losses[-1] < losses[0]


def test_replay() -> None:
    @dlgrad.jit
    def step(x: Tensor) -> Tensor:
        return (x * 2 + 1).sum()

    for start in range(4):
        x = dlgrad.arange(start, start + 10, dtype=float32, device=DEVICE)
        assert step(x).item() == sum(2 * i + 1 for i in range(start, start + 10))


def test_devices_do_not_mix() -> None:
    with pytest.raises(DlgradError):
        dlgrad.ones(2, device=DEVICE) + dlgrad.ones(2)


def test_the_device_says_what_it_is() -> None:
    backend = get_backend(f"{DEVICE}:0")
    assert backend.simulated == SIMULATED
    assert ("imulated" in backend.describe()) == SIMULATED


def test_double_precision() -> None:
    if float64 in dtypes():
        x = dlgrad.tensor([1.0, 3.0], dtype=float64, device=DEVICE)
        assert (x / 3).tolist() == [1 / 3, 1.0]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.gather(1, x.argsort(1)),
        lambda x: x.scatter_add(0, (x * 100).long().abs() % 5, x),
        lambda x: x.cumsum(0) + x.cumsum(1),
        lambda x: x.logcumsumexp(1),
        lambda x: x.sort(0, descending=True).values,
        lambda x: x[:, [0, 0, 3]],
    ],
    ids=["gather", "scatter_add", "cumsum", "logcumsumexp", "sort", "index"],
)
def test_computed_places(function: Callable[[Tensor], Tensor]) -> None:
    check(function, (5, 70))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: dlgrad.linalg.solve(x, x.mT),
        lambda x: dlgrad.linalg.cholesky(x @ x.mT + dlgrad.eye(4, device=x.device)),
        lambda x: dlgrad.cat(dlgrad.linalg.qr(x)),
        lambda x: dlgrad.linalg.eigvalsh(x + x.mT),
        lambda x: dlgrad.linalg.svdvals(x),
    ],
    ids=["solve", "cholesky", "qr", "eigvalsh", "svdvals"],
)
def test_factorizations(function: Callable[[Tensor], Tensor]) -> None:
    check(function, (2, 4, 4), close=1e-3)


def test_places_outside_of_the_memory() -> None:
    """Nothing is waited for on a GPU: what is outside reads NaN and writes nothing."""
    x = dlgrad.tensor([1.0, 2.0, 3.0], device=DEVICE)
    place = dlgrad.tensor([2, 7, -9], device=DEVICE)
    first, *rest = x.gather(0, place).tolist()
    assert first == 3 and all(math.isnan(value) for value in rest)
    assert x.scatter_add(0, place, x).tolist() == [1, 2, 4]
