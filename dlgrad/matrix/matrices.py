"""What functions of matrices share: checks, packed results, and triangular systems.

Floor 6.  All take batches of float32 or float64.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import cast, counting
from dlgrad.core.base import TensorBase, from_storage, make, node_of
from dlgrad.core.composing import composed, need_tensor, paused
from dlgrad.core.host import export_numbers
from dlgrad.core.storage import pending_depth
from dlgrad.core.tape import ROWS, Derivative, Entry, Row
from dlgrad.dtype import FLOAT, int64
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.lazy.factors import factor, parts
from dlgrad.lazy.ops import FactorOps
from dlgrad.lazy.shape import broadcast_shapes
from dlgrad.matrix.linear import matmul
from dlgrad.operators.movement import narrow, unflatten
from dlgrad.operators.places import can_look
from dlgrad.operators.triangles import tril, triu

if TYPE_CHECKING:
    from dlgrad.dtype import DType
    from dlgrad.tensor import Tensor


# Checks -----------------------------------------------------------------------------------------


def check_matrix(name: str, A: Tensor, square: bool = False, argument: str = "A") -> None:
    """Raises unless `A` has matrices (square ones) of float32 or float64."""
    need_tensor(name, A, argument)
    check_dtype(name, A.dtype)
    if A.ndim < 2:
        raise ShapeError(
            f"{name}: The input tensor {argument} must have at least 2 dimensions; it has "
            f"{A.ndim}. Add some with unsqueeze()"
        )
    if square and A._shape[-1] != A._shape[-2]:
        raise ShapeError(
            f"{name}: {argument} must be batches of square matrices, but they are "
            f"{A._shape[-2]} by {A._shape[-1]} matrices"
        )


def check_dtype(name: str, dtype: DType) -> None:
    """DTypeError for anything but float32 and float64."""
    if dtype.kind != FLOAT:
        raise DTypeError(
            f"{name}: Expected a floating point or complex tensor as input. Got {dtype!r}; "
            "convert it with .float()"
        )
    if dtype.is_half:
        raise DTypeError(
            f"{name}: Low precision dtypes not supported. Got {dtype!r}; convert it with .float()"
        )


def check_same_dtype(name: str, A: Tensor, B: Tensor) -> None:
    """DTypeError unless both have one dtype."""
    if A.dtype is not B.dtype:
        raise DTypeError(
            f"{name}: Expected A and B to have the same dtype, but found A of type {A.dtype!r} "
            f"and B of type {B.dtype!r} instead; convert one with .to(dtype)"
        )


def first_failure(info: Tensor) -> tuple[str, int] | None:
    """(which matrix in words, its number in `info`) of the first that is not 0, if there is one.

    None also where the numbers cannot be looked at.
    """
    if not info.numel() or not can_look(info):
        return None
    for place, number in enumerate(export_numbers(info)):
        if number:
            return (f"(Batch element {place}): " if info.ndim else ""), number
    return None


# Packed results ---------------------------------------------------------------------------------


def packed(op: FactorOps, *sources: TensorBase, arg: Any = None) -> Tensor:
    """The results of a factorization in one tensor, not recorded."""
    depth = 1 + max(pending_depth(source._storage) for source in sources)
    return make(factor(op, *map(node_of, sources), arg=arg), depth)


def unpacked(
    whole: Tensor, op: FactorOps, shape: tuple[int, ...], arg: Any = None
) -> dict[str, Tensor]:
    """Views of the results in what `packed` made of matrices of `shape` (or in its gradient)."""
    found, start = {}, 0
    for name, part in parts(op, shape[-2:], arg).items():
        view = narrow(whole, -1, start, prod(part))
        found[name] = view if len(part) == 1 else unflatten(view, -1, part)
        start += prod(part)
    return found


def alone(x: Tensor) -> Tensor:
    """`x` as a tensor that is no view of another one, to be recorded."""
    return from_storage(x._storage, x._view)


def identity(rows: int, columns: int, like: TensorBase) -> Tensor:
    """Ones on the diagonal of a matrix, in the dtype and on the device of `like`."""
    shape, device = (rows, columns), node_of(like).device
    same = counting(0, int64, shape, device) == counting(1, int64, shape, device)
    return cast(same, like.dtype)


def triangular(A: TensorBase, B: Tensor, upper: bool, unit: bool = False) -> Tensor:
    """X of A X = B for triangular A, not recorded; the batches are equal."""
    return packed(FactorOps.TRIANGULAR, A, B.mT, arg=(bool(upper), bool(unit))).mT


def with_batch(batch: tuple[int, ...], x: Tensor) -> Tensor:
    """The matrices of `x` expanded to `batch`."""
    return x if x._shape[:-2] == batch else x.expand(batch + x._shape[-2:])


# Triangular systems -----------------------------------------------------------------------------


def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """X of A X = B, or of X A = B without `left`; `A` is a triangle, the rest is not read.

    With `unitriangular` its diagonal counts as ones.  Batches are broadcast.
    """
    name = "linalg.solve_triangular"
    check_matrix(name, A, True)
    check_matrix(name, B, argument="B")
    check_same_dtype(name, A, B)
    check_system(name, A, B, left)
    if not left:
        return triangular_solution(A.mT, B.mT, not upper, unitriangular).mT
    return triangular_solution(A, B, upper, unitriangular)


def check_system(name: str, A: Tensor, B: Tensor, left: bool) -> None:
    """ShapeError unless matrices of `B` fit as right sides."""
    if A._shape[-1] != B._shape[-2 if left else -1]:
        shapes = f"{A._shape[-2]}x{A._shape[-1]} and {B._shape[-2]}x{B._shape[-1]}"
        raise ShapeError(
            f"{name}: Incompatible shapes of A and B for the equation "
            f"{'AX = B' if left else 'XA = B'} ({shapes})"
        )


def triangular_solution(A: Tensor, B: Tensor, upper: bool, unit: bool = False) -> Tensor:
    """X of A X = B, unchecked."""
    batch = broadcast_shapes(A._shape[:-2], B._shape[:-2])
    A, B = with_batch(batch, A), with_batch(batch, B)
    with paused():
        out = alone(triangular(A, B, upper, unit))
    return composed("solve_triangular", out, A, B, arg=(upper, unit))


def _right_side(g: Tensor, e: Entry) -> Tensor:
    upper, unit = e.arg
    return triangular_solution(e.a.mT, g, not upper, unit)


def _triangle(g: Tensor, e: Entry) -> Tensor:
    upper, unit = e.arg
    slope = -matmul(_right_side(g, e), e.out.mT)
    return triu(slope, int(unit)) if upper else tril(slope, -int(unit))


ROWS["solve_triangular"] = Row(
    "LinalgSolveTriangular", Derivative("ao", _triangle), Derivative("a", _right_side)
)
