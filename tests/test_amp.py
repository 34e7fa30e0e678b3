"""Mixed precision: which dtypes functions give, and a scaler that skips what overflowed."""

import math

import pytest
from launches import recorded

import dlgrad
import dlgrad.nn.functional as F
from dlgrad import amp, nn
from dlgrad.amp import GradScaler, autocast
from dlgrad.core.autocasting import HALF, SINGLE, WIDEST, autocasts
from dlgrad.optim import SGD, Adam

BF16, F16, F32, F64 = dlgrad.bfloat16, dlgrad.float16, dlgrad.float32, dlgrad.float64


# Autocast --------------------------------------------------------------------------------------


def dtypes_inside(dtype):
    """The dtypes of one function of each kind, of float32 and of half inputs."""
    wide, half = dlgrad.ones(2, 2), dlgrad.ones(2, 2, dtype=dtype)
    with autocast("cpu", dtype=dtype):
        return [
            (wide @ wide).dtype, F.linear(wide, half).dtype, half.exp().dtype,
            F.mse_loss(half, half).dtype, half.relu().dtype, (half + wide).dtype,
            dlgrad.dot(half[0], wide[0]).dtype, dlgrad.dot(half[0], half[0]).dtype,
        ]  # fmt: skip


@pytest.mark.parametrize("dtype", [BF16, F16], ids=str)
def test_functions_choose_their_precision(dtype):
    assert dtypes_inside(dtype) == [dtype, dtype, F32, F32, dtype, F32, F32, dtype]


def test_nothing_is_cast_outside():
    wide, half = dlgrad.ones(2, 2), dlgrad.ones(2, 2, dtype=BF16)
    with autocast("cpu"):
        pass
    assert (wide @ wide).dtype is F32 and half.exp().dtype is BF16
    assert not dlgrad.is_autocast_enabled()


def test_blocks_nest():
    x = dlgrad.ones(2, 2)
    with autocast("cpu", dtype=F16):
        with autocast("cpu", enabled=False):
            assert (x @ x).dtype is F32 and not amp.is_autocast_enabled("cpu")
        with autocast("cpu", dtype=BF16):
            assert (x @ x).dtype is BF16 and amp.get_autocast_dtype("cpu") is BF16
        with autocast("cuda", dtype=BF16):
            assert (x @ x).dtype is F16
        assert (x @ x).dtype is F16
    assert amp.get_autocast_dtype("cpu") is BF16 and amp.get_autocast_dtype("cuda") is F16


def test_a_block_of_another_device_casts_nothing():
    with autocast("cuda", dtype=F16):
        assert (dlgrad.ones(2, 2) @ dlgrad.ones(2, 2)).dtype is F32


def test_as_a_decorator_and_after_an_error():
    @autocast("cpu", dtype=F16)
    def product(x, fail=False):
        if fail:
            raise ValueError("on purpose")
        return x @ x

    assert product(dlgrad.ones(2, 2)).dtype is F16
    with pytest.raises(ValueError, match="on purpose"):
        product(dlgrad.ones(2, 2), fail=True)
    assert not dlgrad.is_autocast_enabled()


def test_float64_and_integers_stay():
    with autocast("cpu"):
        assert (dlgrad.ones(2, 2, dtype=F64) @ dlgrad.ones(2, 2, dtype=F64)).dtype is F64
        assert dlgrad.arange(3).sum().dtype is dlgrad.int64


def test_gradients_have_the_dtype_of_the_parameters():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x, y = dlgrad.ones(5, 3), dlgrad.zeros(5, dtype=dlgrad.int64)
    with autocast("cpu"):
        scores = model(x)
        loss = F.cross_entropy(scores, y)
    assert scores.dtype is BF16 and loss.dtype is F32
    loss.backward()
    exact = {name: p.grad.tolist() for name, p in model.named_parameters()}
    model.zero_grad()
    F.cross_entropy(model(x), y).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.dtype is F32
        flat = dlgrad.tensor(exact[name]) - parameter.grad
        assert flat.abs().max().item() < 0.02


def test_a_weight_is_cast_once_in_a_block_and_anew_after_a_write():
    weight = dlgrad.full((2, 2), 3.0).requires_grad_()
    with autocast("cpu"):
        first, second = (F.linear(dlgrad.ones(1, 2), weight) for _ in range(2))
        casts = [out.grad_fn.next_functions[1][0] for out in (first, second)]
        with dlgrad.no_grad():
            weight.fill_(1.0)
        third = F.linear(dlgrad.ones(1, 2), weight)
    assert [t.tolist() for t in (first, second, third)] == [[[6.0, 6.0]]] * 2 + [[[2.0, 2.0]]]
    assert casts[0].name().startswith("ToCopy") and casts[0] is casts[1]


def test_every_row_of_the_table_has_its_function():
    found = set()
    for name in HALF | SINGLE | WIDEST:
        holders = (dlgrad, F, dlgrad.linalg, dlgrad.Tensor)
        functions = [getattr(holder, name, None) for holder in holders]
        if any(getattr(f, "__wrapped__", None) is not None for f in functions):
            found.add(name)
    assert found == HALF | SINGLE | WIDEST
    assert not (HALF & SINGLE) and not (HALF & WIDEST) and not (SINGLE & WIDEST)


def test_a_function_without_a_row_is_a_mistake():
    with pytest.raises(LookupError, match="nameless"):

        @autocasts
        def nameless(x):
            return x


def test_bad_blocks():
    with pytest.raises(RuntimeError, match="unsupported autocast device_type 'abacus'"):
        autocast("abacus")
    with pytest.raises(ValueError, match="of type `str`"):
        autocast(1)
    with pytest.warns(UserWarning, match="Disabling autocast"), autocast("cpu", dtype=F32):
        assert not dlgrad.is_autocast_enabled()


def test_under_jit():
    weight = dlgrad.full((2, 2), 0.1).requires_grad_()

    @dlgrad.jit
    def step(x):
        with autocast("cpu"):
            return F.linear(x, weight).sum()

    results = [step(dlgrad.full((1, 2), float(i))).item() for i in range(4)]
    tenth = dlgrad.tensor(0.1).bfloat16().item()
    assert results == pytest.approx([4 * i * tenth for i in range(4)], rel=1e-2)


# The scaler ------------------------------------------------------------------------------------


def leaf(value=1.0):
    return dlgrad.full((2,), value).requires_grad_()


def take_step(scaler, optimizer, param, gradient):
    """One step on a loss whose gradient is `gradient` everywhere."""
    optimizer.zero_grad()
    scaler.scale((param * gradient).sum()).backward()
    scaler.step(optimizer)
    scaler.update()


def test_the_scale_leaves_the_step_as_it_is():
    a, b = leaf(), leaf()
    scaler, plain, scaled = GradScaler(), SGD([a], lr=0.5), SGD([b], lr=0.5)
    (a * 0.25).sum().backward()
    plain.step()
    take_step(scaler, scaled, b, 0.25)
    assert a.tolist() == b.tolist() == [0.875, 0.875]


def test_a_step_that_overflowed_changes_nothing_and_is_not_counted():
    a, b = leaf(), leaf()
    scaler = GradScaler(init_scale=4.0, growth_interval=3)
    skipping, plain = Adam([a], lr=0.1), Adam([b], lr=0.1)
    for gradient in (0.5, math.inf, 0.25, math.nan, 0.125):
        take_step(scaler, skipping, a, gradient)
        if math.isfinite(gradient):
            plain.zero_grad()
            (b * gradient).sum().backward()
            plain.step()
        assert a.tolist() == pytest.approx(b.tolist(), rel=1e-6)
    ours, theirs = skipping.state_dict()["state"][0], plain.state_dict()["state"][0]
    assert ours["step"].item() == theirs["step"].item() == 3
    assert ours["exp_avg"].tolist() == pytest.approx(theirs["exp_avg"].tolist(), rel=1e-6)


def test_the_scale_moves():
    param = leaf()
    scaler = GradScaler(init_scale=8.0, growth_factor=3.0, backoff_factor=0.5, growth_interval=2)
    optimizer = SGD([param], lr=0.0)
    seen = []
    for gradient in (1.0, 1.0, 1.0, math.inf, 1.0, 1.0, 1.0):
        take_step(scaler, optimizer, param, gradient)
        seen.append((scaler.get_scale(), scaler.state_dict()["_growth_tracker"]))
    assert seen == [
        (8.0, 1), (24.0, 0), (24.0, 1), (12.0, 0), (12.0, 1), (36.0, 0), (36.0, 1)
    ]  # fmt: skip
    scaler.update(5.0)
    assert scaler.get_scale() == 5.0


def test_unscaled_gradients_can_be_clipped():
    param = leaf()
    scaler, optimizer = GradScaler(), SGD([param], lr=1.0)
    scaler.scale((param * 3.0).sum()).backward()
    scaler.unscale_(optimizer)
    assert param.grad.tolist() == [3.0, 3.0]
    nn.utils.clip_grad_norm_([param], 1.0)
    scaler.step(optimizer)
    scaler.update()
    assert param.tolist() == pytest.approx([1 - math.sqrt(0.5)] * 2, rel=1e-5)


def test_a_step_waits_for_no_value():
    """All of it is one evaluation: the check, the update, and nothing in between."""
    param, other = leaf(), leaf()
    scaler, optimizer = GradScaler(), Adam([param, other], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        scaler.scale((param * other).sum()).backward()
        with recorded() as seen:
            scaler.step(optimizer)
            scaler.update()
    assert len(seen.runs) == 1


@pytest.mark.parametrize(
    "make", [lambda p: SGD(p, lr=0.1, momentum=0.9), lambda p: Adam(p, lr=0.1)], ids=["SGD", "Adam"]
)
def test_a_captured_step_skips_as_the_plain_one_does(make):
    def train(wrap):
        param = leaf()
        scaler, optimizer = GradScaler(init_scale=4.0, growth_interval=2), make([param])

        def step(gradient):
            take_step(scaler, optimizer, param, gradient)

        step = wrap(step)
        seen = []
        for value in (1.0, 0.5, math.inf, 2.0, math.nan, 1.0, 0.5):
            step(dlgrad.tensor(value))
            seen.append([*param.tolist(), scaler.get_scale()])
        return seen, optimizer.state_dict()["state"][0]

    plain, captured = train(lambda step: step), train(dlgrad.jit)
    assert len(plain[0]) == len(captured[0])
    for a, b in zip(plain[0], captured[0], strict=True):
        assert a == pytest.approx(b, rel=1e-6)
    if "step" in plain[1]:
        assert plain[1]["step"].item() == captured[1]["step"].item() == 5


def test_an_optimizer_with_a_step_of_its_own():
    calls = []

    class Plain(dlgrad.optim.Optimizer):
        def step(self, closure=None):
            calls.append(1)
            return "done"

    param = leaf()
    scaler, optimizer = GradScaler(), Plain([param], {"lr": 0.1})
    results = []
    for gradient in (1.0, math.inf):
        optimizer.zero_grad()
        scaler.scale((param * gradient).sum()).backward()
        results.append(scaler.step(optimizer))
        scaler.update()
    assert results == ["done", None] and len(calls) == 1


def test_two_optimizers_share_a_scaler():
    a, b = leaf(), leaf()
    scaler = GradScaler(init_scale=4.0)
    first, second = SGD([a], lr=1.0), SGD([b], lr=1.0)
    losses = scaler.scale([(a * 1.0).sum(), (b * math.inf).sum()])
    for loss in losses:
        loss.backward()
    scaler.step(first)
    scaler.step(second)
    scaler.update()
    assert a.tolist() == [0.0, 0.0] and b.tolist() == [1.0, 1.0]
    assert scaler.get_scale() == 2.0


def test_a_scaler_goes_on_from_its_state():
    param = leaf()
    scaler, optimizer = GradScaler(init_scale=8.0, growth_interval=3), SGD([param], lr=0.0)
    for _ in range(2):
        take_step(scaler, optimizer, param, 1.0)
    for used in (False, True):
        again = GradScaler()
        if used:
            take_step(again, optimizer, param, 1.0)
        again.load_state_dict(scaler.state_dict())
        take_step(again, optimizer, param, 1.0)
        assert again.get_scale() == 16.0


def test_a_scaler_that_is_not_enabled_does_nothing():
    param = leaf()
    scaler, optimizer = GradScaler(enabled=False), SGD([param], lr=1.0)
    take_step(scaler, optimizer, param, 0.5)
    assert param.tolist() == [0.5, 0.5]
    assert scaler.get_scale() == 1.0 and scaler.state_dict() == {} and not scaler.is_enabled()


def unscale_twice(scaler, optimizer):
    scaler.unscale_(optimizer)
    scaler.unscale_(optimizer)


def step_twice(scaler, optimizer):
    scaler.step(optimizer)
    scaler.step(optimizer)


def unscale_late(scaler, optimizer):
    scaler.step(optimizer)
    scaler.unscale_(optimizer)


@pytest.mark.parametrize(
    "act, error, words",
    [
        (unscale_twice, RuntimeError, "already been called"),
        (step_twice, RuntimeError, "already been called"),
        (unscale_late, RuntimeError, "after step"),
        (lambda s, o: s.step(o, lambda: 0), RuntimeError, "Closure"),
        (lambda s, o: s.update(), AssertionError, "No inf checks"),
        (lambda s, o: (o.zero_grad(), s.step(o)), AssertionError, "No inf checks"),
        (lambda s, o: s.scale("loss"), ValueError, "Tensor"),
        (lambda s, o: s.load_state_dict({}), RuntimeError, "empty"),
        (lambda s, o: GradScaler(growth_factor=1.0), ValueError, "growth"),
        (lambda s, o: GradScaler(backoff_factor=1.0), ValueError, "backoff"),
        (lambda s, o: GradScaler().update(), AssertionError, "scale"),
    ],
)
def test_wrong_orders_are_refused(act, error, words):
    param = leaf()
    scaler, optimizer = GradScaler(), SGD([param], lr=0.1)
    scaler.scale(param.sum()).backward()
    with pytest.raises(error, match=words):
        act(scaler, optimizer)


def test_half_gradients_are_refused():
    param = dlgrad.ones(2, dtype=F16).requires_grad_()
    scaler, optimizer = GradScaler(init_scale=2.0), SGD([param], lr=0.1)
    scaler.scale(param.sum()).backward()
    with pytest.raises(ValueError, match="FP16"):
        scaler.step(optimizer)


# Gradient accumulation -------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True], ids=["float32", "autocast"])
def test_accumulation_under_jit(half):
    """Four small batches give the steps of one large one, plain and captured."""
    dlgrad.manual_seed(5)
    data = [dlgrad.randn(8, 3).realize() for _ in range(5)]

    def train(parts, wrap):
        dlgrad.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = Adam(model.parameters(), lr=0.1)
        scaler = GradScaler(init_scale=16.0, enabled=half)

        def step(x):
            optimizer.zero_grad()
            for part in x.chunk(parts):
                with autocast("cpu", enabled=half):
                    loss = (model(part) ** 2).mean() / parts
                scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()

        step = wrap(step)
        for x in data:
            step(x)
        return [*model.weight.flatten().tolist(), *model.bias.tolist()]

    def plainly(step):
        return step

    whole, plain, captured = train(1, plainly), train(4, plainly), train(4, dlgrad.jit)
    assert plain == pytest.approx(captured, rel=1e-6)
    assert plain == pytest.approx(whole, rel=2e-2 if half else 1e-4, abs=2e-2 if half else 1e-6)


def test_accumulation_over_calls_under_jit():
    """Gradients add up from call to call; another captured function takes the step."""

    def train(wrap):
        dlgrad.manual_seed(0)
        model = nn.Linear(3, 1)
        optimizer = SGD(model.parameters(), lr=0.1)

        def add(x):
            (model(x) ** 2).mean().backward()

        def apply():
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)

        add, apply = wrap(add), wrap(apply)
        dlgrad.manual_seed(7)
        for _ in range(5):
            for _ in range(3):
                add(dlgrad.randn(4, 3))
            apply()
        return [*model.weight.flatten().tolist(), *model.bias.tolist()]

    assert train(lambda f: f) == pytest.approx(train(dlgrad.jit), rel=1e-5)
