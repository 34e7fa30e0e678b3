"""Einstein's sum convention, and `tensordot`: products summed over any dimensions.

Floor 6.  Operands are multiplied two at a time.  Where two of them share letters that leave,
that is one contraction, a matrix product; a broadcast product is never summed afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

from dlgrad.core.apply import contract
from dlgrad.core.autocasting import autocasts
from dlgrad.core.base import TensorBase, is_tensor
from dlgrad.core.dims import as_sizes, wrap_dim
from dlgrad.errors import ShapeError
from dlgrad.lazy.graph import Contraction

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# In a list of letters, the dimensions of "..." are the numbers 0, 1, 2 ... from the last one.
Letters = list[str]


class _Operand(NamedTuple):
    """A tensor and the letter of each of its dimensions, no letter twice."""

    tensor: Tensor
    letters: Letters


@autocasts
def einsum(equation: Any, *operands: Any) -> Tensor:
    """Products of the operands, summed over the letters that the result does not have.

    "bij,bjk->bik" is a batch of matrix products.  A letter twice in one operand takes the
    diagonal, "..." stands for any leading dimensions, and without "->" the result has the
    letters that occur once, in alphabetical order.  Instead of the equation, lists of numbers
    can follow the operands: einsum(x, [0, 1], y, [1, 2], [0, 2]).
    """
    if not isinstance(equation, str):
        equation, operands = _from_sublists((equation, *operands))
    elif len(operands) == 1 and not isinstance(operands[0], TensorBase):
        operands = tuple(operands[0])
    if not operands:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least "
            "one operand and its subscripts list"
        )
    inputs, output = _parse_equation(equation, operands)
    sizes = _sizes_of(inputs, operands)
    waiting = [
        _diagonals(operand, letters, i)
        for i, (operand, letters) in enumerate(zip(operands, inputs, strict=True))
    ]
    while len(waiting) > 1:
        first, second = _cheapest_pair(waiting, sizes)
        b, a = waiting.pop(second), waiting.pop(first)
        later = set(output).union(*(operand.letters for operand in waiting))
        waiting.append(_multiply(a, b, later, sizes))
    result, have = _sum_lonely(waiting[0], set(output))
    return result.permute([have.index(letter) for letter in output])


# Reading the equation ---------------------------------------------------------------------------


def _from_sublists(arguments: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """The equation that operands and lists of numbers in turn stand for, and the operands."""
    pairs = len(arguments) // 2
    operands = tuple(arguments[2 * i] for i in range(pairs))
    terms = [_sublist_term(arguments[2 * i + 1]) for i in range(pairs)]
    equation = ",".join(terms)
    if len(arguments) % 2:
        equation += f"->{_sublist_term(arguments[-1])}"
    return equation, operands


def _sublist_term(sublist: Any) -> str:
    if isinstance(sublist, (str, TensorBase)) or not hasattr(sublist, "__iter__"):
        raise ValueError(
            "einsum(): a list of subscripts must follow each operand, such as [0, 1], got "
            f"{type(sublist).__name__}"
        )
    term = ""
    for item in sublist:
        if item is Ellipsis:
            term += "..."
        elif 0 <= item < len(_LETTERS):
            term += _LETTERS[item]
        else:
            raise RuntimeError(
                "einsum(): expected subscripts to be within the valid range [0, 52), but got "
                f"{item}"
            )
    return term


def _parse_equation(equation: str, operands: Sequence[Tensor]) -> tuple[list[Letters], Letters]:
    """The letters of each operand and of the result."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        count = "fewer" if len(terms) > len(operands) else "more"
        raise RuntimeError(
            f"einsum(): {count} operands were provided than specified in the equation: "
            f"{equation!r} has {len(terms)}, but {len(operands)} were given"
        )
    dots = 0
    inputs: list[Letters] = []
    for i, (term, operand) in enumerate(zip(terms, operands, strict=True)):
        if not is_tensor(operand):
            raise TypeError(
                f"einsum(): operand {i} must be a Tensor, not {type(operand).__name__}"
            )
        before, dotted, after = _cut_at_dots(term, f"operand {i}")
        extra = operand.ndim - len(before) - len(after)
        if extra < 0 or (extra and not dotted):
            raise ShapeError(
                f"einsum(): the number of subscripts in the equation ({len(before + after)}) "
                f"does not match the number of dimensions ({operand.ndim}) for operand {i}"
            )
        dots = max(dots, extra)
        inputs.append([*before, *_numbers(extra), *after])
    letters = [letter for term in inputs for letter in term]
    if not arrow:
        once = sorted(x for x in set(letters) if letters.count(x) == 1 and x.isalpha())
        return inputs, _numbers(dots) + once
    before, dotted, after = _cut_at_dots(right, "the output")
    output = [*before, *(_numbers(dots) if dotted else []), *after]
    for letter in output:
        if output.count(letter) > 1:
            raise RuntimeError(
                f"einsum(): output subscript {letter} appears more than once in the output"
            )
        if letter not in letters:
            raise RuntimeError(
                f"einsum(): output subscript {letter} does not appear in the equation for any "
                "input operand"
            )
    return inputs, output


def _numbers(count: int) -> Letters:
    return [f"{i}" for i in range(count - 1, -1, -1)]


def _cut_at_dots(term: str, where: str) -> tuple[str, str, str]:
    before, dotted, after = term.partition("...")
    for character in before + after:
        if character not in _LETTERS:
            raise RuntimeError(
                f"einsum(): invalid subscript given for {where}: {term!r}; subscripts must be in "
                "[a-zA-Z], with one '...' at most"
            )
    return before, dotted, after


def _sizes_of(inputs: Sequence[Letters], operands: Sequence[Tensor]) -> dict[str, int]:
    """The size of each letter; a size of 1 fits any other."""
    sizes: dict[str, int] = {}
    for i, (letters, operand) in enumerate(zip(inputs, operands, strict=True)):
        for letter, size in zip(letters, operand._shape, strict=True):
            known = sizes.get(letter, 1)
            if known != 1 and size not in (1, known):
                raise ShapeError(
                    "einsum(): operands do not broadcast with remapped shapes: subscript "
                    f"{letter} has size {size} for operand {i} which does not broadcast with "
                    f"previously seen size {known}"
                )
            sizes[letter] = size if known == 1 else known
    return sizes


# Multiplying ------------------------------------------------------------------------------------


def _diagonals(x: Tensor, letters: Letters, number: int) -> _Operand:
    """`x` with every repeated letter replaced by the diagonal of its dimensions."""
    letters = list(letters)
    for letter in dict.fromkeys(letters):
        while letters.count(letter) > 1:
            first = letters.index(letter)
            second = letters.index(letter, first + 1)
            if x._shape[first] != x._shape[second]:
                raise ShapeError(
                    f"einsum(): subscript {letter} is repeated for operand {number} but the "
                    f"sizes don't match, {x._shape[second]} != {x._shape[first]}"
                )
            x = x.diagonal(0, first, second)
            del letters[second], letters[first]
            letters.append(letter)
    return _Operand(x, letters)


def _cheapest_pair(waiting: list[_Operand], sizes: dict[str, int]) -> tuple[int, int]:
    """The two operands whose product takes the fewest multiplications."""

    def cost(pair: tuple[int, int]) -> int:
        letters = {*waiting[pair[0]].letters, *waiting[pair[1]].letters}
        return math.prod(sizes[letter] for letter in letters)

    return min(combinations(range(len(waiting)), 2), key=cost)


def _multiply(a: _Operand, b: _Operand, later: set[str], sizes: dict[str, int]) -> _Operand:
    """One contraction of two operands; letters that nobody needs later are summed over."""
    a = _sum_lonely(a, {*b.letters, *later})
    b = _sum_lonely(b, {*a.letters, *later})
    shared = [letter for letter in a.letters if letter in b.letters]
    batch = [letter for letter in shared if letter in later]
    inner = [letter for letter in shared if letter not in later]
    rows = [letter for letter in a.letters if letter not in shared]
    columns = [letter for letter in b.letters if letter not in shared]
    letters = batch + rows + columns
    left = _arranged(a, batch + rows + inner, set(shared), sizes)
    right = _arranged(b, batch + inner + columns, set(shared), sizes)
    if inner:
        dims = Contraction(len(batch), len(rows), len(columns), len(inner))
        return _Operand(contract(left, right, dims), letters)
    left = left.reshape(left._shape + (1,) * len(columns))
    at = len(batch)
    right = right.reshape(right._shape[:at] + (1,) * len(rows) + right._shape[at:])
    return _Operand(left * right, letters)


def _sum_lonely(operand: _Operand, needed: set[str]) -> _Operand:
    x, letters = operand
    gone = [i for i, letter in enumerate(letters) if letter not in needed]
    if not gone:
        return operand
    return _Operand(x.sum(gone), [letter for letter in letters if letter in needed])


def _arranged(
    operand: _Operand, order: Letters, shared: set[str], sizes: dict[str, int]
) -> Tensor:
    """The tensor with its dimensions in `order`, shared ones of size 1 expanded."""
    x = operand.tensor.permute([operand.letters.index(letter) for letter in order])
    shape = tuple(
        sizes[letter] if letter in shared else size
        for letter, size in zip(order, x._shape, strict=True)
    )
    return x if shape == x._shape else x.expand(shape)


@autocasts
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sums over the last `dims` dimensions of `a` and the first of `b`, or over two lists."""
    if is_tensor(dims):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.ndim, b.ndim):
            raise RuntimeError(
                f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims} for "
                f"{a.ndim} and {b.ndim} dimensions"
            )
        dims = (range(a.ndim - dims, a.ndim), range(dims))
    dims_a, dims_b = (
        [wrap_dim(d, x.ndim) for d in as_sizes((which,))]
        for x, which in zip((a, b), dims, strict=True)
    )
    if len(dims_a) != len(dims_b):
        raise RuntimeError(
            f"both dimension lists should have same length, got {dims_a} and {dims_b}"
        )
    for first, second in zip(dims_a, dims_b, strict=True):
        sizes = a._shape[first], b._shape[second]
        if sizes[0] != sizes[1] and 1 not in sizes:
            raise ShapeError(
                f"contracted dimensions need to match, but first has size {sizes[0]} in dim "
                f"{first} and second has size {sizes[1]} in dim {second}"
            )
        # A size of 1 meets the sum over the other.
        if sizes[0] == 1:
            b = b.sum(second, keepdim=True, dtype=b.dtype)
        elif sizes[1] == 1:
            a = a.sum(first, keepdim=True, dtype=a.dtype)
    kept_a = [d for d in range(a.ndim) if d not in dims_a]
    kept_b = [d for d in range(b.ndim) if d not in dims_b]
    left, right = a.permute(kept_a + dims_a), b.permute(dims_b + kept_b)
    if not dims_a:
        return left.reshape(left._shape + (1,) * b.ndim) * right
    return contract(left, right, Contraction(0, len(kept_a), len(kept_b), len(dims_a)))
