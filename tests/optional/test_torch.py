"""dlgrad beside PyTorch: values, dtypes, gradients, promotion, printing and errors.

The operators come from `op_cases.py`; a case is called with PyTorch's functions by the same
names where they exist.
"""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from torch.nn import functional as torch_functional  # noqa: E402

import dlgrad  # noqa: E402
from dlgrad.dtype import ALL_DTYPES  # noqa: E402
from dlgrad.nn import functional as dlgrad_functional  # noqa: E402

LIBRARIES = {torch: torch_functional, dlgrad: dlgrad_functional}


def random_array(shape: tuple[int, ...], seed: int, positive: bool = False) -> Any:
    generator = np.random.default_rng(seed)
    values = generator.standard_normal(shape)
    return (np.abs(values) + 0.2 if positive else values).astype(np.float32)


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def compare(
    call: Any, *shapes: tuple[int, ...], positive: bool = False, tolerance: float = 2e-5
) -> None:
    """The same call in both libraries: shapes, dtypes, values and gradients."""
    arrays = [random_array(shape, i, positive) for i, shape in enumerate(shapes)]
    theirs = [torch.tensor(array, requires_grad=True) for array in arrays]
    mine = [dlgrad.tensor(array, requires_grad=True) for array in arrays]
    expected, got = as_list(call(torch, *theirs)), as_list(call(dlgrad, *mine))
    assert len(expected) == len(got)
    for a, b in zip(expected, got, strict=True):
        assert tuple(a.shape) == tuple(b.shape)
        assert str(a.dtype).removeprefix("torch.") == b.dtype.name
        np.testing.assert_allclose(
            b.detach().numpy(), a.detach().numpy(), rtol=tolerance, atol=tolerance
        )
    if not expected[0].requires_grad:
        assert not got[0].requires_grad
        return
    weights = random_array(tuple(expected[0].shape), 99)
    expected[0].backward(torch.tensor(weights))
    got[0].backward(dlgrad.tensor(weights))
    for a, b in zip(theirs, mine, strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            np.testing.assert_allclose(
                b.grad.numpy(), a.grad.numpy(), rtol=5 * tolerance, atol=5 * tolerance
            )


S = (3, 4)
NAMES = [
    "exp", "sin", "cos", "tanh", "sigmoid", "relu", "erf", "expm1", "abs", "neg", "floor",
    "ceil", "round", "trunc", "sign", "atan", "sinh", "cosh", "tan", "square", "frac", "exp2",
    "isnan", "isfinite", "logical_not", "argmax", "argmin",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_unary(name: str) -> None:
    compare(lambda m, x: getattr(m, name)(x), S)


@pytest.mark.parametrize("name", ["log", "sqrt", "rsqrt", "log2", "log10", "log1p", "reciprocal"])
def test_unary_of_positive(name: str) -> None:
    compare(lambda m, x: getattr(m, name)(x), S, positive=True)


PAIRS = [(S, S), ((3, 1), (2, 1, 4)), (S, ()), ((), (2,)), ((0, 3), (3,))]


@pytest.mark.parametrize("shapes", PAIRS)
@pytest.mark.parametrize(
    "name",
    [
        "add",
        "sub",
        "mul",
        "div",
        "maximum",
        "minimum",
        "fmod",
        "remainder",
        "logaddexp",
        "lt",
        "ge",
        "eq",
        "floor_divide",
        "xlogy",
    ],
)
def test_binary(name: str, shapes: Any) -> None:
    if name == "floor_divide":
        compare(lambda m, x, y: m.floor_divide(x.detach(), y.detach()), *shapes)
    else:
        compare(lambda m, x, y: getattr(m, name)(x, y), *shapes, positive=name == "xlogy")


@pytest.mark.parametrize("dims", [None, 0, -1, (0, 1), (0, 2), []])
@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize(
    "name", ["sum", "mean", "amax", "amin", "var", "std", "logsumexp", "any", "all", "norm"]
)
def test_reductions(name: str, dims: Any, keepdim: bool) -> None:
    if name == "logsumexp" and dims is None:
        return
    if dims == [] and name in ("any", "all", "var", "std", "logsumexp"):
        return  # PyTorch contradicts itself here: the gradient, or what [] means
    if name == "norm":
        compare(lambda m, x: x.norm(3, dim=dims, keepdim=keepdim), (2, 3, 4))
        return
    if name in ("any", "all"):
        compare(lambda m, x: getattr(x > 0.5, name)(dim=dims, keepdim=keepdim), (2, 3, 4))
        return
    options = {} if dims is None and name in ("amax", "amin") else {"dim": dims}
    compare(lambda m, x: getattr(m, name)(x, keepdim=keepdim, **options), (2, 3, 4))


@pytest.mark.parametrize("name", ["max", "min"])
def test_extremes(name: str) -> None:
    compare(lambda m, x: getattr(x, name)(), S)
    compare(lambda m, x: tuple(getattr(x, name)(1)), S)
    compare(lambda m, x: tuple(getattr(x, name)(0, keepdim=True)), S)
    compare(lambda m, x, y: getattr(m, name)(x, y), S, S)


@pytest.mark.parametrize("p", [0, 1, 2, 3, math.inf, -math.inf, "fro"])
def test_norms(p: Any) -> None:
    compare(lambda m, x: x.norm(p), S)


@pytest.mark.parametrize(
    ("a", "b"),
    [((3, 4), (4, 5)), ((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 5)), ((2, 3, 4), (4, 5)),
     ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((4,), (2, 4, 3)), ((2, 3, 4), (4,)),
     ((3, 4), (2, 4, 5)), ((0, 4), (4, 3)), ((3, 0), (0, 2))],
)  # fmt: skip
def test_matmul(a: Any, b: Any) -> None:
    compare(lambda m, x, y: x @ y, a, b)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [("ij,jk", [(2, 3), (3, 4)]), ("bij,bkj->bik", [(2, 3, 4), (2, 5, 4)]), ("ii->i", [(3, 3)]),
     ("ii", [(3, 3)]), ("i,j->ij", [(3,), (4,)]), ("...i,...i->...", [(2, 3), (2, 3)]),
     ("ij->ji", [(2, 3)]), ("ijk->", [(2, 3, 4)]), ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 2)]),
     ("b...d,cd->b...c", [(2, 3, 4), (5, 4)])],
)  # fmt: skip
def test_einsum(equation: str, shapes: Any) -> None:
    compare(lambda m, *x: m.einsum(equation, *x), *shapes)


ACTIVATIONS = [
    "relu", "relu6", "leaky_relu", "elu", "selu", "silu", "mish", "gelu", "softplus",
    "softsign", "logsigmoid", "hardtanh", "hardsigmoid", "hardswish",
]  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    compare(lambda m, x: getattr(LIBRARIES[m], name)(x * 3), S)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax(name: str, dim: int) -> None:
    compare(lambda m, x: getattr(LIBRARIES[m], name)(x * 3, dim=dim), (3, 4, 2))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses(reduction: str) -> None:
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        compare(lambda m, x, y, n=name: getattr(LIBRARIES[m], n)(x, y, reduction=reduction), S, S)
    compare(
        lambda m, x: LIBRARIES[m].binary_cross_entropy_with_logits(
            x * 5, m.full(S, 0.3), pos_weight=m.tensor([1.0, 2, 3, 4]), reduction=reduction
        ),
        S,
    )
    labels = [[1, 3, 0], [2, 2, 3]]
    options = itertools.product((0.0, 0.1), (None, [1.0, 2.0, 0.5, 1.5]), (-100, 3), labels)
    for smoothing, weight, ignored, label in options:
        compare(
            lambda m, x, w=weight, i=ignored, s=smoothing, t=label: LIBRARIES[m].cross_entropy(
                x, m.tensor(t), weight=None if w is None else m.tensor(w), ignore_index=i,
                reduction=reduction, label_smoothing=s,
            ),
            S,
        )  # fmt: skip


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, (2, 0)])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv2d(stride: int, padding: Any, dilation: int, groups: int) -> None:
    compare(
        lambda m, x, w, b: LIBRARIES[m].conv2d(x, w, b, stride, padding, dilation, groups),
        (2, 4, 9, 8), (6, 4 // groups, 3, 2), (6,), tolerance=1e-4,
    )  # fmt: skip


def test_other_convolutions() -> None:
    def call(name: str, **options: Any) -> Any:
        return lambda m, x, w: getattr(LIBRARIES[m], name)(x, w, **options)

    compare(call("conv2d", padding="same", dilation=2), (2, 4, 9, 8), (6, 4, 3, 4), tolerance=1e-4)
    compare(call("conv1d", padding=2, stride=2), (2, 4, 9), (6, 4, 3), tolerance=1e-4)
    compare(call("conv3d", padding=1), (1, 2, 4, 5, 4), (3, 2, 3, 2, 3), tolerance=1e-4)
    compare(call("conv2d"), (4, 5, 5), (6, 4, 3, 3), tolerance=1e-4)


POOLS = [
    (2, None, 0, 1, False), (3, None, 0, 1, False), (3, 2, 1, 1, False), (3, 1, 1, 1, False),
    (3, 2, 1, 2, False), ((2, 3), (1, 2), 0, 1, True), (3, 2, 0, 1, True), (2, 2, 0, 1, True),
]  # fmt: skip


@pytest.mark.parametrize("options", POOLS)
def test_pools(options: Any) -> None:
    kernel, stride, padding, dilation, ceil = options

    def largest(m: Any, x: Any) -> Any:
        return LIBRARIES[m].max_pool2d(
            x, kernel, stride, padding, dilation, ceil, return_indices=True
        )

    compare(largest, (2, 3, 8, 9))
    if dilation == 1:
        for included in (True, False):
            compare(
                lambda m, x, i=included: LIBRARIES[m].avg_pool2d(
                    x, kernel, stride, padding, ceil, i
                ),
                (2, 3, 8, 9),
            )


def test_batch_norm() -> None:
    for training in (True, False):

        def call(m: Any, x: Any, w: Any, b: Any, t: bool = training) -> Any:
            mean, var = m.zeros(3), m.ones(3)
            return LIBRARIES[m].batch_norm(x, mean, var, w, b, training=t), mean, var

        compare(call, (4, 3, 5, 2), (3,), (3,))
    compare(lambda m, x, w, b: LIBRARIES[m].layer_norm(x, (4, 2), w, b), (3, 4, 2), (4, 2), (4, 2))


# Movement and indexing --------------------------------------------------------------------------

INDICES: list[Any] = [
    0,
    -1,
    slice(1, None),
    slice(None, None, 2),
    (slice(None), 1),
    (..., 2),
    (None, 1, None),
    (slice(5, 2), 0),
    (slice(-2, None), slice(1, 4, 2), None),
    (),
    ...,
    (0, ..., slice(None), 1),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_indexing(index: Any) -> None:
    compare(lambda m, x: x[index] * 1, (3, 4, 5))

    def written(m: Any, x: Any) -> Any:
        y = x * 2
        y[index] = x[index] * 7
        return y

    compare(written, (3, 4, 5))
    theirs, mine = torch.zeros(3, 4, 5)[index], dlgrad.zeros(3, 4, 5)[index]
    if theirs.numel():
        assert [n for n, s in zip(mine.stride(), mine.shape, strict=True) if s > 1] == [
            n for n, s in zip(theirs.stride(), theirs.shape, strict=True) if s > 1
        ]
        assert mine.storage_offset() == theirs.storage_offset()


MOVES: list[Any] = [
    lambda x: x.permute(2, 0, 1),
    lambda x: x.transpose(0, -1).reshape(5, -1),
    lambda x: x.unsqueeze(1).squeeze(),
    lambda x: x.expand(2, 3, 4, 5),
    lambda x: x.flatten(1),
    lambda x: x.movedim((0, 1), (2, 0)),
    lambda x: x.diagonal(1, 1, 2),
    lambda x: x.narrow(1, 1, 2),
    lambda x: x.split([1, 3], 1)[1],
    lambda x: x.chunk(2, 2)[1],
    lambda x: x.unflatten(1, (2, 2)),
    lambda x: x.repeat(2, 1, 2),
    lambda x: x.tril(1),
    lambda x: x.triu(-1),
    lambda x: x.flip([0, 2]),
    lambda x: x.mT,
    lambda x: x.tile((2, 1)),
    lambda x: x.view(-1, 10),
    lambda x: x.unbind(1)[2],
]


@pytest.mark.parametrize("call", MOVES)
def test_movement(call: Any) -> None:
    compare(lambda m, x: call(x) * 1, (3, 4, 5))


# Promotion and printing ---------------------------------------------------------------------------


def torch_dtype(dtype: Any) -> Any:
    return getattr(torch, dtype.name)


@pytest.mark.parametrize("a", ALL_DTYPES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("b", ALL_DTYPES, ids=lambda dtype: dtype.name)
def test_promotion(a: Any, b: Any) -> None:
    """Dimensioned with dimensioned, and with zero-dimensional, as PyTorch has it."""
    for shape in ((2,), ()):
        theirs = (torch.ones(2, dtype=torch_dtype(a)), torch.ones(shape, dtype=torch_dtype(b)))
        mine = (dlgrad.ones(2, dtype=a), dlgrad.ones(shape, dtype=b))
        try:
            expected = torch.result_type(*theirs)
        except RuntimeError:
            continue  # PyTorch has no answer for most of uint16, uint32 and uint64
        assert torch_dtype(dlgrad.result_type(*mine)) is expected
        assert torch_dtype((mine[0] * mine[1]).dtype) is expected


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=lambda dtype: dtype.name)
def test_promotion_with_numbers(dtype: Any) -> None:
    if dtype.name in ("uint16", "uint32", "uint64"):
        return  # PyTorch has no arithmetic on these
    x, y = dlgrad.ones(2, dtype=dtype), torch.ones(2, dtype=torch_dtype(dtype))
    for number in (True, 2, 2.5):
        assert torch_dtype((x + number).dtype) is (y + number).dtype
        assert torch_dtype((number * x).dtype) is (number * y).dtype
        assert torch_dtype((x / number).dtype) is (y / number).dtype
    assert torch_dtype(x.sum().dtype) is y.sum().dtype
    assert torch_dtype(x.exp().dtype) is y.exp().dtype


def printed() -> list[Any]:
    generator = np.random.default_rng(0)
    scales = [1.0, 1e-3, 1e5, 1e9]
    arrays = [generator.standard_normal(shape) * s for s in scales for shape in [(), (7,), (3, 4)]]
    arrays = [array.astype(np.float32) for array in map(np.asarray, arrays)]
    arrays += [np.arange(50), np.arange(24).reshape(2, 3, 4) * 1000 - 5, np.zeros((2, 0, 3))]
    arrays += [np.array([True, False]), np.array([1.0, np.nan, -np.inf, 1e-8])]
    arrays += [np.arange(5000).reshape(50, 100), np.arange(2000.0), np.zeros((12, 11, 10))]
    arrays += [generator.standard_normal((2, 30)), np.array([1.0, 2.0, 1000.0]), np.array(-3)]
    return arrays


@pytest.mark.parametrize("array", printed(), ids=lambda a: f"{a.dtype}{a.shape}")
def test_printing(array: Any) -> None:
    expected = repr(torch.tensor(array)).replace("torch.", "dlgrad.")
    assert repr(dlgrad.tensor(array)) == expected
    leaf = np.asarray(array, dtype=np.float32)
    theirs, mine = torch.tensor(leaf, requires_grad=True), dlgrad.tensor(leaf, requires_grad=True)
    assert repr(mine) == repr(theirs)
    assert repr(mine * 2) == repr(theirs * 2)
    assert repr(mine.detach().double()) == repr(theirs.detach().double()).replace(
        "torch.", "dlgrad."
    )


# Every dtype --------------------------------------------------------------------------------------

CALLS: dict[str, Any] = {
    "add": lambda m, x, y: x + y,
    "sub": lambda m, x, y: x - y,
    "mul": lambda m, x, y: x * y,
    "div": lambda m, x, y: x / y,
    "floordiv": lambda m, x, y: x // y,
    "mod": lambda m, x, y: x % y,
    "pow": lambda m, x, y: x**y,
    "add number": lambda m, x, y: x + 2.5,
    "sum": lambda m, x, y: x.sum(),
    "prod": lambda m, x, y: x.prod(1),
    "amax": lambda m, x, y: x.amax(1),
    "argmax": lambda m, x, y: x.argmax(1),
    "any": lambda m, x, y: x.any(0),
    "exp": lambda m, x, y: x.exp(),
    "neg": lambda m, x, y: -x,
    "sign": lambda m, x, y: x.sign(),
    "lt": lambda m, x, y: x < y,
    "clamp": lambda m, x, y: x.clamp(1, 3),
    "matmul": lambda m, x, y: x @ y.T,
    "mean": lambda m, x, y: x.mean(),
    "var": lambda m, x, y: x.var(),
    "and": lambda m, x, y: x & y,
    "shift": lambda m, x, y: x << y,
    "invert": lambda m, x, y: ~x,
    "sigmoid": lambda m, x, y: x.sigmoid(),
    "relu": lambda m, x, y: x.relu(),
    "tril": lambda m, x, y: x.tril(),
    "to int8": lambda m, x, y: x.to(m.int8),
    "to bfloat16": lambda m, x, y: x.to(m.bfloat16),
    "fmod": lambda m, x, y: m.fmod(x, y),
    "isinf": lambda m, x, y: m.isinf(x),
}
PLAIN = [dtype for dtype in ALL_DTYPES if dtype.name not in ("uint16", "uint32", "uint64")]


@pytest.mark.parametrize("dtype", PLAIN, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", CALLS)
def test_dtypes(name: str, dtype: Any) -> None:
    x = np.array([[1, 2, 5, 0], [3, 1, 4, 2], [2, 7, 1, 8]]) * 1.0
    y = np.array([[3, 1, 2, 2], [1, 2, 5, 1], [3, 3, 1, 2]]) * 1.0
    x[:, 1] *= 1 if dtype.kind <= 1 else -1
    x += 0.3 if dtype.is_floating_point else 0
    theirs = [torch.tensor(array).to(torch_dtype(dtype)) for array in (x, y)]
    mine = [dlgrad.tensor(array).to(dtype) for array in (x, y)]
    try:
        expected = CALLS[name](torch, *theirs)
    except Exception as error:
        kind = next(k for k in type(error).__mro__ if k.__module__ == "builtins")
        with pytest.raises(RuntimeError if kind is NotImplementedError else kind):
            CALLS[name](dlgrad, *mine)
        return
    got = CALLS[name](dlgrad, *mine)
    assert torch_dtype(got.dtype) is expected.dtype
    tolerance = {"float16": 2e-3, "bfloat16": 1e-2}.get(dtype.name, 1e-6)
    np.testing.assert_allclose(
        np.array(got.double().tolist()), expected.double().numpy(), tolerance, tolerance
    )


# Errors ---------------------------------------------------------------------------------------

WRONG: list[Any] = [
    lambda m: m.zeros(2, 3) + m.zeros(4),
    lambda m: m.zeros(2, 3) @ m.zeros(2, 3),
    lambda m: m.zeros(2).sum(1),
    lambda m: m.zeros(2, 3).reshape(5),
    lambda m: m.zeros(2)[2],
    lambda m: m.zeros(2)[0, 0],
    lambda m: m.zeros(2, 3).t().view(6),
    lambda m: m.zeros(2, 3).permute(0, 0),
    lambda m: m.zeros(2, 3).permute(0),
    lambda m: m.cat([m.zeros(2, 3), m.zeros(3, 2)]),
    lambda m: m.stack([m.zeros(2), m.zeros(3)]),
    lambda m: m.zeros(2, 3).expand(3, 3),
    lambda m: m.zeros(2).item(),
    lambda m: bool(m.zeros(2)),
    lambda m: m.ones(2, dtype=m.int64).mean(),
    lambda m: m.arange(1, 0),
    lambda m: m.arange(0, 1, 0),
    lambda m: m.zeros(2, dtype=m.bool) - m.zeros(2, dtype=m.bool),
    lambda m: len(m.tensor(1)),
    lambda m: m.tensor([[1, 2], [3]]),
    lambda m: m.tensor("a"),
    lambda m: m.zeros(2).squeeze(3),
    lambda m: m.zeros(2, 3).split(-1),
    lambda m: m.zeros(2, 3).narrow(1, 2, 4),
    lambda m: m.zeros(-1),
    lambda m: m.ones(2, dtype=m.int64).add_(0.5),
    lambda m: m.zeros(1).expand(3).add_(1),
    lambda m: m.zeros(2).backward(),
    lambda m: m.zeros(2, requires_grad=True).add_(1),
    lambda m: (m.zeros(2, requires_grad=True) * 1).backward(),
    lambda m: iter(m.tensor(1)),
    lambda m: m.ones(2, dtype=m.int64).requires_grad_(),
    lambda m: m.zeros(0, 2).amax(0),
    lambda m: m.tensor([2]) ** -1,
    lambda m: ~m.zeros(2),
    lambda m: m.zeros(2, 3).dot(m.zeros(2)),
    lambda m: m.zeros(2, 3).mm(m.zeros(3)),
    lambda m: m.zeros(2).matmul(m.tensor(1.0)),
    lambda m: m.zeros(2, 2).matmul(m.zeros(2, 2, dtype=m.float64)),
    lambda m: m.zeros(2, 3).flatten(1, 0),
    lambda m: m.where(m.zeros(2), m.zeros(2), m.zeros(2)),
    lambda m: m.zeros(2).clamp(),
    lambda m: m.zeros(2).unsqueeze(3),
    lambda m: m.zeros(2, 3).T.T.T.view(2, 3, 1, 7),
]


@pytest.mark.parametrize("call", WRONG)
def test_errors(call: Any) -> None:
    """Where PyTorch raises, so does dlgrad, and the same handler catches it."""
    try:
        call(torch)
    except Exception as error:
        expected = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
    else:
        pytest.fail("PyTorch accepts it")
    with pytest.raises(Exception) as caught:
        call(dlgrad)
    assert isinstance(caught.value, expected), (expected, caught.value)


# Interchange ------------------------------------------------------------------------------------


def test_numpy_shares_memory() -> None:
    x = dlgrad.zeros(2, 3).realize()
    array = x.numpy()
    array[0, 1] = 5.0
    assert x.tolist() == [[0.0, 5.0, 0.0], [0.0, 0.0, 0.0]]
    assert x.T.numpy().strides == (4, 12)
    y = dlgrad.from_numpy(array)
    array[1] = 7.0
    assert y.tolist() == [[0.0, 5.0, 0.0], [7.0, 7.0, 7.0]]
    with pytest.raises(RuntimeError, match="detach"):
        dlgrad.ones(1, requires_grad=True).numpy()


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=lambda dtype: dtype.name)
def test_numpy_dtypes(dtype: Any) -> None:
    x = dlgrad.tensor([0, 1, 1], dtype=dtype)
    if dtype is dlgrad.bfloat16:
        with pytest.raises(TypeError):
            x.numpy()
        return
    assert str(x.numpy().dtype) == dtype.name
    assert dlgrad.tensor(x.numpy()).dtype is dtype
    assert dlgrad.tensor(x.numpy()[::2]).tolist() == x.tolist()[::2]
    assert dlgrad.tensor(x.numpy()[1]).shape == ()
