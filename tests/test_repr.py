"""How tensors print, character by character; PyTorch's layout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import dlgrad


@pytest.fixture(autouse=True)
def usual_options() -> Iterator[None]:
    yield
    dlgrad.set_printoptions(profile="default")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (3, "tensor(3)"),
        (2.5, "tensor(2.5000)"),
        (2.0, "tensor(2.)"),
        (True, "tensor(True)"),
        ([], "tensor([])"),
        ([1, -20, 3], "tensor([  1, -20,   3])"),
        ([1.0, 2.0], "tensor([1., 2.])"),
        ([1.5, 200.25], "tensor([  1.5000, 200.2500])"),
        ([1e-5, 1.0], "tensor([1.0000e-05, 1.0000e+00])"),
        ([1e10], "tensor([1.0000e+10])"),
        ([True, False], "tensor([ True, False])"),
        ([float("nan"), float("inf"), 1.0], "tensor([nan, inf, 1.])"),
        ([0.0, 0.0], "tensor([0., 0.])"),
        ([[1, 2], [3, 4]], "tensor([[1, 2],\n        [3, 4]])"),
        ([[[1.0]], [[2.0]]], "tensor([[[1.]],\n\n        [[2.]]])"),
    ],
)
def test_layout(data: Any, text: str) -> None:
    assert repr(dlgrad.tensor(data)) == text


def test_suffixes() -> None:
    x = dlgrad.tensor([1.0], requires_grad=True)
    assert repr(x) == "tensor([1.], requires_grad=True)"
    assert repr(x * 2) == "tensor([2.], grad_fn=<MulBackward0>)"
    assert repr(x.detach().double()) == "tensor([1.], dtype=dlgrad.float64)"
    assert repr(dlgrad.zeros(0, 3)) == "tensor([], size=(0, 3))"
    assert repr(dlgrad.zeros(0, dtype=dlgrad.int64)) == "tensor([], dtype=dlgrad.int64)"
    assert repr(dlgrad.tensor([1.0], device="python")) == "tensor([1.], device='python')"


def test_long_lines_are_wrapped() -> None:
    text = repr(dlgrad.arange(30))
    assert text.splitlines() == [
        "tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,",
        "        18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29])",
    ]


def test_long_tensors_are_summarised() -> None:
    text = repr(dlgrad.arange(1001))
    assert text == "tensor([   0,    1,    2,  ...,  998,  999, 1000])"
    rows = repr(dlgrad.zeros(50, 50)).splitlines()
    assert rows[0] == "tensor([[0., 0., 0.,  ..., 0., 0., 0.],"
    assert rows[3] == "        ...,"
    assert len(rows) == 7


def test_options() -> None:
    dlgrad.set_printoptions(precision=2)
    assert repr(dlgrad.tensor([1.23456])) == "tensor([1.23])"
    dlgrad.set_printoptions(sci_mode=True)
    assert repr(dlgrad.tensor([1.5])) == "tensor([1.50e+00])"
    dlgrad.set_printoptions(profile="default", threshold=5, edgeitems=1)
    assert repr(dlgrad.arange(6)) == "tensor([0,  ..., 5])"


def test_format() -> None:
    assert f"{dlgrad.tensor(2.5)}" == "2.5"
    assert f"{dlgrad.tensor(7):03d}" == "007"
    assert f"{dlgrad.tensor([1, 2])}" == "tensor([1, 2])"


def test_limits_of_dtypes_are_printed():
    assert repr(dlgrad.iinfo(dlgrad.int8)) == "iinfo(min=-128, max=127, dtype=int8)"
    assert repr(dlgrad.finfo(dlgrad.float16)) == (
        "finfo(resolution=0.001, min=-65504, max=65504, eps=0.000976562, "
        "smallest_normal=6.10352e-05, tiny=6.10352e-05, dtype=float16)"
    )


def test_an_unknown_profile_is_refused():
    with pytest.raises(ValueError, match="default, short, full, got 'long'"):
        dlgrad.set_printoptions(profile="long")
