"""Names of PyTorch's scripts beside PyTorch: the text of `assert_close`, windows, diagonals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import dlgrad

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")

COMPARISONS: list[Callable[[Any], tuple[tuple[Any, Any], dict[str, Any]]]] = [
    lambda t: ((t.tensor([1.0, 2, 3]), t.tensor([1.0, 2, 4])), {}),
    lambda t: ((t.tensor([[1.0, 2], [3, 5]]), t.tensor([[1.0, 2], [0, 4]])), {}),
    lambda t: ((t.tensor([1, 2, 3]), t.tensor([1, 2, 4])), {}),
    lambda t: ((t.tensor([True]), t.tensor([False])), {}),
    lambda t: ((3.0, 4.0), {}),
    lambda t: ((3, 4), {}),
    lambda t: ((3, 4.0), {}),
    lambda t: ((3, 4.0), {"check_dtype": False}),
    lambda t: ((t.tensor(1.0), t.tensor(2.0)), {}),
    lambda t: ((t.zeros(2), t.zeros(3)), {}),
    lambda t: ((t.zeros(2), t.zeros(2, dtype=t.float64)), {}),
    lambda t: (([t.zeros(2), t.ones(2)], [t.zeros(2), t.zeros(2)]), {}),
    lambda t: (({"a": t.zeros(2)}, {"a": t.ones(2)}), {}),
    lambda t: (({"a": 1}, {"b": 1}), {}),
    lambda t: (([1], [1, 2]), {}),
    lambda t: ((t.tensor([float("nan")]), t.tensor([float("nan")])), {}),
    lambda t: ((t.tensor([float("nan")]), t.tensor([float("nan")])), {"equal_nan": True}),
    lambda t: ((t.tensor([1.0, 2]), t.tensor([1.1, 2])), {"rtol": 0, "atol": 0.2}),
    lambda t: ((t.tensor([1.0, 2]), t.tensor([1.1, 2])), {"rtol": 0, "atol": 0}),
    lambda t: ((t.tensor([1.0, 2]), t.tensor([1.1, 2])), {"rtol": 0}),
    lambda t: ((None, None), {}),
    lambda t: ((None, t.zeros(1)), {}),
    lambda t: ((t.ones(2), t.zeros(2)), {"msg": lambda text: "x" + text}),
    lambda t: ((np.ones(2), np.zeros(2)), {}),
    lambda t: ((t.zeros(2, dtype=t.float16), t.zeros(2, dtype=t.float16) + 0.01), {}),
    lambda t: ((t.zeros(2, 2).t(), t.zeros(2, 2)), {"check_stride": True}),
    lambda t: ((t.tensor([float("inf"), 1]), t.tensor([1.0, 1])), {}),
]


@pytest.mark.parametrize("number", range(len(COMPARISONS)))
def test_assert_close_says_the_same(number: int) -> None:
    def said(space: Any) -> Any:
        given, options = COMPARISONS[number](space)
        try:
            space.testing.assert_close(*given, **options)
        except Exception as error:
            return type(error), str(error).replace("torch.", "dlgrad.")
        return None

    assert said(dlgrad) == said(torch)


@pytest.mark.parametrize("name", ["hann", "hamming", "blackman", "bartlett", "kaiser"])
def test_windows(name: str) -> None:
    for length in (0, 1, 2, 7, 8):
        for periodic in (True, False):
            own, other = (
                getattr(space, f"{name}_window")(length, periodic, dtype=space.float64)
                for space in (dlgrad, torch)
            )
            np.testing.assert_allclose(own.numpy(), other.numpy(), atol=1e-7)


def test_lazy_layers_take_the_state_of_plain_ones_of_pytorch() -> None:
    def build(nn: Any) -> Any:
        return nn.Sequential(
            nn.LazyConv2d(4, 3, groups=2), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2)
        )

    own, other = build(dlgrad.nn), build(torch.nn)
    assert repr(own[3]) == repr(other[3])
    x = np.linspace(-1, 1, 192, dtype=np.float32).reshape(3, 4, 4, 4)
    other(torch.from_numpy(x))
    own.load_state_dict({k: dlgrad.tensor(v.numpy()) for k, v in other.state_dict().items()})
    found = own.eval()(dlgrad.tensor(x))
    np.testing.assert_allclose(
        found.detach().numpy(), other.eval()(torch.from_numpy(x)).detach().numpy(), atol=1e-5
    )
    assert repr(own) == repr(other)


def test_diagonals() -> None:
    for shape in ((3, 3), (2, 5), (7, 2), (9, 2), (3, 3, 3), (4, 1)):
        for wrap in (False, True):
            own, other = (
                space.zeros(shape).fill_diagonal_(2.0, wrap=wrap) for space in (dlgrad, torch)
            )
            assert own.tolist() == other.tolist(), (shape, wrap)
