"""Products of matrices and `einsum` beside loops over Python numbers; counting; creation."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

import dlgrad
from dlgrad.tensor import Tensor


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Small whole numbers, so that sums are exact in any order."""
    count = math.prod(shape)
    return dlgrad.tensor([(7 * i + 3 * seed) % 5 - 2.0 for i in range(count)]).reshape(shape)


def loops(equation: str, *operands: Tensor) -> Any:
    """The definition: a sum over all letters, one number at a time."""
    left, _, right = equation.partition("->")
    terms = left.split(",")
    sizes = {
        letter: size
        for term, operand in zip(terms, operands, strict=True)
        for letter, size in zip(term, operand.shape, strict=True)
    }
    values = [operand.tolist() for operand in operands]
    sums = dict.fromkeys(itertools.product(*(range(sizes[letter]) for letter in right)), 0.0)
    for places in itertools.product(*(range(size) for size in sizes.values())):
        at = dict(zip(sizes, places, strict=True))
        product = 1.0
        for term, value in zip(terms, values, strict=True):
            for letter in term:
                value = value[at[letter]]
            product *= value
        sums[tuple(at[letter] for letter in right)] += product
    return list(sums.values())


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", ((2, 3), (3, 4))),
        ("bij,bkj->kbi", ((2, 3, 4), (2, 2, 4))),
        ("ij,ij->", ((2, 3), (2, 3))),
        ("i,j->ji", ((2,), (3,))),
        ("iij,jk->ik", ((2, 2, 3), (3, 2))),
        ("ijk->kj", ((2, 3, 4),)),
        ("ij,jk,kl->il", ((2, 3), (3, 4), (4, 2))),
        ("ab,bc,cd,d->a", ((2, 3), (3, 2), (2, 4), (4,))),
        ("ij,jk,ik->j", ((2, 3), (3, 4), (2, 4))),
    ],
)
def test_einsum_is_its_definition(equation: str, shapes: Any) -> None:
    operands = [numbers(*shape, seed=i) for i, shape in enumerate(shapes)]
    assert dlgrad.einsum(equation, *operands).flatten().tolist() == loops(equation, *operands)


def test_other_ways_to_write_einsum() -> None:
    x, y = numbers(2, 3, 4), numbers(2, 4, 2, seed=1)
    expected = (x @ y).tolist()
    for found in (
        dlgrad.einsum("...ij,...jk", x, y),
        dlgrad.einsum("bij, bjk -> bik", [x, y]),
        dlgrad.einsum(x, [0, 1, 2], y, [0, 2, 3], [0, 1, 3]),
        dlgrad.einsum(x, [..., 1, 2], y, [..., 2, 3]),
    ):
        assert found.tolist() == expected
    assert dlgrad.einsum("ba", numbers(2, 3)).shape == (3, 2)


def test_einsum_multiplies_the_cheap_pair_first() -> None:
    """From the left, the product of the first two would have 10**9 elements."""
    long, short = dlgrad.ones(30_000, 2), dlgrad.ones(2, 30_000)
    found = dlgrad.einsum("ij,jk,kl->il", long, short, long)
    assert found.shape == (30_000, 2)
    assert found[0].tolist() == [60_000.0, 60_000.0]


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk", ((2, 2),)),
        ("ijk", ((2, 2),)),
        ("ij,ij", ((2, 3), (3, 2))),
        ("ii", ((2, 3),)),
        ("ij->ik", ((2, 3),)),
        ("ij->ii", ((2, 3),)),
        ("i1", ((2, 3),)),
        ("i......", ((2, 3),)),
    ],
)
def test_einsum_refuses(equation: str, shapes: Any) -> None:
    with pytest.raises(RuntimeError, match="einsum"):
        dlgrad.einsum(equation, *(dlgrad.zeros(shape) for shape in shapes))


def test_products() -> None:
    x, y = numbers(2, 3), numbers(2, 2, seed=1)
    a, b = x.tolist(), y.tolist()
    expected = [
        [a[i][j] * b[k][m] for j in range(3) for m in range(2)]
        for i in range(2)
        for k in range(2)
    ]
    assert dlgrad.kron(x, y).tolist() == expected
    chain = [numbers(2, 5), numbers(5, 3, seed=1), numbers(3, 4, seed=2), numbers(4, 1, seed=3)]
    product = chain[0] @ chain[1] @ chain[2] @ chain[3]
    assert dlgrad.linalg.multi_dot(chain).tolist() == product.tolist()
    assert dlgrad.chain_matmul(*chain).tolist() == product.tolist()
    first = dlgrad.linalg.multi_dot([chain[0][0], *chain[1:3], chain[3][:, 0]])
    assert first.item() == product[0, 0].item()
    square = numbers(3, 3)
    assert dlgrad.matrix_power(square, 3).tolist() == (square @ square @ square).tolist()
    assert dlgrad.matrix_power(square, 0).tolist() == dlgrad.eye(3).tolist()
    e = dlgrad.eye(3)
    assert dlgrad.linalg.cross(e[0], e[1]).tolist() == e[2].tolist()
    assert dlgrad.linalg.cross(e, e.roll(-1, 0)).tolist() == e.roll(-2, 0).tolist()
    assert dlgrad.vander(dlgrad.tensor([2, 3]), 3).tolist() == [[4, 2, 1], [9, 3, 1]]
    assert dlgrad.inner(numbers(2, 3), numbers(4, 3)).shape == (2, 4)
    assert dlgrad.dot(dlgrad.tensor([1, 2], dtype=dlgrad.int16),
                      dlgrad.tensor([3, 4], dtype=dlgrad.int16)).dtype is dlgrad.int16


def test_a_size_of_one_meets_the_sum_over_the_other() -> None:
    """Sums of small whole numbers are int64, products of tensors keep the dtype."""
    one = dlgrad.full((1, 1, 1), 3, dtype=dlgrad.int8)
    many = dlgrad.arange(4, dtype=dlgrad.int8).reshape(2, 1, 2)
    out = dlgrad.tensordot(one, many, dims=((0, 1), (2, 0)))
    assert (out.dtype, out.tolist()) == (dlgrad.int8, [[18]])


@pytest.mark.parametrize("half", [2, 4, 8, 16])
def test_columns_of_turned_memory_under_few_rows(half: int) -> None:
    """Every second element, twice: from the first to the last it is as far as in a row."""
    x, y = numbers(2, 40), numbers(40, half, 2, seed=1).permute(0, 2, 1)
    found = dlgrad.tensordot(x, y, dims=1)
    assert found.tolist() == (x @ y.reshape(40, -1)).reshape(2, 2, half).tolist()


def test_sums_of_products() -> None:
    x, y, z = numbers(2, 4), numbers(2, 3, seed=1), numbers(3, 4, seed=2)
    assert dlgrad.addmm(x, y, z, beta=2, alpha=3).tolist() == (2 * x + 3 * (y @ z)).tolist()
    ignored = dlgrad.full((4,), math.nan)
    assert dlgrad.addmm(ignored, y, z, beta=0).tolist() == (y @ z).tolist()
    assert dlgrad.addr(x, y[:, 0], x[0]).tolist() == (x + dlgrad.outer(y[:, 0], x[0])).tolist()
    batch, other = numbers(3, 2, 4), numbers(3, 4, 2, seed=1)
    summed = (batch @ other).sum(0).tolist()
    assert dlgrad.addbmm(dlgrad.zeros(2, 2), batch, other).tolist() == summed
    same = x.clone()
    assert same.addmm_(y, z) is same
    assert same.tolist() == (x + y @ z).tolist()
    with pytest.raises(RuntimeError, match="expanded size"):
        dlgrad.addmm(dlgrad.zeros(3), y, z)
    with pytest.raises(RuntimeError, match="same dtype"):
        dlgrad.addmm(x.double(), y, z)


def test_counting() -> None:
    assert dlgrad.arange(2, 11, 3).tolist() == [2, 5, 8]
    assert dlgrad.arange(5, 0, -2).tolist() == [5, 3, 1]
    assert dlgrad.arange(0, 1, 0.25).tolist() == [0.0, 0.25, 0.5, 0.75]
    assert dlgrad.arange(0.5, 3, dtype=dlgrad.int64).tolist() == [0, 1, 2]
    tenths = dlgrad.arange(0, 1, 0.1, dtype=dlgrad.float64).tolist()
    assert tenths == [i * 0.1 for i in range(10)]
    assert dlgrad.linspace(0, 1, 5).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert dlgrad.linspace(3, -3, 3).tolist() == [3.0, 0.0, -3.0]
    assert dlgrad.linspace(0, 10, 5, dtype=dlgrad.int32).tolist() == [0, 2, 5, 7, 10]
    assert dlgrad.logspace(0, 3, 4).tolist() == pytest.approx([1, 10, 100, 1000])
    assert dlgrad.logspace(0, 3, 4, base=2, dtype=dlgrad.int64).tolist() == [1, 2, 4, 8]
    for call in (
        lambda: dlgrad.arange(0, 3, 0),
        lambda: dlgrad.arange(3, 0),
        lambda: dlgrad.arange(0, math.inf),
        lambda: dlgrad.arange(3, dtype=dlgrad.bool),
        lambda: dlgrad.linspace(0, 1, -1),
        lambda: dlgrad.eye(-1),
    ):
        with pytest.raises(RuntimeError):
            call()


def test_making() -> None:
    x = dlgrad.zeros(2, dtype=dlgrad.int16)
    assert [made.dtype.name for made in (
        x.new_ones(1), x.new_full((1,), 2), x.new_tensor([1.0]), x.new_zeros(1, dtype=dlgrad.bool),
        dlgrad.scalar_tensor(1), dlgrad.full((1,), 2), dlgrad.full((1,), True),
        dlgrad.full((1,), dlgrad.tensor(2.0, dtype=dlgrad.float64)),
    )] == ["int16", "int16", "int16", "bool", "float32", "int64", "bool", "float64"]  # fmt: skip
    assert dlgrad.zeros(size=(1, 2)).shape == (1, 2)
    strided = dlgrad.empty_strided((2, 3), (1, 2))
    assert strided.stride() == (1, 2)
    strided.fill_(1)
    assert strided.tolist() == [[1.0] * 3] * 2
    data = [1.0, 2.0]
    assert dlgrad.asarray(data).tolist() == data
    assert dlgrad.asarray(strided) is strided
    assert dlgrad.asarray(strided, copy=True)._storage is not strided._storage
    for call, error in (
        (lambda: dlgrad.asarray(data, copy=False), ValueError),
        (lambda: dlgrad.full((1,), 300, dtype=dlgrad.uint8), RuntimeError),
        (lambda: dlgrad.zeros(), TypeError),
        (lambda: dlgrad.zeros(-1), RuntimeError),
        (lambda: dlgrad.full((1,), 1j), NotImplementedError),
        (lambda: dlgrad.arange(3j), NotImplementedError),
    ):
        with pytest.raises(error):
            call()


@pytest.mark.parametrize(
    "shape", [(5, 7, 3), (17, 64, 40), (33, 1, 65), (2, 1501, 70), (29, 33, 1)]
)
def test_products_of_bfloat16_are_summed_in_pairs(shape: tuple[int, int, int]) -> None:
    """Odd depths, several blocks of them, and both operands in every order of memory."""
    m, k, n = shape
    a, b = numbers(m, k, seed=1), numbers(k, n, seed=2)
    exact = (a @ b).bfloat16().tolist()
    halves = [x.bfloat16() for x in (a, b)]
    turned = [x.t().contiguous().t() for x in halves]
    for left in (halves[0], turned[0]):
        for right in (halves[1], turned[1]):
            assert (left @ right).tolist() == exact


def test_a_product_of_float32_keeps_denormals() -> None:
    """Also of numbers that were bfloat16, which a processor may multiply in pairs without them."""
    small = dlgrad.tensor([[2.0**-130] * 4] * 8).bfloat16().realize()
    large = dlgrad.tensor([[2.0**100] * 40] * 4).bfloat16().realize()
    found = (small.float() @ large.float()).tolist()
    assert found == [[2.0**-28] * 40] * 8
