"""SGD and Adam against their formulas; groups, state, and steps under jit."""

import math

import pytest

import dlgrad
from dlgrad import nn
from dlgrad.errors import CaptureError
from dlgrad.optim import SGD, Adam, AdamW
from dlgrad.optim.lr_scheduler import OneCycleLR

START = [1.0, -2.0, 0.5]
# Gradients of five steps, as if of a loss.
GRADIENTS = [
    [0.1, -0.4, 2.0], [0.3, 0.0, -1.0], [-0.2, 0.5, 0.1], [1.0, 1.0, 1.0], [0.0, -2.0, 3.0],
]  # fmt: skip


def run(make, gradients=GRADIENTS, start=START, dtype=dlgrad.float64):
    """The parameter after each step of the optimizer `make([p])`."""
    param = dlgrad.tensor(start, dtype=dtype, requires_grad=True)
    optimizer = make([param])
    seen = []
    for gradient in gradients:
        param.grad = dlgrad.tensor(gradient, dtype=dtype)
        optimizer.step()
        seen.append(param.tolist())
    return seen


# The formulas, one number at a time ------------------------------------------------------------


def sgd(p, gradients, lr, momentum=0, dampening=0, weight_decay=0, nesterov=False, maximize=False):
    buffer = None
    for g in gradients:
        g = -g if maximize else g
        g += weight_decay * p
        if momentum:
            buffer = g if buffer is None else momentum * buffer + (1 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        p -= lr * g
        yield p


def adam(p, gradients, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False,
         maximize=False, decoupled=False):  # fmt: skip
    m = v = largest = 0.0
    for t, g in enumerate(gradients, start=1):
        g = -g if maximize else g
        if decoupled:
            p -= lr * weight_decay * p
        else:
            g += weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        largest = max(largest, v)
        top = largest if amsgrad else v
        p -= lr * (m / (1 - betas[0] ** t)) / (math.sqrt(top / (1 - betas[1] ** t)) + eps)
        yield p


def expected(formula, **settings):
    columns = [
        list(formula(p, [g[i] for g in GRADIENTS], **settings)) for i, p in enumerate(START)
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def assert_close(found, wanted, tolerance=1e-12):
    for row, (a, b) in enumerate(zip(found, wanted, strict=True)):
        for x, y in zip(a, b, strict=True):
            assert abs(x - y) <= tolerance * max(1, abs(y)), (row, a, b)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weight_decay": 0.1},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.5},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        {"momentum": 0.5, "maximize": True},
    ],
    ids=str,
)
def test_sgd(settings):
    found = run(lambda p: SGD(p, lr=0.1, **settings))
    assert_close(found, expected(sgd, lr=0.1, **settings))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lr": 0.1, "betas": (0.5, 0.9)},
        {"eps": 1e-2},
        {"weight_decay": 0.1},
        {"amsgrad": True, "lr": 0.05},
        {"maximize": True},
    ],
    ids=str,
)
def test_adam(settings):
    assert_close(run(lambda p: Adam(p, **settings)), expected(adam, **settings))


@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.5, "amsgrad": True}], ids=str)
def test_adamw(settings):
    reference = {"weight_decay": 1e-2, **settings}
    found = run(lambda p: AdamW(p, lr=0.01, **settings))
    assert_close(found, expected(adam, lr=0.01, decoupled=True, **reference))


def test_float32_follows_within_its_precision():
    found = run(lambda p: Adam(p, lr=0.01), dtype=dlgrad.float32)
    assert_close(found, expected(adam, lr=0.01), 1e-6)


def test_state_keeps_the_dtype_of_the_parameter():
    param = dlgrad.tensor(START, dtype=dlgrad.float16, requires_grad=True)
    optimizer = Adam([param], lr=0.1)
    param.grad = dlgrad.ones(3, dtype=dlgrad.float16)
    optimizer.step()
    assert param.dtype is optimizer.state[param]["exp_avg"].dtype is dlgrad.float16
    assert_close([param.tolist()], [[p - 0.1 for p in START]], 1e-3)


# Learning something ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda p: SGD(p, lr=0.05, momentum=0.9),
        lambda p: Adam(p, lr=0.1),
        lambda p: AdamW(p, lr=0.1, weight_decay=0.0),
    ],
    ids=["SGD", "Adam", "AdamW"],
)
def test_finds_the_lowest_point(make):
    x = dlgrad.tensor([4.0, -3.0], requires_grad=True)
    optimizer = make([x])
    for _ in range(200):
        loss = ((x - dlgrad.tensor([1.0, 2.0])) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert_close([x.tolist()], [[1.0, 2.0]], 1e-2)


def test_closure_computes_the_loss_with_gradients():
    x = dlgrad.tensor([2.0], requires_grad=True)
    optimizer = SGD([x], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (x * x).sum()
        loss.backward()
        return loss

    with dlgrad.no_grad():
        loss = optimizer.step(closure)
    assert loss.item() == 4.0 and x.item() == 1.0


def test_a_parameter_without_gradient_stays():
    a = dlgrad.tensor([1.0], requires_grad=True)
    b = dlgrad.tensor([1.0], requires_grad=True)
    optimizer = Adam([a, b], lr=0.1)
    a.grad = dlgrad.ones(1)
    optimizer.step()
    assert b.tolist() == [1.0] and b not in optimizer.state
    assert a.tolist() != [1.0]


def test_a_late_parameter_begins_with_its_own_first_step():
    a = dlgrad.tensor([1.0], dtype=dlgrad.float64, requires_grad=True)
    b = dlgrad.tensor([1.0], dtype=dlgrad.float64, requires_grad=True)
    optimizer = Adam([a, b], lr=0.1)
    for step in range(4):
        a.grad = dlgrad.tensor([0.5], dtype=dlgrad.float64)
        b.grad = dlgrad.tensor([0.5], dtype=dlgrad.float64) if step >= 2 else None
        optimizer.step()
    values = list(adam(1.0, [0.5] * 4, lr=0.1))
    assert_close([a.tolist(), b.tolist()], [[values[3]], [values[1]]])
    assert [optimizer.state[p]["step"] for p in (a, b)] == [4, 2]


def test_zero_grad():
    x = dlgrad.tensor([2.0], requires_grad=True)
    optimizer = SGD([x], lr=0.1)
    x.grad = dlgrad.ones(1)
    optimizer.zero_grad(set_to_none=False)
    assert x.grad.tolist() == [0.0]
    optimizer.zero_grad()
    assert x.grad is None


def test_a_step_evaluates_everything_pending():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = SGD(model.parameters(), lr=0.1)
    loss = model(dlgrad.ones(4, 3)).sum()
    loss.backward()
    optimizer.step()
    held = [loss, *model.parameters(), *model.buffers(), *(p.grad for p in model.parameters())]
    assert all(tensor._storage.node.is_realized for tensor in held)


# Groups and state ------------------------------------------------------------------------------


def test_groups_have_settings_of_their_own():
    a = dlgrad.tensor([1.0], requires_grad=True)
    b = dlgrad.tensor([1.0], requires_grad=True)
    optimizer = SGD([{"params": [a], "lr": 0.5}, {"params": b}], lr=0.1)
    a.grad, b.grad = dlgrad.ones(1), dlgrad.ones(1)
    optimizer.step()
    assert_close([a.tolist(), b.tolist()], [[0.5], [0.9]], 1e-6)
    c = dlgrad.tensor([1.0], requires_grad=True)
    optimizer.add_param_group({"params": [c], "lr": 1.0})
    c.grad = dlgrad.ones(1)
    optimizer.step()
    assert_close([a.tolist(), b.tolist(), c.tolist()], [[0.0], [0.8], [0.0]], 1e-6)


def leaf(*shape):
    return dlgrad.zeros(*shape, requires_grad=True)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: SGD([], lr=0.1), ValueError, "empty"),
        (lambda: SGD(leaf(1), lr=0.1), TypeError, "iterable"),
        (lambda: SGD(nn.Linear(1, 1)), TypeError, r"model\.parameters\(\), not one Linear"),
        (lambda: SGD([1.0], lr=0.1), TypeError, "float"),
        (lambda: SGD([dlgrad.tensor([1])], lr=0.1), TypeError, "floating-point"),
        (lambda: SGD([leaf(1) * 2], lr=0.1), ValueError, "leaf"),
        (lambda: SGD([leaf(1)] * 2, lr=0.1), ValueError, "twice"),
        (lambda: SGD([leaf(1)], lr=-1.0), ValueError, "lr must not be negative"),
        (lambda: SGD([leaf(1)], lr=math.nan), ValueError, "lr"),
        (lambda: SGD([leaf(1)], momentum=-1), ValueError, "momentum"),
        (lambda: SGD([leaf(1)], nesterov=True), ValueError, "Nesterov"),
        (lambda: SGD([leaf(1)], weight_decay=-0.1), ValueError, "weight_decay"),
        (lambda: Adam([leaf(1)], betas=(1.0, 0.9)), ValueError, "betas"),
        (lambda: Adam([leaf(1)], eps=-1.0), ValueError, "eps"),
        (lambda: Adam([{"lr": 1.0}]), TypeError, "params"),
    ],
)
def test_bad_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_state_dict_has_pytorchs_layout():
    a, b = leaf(2), leaf(3)
    optimizer = Adam([{"params": [a]}, {"params": [b], "lr": 0.5}])
    b.grad = dlgrad.ones(3)
    optimizer.step()
    state = optimizer.state_dict()
    assert [group["params"] for group in state["param_groups"]] == [[0], [1]]
    assert state["param_groups"][1]["lr"] == 0.5
    assert list(state["state"]) == [1]
    assert sorted(state["state"][1]) == ["exp_avg", "exp_avg_sq", "step"]
    assert state["state"][1]["step"].item() == 1.0


@pytest.mark.parametrize(
    "make",
    [
        lambda p: SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
        lambda p: Adam(p, lr=0.1, amsgrad=True),
    ],
    ids=["SGD", "Adam"],
)
def test_training_goes_on_from_a_state_dict(make, tmp_path):
    whole = run(make)
    param = dlgrad.tensor(START, dtype=dlgrad.float64, requires_grad=True)
    optimizer = make([param])
    for gradient in GRADIENTS[:2]:
        param.grad = dlgrad.tensor(gradient, dtype=dlgrad.float64)
        optimizer.step()
    dlgrad.save({"p": param, "optimizer": optimizer.state_dict()}, tmp_path / "run")
    loaded = dlgrad.load(tmp_path / "run")
    again = loaded["p"].clone().requires_grad_()
    optimizer = make([again])
    optimizer.load_state_dict(loaded["optimizer"])
    seen = []
    for gradient in GRADIENTS[2:]:
        again.grad = dlgrad.tensor(gradient, dtype=dlgrad.float64)
        optimizer.step()
        seen.append(again.tolist())
    assert seen == whole[2:]


def test_loading_copies_and_converts_the_state():
    a, b = leaf(2), leaf(2)
    first, second = Adam([a], lr=0.1), Adam([b], lr=0.7)
    a.grad = dlgrad.ones(2)
    first.step()
    state = first.state_dict()
    state["state"][0]["exp_avg"] = state["state"][0]["exp_avg"].double()
    second.load_state_dict(state)
    moment = second.state[b]["exp_avg"]
    assert moment.dtype is dlgrad.float32
    first.step()
    assert_close([moment.tolist()], [[0.1, 0.1]], 1e-6)
    assert second.param_groups[0]["lr"] == 0.1


def test_a_state_of_other_groups_is_refused():
    state = Adam([leaf(1), leaf(2)]).state_dict()
    with pytest.raises(ValueError, match=r"groups of \[2\]"):
        Adam([leaf(1)]).load_state_dict(state)
    one = Adam([leaf(2)])
    one.param_groups[0]["params"][0].grad = dlgrad.ones(2)
    one.step()
    with pytest.raises(ValueError, match="shape"):
        Adam([leaf(3)]).load_state_dict(one.state_dict())


def test_repr_lists_the_settings():
    text = repr(SGD([leaf(1)], lr=0.5))
    start = "SGD (\nParameter Group 0\n    dampening: 0\n    differentiable: False\n"
    assert text.startswith(start)


# Under jit -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda p: SGD(p, lr=0.1, momentum=0.9, dampening=0.1),
        lambda p: Adam(p, lr=0.1),
        lambda p: AdamW(p, lr=0.1),
    ],
    ids=["SGD", "Adam", "AdamW"],
)
@pytest.mark.parametrize("inside", [True, False], ids=["scheduler inside", "scheduler outside"])
def test_a_captured_step_does_what_the_plain_one_does(make, inside):
    """Bias corrections, a changing learning rate and cycling momentum must all be alive."""

    def train(wrap):
        x = dlgrad.tensor(START, requires_grad=True)
        optimizer = make([x])
        schedule = OneCycleLR(optimizer, max_lr=0.5, total_steps=10)

        def step(scale):
            loss = ((x * scale) ** 2).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if inside:
                schedule.step()
            return loss

        step = wrap(step)
        seen = []
        for i in range(8):
            loss = step(dlgrad.tensor([1.0, 2.0, 3.0 + i]))
            if not inside:
                schedule.step()
            seen.append([loss.item(), *x.tolist(), *schedule.get_last_lr()])
        return seen

    assert_close(train(dlgrad.jit), train(lambda step: step), 1e-6)


def test_a_structural_change_after_capture_is_an_error():
    x = dlgrad.tensor(START, requires_grad=True)
    optimizer = SGD([x], lr=0.1)

    @dlgrad.jit
    def step():
        optimizer.zero_grad()
        (x * x).sum().backward()
        optimizer.step()

    for _ in range(4):
        step()
    optimizer.param_groups[0]["weight_decay"] = 0.1
    with pytest.raises(CaptureError, match="weight_decay"):
        step()


def test_a_captured_step_goes_on_from_loaded_and_written_state():
    def train(wrap):
        dlgrad.manual_seed(0)
        model = nn.Linear(2, 1)
        optimizer = Adam(model.parameters(), lr=0.1)
        x = dlgrad.tensor([[1.0, 2.0], [3.0, -1.0]])

        def step(x):
            loss = (model(x) ** 2).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        step = wrap(step)
        for _ in range(4):
            step(x)
        weights = {name: value.clone().realize() for name, value in model.state_dict().items()}
        state = optimizer.state_dict()
        state["state"] = {
            number: {name: value.clone().realize() for name, value in entries.items()}
            for number, entries in state["state"].items()
        }
        first = [step(x).item() for _ in range(3)]
        model.load_state_dict(weights)
        optimizer.load_state_dict(state)
        again = [step(x).item() for _ in range(3)]
        with dlgrad.no_grad():
            model.weight.fill_(0.5)
        written = [step(x).item()]
        model.weight.data.mul_(3.0)
        return [first, again, written + [step(x).item()]]

    plain, captured = train(lambda step: step), train(dlgrad.jit)
    assert captured[0] == captured[1]
    assert_close(captured, plain, 1e-6)


@pytest.mark.parametrize(
    "change, allowed",
    [
        (lambda model, optimizer: optimizer.zero_grad(set_to_none=False), True),
        (lambda model, optimizer: optimizer.step(), True),
        (lambda model, optimizer: optimizer.zero_grad(), False),
        (lambda model, optimizer: model.double(), False),
        (lambda model, optimizer: setattr(model.weight, "data", dlgrad.ones(1, 2)), False),
    ],
    ids=["zeroed gradients", "a step", "forgotten gradients", "another dtype", "other data"],
)
def test_tensors_replaced_after_a_capture_are_an_error(change, allowed):
    """Gradients add up inside, so a replay reads the memory of the gradients too."""
    model = nn.Linear(2, 1)
    optimizer = SGD(model.parameters(), lr=0.1)

    @dlgrad.jit
    def accumulate(x):
        (model(x) ** 2).sum().backward()

    x = dlgrad.tensor([[1.0, 2.0], [3.0, -1.0]])
    for _ in range(4):
        accumulate(x)
    change(model, optimizer)
    if allowed:
        accumulate(x)
    else:
        with pytest.raises(CaptureError, match="replaced"):
            accumulate(x)
