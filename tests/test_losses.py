"""Losses where the input is bad: labels that are no class."""

from __future__ import annotations

import math

import pytest

import dlgrad
import dlgrad.nn.functional as F
from dlgrad.errors import CaptureError


@pytest.mark.parametrize("label", [3, -1, 1000])
@pytest.mark.parametrize("loss", [F.nll_loss, F.cross_entropy])
def test_a_label_that_is_no_class_is_refused(loss, label):
    scores = dlgrad.zeros(4, 3)
    with pytest.raises(IndexError, match=f"Target {label} is out of bounds: there are 3 classes"):
        loss(scores, dlgrad.tensor([0, 1, label, 2]))


def test_the_ignored_label_counts_for_nothing():
    scores = dlgrad.randn(3, 4)
    some = F.cross_entropy(scores[:2], dlgrad.tensor([1, 3]))
    assert F.cross_entropy(scores, dlgrad.tensor([1, 3, -100])).item() == pytest.approx(some.item())


def test_a_wrong_label_that_is_not_known_yet_makes_the_loss_nan():
    pending = dlgrad.tensor([0, 1, 2]) + dlgrad.tensor([0, 0, 5]).realize()
    assert math.isnan(F.cross_entropy(dlgrad.zeros(3, 3), pending).item())
    each = F.cross_entropy(dlgrad.zeros(3, 3), pending + 0, reduction="none")
    assert [math.isnan(value) for value in each.tolist()] == [False, False, True]


def test_labels_are_not_looked_at_inside_a_capture():
    step = dlgrad.jit(lambda scores, labels: F.cross_entropy(scores, labels))
    good, bad = dlgrad.tensor([0, 2]), dlgrad.tensor([0, 7])
    try:
        values = [step(dlgrad.zeros(2, 3), labels).item() for labels in (good, good, good, bad)]
    except CaptureError as error:
        pytest.fail(str(error))
    assert values[:3] == pytest.approx([math.log(3)] * 3)
    assert math.isnan(values[3])
