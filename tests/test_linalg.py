"""`dlgrad.linalg`: factorizations, solutions, determinants, eigenvalues, singular values.

The witnesses are what defines each of them (A A^-1 = 1, Q^T Q = 1, the product of the factors),
the graph reference, and finite differences.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import graph_reference
import pytest

import dlgrad
from dlgrad import linalg
from dlgrad.core.base import make, node_of
from dlgrad.dtype import DType, float32, float64, int64
from dlgrad.lazy.factors import factor
from dlgrad.lazy.ops import FactorOps
from dlgrad.tensor import Tensor

DEVICES = ["cpu", "python"]
CASES: list[tuple[tuple[int, ...], DType]] = [
    ((3, 3), float64), ((2, 5, 2), float64), ((2, 5), float64),
    ((1, 1), float32), ((17, 17), float32),
]  # fmt: skip
CLOSE = {float64: 1e-9, float32: 2e-4}


def numbers(*shape: int, dtype: DType = float64, device: str = "cpu", seed: int = 0) -> Tensor:
    draw = random.Random(seed + 1000 * sum(shape))
    values = [draw.gauss(0, 1) for _ in range(math.prod(shape))]
    return dlgrad.tensor(values, dtype=dtype, device=device).reshape(shape)


def one(like: Tensor) -> Tensor:
    return dlgrad.eye(like.shape[-1], dtype=like.dtype, device=like.device)


def symmetric(a: Tensor) -> Tensor:
    """Square matrices without equal eigenvalues."""
    places = dlgrad.arange(float(a.shape[-2]), dtype=a.dtype, device=a.device)
    return a @ a.mT + dlgrad.diag(places * 0.7)


def distance(a: Tensor, b: Tensor | float) -> float:
    difference = (a - b).abs()
    return difference.max().item() if difference.numel() else 0.0


def near(a: Tensor, b: Tensor | float, scale: float = 1.0) -> None:
    assert distance(a, b) < scale * CLOSE[a.dtype]


# The primitives against their definitions -----------------------------------------------------

FACTORS: dict[str, tuple[Callable[[Tensor], Tensor], FactorOps, Any]] = {
    "lu": (lambda a: a, FactorOps.LU, None),
    "cholesky": (lambda a: a @ a.mT + one(a @ a.mT), FactorOps.CHOLESKY, None),
    "qr": (lambda a: a, FactorOps.QR, 2),
    "eigh": (lambda a: symmetric(a), FactorOps.EIGH, None),
    "svd": (lambda a: a if a.shape[-2] >= a.shape[-1] else a.mT.contiguous(), FactorOps.SVD, None),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", FACTORS)
def test_factors_mean_what_the_reference_says(name: str, device: str) -> None:
    prepare, op, arg = FACTORS[name]
    for shape in [(3, 3), (2, 4, 2), (2, 4)]:
        a = prepare(numbers(*shape, device=device)).realize()
        result = make(factor(op, node_of(a), arg=arg))
        expected = graph_reference.evaluate_flat(result)
        got = result.flatten().tolist()
        if name in ("eigh", "svd"):  # vectors have no sign
            expected, got = [abs(x) for x in expected], [abs(x) for x in got]
        assert got == pytest.approx(expected, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("device", DEVICES)
def test_triangles_and_orders_mean_what_the_reference_says(device: str) -> None:
    a = (numbers(2, 3, 3, device=device) + 3 * one(numbers(3, 3, device=device))).realize()
    b = numbers(2, 2, 3, device=device).realize()
    for upper in (False, True):
        for unit in (False, True):
            node = factor(FactorOps.TRIANGULAR, node_of(a), node_of(b), arg=(upper, unit))
            result = make(node)
            expected = graph_reference.evaluate_flat(result)
            assert result.flatten().tolist() == pytest.approx(expected, rel=1e-12)
    pivots = dlgrad.tensor([[2, 1, 3], [0, 3, 2]], dtype=int64, device=device).realize()
    order = make(factor(FactorOps.PERMUTATION, node_of(pivots), arg=4))
    assert graph_reference.evaluate(order) == order.tolist() == [[2, 1, 3, 0], [0, 3, 2, 1]]


def test_pivots_outside_of_the_matrix_touch_no_other_memory() -> None:
    pivots = dlgrad.tensor([7, -9], dtype=int64).realize()
    order = make(factor(FactorOps.PERMUTATION, node_of(pivots), arg=3))
    assert sorted(order.tolist()) == [0, 1, 2]


# What defines each function -------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "dtype"), CASES, ids=str)
def test_factorizations_multiply_to_the_matrix(shape: tuple[int, ...], dtype: DType) -> None:
    a = numbers(*shape, dtype=dtype)
    P, L, U = linalg.lu(a)
    near(P @ L @ U, a)
    assert distance(L.triu(1), 0) == 0 and distance(U.tril(-1), 0) == 0
    assert distance(L, 0) <= 1  # the largest element of each column became its pivot
    for mode in ("reduced", "complete"):
        Q, R = linalg.qr(a, mode)
        near(Q @ R, a)
        near(Q.mT @ Q, one(Q))
        assert distance(R.tril(-1), 0) == 0
    near(linalg.qr(a, "r").R, linalg.qr(a).R)
    for full in (False, True):
        left, values, right = linalg.svd(a, full)
        k = values.shape[-1]
        near(left[..., :k] * values.unsqueeze(-2) @ right[..., :k, :], a, 10)
        near(left.mT @ left, one(left))
        near(right @ right.mT, one(right.mT))
        assert (values >= 0).all() and (values[..., 1:] <= values[..., :-1]).all()
    near(linalg.svdvals(a), values)
    inverse = linalg.pinv(a)
    near(a @ inverse @ a, a, 10)
    near(inverse @ a @ inverse, inverse, 100)
    assert linalg.matrix_rank(a).tolist() == values.gt(1e-3).sum(-1).tolist()


@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 3, 3), float64), ((1, 1), float32), ((17, 17), float32)], ids=str
)
def test_square_matrices(shape: tuple[int, ...], dtype: DType) -> None:
    a, b = numbers(*shape, dtype=dtype), numbers(*shape, dtype=dtype, seed=7)
    near(a @ linalg.inv(a), one(a), 10)
    near(a @ linalg.solve(a, b), b, 10)
    near(linalg.solve(a, b, left=False) @ a, b, 10)
    near(a @ linalg.lu_solve(*linalg.lu_factor(a), b), b, 10)
    near(a.mT @ linalg.lu_solve(*linalg.lu_factor(a), b, adjoint=True), b, 10)
    ratio = linalg.det(a @ b) / (linalg.det(a) * linalg.det(b))
    near(ratio, 1.0, 10)
    sign, size = linalg.slogdet(a)
    near(sign * size.exp() / linalg.det(a), 1.0, 10)
    s = a @ a.mT + 0.5 * one(a)
    low = linalg.cholesky(s)
    near(low @ low.mT, s, 10)
    near(linalg.cholesky(s, upper=True), low.mT)
    near(s @ dlgrad.cholesky_solve(b, low), b, 100)
    near(s @ dlgrad.cholesky_inverse(low), one(s), 100)
    values, vectors = linalg.eigh(a + a.mT)
    near((vectors * values.unsqueeze(-2)) @ vectors.mT, a + a.mT, 10)
    near(vectors.mT @ vectors, one(a))
    assert (values[..., 1:] >= values[..., :-1]).all()
    near(linalg.eigvalsh(a + a.mT, UPLO="U"), values)


@pytest.mark.parametrize("device", DEVICES)
def test_triangular_systems(device: str) -> None:
    a = numbers(2, 3, 3, device=device) + 3 * one(numbers(3, 3, device=device))
    b = numbers(2, 3, 2, device=device)
    for upper in (False, True):
        triangle = a.triu() if upper else a.tril()
        x = linalg.solve_triangular(a, b, upper=upper)
        near(triangle @ x, b)
        x = linalg.solve_triangular(a, b.mT, upper=upper, left=False)
        near(x @ triangle, b.mT)
        ones = triangle - dlgrad.diag_embed(triangle.diagonal(0, -2, -1)) + one(a)
        near(ones @ linalg.solve_triangular(a, b, upper=upper, unitriangular=True), b)


def test_batches_are_broadcast() -> None:
    a, b = numbers(2, 1, 3, 3), numbers(4, 3, 2)
    assert linalg.solve(a, b).shape == (2, 4, 3, 2)
    near(a @ linalg.solve(a, b), b)
    assert linalg.solve(a[0, 0], b).shape == (4, 3, 2)
    vector = numbers(2, 1, 3)
    near((a @ linalg.solve(a, vector).unsqueeze(-1)).squeeze(-1), vector)
    assert linalg.solve_triangular(a, b, upper=True).shape == (2, 4, 3, 2)


def test_matrices_without_elements() -> None:
    none, flat = dlgrad.zeros(0, 0), dlgrad.zeros(2, 0, 3)
    assert linalg.det(none).item() == 1 and dlgrad.logdet(none).item() == 0
    assert linalg.inv(none).shape == linalg.cholesky(none).shape == (0, 0)
    assert linalg.eigh(none).eigenvalues.shape == linalg.svdvals(none).shape == (0,)
    assert linalg.solve(none, dlgrad.zeros(0, 2)).shape == (0, 2)
    near(linalg.svd(flat).Vh, one(dlgrad.zeros(3, 3)))
    near(linalg.qr(flat.mT, "complete").Q, one(dlgrad.zeros(3, 3)))
    assert linalg.qr(flat).R.shape == (2, 0, 3) and linalg.pinv(flat).shape == (2, 3, 0)
    assert linalg.matrix_rank(flat).tolist() == [0, 0]
    assert linalg.lstsq(flat, dlgrad.zeros(2, 0, 1)).solution.tolist() == [[[0.0]] * 3] * 2


# Matrices that are hard -----------------------------------------------------------------------


def test_a_rank_that_is_not_full() -> None:
    a = numbers(5, 2) @ numbers(2, 4)
    left, values, right = linalg.svd(a)
    near((left[:, :4] * values) @ right, a)
    near(left.mT @ left, one(left))
    near(values[2:], 0.0)
    assert linalg.matrix_rank(a).item() == 2
    assert linalg.matrix_rank(a, tol=values[0].item()).item() == 0
    assert linalg.matrix_rank(a @ a.T, hermitian=True).item() == 2
    inverse = linalg.pinv(a)
    near(inverse @ a, (inverse @ a).T)
    near(linalg.pinv(a @ a.T, hermitian=True), linalg.pinv(a @ a.T), 100)
    b = numbers(5, 1)
    x = linalg.lstsq(a, b).solution
    near(a.T @ (a @ x - b), 0.0)
    near(x, inverse @ a @ x)  # the shortest of all solutions


def test_small_and_large_numbers() -> None:
    for scale in (1e-30, 1e30):
        a = dlgrad.tensor([[1.0, 2.0], [3.0, 4.0]]) * scale
        near(linalg.svdvals(a) / scale, dlgrad.tensor([5.4649857, 0.36596619]))
        near(linalg.eigvalsh(a + a.T) / scale, dlgrad.tensor([5 - 34**0.5, 5 + 34**0.5]))
        Q, R = linalg.qr(a)
        near(Q.T @ Q, one(Q))
        near(Q @ (R / scale), a / scale)


def test_an_ill_conditioned_matrix() -> None:
    size = 6
    hilbert = dlgrad.tensor([[1 / (i + j + 1) for j in range(size)] for i in range(size)],
                            dtype=float64)  # fmt: skip
    near(hilbert @ linalg.inv(hilbert), one(hilbert))
    near(linalg.cond(hilbert) / 1.495105864e7, 1.0)
    near(linalg.det(hilbert) / 5.3672998868e-18, 1.0, 100)
    near(linalg.eigvalsh(hilbert)[0] / 1.0827994845e-7, 1.0)


def test_equal_eigenvalues() -> None:
    turn = linalg.qr(numbers(4, 4)).Q
    a = (turn * dlgrad.tensor([2.0, 2.0, 2.0, -1.0], dtype=float64)) @ turn.T
    values, vectors = linalg.eigh(a)
    near(values, dlgrad.tensor([-1.0, 2.0, 2.0, 2.0], dtype=float64))
    near(vectors.T @ vectors, one(a))
    near(linalg.eigvalsh(dlgrad.zeros(3, 3)), 0.0)


def test_numbers_that_are_not_finite() -> None:
    """No loop goes on for ever, and nothing is found where nothing is."""
    for value in (math.nan, math.inf):
        a = dlgrad.tensor([[1.0, 2.0], [3.0, value]])
        with pytest.raises(linalg.LinAlgError, match="non-finite"):
            linalg.svd(a)
        assert not linalg.eigvalsh(a).isfinite().all()
        assert not linalg.inv(a).isfinite().all()
        assert not linalg.qr(a).R.isfinite().all()


# What raises ----------------------------------------------------------------------------------

SINGULAR = {
    "inv": (lambda a: linalg.inv(a), "diagonal element 2 is zero"),
    "inv_ex": (lambda a: linalg.inv_ex(a, check_errors=True), "linalg.inv_ex: "),
    "solve": (lambda a: linalg.solve(a, a), "the input matrix is singular"),
    "lu_factor": (lambda a: linalg.lu_factor(a), r"U\[2,2\] is zero"),
    "cholesky": (lambda a: linalg.cholesky(a), "leading minor of order 2 is not positive-definite"),
    "gels": (lambda a: linalg.lstsq(a, a, driver="gels"), "does not have full rank"),
    "power": (lambda a: linalg.matrix_power(a, -1), "diagonal element 2 is zero"),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_singular_matrices_raise(name: str) -> None:
    call, words = SINGULAR[name]
    singular = dlgrad.tensor([[1.0, 2.0], [2.0, 4.0]])
    with pytest.raises(linalg.LinAlgError, match=words):
        call(singular)
    with pytest.raises(RuntimeError):
        call(dlgrad.stack([dlgrad.eye(2), singular]))


def test_which_matrix_of_a_batch_is_singular() -> None:
    batch = dlgrad.stack([dlgrad.eye(2), dlgrad.zeros(2, 2)])
    with pytest.raises(linalg.LinAlgError, match=r"\(Batch element 1\)"):
        linalg.inv(batch)
    assert linalg.inv_ex(batch).info.tolist() == [0, 1]
    assert linalg.cholesky_ex(batch).info.tolist() == [0, 1]
    assert linalg.solve_ex(batch, batch).info.tolist() == [0, 1]
    assert linalg.det(batch).tolist() == [1, 0]
    assert linalg.slogdet(batch).logabsdet.tolist() == [0, -math.inf]
    assert linalg.cond(batch, 1).tolist() == [1, math.inf]


REFUSED = {
    "not square": lambda: linalg.inv(dlgrad.ones(2, 3)),
    "integers": lambda: linalg.det(dlgrad.ones(2, 2, dtype=int64)),
    "half": lambda: linalg.cholesky(dlgrad.ones(2, 2, dtype=dlgrad.float16)),
    "a vector": lambda: linalg.svd(dlgrad.ones(3)),
    "sizes": lambda: linalg.solve(dlgrad.eye(2), dlgrad.ones(3)),
    "batches": lambda: linalg.solve(numbers(2, 3, 3), numbers(4, 3, 1)),
    "dtypes": lambda: linalg.solve(dlgrad.eye(2), dlgrad.ones(2, dtype=float64)),
    "mode": lambda: linalg.qr(dlgrad.eye(2), "full"),
    "triangle": lambda: linalg.eigh(dlgrad.eye(2), "X"),
    "driver": lambda: linalg.lstsq(dlgrad.eye(2), dlgrad.ones(2), driver="x"),
    "rows": lambda: linalg.lstsq(dlgrad.ones(3, 2), dlgrad.ones(2, 1)),
    "pivots": lambda: linalg.lu_solve(
        dlgrad.eye(2), dlgrad.tensor([1, 3], dtype=dlgrad.int32), dlgrad.eye(2)
    ),
    "no pivots": lambda: linalg.lu(dlgrad.eye(2), pivot=False),
    "right side": lambda: linalg.solve_triangular(dlgrad.eye(2), dlgrad.ones(2), upper=True),
    "elements": lambda: linalg.tensorinv(dlgrad.ones(2, 3, 4), ind=1),
    "reflections": lambda: linalg.householder_product(dlgrad.ones(2, 3), dlgrad.ones(3)),
    "complex": lambda: linalg.eigvals(dlgrad.eye(2)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        REFUSED[name]()


# Further functions ----------------------------------------------------------------------------


def test_norms_by_singular_values() -> None:
    a = numbers(2, 3, 4)
    values = linalg.svdvals(a)
    near(linalg.matrix_norm(a, "nuc"), values.sum(-1))
    near(linalg.matrix_norm(a, 2), values[..., 0])
    near(linalg.matrix_norm(a, -2, dim=(0, 2), keepdim=True).squeeze((0, 2)),
         linalg.svdvals(a.permute(1, 0, 2))[..., -1])  # fmt: skip
    near(linalg.norm(a, 2, dim=(1, 2)), values[..., 0])


def test_the_exponential_of_a_matrix() -> None:
    angle = 30.0
    turn = dlgrad.tensor([[0.0, -angle], [angle, 0.0]], dtype=float64)
    expected = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    near(linalg.matrix_exp(turn), dlgrad.tensor(expected, dtype=float64))
    both = linalg.matrix_exp(dlgrad.stack([turn, dlgrad.zeros(2, 2, dtype=float64)]))
    near(both[1], one(turn))
    a = numbers(3, 3).requires_grad_()
    out = linalg.matrix_exp(a)
    near(linalg.det(out), a.trace().exp())
    out.trace().backward()
    near(a.grad, out.detach().T)


def test_tensors_as_matrices() -> None:
    a = numbers(2, 3, 6)
    inverse = linalg.tensorinv(a)
    assert inverse.shape == (6, 2, 3)
    near(dlgrad.tensordot(inverse, a, 2), dlgrad.eye(6, dtype=float64))
    b = numbers(2, 3)
    near(dlgrad.tensordot(a, linalg.tensorsolve(a, b), 1), b)


def test_least_squares() -> None:
    a, b = numbers(6, 3), numbers(6, 2)
    found = linalg.lstsq(a, b, driver="gelsd")
    rest = a @ found.solution - b
    near(a.T @ rest, 0.0)
    near(found.residuals, (rest * rest).sum(0))
    assert found.rank.item() == 3 and found.singular_values.shape == (3,)
    near(linalg.lstsq(a, b[:, 0]).solution, found.solution[:, 0])
    wide = linalg.lstsq(a.T, numbers(3, 1))
    near(a.T @ wide.solution, numbers(3, 1))
    assert wide.residuals.numel() == 0


def test_reflections_make_the_basis_of_qr() -> None:
    a = numbers(4, 2)
    v = dlgrad.tensor([[1.0, 0.0], [0.5, 1.0], [-1.0, 2.0], [0.25, 0.5]], dtype=float64)
    tau = 2 / (v * v).sum(0)
    Q = linalg.householder_product(v, tau)
    near(Q.T @ Q, one(Q))
    mirror = [one(v @ v.T) - tau[i] * v[:, i : i + 1] @ v[:, i : i + 1].T for i in range(2)]
    near(Q, (mirror[0] @ mirror[1])[:, :2])
    assert a.shape == Q.shape


def test_older_names() -> None:
    a, b = numbers(3, 3), numbers(3, 2)
    near(dlgrad.inverse(a), linalg.inv(a))
    near(a.pinverse(), linalg.inv(a))
    U, S, V = dlgrad.svd(a)
    near((U * S) @ V.T, a)
    Q, R = a.qr()
    near(Q @ R, a)
    factors, pivots = linalg.lu_factor(a)
    near(a @ b.lu_solve(factors, pivots), b)
    P, L, U = dlgrad.lu_unpack(factors, pivots)
    near(P @ L @ U, a)
    assert dlgrad.svd(a, compute_uv=False).U.tolist() == [[0.0] * 3] * 3
    near(linalg.matrix_power(a, -2) @ a @ a, one(a))


# Derivatives ----------------------------------------------------------------------------------

SLOPES: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "inv": (linalg.inv, ((2, 3, 3),)),
    "solve": (linalg.solve, ((3, 3), (3, 2))),
    "solve vector": (lambda a, b: linalg.solve(a, b), ((3, 3), (3,))),
    "det": (linalg.det, ((2, 3, 3),)),
    "slogdet": (lambda a: linalg.slogdet(a).logabsdet, ((3, 3),)),
    "logdet": (lambda a: dlgrad.logdet(a @ a.mT + one(a)), ((3, 3),)),
    "cholesky": (lambda a: linalg.cholesky(a @ a.mT + one(a)), ((3, 3),)),
    "cholesky_solve": (lambda a, b: dlgrad.cholesky_solve(b, a.tril()), ((2, 2), (2, 1))),
    "triangular": (lambda a, b: linalg.solve_triangular(a, b, upper=True), ((3, 3), (3, 2))),
    "unit": (
        lambda a, b: linalg.solve_triangular(a, b, upper=False, left=False, unitriangular=True),
        ((3, 3), (2, 3)),
    ),
    "qr": (linalg.qr, ((4, 2),)),
    "qr wide": (linalg.qr, ((2, 3),)),
    "lu": (lambda a: linalg.lu(a)[1:], ((3, 3),)),
    "lu tall": (lambda a: linalg.lu(a)[1:], ((4, 2),)),
    "lu wide": (lambda a: linalg.lu(a)[1:], ((2, 4),)),
    "eigh": (lambda a: outer_parts(*linalg.eigh(a + a.mT)), ((3, 3),)),
    "svd": (lambda a: outer_parts(*linalg.svd(a, False)[:2]), ((4, 2),)),
    "svd right": (lambda a: outer_parts(*linalg.svd(a, False)[:0:-1]), ((2, 3),)),
    "svdvals": (linalg.svdvals, ((2, 3, 2),)),
    "pinv": (linalg.pinv, ((4, 2),)),
    "lstsq": (lambda a, b: linalg.lstsq(a, b).solution, ((4, 2), (4, 1))),
    "nuc": (lambda a: linalg.matrix_norm(a, "nuc"), ((3, 2),)),
}


def outer_parts(first: Tensor, second: Tensor) -> list[Tensor]:
    """Values, and vectors as what does not depend on their sign."""
    values, vectors = (first, second) if first.ndim < second.ndim else (second, first)
    vectors = vectors if vectors.shape[-1] == values.shape[-1] else vectors.mT
    return [values, vectors * vectors[..., :1, :]]


@pytest.mark.parametrize("name", SLOPES)
def test_derivatives(name: str) -> None:
    function, shapes = SLOPES[name]
    inputs = [
        numbers(*shape, seed=3 + i).requires_grad_() for i, shape in enumerate(shapes)
    ]
    assert dlgrad.autograd.gradcheck(function, inputs, atol=1e-5)


@pytest.mark.parametrize("name", ["solve", "cholesky", "eigh", "svd"])
def test_second_derivatives(name: str) -> None:
    function, shapes = SLOPES[name]
    inputs = [numbers(*shape, seed=3 + i).requires_grad_() for i, shape in enumerate(shapes)]
    assert dlgrad.autograd.gradgradcheck(function, inputs, atol=1e-4)


def test_derivatives_of_a_singular_determinant() -> None:
    a = dlgrad.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=float64, requires_grad=True)
    linalg.det(a).backward()
    near(a.grad, dlgrad.tensor([[4.0, -2.0], [-2.0, 1.0]], dtype=float64))


def test_what_does_not_matter_has_no_slope() -> None:
    """Values that are equal do not make NaN where no vector is used."""
    a = one(numbers(3, 3)).requires_grad_()
    (linalg.svdvals(a).sum() + linalg.eigh(a).eigenvalues.sum()).backward()
    near(a.grad, 2 * one(a.detach()))


def test_qr_without_enough_columns_has_no_derivative() -> None:
    a = numbers(3, 2).requires_grad_()
    for mode in ("complete", "r"):
        with pytest.raises(RuntimeError, match="mode="):
            linalg.qr(a, mode).R.sum().backward()


def test_under_vmap() -> None:
    a, b = numbers(4, 3, 3), numbers(4, 3)
    near(dlgrad.func.vmap(linalg.solve)(a, b), linalg.solve(a, b))
    near(dlgrad.func.vmap(linalg.det)(a), linalg.det(a))
    near(dlgrad.func.vmap(lambda x: linalg.inv(x) @ b[0])(a), linalg.inv(a) @ b[0])


def test_a_product_minus_its_transpose() -> None:
    """One product that is read in two orders is not computed in only one of them."""
    a = numbers(3, 3)
    product = a @ a
    expected = [[x - y for x, y in zip(row, column, strict=True)]
                for row, column in zip(product.tolist(), product.T.tolist(), strict=True)]
    assert (lambda c: c - c.T)(a @ a).tolist() == expected
