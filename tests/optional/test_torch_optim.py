"""Every optimizer and schedule with its options, beside PyTorch's, from the same numbers."""

import itertools
import re

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")

import dlgrad  # noqa: E402
from dlgrad import nn, optim  # noqa: E402

START = [np.linspace(-1, 1, 12).reshape(4, 3), np.linspace(2, -1, 5)]
DECAY = {"weight_decay": 0.1}
BOTH = {**DECAY, "maximize": True}

# Every option that changes the arithmetic, alone and where options meet.
OPTIONS = {
    "SGD": [
        {"lr": 0.1}, {"lr": 0.1, **BOTH}, {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, **DECAY},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, **BOTH},
    ],
    "Adam": [
        {}, {"lr": 0.1, "betas": (0.5, 0.9)}, {"eps": 1e-2, **BOTH}, {"amsgrad": True, "lr": 0.05},
        {"amsgrad": True, **BOTH}, {"decoupled_weight_decay": True, **DECAY},
    ],
    "AdamW": [{}, {"lr": 0.1, "weight_decay": 0.5}, {"amsgrad": True, "maximize": True}],
    "Adamax": [{}, {"lr": 0.1, "betas": (0.5, 0.9)}, {"eps": 1e-2, **BOTH}],
    "NAdam": [
        {}, {"lr": 0.1, "betas": (0.5, 0.9), "momentum_decay": 0.1}, BOTH,
        {"decoupled_weight_decay": True, **BOTH},
    ],
    "RAdam": [
        {}, {"lr": 0.1, "betas": (0.5, 0.6)}, {"betas": (0.5, 0.9), **BOTH},
        {"decoupled_weight_decay": True, **DECAY},
    ],
    "RMSprop": [
        {}, {"lr": 0.1, "alpha": 0.9}, {"momentum": 0.9, **DECAY}, {"centered": True, **BOTH},
        {"momentum": 0.5, "centered": True, "eps": 1e-3},
    ],
    "Adagrad": [
        {}, {"lr": 0.1, "lr_decay": 0.1}, {"initial_accumulator_value": 0.5, **BOTH},
        {"eps": 1e-2},
    ],
    "Adadelta": [{}, {"lr": 0.5, "rho": 0.5, "eps": 1e-3}, BOTH],
    "Rprop": [
        {}, {"lr": 0.1, "etas": (0.3, 1.5), "maximize": True}, {"step_sizes": (1e-3, 0.011)},
    ],
    "ASGD": [{}, {"lr": 0.1, "lambd": 0.1, "alpha": 0.5, "t0": 2}, BOTH],
    "Muon": [
        {"lr": 0.1}, {"nesterov": False, "momentum": 0.5, "weight_decay": 0.0},
        {"adjust_lr_fn": "match_rms_adamw", "lr": 0.1, "ns_steps": 3},
    ],
    "Adafactor": [{}, {"lr": 0.5, "beta2_decay": -0.5, "d": 2.0}, {"eps": (1e-3, 0.1), **BOTH}],
}  # fmt: skip
CASES = [(name, options) for name, sets in OPTIONS.items() for options in sets]
# Matrix products in bfloat16; numbers kept in float32.
ROUGH = {"Muon": 2e-2, "ASGD": 1e-6}


def gradients(steps):
    """Gradients with changing signs and sizes, and some zeros."""
    rng = np.random.default_rng(3)
    for step in range(steps):
        noise = [rng.normal(size=start.shape) * (1 + step) for start in START]
        yield [np.where(np.abs(g) < 0.2, 0.0, g) for g in noise]


class Beside:
    """The same parameters and optimizer in both libraries."""

    def __init__(self, name, options):
        count = 1 if name == "Muon" else 2  # matrices only
        self.ours = [dlgrad.tensor(x, requires_grad=True) for x in START[:count]]
        self.theirs = [torch.tensor(x, requires_grad=True) for x in START[:count]]
        self.our_optimizer = getattr(optim, name)(self.ours, **options)
        self.their_optimizer = getattr(torch.optim, name)(self.theirs, **options)
        self.tolerance = ROUGH.get(name, 1e-9)

    def step(self, arrays):
        for a, b, g in zip(self.ours, self.theirs, arrays, strict=False):
            a.grad, b.grad = dlgrad.tensor(g), torch.tensor(g)
        self.our_optimizer.step()
        self.their_optimizer.step()

    def check(self):
        for a, b in zip(self.ours, self.theirs, strict=True):
            np.testing.assert_allclose(
                a.tolist(), b.tolist(), rtol=self.tolerance, atol=self.tolerance
            )


def plain(value):
    """A value of a state as plain Python."""
    return value.tolist() if hasattr(value, "tolist") else value


@pytest.mark.parametrize("name, options", CASES, ids=str)
def test_eight_steps(name, options):
    pair = Beside(name, options)
    for arrays in gradients(8):
        pair.step(arrays)
        pair.check()
    mine, theirs = pair.our_optimizer.state_dict(), pair.their_optimizer.state_dict()
    assert mine["param_groups"] == theirs["param_groups"]
    assert repr(pair.our_optimizer) == repr(pair.their_optimizer)
    for number, entries in theirs["state"].items():
        kept = {key: value for key, value in entries.items() if value is not None}
        assert set(mine["state"][number]) == set(kept)
        for key, value in kept.items():
            np.testing.assert_allclose(
                plain(mine["state"][number][key]), plain(value),
                rtol=max(pair.tolerance, 1e-6), atol=1e-12, err_msg=key,
            )  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_a_state_goes_over_and_comes_back(name):
    """Three steps there, three here from that state, three there from this one."""
    options = OPTIONS[name][-1]
    pair = Beside(name, options)
    steps = list(gradients(9))
    for arrays in steps[:3]:
        pair.step(arrays)
    here = pair.our_optimizer.state_dict()
    there = pair.their_optimizer.state_dict()
    pair.our_optimizer = getattr(optim, name)(pair.ours, lr=9.0)
    pair.their_optimizer = getattr(torch.optim, name)(pair.theirs, lr=9.0)
    pair.our_optimizer.load_state_dict(converted(there, torch.Tensor, dlgrad.tensor))
    pair.their_optimizer.load_state_dict(converted(here, dlgrad.Tensor, torch.tensor))
    for arrays in steps[3:]:
        pair.step(arrays)
        pair.check()


def converted(value, kind, make):
    """`value` with every tensor of the class `kind` made anew by `make`."""
    if isinstance(value, kind):
        return make(value.tolist(), dtype=getattr(
            torch if make is torch.tensor else dlgrad, str(value.dtype).split(".")[-1]
        ))  # fmt: skip
    if isinstance(value, dict):
        return {key: converted(item, kind, make) for key, item in value.items()}
    if isinstance(value, list):
        return [converted(item, kind, make) for item in value]
    return value


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
@pytest.mark.parametrize("history", [100, 2])
def test_lbfgs(search, history):
    """Rosenbrock's valley in four dimensions, and the number of evaluations."""
    start, seen = [-1.2, 1.0, 0.5, 2.0], []
    lr = 1.0 if search else 0.05
    for library, make in ((optim, dlgrad.tensor), (torch.optim, torch.tensor)):
        kind = dlgrad.float64 if library is optim else torch.float64
        x = make(start[:2], dtype=kind, requires_grad=True)
        y = make(start[2:], dtype=kind, requires_grad=True)
        optimizer = library.LBFGS(
            [x, y], lr=lr, max_iter=8, history_size=history, line_search_fn=search
        )

        def closure(optimizer=optimizer, x=x, y=y):
            optimizer.zero_grad()
            loss = (100 * (y - x * x) ** 2 + (1 - x) ** 2).sum()
            loss.backward()
            return loss

        losses = [optimizer.step(closure).item() for _ in range(5)]
        state = optimizer.state_dict()["state"][0]
        seen.append(([*losses, *x.tolist(), *y.tolist()], state["func_evals"], state["n_iter"]))
    np.testing.assert_allclose(seen[0][0], seen[1][0], rtol=1e-5)
    assert seen[0][1:] == seen[1][1:]


@pytest.mark.parametrize(
    "call",
    [
        lambda library, leaf: library.SGD([]),
        lambda library, leaf: library.SGD(leaf),
        lambda library, leaf: library.SGD([1.0]),
        lambda library, leaf: library.SGD([leaf * 2]),
        lambda library, leaf: library.SGD([leaf], lr=-1.0),
        lambda library, leaf: library.SGD([leaf], momentum=-1.0),
        lambda library, leaf: library.SGD([leaf], nesterov=True),
        lambda library, leaf: library.Adam([leaf], betas=(1.0, 0.9)),
        lambda library, leaf: library.Adam([leaf], fused=True, foreach=True),
        lambda library, leaf: library.NAdam([leaf], momentum_decay=-1.0),
        lambda library, leaf: library.RMSprop([leaf], alpha=-1.0),
        lambda library, leaf: library.Adagrad([leaf], initial_accumulator_value=-1.0),
        lambda library, leaf: library.Adadelta([leaf], rho=1.5),
        lambda library, leaf: library.Rprop([leaf], etas=(1.5, 1.2)),
        lambda library, leaf: library.Muon([leaf]),
        lambda library, leaf: library.Adafactor([leaf], d=0.5),
        lambda library, leaf: library.LBFGS([{"params": [leaf]}, {"params": [leaf + 0]}]),
        lambda library, leaf: library.SGD([("a", leaf), leaf.detach()]),
        lambda library, leaf: library.SGD([leaf]).add_param_group({"params": [leaf]}),
        lambda library, leaf: library.SGD([leaf]).load_state_dict(
            {"state": {}, "param_groups": []}
        ),
    ],
)
def test_both_refuse(call):
    kinds = []
    for library, leaf in (
        (torch.optim, torch.zeros(3, requires_grad=True)),
        (optim, dlgrad.zeros(3, requires_grad=True)),
    ):
        with pytest.raises(Exception) as caught:
            call(library, leaf)
        kinds.append(caught.type)
    assert issubclass(kinds[1], kinds[0])


def test_parameters_with_names():
    ours, theirs = nn.Linear(2, 1), torch.nn.Linear(2, 1)
    groups = [
        library.SGD(model.named_parameters(), lr=0.1).state_dict()["param_groups"]
        for library, model in ((optim, ours), (torch.optim, theirs))
    ]
    assert groups[0] == groups[1]


# Schedules --------------------------------------------------------------------------------------

STEPS = 60
SCHEDULES = {
    "StepLR": [{"step_size": 4, "gamma": 0.3}],
    "MultiStepLR": [{"milestones": [3, 9, 9, 40], "gamma": 0.5}],
    "ConstantLR": [{}, {"factor": 0.5, "total_iters": 7}],
    "LinearLR": [{}, {"start_factor": 0.2, "end_factor": 0.9, "total_iters": 30}],
    "ExponentialLR": [{"gamma": 0.9}],
    "PolynomialLR": [{}, {"total_iters": 40, "power": 2.0}],
    "CosineAnnealingLR": [{"T_max": 7, "eta_min": 0.01}, {"T_max": 60}],
    "CosineAnnealingWarmRestarts": [
        {"T_0": 5}, {"T_0": 3, "T_mult": 2, "eta_min": 0.01},
    ],
    "LambdaLR": [{"lr_lambda": lambda step: 0.9**step}],
    "MultiplicativeLR": [{"lr_lambda": lambda step: 0.99 - step / 1000}],
    "OneCycleLR": [
        {"max_lr": 0.5, "total_steps": 60},
        {"max_lr": 0.5, "epochs": 6, "steps_per_epoch": 10, "anneal_strategy": "linear",
         "pct_start": 0.4, "div_factor": 10, "final_div_factor": 100},
        {"max_lr": 0.5, "total_steps": 60, "three_phase": True, "base_momentum": 0.7},
    ],
    "CyclicLR": [
        {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 7},
        {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 4, "step_size_down": 9,
         "mode": "triangular2", "base_momentum": 0.7},
        {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 5, "mode": "exp_range", "gamma": 0.97,
         "cycle_momentum": False},
        {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 5, "cycle_momentum": False,
         "scale_fn": lambda x: 1 / (1 + x), "scale_mode": "iterations"},
    ],
}  # fmt: skip
SCHEDULE_CASES = [(name, options) for name, sets in SCHEDULES.items() for options in sets]


def rates(library, leaf, make, kind="SGD", steps=STEPS):
    """Rate and momentum before each step."""
    settings = {"lr": 0.3, "momentum": 0.9} if kind == "SGD" else {"lr": 0.3}
    groups = [{"params": [leaf]}, {"params": [leaf.detach().clone()], "lr": 0.7}]
    optimizer = getattr(library, kind)(groups, **settings)
    schedule = make(library.lr_scheduler, optimizer)
    seen = []
    for _ in range(steps):
        for group in optimizer.param_groups:
            momentum = group["momentum"] if kind == "SGD" else group["betas"][0]
            seen.append((group["lr"], momentum))
        optimizer.step()
        schedule.step()
        seen.append((schedule.get_last_lr()[0], schedule.last_epoch))
    return seen


def compare_rates(make, kind="SGD", steps=STEPS):
    ours = rates(optim, dlgrad.zeros(1, requires_grad=True), make, kind, steps)
    theirs = rates(torch.optim, torch.zeros(1, requires_grad=True), make, kind, steps)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def case_name(case):
    """The same in every process: functions without their address."""
    return re.sub(r" at 0x\w+", "", str(case))[:60]


@pytest.mark.parametrize("name, options", SCHEDULE_CASES, ids=case_name)
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_a_schedule_gives_pytorchs_rates(name, options, kind):
    compare_rates(lambda module, o: getattr(module, name)(o, **options), kind)


def test_schedules_one_after_the_other():
    compare_rates(
        lambda module, o: module.SequentialLR(
            o,
            [
                module.LinearLR(o, 0.1, 1.0, total_iters=10),
                module.CosineAnnealingLR(o, 20),
                module.ExponentialLR(o, 0.9),
            ],
            milestones=[10, 35],
        )
    )


class Chained:
    """A chain with the count of its last schedule, which PyTorch's chain does not show."""

    def __init__(self, module, optimizer, schedules):
        self.chain = module.ChainedScheduler(schedules, optimizer)
        self.last_epoch = 0
        self.step, self.get_last_lr = self.chain.step, self.chain.get_last_lr


def test_schedules_at_the_same_time():
    compare_rates(
        lambda module, o: Chained(
            module, o,
            [
                module.ConstantLR(o, 0.1, total_iters=5), module.ExponentialLR(o, 0.95),
                module.MultiStepLR(o, [20, 40], 0.5),
            ],
        )
    )  # fmt: skip


def test_every_pair_multiplies():
    """The chained forms: each schedule changes the rate that the other left."""
    names = ["StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "PolynomialLR",
             "CosineAnnealingLR", "MultiplicativeLR"]  # fmt: skip
    for first, second in itertools.combinations(names, 2):
        compare_rates(
            lambda module, o, pair=(first, second): Chained(
                module, o, [getattr(module, n)(o, **SCHEDULES[n][-1]) for n in pair]
            )
        )


@pytest.mark.parametrize(
    "options",
    [
        {}, {"patience": 2, "factor": 0.5}, {"mode": "max", "patience": 1, "cooldown": 3},
        {"patience": 1, "threshold_mode": "abs", "threshold": 0.05, "min_lr": [0.01, 0.2]},
        {"patience": 0, "factor": 0.3, "eps": 0.01},
    ],
    ids=str,
)  # fmt: skip
def test_reduce_on_plateau(options):
    rng = np.random.default_rng(0)
    figures = [float(f) for f in np.maximum(1 / (1 + np.arange(60)), 0.1) + rng.random(60) / 20]
    seen = []
    for library, leaf in (
        (optim, dlgrad.zeros(1, requires_grad=True)),
        (torch.optim, torch.zeros(1, requires_grad=True)),
    ):
        groups = [{"params": [leaf]}, {"params": [leaf.detach().clone()], "lr": 0.7}]
        schedule = library.lr_scheduler.ReduceLROnPlateau(library.SGD(groups, lr=0.3), **options)
        row = []
        for figure in figures:
            schedule.step(figure)
            row.append([*schedule.get_last_lr(), schedule.num_bad_epochs, schedule.best])
        seen.append(row)
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-9)


# Averages of weights ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mean", "ema", "multi", "buffers"])
def test_averaged_models(kind):
    results = []
    torch.manual_seed(0)
    start = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).state_dict()
    for library, layers, swa in (
        (dlgrad, nn, optim.swa_utils),
        (torch, torch.nn, torch.optim.swa_utils),
    ):
        model = layers.Sequential(layers.Linear(3, 2), layers.BatchNorm1d(2))
        model.load_state_dict({key: library.tensor(v.tolist()) for key, v in start.items()})
        settings = {
            "mean": {},
            "ema": {"avg_fn": swa.get_ema_avg_fn(0.9)},
            "multi": {"multi_avg_fn": swa.get_ema_multi_avg_fn(0.9)},
            "buffers": {"avg_fn": swa.get_swa_avg_fn(), "use_buffers": True},
        }[kind]
        averaged = swa.AveragedModel(model, **settings)
        for step in range(4):
            with library.no_grad():
                for parameter in model.parameters():
                    parameter.add_(float(step) / 10)
            model(library.ones(4, 3) * step + library.tensor([[0.0], [1.0], [2.0], [3.0]]))
            averaged.update_parameters(model)
        loader = [library.tensor([[1.0, 2.0, 3.0], [3.0, 1.0, 0.5]]), library.ones(3, 3)]
        if kind == "mean":
            swa.update_bn(loader, averaged)
        results.append({key: value.tolist() for key, value in averaged.state_dict().items()})
    assert list(results[0]) == list(results[1])
    for key, value in results[1].items():
        np.testing.assert_allclose(results[0][key], value, rtol=2e-5, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_swa_rates(strategy):
    seen = []
    for library, leaf in (
        (optim, dlgrad.zeros(1, requires_grad=True)),
        (torch.optim, torch.zeros(1, requires_grad=True)),
    ):
        optimizer = library.SGD([leaf], lr=1.0)
        schedule = library.swa_utils.SWALR(optimizer, 0.1, 6, strategy)
        row = []
        for _ in range(10):
            row.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        seen.append(row)
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-9)
