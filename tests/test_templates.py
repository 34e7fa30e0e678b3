"""Compositions that are remembered give what they gave when they were composed."""

import pytest
from op_cases import CASES, Case
from test_ops import case_id, inputs

import dlgrad
from dlgrad import nn
from dlgrad.core import templates
from dlgrad.core.templates import remembered

F = nn.functional
DEVICE = "python"  # nothing has to be compiled


@pytest.fixture(autouse=True)
def nothing_known():
    templates._templates.clear()
    yield
    templates._templates.clear()


def numbers_of(case: Case, view: bool) -> list[list]:
    """The results and gradients of a case; with `view`, its inputs are transposed views."""
    given = []
    for x in inputs(case, DEVICE):
        if view and x.ndim > 1:
            x = x.transpose(0, -1).contiguous().transpose(0, -1)
        given.append(x.detach().requires_grad_())
    out = case.call(*given)
    weights = dlgrad.arange(1, out.numel() + 1, dtype=out.dtype, device=DEVICE)
    (out * weights.reshape(out.shape)).sum().backward()
    found = [out, *[x.grad for x in given]]
    return [[] if x is None else x.reshape(-1).tolist() for x in found]


@pytest.mark.parametrize("case", [c for c in CASES if c.gradient], ids=case_id)
def test_the_third_time_is_the_first(case: Case) -> None:
    first = numbers_of(case, False)
    for _ in range(2):
        assert repr(numbers_of(case, False)) == repr(first)
    assert repr(numbers_of(case, True)) == repr(first)  # views in the place of whole tensors


def known_of(key):
    return [known for full, known in templates._templates.items() if full[0] == key]


def test_an_eps_that_is_a_tensor_is_read_at_each_call():
    x = dlgrad.tensor([[1.0, 2.0, 3.0, 6.0]])
    eps = dlgrad.full((), 1e-5)
    with dlgrad.no_grad():
        for _ in range(3):
            small = dlgrad.nn.functional.layer_norm(x, (4,), eps=eps).tolist()
        eps.fill_(96.5)
        large = dlgrad.nn.functional.layer_norm(x, (4,), eps=eps).tolist()
    assert small[0][0] == pytest.approx(-2 / 3.5**0.5, rel=1e-4)
    assert large[0][0] == pytest.approx(-0.2, rel=1e-4)


def test_steps_are_kept_from_the_second_call_on():
    calls = []

    def double(x):
        calls.append(1)
        return x + x

    x = dlgrad.ones(3, device=DEVICE)
    with dlgrad.no_grad():
        for _ in range(5):
            assert remembered("double", (x,), double).tolist() == [2.0, 2.0, 2.0]
    assert len(calls) == 2 and len(known_of("double")[0].steps) == 1
    remembered("double", (x,), double)  # with a tape every call composes
    assert len(calls) == 3


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x,  # what it was given
        lambda x: x[1:],  # a view
        lambda x: x + x.sum().item(),  # it looks at a value
        lambda x: x + CONSTANT,  # it uses memory of its own
    ],
)
def test_what_cannot_be_kept_is_called_every_time(function):
    x = dlgrad.arange(3.0, device=DEVICE)
    with dlgrad.no_grad():
        for shift in range(4):
            given = x + shift
            got = remembered("function", (given,), function)
            assert got.tolist() == function(given).tolist()
    assert known_of("function") == [templates._NEVER]


CONSTANT = dlgrad.tensor([1.0, 2.0, 3.0], device=DEVICE)


def test_a_way_back_inside_autocast_is_its_own():
    a = dlgrad.tensor([[4.0, 1.0], [1.0, 3.3]])
    b = dlgrad.tensor([[1.1], [2.3]])

    def slope(half):
        x = a.clone().requires_grad_()
        total = dlgrad.linalg.solve(x, b).sum()
        with dlgrad.autocast("cpu", enabled=half):
            total.backward()
        return x.grad.tolist()

    exact = slope(False)
    templates._templates.clear()
    for half in (True, True, False, False, False):
        found = slope(half)
    assert found == exact


def test_other_shapes_and_dtypes_have_their_own():
    with dlgrad.no_grad():
        for _ in range(3):
            for x in (dlgrad.ones(2), dlgrad.ones(3), dlgrad.ones(3, dtype=dlgrad.float64)):
                y = F.log_softmax(x, 0)
                assert y.shape == x.shape and y.dtype is x.dtype
    kept = [known for full, known in templates._templates.items() if full[0][0] == "log_softmax"]
    assert len(kept) == 3 and all(known.steps for known in kept)


def test_several_results_are_kept_together():
    calls = []

    def halves(x):
        calls.append(1)
        half = x * 0.5
        return half, x - half

    with dlgrad.no_grad():
        for start in range(4):
            x = dlgrad.arange(3.0, device=DEVICE) + start
            first, second = remembered("halves", (x,), halves)
            assert first.tolist() == second.tolist() == [(start + i) / 2 for i in range(3)]
    assert len(calls) == 2 and len(known_of("halves")[0].steps) == 3  # with the constant 0.5


@pytest.mark.parametrize("layer", [nn.LayerNorm(4, device=DEVICE), nn.Linear(4, 4, device=DEVICE)])
def test_a_training_step_adds_nothing_after_the_second(layer):
    counts = []
    for _ in range(4):
        layer(dlgrad.ones(2, 4, device=DEVICE)).square().sum().backward()
        counts.append(len(templates._templates))
    assert 0 < counts[1] == counts[2] == counts[3]


def test_a_long_training_forgets_what_it_knew(monkeypatch):
    monkeypatch.setattr(templates, "MOST_TEMPLATES", 8)
    with dlgrad.no_grad():
        for size in range(1, 30):
            remembered("double", (dlgrad.ones(size, device=DEVICE),), lambda x: x + x)
            assert len(templates._templates) <= 8
