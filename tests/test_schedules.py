"""Schedules against closed forms, alone and combined; averages of weights."""

import math

import pytest

import dlgrad
from dlgrad import nn
from dlgrad.optim import SGD, Adam
from dlgrad.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from dlgrad.optim.swa_utils import SWALR, AveragedModel, get_ema_avg_fn, update_bn


def leaf(*shape):
    return dlgrad.zeros(*shape, requires_grad=True)


def rates(make, steps, optimizer=None):
    optimizer = optimizer or SGD([leaf(1)], lr=1.0)
    schedule = make(optimizer)
    seen = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        schedule.step()
        seen.append(optimizer.param_groups[0]["lr"])
    assert schedule.get_last_lr() == [seen[-1]]
    return seen


def assert_rates(make, wanted):
    assert rates(make, len(wanted) - 1) == pytest.approx(wanted, abs=1e-12)


def test_step_lr():
    assert_rates(lambda o: StepLR(o, 2, gamma=0.5), [1, 1, 0.5, 0.5, 0.25])


def test_multi_step_lr():
    assert_rates(lambda o: MultiStepLR(o, [3, 1, 3], gamma=0.1), [1, 0.1, 0.1, 0.001, 0.001])


def test_exponential_lr():
    assert_rates(lambda o: ExponentialLR(o, 0.9), [0.9**i for i in range(5)])


def test_lambda_lr():
    assert_rates(lambda o: LambdaLR(o, lambda step: 1 / (1 + step)), [1, 1 / 2, 1 / 3])


def test_linear_lr():
    assert_rates(lambda o: LinearLR(o, 0.5, 1.0, 4), [0.5, 0.625, 0.75, 0.875, 1.0, 1.0])


def test_cosine_lr_goes_down_and_up_again():
    wanted = [0.1 + 0.9 * (1 + math.cos(math.pi * i / 4)) / 2 for i in range(14)]
    assert_rates(lambda o: CosineAnnealingLR(o, 4, eta_min=0.1), wanted)


def test_one_cycle_rises_and_falls():
    found = rates(lambda o: OneCycleLR(o, 1.0, total_steps=11, cycle_momentum=False), 10)
    assert found[0] == pytest.approx(0.04) and found[-1] == pytest.approx(0.04 / 1e4)
    top = found.index(max(found))
    assert found[:top] == sorted(found[:top]) and found[top:] == sorted(found[top:], reverse=True)
    linear = rates(
        lambda o: OneCycleLR(o, 1.0, total_steps=11, pct_start=3 / 11, anneal_strategy="linear",
                             cycle_momentum=False), 10
    )  # fmt: skip
    assert linear[:3] == pytest.approx([0.04, 0.52, 1.0])
    assert linear[6] == pytest.approx((1.0 + 0.04 / 1e4) / 2)


def test_one_cycle_moves_momentum_the_other_way():
    for optimizer, read in (
        (SGD([leaf(1)], lr=1.0, momentum=0.9), lambda group: group["momentum"]),
        (Adam([leaf(1)]), lambda group: group["betas"][0]),
    ):
        schedule = OneCycleLR(optimizer, 1.0, total_steps=10)
        group = optimizer.param_groups[0]
        seen = [read(group)]
        for _ in range(9):
            schedule.step()
            seen.append(read(group))
        assert seen[0] == seen[-1] == 0.95
        assert min(seen) == pytest.approx(0.85)


def test_one_cycle_ends_loudly():
    optimizer = SGD([leaf(1)], lr=1.0, momentum=0.9)
    schedule = OneCycleLR(optimizer, 1.0, total_steps=3)
    for _ in range(3):
        schedule.step()
    with pytest.raises(ValueError, match="made for 3 steps"):
        schedule.step()


def test_two_schedules_multiply():
    optimizer = SGD([leaf(1)], lr=1.0)
    first, second = LinearLR(optimizer, 0.5, 1.0, 2), ExponentialLR(optimizer, 0.5)
    for _ in range(3):
        first.step()
        second.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.125)


def test_a_schedule_goes_on_from_its_state():
    whole = rates(lambda o: CosineAnnealingLR(o, 5), 8)
    optimizer = SGD([leaf(1)], lr=1.0)
    schedule = CosineAnnealingLR(optimizer, 5)
    for _ in range(3):
        schedule.step()
    saved = schedule.state_dict(), optimizer.state_dict()
    optimizer = SGD([leaf(1)], lr=9.0)
    schedule = CosineAnnealingLR(optimizer, 5)
    schedule.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    for wanted in whole[4:]:
        schedule.step()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(wanted)


@pytest.mark.parametrize(
    "make, error",
    [
        (lambda o: StepLR(o, 0), ValueError),
        (lambda o: CosineAnnealingLR(o, 0), ValueError),
        (lambda o: LinearLR(o, start_factor=0), ValueError),
        (lambda o: OneCycleLR(o, 1.0), ValueError),
        (lambda o: OneCycleLR(o, [1.0, 2.0], total_steps=5, cycle_momentum=False), ValueError),
        (lambda o: OneCycleLR(o, 1.0, total_steps=5, anneal_strategy="x"), ValueError),
        (lambda o: OneCycleLR(o, 1.0, total_steps=5, pct_start=2), ValueError),
        (lambda o: LambdaLR(o, []), ValueError),
        (lambda o: StepLR(o.param_groups, 1), TypeError),
        (lambda o: StepLR(o, 1, last_epoch=3), KeyError),
    ],
)
def test_bad_schedules_are_refused(make, error):
    with pytest.raises(error):
        make(SGD([leaf(1)], lr=1.0, momentum=0.9))


def test_constant_lr():
    assert_rates(lambda o: ConstantLR(o, 0.5, 2), [0.5, 0.5, 1, 1])


def test_polynomial_lr():
    wanted = [(1 - i / 4) ** 2 for i in range(5)] + [0, 0]
    assert_rates(lambda o: PolynomialLR(o, 4, power=2.0), wanted)


def test_multiplicative_lr():
    assert_rates(lambda o: MultiplicativeLR(o, lambda step: 1 / step), [1, 1, 1 / 2, 1 / 6])


def test_warm_restarts_grow():
    wave = [(1 + math.cos(math.pi * i / 2)) / 2 for i in range(2)]
    longer = [(1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)]
    assert_rates(lambda o: CosineAnnealingWarmRestarts(o, 2, T_mult=2), [*wave, *longer, 1.0])


def test_warm_restarts_take_a_broken_step():
    optimizer = SGD([leaf(1)], lr=1.0)
    schedule = CosineAnnealingWarmRestarts(optimizer, 4)
    schedule.step(5.5)
    assert schedule.last_epoch == 5
    wanted = (1 + math.cos(math.pi * 1.5 / 4)) / 2
    assert optimizer.param_groups[0]["lr"] == pytest.approx(wanted)


def test_cycles():
    up_and_down = [0.1, 0.4, 0.7, 1.0, 0.55, 0.1, 0.4]
    assert_rates(
        lambda o: CyclicLR(o, 0.1, 1.0, 3, step_size_down=2, cycle_momentum=False), up_and_down
    )
    halves = [0.0, 1.0, 0.0, 0.5, 0.0, 0.25]
    assert_rates(
        lambda o: CyclicLR(o, 0.0, 1.0, 1, mode="triangular2", cycle_momentum=False), halves
    )


def test_one_schedule_after_the_other():
    def make(optimizer):
        parts = [ConstantLR(optimizer, 0.1, 9), StepLR(optimizer, 2, 0.5), LinearLR(optimizer)]
        return SequentialLR(optimizer, parts, milestones=[2, 5])

    assert_rates(make, [0.1, 0.1, 1, 1, 0.5, 1 / 3, 1 / 3 + 2 / 15])


def test_schedules_at_once():
    def make(optimizer):
        return ChainedScheduler([ConstantLR(optimizer, 0.1, 2), ExponentialLR(optimizer, 0.5)])

    assert_rates(make, [0.1, 0.05, 0.25, 0.125])


def test_a_chain_in_a_sequence():
    def make(optimizer):
        chain = ChainedScheduler([LinearLR(optimizer, 0.5, 1.0, 2), ExponentialLR(optimizer, 0.5)])
        return SequentialLR(optimizer, [ConstantLR(optimizer, 1.0), chain], milestones=[2])

    assert_rates(make, [1, 1, 0.5, 0.375, 0.25, 0.125])


@pytest.mark.parametrize(
    "make",
    [
        lambda o: SequentialLR(o, [ConstantLR(o, 0.1, 9), ExponentialLR(o, 0.5)], [3]),
        lambda o: ChainedScheduler([ConstantLR(o, 0.1, 5), ExponentialLR(o, 0.5)]),
        lambda o: CyclicLR(o, 0.1, 1.0, 3, cycle_momentum=False),
        lambda o: CosineAnnealingWarmRestarts(o, 3),
    ],
    ids=["sequence", "chain", "cycle", "restarts"],
)
def test_combined_schedules_go_on_from_their_state(make):
    whole = rates(make, 8)
    optimizer = SGD([leaf(1)], lr=1.0)
    schedule = make(optimizer)
    for _ in range(2):
        schedule.step()
    saved = schedule.state_dict(), optimizer.state_dict()
    optimizer = SGD([leaf(1)], lr=1.0)
    schedule = make(optimizer)
    schedule.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    for wanted in whole[3:]:
        schedule.step()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(wanted)


def test_a_plateau_lowers_the_rate():
    optimizer = SGD([leaf(1)], lr=1.0)
    schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=1, cooldown=1, threshold=0.1)
    seen = []
    for figure in (1.0, 0.95, 0.93, 0.92, 0.91, 0.5, dlgrad.tensor(0.6), 0.6):
        schedule.step(figure)
        seen.append(optimizer.param_groups[0]["lr"])
    # 0.95 is not better by a tenth; after the second such figure the rate falls, and the next
    # figure does not count.
    assert seen == [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]


def test_a_schedule_of_ones_own():
    class Inverse(LRScheduler):
        def get_lr(self):
            return [base / (1 + self.last_epoch) for base in self.base_lrs]

    assert_rates(Inverse, [1, 1 / 2, 1 / 3])


def test_a_captured_sequence_moves_on():
    def train(wrap):
        x = dlgrad.ones(2).requires_grad_()
        optimizer = SGD([x], lr=1.0)
        parts = [LinearLR(optimizer, 0.1, 1.0, 3), ExponentialLR(optimizer, 0.5)]
        schedule = SequentialLR(optimizer, parts, [3])

        def step():
            optimizer.zero_grad()
            x.sum().backward()
            optimizer.step()
            schedule.step()

        step = wrap(step)
        seen = []
        for _ in range(6):
            step()
            seen.append(x.tolist())
        return seen

    assert train(dlgrad.jit) == train(lambda step: step)


@pytest.mark.parametrize(
    "make, error",
    [
        (lambda o: SequentialLR(o, [], []), ValueError),
        (lambda o: SequentialLR(o, [StepLR(o, 1)], [3]), ValueError),
        (lambda o: SequentialLR(o, [1], []), TypeError),
        (lambda o: ChainedScheduler([]), ValueError),
        (lambda o: ChainedScheduler([ReduceLROnPlateau(o)]), ValueError),
        (lambda o: ChainedScheduler([StepLR(o, 1), StepLR(SGD([leaf(1)]), 1)]), ValueError),
        (lambda o: ReduceLROnPlateau(o, factor=1.0), ValueError),
        (lambda o: ReduceLROnPlateau(o, mode="least"), ValueError),
        (lambda o: ReduceLROnPlateau(o, threshold_mode="least"), ValueError),
        (lambda o: CyclicLR(o, 0.1, 1.0, mode="square"), ValueError),
        (lambda o: CyclicLR(o, 0.1, [1.0, 2.0], cycle_momentum=False), ValueError),
        (lambda o: CosineAnnealingWarmRestarts(o, 0), ValueError),
        (lambda o: CosineAnnealingWarmRestarts(o, 2).step(-1), ValueError),
        (lambda o: ConstantLR(o, factor=2.0), ValueError),
        (lambda o: SWALR(o, 0.1, anneal_strategy="steps"), ValueError),
    ],
)
def test_bad_combinations_are_refused(make, error):
    with pytest.raises(error):
        make(SGD([leaf(1)], lr=1.0, momentum=0.9))


# Averages of weights ---------------------------------------------------------------------------


def filled(value):
    model = nn.Linear(2, 1)
    with dlgrad.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model


def test_the_average_is_the_mean_of_all_weights():
    model = filled(100.0)
    averaged = AveragedModel(model)
    for value in (1.0, 2.0, 6.0):
        averaged.update_parameters(filled(value))
    assert averaged.module.bias.item() == pytest.approx(3.0)
    assert averaged.n_averaged.item() == 3 and model.bias.item() == 100.0
    assert averaged(dlgrad.ones(1, 2)).item() == pytest.approx(9.0)


def test_an_exponential_average():
    averaged = AveragedModel(filled(0.0), avg_fn=get_ema_avg_fn(0.9))
    for value in (1.0, 2.0):
        averaged.update_parameters(filled(value))
    assert averaged.module.bias.item() == pytest.approx(1.1)


def test_an_average_under_jit():
    def train(wrap):
        dlgrad.manual_seed(0)
        model = nn.Linear(2, 1)
        averaged, optimizer = AveragedModel(model), SGD(model.parameters(), lr=0.1)

        def step(x):
            optimizer.zero_grad()
            (model(x) ** 2).sum().backward()
            optimizer.step()
            averaged.update_parameters(model)

        step = wrap(step)
        for i in range(5):
            step(dlgrad.full((3, 2), 0.1 * i))
        return [*averaged.module.weight.flatten().tolist(), averaged.n_averaged.item()]

    assert train(dlgrad.jit) == pytest.approx(train(lambda step: step), rel=1e-6)


def test_statistics_are_measured_anew():
    model = nn.Sequential(nn.BatchNorm1d(1))
    model(dlgrad.full((4, 1), 100.0))
    batches = [dlgrad.tensor([[1.0], [3.0]]), (dlgrad.tensor([[5.0], [7.0]]), "a label")]
    update_bn(batches, model.eval())
    assert model[0].running_mean.item() == pytest.approx(4.0)
    assert model[0].running_var.item() == pytest.approx(2.0)
    assert model[0].momentum == 0.1 and not model.training


def test_averages_refuse_two_functions():
    with pytest.raises(ValueError, match="Only one"):
        AveragedModel(filled(0.0), avg_fn=get_ema_avg_fn(), multi_avg_fn=lambda a, b, n: None)
    with pytest.raises(ValueError, match="decay"):
        get_ema_avg_fn(1.5)


def test_swa_rates():
    assert_rates(lambda o: SWALR(o, 0.2, 4, "linear"), [1, 0.8, 0.6, 0.4, 0.2, 0.2])
