"""Convolutions, pools, interpolation, attention and dropout beside their definitions."""

from __future__ import annotations

import math

import pytest

import dlgrad
import dlgrad.nn.functional as F
from dlgrad import nn


def numbers(value):
    return value.reshape(-1).tolist()


def ramp(*shape):
    """Different numbers of both signs."""
    count = math.prod(shape)
    values = [math.sin(3.0 * i) + 0.1 * (i % 5) for i in range(count)]
    return dlgrad.tensor(values).reshape(shape)


# Convolutions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rank, settings",
    [(1, {"stride": 2, "padding": 1}), (2, {"dilation": (1, 2), "groups": 2}), (3, {"stride": 2})],
)
def test_a_transposed_convolution_is_the_adjoint(rank, settings):
    groups = settings.get("groups", 1)
    convolve, spread = getattr(F, f"conv{rank}d"), getattr(F, f"conv_transpose{rank}d")
    x, weight = ramp(2, 2, *[5] * rank), ramp(4, 2 // groups, *[3] * rank)
    y = convolve(x, weight, **settings)
    g = ramp(*y.shape)
    back = spread(g, weight, **settings)
    assert back.shape == x.shape
    assert (y * g).sum().item() == pytest.approx((x * back).sum().item(), rel=1e-4)


def test_output_padding_adds_places_at_the_end():
    x, weight = ramp(1, 1, 3), ramp(1, 1, 2)
    plain = F.conv_transpose1d(x, weight, stride=3)
    wide = F.conv_transpose1d(x, weight, stride=3, output_padding=2)
    assert tuple(wide.shape) == (1, 1, 10)
    assert numbers(wide)[:8] == numbers(plain) and numbers(wide)[8:] == [0.0, 0.0]
    values, kernel = numbers(x), numbers(weight)
    assert numbers(plain)[3:5] == pytest.approx([values[1] * k for k in kernel])


def test_unfold_is_what_a_convolution_reads():
    x, weight = ramp(1, 2, 4, 5), ramp(3, 2, 2, 3)
    columns = F.unfold(x, (2, 3), padding=1, stride=2)
    product = weight.reshape(3, -1) @ columns[0]
    direct = F.conv2d(x, weight, padding=1, stride=2)
    assert numbers(product) == pytest.approx(numbers(direct), abs=1e-5)


def test_fold_adds_what_unfold_repeats():
    ones = dlgrad.ones(1, 1, 3, 4)
    counts = F.fold(F.unfold(ones, 2), (3, 4), 2)
    assert counts.tolist() == [[[[1, 2, 2, 1], [2, 4, 4, 2], [1, 2, 2, 1]]]]


# Pools ------------------------------------------------------------------------------------------


def test_adaptive_windows():
    values = [1.0, 5.0, 2.0, 4.0, 3.0]
    x = dlgrad.tensor(values, requires_grad=True)
    windows = [values[0:2], values[1:4], values[3:5]]
    out = F.adaptive_avg_pool1d(x.reshape(1, 1, 5), 3)
    assert numbers(out) == pytest.approx([sum(w) / len(w) for w in windows])
    out.sum().backward()
    assert x.grad.tolist() == pytest.approx([1 / 2, 1 / 2 + 1 / 3, 1 / 3, 1 / 3 + 1 / 2, 1 / 2])
    best, places = F.adaptive_max_pool1d(x.detach().reshape(1, 1, 5), 3, return_indices=True)
    assert numbers(best) == [5.0, 5.0, 4.0] and numbers(places) == [1, 1, 3]
    image = ramp(1, 1, 5, 4)
    best, places = F.adaptive_max_pool2d(image, (3, 2), return_indices=True)
    assert [numbers(image)[place] for place in numbers(places)] == numbers(best)
    assert F.adaptive_avg_pool2d(image, (None, 2)).shape == (1, 1, 5, 2)


def test_power_averages():
    x = dlgrad.tensor([[1.0, 2.0, 2.0, 4.0, 3.0, 0.0]]).reshape(1, 1, 6)
    assert numbers(F.lp_pool1d(x, 2, 2)) == pytest.approx([math.sqrt(5), math.sqrt(20), 3.0])


def test_unpooling_puts_maxima_back():
    x = ramp(1, 2, 4, 4)
    values, places = F.max_pool2d(x, 2, return_indices=True)
    back = F.max_unpool2d(values, places, 2)
    kept = [a for a in numbers(back) if a != 0]
    assert sorted(kept) == sorted(numbers(values)) and back.shape == x.shape
    assert F.max_pool2d(back.abs(), 2).shape == values.shape


def test_three_dimensional_pools():
    x = dlgrad.arange(64, dtype=dlgrad.float32).reshape(1, 1, 4, 4, 4)
    assert numbers(F.max_pool3d(x, 2)) == [21, 23, 29, 31, 53, 55, 61, 63]
    assert numbers(F.avg_pool3d(x, 4)) == [31.5]
    assert numbers(F.avg_pool3d(x, 4, divisor_override=1)) == [2016.0]


def test_fractional_pools():
    """Windows at random distances: where they start follows from one number per dimension."""

    def starts(share, size, count, length):
        step = (size - length) / max(count - 1, 1)
        first = [int((i + share) * step) - int(share * step) for i in range(count - 1)]
        return [*first, size - length]

    x = dlgrad.rand(1, 2, 7, 9, dtype=dlgrad.float64)
    shares = [[[0.3, 0.8], [0.9, 0.05]]]
    samples = dlgrad.tensor(shares, dtype=dlgrad.float64)
    values, places = F.fractional_max_pool2d(
        x, (2, 3), (4, 3), return_indices=True, _random_samples=samples
    )
    expected = []
    for plane, (across, down) in zip(x[0].tolist(), shares[0], strict=True):
        for top in starts(down, 7, 4, 2):
            for left in starts(across, 9, 3, 3):
                expected.append(max(max(row[left : left + 3]) for row in plane[top : top + 2]))
    assert numbers(values) == expected
    flat = x.reshape(1, 2, 63).gather(2, places.reshape(1, 2, 12))
    assert numbers(flat) == expected
    layer = nn.FractionalMaxPool3d(2, output_ratio=(0.5, 0.5, 0.4))
    volume = dlgrad.arange(216.0).reshape(1, 6, 6, 6)
    pooled = layer(volume)
    assert pooled.shape == (1, 3, 3, 2)
    assert pooled.max().item() == 215
    assert set(numbers(pooled)) <= set(numbers(volume))
    one = F.fractional_max_pool2d(x, (7, 9), 1)
    assert numbers(one) == numbers(x.amax((2, 3)))


def test_halves_are_rounded_once():
    """The sums 2049 do not fit float16, but what is left of them after the next step does."""
    channels = dlgrad.tensor([128.0] * 16 + [1.0]).half()
    x = dlgrad.cat([channels, channels]).reshape(1, 34, 1, 1)
    bias = dlgrad.full((2,), -2000, dtype=dlgrad.float16)
    out = F.conv2d(x, dlgrad.ones(2, 17, 1, 1).half(), bias, groups=2)
    assert numbers(out) == [49, 49]
    few = dlgrad.full((1, 2, 1, 1), 683, dtype=dlgrad.float16)
    out = F.conv2d(few, dlgrad.full((2, 1, 1, 1), 3, dtype=dlgrad.float16), bias, groups=2)
    assert numbers(out) == [49, 49]
    line = dlgrad.tensor([2047, -2, -2000], dtype=dlgrad.float16)
    assert line.diff(2).tolist() == [51]
    image = dlgrad.rand(1, 1, 5, 7).half()
    pooled = F.adaptive_avg_pool2d(image, (3, 4))
    assert numbers(pooled) == numbers(F.adaptive_avg_pool2d(image.float(), (3, 4)).half())
    grid = (dlgrad.rand(1, 3, 4, 2) * 2 - 1).half()
    for mode in ("bilinear", "bicubic"):
        read = F.grid_sample(image, grid, mode, align_corners=False)
        wide = F.grid_sample(image.float(), grid.float(), mode, align_corners=False)
        assert numbers(read) == numbers(wide.half())


# Sizes ------------------------------------------------------------------------------------------


def linear_at(values, place):
    """The line through `values` at a place, constant beyond the ends."""
    place = min(max(place, 0.0), len(values) - 1.0)
    low = min(int(place), len(values) - 2)
    return values[low] + (values[low + 1] - values[low]) * (place - low)


def test_interpolation_of_a_line():
    values = [1.0, 4.0, 2.0, 5.0]
    x = dlgrad.tensor(values).reshape(1, 1, 4)

    def resized(size, **options):
        return numbers(F.interpolate(x, size, **options))

    for size in (3, 7):
        places = [(i + 0.5) * 4 / size - 0.5 for i in range(size)]
        assert resized(size, mode="linear") == pytest.approx(
            [linear_at(values, place) for place in places], rel=1e-5
        )
        places = [i * 3 / (size - 1) for i in range(size)]
        assert resized(size, mode="linear", align_corners=True) == pytest.approx(
            [linear_at(values, place) for place in places], rel=1e-5
        )
        assert resized(size) == [values[i * 4 // size] for i in range(size)]
        assert resized(size, mode="nearest-exact") == [
            values[int((i + 0.5) * 4 / size)] for i in range(size)
        ]
    assert resized(2, mode="area") == [2.5, 3.5]
    assert numbers(F.interpolate(x, scale_factor=2)) == [v for v in values for _ in range(2)]


def test_bytes_are_rounded_after_each_dimension():
    rows = [[0, 255, 10, 200], [90, 3, 77, 18], [251, 7, 130, 66]]
    image = dlgrad.tensor(rows, dtype=dlgrad.uint8).reshape(1, 1, 3, 4)

    def line(values, size):
        places = [(i + 0.5) * len(values) / size - 0.5 for i in range(size)]
        return [int(linear_at(values, place) + 0.5) for place in places]

    across = [line(row, 7) for row in rows]
    columns = [line(list(column), 5) for column in zip(*across, strict=True)]
    out = F.interpolate(image, (5, 7), mode="bilinear")
    assert out.dtype is dlgrad.uint8
    assert out[0, 0].tolist() == [list(row) for row in zip(*columns, strict=True)]
    # The cubic curves go beyond 0 and 255, where they are cut off.
    cubic = F.interpolate(image, (3, 9), mode="bicubic")[0, 0]
    assert (cubic[0, 0].item(), cubic[2, 0].item()) == (0, 255)
    beyond = F.interpolate(image.float(), (3, 9), mode="bicubic")[0, 0]
    assert beyond[0, 0].item() < -1
    assert beyond[2, 0].item() > 256


def test_cubic_interpolation_keeps_straight_lines():
    rows = [[2.0 * i - 3.0 * j for j in range(8)] for i in range(8)]
    x = dlgrad.tensor(rows).reshape(1, 1, 8, 8)
    out = F.interpolate(x, (15, 15), mode="bicubic", align_corners=True)[0, 0]
    # Away from the edge, where a place is repeated.
    assert out[7, 7].item() == pytest.approx(2.0 * 3.5 - 3.0 * 3.5, abs=1e-4)
    assert out[4, 8].item() == pytest.approx(2.0 * 2 - 3.0 * 4, abs=1e-4)


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_the_identity_grid_gives_the_image_back(align, mode):
    x = ramp(1, 2, 3, 4)
    theta = dlgrad.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    grid = F.affine_grid(theta, (1, 2, 3, 4), align_corners=align)
    out = F.grid_sample(x, grid, mode=mode, align_corners=align)
    assert numbers(out) == pytest.approx(numbers(x), abs=1e-5)


def test_what_lies_outside_of_a_grid():
    x = dlgrad.tensor([[[[1.0, 2.0, 3.0]]]])
    grid = dlgrad.tensor([[[[-3.0, 0.0], [0.0, 0.0], [1.5, 0.0]]]], requires_grad=True)

    def sampled(padding):
        return numbers(F.grid_sample(x, grid, padding_mode=padding, align_corners=True))

    assert sampled("zeros") == pytest.approx([0.0, 2.0, 1.5])
    assert sampled("border") == pytest.approx([1.0, 2.0, 3.0])
    assert sampled("reflection") == pytest.approx([3.0, 2.0, 2.5])
    F.grid_sample(x, grid, align_corners=True).sum().backward()
    assert numbers(grid.grad)[:3:2] == pytest.approx([0.0, 1.0])


def test_channels_and_pixels():
    x = dlgrad.arange(32).reshape(1, 8, 2, 2)
    wide = F.pixel_shuffle(x, 2)
    assert wide[0, 0].tolist() == [[0, 4, 1, 5], [8, 12, 9, 13], [2, 6, 3, 7], [10, 14, 11, 15]]
    assert F.pixel_unshuffle(wide, 2).tolist() == x.tolist()
    order = F.channel_shuffle(dlgrad.arange(6).reshape(1, 6, 1), 2)
    assert numbers(order) == [0, 3, 1, 4, 2, 5]


# Attention --------------------------------------------------------------------------------------


def attended(query, key, value, allowed):
    """The definition, in lists."""
    out = []
    for i, q in enumerate(query):
        scores = [
            sum(a * b for a, b in zip(q, k, strict=True)) / math.sqrt(len(q)) for k in key
        ]
        weights = [math.exp(s) if allowed(i, j) else 0.0 for j, s in enumerate(scores)]
        total = sum(weights) or 1.0
        out.append([
            sum(w * v[d] for w, v in zip(weights, value, strict=True)) / total
            for d in range(len(value[0]))
        ])  # fmt: skip
    return sum(out, [])


def test_attention():
    query, key, value = ramp(3, 4), ramp(5, 4) * 0.5, ramp(5, 2)
    lists = query.tolist(), key.tolist(), value.tolist()

    def check(found, allowed):
        assert numbers(found) == pytest.approx(attended(*lists, allowed), abs=1e-5)

    attend = F.scaled_dot_product_attention
    check(attend(query, key, value), lambda i, j: True)
    check(attend(query, key, value, is_causal=True), lambda i, j: j <= i)
    mask = dlgrad.tensor([[True, False, True, True, False], [False] * 5, [True] * 5])
    allowed = mask.tolist()
    check(attend(query, key, value, mask), lambda i, j: allowed[i][j])
    added = dlgrad.zeros(3, 5).masked_fill(~mask, -math.inf)
    check(attend(query, key, value, added), lambda i, j: allowed[i][j])


def test_grouped_heads():
    query, key = ramp(4, 3, 2), ramp(2, 5, 2)
    found = F.scaled_dot_product_attention(query, key, key, enable_gqa=True)
    for head in range(4):
        own = key[head // 2]
        alone = F.scaled_dot_product_attention(query[head], own, own)
        assert numbers(found[head]) == pytest.approx(numbers(alone), abs=1e-6)


# Dropout ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "drop, shape, alone",
    [
        (F.dropout, (50, 40), (50, 40)), (F.dropout1d, (50, 40, 3), (50, 40, 1)),
        (F.dropout2d, (50, 40, 2, 2), (50, 40, 1, 1)),
        (F.dropout3d, (50, 40, 1, 2, 2), (50, 40, 1, 1, 1)),
    ],
)  # fmt: skip
def test_dropout_of_elements_and_channels(drop, shape, alone):
    dlgrad.manual_seed(3)
    out = drop(dlgrad.ones(shape), 0.25)
    kept = out != 0
    share = kept.float().mean().item()
    assert share == pytest.approx(0.75, abs=0.05)
    assert out.max().item() == pytest.approx(4 / 3)
    first = kept[tuple(slice(0, size) for size in alone)]
    assert (kept == first).all().item()  # one decision for each channel
    assert drop(dlgrad.ones(shape), 0.25, training=False).min().item() == 1.0


def test_alpha_dropout_keeps_mean_and_variance():
    dlgrad.manual_seed(1)
    x = dlgrad.randn(300, 100)
    out = F.alpha_dropout(x, 0.3, training=True)
    assert out.mean().item() == pytest.approx(0.0, abs=0.05)
    assert out.var().item() == pytest.approx(1.0, abs=0.1)


def test_gumbel_softmax_chooses():
    dlgrad.manual_seed(2)
    logits = dlgrad.tensor([0.0, 1.0, 2.0]).expand(4000, 3).clone().requires_grad_()
    hard = F.gumbel_softmax(logits, hard=True)
    assert hard.sum(1).min().item() == pytest.approx(1.0)
    share = hard.mean(0).tolist()
    total = sum(math.exp(i) for i in range(3))
    assert share == pytest.approx([math.exp(i) / total for i in range(3)], abs=0.03)
    (hard * dlgrad.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert logits.grad.abs().sum().item() > 0


@pytest.mark.parametrize(
    "call, error, words",
    [
        (
            lambda: F.conv_transpose2d(dlgrad.zeros(1, 3, 4, 4), dlgrad.zeros(2, 1, 3, 3)),
            RuntimeError, "2 channels, but got 3",
        ),
        (
            lambda: F.conv_transpose1d(dlgrad.zeros(1, 1, 4), dlgrad.zeros(1, 1, 3), None, 2, 0, 2),
            RuntimeError, "output padding must be smaller",
        ),
        (lambda: F.fold(dlgrad.zeros(1, 4, 5), (3, 3), 2), RuntimeError, "expected size"),
        (lambda: F.unfold(dlgrad.zeros(4, 5), 2), RuntimeError, "Expected 3D or 4D"),
        (lambda: F.interpolate(dlgrad.zeros(1, 1, 4)), ValueError, "should be defined"),
        (lambda: F.interpolate(dlgrad.zeros(1, 1, 4), 2, mode="bilinear"), NotImplementedError,
         "3D input"),
        (lambda: F.interpolate(dlgrad.zeros(1, 1, 4), 2, align_corners=True), ValueError,
         "align_corners"),
        (lambda: F.interpolate(dlgrad.zeros(1, 1, 4), (2, 3)), ValueError, "spatial dimensions"),
        (lambda: F.pixel_shuffle(dlgrad.zeros(1, 3, 2, 2), 2), RuntimeError, "divisible"),
        (lambda: F.grid_sample(dlgrad.zeros(1, 1, 2, 2), dlgrad.zeros(1, 2, 2, 3)), RuntimeError,
         "last dimension"),
        (lambda: F.adaptive_avg_pool2d(dlgrad.zeros(2, 2), 1), RuntimeError, "3D or 4D"),
        (lambda: F.fractional_max_pool2d(dlgrad.zeros(2, 4, 4), 2), ValueError, "output_ratio"),
        (lambda: F.fractional_max_pool2d(dlgrad.zeros(2, 4, 4), 2, 4), RuntimeError, "too large"),
        (
            lambda: F.fractional_max_pool2d(
                dlgrad.zeros(2, 4, 4), 2, 2, _random_samples=dlgrad.zeros(1, 2, 3)
            ),
            RuntimeError, "_random_samples",
        ),
        (lambda: nn.FractionalMaxPool2d(2, 2, 0.5), ValueError, "one of output_size"),
        (lambda: nn.FractionalMaxPool2d(2, output_ratio=1.5), ValueError, "between 0 and 1"),
        (lambda: F.avg_pool2d(dlgrad.zeros(1, 4, 4), 2, divisor_override=0), RuntimeError, "zero"),
        (
            lambda: F.scaled_dot_product_attention(
                dlgrad.zeros(2, 2), dlgrad.zeros(2, 2), dlgrad.zeros(2, 2), dlgrad.zeros(2, 2),
                is_causal=True,
            ),
            RuntimeError, "attn_mask",
        ),
        (lambda: F.dropout(dlgrad.zeros(2), 1.5), ValueError, "between 0 and 1"),
        (lambda: F.dropout1d(dlgrad.zeros(2)), RuntimeError, "2D or 3D"),
        (lambda: F.prelu(dlgrad.zeros(2, 3), dlgrad.zeros(2)), RuntimeError, "channel size = 3"),
        (lambda: F.rms_norm(dlgrad.zeros(2, 3), (2,)), RuntimeError, "normalized_shape"),
        (lambda: F.group_norm(dlgrad.zeros(2, 3), 2), RuntimeError, "divisible"),
        (lambda: F.instance_norm(dlgrad.zeros(2, 3, 1)), ValueError, "spatial element"),
    ],
)  # fmt: skip
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
