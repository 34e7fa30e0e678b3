"""Every optimizer beside its formula in plain Python; one launch for all parameters; L-BFGS."""

import copy
import math
import pickle

import pytest
from launches import recorded

import dlgrad
from dlgrad import nn, optim
from dlgrad.errors import CaptureError

START = [1.0, -2.0, 0.5]
GRADIENTS = [
    [0.1, -0.4, 2.0], [0.3, 0.0, -1.0], [-0.2, 0.5, 0.1], [1.0, 1.0, 1.0], [0.0, -2.0, 3.0],
    [0.5, 0.1, -0.1], [-1.0, 0.2, 0.3],
]  # fmt: skip


def run(make):
    """The parameter after each of seven steps of the optimizer `make([p])`."""
    param = dlgrad.tensor(START, dtype=dlgrad.float64, requires_grad=True)
    optimizer = make([param])
    seen = []
    for gradient in GRADIENTS:
        param.grad = dlgrad.tensor(gradient, dtype=dlgrad.float64)
        optimizer.step()
        seen.append(param.tolist())
    return seen


def compare(make, formula):
    """`formula(p, gradients)` yields one number's value after each step."""
    columns = [list(formula(p, [g[i] for g in GRADIENTS])) for i, p in enumerate(START)]
    for found, wanted in zip(run(make), zip(*columns, strict=True), strict=True):
        assert found == pytest.approx(wanted, rel=1e-10)


def sign(x):
    return (x > 0) - (x < 0)


# The formulas, one number at a time ------------------------------------------------------------


def adamax(p, gradients):
    m = u = 0.0
    for t, g in enumerate(gradients, start=1):
        g += 0.1 * p
        m = 0.8 * m + 0.2 * g
        u = max(0.9 * u, abs(g) + 1e-3)
        p -= 0.05 / (1 - 0.8**t) * m / u
        yield p


def nadam(p, gradients):
    m = v = 0.0
    product = 1.0
    for t, g in enumerate(gradients, start=1):
        p *= 1 - 0.05 * 0.1
        mu, following = (0.8 * (1 - 0.5 * 0.96 ** (s * 0.1)) for s in (t, t + 1))
        product *= mu
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g
        ahead = following * m / (1 - product * following) + (1 - mu) * g / (1 - product)
        p -= 0.05 * ahead / (math.sqrt(v / (1 - 0.9**t)) + 1e-3)
        yield p


def radam(p, gradients):
    """The first five steps do without v."""
    m = v = 0.0
    longest = 2 / (1 - 0.9) - 1
    for t, g in enumerate(gradients, start=1):
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g
        length = longest - 2 * t * 0.9**t / (1 - 0.9**t)
        factor = 1.0
        if length > 5:
            factor = math.sqrt(
                (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            ) * math.sqrt(1 - 0.9**t) / (math.sqrt(v) + 1e-8)
        p -= 0.05 * m / (1 - 0.8**t) * factor
        yield p


def rmsprop(p, gradients):
    v = mean = buffer = 0.0
    for g in gradients:
        v, mean = 0.9 * v + 0.1 * g * g, 0.9 * mean + 0.1 * g
        buffer = 0.5 * buffer + g / (math.sqrt(v - mean * mean) + 1e-2)
        p -= 0.05 * buffer
        yield p


def adagrad(p, gradients):
    total = 0.5
    for t, g in enumerate(gradients):
        g += 0.1 * p
        total += g * g
        p -= 0.05 / (1 + t * 0.2) * g / (math.sqrt(total) + 1e-10)
        yield p


def adadelta(p, gradients):
    v = u = 0.0
    for g in gradients:
        v = 0.8 * v + 0.2 * g * g
        d = math.sqrt(u + 1e-3) / math.sqrt(v + 1e-3) * g
        u = 0.8 * u + 0.2 * d * d
        p -= 0.5 * d
        yield p


def rprop(p, gradients):
    before, size = 0.0, 0.1
    for g in gradients:
        agreement = g * before
        size *= 1.5 if agreement > 0 else 0.4 if agreement < 0 else 1.0
        size = min(max(size, 0.05), 0.12)
        before = 0.0 if agreement < 0 else g
        p -= sign(before) * size
        yield p


def asgd(p, gradients):
    eta = 0.1
    for t, g in enumerate(gradients, start=1):
        p = (1 - 0.01 * eta) * p - eta * g
        eta = 0.1 / (1 + 0.01 * 0.1 * t) ** 0.5
        yield p


def lion(p, gradients):
    m = 0.0
    for g in gradients:
        p *= 1 - 0.05 * 0.1
        p -= 0.05 * sign(0.9 * m + 0.1 * g)
        m = 0.8 * m + 0.2 * g
        yield p


CASES = {
    "Adamax": (adamax, {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    "NAdam": (
        nadam,
        {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-3, "momentum_decay": 0.1,
         "weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    "RAdam": (radam, {"lr": 0.05, "betas": (0.8, 0.9)}),
    "RMSprop": (
        rmsprop, {"lr": 0.05, "alpha": 0.9, "eps": 1e-2, "momentum": 0.5, "centered": True}
    ),
    "Adagrad": (
        adagrad,
        {"lr": 0.05, "lr_decay": 0.2, "weight_decay": 0.1, "initial_accumulator_value": 0.5},
    ),
    "Adadelta": (adadelta, {"lr": 0.5, "rho": 0.8, "eps": 1e-3}),
    "Rprop": (rprop, {"lr": 0.1, "etas": (0.4, 1.5), "step_sizes": (0.05, 0.12)}),
    "ASGD": (asgd, {"lr": 0.1, "lambd": 0.01, "alpha": 0.5}),
    "Lion": (lion, {"lr": 0.05, "betas": (0.9, 0.8), "weight_decay": 0.1}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_seven_steps(name):
    formula, options = CASES[name]
    compare(lambda params: getattr(optim, name)(params, **options), formula)


def norm(values):
    return math.sqrt(sum(v * v for v in values))


def test_lamb_scales_by_the_norms():
    p, m, v = list(START), [0.0] * 3, [0.0] * 3
    wanted = []
    for t, gradient in enumerate(GRADIENTS, start=1):
        m = [0.8 * a + 0.2 * g for a, g in zip(m, gradient, strict=True)]
        v = [0.9 * a + 0.1 * g * g for a, g in zip(v, gradient, strict=True)]
        step = [
            a / (1 - 0.8**t) / (math.sqrt(b / (1 - 0.9**t)) + 1e-6) + 0.1 * x
            for a, b, x in zip(m, v, p, strict=True)
        ]
        ratio = norm(p) / norm(step)
        p = [x - 0.05 * ratio * s for x, s in zip(p, step, strict=True)]
        wanted.append(p)
    found = run(lambda q: optim.LAMB(q, lr=0.05, betas=(0.8, 0.9), weight_decay=0.1))
    for a, b in zip(found, wanted, strict=True):
        assert a == pytest.approx(b, rel=1e-10)


def test_lamb_takes_a_zero_parameter_for_what_it_is():
    param = dlgrad.zeros(2, requires_grad=True)
    optimizer = optim.LAMB([param], lr=0.5, weight_decay=0.0)
    param.grad = dlgrad.ones(2)
    optimizer.step()
    assert param.tolist() == pytest.approx([-0.5, -0.5], rel=1e-4)


def test_adafactor_keeps_a_row_and_a_column():
    start, gradient = [[1.0, 2.0], [3.0, -1.0], [0.5, 0.0]], [[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]
    param = dlgrad.tensor(start, dtype=dlgrad.float64, requires_grad=True)
    optimizer = optim.Adafactor([param], lr=0.1)
    param.grad = dlgrad.tensor(gradient, dtype=dlgrad.float64)
    optimizer.step()
    # The squares are the product of their rows and columns, so every quotient is 1 or -1.
    size = math.sqrt(sum(v * v for row in start for v in row) / 6)
    for found, row in zip(param.tolist(), start, strict=True):
        assert found == pytest.approx([v - 0.1 * size for v in row], rel=1e-6)
    state = optimizer.state[param]
    assert state["row_var"].shape == (3, 1) and state["col_var"].shape == (1, 2)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_muon_steps_along_an_orthogonal_matrix(shape):
    dlgrad.manual_seed(0)
    param = dlgrad.zeros(shape, requires_grad=True)
    optimizer = optim.Muon([param], lr=1.0, weight_decay=0.0)
    param.grad = dlgrad.randn(*shape)
    optimizer.step()
    step = param.detach() / math.sqrt(max(1, shape[0] / shape[1]))
    gram = step @ step.T if shape[0] < shape[1] else step.T @ step
    diagonal = [row[i] for i, row in enumerate(gram.tolist())]
    assert all(0.4 < value < 1.6 for value in diagonal)  # singular values near 1
    assert (gram - dlgrad.diag(dlgrad.tensor(diagonal))).abs().max().item() < 0.4
    assert (step * param.grad).sum().item() < 0, "downhill"


# All parameters at once ------------------------------------------------------------------------

ELEMENTWISE = [
    "SGD", "Adam", "AdamW", "Adamax", "NAdam", "RMSprop", "Adagrad", "Adadelta", "Rprop", "ASGD",
    "Lion",
]  # fmt: skip


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_step_is_one_launch(name):
    params = [dlgrad.full((size,), 1.0).realize().requires_grad_() for size in (4, 6, 9)]
    optimizer = getattr(optim, name)(params)
    for _ in range(3):
        for param in params:
            param.grad = dlgrad.ones(*param.shape).realize()
        with recorded() as seen:
            optimizer.step()
    assert [launch.beside for launch in seen.launches] == [False, True, True]


# Their state gets other memory at every step, so each step is planned anew.
MOVING = {"Rprop", "LAMB", "Adafactor"}


@pytest.mark.parametrize("name", [*ELEMENTWISE, "RAdam", "LAMB", "Adafactor"])
def test_steps_from_kept_launches_are_the_plain_ones(name, monkeypatch):
    """With a gradient that comes and goes, new settings, new memory, and a write from outside."""

    def train():
        dlgrad.manual_seed(3)
        params = [dlgrad.randn(*shape).requires_grad_() for shape in ((3, 2), (2, 3), (4, 4))]
        optimizer = getattr(optim, name)(params, lr=0.1)
        seen = []
        for step in range(14):
            used = params[:2] if step in (5, 6) else params
            loss = sum((param * param).sum() for param in used)
            before = params[0] * 1  # pending when the step overwrites what it reads
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step == 7:
                optimizer.param_groups[0]["lr"] = 0.01
            if step == 9:
                params[1].data = dlgrad.ones(2, 3)
            if step == 11:
                with dlgrad.no_grad():
                    params[2].mul_(0.5)
            seen.append([before.tolist(), [param.tolist() for param in params]])
        return seen, optimizer

    kept, optimizer = train()
    assert (optimizer._prepared is not None) is (name not in MOVING)
    monkeypatch.setattr(type(optimizer), "_repeat", lambda self, found: self._update_all(found, {}))
    plain, optimizer = train()
    assert optimizer._prepared is None
    assert kept == plain


def steps_with(make, gradients, monkeypatch, change=lambda optimizer, step: None):
    """Parameters after steps from kept launches, and after the same steps in the plain way."""
    found = []
    for plain in (False, True):
        param = dlgrad.full((40, 25), 1.5).realize().requires_grad_()
        optimizer = make([param])
        if plain:
            repeat = lambda self, found: self._update_all(found, {})  # noqa: E731
            monkeypatch.setattr(type(optimizer), "_repeat", repeat)
        for step, gradient in enumerate(gradients):
            change(optimizer, step)
            param._grad = gradient(param)  # of any dtype, as another .data may leave it
            optimizer.step()
        found.append(param.tolist())
    return found


@pytest.mark.parametrize("dtype", [dlgrad.bfloat16, dlgrad.float64])
def test_gradients_of_another_type_are_not_taken_for_the_kept_ones(dtype, monkeypatch):
    def ones(dtype):
        return lambda param: dlgrad.ones(40, 25, dtype=dtype).realize()

    gradients = [ones(dlgrad.float32)] * 4 + [ones(dtype)] * 4
    kept, plain = steps_with(lambda p: optim.SGD(p, lr=0.1), gradients, monkeypatch)
    assert kept == plain


def test_a_gradient_in_the_memory_of_its_parameter(monkeypatch):
    gradients = [lambda param: dlgrad.ones(40, 25).realize()] * 4 + [lambda p: p.detach()] * 2
    kept, plain = steps_with(lambda p: optim.AdamW(p, lr=0.1), gradients, monkeypatch)
    assert kept == plain


def test_a_changed_epsilon_of_adafactor_counts(monkeypatch):
    def change(optimizer, step):
        if step == 4:
            optimizer.param_groups[0]["eps"] = (1e-2, 50.0)

    gradients = [lambda param: dlgrad.full((40, 25), 0.3).realize()] * 6
    kept, plain = steps_with(lambda p: optim.Adafactor(p, lr=0.1), gradients, monkeypatch, change)
    assert kept == plain


def test_an_optimizer_of_a_user_is_never_repeated():
    """Its update may read what changes from step to step."""

    class Counting(optim.SGD):
        calls = 0

        def update(self, *args):
            self.calls += 1
            super().update(*args)

    param = dlgrad.ones(2).requires_grad_()
    optimizer = Counting([param], lr=0.1)
    for _ in range(5):
        param.sum().backward()
        optimizer.step()
    assert optimizer.calls == 5


def test_an_optimizer_is_copied_with_its_parameters():
    param = dlgrad.ones(2).requires_grad_()
    optimizer = optim.Adam([param], lr=0.1)

    def step(param, optimizer):
        optimizer.zero_grad()
        (param * param).sum().backward()
        optimizer.step()

    for _ in range(4):
        step(param, optimizer)
    copies = [copy.deepcopy((param, optimizer)), pickle.loads(pickle.dumps((param, optimizer)))]
    for own in copies:
        step(*own)
    step(param, optimizer)
    assert [own[0].tolist() for own in copies] == [param.tolist()] * 2


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "NAdam", "ASGD", "LAMB", "Adafactor"])
def test_a_captured_step_goes_on_as_the_plain_one(name):
    """Counters and rates of the time of the replay, not of the capture."""

    def train(wrap):
        dlgrad.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = getattr(optim, name)(model.parameters(), lr=0.1)

        def step(x):
            optimizer.zero_grad()
            loss = (model(x) ** 2).sum()
            loss.backward()
            optimizer.step()
            return loss

        step = wrap(step)
        losses = [step(dlgrad.full((4, 3), 0.1 * i)).item() for i in range(6)]
        return losses, optimizer.state_dict()["state"][0]

    plain, captured = train(lambda step: step), train(dlgrad.jit)
    assert plain[0] == pytest.approx(captured[0], rel=1e-5)
    for key, value in plain[1].items():
        if not value.shape:
            assert captured[1][key].item() == value.item()


@pytest.mark.parametrize("name", ["NAdam", "ASGD", "Rprop", "Adafactor", "LAMB"])
def test_training_goes_on_from_a_state_dict(name, tmp_path):
    options = {"lr": 0.05}
    whole = run(lambda p: getattr(optim, name)(p, **options))
    param = dlgrad.tensor(START, dtype=dlgrad.float64, requires_grad=True)
    optimizer = getattr(optim, name)([param], **options)
    param.grad = dlgrad.tensor(GRADIENTS[0], dtype=dlgrad.float64)
    optimizer.step()
    dlgrad.save({"p": param, "optimizer": optimizer.state_dict()}, tmp_path / "run")
    loaded = dlgrad.load(tmp_path / "run")
    again = loaded["p"].clone().requires_grad_()
    optimizer = getattr(optim, name)([again], lr=9.0)
    optimizer.load_state_dict(loaded["optimizer"])
    for gradient, wanted in zip(GRADIENTS[1:], whole[1:], strict=True):
        again.grad = dlgrad.tensor(gradient, dtype=dlgrad.float64)
        optimizer.step()
        assert again.tolist() == wanted


# What PyTorch's optimizers also take -----------------------------------------------------------


def test_a_rate_may_be_a_tensor():
    seen = []
    for lr in (0.5, dlgrad.tensor(0.5)):
        seen.append(run(lambda p, lr=lr: optim.SGD(p, lr=lr)))
    assert seen[0] == seen[1]


def test_named_parameters():
    model = nn.Linear(2, 1)
    optimizer = optim.SGD(model.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    with pytest.raises(ValueError, match="names"):
        optimizer.add_param_group({"params": [dlgrad.zeros(1, requires_grad=True)]})
    with pytest.raises(ValueError, match="names"):
        optim.SGD([("a", dlgrad.zeros(1, requires_grad=True)), dlgrad.zeros(1)])


def test_hooks_around_a_step():
    param = dlgrad.zeros(1, requires_grad=True)
    param.grad = dlgrad.ones(1)
    optimizer = optim.SGD([param], lr=1.0)
    seen = []
    before = optimizer.register_step_pre_hook(lambda o, a, k: seen.append(("before", param.item())))
    optimizer.register_step_post_hook(lambda o, a, k: seen.append(("after", param.item())))
    optimizer.step()
    before.remove()
    optimizer.step()
    assert seen == [("before", 0.0), ("after", -1.0), ("after", -2.0)]


def test_an_optimizer_of_ones_own():
    """PyTorch's way: `step` walks over the groups, and `state` makes itself."""

    class Halving(optim.Optimizer):
        def __init__(self, params, share=0.5):
            super().__init__(params, {"share": share})

        @dlgrad.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for param in group["params"]:
                    self.state[param]["count"] = self.state[param].get("count", 0) + 1
                    param.mul_(group["share"])

    param = dlgrad.full((2,), 8.0).requires_grad_()
    optimizer = Halving([param])
    optimizer.step()
    optimizer.step()
    assert param.tolist() == [2.0, 2.0]
    state = optimizer.state_dict()
    assert state["state"] == {0: {"count": 2}}
    again = Halving([param], share=0.1)
    again.load_state_dict(state)
    assert again.state[param]["count"] == 2 and again.param_groups[0]["share"] == 0.5


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda p: optim.Adam(p, differentiable=True), NotImplementedError, "differentiable"),
        (lambda p: optim.Adam(p, fused=True, foreach=True), RuntimeError, "foreach"),
        (lambda p: optim.Muon(p), ValueError, "2D"),
        (lambda p: optim.Rprop(p, etas=(1.5, 2.0)), ValueError, "etas"),
        (lambda p: optim.RMSprop(p, momentum=-1.0), ValueError, "momentum"),
        (lambda p: optim.Adadelta(p, rho=2.0), ValueError, "rho"),
        (lambda p: optim.LBFGS(p, line_search_fn="armijo"), RuntimeError, "strong_wolfe"),
        (lambda p: optim.LBFGS(p).step(), TypeError, "closure"),
        (lambda p: optim.LBFGS([{"params": p}, {"params": []}]), ValueError, "groups"),
        (lambda p: optim.SGD(set(p)), TypeError, "ordered"),
    ],
)
def test_bad_arguments_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make([dlgrad.zeros(3, requires_grad=True)])


# L-BFGS ----------------------------------------------------------------------------------------


def valley(x):
    """Rosenbrock's function: lowest, with 0, at (1, 1)."""
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def minimise(optimizer, x, steps):
    def closure():
        optimizer.zero_grad()
        loss = valley(x)
        loss.backward()
        return loss

    return [optimizer.step(closure).item() for _ in range(steps)]


def test_lbfgs_finds_the_end_of_the_valley():
    x = dlgrad.tensor([-1.2, 1.0], dtype=dlgrad.float64, requires_grad=True)
    optimizer = optim.LBFGS([x], line_search_fn="strong_wolfe")
    losses = minimise(optimizer, x, 6)
    assert losses == sorted(losses, reverse=True)
    assert x.tolist() == pytest.approx([1.0, 1.0], abs=1e-4)


def test_lbfgs_goes_on_from_its_state():
    x = dlgrad.tensor([-1.2, 1.0], dtype=dlgrad.float64, requires_grad=True)
    optimizer = optim.LBFGS([x], max_iter=4, line_search_fn="strong_wolfe")
    minimise(optimizer, x, 1)
    y = x.detach().clone().requires_grad_()
    again = optim.LBFGS([y], max_iter=4, line_search_fn="strong_wolfe")
    again.load_state_dict(optimizer.state_dict())
    assert minimise(optimizer, x, 2) == minimise(again, y, 2)
    assert x.tolist() == y.tolist()


def test_lbfgs_cannot_be_captured():
    x = dlgrad.zeros(2, requires_grad=True)
    optimizer = optim.LBFGS([x])

    @dlgrad.jit
    def step():
        optimizer.step(lambda: (x * x).sum())

    x.grad = dlgrad.zeros(2)
    step()
    with pytest.raises(CaptureError, match="L-?BFGS"):
        step()
