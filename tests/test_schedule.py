"""What fuses and what is cut: the number of launches of well-known expressions, and the reasons."""

from __future__ import annotations

import pytest
from launches import recorded

import dlgrad
import dlgrad.nn.functional as F
from dlgrad import config
from dlgrad.lazy.memory import Lifetime, place
from dlgrad.lazy.shape import View


def count(expression, *shapes):
    """How many kernels `expression` of realised tensors takes, all of them in one plan."""
    dlgrad.manual_seed(0)
    inputs = [dlgrad.randn(*shape).realize() for shape in shapes]
    with recorded() as seen:
        expression(*inputs).realize()
    assert len(seen.runs) == 1
    return len(seen.launches)


ONE_KERNEL = {
    "a chain": (lambda x, y: (x * y + 1).relu() * 2 + (-x).exp(), (40, 30), (40, 30)),
    "a broadcast": (lambda x, y: x * y + y, (4, 5, 6), (5, 1)),
    "a chain behind a transpose": (lambda x: (x.T + 1).exp(), (40, 30)),
    "a view of a chain": (lambda x: (x + 1).reshape(30, 40).T * 2, (40, 30)),
    "softmax": (lambda x: F.softmax(x, dim=1), (40, 30)),
    "softmax over columns": (lambda x: F.softmax(x, dim=0), (40, 30)),
    "log-softmax": (lambda x: F.log_softmax(x, dim=-1), (40, 30)),
    "layer norm": (lambda x, w, b: F.layer_norm(x, (30,), w, b), (40, 30), (30,), (30,)),
    "a sum of a chain": (lambda x, y: (x * y).exp().sum(1), (40, 30), (40, 30)),
    "work after a sum": (lambda x: (x.sum(1) / 7).sqrt() + 1, (40, 30)),
    "a sum over rows and columns": (lambda x: x.sum(), (40, 30)),
    "a variance": (lambda x: x.var(1), (40, 30)),
    "an argmax": (lambda x: x.argmax(1), (40, 30)),
    "a matmul": (lambda x, y: x @ y, (12, 8), (8, 9)),
    "a matmul of transposes": (lambda x, y: x.T @ y.T, (8, 12), (9, 8)),
    "a matmul with bias and relu": (lambda x, y, b: (x @ y + b).relu(), (12, 8), (8, 9), (9,)),
    "a linear layer": (lambda x, y, b: F.linear(x, y, b), (12, 8), (9, 8), (9,)),
    "a matmul with a residual": (lambda x, y, r: x @ y + r, (12, 8), (8, 9), (12, 9)),
    "a cast in front of a matmul": (lambda x, y: x @ y.to(dlgrad.float32), (12, 8), (8, 9)),
    "a convolution": (lambda x, w, b: F.conv2d(x, w, b), (2, 3, 9, 8), (4, 3, 3, 3), (4,)),
    "a max pool": (lambda x: F.max_pool2d(x, 2), (2, 3, 8, 8)),
    "batch norm": (
        lambda x: F.batch_norm(x, None, None, training=True),
        (4, 8, 5, 5),
    ),
}


@pytest.mark.parametrize("name", ONE_KERNEL)
def test_one_kernel(name):
    expression, *shapes = ONE_KERNEL[name]
    assert count(expression, *shapes) == 1


def test_a_long_reduction_is_two_kernels():
    assert count(lambda x: (x * x).sum(), (70_000,)) == 2
    assert count(lambda x: x.sum(0), (30_000, 3)) == 2


def test_padding_is_a_fill_and_a_copy():
    assert count(lambda x, w: F.conv2d(x, w, padding=1), (2, 3, 9, 8), (4, 3, 3, 3)) == 3


def test_a_chain_of_matmuls_is_a_kernel_each():
    assert count(lambda x: x @ x @ x, (8, 8)) == 2


def test_cut_reasons_are_told(capsys):
    x = dlgrad.randn(6, 5).realize()
    with config.DEBUG(3):
        (x.sum(1).reshape(6, 1) * x).sum(0).realize()
    assert "the kernel reduces over other dimensions" in capsys.readouterr().err


def test_a_value_that_a_tensor_shows_is_computed_once():
    x = dlgrad.randn(8, 8).realize()
    shown = (x @ x).exp()
    with recorded() as seen:
        total = shown.sum().item()
        again = shown.sum().item()
    assert total == again
    assert sum("matmul" in note for note in seen.notes) == 1


def test_a_value_that_pending_work_needs_is_computed_once():
    x = dlgrad.randn(8, 8).realize()
    product = x @ x
    first, second = product.exp().sum(), product.sin().sum()
    del product
    with recorded() as seen:
        first.item()
        second.item()
    assert sum("matmul" in note for note in seen.notes) == 1


def test_equal_work_is_done_once():
    x = dlgrad.randn(8, 8).realize()
    assert count(lambda y: (y @ y) + (y @ y), (8, 8)) == 1
    with recorded() as seen:
        (x.sum(0) + x.sum(0)).realize()
    assert len(seen.launches) == 1


# Views and memory ---------------------------------------------------------------------------------


def test_views_compose_or_say_that_they_cannot():
    rows = View((4, 6), (1, 4))  # the transpose of a 6 x 4 block
    assert View((6, 4), (1, 6)).compose(rows) == View((6, 4), (4, 1))
    assert View((24,), (1,)).compose(rows) is None
    assert View((2, 6), (12, 1)).compose(rows) == View((2, 6), (2, 4))
    assert View((3,), (1,), 2).compose(View((6,), (-1,), 5)) == View((3,), (-1,), 3)


def test_composed_views_show_the_same_elements():
    import itertools
    import random

    random.seed(7)
    checked = 0
    for _ in range(400):
        sizes = tuple(random.choice((1, 2, 3, 4)) for _ in range(random.choice((1, 2, 3))))
        order = random.sample(range(len(sizes)), len(sizes))
        inner = View.contiguous(sizes).permute(tuple(order))
        count = inner.numel
        shape = random.choice([(count,), (1, count), tuple(reversed(sizes))])
        outer = View.contiguous(shape)
        dim = random.randrange(len(shape))
        if shape[dim] > 1:
            outer = outer.slice(dim, shape[dim] - 1, (shape[dim] + 1) // 2, -2)
        both = outer.compose(inner)
        if both is None:
            continue
        checked += 1
        memory = [
            inner.offset + sum(i * s for i, s in zip(place, inner.strides, strict=True))
            for place in itertools.product(*map(range, inner.shape))
        ]
        for spot in itertools.product(*map(range, outer.shape)):
            through = outer.offset + sum(i * s for i, s in zip(spot, outer.strides, strict=True))
            direct = both.offset + sum(i * s for i, s in zip(spot, both.strides, strict=True))
            assert direct == memory[through]
    assert checked > 100


def test_intermediates_share_memory_only_when_their_lives_do_not_overlap():
    import random

    random.seed(3)
    for _ in range(50):
        lives = []
        for _ in range(random.randrange(1, 12)):
            first = random.randrange(10)
            lives.append(Lifetime(random.randrange(1, 500), first, first + random.randrange(4)))
        offsets, total = place(lives)
        for i, (a, at) in enumerate(zip(lives, offsets, strict=True)):
            assert at % 64 == 0
            assert at + a.nbytes <= total
            for b, other in zip(lives[:i], offsets, strict=False):
                if a.first <= b.last and b.first <= a.last:
                    assert at + a.nbytes <= other or other + b.nbytes <= at
    chain = [Lifetime(64, i, i + 1) for i in range(10)]
    assert place(chain)[1] == 128  # the third takes the place of the first


# Fused and unfused -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ONE_KERNEL)
def test_fused_work_equals_unfused_work(name):
    expression, *shapes = ONE_KERNEL[name]
    dlgrad.manual_seed(1)
    inputs = [dlgrad.randn(*shape).realize() for shape in shapes]
    fused = expression(*inputs).realize()
    with config.OPT(0), recorded() as seen:
        plain = expression(*inputs).realize()
    if len(seen.launches) == 1:
        assert not any(word in seen.notes[0] for word in ("_", "etc"))  # a single operation
    assert dlgrad.allclose(fused, plain, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_gradients_of_fused_work_equal_those_of_unfused_work():
    def gradients():
        dlgrad.manual_seed(2)
        x = dlgrad.randn(4, 3, 8, 8, requires_grad=True)
        w = dlgrad.randn(5, 3, 3, 3, requires_grad=True)
        y = F.conv2d(x, w, padding=1, stride=2)
        y = F.max_pool2d(F.batch_norm(y, None, None, training=True).relu(), 2)
        F.cross_entropy(y.flatten(1), dlgrad.tensor([0, 1, 2, 3])).backward()
        return x.grad, w.grad

    fused = [g.realize() for g in gradients()]
    with config.OPT(0):
        plain = [g.realize() for g in gradients()]
    for a, b in zip(fused, plain, strict=True):
        assert dlgrad.allclose(a, b, rtol=1e-4, atol=1e-5)
