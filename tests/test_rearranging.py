"""Movement beyond plain views, joining, splitting and padding, against lists and formulas."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

import dlgrad
from dlgrad.nn import functional
from dlgrad.tensor import Tensor


def grid(*shape: int) -> Tensor:
    count = 1
    for size in shape:
        count *= size
    return dlgrad.arange(count).float().reshape(shape).clone()


LINE = [0.0, 1.0, 2.0, 3.0, 4.0]


def reflected(i: int, size: int) -> int:
    period = 2 * (size - 1)
    i = abs(i) % period
    return period - i if i >= size else i


@pytest.mark.parametrize("pads", [(2, 3), (4, 0), (0, 1), (2, -1), (-2, 1), (0, 0)])
@pytest.mark.parametrize(
    ("mode", "place"),
    [
        ("reflect", reflected),
        ("replicate", lambda i, size: min(max(i, 0), size - 1)),
        ("circular", lambda i, size: i % size),
    ],
)
def test_padding_reads_the_element_that_the_formula_names(
    mode: str, place: Any, pads: tuple[int, int]
) -> None:
    if mode == "circular" and min(pads) < 0:
        kept = LINE[max(-pads[0], 0) : len(LINE) - max(-pads[1], 0)]
        before = max(pads[0], 0)
        length = len(kept) + before + max(pads[1], 0)
        expected = [kept[(i - before) % len(kept)] for i in range(length)]
    else:
        expected = [LINE[place(i, 5)] for i in range(-pads[0], 5 + pads[1])]
    x = grid(5).reshape(1, 5).requires_grad_()
    y = functional.pad(x, pads, mode)
    assert y.tolist() == [expected]
    weights = dlgrad.arange(len(expected)).float()
    (y * weights).sum().backward()
    assert x.grad is not None
    slopes = [sum(i for i, value in enumerate(expected) if value == at) for at in LINE]
    assert x.grad.tolist() == [slopes]


def test_padding_with_numbers() -> None:
    x = grid(2, 2)
    y = functional.pad(x, (1, -1, 0, 1), value=9)
    assert y.tolist() == [[9.0, 0.0], [9.0, 2.0], [9.0, 9.0]]
    assert functional.pad(x.to(dlgrad.uint8), (0, 1), value=1.7).tolist() == [[0, 1, 1], [2, 3, 1]]
    same = functional.pad(x, (0, 0))
    same.zero_()
    assert x.tolist() == [[0.0, 1.0], [2.0, 3.0]]


@pytest.mark.parametrize(
    ("mode", "pads", "shape", "error"),
    [
        ("reflect", (5, 0), (1, 5), RuntimeError),
        ("circular", (6, 0), (1, 5), RuntimeError),
        ("replicate", (-3, -2), (1, 5), RuntimeError),
        ("constant", (-3, -3), (5,), RuntimeError),
        ("constant", (1,), (5,), RuntimeError),
        ("constant", (1, 1, 1, 1), (5,), RuntimeError),
        ("reflect", (1, 1), (5,), NotImplementedError),
        ("mirror", (1, 1), (1, 5), NotImplementedError),
    ],
)
def test_padding_refuses(mode: str, pads: Any, shape: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        functional.pad(dlgrad.zeros(shape), pads, mode)


def test_rolling_and_turning() -> None:
    x = grid(2, 3)
    assert x.roll(1).tolist() == [[5.0, 0.0, 1.0], [2.0, 3.0, 4.0]]
    assert x.roll((1, -1), (0, 1)).tolist() == [[4.0, 5.0, 3.0], [1.0, 2.0, 0.0]]
    assert x.rot90().tolist() == [[2.0, 5.0], [1.0, 4.0], [0.0, 3.0]]
    assert x.rot90(-1).tolist() == [[3.0, 0.0], [4.0, 1.0], [5.0, 2.0]]
    assert x.rot90(2).tolist() == x.flip(0, 1).tolist() == [[5.0, 4.0, 3.0], [2.0, 1.0, 0.0]]
    for turns in range(4):
        assert x.rot90(turns).rot90(4 - turns).tolist() == x.tolist()
    assert dlgrad.roll(grid(0, 2), 1, 0).shape == (0, 2)
    with pytest.raises(RuntimeError, match="align"):
        x.roll((1, 2), 0)
    with pytest.raises(RuntimeError, match="different"):
        x.rot90(1, (0, -2))


def test_as_strided_sees_the_memory() -> None:
    x = grid(3, 4)
    y = x[1:].as_strided((2, 3), (1, 4), 1)
    assert y.tolist() == [[1.0, 5.0, 9.0], [2.0, 6.0, 10.0]]
    assert (y.stride(), y.storage_offset()) == ((1, 4), 1)
    assert x.t()[1].as_strided((2,), (1,)).tolist() == [1.0, 2.0]
    y.zero_()
    assert x.tolist()[0] == [0.0, 0.0, 0.0, 3.0]
    for size, stride, offset in [((4,), (4,), None), ((2, 2), (1,), None), ((2,), (1,), 11)]:
        with pytest.raises(RuntimeError):
            x.as_strided(size, stride, offset)
    with pytest.raises(RuntimeError, match="[Nn]egative"):
        x.as_strided((2,), (-1,), 3)


def test_gradient_through_as_strided() -> None:
    x = grid(6).requires_grad_()
    windows = x.as_strided((4, 3), (1, 1))
    (windows * windows).sum().backward()
    assert x.grad is not None
    counts = [1, 2, 3, 3, 2, 1]
    assert x.grad.tolist() == [2.0 * i * count for i, count in enumerate(counts)]
    z = grid(2, 3).requires_grad_()
    z[1].expand(2, 3).as_strided((3,), (1,)).sum().backward()
    assert z.grad is not None
    assert z.grad.tolist() == [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]


def test_windows() -> None:
    x = grid(7)
    y = x.unfold(0, 3, 2)
    assert y.tolist() == [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0], [4.0, 5.0, 6.0]]
    assert y._storage is x._storage
    assert grid(2, 4).unfold(-1, 2, 2).shape == (2, 2, 2)
    assert dlgrad.tensor(3.0).unfold(0, 1, 1).tolist() == [3.0]
    for size, step in [(8, 1), (-1, 1), (2, 0)]:
        with pytest.raises(RuntimeError):
            x.unfold(0, size, step)


def test_bits() -> None:
    x = dlgrad.tensor([1.0, -2.0])
    assert x.view(dlgrad.int32).tolist() == [0x3F800000, 0xC0000000 - (1 << 32)]
    assert x.view(dlgrad.uint16).tolist() == [0, 0x3F80, 0, 0xC000]
    assert x.view(dlgrad.int64).tolist() == [0x3F800000 + (0xC0000000 << 32) - (1 << 64)]
    assert x.view(dlgrad.uint8).view(dlgrad.float32).tolist() == [1.0, -2.0]
    assert dlgrad.tensor([0, 3], dtype=dlgrad.uint8).view(dlgrad.bool).tolist() == [False, True]
    with pytest.raises(RuntimeError, match="divisible"):
        dlgrad.zeros(3).view(dlgrad.float64)
    with pytest.raises(RuntimeError, match="stride"):
        grid(2, 2).t().view(dlgrad.int16)


def test_splitting() -> None:
    x = grid(5, 2)
    sizes = {
        "split": x.split(2),
        "sections": x.split([1, 4]),
        "chunk": x.chunk(3),
        "tensor_split": x.tensor_split(3),
        "places": x.tensor_split((1, -1, 9)),
    }
    assert {name: [part.shape[0] for part in parts] for name, parts in sizes.items()} == {
        "split": [2, 2, 1],
        "sections": [1, 4],
        "chunk": [2, 2, 1],
        "tensor_split": [2, 2, 1],
        "places": [1, 3, 1, 0],
    }
    for parts in sizes.values():
        assert all(part._storage is x._storage for part in parts)
        assert dlgrad.cat(parts).tolist() == x.tolist()
    assert [part.shape for part in grid(2, 2, 4).dsplit(2)] == [(2, 2, 2)] * 2
    with pytest.raises(RuntimeError, match="divisible"):
        x.vsplit(2)
    with pytest.raises(RuntimeError, match="sum exactly"):
        x.split([1, 1])


def test_joining() -> None:
    x, y = grid(2), grid(2) + 5
    assert dlgrad.hstack([x, y]).tolist() == [0.0, 1.0, 5.0, 6.0]
    assert dlgrad.vstack([x, y]).tolist() == [[0.0, 1.0], [5.0, 6.0]]
    assert dlgrad.column_stack([x, y]).tolist() == [[0.0, 5.0], [1.0, 6.0]]
    assert dlgrad.dstack([x, y]).tolist() == [[[0.0, 5.0], [1.0, 6.0]]]
    assert dlgrad.cat([x, dlgrad.zeros(0), y.long()]).dtype is dlgrad.float32
    assert dlgrad.block_diag(x, grid(1, 1) + 9).tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 9.0]]
    expected = [list(pair) for pair in itertools.product([0.0, 1.0], [5.0, 6.0])]
    assert dlgrad.cartesian_prod(x, y).tolist() == expected
    rows, columns = dlgrad.meshgrid(x, grid(3), indexing="xy")
    assert rows.tolist() == [[0.0, 1.0]] * 3
    assert columns.tolist() == [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]
    with pytest.raises(ValueError, match="non-empty"):
        dlgrad.cat([])
    with pytest.raises(RuntimeError, match="zero-dim"):
        dlgrad.cat([x, dlgrad.tensor(1.0)])
    with pytest.raises(TypeError, match="not Tensor"):
        dlgrad.cat(x)  # type: ignore[arg-type]


def test_repeats_and_combinations() -> None:
    x = grid(3)
    assert x.repeat_interleave(2).tolist() == [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]
    assert x.repeat_interleave(dlgrad.tensor([2, 0, 1])).tolist() == [0.0, 0.0, 2.0]
    assert dlgrad.repeat_interleave(dlgrad.tensor([0, 2, 1])).tolist() == [1, 1, 2]
    doubled = grid(2, 2).repeat_interleave(2, 1)
    assert doubled.tolist() == [[0.0, 0.0, 1.0, 1.0], [2.0, 2.0, 3.0, 3.0]]
    for count, repeats in itertools.product((2, 3), (False, True)):
        choose = itertools.combinations_with_replacement if repeats else itertools.combinations
        expected = [list(row) for row in choose([0.0, 1.0, 2.0], count)]
        assert dlgrad.combinations(x, count, repeats).tolist() == expected
    with pytest.raises(RuntimeError, match="negative"):
        x.repeat_interleave(dlgrad.tensor([1, -1, 0]))
    with pytest.raises(RuntimeError, match="same size"):
        x.repeat_interleave(dlgrad.tensor([1, 1]))


def test_diagonals() -> None:
    x = grid(2)
    assert dlgrad.diag(x + 1, 1).tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]
    assert dlgrad.diag(dlgrad.diag(x, -1), -1).tolist() == x.tolist()
    assert dlgrad.diag_embed(grid(2, 2), 0, 0, 2).diagonal(0, 0, 2).tolist() == grid(2, 2).tolist()
    assert dlgrad.trace(grid(2, 3)).item() == 4.0
    for rows, columns, offset in itertools.product((0, 2, 3), (1, 3), (-2, 0, 1)):
        places = [(i, j) for i in range(rows) for j in range(columns)]
        lower = [place for place in places if place[1] - place[0] <= offset]
        upper = [place for place in places if place[1] - place[0] >= offset]
        for function, expected in ((dlgrad.tril_indices, lower), (dlgrad.triu_indices, upper)):
            found = function(rows, columns, offset)
            assert found.shape == (2, len(expected))
            assert found.tolist() == [[place[k] for place in expected] for k in (0, 1)]


def test_copies_with_a_part_written_anew() -> None:
    x, part = grid(3, 3).requires_grad_(), dlgrad.tensor([-1.0, -2.0, -3.0], requires_grad=True)
    for written, places in [
        (dlgrad.select_scatter(x, part, 0, 1), [3, 4, 5]),
        (dlgrad.slice_scatter(x, part.reshape(3, 1), 1, 1, 2), [1, 4, 7]),
        (dlgrad.diagonal_scatter(x, part), [0, 4, 8]),
        (dlgrad.as_strided_scatter(x, part, (3,), (3,), 2), [2, 5, 8]),
    ]:
        expected = [float(i) for i in range(9)]
        for place, value in zip(places, [-1.0, -2.0, -3.0], strict=True):
            expected[place] = value
        assert written.flatten().tolist() == expected
        x.grad = part.grad = None
        (written * (grid(3, 3) + 1)).sum().backward()
        assert x.grad is not None
        assert part.grad is not None
        slopes = [0.0 if i in places else i + 1.0 for i in range(9)]
        assert x.grad.flatten().tolist() == slopes
        assert part.grad.tolist() == [place + 1.0 for place in places]
    with pytest.raises(RuntimeError, match="size"):
        dlgrad.select_scatter(x, part[:2], 0, 0)


def test_views_of_a_detached_view_follow_its_writes() -> None:
    x = grid(2, 3)
    factor = grid(3, 2).requires_grad_()
    turned = x.T.detach()
    row = turned[1]
    turned.mul_(factor)
    row.sum().backward()
    assert factor.grad is not None
    assert factor.grad.tolist() == [[0.0, 0.0], [1.0, 4.0], [0.0, 0.0]]


def test_shapes_of_nothing() -> None:
    empty = dlgrad.zeros(3, 0, 1)
    assert empty.permute(2, 0, 1).reshape(0, 2, 3).shape == (0, 2, 3)
    assert empty.transpose(0, 2).is_contiguous()
    assert empty.squeeze(()).shape == (3, 0, 1)
    assert empty.tile(2, 3).shape == (3, 0, 3)


def test_shapes_changed_in_place() -> None:
    x = grid(2, 1, 3)
    assert x.squeeze_(1) is x
    assert x.t_().shape == (3, 2)
    assert x.unsqueeze_(0).tolist() == [[[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]]
    y = grid(2, 2)
    assert y.resize_(3).tolist() == [0.0, 1.0, 2.0]
    assert y.resize_(2, 3).flatten().tolist()[:4] == [0.0, 1.0, 2.0, 3.0]
    with pytest.raises(RuntimeError, match="requires grad"):
        grid(2, 2).requires_grad_().t_()


def test_keywords() -> None:
    x = grid(2, 3)
    assert x.permute(dims=(1, 0)).shape == x.reshape(shape=(3, 2)).shape == (3, 2)
    assert x.expand(size=(4, 2, 3)).shape == (4, 2, 3)
    assert x.view(size=(6,)).shape == (6,)
    assert x.flip(dims=[0]).tolist() == x.flip(0).tolist()
    assert x.repeat(repeats=(1, 2)).shape == x.tile(dims=(2,)).shape == (2, 6)
