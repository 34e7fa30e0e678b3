"""Losses, distances and lookups beside their formulas in plain Python, and their bad inputs."""

from __future__ import annotations

import itertools
import math

import pytest

import dlgrad
import dlgrad.nn.functional as F
from dlgrad import nn

X = [[0.5, -1.0, 2.0], [0.1, 0.3, -0.7]]
Y = [[1.0, -0.5, 0.5], [0.4, 0.3, 0.9]]
PAIRS = [(x, y) for row_x, row_y in zip(X, Y, strict=True)
         for x, y in zip(row_x, row_y, strict=True)]  # fmt: skip


def numbers(value):
    return value.reshape(-1).tolist()


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def _softplus(x):
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(
    "loss, one",
    [
        (F.mse_loss, lambda x, y: (x - y) ** 2),
        (F.l1_loss, lambda x, y: abs(x - y)),
        (F.smooth_l1_loss, lambda x, y: (x - y) ** 2 / 2 if abs(x - y) < 1 else abs(x - y) - 0.5),
        (
            lambda x, y, **k: F.huber_loss(x, y, delta=0.3, **k),
            lambda x, y: (x - y) ** 2 / 2 if abs(x - y) <= 0.3 else 0.3 * (abs(x - y) - 0.15),
        ),
        (F.poisson_nll_loss, lambda x, y: math.exp(x) - y * x),
        (
            lambda x, y, **k: F.gaussian_nll_loss(x, y, 0.5, full=True, **k),
            lambda x, y: (math.log(0.5) + (x - y) ** 2 / 0.5 + math.log(2 * math.pi)) / 2,
        ),
        (F.binary_cross_entropy_with_logits, lambda x, y: _softplus(-x) + (1 - y) * x),
        (F.soft_margin_loss, lambda x, y: _softplus(-x * y)),
        (
            F.hinge_embedding_loss,
            lambda x, y: (x if y != -1 else 0) + (max(0, 1 - x) if y != 1 else 0),
        ),
    ],
)
def test_losses_of_single_numbers(loss, one):
    x, y = dlgrad.tensor(X), dlgrad.tensor(Y)
    expected = [one(a, b) for a, b in PAIRS]
    assert numbers(loss(x, y, reduction="none")) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert loss(x, y).item() == pytest.approx(mean(expected), rel=1e-5)
    assert loss(x, y, reduction="sum").item() == pytest.approx(sum(expected), rel=1e-5)


def test_binary_cross_entropy_stops_at_minus_100():
    x, y = dlgrad.tensor([0.0, 1.0, 0.25]), dlgrad.tensor([1.0, 1.0, 0.5])
    expected = [100.0, 0.0, -(math.log(0.25) + math.log(0.75)) / 2]
    assert numbers(F.binary_cross_entropy(x, y, reduction="none")) == pytest.approx(expected)
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        F.binary_cross_entropy(dlgrad.tensor([1.5]), dlgrad.tensor([1.0]))


def test_kl_divergence():
    p, q = [0.2, 0.8], [0.5, 0.5]
    total = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    logs, target = dlgrad.tensor([q, q]).log(), dlgrad.tensor([p, p])
    assert F.kl_div(logs, target, reduction="batchmean").item() == pytest.approx(total, rel=1e-5)
    assert F.kl_div(logs, target.log(), log_target=True).item() == pytest.approx(total / 2)


def test_margins_between_classes():
    scores, labels = dlgrad.tensor(X), dlgrad.tensor([2, 0])

    def one(row, label, p):
        lacking = [max(0.0, 1 - row[label] + s) for i, s in enumerate(row) if i != label]
        return sum(value**p for value in lacking) / 3

    for p in (1, 2):
        expected = [one(row, label, p) for row, label in zip(X, [2, 0], strict=True)]
        found = F.multi_margin_loss(scores, labels, p=p, reduction="none")
        assert numbers(found) == pytest.approx(expected, rel=1e-5)
    # The first row names the classes 2 and 0, the second class 1; what follows -1 does not count.
    several = dlgrad.tensor([[2, 0, -1], [1, -1, 0]])
    expected = [
        (max(0, 1 - (2.0 + 1.0)) + max(0, 1 - (0.5 + 1.0))) / 3,
        (max(0, 1 - (0.3 - 0.1)) + max(0, 1 - (0.3 + 0.7))) / 3,
    ]
    found = F.multilabel_margin_loss(scores, several, reduction="none")
    assert numbers(found) == pytest.approx(expected, rel=1e-5)
    share = dlgrad.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    soft = F.multilabel_soft_margin_loss(scores, share)
    assert soft.item() == pytest.approx(F.binary_cross_entropy_with_logits(scores, share).item())


def test_distances():
    a, b = dlgrad.tensor(X), dlgrad.tensor(Y)

    def length(v, p=2):
        return sum(abs(x) ** p for x in v) ** (1 / p)

    apart = [[x - y for x, y in zip(p, q, strict=True)] for p, q in zip(X, Y, strict=True)]
    for p in (1, 2, 3):
        expected = [length([d + 1e-6 for d in row], p) for row in apart]
        assert numbers(F.pairwise_distance(a, b, p)) == pytest.approx(expected, rel=1e-5)
    cosine = [
        sum(x * y for x, y in zip(p, q, strict=True)) / length(p) / length(q)
        for p, q in zip(X, Y, strict=True)
    ]
    assert numbers(F.cosine_similarity(a, b)) == pytest.approx(cosine, rel=1e-5)
    every = [[length([x - y for x, y in zip(p, q, strict=True)]) for q in Y] for p in X]
    assert numbers(F.cdist(a, b)) == pytest.approx(sum(every, []), rel=1e-5)
    assert numbers(F.pdist(a)) == pytest.approx([length([0.4, -1.3, 2.7])], rel=1e-5)
    target = dlgrad.tensor([1, -1])
    found = F.cosine_embedding_loss(a, b, target, margin=0.1, reduction="none")
    assert numbers(found) == pytest.approx([1 - cosine[0], max(0, cosine[1] - 0.1)], abs=1e-5)


def test_many_distances_are_as_exact_as_few():
    a = dlgrad.arange(60, dtype=dlgrad.float32).reshape(30, 2) / 7
    direct = F.cdist(a, a, compute_mode="donot_use_mm_for_euclid_dist")
    assert F.cdist(a, a).sub(direct).abs().max().item() < 2e-3
    a.requires_grad_()
    F.cdist(a, a).sum().backward()
    assert all(math.isfinite(value) for value in numbers(a.grad))


def test_triplets():
    a, b, c = (dlgrad.tensor([v]) for v in ([0.0, 0.0], [3.0, 4.0], [0.0, 1.0]))
    assert F.triplet_margin_loss(a, b, c).item() == pytest.approx(5.0, abs=1e-4)
    nearer = F.triplet_margin_loss(a, c, b, margin=6.0, swap=True).item()
    assert nearer == pytest.approx(6 + 1 - math.hypot(3, 3), abs=1e-4)


def test_alignments_are_added_up():
    # Two classes and the blank (0), three steps; the label sequence is 1 alone.
    shares = [[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [0.6, 0.1, 0.3]]
    total = 0.0
    for path in itertools.product(range(3), repeat=3):
        merged = [a for a, _ in itertools.groupby(path) if a != 0]
        if merged == [1]:
            total += math.prod(shares[t][a] for t, a in enumerate(path))
    logs = dlgrad.tensor(shares).log().unsqueeze(1)
    loss = F.ctc_loss(logs, dlgrad.tensor([[1]]), (3,), (1,))
    assert loss.item() == pytest.approx(-math.log(total), rel=1e-5)
    too_long = dlgrad.tensor([[1, 1, 1]])
    assert F.ctc_loss(logs, too_long, (3,), (3,)).item() == math.inf
    assert F.ctc_loss(logs, too_long, (3,), (3,), zero_infinity=True).item() == 0.0


# Lookups ----------------------------------------------------------------------------------------


def test_embedding_and_its_gradient():
    table = dlgrad.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=True)
    index = dlgrad.tensor([[2, 0], [2, 1]])
    found = F.embedding(index, table, padding_idx=1)
    assert found.tolist() == [[[5.0, 6.0], [1.0, 2.0]], [[5.0, 6.0], [3.0, 4.0]]]
    found.sum().backward()
    assert table.grad.tolist() == [[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]]
    table.grad = None
    F.embedding(index, table, scale_grad_by_freq=True).sum().backward()
    assert table.grad.tolist() == [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]


def test_embedding_shortens_the_rows_it_uses():
    table = dlgrad.tensor([[3.0, 4.0], [30.0, 40.0]])
    found = F.embedding(dlgrad.tensor([0]), table, max_norm=1.0)
    assert numbers(found) == pytest.approx([0.6, 0.8], rel=1e-5)
    assert numbers(table) == pytest.approx([0.6, 0.8, 30.0, 40.0], rel=1e-5)


def test_bags():
    table = dlgrad.tensor([[1.0, -1.0], [2.0, 5.0], [4.0, 0.0]])
    index, offsets = dlgrad.tensor([0, 2, 1, 1]), dlgrad.tensor([0, 2, 2])
    expected = {
        "sum": [[5.0, -1.0], [0.0, 0.0], [4.0, 10.0]],
        "mean": [[2.5, -0.5], [0.0, 0.0], [2.0, 5.0]],
        "max": [[4.0, 0.0], [0.0, 0.0], [2.0, 5.0]],
    }
    for mode, bags in expected.items():
        assert F.embedding_bag(index, table, offsets, mode=mode).tolist() == bags
    weights = dlgrad.tensor([1.0, 2.0, 3.0, 4.0])
    found = F.embedding_bag(index, table, offsets, mode="sum", per_sample_weights=weights)
    assert found.tolist() == [[9.0, -1.0], [0.0, 0.0], [14.0, 35.0]]
    found = F.embedding_bag(index.reshape(2, 2), table, padding_idx=2)
    assert found.tolist() == [[1.0, -1.0], [2.0, 5.0]]


def test_one_hot():
    assert F.one_hot(dlgrad.tensor([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert tuple(F.one_hot(dlgrad.zeros(0, dtype=dlgrad.int64), 3).shape) == (0, 3)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: F.cross_entropy(dlgrad.zeros(2, 3), dlgrad.zeros(2)), TypeError, "cross_ent"),
        (lambda: F.cross_entropy(dlgrad.zeros(()), dlgrad.tensor(0)), RuntimeError, "cross_ent"),
        (
            lambda: F.cross_entropy(dlgrad.zeros(2, 3), dlgrad.tensor([0, 1]), dlgrad.ones(4)),
            RuntimeError, "all 3 classes",
        ),
        (
            lambda: F.binary_cross_entropy(dlgrad.zeros(2), dlgrad.zeros(3)),
            ValueError, "target size",
        ),
        (lambda: F.gaussian_nll_loss(*[dlgrad.zeros(2)] * 2, -1.0), ValueError, "negative"),
        (
            lambda: F.gaussian_nll_loss(*[dlgrad.zeros(2, 3)] * 2, dlgrad.ones(2, 2)),
            ValueError, "incorrect size",
        ),
        (lambda: F.huber_loss(*[dlgrad.zeros(2)] * 2, delta=0.0), RuntimeError, "non-positive"),
        (lambda: F.triplet_margin_loss(*[dlgrad.zeros(2, 2)] * 3, margin=0), ValueError, "margin"),
        (lambda: F.cdist(dlgrad.zeros(2, 3), dlgrad.zeros(2, 4)), RuntimeError, "columns"),
        (lambda: F.one_hot(dlgrad.tensor([3]), 3), RuntimeError, "smaller than num_classes"),
        (lambda: F.one_hot(dlgrad.tensor([-1])), RuntimeError, "non-negative"),
        (lambda: F.embedding(dlgrad.tensor([3]), dlgrad.zeros(3, 2)), IndexError, "out of"),
        (lambda: F.embedding(dlgrad.tensor([1.0]), dlgrad.zeros(3, 2)), TypeError, "int64"),
        (
            lambda: F.embedding(dlgrad.tensor([1]), dlgrad.zeros(3, 2), sparse=True),
            NotImplementedError, "sparse",
        ),
        (
            lambda: F.embedding_bag(dlgrad.tensor([1]), dlgrad.zeros(3, 2), dlgrad.tensor([1])),
            RuntimeError, r"offsets\[0\] has to be 0",
        ),
        (lambda: F.embedding_bag(dlgrad.tensor([1]), dlgrad.zeros(3, 2)), ValueError, "offsets"),
        (
            lambda: F.ctc_loss(dlgrad.zeros(2, 1, 3), dlgrad.tensor([[1]]), (3,), (1,)),
            RuntimeError, "at most 2",
        ),
        (lambda: nn.MultiMarginLoss(p=3), ValueError, "p == 1"),
        (lambda: nn.MSELoss(reduction="half"), ValueError, "reduction"),
    ],
)  # fmt: skip
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_older_arguments_warn_and_work():
    x, y = dlgrad.tensor(X), dlgrad.tensor(Y)
    with pytest.warns(UserWarning, match="reduction='sum'"):
        found = F.mse_loss(x, y, size_average=False)
    assert found.item() == pytest.approx(F.mse_loss(x, y, reduction="sum").item())
    with pytest.warns(UserWarning, match="reduction='none'"):
        assert nn.L1Loss(reduce=False).reduction == "none"
