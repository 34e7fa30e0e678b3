"""Matrix products under PyTorch's names, all of them one primitive contraction.

Floor 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.apply import contract
from dlgrad.base import Number, TensorBase
from dlgrad.dims import wrap_dim
from dlgrad.dtype import BOOL
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.graph import Contraction
from dlgrad.shape import broadcast_shapes

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


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


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices."""
    _check_rank("mm", input, 2, "self")
    _check_rank("mm", mat2, 2, "mat2")
    return matmul(input, mat2)


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


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix and a vector."""
    _check_rank("mv", input, 2, "input")
    _check_rank("mv", vec, 1, "vec")
    return matmul(input, vec)


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The inner product of two vectors."""
    if input.ndim != 1 or tensor.ndim != 1:
        raise ShapeError(
            f"1D tensors expected, but got {input.ndim}D and {tensor.ndim}D tensors"
        )
    if input._shape != tensor._shape:
        raise ShapeError(
            "inconsistent tensor size, expected tensor [" + str(input._shape[0]) + "] and src ["
            + str(tensor._shape[0]) + "] to have the same number of elements"
        )
    if input.dtype is not tensor.dtype:
        raise DTypeError(
            f"dot : expected both vectors to have same dtype, but found {input.dtype!r} and "
            f"{tensor.dtype!r}"
        )
    return (input * tensor).sum()


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of an element of `input` with one of `vec2`, a matrix."""
    _check_rank("outer", input, 1, "self")
    _check_rank("outer", vec2, 1, "vec2")
    return input.unsqueeze(1) * vec2


def addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2)."""
    return _add_product(input, mm(mat1, mat2), beta, alpha)


def addmv(
    input: Tensor, mat: Tensor, vec: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    """beta * input + alpha * (mat @ vec)."""
    return _add_product(input, mv(mat, vec), beta, alpha)


def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    """beta * input + alpha * (batch1 @ batch2), for batches of matrices."""
    return _add_product(input, bmm(batch1, batch2), beta, alpha)


def _add_product(input: Tensor, product: Tensor, beta: Number, alpha: Number) -> Tensor:
    if alpha != 1:
        product = product * alpha
    if beta == 0:
        return product
    return product + (input if beta == 1 else input * beta)


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sums over the last `dims` dimensions of `a` and the first of `b`, or over two lists."""
    if isinstance(dims, int):
        dims_a = list(range(a.ndim - dims, a.ndim))
        dims_b = list(range(dims))
    else:
        dims_a, dims_b = ([d] if isinstance(d, int) else list(d) for d in dims)
    dims_a = [wrap_dim(d, a.ndim) for d in dims_a]
    dims_b = [wrap_dim(d, b.ndim) for d in dims_b]
    if [a._shape[d] for d in dims_a] != [b._shape[d] for d in dims_b]:
        raise ShapeError(
            f"contracted dimensions need to match, but first has sizes "
            f"{[a._shape[d] for d in dims_a]} and second has sizes {[b._shape[d] for d in dims_b]}"
        )
    kept_a = [d for d in range(a.ndim) if d not in dims_a]
    kept_b = [d for d in range(b.ndim) if d not in dims_b]
    left, right = a.permute(kept_a + dims_a), b.permute(dims_b + kept_b)
    return contract(left, right, Contraction(0, len(kept_a), len(kept_b), len(dims_a)))


def einsum(equation: str, *operands: Any) -> Tensor:
    """Einstein's sum convention: "bij,bjk->bik"; "..." stands for any leading dimensions."""
    if len(operands) == 1 and not isinstance(operands[0], TensorBase):
        operands = tuple(operands[0])
    inputs, output = _parse_equation(equation, operands)
    sizes: dict[str, int] = {}
    for letters, operand in zip(inputs, operands, strict=True):
        for letter, size in zip(letters, operand._shape, strict=True):
            if sizes.get(letter, 1) not in (1, size) and size != 1:
                raise ShapeError(
                    f"einsum(): operands do not broadcast with remapped shapes: letter "
                    f"{letter!r} has sizes {sizes[letter]} and {size}"
                )
            sizes[letter] = max(sizes.get(letter, 1), size) if size else 0
    result, have = _diagonals(inputs[0], operands[0])
    for i, operand in enumerate(operands[1:], start=1):
        later = set(output).union(*inputs[i + 1 :])
        other, letters = _diagonals(inputs[i], operand)
        result, have = _multiply(result, have, other, letters, later, sizes)
    gone = [i for i, letter in enumerate(have) if letter not in output]
    if gone:
        result = result.sum(gone)
        have = [letter for letter in have if letter in output]
    return result.permute([have.index(letter) for letter in output])


def _parse_equation(
    equation: str, operands: Sequence[Tensor]
) -> tuple[list[list[str]], list[str]]:
    """The letters of each operand and of the result; "..." becomes the letters 0, 1, 2 ..."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ValueError(
            f"einsum(): the equation {equation!r} has {len(terms)} operands, but {len(operands)} "
            "tensors were given"
        )
    dots = 0
    inputs: list[list[str]] = []
    for term, operand in zip(terms, operands, strict=True):
        before, dotted, after = term.partition("...")
        extra = operand.ndim - len(before) - len(after)
        if extra < 0 or (extra and not dotted) or not (before + after + "a").isalpha():
            raise ShapeError(
                f"einsum(): the subscripts {term!r} do not fit an operand of shape "
                f"{operand._shape}"
            )
        dots = max(dots, extra)
        inputs.append([*before, *(f"{i}" for i in range(extra - 1, -1, -1)), *after])
    ellipsis = [f"{i}" for i in range(dots - 1, -1, -1)]
    letters = [letter for term in inputs for letter in term]
    if arrow:
        before, dotted, after = right.partition("...")
        output = [*before, *(ellipsis if dotted else []), *after]
    else:
        once = sorted(x for x in set(letters) if letters.count(x) == 1 and x.isalpha())
        output = ellipsis + once
    for letter in output:
        if output.count(letter) > 1 or letter not in letters:
            raise ValueError(
                f"einsum(): output subscript {letter!r} of {equation!r} must appear once in the "
                "output and somewhere in the input"
            )
    return inputs, output


def _diagonals(letters: list[str], x: Tensor) -> tuple[Tensor, list[str]]:
    """`x` with every repeated letter replaced by the diagonal of its dimensions."""
    letters = list(letters)
    for letter in dict.fromkeys(letters):
        while letters.count(letter) > 1:
            first = letters.index(letter)
            second = letters.index(letter, first + 1)
            x = x.diagonal(0, first, second)
            del letters[second], letters[first]
            letters.append(letter)
    return x, letters


def _multiply(
    a: Tensor, has_a: list[str], b: Tensor, has_b: list[str], later: set[str],
    sizes: dict[str, int],
) -> tuple[Tensor, list[str]]:  # fmt: skip
    """One contraction of two operands; letters that nobody needs later are summed over."""
    a, has_a = _sum_lonely(a, has_a, set(has_b) | later)
    b, has_b = _sum_lonely(b, has_b, set(has_a) | later)
    shared = [letter for letter in has_a if letter in has_b]
    batch = [letter for letter in shared if letter in later]
    inner = [letter for letter in shared if letter not in later]
    rows = [letter for letter in has_a if letter not in shared]
    columns = [letter for letter in has_b if letter not in shared]
    left = _arranged(a, has_a, batch + rows + inner, set(shared), sizes)
    right = _arranged(b, has_b, batch + inner + columns, set(shared), sizes)
    dims = Contraction(len(batch), len(rows), len(columns), len(inner))
    if not inner:
        left = left.reshape(left._shape + (1,) * len(columns))
        at = len(batch)
        right = right.reshape(right._shape[:at] + (1,) * len(rows) + right._shape[at:])
        return left * right, batch + rows + columns
    return contract(left, right, dims), batch + rows + columns


def _sum_lonely(x: Tensor, has: list[str], needed: set[str]) -> tuple[Tensor, list[str]]:
    gone = [i for i, letter in enumerate(has) if letter not in needed]
    return (x.sum(gone), [letter for letter in has if letter in needed]) if gone else (x, has)


def _arranged(
    x: Tensor, has: list[str], order: list[str], shared: set[str], sizes: dict[str, int]
) -> Tensor:
    """`x` with its dimensions in `order`, shared ones of size 1 expanded."""
    x = x.permute([has.index(letter) for letter in order])
    shape = tuple(
        sizes[letter] if letter in shared else size
        for letter, size in zip(order, x._shape, strict=True)
    )
    return x if shape == x._shape else x.expand(shape)
