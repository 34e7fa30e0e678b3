"""Capture and replay: the numbers of plain evaluation, and errors instead of frozen inputs."""

from __future__ import annotations

import pytest
from launches import recorded

import dlgrad
import dlgrad.nn.functional as F
from dlgrad import nn
from dlgrad.errors import CaptureError


def make_training(seed: int):
    dlgrad.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
    )
    optimizer = dlgrad.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = dlgrad.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=20)

    def step(x, y):
        optimizer.zero_grad()
        scores = model(x)
        loss = F.cross_entropy(scores, y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        return {"loss": loss, "right": (scores.argmax(1) == y).sum()}

    return model, step


def batches(count: int):
    dlgrad.manual_seed(99)
    return [(dlgrad.randn(5, 6), dlgrad.randint(0, 3, (5,))) for _ in range(count)]


def test_replay_gives_the_numbers_of_plain_evaluation():
    data = batches(8)
    results = []
    for wrap in (lambda f: f, dlgrad.jit):
        model, step = make_training(1)
        step = wrap(step)
        seen = [step(x, y) for x, y in data]
        numbers = [(out["loss"].item(), out["right"].item()) for out in seen]
        results.append((numbers, [value.tolist() for value in model.state_dict().values()]))
    assert results[0] == results[1]


def test_replay_runs_no_python_of_the_function():
    calls = []

    @dlgrad.jit
    def double(x):
        calls.append(1)
        return x * 2

    results = [double(dlgrad.tensor([float(i)])).tolist() for i in range(5)]
    assert results == [[0.0], [2.0], [4.0], [6.0], [8.0]]
    assert len(calls) == 2  # the warm-up and the capture


def test_results_of_earlier_calls_keep_their_numbers():
    square = dlgrad.jit(lambda x: x * x)
    kept = [square(dlgrad.full((3,), float(i))) for i in range(6)]
    assert [t.tolist()[0] for t in kept] == [0.0, 1.0, 4.0, 9.0, 16.0, 25.0]


def test_state_changed_in_place_goes_on_from_replay_to_replay():
    total = dlgrad.zeros(2)

    @dlgrad.jit
    def add(x):
        total.add_(x)
        return total.sum()

    sums = [add(dlgrad.ones(2)).item() for _ in range(5)]
    assert sums == [2.0, 4.0, 6.0, 8.0, 10.0]
    assert total.tolist() == [5.0, 5.0]


def test_work_that_still_reads_the_state_sees_the_old_numbers():
    total = dlgrad.zeros(2)

    @dlgrad.jit
    def add(x):
        total.add_(x)

    for _ in range(3):
        add(dlgrad.ones(2))
    pending = total * 10
    add(dlgrad.ones(2))
    assert pending.tolist() == [30.0, 30.0]


def test_inputs_may_be_views_and_may_be_the_same_tensor():
    subtract = dlgrad.jit(lambda a, b: a - b)
    x = dlgrad.arange(6, dtype=dlgrad.float32).reshape(2, 3)
    for _ in range(4):
        assert subtract(x[:, 1:], x[:, 1:]).tolist() == [[0.0, 0.0]] * 2
        assert subtract(x[:, 1:], x[:, :2]).tolist() == [[1.0, 1.0]] * 2
        assert subtract(x[:, :2].T, x[:, 1:].T).tolist() == [[-1.0, -1.0]] * 2


def captured():
    function = dlgrad.jit(lambda x, scale=2: x * scale)
    for _ in range(3):
        function(dlgrad.ones(4))
    return function


@pytest.mark.parametrize(
    ("argument", "keywords", "words"),
    [
        (lambda: dlgrad.ones(5), {}, r"float32\[4\].*float32\[5\]"),
        (lambda: dlgrad.ones(4, dtype=dlgrad.float64), {}, "float64"),
        (lambda: dlgrad.ones(4), {"scale": 3}, r"\(<tensor>\) .*\(<tensor>, scale=3\)"),
        (lambda: [dlgrad.ones(4)], {}, r"\(<tensor>\) .*\(\[<tensor>\]\)"),
    ],
)
def test_changed_inputs_are_refused(argument, keywords, words):
    function = captured()
    with pytest.raises(CaptureError, match=words):
        function(argument(), **keywords)
    assert function(dlgrad.ones(4)).tolist() == [2.0] * 4


def test_reset_captures_anew():
    function = captured()
    function.reset()
    for _ in range(3):
        assert function(dlgrad.ones(2)).tolist() == [2.0, 2.0]


def test_a_changed_closure_value_is_refused():
    scale = 2.0

    def function(x):
        return x * scale

    captured_function = dlgrad.jit(function)
    for _ in range(3):
        captured_function(dlgrad.ones(1))
    scale = 3.0
    with pytest.raises(CaptureError, match="'scale'.*2.0.*3.0"):
        captured_function(dlgrad.ones(1))


FACTOR = 2.0


def test_a_changed_global_value_is_refused(monkeypatch):
    function = dlgrad.jit(lambda x: x * FACTOR)
    for _ in range(3):
        assert function(dlgrad.ones(1)).item() == 2.0
    monkeypatch.setitem(globals(), "FACTOR", float("2"))  # another object that is the same
    assert function(dlgrad.ones(1)).item() == 2.0
    monkeypatch.setitem(globals(), "FACTOR", 2)
    with pytest.raises(CaptureError, match=r"'FACTOR'.*2\.0.*2;"):
        function(dlgrad.ones(1))
    monkeypatch.delitem(globals(), "FACTOR")  # nobody reads it now
    assert function(dlgrad.ones(1)).item() == 2.0


def test_another_tensor_from_outside_is_refused():
    weight = dlgrad.ones(2)
    function = dlgrad.jit(lambda x: x + weight)
    for _ in range(3):
        assert function(dlgrad.ones(2)).tolist() == [2.0, 2.0]
    weight += 1  # written into, and still the one that was captured
    assert function(dlgrad.ones(2)).tolist() == [3.0, 3.0]
    weight = dlgrad.ones(2)
    with pytest.raises(CaptureError, match="'weight', which was another tensor"):
        function(dlgrad.ones(2))


def test_another_gradient_mode_is_refused():
    function = captured()
    with dlgrad.no_grad(), pytest.raises(CaptureError, match="gradients on, and they are now off"):
        function(dlgrad.ones(4))


def test_tensors_by_name_and_in_lists_are_replayed():
    function = dlgrad.jit(lambda pair, shift: {"sum": pair[0] + pair[1], "rest": [shift * 2]})
    for start in range(5):
        x = dlgrad.arange(3.0) + start
        result = function([x, x * x], shift=x)
        assert result["sum"].tolist() == [(start + i) * (start + i + 1) for i in range(3)]
        assert result["rest"][0].tolist() == [2.0 * (start + i) for i in range(3)]


def test_a_changed_training_mode_is_refused():
    model = nn.Sequential(nn.Dropout(0.5))
    function = dlgrad.jit(lambda x: model(x))
    for _ in range(3):
        function(dlgrad.ones(3))
    model.eval()
    with pytest.raises(CaptureError, match="training"):
        function(dlgrad.ones(3))


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x.sum().item(),
        lambda x: (x + 1).tolist(),
        lambda x: x + dlgrad.tensor([1.0, 2.0]),
        lambda x: x if x.sum() > 0 else -x,
    ],
)
def test_moving_numbers_between_python_and_the_device_is_refused(look):
    function = dlgrad.jit(look)
    function(dlgrad.ones(2))
    with pytest.raises(CaptureError, match="inside a function under dlgrad.jit"):
        function(dlgrad.ones(2))


def test_a_failed_capture_leaves_the_function_usable_without_jit():
    function = dlgrad.jit(lambda x: x.sum().item())
    function(dlgrad.ones(2))
    with pytest.raises(CaptureError):
        function(dlgrad.ones(2))
    assert dlgrad.ones(3).sum().item() == 3.0


def test_methods_capture_for_each_instance():
    class Counter:
        def __init__(self):
            self.value = dlgrad.zeros(1)

        @dlgrad.jit
        def add(self, x):
            self.value.add_(x)
            return self.value * 1

    one, two = Counter(), Counter()
    for _ in range(4):
        one.add(dlgrad.ones(1))
        two.add(dlgrad.full((1,), 10.0))
    assert (one.value.item(), two.value.item()) == (4.0, 40.0)


def test_a_jit_function_inside_another_is_part_of_it():
    inner = dlgrad.jit(lambda x: x + 1)
    outer = dlgrad.jit(lambda x: inner(x) * 2)
    assert [outer(dlgrad.full((1,), float(i))).item() for i in range(5)] == [2, 4, 6, 8, 10]


def test_a_replay_is_one_run_of_the_backend():
    model, step = make_training(3)
    step = dlgrad.jit(step)
    data = [(x.clone().realize(), y.clone().realize()) for x, y in batches(4)]
    for x, y in data[:3]:
        step(x, y)
    with recorded() as seen:
        step(*data[3])
    assert seen.runs == []  # the engine evaluated nothing: the backend ran the sequence


def test_views_of_earlier_states_do_not_hinder_a_capture():
    state = dlgrad.arange(16.0).reshape(4, 4).realize()
    other = dlgrad.ones(4, 4).realize()

    def step(x):
        state[1].mul_(0.5)
        other.copy_(state * 0.5 + x)
        state.T[2].add_(x.sum())
        return state.T + other

    results = []
    for wrap in (lambda f: f, dlgrad.jit):
        state.copy_(dlgrad.arange(16.0).reshape(4, 4))
        other.fill_(1)
        wrapped, kept, seen = wrap(step), [], []
        for i in range(5):
            for view in (state[0], state.reshape(-1)[3:9], other.T):
                view.tolist()  # the tensor keeps the view that it has shown
                kept += [view, view * 2, (view + 1).realize()]
            seen.append(wrapped(dlgrad.full((4, 4), float(i))).tolist())
        results.append((seen, [x.tolist() for x in kept], state.tolist(), other.tolist()))
    assert results[0] == results[1]


def test_results_that_only_the_caller_gets_are_not_copied():
    kept = []

    @dlgrad.jit
    def step(x):
        y = x * 2
        if not kept:
            kept.append(y)
        return x + 1, x + 1, y, y.T, x

    results = [step(dlgrad.tensor([[float(i), 1.0]])) for i in range(5)]
    assert step.replay is not None
    notes = [launch.note.split()[0] for launch in step.replay.sequence.launches]
    assert notes.count("copy") <= 4
    for i, (a, b, c, d, e) in enumerate(results):
        assert a.tolist() == b.tolist() == [[i + 1.0, 2.0]]
        assert c.tolist() == [[2.0 * i, 2.0]]
        assert d.tolist() == [[2.0 * i], [2.0]]
        assert e.tolist() == [[float(i), 1.0]]


def test_a_result_that_the_function_keeps_is_copied():
    class Model:
        def __init__(self):
            self.state = dlgrad.zeros(3).realize()

    model = Model()

    @dlgrad.jit
    def step(x):
        model.state += x
        return model.state

    for i in range(1, 5):
        result = step(dlgrad.ones(3))
        assert result.tolist() == model.state.tolist() == [float(i)] * 3
        if i > 1:  # the first call runs the function as it is
            result.zero_()
        assert model.state.tolist() == [float(i)] * 3


def test_results_without_elements() -> None:
    both = dlgrad.jit(lambda x: (x + 1, x.sum()))
    for _ in range(4):
        empty, total = both(dlgrad.ones(0, 3))
        assert empty.shape == (0, 3) and total.item() == 0.0


def test_only_what_can_be_called_is_captured() -> None:
    with pytest.raises(TypeError, match="a function or a module, not int"):
        dlgrad.jit(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["grad", "vjp", "jvp", "jacrev"])
def test_a_transform_of_a_captured_function_is_refused(name):
    """Its results have no history, so all derivatives would be zero."""
    x = dlgrad.tensor([1.0, 2.0])

    def square(a):
        return (a * a).sum()

    def differentiate(function):
        if name in ("vjp", "jvp"):
            return getattr(dlgrad.func, name)(function, *([x] if name == "vjp" else [(x,), (x,)]))
        return getattr(dlgrad.func, name)(function)(x)

    f = dlgrad.jit(square)
    for _ in range(2):
        with pytest.raises(CaptureError, match=r"derivative would be zero.*square\.function"):
            differentiate(f)
        f(x)
    differentiate(f.function)
    assert f(x).item() == 5.0
    captured = dlgrad.jit(dlgrad.func.grad(square))
    assert [captured(x).tolist() for _ in range(3)] == [[2.0, 4.0]] * 3


def test_an_argument_that_is_also_read_from_outside_is_an_input_by_itself():
    x = dlgrad.tensor([1.0, 2.0]).realize()
    y = dlgrad.tensor([10.0, 20.0]).realize()
    f = dlgrad.jit(lambda a: a * x)
    assert [f(a).tolist() for a in (x, x, y, x)] == [
        [1.0, 4.0],
        [1.0, 4.0],
        [10.0, 40.0],
        [1.0, 4.0],
    ]
    layer = nn.Linear(2, 2, bias=False)
    g = dlgrad.jit(lambda w: layer(x) + w)
    zeros = dlgrad.zeros(2, 2)
    for weight in (layer.weight, layer.weight, zeros, layer.weight):
        assert g(weight).tolist() == (layer(x) + weight).tolist()


def test_arguments_that_are_changed_must_be_whole_and_given_once():
    """Else a copy would be changed: what the caller has would keep its numbers."""
    memory = dlgrad.zeros(6).realize()
    f = dlgrad.jit(lambda a: a.add_(1))
    f(memory[1:4])
    with pytest.raises(CaptureError, match="changes its tensor argument 0 in place"):
        f(memory[1:4])
    f = dlgrad.jit(lambda a: a.add_(1))
    whole = dlgrad.zeros(3).realize()
    for _ in range(3):
        f(whole)
    with pytest.raises(CaptureError, match="changes its tensor argument 0 in place"):
        f(memory[1:4])
    assert whole.tolist() == [3.0] * 3 and memory.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    g = dlgrad.jit(lambda a, b: a.add_(b.sum()))
    other = dlgrad.ones(3).realize()
    for _ in range(2):
        g(whole, other)
    with pytest.raises(CaptureError, match="given twice"):
        g(whole, whole)
    g(whole, other)
    assert whole.tolist() == [12.0] * 3
