"""The forms of kernels that are there for speed: tiles, kept values, wide columns, few stores."""

from __future__ import annotations

import math

import pytest
from launches import recorded

import dlgrad
import dlgrad.nn.functional as F
from dlgrad import config
from dlgrad.codegen import lower_space, lower_tiles
from dlgrad.runtime import engine

TRANSPOSED = [
    ((70, 130), (1, 0)),
    ((3, 100, 67), (0, 2, 1)),
    ((5, 80, 3, 96), (2, 3, 0, 1)),
    ((80, 3, 96), (2, 1, 0)),
]


def source(launch) -> str:
    """The C text of a launched kernel."""
    with open(launch.program.source_path, encoding="utf-8") as file:
        return file.read()


def counting(shape):
    return dlgrad.arange(math.prod(shape)).reshape(shape).float().realize()


def permuted(shape, order):
    """The row-major numbers of a block of `shape`, in the order of its permutation."""
    places = [0]
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    for dim in order:
        places = [place + i * strides[dim] for place in places for i in range(shape[dim])]
    return places


# Tiles ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "order"), TRANSPOSED)
def test_reads_across_the_results_go_in_tiles(shape, order):
    x, expected = counting(shape), permuted(shape, order)
    with recorded() as seen:
        turned = x.permute(*order).contiguous().realize()
        mixed = (x.permute(*order) * 2 + counting(turned.shape)).realize()
    assert all("x_block[256]" in source(launch) for launch in (seen.launches[0], seen.launches[-1]))
    assert turned.flatten().tolist() == expected
    assert mixed.flatten().tolist() == [2 * place + i for i, place in enumerate(expected)]


def test_tiles_of_other_types_and_of_two_inputs():
    x = counting((90, 70))
    expected = permuted((90, 70), (1, 0))
    with recorded() as seen:
        odd = (x % 2 == 1).realize().T.contiguous().realize()
        both = (x.T - (x * 3).realize().T).realize()
    assert sum("_block[256]" in source(launch) for launch in seen.launches) == 2
    assert odd.flatten().tolist() == [place % 2 == 1 for place in expected]
    assert both.flatten().tolist() == [-2 * place for place in expected]


def test_where_tiles_would_not_pay():
    for expression in (lambda x: x + 1, lambda x: x[:40].T + 1, lambda x: x.T.sum(1)):
        x = counting((100, 100))
        with recorded() as seen:
            expression(x).realize()
        assert not any("_block[256]" in source(launch) for launch in seen.launches)
    with config.OPT(0), recorded() as seen:
        counting((100, 100)).T.contiguous().realize()
    assert not any("_block[256]" in source(launch) for launch in seen.launches)


# Values that are kept for a later pass --------------------------------------------------------


def softmax_rows(rows):
    result = []
    for row in rows:
        powers = [math.exp(x - max(row)) for x in row]
        result.append([p / sum(powers) for p in powers])
    return result


@pytest.mark.parametrize("dim", [0, 1])
def test_softmax_computes_each_exponential_once(dim):
    x = (counting((37, 41)) * 0.7).sin()
    x.realize()
    rows = x.tolist() if dim else x.T.tolist()
    with recorded() as seen:
        y = F.softmax(x, dim=dim).realize()
    assert len(seen.launches) == 1
    text = source(seen.launches[0])
    assert text.count("dg_exp_f32(") == 2  # its definition, and one use
    found = y.tolist() if dim else y.T.tolist()
    for row, expected in zip(found, softmax_rows(rows), strict=True):
        assert row == pytest.approx(expected, rel=1e-5)


def test_softmax_in_its_own_memory():
    """A result that overwrites what the row still needs is no place to keep anything."""
    x = (counting((20, 50)) * 0.3).cos().realize()
    expected = softmax_rows(x.tolist())
    x.copy_(F.softmax(x, dim=1) + 0 * x)
    for row, wanted in zip(x.tolist(), expected, strict=True):
        assert row == pytest.approx(wanted, rel=1e-5)


def test_the_gradient_of_softmax_reads_what_it_wrote():
    rows = [[0.5, -1.0, 2.0, 0.25] * 8, [1.5, 1.0, -2.0, 0.0] * 8]
    weights = [[0.1 * i for i in range(32)], [0.2 * i - 1 for i in range(32)]]
    x = dlgrad.tensor(rows, requires_grad=True)
    y = F.softmax(x, dim=1)
    y.backward(dlgrad.tensor(weights))
    with recorded() as seen:
        x.grad.realize(y)
    assert sum(source(launch).count("dg_exp_f32(") for launch in seen.launches) == 2
    for given, out, gradient in zip(weights, softmax_rows(rows), x.grad.tolist(), strict=True):
        mean = sum(g * p for g, p in zip(given, out, strict=True))
        assert gradient == pytest.approx(
            [p * (g - mean) for g, p in zip(given, out, strict=True)], rel=1e-4, abs=1e-6
        )


# Columns --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(300, 1100), (4096, 70), (9, 1024), (64, 300), (5, 40, 260)])
def test_sums_over_rows(shape):
    dim = len(shape) - 2
    x = (counting(shape) % 13).realize()
    values = x.tolist()
    blocks = values if len(shape) == 3 else [values]
    expected = [[sum(column) for column in zip(*block, strict=True)] for block in blocks]
    result = x.sum(dim).tolist()
    assert (result if len(shape) == 3 else [result]) == expected


def test_wide_columns_are_shared_out_by_rows():
    x = counting((2048, 1024))
    with recorded() as seen:
        x.sum(0).realize()
    assert [("sum[1024]" in source(launch)) for launch in seen.launches][0]
    assert seen.launches[0].work >= 8


# What is stored for the way back --------------------------------------------------------------


def test_the_way_back_recomputes_what_is_cheap():
    """gelu keeps its input and its tanh; the other values on the way follow from these."""
    a, b = counting((24, 16)) * 0.01, counting((16, 40)) * 0.001 - 0.3
    a = a.realize().requires_grad_()
    b = b.realize().requires_grad_()
    y = F.gelu(a @ b, approximate="tanh")
    y.sum().backward()
    with recorded() as seen:
        a.grad.realize(b.grad, y.detach())
    forward = next(launch for launch in seen.launches if "matmul" in launch.note)
    assert sum(forward.outputs) <= 3
    with config.OPT(0):
        c, d = a.detach().requires_grad_(), b.detach().requires_grad_()
        F.gelu(c @ d, approximate="tanh").sum().backward()
        plain = [c.grad.tolist(), d.grad.tolist()]
    for gradient, expected in zip((a.grad, b.grad), plain, strict=True):
        for row, wanted in zip(gradient.tolist(), expected, strict=True):
            assert row == pytest.approx(wanted, rel=1e-4, abs=1e-5)


# Convolutions of a few products ---------------------------------------------------------------


def test_a_depthwise_convolution_is_no_matmul():
    x = counting((2, 3, 6, 7)) % 5
    w = counting((6, 1, 3, 3)) % 7 - 3
    with recorded() as seen:
        y = F.conv2d(x, w, padding=1, groups=3).realize()
    assert not any("matmul" in launch.note for launch in seen.launches)
    assert y.tolist() == [
        [depthwise(image[out // 2], kernel[0]) for out, kernel in enumerate(w.tolist())]
        for image in x.tolist()
    ]


def depthwise(image, kernel):
    """One channel, padded with zeros on all sides, seen through a kernel of 3 by 3."""
    height, width = len(image), len(image[0])

    def pixel(i, j):
        return image[i][j] if 0 <= i < height and 0 <= j < width else 0.0

    return [
        [
            sum(kernel[u][v] * pixel(i + u - 1, j + v - 1) for u in range(3) for v in range(3))
            for j in range(width)
        ]
        for i in range(height)
    ]


# Matrix products whose rows are not packed ------------------------------------------------------


@pytest.mark.parametrize(
    ("m", "k", "n"), [(33, 48, 40), (28, 512, 64), (64, 700, 33), (14, 1, 128), (30, 64, 129)]
)
def test_products_of_narrow_matrices(m, k, n):
    a, b = counting((m, k)) % 11 - 5, counting((k, n)) % 7 - 3
    rows, columns = a.tolist(), list(zip(*b.tolist(), strict=True))
    expected = [
        [sum(x * y for x, y in zip(row, column, strict=True)) for column in columns]
        for row in rows
    ]
    assert (a.realize() @ b.realize()).tolist() == expected
    wide = dlgrad.stack([a, a + 1]).realize() @ b.realize()
    assert wide[0].tolist() == expected


# Sums of columns, and products with vectors ----------------------------------------------------


def whole_numbers(*shape):
    """Small whole numbers, so that sums are exact in any order."""
    return (dlgrad.arange(math.prod(shape)) * 7 % 11 - 5).float().reshape(shape).realize()


def test_sums_of_columns_take_several_rows_at_a_time():
    for rows in range(17, 26):
        x = whole_numbers(rows, 70)
        with recorded() as seen:
            total, highest = x.sum(0).realize(), x.amax(0).realize()
        texts = [source(launch) for launch in seen.launches]
        assert ["first_r" in text for text in texts] == [True, False]
        columns = list(zip(*x.tolist(), strict=True))
        assert total.tolist() == [sum(column) for column in columns]
        assert highest.tolist() == [max(column) for column in columns]
        mean = [sum(column) / rows for column in columns]
        expected = [
            sum((value - middle) ** 2 for value in column) / (rows - 1)
            for column, middle in zip(columns, mean, strict=True)
        ]
        assert x.var(0).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((1, 70), (70, 90)),
        ((90, 70), (70, 1)),
        ((70,), (70, 90)),
        ((90, 70), (70,)),
        ((3, 1, 70), (3, 70, 20)),
        ((70,), (70,)),
        ((1, 1), (1, 90)),
    ],
)
def test_a_product_with_a_vector_is_a_sum(left, right):
    a, b = whole_numbers(*left), whole_numbers(*right)
    turned = b if b.ndim == 1 else b.mT.contiguous().realize().mT
    with recorded() as seen:
        results = [(a @ b).realize(), (a @ turned).realize()]
    assert not any(launch.program.name.startswith("matmul") for launch in seen.launches)
    expected = [
        sum(x * y for x, y in zip(row, column, strict=True))
        for rows, others in zip(matrices(a, (1, -1)), matrices(b, (-1, 1)), strict=True)
        for row in rows
        for column in zip(*others, strict=True)
    ]
    for result in results:
        assert result.flatten().tolist() == expected


def matrices(x, shape):
    """The numbers of one or several matrices; a vector becomes one of `shape`."""
    x = x.reshape(shape) if x.ndim == 1 else x
    return x.tolist() if x.ndim == 3 else [x.tolist()]


def test_a_product_with_a_vector_over_nothing():
    assert (dlgrad.ones(1, 0) @ dlgrad.ones(0, 5)).tolist() == [[0.0] * 5]
    assert (dlgrad.ones(5, 0) @ dlgrad.ones(0)).tolist() == [0.0] * 5


def test_what_stays_a_matmul():
    wide = whole_numbers(2, 70)
    with recorded() as seen:
        (wide @ whole_numbers(70, 90)).realize()
        (wide[:1].bfloat16() @ whole_numbers(70, 90).bfloat16()).realize()
    assert sum(launch.program.name.startswith("matmul") for launch in seen.launches) == 2


def test_products_with_vectors_do_not_depend_on_threads():
    matrix = (counting((600, 1024)) * 0.37).sin().realize()
    row = (counting((1024,)) * 0.61).cos().realize()
    results = []
    for threads in (1, 2, 3):
        with config.NUM_THREADS(threads):
            results.append([(matrix @ row).tolist(), (row @ matrix.T.contiguous()).tolist()])
    assert results[0] == results[1] == results[2]


def test_a_product_with_a_vector_fuses_with_what_is_around_it():
    x, weight, bias = whole_numbers(90, 70), whole_numbers(70), whole_numbers(90)
    with recorded() as seen:
        y = ((x * 2) @ weight + bias).relu().realize()
    assert len(seen.launches) == 1
    assert y.tolist() == ((x @ weight) * 2 + bias).relu().tolist()


# Results past the caches ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "int32", "float64", "int8"])
@pytest.mark.parametrize("shape", [(64, 64), (80, 131), (65, 96)])
def test_large_transposes_go_past_the_caches(shape, dtype, monkeypatch):
    """With everything counted as large: whole and partial tiles, several results, in place."""
    monkeypatch.setattr(lower_tiles, "MOST_BYTES", 0)
    engine.clear_plans()
    rows, columns = shape
    x = (dlgrad.arange(rows * columns) % 100).to(getattr(dlgrad, dtype)).reshape(shape).realize()
    y = dlgrad.ones(columns, rows, dtype=x.dtype).realize()
    expected = [[(i * columns + j) % 100 for i in range(rows)] for j in range(columns)]
    with recorded() as seen:
        turned = x.t().contiguous().realize()
        total, doubled = x.t() + y, x.t() * 2
        total.realize(doubled)
        y.add_(x.t()).realize()  # in the memory that it reads
    names = [launch.program.name for launch in seen.launches]
    assert any(name.endswith("_streamed") for name in names) == (dtype != "int8")
    assert turned.tolist() == expected
    assert total.tolist() == y.tolist() == [[n + 1 for n in line] for line in expected]
    assert doubled.tolist() == (dlgrad.tensor(expected, dtype=x.dtype) * 2).tolist()
    engine.clear_plans()


@pytest.mark.parametrize(
    ("shape", "order", "dtype", "follows"),
    [
        ((80, 275), (1, 0), "float32", True),
        ((80, 3, 96), (2, 1, 0), "float32", True),
        ((72, 150), (1, 0), "float64", True),
        ((275, 80), (1, 0), "float32", False),  # what is read are short lines
        ((70, 275), (1, 0), "float32", False),  # the tiles of the result share lines of cache
    ],
)
def test_streamed_tiles_follow_long_lines_that_are_read(shape, order, dtype, follows, monkeypatch):
    monkeypatch.setattr(lower_tiles, "MOST_BYTES", 0)
    engine.clear_plans()
    x, expected = counting(shape).to(getattr(dlgrad, dtype)).realize(), permuted(shape, order)
    with recorded() as seen:
        turned = x.permute(*order).contiguous().realize()
        more = (x.permute(*order) + 1).realize()
    copy, sum_ = (source(launch) for launch in seen.launches)
    for text in (copy, sum_):
        assert ("for (int64_t tile_i = first; tile_i < last" in text) == follows
        assert "dg_stream(" in text
    assert "out_block" in sum_ and "out_block" not in copy
    assert turned.flatten().tolist() == expected
    assert more.flatten().tolist() == [place + 1 for place in expected]
    engine.clear_plans()


@pytest.mark.parametrize("count", [2, 17, 64, 1200, 5003])
def test_large_results_go_past_the_caches(count, monkeypatch):
    """With everything counted as large: other types, several results, parts of a range."""
    monkeypatch.setattr(lower_space, "BYTES_IN_CACHES", 0)
    engine.clear_plans()
    x = dlgrad.arange(count).float().realize()
    wide = dlgrad.zeros(2 * count).realize()
    with recorded() as seen:
        total = (x * 2 + 1).realize()
        odd = (x % 2 == 1).realize()
        half, byte = (x * 0.5).half(), (x % 200).to(dlgrad.uint8)
        half.realize(byte)
        x.add_(1).realize()  # in the memory that it reads
        wide[3 : 3 + count // 2] = 7.0  # a part of a memory
        wide.realize()
    names = [launch.program.name for launch in seen.launches]
    assert sum("_streamed_" in name for name in names) >= 3 and len(names) > 3
    assert total.tolist() == [2.0 * i + 1 for i in range(count)]
    assert odd.tolist() == [i % 2 == 1 for i in range(count)]
    assert half.tolist() == (dlgrad.arange(count, device="python") * 0.5).half().tolist()
    assert byte.tolist() == [i % 200 for i in range(count)]
    assert x.tolist() == [i + 1.0 for i in range(count)]
    inside = range(3, 3 + count // 2)
    assert wide.tolist() == [7.0 if i in inside else 0.0 for i in range(2 * count)]
    engine.clear_plans()
