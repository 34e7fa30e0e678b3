"""Function transforms, Functions, printing and interchange beside PyTorch and NumPy."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("numpy")

import numpy as np
import torch
from beside_torch import FUNCTIONAL, agree, inputs

import dlgrad
from dlgrad.dtype import DType

FUNC = {torch: torch.func, dlgrad: dlgrad.func}


def leaves(value: Any) -> list[Any]:
    """The tensors of nested tuples, lists and dicts."""
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


def compare(call: Callable[..., Any], *shapes: Any, tolerance: float = 2e-4) -> None:
    """`call(module, transforms, *tensors)` in both libraries."""
    arrays = inputs(*shapes)
    found = [call(m, FUNC[m], *(m.tensor(a) for a in arrays)) for m in (dlgrad, torch)]
    agree(leaves(found[0]), leaves(found[1]), tolerance)


def scalar(m: Any) -> Callable[[Any], Any]:
    return lambda x: (m.sin(x) * x.sum() ** 2).sum()


def vector(m: Any) -> Callable[[Any], Any]:
    return lambda x: m.tanh(x)[:2] * x.prod()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch, for its own code
@pytest.mark.parametrize(
    "call",
    [
        lambda m, F, x: F.grad(scalar(m))(x[0]),
        lambda m, F, x: F.grad_and_value(scalar(m))(x[0]),
        lambda m, F, x: F.vmap(F.grad(scalar(m)))(x),
        lambda m, F, x: F.jacrev(vector(m))(x[0]),
        lambda m, F, x: F.jacfwd(vector(m))(x[0]),
        lambda m, F, x: F.hessian(scalar(m))(x[0]),
        lambda m, F, x: F.jacrev(F.jacrev(scalar(m)))(x[0]),
        lambda m, F, x: F.vmap(F.hessian(scalar(m)))(x),
        lambda m, F, x: F.jacrev(F.vmap(vector(m)))(x),
        lambda m, F, x: F.vmap(F.jacfwd(vector(m)), in_dims=1, out_dims=1)(x.T),
        lambda m, F, x: F.jvp(lambda a, b: (a * b, a.exp()), (x[0], x[1]), (x[2], x[3])),
        lambda m, F, x: F.vjp(lambda a, b: a * b.exp(), x[0], x[1])[1](x[2]),
        lambda m, F, x: F.grad(lambda v: F.vmap(scalar(m))(v).sum())(x),
        lambda m, F, x: F.vmap(lambda a: F.vmap(lambda b: a * b + b.sum(), out_dims=1)(x))(x),
        lambda m, F, x: F.jacrev(lambda a, b: {"p": a * b}, argnums=(0, 1))(x[0], x[1]),
        lambda m, F, x: F.grad(lambda p: (p["a"] * p["b"]).sum())({"a": x[0], "b": x[1]}),
    ],
)
def test_transforms(call: Any) -> None:
    compare(call, (4, 3))


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x: x.softmax(-1),
        lambda m, x: x.cumsum(0).flip(0),
        lambda m, x: x.sort(0)[0] - x[x.argsort()],
        lambda m, x: (x.argmax(), x.max(0)[0], x.var(), x.norm(), x.logsumexp(0)),
        lambda m, x: x[[2, 0]] @ m.ones(2, 5),
        lambda m, x: m.cat([x[1:], x.relu()]),
        lambda m, x: m.outer(x, x).tril().T,
        lambda m, x: m.where(x > 0, x, -x).expand(2, 4),
        lambda m, x: FUNCTIONAL[m].layer_norm(x, (4,)),
        lambda m, x: FUNCTIONAL[m].gelu(x).reshape(2, 2).sum(0, keepdim=True),
    ],
)
def test_operations_of_one_row(call: Any) -> None:
    compare(lambda m, F, x: F.vmap(lambda row: call(m, row))(x), (3, 4))
    compare(
        lambda m, F, x: F.vmap(
            F.grad(lambda row: sum(part.float().sum() ** 2 for part in leaves(call(m, row))))
        )(x),
        (3, 4),
        tolerance=2e-3,
    )


def test_gradients_of_each_sample_of_a_convolution() -> None:
    def call(m: Any, F: Any, images: Any, kernel: Any, bias: Any) -> Any:
        def loss(parameters: Any, image: Any) -> Any:
            out = FUNCTIONAL[m].conv2d(image.unsqueeze(0), *parameters, padding=1)
            return FUNCTIONAL[m].max_pool2d(out.relu(), 2).mean()

        return F.vmap(F.grad(loss), in_dims=(None, 0))((kernel, bias), images)

    compare(call, (3, 2, 6, 6), (4, 2, 3, 3), (4,))


def test_backward_through_vmap() -> None:
    def call(m: Any, F: Any, x: Any, weight: Any) -> Any:
        x, weight = x.requires_grad_(), weight.requires_grad_()
        result = F.vmap(lambda row: (weight @ row).relu())(x)
        first = m.autograd.grad((result**2).sum(), (x, weight), create_graph=True)
        (sum((part**2).sum() for part in first)).backward()
        return result, first, x.grad, weight.grad

    compare(call, (4, 3), (2, 3))


def test_functions() -> None:
    def call(m: Any, F: Any, x: Any, y: Any) -> Any:
        class Product(m.autograd.Function):  # type: ignore[name-defined]
            @staticmethod
            def forward(ctx: Any, a: Any, b: Any) -> Any:
                ctx.save_for_backward(a, b)
                return a * b, a + b

            @staticmethod
            def backward(ctx: Any, product: Any, total: Any) -> Any:
                a, b = ctx.saved_tensors
                return product * b * 3 + total, product * a - total

        x, y = x.requires_grad_(), y.requires_grad_()
        first, second = Product.apply(x, y)
        slopes = m.autograd.grad((first * second).sum(), (x, y), create_graph=True)
        (slopes[0] * slopes[1]).sum().backward()
        return first, second, slopes, x.grad, y.grad

    compare(call, (3,), (3,))


def test_derivatives_at_a_point() -> None:
    for name in ("jacobian", "hessian"):

        def call(m: Any, F: Any, x: Any, y: Any, name: str = name) -> Any:
            return getattr(m.autograd.functional, name)(
                lambda a, b: (a * a * b).sum() ** 2, (x, y)
            )

        compare(call, (3,), (3,))
    compare(lambda m, F, x, v: m.autograd.functional.vhp(scalar(m), x, v), (3,), (3,))


# Printing ---------------------------------------------------------------------------------------

NUMBERS = [
    0.0, -0.0, 1.0, -1.0, 0.5, 1e-5, 123456.0, 1e8, 1e9, math.inf, -math.inf, math.nan, 3.14159265,
    -2.71828, 1e-10, 99999.5, 100000.0, 0.001, 1e20, 16777216.0, 1000.0, 1001.0, 0.99,
]  # fmt: skip
SHAPES: list[tuple[int, ...]] = [
    (), (1,), (3,), (7,), (0,), (2, 3), (0, 3), (3, 0), (2, 2, 2), (1, 1, 1, 1), (30,), (5, 12),
]  # fmt: skip
OPTIONS: list[dict[str, Any]] = [
    {}, {}, {}, {"precision": 2}, {"sci_mode": True}, {"sci_mode": False}, {"linewidth": 40},
    {"threshold": 10, "edgeitems": 2}, {"profile": "short"}, {"profile": "full"},
    {"precision": 8, "linewidth": 120}, {"threshold": 3, "edgeitems": 1, "linewidth": 30},
]  # fmt: skip


@pytest.fixture
def usual_options() -> Iterator[None]:
    yield
    for module in (torch, dlgrad):
        module.set_printoptions(profile="default")


def test_random_tensors_print_the_same(
    usual_options: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The names of dtypes differ in length, and with it the place where a line is full.
    monkeypatch.setattr(DType, "__repr__", lambda dtype: f"torch.{dtype.name}")
    generator = random.Random(0)
    for _ in range(300):
        shape, options = generator.choice(SHAPES), generator.choice(OPTIONS)
        kind = generator.choice(["float32"] * 3 + ["float64", "bfloat16", "int64", "uint8", "bool"])
        some = generator.sample(NUMBERS, generator.choice([1, 2, 3, len(NUMBERS)]))
        if "float" in kind:
            values: list[Any] = [
                generator.choice(some)
                if generator.random() < 0.6
                else generator.uniform(-10, 10) * 10 ** generator.choice([0, 0, 1, -1, 3, -3])
                for _ in range(math.prod(shape))
            ]
        else:
            values = [generator.choice([0, 1, 7, 100]) for _ in range(math.prod(shape))]
        wants = "float" in kind and generator.random() < 0.2
        texts = []
        for module in (dlgrad, torch):
            module.set_printoptions(profile="default")
            module.set_printoptions(**options)
            made = module.tensor(values, dtype=getattr(module, kind)).reshape(shape)
            texts.append(repr(made.requires_grad_(wants)))
        assert texts[0] == texts[1], options


# Interchange ------------------------------------------------------------------------------------


def test_dlpack_with_torch_and_numpy() -> None:
    x = dlgrad.arange(6.0).reshape(2, 3)
    array, tensor = np.from_dlpack(x), torch.from_dlpack(x.T)
    array[0, 1], tensor[2, 1] = 50.0, -1.0
    assert x.tolist() == [[0.0, 50.0, 2.0], [3.0, 4.0, -1.0]]
    x.add_(1)
    assert array.tolist() == x.tolist() and tensor.tolist() == x.T.tolist()
    for given in (
        torch.arange(6).reshape(2, 3)[:, 1:],
        torch.tensor([1.5, 2.5], dtype=torch.bfloat16),
        torch.tensor(2.5, dtype=torch.float16),
        np.arange(10, dtype="int16")[::-2],
        np.broadcast_to(np.arange(3.0), (2, 3)),
        np.array([True, False]),
        np.zeros((0, 3), dtype="uint8"),
    ):
        back = dlgrad.from_dlpack(given)
        assert back.tolist() == given.tolist() and tuple(back.shape) == tuple(given.shape)
    foreign = torch.zeros(3)
    dlgrad.from_dlpack(foreign).add_(2)
    assert foreign.tolist() == [2.0, 2.0, 2.0]


def test_numpy_keeps_sharing() -> None:
    x = dlgrad.zeros(3)
    array = x.numpy()
    pending = x * 2
    x.add_(1)
    assert array.tolist() == [1.0, 1.0, 1.0] and pending.tolist() == [0.0, 0.0, 0.0]
    del x
    other = dlgrad.full((3,), 9.0).realize()  # takes memory that was given back too early
    assert array.tolist() == [1.0, 1.0, 1.0] and other.tolist() == [9.0] * 3
    grid = np.arange(6.0).reshape(2, 3)
    turned = dlgrad.from_numpy(grid.T)
    grid[0, 2] = 77.0
    assert turned.tolist() == grid.T.tolist() and turned.stride() == (1, 3)
    assert np.asarray(dlgrad.arange(4).reshape(2, 2).T).tolist() == [[0, 2], [1, 3]]
    with pytest.raises(ValueError, match="negative"):
        dlgrad.from_numpy(grid[::-1])
    with pytest.raises(TypeError, match="format"):
        dlgrad.from_numpy(grid.astype(">f8"))
    assert dlgrad.as_tensor(grid).data_ptr() == grid.ctypes.data
