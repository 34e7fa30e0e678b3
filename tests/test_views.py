"""Views: which movements share memory, and writes that are seen through all of them."""

from __future__ import annotations

import random
from typing import Any

import pytest

import dlgrad
from dlgrad.tensor import Tensor


def grid(*shape: int) -> Tensor:
    count = 1
    for size in shape:
        count *= size
    return dlgrad.arange(count).float().reshape(shape).clone()


def shares(a: Tensor, b: Tensor) -> bool:
    return a._storage is b._storage


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.view(3, 4),
        lambda x: x.reshape(12),
        lambda x: x.T,
        lambda x: x.t(),
        lambda x: x.mT,
        lambda x: x.permute(1, 0),
        lambda x: x.transpose(0, 1).unsqueeze(0).squeeze(),
        lambda x: x.expand(3, 4, 3),
        lambda x: x[1:, ::2],
        lambda x: x[1],
        lambda x: x[..., None],
        lambda x: x.narrow(0, 1, 2),
        lambda x: x.diagonal(),
        lambda x: x.split(2)[1],
        lambda x: x.chunk(2, 1)[0],
        lambda x: x.unbind(1)[0],
        lambda x: x.flatten(),
        lambda x: x.unflatten(0, (2, 2)),
        lambda x: x.movedim(0, 1),
        lambda x: x.detach(),
        lambda x: x.contiguous(),
        lambda x: x.view_as(grid(3, 4)),
    ],
)
def test_these_share_memory(call: Any) -> None:
    x = grid(4, 3)
    y = call(x)
    assert shares(x, y)
    x.fill_(7.0)
    assert set(flatten(y.tolist())) == {7.0}


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.clone(),
        lambda x: x.T.contiguous(),
        lambda x: x.T.reshape(12),
        lambda x: x.flip(0),
        lambda x: x.repeat(2, 1),
        lambda x: x + 0,
        lambda x: x.to(dlgrad.float64),
        lambda x: x.to(dlgrad.float32, copy=True),
        lambda x: dlgrad.cat([x]),
        lambda x: x.tril(),
        lambda x: dlgrad.tensor(x),
    ],
)
def test_these_do_not(call: Any) -> None:
    x = grid(4, 3)
    y = call(x)
    before = y.tolist()
    x.fill_(-1.0)
    assert not shares(x, y)
    assert y.tolist() == before


def flatten(value: Any) -> list[Any]:
    return [x for item in value for x in flatten(item)] if isinstance(value, list) else [value]


def test_writes_are_seen_through_every_view() -> None:
    x = grid(2, 3)
    row, column, turned = x[1], x[:, 2], x.T
    row += 10
    column[0] = -1
    turned[0, 0] = 99
    assert x.tolist() == [[99.0, 1.0, -1.0], [13.0, 14.0, 15.0]]
    assert row.tolist() == [13.0, 14.0, 15.0]
    assert column.tolist() == [-1.0, 15.0]
    assert turned.tolist() == [[99.0, 13.0], [1.0, 14.0], [-1.0, 15.0]]


def test_writes_do_not_reach_results_made_before() -> None:
    x = grid(3)
    y = x * 2
    x.add_(100)
    z = x * 2
    x.zero_()
    assert y.tolist() == [0.0, 2.0, 4.0]
    assert z.tolist() == [200.0, 202.0, 204.0]
    assert x.tolist() == [0.0, 0.0, 0.0]


def test_realised_and_pending_writes_are_the_same() -> None:
    lazy, eager = grid(4), grid(4)
    for step in range(5):
        for x in (lazy, eager):
            x[step % 4 :].mul_(2)
            x[: step % 3] += x[1] + step
        eager.realize()
    assert lazy.tolist() == eager.tolist()


def test_memory_is_kept() -> None:
    x = grid(8).realize()
    address = x.data_ptr()
    for _ in range(3):
        x.add_(1)
        x.realize()
        assert x.data_ptr() == address
    assert x.tolist() == [float(i + 3) for i in range(8)]


def test_memory_with_readers_is_not_overwritten() -> None:
    x = grid(4).realize()
    pending = x + 0.5
    x.add_(1)
    x.realize()
    assert pending.tolist() == [0.5, 1.5, 2.5, 3.5]
    assert x.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_overlapping_source_and_target() -> None:
    x = grid(6).realize()
    x[1:] = x[:-1]
    assert x.tolist() == [0.0, 0.0, 1.0, 2.0, 3.0, 4.0]
    y = grid(3, 3).realize()
    y.copy_(y.T)
    assert y.tolist() == [[0.0, 3.0, 6.0], [1.0, 4.0, 7.0], [2.0, 5.0, 8.0]]
    z = grid(5).realize()
    z[:3] += z[2:]
    assert z.tolist() == [2.0, 4.0, 6.0, 3.0, 4.0]


def test_assignment_broadcasts_and_converts() -> None:
    x = dlgrad.zeros(2, 3, dtype=dlgrad.int32)
    x[0] = dlgrad.tensor([1.9, 2.2, -3.7])
    x[:, 1] = 7
    x[1:, ::2] = dlgrad.tensor([[[5, 6]]])
    assert x.tolist() == [[1, 7, -3], [5, 7, 6]]
    assert x.dtype is dlgrad.int32
    x[...] = dlgrad.tensor(4)
    x[0, 0] = True
    assert x.tolist() == [[1, 4, 4], [4, 4, 4]]
    with pytest.raises(RuntimeError, match=r"shape mismatch.*\[2\].*\[3\]"):
        x[0] = dlgrad.tensor([1, 2])


def test_versions_are_counted() -> None:
    x = grid(3)
    view = x[1:]
    start = x._version
    x.add_(1)
    view.mul_(2)
    x[0] = 3
    assert x._version == view._version == start + 3


def test_aliases() -> None:
    x = grid(3)
    other = x.detach()
    other[0] = 50
    assert x.tolist()[0] == 50.0
    x.data = dlgrad.tensor([1.0, 2.0])
    assert x.shape == (2,)
    assert other.tolist() == [50.0, 1.0, 2.0]
    y = dlgrad.zeros(2)
    y.copy_(x)
    x.add_(1)
    assert y.tolist() == [1.0, 2.0]
    y.copy_(y)
    assert y.tolist() == [1.0, 2.0]


def test_a_failed_write_changes_nothing() -> None:
    x = grid(3).realize()
    with pytest.raises(RuntimeError):
        x.add_(grid(2))
    with pytest.raises(RuntimeError):
        x[0:2] = grid(3)
    y = x * 2
    x.add_(1)
    assert x.tolist() == [1.0, 2.0, 3.0]
    assert y.tolist() == [0.0, 2.0, 4.0]


def test_strides_and_offsets() -> None:
    x = grid(4, 6)
    y = x[1:, ::2].T
    assert y.shape == (3, 3)
    assert y.stride() == (2, 6)
    assert y.storage_offset() == 6
    assert not y.is_contiguous()
    assert y.contiguous().stride() == (3, 1)
    assert x.expand(2, 4, 6).stride() == (0, 6, 1)
    with pytest.raises(RuntimeError, match="stride"):
        x.T.view(24)


# Random programs against lists of Python numbers --------------------------------------------------


def random_view(generator: random.Random, x: Tensor, places: Any) -> tuple[Tensor, Any]:
    """The same movement on a tensor and on nested lists of places."""
    kind = generator.randrange(4)
    if kind == 0 and x.ndim >= 2:
        rows = [list(row) for row in zip(*places, strict=True)]
        return x.transpose(0, 1), rows
    if kind == 1 and x.shape[0] > 1:
        start = generator.randrange(x.shape[0])
        step = generator.randrange(1, 3)
        return x[start::step], places[start::step]
    if kind == 2 and x.ndim >= 2:
        index = generator.randrange(x.shape[0])
        return x[index], places[index]
    return x.unsqueeze(0), [places]


def spots(value: Any) -> list[int]:
    return flatten(value)


@pytest.mark.parametrize("seed", range(12))
def test_random_writes(seed: int) -> None:
    generator = random.Random(seed)
    x = grid(4, 5).realize()
    memory = [float(i) for i in range(20)]
    known: list[tuple[Tensor, Any]] = [(x, [[5 * i + j for j in range(5)] for i in range(4)])]
    kept: list[tuple[Tensor, list[float]]] = []
    for _ in range(25):
        tensor, places = generator.choice(known)
        action = generator.randrange(5)
        if action == 0 and tensor.ndim:
            known.append(random_view(generator, tensor, places))
        elif action == 1:
            value = float(generator.randrange(100))
            tensor.fill_(value)
            for place in spots(places):
                memory[place] = value
        elif action == 2:
            tensor.mul_(0.5).sub_(1)
            for place in spots(places):
                memory[place] = memory[place] * 0.5 - 1
        elif action == 3:
            kept.append((tensor + 1, [memory[place] + 1 for place in spots(places)]))
        else:
            generator.choice(known)[0].realize()
    assert spots(x.tolist()) == memory
    for tensor, places in known:
        assert spots(tensor.tolist()) == [memory[place] for place in spots(places)]
    for result, expected in kept:
        assert spots(result.tolist()) == expected
