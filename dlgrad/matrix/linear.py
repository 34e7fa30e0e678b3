"""Matrix products under PyTorch's names, all of them one primitive contraction.

Floor 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dlgrad.core.apply import cast, contract, copy, counting, expand_node, finish, reduce
from dlgrad.core.autocasting import autocasts
from dlgrad.core.base import Number, node_of
from dlgrad.core.composing import need_tensor
from dlgrad.core.dims import as_int, wrap_dim
from dlgrad.core.later import find
from dlgrad.dtype import BOOL, FLOAT, float32, int64, promote_types
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.lazy.graph import Contraction
from dlgrad.lazy.ops import ReduceOps
from dlgrad.lazy.shape import broadcast_shapes
from dlgrad.operators.joining import stack
from dlgrad.operators.repeating import flip

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


@autocasts
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product of any ranks; dimensions before the last two are broadcast.

    A one-dimensional operand is a row on the left and a column on the right, and the
    dimension that this adds leaves the result again.
    """
    a, b = input, other
    if not a._shape or not b._shape:
        raise ShapeError("both arguments to matmul need to be at least 1D, but they are "
                         f"{a.ndim}D and {b.ndim}D")
    _check_bool(a)
    if a._shape[-1] != b._shape[-2 if b.ndim > 1 else 0]:
        _mismatch(a, b)
    if b.ndim <= 2:
        # The rows of all of a's leading dimensions are one long run of rows.
        return contract(a, b, Contraction(0, a.ndim - 1, b.ndim - 1, 1))
    if a.ndim == 1:
        batch = b._shape[:-2]
        return contract(a.expand(batch + a._shape), b, Contraction(len(batch), 0, 1, 1))
    batch = broadcast_shapes(a._shape[:-2], b._shape[:-2])
    if a._shape[:-2] != batch:
        a = a.expand(batch + a._shape[-2:])
    if b._shape[:-2] != batch:
        b = b.expand(batch + b._shape[-2:])
    return contract(a, b, Contraction(len(batch), 1, 1, 1))


def _check_bool(a: Tensor) -> None:
    if a.dtype.kind == BOOL:
        raise DTypeError("matrix products are not there for bool tensors; use x.float() first")


def _mismatch(a: Tensor, b: Tensor) -> None:
    if a.ndim > 1 and b.ndim == 2:
        rows = math.prod(a._shape[:-1])
        raise ShapeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows}x{a._shape[-1]} and "
            f"{b._shape[0]}x{b._shape[1]}); the inner sizes must be equal"
        )
    raise ShapeError(
        f"matmul: shapes {a._shape} and {b._shape} do not fit: the last size of the first must "
        f"equal the {'second to last' if b.ndim > 1 else 'only'} size of the second"
    )


def _check_rank(name: str, tensor: Tensor, rank: int, which: str) -> None:
    if tensor.ndim != rank:
        raise ShapeError(f"{name}: {which} must be {rank}D, but it has shape {tensor._shape}")


def _check_product(name: str, a: Tensor, b: Tensor) -> None:
    if a._shape[-1] != b._shape[-2 if b.ndim > 1 else 0]:
        raise ShapeError(
            f"{name}: size mismatch, got shapes {list(a._shape)} and {list(b._shape)}: the last "
            "size of the first must equal the size of the second to sum over"
        )


@autocasts
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices."""
    _check_rank("mm", input, 2, "self")
    _check_rank("mm", mat2, 2, "mat2")
    return matmul(input, mat2)


@autocasts
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of two batches of matrices."""
    _check_rank("bmm", input, 3, "batch1")
    _check_rank("bmm", mat2, 3, "batch2")
    if input._shape[0] != mat2._shape[0]:
        raise ShapeError(
            "bmm: the batches must have the same number of matrices, got shapes "
            f"{input._shape} and {mat2._shape}"
        )
    return matmul(input, mat2)


@autocasts
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix and a vector."""
    _check_rank("mv", input, 2, "input")
    _check_rank("mv", vec, 1, "vec")
    _check_product("mv", input, vec)
    return matmul(input, vec)


@autocasts
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The inner product of two vectors, in their dtype."""
    if input.ndim != 1 or tensor.ndim != 1:
        raise ShapeError(
            f"1D tensors expected, but got {input.ndim}D and {tensor.ndim}D tensors"
        )
    if input.dtype is not tensor.dtype:
        raise DTypeError(
            f"dot : expected both vectors to have same dtype, but found {input.dtype!r} and "
            f"{tensor.dtype!r}"
        )
    _check_bool(input)
    if input._shape != tensor._shape:
        raise ShapeError(
            f"inconsistent tensor size, expected tensor [{input._shape[0]}] and src "
            f"[{tensor._shape[0]}] to have the same number of elements, but got "
            f"{input._shape[0]} and {tensor._shape[0]} elements respectively"
        )
    return reduce(ReduceOps.SUM, input * tensor, (0,), False)


@autocasts
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """The inner product of two vectors: `dot`, as there are no complex numbers."""
    return dot(input, other)


def inner(input: Tensor, other: Tensor) -> Tensor:
    """Products summed over the last dimensions of both: [..., k] and [---, k] to [..., ---]."""
    if not input._shape or not other._shape:
        return input * other
    if input._shape[-1] != other._shape[-1]:
        raise ShapeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input._shape)} and {list(other._shape)}"
        )
    _check_bool(input)
    turned = other.movedim(-1, 0)
    return contract(input, turned, Contraction(0, input.ndim - 1, other.ndim - 1, 1))


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of an element of `input` with one of `vec2`, a matrix."""
    for vector, which in ((input, "self"), (vec2, "vec2")):
        if vector.ndim != 1:
            raise ShapeError(
                f"outer: Expected 1-D argument {which}, but got {vector.ndim}-D; use "
                "flatten() first"
            )
    return input.unsqueeze(1) * vec2


def kron(input: Tensor, other: Tensor) -> Tensor:
    """Kronecker's product: `other` times each element of `input`, in its place."""
    rank = max(input.ndim, other.ndim)
    first = (1,) * (rank - input.ndim) + input._shape
    second = (1,) * (rank - other.ndim) + other._shape
    shape_a = tuple(size for pair in zip(first, (1,) * rank, strict=True) for size in pair)
    shape_b = tuple(size for pair in zip((1,) * rank, second, strict=True) for size in pair)
    product = input.reshape(shape_a) * other.reshape(shape_b)
    return product.reshape(tuple(a * b for a, b in zip(first, second, strict=True)))


@autocasts
def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of matrices, in the order that takes the fewest multiplications."""
    for matrix in matrices:
        _check_rank("chain_matmul", matrix, 2, "every tensor")
    if not matrices:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices)


@autocasts
def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of two or more matrices, in the order that takes the fewest multiplications.

    The first may be a vector (a row), and the last one (a column).
    """
    chain = list(tensors)
    if len(chain) < 2:
        raise RuntimeError(
            f"multi_dot(): expected at least 2 tensors but got {len(chain)}"
        )
    for i, tensor in enumerate(chain):
        need_tensor("multi_dot", tensor, "tensors")
        at_end = i in (0, len(chain) - 1)
        if tensor.ndim != 2 and not (at_end and tensor.ndim == 1):
            wanted = "1D or 2D" if at_end else "2D"
            raise ShapeError(
                f"multi_dot(): tensor {i} must be {wanted} but got {tensor.ndim}D"
            )
    row, column = chain[0].ndim == 1, chain[-1].ndim == 1
    if row:
        chain[0] = chain[0].unsqueeze(0)
    if column:
        chain[-1] = chain[-1].unsqueeze(1)
    for left, right in zip(chain, chain[1:], strict=False):
        _check_product("multi_dot()", left, right)
    product = _chained(chain)
    shape = product._shape[1 if row else 0 : 1 if column else 2]
    return product.reshape(shape)


def _chained(chain: list[Tensor]) -> Tensor:
    """The product of a chain; the best cuts are found from short parts to long ones."""
    sizes = [chain[0]._shape[0]] + [matrix._shape[1] for matrix in chain]
    count = len(chain)
    cost = {(i, i): 0 for i in range(count)}
    cut: dict[tuple[int, int], int] = {}
    for length in range(1, count):
        for start in range(count - length):
            end = start + length
            cost[start, end], cut[start, end] = min(
                (
                    cost[start, k] + cost[k + 1, end]
                    + sizes[start] * sizes[k + 1] * sizes[end + 1],
                    k,
                )
                for k in range(start, end)
            )  # fmt: skip

    def product(start: int, end: int) -> Tensor:
        if start == end:
            return chain[start]
        middle = cut[start, end]
        return matmul(product(start, middle), product(middle + 1, end))

    return product(0, count - 1)


def matrix_power(input: Tensor, n: int) -> Tensor:
    """Square matrices multiplied with themselves, n times in all; n = 0 gives identities, and
    for n < 0 it is the inverse that is multiplied."""
    if input.ndim < 2 or input._shape[-1] != input._shape[-2]:
        raise ShapeError(
            "linalg.matrix_power: A must be batches of square matrices, but they are "
            f"{list(input._shape)}"
        )
    if n < 0:
        return matrix_power(find("matrix.solving", "inv")(input), -n)
    if n == 0:
        size = input._shape[-1]
        shape, place = (size, size), node_of(input).device
        on = counting(0, int64, shape, place) == counting(1, int64, shape, place)
        one = expand_node(node_of(on.to(input.dtype)), input._shape)
        return finish("overwrite", None, one, (input,))
    result, square = None, input
    while n:
        if n & 1:
            result = square if result is None else matmul(result, square)
        n >>= 1
        if n:
            square = matmul(square, square)
    assert result is not None
    return result if result is not input else copy(input)


# A sum and a product ----------------------------------------------------------------------------


def _add_product(
    name: str, input: Tensor, multiply: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor,
    beta: Number, alpha: Number,
) -> Tensor:  # fmt: skip
    """beta * input + alpha * multiply(a, b); where beta is 0, `input` does not matter.

    Integers take the whole parts of `beta` and `alpha`; half types are rounded once.
    """
    dtype = input.dtype
    if dtype is not a.dtype or dtype is not b.dtype:
        raise DTypeError(
            f"{name}: self and the matrices must have the same dtype, but got {dtype!r}, "
            f"{a.dtype!r} and {b.dtype!r}"
        )
    if dtype.kind != FLOAT:
        beta, alpha = int(beta), int(alpha)
    if dtype.is_half and not (alpha == 1 and beta in (0, 1)):
        input, a, b = (cast(x, float32) for x in (input, a, b))
    product = multiply(a, b)
    if input._shape != product._shape:
        input = input.expand(product._shape)
    if alpha != 1:
        product = product * alpha
    if beta != 0:
        product = product + (input if beta == 1 else input * beta)
    return cast(product, dtype)


@autocasts
def addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2)."""
    return _add_product("addmm", input, mm, mat1, mat2, beta, alpha)


@autocasts
def addmv(
    input: Tensor, mat: Tensor, vec: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    """beta * input + alpha * (mat @ vec)."""
    return _add_product("addmv", input, mv, mat, vec, beta, alpha)


@autocasts
def addr(
    input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    """beta * input + alpha * (vec1 outer vec2), in the common dtype."""
    product = outer(vec1, vec2)
    if product.dtype.kind == BOOL and input.dtype.kind == BOOL:
        kept = input.expand(product._shape)
        product = product if alpha else product & False
        return product | kept if beta else product
    dtype = promote_types(input.dtype, product.dtype)
    if dtype.kind != FLOAT and (isinstance(beta, float) or isinstance(alpha, float)):
        raise RuntimeError(
            "For integral input tensors, arguments alpha and beta must not be floating point "
            f"numbers, but addr got alpha={alpha} and beta={beta}"
        )
    base, first, second = (cast(x, dtype) for x in (input, vec1, vec2))
    return _add_product("addr", base, outer, first, second, beta, alpha)


@autocasts
def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    """beta * input + alpha * (batch1 @ batch2), for batches of matrices."""
    return _add_product("baddbmm", input, bmm, batch1, batch2, beta, alpha)


@autocasts
def addbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    """beta * input + alpha * (the sum over a batch of batch1 @ batch2)."""
    _check_rank("addbmm", batch1, 3, "batch1")
    _check_rank("addbmm", batch2, 3, "batch2")
    _check_bool(batch1)
    return _add_product("addbmm", input, _sum_of_products, batch1, batch2, beta, alpha)


def _sum_of_products(batch1: Tensor, batch2: Tensor) -> Tensor:
    """The batch is one more dimension to sum over."""
    return contract(batch1.permute(1, 0, 2), batch2, Contraction(0, 1, 1, 2))


# Vectors ----------------------------------------------------------------------------------


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The inner products of vectors along `dim`; other dimensions broadcast."""
    if x.dtype is not y.dtype:
        raise DTypeError(
            f"linalg.vecdot: Expected x and y to have the same dtype, but found {x.dtype!r} and "
            f"{y.dtype!r} instead"
        )
    product = x * y
    return reduce(ReduceOps.SUM, product, (wrap_dim(dim, product.ndim),), False)


@autocasts
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross product of vectors along `dim`, which has size 3 (None: the first that has)."""
    if dim is None:
        fitting = [i for i, size in enumerate(input._shape) if size == 3]
        if not fitting:
            raise RuntimeError("no dimension of size 3 in input")
        dim = fitting[0]
    return cross_along(input, other, dim)


def cross_along(input: Tensor, other: Tensor, dim: int) -> Tensor:
    """The cross product of vectors along `dim`, which has size 3; other dimensions broadcast."""
    if input.ndim != other.ndim:
        raise ShapeError(
            "linalg.cross: inputs must have the same number of dimensions, got "
            f"{input.ndim} and {other.ndim}"
        )
    at = wrap_dim(dim, input.ndim)
    for x in (input, other):
        if not x._shape or x._shape[at] != 3:
            raise ShapeError(
                f"linalg.cross: inputs dimension {dim} must have length 3. Got "
                f"{list(input._shape)} and {list(other._shape)}"
            )
    a = [input.select(at, i) for i in range(3)]
    b = [other.select(at, i) for i in range(3)]
    ahead = ((1, 2), (2, 0), (0, 1))
    return stack([a[i] * b[j] - a[j] * b[i] for i, j in ahead], at)


def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """Vandermonde's matrix: the powers N - 1 down to 0 of each element of a vector, as rows."""
    if x.ndim != 1:
        raise ShapeError(f"x must be a one-dimensional tensor, got {x.ndim}D")
    rows = powers(x, N)
    return rows if increasing else flip(rows, 1)


def powers(x: Tensor, count: int | None) -> Tensor:
    """The powers 0 up to `count` - 1 (the length of x) of each element, as a last dimension."""
    if not x._shape:
        x = x.reshape(1)
    count = x._shape[-1] if count is None else as_int("vander", count, "N")
    if count < 0:
        raise RuntimeError(f"vander: N must not be negative, got {count}")
    if x.dtype.kind == BOOL:
        x = x.long()
    exponents = counting(0, int64, (count,), node_of(x).device)
    return x.unsqueeze(-1) ** exponents
