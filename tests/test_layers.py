"""What layers begin with and compute, gradients in bounds, and a network that learns."""

import math

import pytest

import dlgrad
from dlgrad import nn
from dlgrad.nn import functional as F
from dlgrad.nn import init


def close(a, b, tolerance=1e-5):
    flat_a = a.reshape(-1).tolist() if isinstance(a, dlgrad.Tensor) else a
    flat_b = b.reshape(-1).tolist() if isinstance(b, dlgrad.Tensor) else b
    assert len(flat_a) == len(flat_b)
    pairs = zip(flat_a, flat_b, strict=True)
    assert all(abs(x - y) <= tolerance * max(1, abs(y)) for x, y in pairs), (flat_a, flat_b)
    return True


# First values ----------------------------------------------------------------------------------


def spread(tensor):
    values = tensor.reshape(-1).tolist()
    average = sum(values) / len(values)
    variance = sum((v - average) ** 2 for v in values) / len(values)
    return min(values), max(values), average, math.sqrt(variance)


@pytest.mark.parametrize(
    "layer, bound",
    [
        (lambda: nn.Linear(64, 500), 1 / 8),
        (lambda: nn.Conv2d(4, 500, (4, 4)), 1 / 8),
        (lambda: nn.Conv2d(8, 500, (4, 4), groups=2), 1 / 8),
    ],
)
def test_default_first_values(layer, bound):
    made = layer()
    for tensor in (made.weight, made.bias):
        low, high, average, deviation = spread(tensor)
        assert -bound <= low < -0.95 * bound and 0.95 * bound < high <= bound
        assert abs(average) < 0.1 * bound
        assert abs(deviation - bound / math.sqrt(3)) < 0.05 * bound


def test_the_seed_decides_the_first_values():
    def weights(seed):
        dlgrad.manual_seed(seed)
        return nn.Linear(3, 3).weight.tolist()

    assert weights(1) == weights(1) != weights(2)


@pytest.mark.parametrize(
    "fill, deviation",
    [
        (lambda t: init.uniform_(t, -1, 1), 1 / math.sqrt(3)),
        (lambda t: init.normal_(t, 0.0, 0.5), 0.5),
        (lambda t: init.xavier_uniform_(t, gain=2), 2 * math.sqrt(2 / 300)),
        (lambda t: init.xavier_normal_(t), math.sqrt(2 / 300)),
        (lambda t: init.kaiming_uniform_(t, nonlinearity="relu"), math.sqrt(2 / 200)),
        (lambda t: init.kaiming_normal_(t, 0, "fan_out", "relu"), math.sqrt(2 / 100)),
        (lambda t: init.kaiming_uniform_(t, a=math.sqrt(5)), math.sqrt(1 / 3 / 200)),
    ],
)
def test_init_deviations(fill, deviation):
    weight = nn.Parameter(dlgrad.zeros(100, 200))
    assert fill(weight) is weight
    _, _, average, found = spread(weight)
    assert abs(found - deviation) < 0.03 * deviation and abs(average) < 0.05 * deviation
    assert weight.requires_grad and weight.is_leaf


def test_init_constants_and_mistakes():
    weight = dlgrad.zeros(2, 3)
    assert init.ones_(weight).tolist() == [[1.0] * 3] * 2
    assert init.constant_(weight, 4).tolist() == [[4.0] * 3] * 2
    low, high, _, _ = spread(init.trunc_normal_(dlgrad.zeros(1000), std=5.0, a=-1.0, b=1.0))
    assert -1.0 <= low < -0.95 and 0.95 < high <= 1.0
    assert init.calculate_gain("leaky_relu", 1.0) == 1.0
    with pytest.raises(RuntimeError, match="2 dimensions"):
        init.kaiming_uniform_(dlgrad.zeros(3))
    with pytest.raises(ValueError, match="fan_"):
        init.kaiming_uniform_(weight, mode="in")
    with pytest.raises(ValueError, match="swish"):
        init.calculate_gain("swish")


# What layers compute ---------------------------------------------------------------------------


def test_linear():
    layer = nn.Linear(2, 3)
    layer.load_state_dict({
        "weight": dlgrad.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        "bias": dlgrad.tensor([0.5, 0.0, -1.0]),
    })  # fmt: skip
    assert layer(dlgrad.tensor([1.0, -1.0])).tolist() == [-0.5, -1.0, -2.0]
    assert tuple(layer(dlgrad.ones(4, 5, 2)).shape) == (4, 5, 3)


def test_conv2d():
    layer = nn.Conv2d(1, 1, 2, stride=2, padding=(1, 0), bias=True)
    layer.load_state_dict({
        "weight": dlgrad.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), "bias": dlgrad.tensor([10.0])
    })  # fmt: skip
    out = layer(dlgrad.arange(4, dtype=dlgrad.float32).reshape(1, 1, 2, 2))
    assert out.tolist() == [[[[14.0], [18.0]]]]
    assert tuple(nn.Conv2d(2, 4, 3, padding="same")(dlgrad.ones(1, 2, 5, 6)).shape) == (1, 4, 5, 6)
    assert tuple(nn.Conv2d(4, 6, 3, groups=2, dilation=2).weight.shape) == (6, 2, 3, 3)
    for bad in (
        {"groups": 2}, {"padding": "half"}, {"padding_mode": "mirror"}, {"kernel_size": (1, 2, 3)},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            nn.Conv2d(**{"in_channels": 3, "out_channels": 4, "kernel_size": 3, **bad})


def test_pools():
    x = dlgrad.arange(16, dtype=dlgrad.float32).reshape(1, 1, 4, 4)
    assert nn.MaxPool2d(2)(x).tolist() == [[[[5.0, 7.0], [13.0, 15.0]]]]
    assert nn.MaxPool2d(3, stride=1)(x).tolist() == [[[[10.0, 11.0], [14.0, 15.0]]]]
    assert nn.AvgPool2d(2)(x).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    values, places = nn.MaxPool2d(2, return_indices=True)(x)
    assert places.tolist() == [[[[5, 7], [13, 15]]]]


@pytest.mark.parametrize(
    "layer, value",
    [
        (nn.ReLU(), lambda x: max(x, 0)),
        (nn.Sigmoid(), lambda x: 1 / (1 + math.exp(-x))),
        (nn.Tanh(), math.tanh),
        (nn.SiLU(), lambda x: x / (1 + math.exp(-x))),
        (nn.LeakyReLU(0.2), lambda x: x if x > 0 else 0.2 * x),
        (nn.GELU(), lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2),
        (
            nn.GELU("tanh"),
            lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        ),
        (nn.Identity(1, a=2), lambda x: x),
    ],
    ids=lambda part: repr(part) if isinstance(part, nn.Module) else "value",
)
def test_activations(layer, value):
    points = [-3.0, -0.5, 0.0, 0.25, 2.0]
    assert close(layer(dlgrad.tensor(points)), [value(x) for x in points])


def test_softmax_and_flatten():
    x = dlgrad.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    total = sum(math.exp(i) for i in (1, 2, 3))
    assert close(nn.Softmax(1)(x)[0], [math.exp(i) / total for i in (1, 2, 3)])
    assert close(nn.LogSoftmax(dim=-1)(x)[1], [-math.log(3)] * 3)
    assert tuple(nn.Flatten()(dlgrad.ones(2, 3, 4)).shape) == (2, 12)
    assert tuple(nn.Flatten(0, 1)(dlgrad.ones(2, 3, 4)).shape) == (6, 4)


def test_dropout():
    layer = nn.Dropout(0.25)
    x = dlgrad.ones(10_000)
    dropped = layer(x).tolist()
    assert set(dropped) == {0.0, dlgrad.tensor(1 / 0.75).item()}
    assert 0.23 < dropped.count(0.0) / 10_000 < 0.27
    assert layer(x).tolist() != dropped
    assert layer.eval()(x).tolist() == x.tolist()
    with pytest.raises(ValueError):
        nn.Dropout(1.5)


def test_batch_norm_uses_the_batch_and_tracks_it():
    layer = nn.BatchNorm2d(2, momentum=0.5)
    x = dlgrad.tensor([[[[1.0, 3.0]], [[10.0, 10.0]]], [[[5.0, 7.0]], [[14.0, 14.0]]]])
    out = layer(x)
    spread_one = math.sqrt(5 + 1e-5)
    assert close(out[:, 0], [v / spread_one for v in (-3.0, -1.0, 1.0, 3.0)])
    assert close(layer.running_mean, [2.0, 6.0])
    assert close(layer.running_var, [0.5 + 0.5 * 20 / 3, 0.5 + 0.5 * 16 / 3])
    assert layer.num_batches_tracked.item() == 1
    layer.eval()
    other = layer(x[:1])
    deviation = math.sqrt(0.5 + 0.5 * 20 / 3 + 1e-5)
    assert close(other[0, 0], [-1.0 / deviation, 1.0 / deviation])
    assert layer.num_batches_tracked.item() == 1


def test_batch_norm_can_average_all_batches():
    layer = nn.BatchNorm1d(1, momentum=None, affine=False)
    for value in (1.0, 2.0, 6.0):
        layer(dlgrad.tensor([[value], [value + 1]]))
    assert close(layer.running_mean, [3.5])
    assert layer.weight is None and list(layer.state_dict()) == [
        "running_mean", "running_var", "num_batches_tracked",
    ]  # fmt: skip


def test_batch_norm_without_tracking_always_uses_the_batch():
    layer = nn.BatchNorm1d(1, track_running_stats=False).eval()
    assert close(layer(dlgrad.tensor([[1.0], [3.0]])), [-1.0, 1.0], 1e-4)
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_batch_norm_checks_its_input():
    with pytest.raises(RuntimeError, match=r"4-d input, got shape \(2, 3\)"):
        nn.BatchNorm2d(3)(dlgrad.ones(2, 3))
    with pytest.raises(RuntimeError, match="2-d or 3-d"):
        nn.BatchNorm1d(3)(dlgrad.ones(2, 3, 1, 1))
    with pytest.raises(RuntimeError, match="3 features.*is 4"):
        nn.BatchNorm1d(3)(dlgrad.ones(2, 4))


def test_layer_norm():
    layer = nn.LayerNorm(2)
    assert close(layer(dlgrad.tensor([[1.0, 3.0]])), [-1.0, 1.0], 1e-4)
    assert repr(layer) == "LayerNorm((2,), eps=1e-05, elementwise_affine=True, bias=True)"
    assert list(nn.LayerNorm((2, 3), bias=False).state_dict()) == ["weight"]


def test_losses():
    scores = dlgrad.tensor([[2.0, 0.0], [0.0, 1.0]])
    targets = dlgrad.tensor([0, 0])
    each = [math.log(1 + math.exp(-2)), math.log(1 + math.e)]
    assert close(nn.CrossEntropyLoss()(scores, targets).reshape(1), [sum(each) / 2])
    assert close(nn.CrossEntropyLoss(reduction="none")(scores, targets), each)
    logs = F.log_softmax(scores, 1)
    assert close(nn.NLLLoss(reduction="sum")(logs, targets).reshape(1), [sum(each)])
    a, b = dlgrad.tensor([1.0, 2.0]), dlgrad.tensor([3.0, 1.0])
    assert nn.MSELoss()(a, b).item() == 2.5 and nn.L1Loss(reduction="sum")(a, b).item() == 3.0
    binary = nn.BCEWithLogitsLoss(reduction="none")(a, dlgrad.tensor([1.0, 0.0]))
    assert close(binary, [math.log(1 + math.exp(-1)), math.log(1 + math.exp(2))])
    with pytest.raises(ValueError, match="average"):
        nn.MSELoss(reduction="average")


# Gradients in bounds ---------------------------------------------------------------------------


def test_clip_grad_norm():
    a, b = dlgrad.zeros(2, requires_grad=True), dlgrad.zeros(1, requires_grad=True)

    def reset():
        a.grad, b.grad = dlgrad.tensor([3.0, 0.0]), dlgrad.tensor([-4.0])

    reset()
    assert nn.utils.clip_grad_norm_([a, b], 1.0).item() == pytest.approx(5.0)
    assert close(a.grad, [0.6, 0.0], 1e-4) and close(b.grad, [-0.8], 1e-4)
    reset()
    nn.utils.clip_grad_norm_([a, b], 10.0)
    assert a.grad.tolist() == [3.0, 0.0]
    assert nn.utils.clip_grad_norm_([a, b], 1.0, norm_type=math.inf).item() == 4.0
    reset()
    assert nn.utils.clip_grad_norm_(a, 1.0, norm_type=1.0).item() == pytest.approx(3.0)
    a.grad = dlgrad.tensor([math.nan, 0.0])
    with pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_([a], 1.0, error_if_nonfinite=True)
    assert nn.utils.clip_grad_norm_([dlgrad.zeros(1)], 1.0).item() == 0.0


def test_clip_grad_value():
    a = dlgrad.zeros(3, requires_grad=True)
    a.grad = dlgrad.tensor([-5.0, 0.25, 5.0])
    nn.utils.clip_grad_value_([a, dlgrad.zeros(1)], 1.0)
    assert a.grad.tolist() == [-1.0, 0.25, 1.0]


# All together ----------------------------------------------------------------------------------


def test_a_small_network_learns_exclusive_or():
    dlgrad.manual_seed(0)
    x = dlgrad.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = dlgrad.tensor([0, 1, 1, 0])
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
    optimizer = dlgrad.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(150):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    assert model(x).argmax(dim=1).tolist() == y.tolist()


def test_running_statistics_move_under_jit():
    def track(wrap):
        layer = nn.BatchNorm1d(2, momentum=0.3)

        def step(x):
            return layer(x)

        wrapped = wrap(step)
        for i in range(5):
            wrapped(dlgrad.tensor([[0.0, 1.0 + i], [2.0, 5.0]]))
        return [*layer.running_mean.tolist(), *layer.running_var.tolist(),
                layer.num_batches_tracked.item()]  # fmt: skip

    assert close(track(dlgrad.jit), track(lambda function: function))
