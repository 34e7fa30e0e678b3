"""Every operator of `op_cases.py`, on every device that is there, checked in every way."""

from __future__ import annotations

import itertools
import math
import random
import zlib
from typing import Any

import graph_reference
import pytest
from op_cases import CASES, ELEMENTWISE, Case

import dlgrad
from dlgrad.dtype import DType
from dlgrad.errors import DlgradError
from dlgrad.runtime.device import get_backend
from dlgrad.tensor import Tensor

H = 1e-5  # the step of a difference quotient, in float64


def available(name: str) -> bool:
    try:
        get_backend(name)
    except DlgradError:
        return False
    return True


DEVICES = [name for name in ("cpu", "python", "cuda:0", "metal:0") if available(name)]
MAIN = DEVICES[0]  # the long checks run on one device


def case_id(case: Case) -> str:
    return f"{case.name}-{case.kind}".replace(" ", "_")


def numbers(case: Case, shape: tuple[int, ...], salt: int) -> list[Any]:
    """Values for one input, the same in every run, no two equal where that would matter."""
    generator = random.Random(zlib.crc32(f"{case.name}{case.kind}{salt}".encode()))
    count = math.prod(shape)
    if case.kind == "float":
        width = (case.high - case.low) / max(count, 1)
        values = [case.low + width * (i + 0.2 + 0.6 * generator.random()) for i in range(count)]
        generator.shuffle(values)
        return [round(value, 4) for value in values]
    whole = [generator.randrange(int(case.low), int(case.high)) for _ in range(count)]
    return [bool(value) for value in whole] if case.kind == "bool" else whole


def dtype_of(case: Case) -> DType:
    return {"float": dlgrad.float32, "int": dlgrad.int64, "bool": dlgrad.bool}[case.kind]


def inputs(case: Case, device: str, dtype: DType | None = None) -> list[Tensor]:
    made = []
    for salt, shape in enumerate(case.shapes):
        values = numbers(case, shape, salt)
        tensor = dlgrad.tensor(values, dtype=dtype or dtype_of(case), device=device)
        made.append(tensor.reshape(shape).detach())
    return made


def flat(value: Any) -> list[Any]:
    """The numbers of nested lists."""
    return [x for item in value for x in flat(item)] if isinstance(value, list) else [value]


def same(got: list[Any], expected: list[Any], tolerance: float) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert type(a) is type(b) or not isinstance(a, bool), (a, b)
        assert a == pytest.approx(b, rel=tolerance, abs=tolerance, nan_ok=True)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_forward(case: Case, device: str) -> None:
    tensors = inputs(case, device)
    result = case.call(*tensors)
    assert str(result.device) == device
    expected = graph_reference.evaluate_flat(result)
    same(flat(result.tolist()), expected, case.tolerance)
    if case.scalar is not None:
        rows = zip(*(flat(tensor.tolist()) for tensor in tensors), strict=True)
        same(flat(result.tolist()), [case.scalar(*row) for row in rows], case.tolerance)


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_strided_inputs(case: Case) -> None:
    """The same numbers from memory with gaps, in another order, and shifted."""
    tensors = inputs(case, MAIN)
    strided = []
    for tensor in tensors:
        wide = dlgrad.zeros([2 * size + 1 for size in tensor.shape][::-1], dtype=tensor.dtype)
        view = wide.to(MAIN).clone()
        view = view[tuple(slice(1, None, 2) for _ in tensor.shape)].permute(
            list(range(tensor.ndim))[::-1]
        )
        view.copy_(tensor)
        assert tensor.numel() < 2 or tensor.ndim == 0 or not view.is_contiguous()
        strided.append(view)
    same(
        flat(case.call(*strided).tolist()), flat(case.call(*tensors).tolist()), case.tolerance
    )


def weights_for(result: Tensor) -> Tensor:
    count = result.numel()
    values = [math.sin(1.7 * i + 0.4) for i in range(count)]
    return dlgrad.tensor(values, dtype=result.dtype, device=result.device).reshape(result.shape)


def check_slope(case: Case, call: Any, points: list[Tensor], tolerance: float) -> None:
    """The slope along a direction, by the tape and by a difference quotient."""
    directions = [weights_for(point) for point in points]
    with dlgrad.no_grad():
        up = call(*[p + H * d for p, d in zip(points, directions, strict=True)])
        down = call(*[p - H * d for p, d in zip(points, directions, strict=True)])
        quotient = (up - down) / (2 * H)
    leaves = [point.clone().requires_grad_() for point in points]
    gradients = dlgrad.autograd.grad(call(*leaves), leaves, materialize_grads=True)
    slope = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    got, expected = dlgrad.stack([slope, quotient]).tolist()
    assert got == pytest.approx(expected, rel=tolerance, abs=tolerance), case.name


@pytest.mark.parametrize("case", [c for c in CASES if c.gradient], ids=case_id)
def test_gradient(case: Case) -> None:
    points = inputs(case, MAIN, dlgrad.float64)

    def total(*tensors: Tensor) -> Tensor:
        result = case.call(*tensors)
        return (result * weights_for(result)).sum()

    check_slope(case, total, points, 2e-7)


@pytest.mark.parametrize("case", [c for c in CASES if c.gradient and c.second], ids=case_id)
def test_second_gradient(case: Case) -> None:
    points = inputs(case, MAIN, dlgrad.float64)

    def slope(*tensors: Tensor) -> Tensor:
        """A number whose derivative is a second derivative."""
        with dlgrad.enable_grad():
            leaves = [t if t.requires_grad else t.detach().requires_grad_() for t in tensors]
            result = case.call(*leaves)
            weighted = (result * weights_for(result)).sum()
            gradients = dlgrad.autograd.grad(
                weighted, leaves, create_graph=True, materialize_grads=True
            )
            return sum((g * weights_for(g)).sum() for g in gradients)

    leaves = [point.clone().requires_grad_() for point in points]
    if not slope(*leaves).requires_grad:
        return  # linear: the first derivative is a constant
    check_slope(case, slope, points, 5e-7)


@pytest.mark.parametrize("case", ELEMENTWISE, ids=case_id)
def test_empty_and_zero_dimensional(case: Case) -> None:
    count = len(case.shapes)
    empty = [dlgrad.zeros(0, 3, device=MAIN) for _ in range(count)]
    result = case.call(*empty)
    assert result.shape == (0, 3)
    assert result.tolist() == []
    point = [dlgrad.tensor(numbers(case, (1,), i)[0], device=MAIN) for i in range(count)]
    single = case.call(*point)
    assert single.shape == ()
    assert case.scalar is not None
    expected = case.scalar(*[x.item() for x in point])
    assert single.item() == pytest.approx(expected, rel=case.tolerance, abs=case.tolerance)


BINARY = [case for case in ELEMENTWISE if len(case.shapes) == 2]


@pytest.mark.parametrize("case", BINARY, ids=case_id)
def test_broadcast(case: Case) -> None:
    values = [numbers(case, (3,), 0), numbers(case, (2,), 1)]
    a = dlgrad.tensor(values[0], device=MAIN).reshape(3, 1)
    b = dlgrad.tensor(values[1], device=MAIN)
    result = case.call(a, b)
    assert result.shape == (3, 2)
    assert case.scalar is not None
    pairs = itertools.product(a.flatten().tolist(), b.tolist())
    same(flat(result.tolist()), [case.scalar(*pair) for pair in pairs], case.tolerance)
    with pytest.raises(RuntimeError, match="broadcast"):
        case.call(dlgrad.zeros(3, 2), dlgrad.zeros(3))


@pytest.mark.parametrize("case", [c for c in BINARY if c.gradient], ids=case_id)
def test_gradient_of_broadcast(case: Case) -> None:
    points = [
        dlgrad.tensor(numbers(case, shape, i), dtype=dlgrad.float64, device=MAIN).reshape(shape)
        for i, shape in enumerate([(2, 1, 3), (4, 1)])
    ]

    def total(*tensors: Tensor) -> Tensor:
        result = case.call(*tensors)
        return (result * weights_for(result)).sum()

    check_slope(case, total, [point.detach() for point in points], 2e-7)


# Values at the edges --------------------------------------------------------------------------

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("relu", [NAN, -INF, INF, -1.0], [NAN, 0.0, INF, 0.0]),
        ("sigmoid", [-INF, INF, NAN, -200.0], [0.0, 1.0, NAN, 0.0]),
        ("tanh", [-INF, INF, NAN], [-1.0, 1.0, NAN]),
        ("exp", [-INF, INF, 1000.0], [0.0, INF, INF]),
        ("log", [0.0, -1.0, INF], [-INF, NAN, INF]),
        ("sqrt", [-1.0, INF], [NAN, INF]),
        ("sign", [NAN, -0.5, INF], [0.0, -1.0, 1.0]),
        ("amax", [1.0, NAN, 2.0], NAN),
        ("amin", [1.0, NAN, 2.0], NAN),
        ("argmax", [1.0, NAN, 2.0, NAN], 1),
        ("argmax", [5.0, 7.0, 7.0], 1),
        ("logsumexp0", [-INF, -INF], -INF),
        ("logsumexp0", [1000.0, 1000.0], 1000.0 + math.log(2)),
        ("softmax0", [1000.0, 1000.0], [0.5, 0.5]),
        ("isnan", [NAN, INF, 1.0], [True, False, False]),
        ("isfinite", [NAN, -INF, 1.0], [False, False, True]),
    ],
)
def test_special_values(name: str, given: list[float], expected: Any) -> None:
    x = dlgrad.tensor(given, device=MAIN)
    result = getattr(x, name.rstrip("0"))(*[0] * name.endswith("0")).tolist()
    same(flat(result), flat(expected), 1e-6)


@pytest.mark.parametrize("name", ["sigmoid", "logsigmoid", "softplus", "tanh", "elu", "gelu"])
def test_gradients_far_out_are_finite(name: str) -> None:
    from dlgrad.neural import activations

    x = dlgrad.tensor([-500.0, -90.0, 0.0, 90.0, 500.0], device=MAIN, requires_grad=True)
    getattr(activations, name)(x).sum().backward()
    assert x.grad is not None
    assert all(math.isfinite(value) for value in x.grad.tolist())


def test_gradient_of_prod_with_zeros() -> None:
    x = dlgrad.tensor([[2.0, 0.0, 3.0], [0.0, 0.0, 3.0]], device=MAIN, requires_grad=True)
    x.prod(1).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 6.0, 0.0], [0.0, 0.0, 0.0]]


def test_ties() -> None:
    """max along a dim: the first of equals; amax: all of them share; maximum: halves."""
    for call, expected in (
        (lambda x: x.max(0).values, [0.0, 1.0, 0.0]),
        (lambda x: x.amax(0), [0.0, 0.5, 0.5]),
        (lambda x: dlgrad.maximum(x, dlgrad.tensor([2.0, 3.0, 3.0], device=MAIN)).sum(),
         [0.0, 0.5, 0.5]),
    ):  # fmt: skip
        x = dlgrad.tensor([1.0, 3.0, 3.0], device=MAIN, requires_grad=True)
        call(x).backward()
        assert x.grad is not None
        assert x.grad.tolist() == expected


def test_integer_division_by_zero_does_not_crash() -> None:
    x, zero = dlgrad.tensor([7, -7], device=MAIN), dlgrad.tensor([0, 0], device=MAIN)
    assert (x // zero).shape == (2,)
    (x // zero).tolist()
    (x % zero).tolist()


# Bad input ------------------------------------------------------------------------------------

A, B = dlgrad.zeros(2, 3), dlgrad.zeros(4, 5)
INTS = dlgrad.zeros(2, 3, dtype=dlgrad.int64)
FLAGS = dlgrad.zeros(2, dtype=dlgrad.bool)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: A + B, RuntimeError, r"\(2, 3\) and \(4, 5\)"),
        (lambda: A @ B, RuntimeError, r"2x3 and 4x5"),
        (lambda: A.sum(2), IndexError, r"range of \[-2, 1\], but got 2"),
        (lambda: A.sum((0, 0)), RuntimeError, "multiple times"),
        (lambda: A.reshape(4, 2), RuntimeError, r"\[4, 2\].*size 6"),
        (lambda: A.reshape(-1, -1), RuntimeError, "one dimension"),
        (lambda: A.t().view(6), RuntimeError, "reshape"),
        (lambda: A[2], IndexError, "out of bounds"),
        (lambda: A[0, 0, 0], IndexError, "too many"),
        (lambda: A[::-1], ValueError, "step"),
        (lambda: A["x"], TypeError, "an index is an int, a slice"),
        (lambda: A[A > 0, 0], IndexError, "too many indices"),
        (lambda: A.expand(3, 3), RuntimeError, "expanded size"),
        (lambda: A.permute(0, 0), RuntimeError, "duplicate"),
        (lambda: A.squeeze(5), IndexError, "range"),
        (lambda: dlgrad.cat([A, B]), RuntimeError, r"\[2, 3\].*\[4, 5\]"),
        (lambda: dlgrad.cat([]), ValueError, "non-empty"),
        (lambda: dlgrad.stack([A, B]), RuntimeError, "equal size"),
        (lambda: INTS.mean(), TypeError, "float"),
        (lambda: FLAGS - FLAGS, TypeError, "bool"),
        (lambda: -FLAGS, TypeError, "bool"),
        (lambda: ~A, TypeError, "float32"),
        (lambda: A & 1, TypeError, "float32"),
        (lambda: INTS**-1, RuntimeError, "negative"),
        (lambda: A + "x", TypeError, "str"),
        (lambda: A.item(), RuntimeError, "6 elements"),
        (lambda: bool(A), RuntimeError, "ambiguous"),
        (lambda: len(A.sum()), TypeError, "0-d"),
        (lambda: A.add_(dlgrad.zeros(2, 2, 3)), RuntimeError, "broadcast"),
        (lambda: INTS.add_(0.5), RuntimeError, "cast"),
        (lambda: A.expand(4, 2, 3).add_(1), RuntimeError, "single memory location"),
        (lambda: dlgrad.zeros(0, 3).amax(0), IndexError, "non-zero"),
        (lambda: A.clamp(), RuntimeError, "not be None"),
        (lambda: A.to("moon"), RuntimeError, "moon"),
        (lambda: dlgrad.where(A, A, A), TypeError, "bool"),
        (lambda: dlgrad.arange(3, 1), RuntimeError, "sign"),
        (lambda: dlgrad.zeros(-1), RuntimeError, "negative"),
        (lambda: dlgrad.tensor([[1, 2], [3]]), ValueError, "length 2 at dim 1"),
        (lambda: dlgrad.tensor("text"), TypeError, "str"),
        (lambda: dlgrad.tensor([300], dtype=dlgrad.uint8), OverflowError, "uint8"),
        (lambda: A.matmul(INTS.t()), TypeError, "dtype"),
        (lambda: A.softmax(5), IndexError, "Dimension"),
    ],
)  # fmt: skip
def test_bad_input(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_bad_input_of_networks() -> None:
    from dlgrad.neural import class_losses, convolution, losses, pooling

    x = dlgrad.zeros(1, 3, 5, 5)
    with pytest.raises(RuntimeError, match="channels"):
        convolution.conv2d(x, dlgrad.zeros(2, 4, 3, 3))
    with pytest.raises(RuntimeError, match="Kernel size"):
        convolution.conv2d(x, dlgrad.zeros(2, 3, 6, 6))
    with pytest.raises(RuntimeError, match="bias"):
        convolution.conv2d(x, dlgrad.zeros(2, 3, 3, 3), dlgrad.zeros(3))
    with pytest.raises(RuntimeError, match="same"):
        convolution.conv2d(x, dlgrad.zeros(2, 3, 3, 3), padding="same", stride=2)
    with pytest.raises(RuntimeError, match="at most half"):
        pooling.max_pool2d(x, 2, padding=2)
    with pytest.raises(TypeError, match="int64"):
        class_losses.cross_entropy(dlgrad.zeros(2, 3), dlgrad.zeros(2, dtype=dlgrad.int32))
    with pytest.raises(ValueError, match="batch_size"):
        class_losses.cross_entropy(dlgrad.zeros(2, 3), dlgrad.zeros(3, dtype=dlgrad.int64))
    with pytest.raises(ValueError, match="reduction"):
        losses.mse_loss(x, x, reduction="median")
    with pytest.warns(UserWarning, match="different to the input size") as warned:
        dlgrad.nn.functional.mse_loss(x, x[0])
    assert warned[0].filename == __file__  # the line of the program, not one of dlgrad
