"""Captured functions and what is around them: other ways to a tensor, settings, copies, threads."""

from __future__ import annotations

import copy
import functools
import pickle
import threading

import pytest

import dlgrad
from dlgrad import nn
from dlgrad.errors import CaptureError


def ways_to_know(x):
    """Functions that read `x` from elsewhere in ways that nobody could list."""

    class Holder:
        weight = x

        def __call__(self, a):
            return a * self.weight

        def method(self, a):
            return a * self.weight

    def by_default(a, b=x):
        return a * b

    def by_name(a, *, b=x):
        return a * b

    def inner(a):
        return a * x

    holder, known = Holder(), [x]
    return (
        by_default, by_name, functools.partial(lambda b, a: a * b, x), holder, holder.method,
        lambda a: inner(a), lambda a: a * known[0], lambda a: a * holder.weight,
    )  # fmt: skip


@pytest.mark.parametrize("way", range(8))
def test_however_an_argument_is_known_elsewhere_it_is_an_input_by_itself(way):
    x = dlgrad.tensor([1.0, 2.0]).realize()
    y = dlgrad.tensor([10.0, 20.0]).realize()
    f = dlgrad.jit(ways_to_know(x)[way])
    expected = [[1.0, 4.0], [1.0, 4.0], [10.0, 40.0], [1.0, 4.0]]
    assert [f(a).tolist() for a in (x, x, y, x)] == expected


def test_changes_of_an_argument_go_to_the_argument():
    known = [dlgrad.zeros(2, 3).realize()]
    x = known[0]
    pending, row = x * 2 + 1, x[1]
    f = dlgrad.jit(lambda a: a.add_(known[0] + 1))
    assert [f(x).tolist()[0] for _ in range(4)] == [[float(n)] * 3 for n in (1, 3, 7, 15)]
    assert x.tolist() == [[15.0] * 3] * 2 and row.tolist() == [15.0] * 3
    assert pending.tolist() == [[1.0] * 3] * 2
    g = dlgrad.jit(lambda a: a.mul_(2))
    turned = x.view(3, 2)
    for _ in range(3):
        g(turned)
    assert x.tolist() == [[120.0] * 3] * 2 and turned.tolist() == [[120.0] * 2] * 3


HALF = dlgrad.float16


def test_other_dtypes_by_settings_are_refused(monkeypatch):
    x = dlgrad.ones(4, 4).realize()
    f = dlgrad.jit(lambda a: a @ a + dlgrad.zeros(4))
    for _ in range(3):
        f(x)
    words = "without autocast, .* with autocast to bfloat16 on cpu"
    with dlgrad.autocast("cpu"), pytest.raises(CaptureError, match=words):
        f(x)
    dlgrad.set_default_dtype(dlgrad.float64)
    try:
        with pytest.raises(CaptureError, match="'the default dtype', which was dlgrad.float32"):
            f(x)
    finally:
        dlgrad.set_default_dtype(dlgrad.float32)
    with dlgrad.autocast("cpu", enabled=False):
        assert f(x).tolist() == [[4.0] * 4] * 4
    g = dlgrad.jit(lambda a: a.to(HALF))
    for _ in range(3):
        assert g(x).dtype is dlgrad.float16
    monkeypatch.setitem(globals(), "HALF", dlgrad.bfloat16)
    with pytest.raises(CaptureError, match="'HALF'"):
        g(x)


def test_a_capture_under_autocast_casts_the_weights_of_each_call():
    layer = nn.Linear(4, 4, bias=False)
    x = dlgrad.eye(4).realize()
    f = dlgrad.jit(lambda a: layer(a))
    with dlgrad.autocast("cpu"), dlgrad.no_grad():
        for number in range(4):
            layer.weight.fill_(number)
            assert f(x).dtype is dlgrad.bfloat16
            assert f(x).tolist() == [[float(number)] * 4] * 4
    with dlgrad.no_grad(), pytest.raises(CaptureError, match="and is now called without autocast"):
        f(x)


class Doubling(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    @dlgrad.jit
    def forward(self, x):
        return self.layer(x) * 2


class Tripled(Doubling):
    @dlgrad.jit
    def forward(self, x):
        return super().forward(x) * 3


@dlgrad.jit
def one_more(x):
    return x + 1


@pytest.mark.parametrize("made", [Doubling, Tripled])
def test_a_copied_module_captures_for_itself(made):
    module = made()
    x = dlgrad.ones(2, 3).realize()
    factor = 6 if made is Tripled else 2
    for _ in range(3):
        assert module(x).tolist() == (module.layer(x) * factor).tolist()
    copies = [copy.deepcopy(module), pickle.loads(pickle.dumps(module))]
    for other in copies:
        with dlgrad.no_grad():
            other.layer.weight.add_(1)
    shallow = copy.copy(module)
    assert shallow.forward is not module.forward is module.forward
    for other in (*copies, shallow, module):
        for _ in range(3):
            assert other(x).tolist() == (other.layer(x) * factor).tolist()


def test_copies_of_captured_functions():
    x = dlgrad.ones(3).realize()
    for _ in range(3):
        one_more(x)
    assert copy.deepcopy(one_more) is one_more is pickle.loads(pickle.dumps(one_more))
    f = dlgrad.jit(lambda a: a + 2)
    for _ in range(3):
        f(x)
    copied = copy.deepcopy(f)
    assert copied.capture is None and copied.calls == 0
    del f
    for _ in range(3):
        assert copied(x).tolist() == [3.0] * 3


def test_a_refused_capture_is_refused_again():
    memory = dlgrad.zeros(6).realize()
    f = dlgrad.jit(lambda a: a.add_(1))
    f(memory[1:4])
    for _ in range(3):
        with pytest.raises(CaptureError, match="changes its tensor argument 0 in place"):
            f(memory[1:4])
    assert memory.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("is_reset", [False, True])
def test_threads_that_capture_at_the_same_time(is_reset):
    inputs = [dlgrad.full((5,), float(i)).realize() for i in range(4)]
    state = dlgrad.ones(1).realize()
    problems = []

    def work(number, function, start):
        start.wait()
        try:
            for call in range(30):
                if function(inputs[number]).tolist() != [number + 1.0] * 5:
                    problems.append("wrong numbers")
                if is_reset and call % 7 == number:
                    function.reset()
        except Exception as error:
            problems.append(error)

    for _ in range(5):
        function, start = dlgrad.jit(lambda a: a + state), threading.Barrier(4)
        threads = [
            threading.Thread(target=work, args=(i, function, start)) for i in range(len(inputs))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not problems


def test_work_of_other_threads_is_not_captured():
    """A replay would do it again, and take back what the other thread did to it since."""
    x = dlgrad.ones(5).realize()
    begun, made, tensors, calls = threading.Event(), threading.Event(), [], []

    def other():
        begun.wait(20)
        tensors.append(dlgrad.full((5,), 3.0) + 1)
        made.set()

    def function(a):
        calls.append(a)
        if len(calls) == 2:
            begun.set()
            made.wait(20)
        return a + 1

    thread = threading.Thread(target=other)
    thread.start()
    f = dlgrad.jit(function)
    f(x)
    f(x)
    thread.join()
    tensors[0].add_(1).realize()
    assert f(x).tolist() == [2.0] * 5
    assert tensors[0].tolist() == [5.0] * 5
