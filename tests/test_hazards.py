"""Writes into memory that something else still has to read."""

from __future__ import annotations

import pytest

import dlgrad
from dlgrad.core.storage import evaluate_pending
from dlgrad.errors import AutogradError


def test_view_of_a_reshaped_write_survives_its_evaluation():
    x = dlgrad.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    part = x[:, 1:]
    x.unsqueeze(0).copy_(x + x)
    same = part == part
    evaluate_pending()
    assert part.tolist() == [[4.0, 6.0], [10.0, 12.0]]
    assert x.tolist() == [[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]]
    assert same.tolist() == [[True, True], [True, True]]


def test_copy_that_moves_nothing_keeps_its_numbers_when_the_original_is_written():
    x = dlgrad.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 4)
    copy = x.flip(0)
    x.add_(x + 0).realize()
    assert copy.tolist() == [[1.0, 2.0, 3.0, 4.0]]
    assert x.tolist() == [[2.0, 4.0, 6.0, 8.0]]


def test_replay_writes_into_the_argument_that_it_is_given():
    @dlgrad.jit
    def step(x):
        x.add_(1)
        return x * x

    for number in range(4):
        x = dlgrad.tensor([float(number)])
        earlier = x * 10
        assert step(x).tolist() == [(number + 1.0) ** 2]
        assert x.tolist() == [number + 1.0]
        assert earlier.tolist() == [10.0 * number]


def test_replay_counts_as_a_write_for_saved_tensors():
    state = dlgrad.tensor([2.0])

    @dlgrad.jit
    def step(x):
        state.add_(x)
        return state.sum()

    one = dlgrad.tensor([1.0])
    for _ in range(3):
        step(one)
    weight = dlgrad.tensor([3.0], requires_grad=True)
    loss = (weight * state).sum()
    assert loss.item() == 15.0
    step(one)
    with pytest.raises(AutogradError, match="inplace"):
        loss.backward()


def test_operand_of_a_matmul_is_stored_although_its_epilogue_reads_it_too():
    ones = dlgrad.full((2, 2), 1.0)
    left = dlgrad.where(ones > 0, ones, ones)
    assert ((left @ ones) * left).tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_value_between_two_writes_is_kept_for_pending_work():
    x = dlgrad.tensor([[0, -2], [2, -2], [0, 0]]).realize()
    column = x[:, 0]
    column.fill_(0)
    equal = x == column.unsqueeze(1)
    column[0:1].add_(7)
    assert x.tolist() == [[7, -2], [0, -2], [0, 0]]
    assert equal.tolist() == [[True, False], [True, False], [True, True]]
