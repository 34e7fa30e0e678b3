"""Comparisons, tests of single elements, and logic: functions whose results are bools.

Floor 6.  None of them is differentiable.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import binary, bitcast, cast, filled, unary
from dlgrad.core.base import TensorBase, is_tensor, node_of
from dlgrad.core.composing import need_tensor, paused
from dlgrad.dtype import BOOL, FLOAT, bool_, float32, int32, int64
from dlgrad.errors import DTypeError
from dlgrad.lazy.ops import ElementwiseOps

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

_E = ElementwiseOps


# Two values -----------------------------------------------------------------------------------


def lt(input: Tensor, other: Any) -> Tensor:
    """input < other."""
    need_tensor("lt", input)
    return binary(_E.LT, input, other, result=bool_)


def le(input: Tensor, other: Any) -> Tensor:
    """input <= other."""
    need_tensor("le", input)
    return binary(_E.LE, input, other, result=bool_)


def gt(input: Tensor, other: Any) -> Tensor:
    """input > other."""
    need_tensor("gt", input)
    return binary(_E.LT, other, input, result=bool_)


def ge(input: Tensor, other: Any) -> Tensor:
    """input >= other."""
    need_tensor("ge", input)
    return binary(_E.LE, other, input, result=bool_)


def eq(input: Tensor, other: Any) -> Tensor:
    """input == other, element by element."""
    need_tensor("eq", input)
    return binary(_E.EQ, input, other, result=bool_)


def ne(input: Tensor, other: Any) -> Tensor:
    """input != other, element by element."""
    need_tensor("ne", input)
    return binary(_E.NE, input, other, result=bool_)


def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """True where |input - other| <= atol + rtol * |other|, or where both are equal.

    Both have the same dtype; of integers the bound is computed in the default float type.
    """
    need_tensor("isclose", input)
    need_tensor("isclose", other, "other")
    if input.dtype is not other.dtype:
        raise DTypeError(f"{input.dtype!r} did not match {other.dtype!r}; convert one with .to()")
    for name, limit in (("rtol", rtol), ("atol", atol)):
        if not limit >= 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {limit}")
    with paused():
        close = eq(input, other)
        if input.dtype.kind != BOOL:
            apart = unary(_E.ABS, binary(_E.SUB, input, other))
            scaled = binary(_E.MUL, unary(_E.ABS, other), float(rtol))
            bound = binary(_E.ADD, scaled, float(atol))
            finite = logical_and(isfinite(other), isfinite(input))
            close = logical_or(close, logical_and(finite, le(apart, bound)))
        if equal_nan:
            close = logical_or(close, logical_and(isnan(input), isnan(other)))
        return close


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """True if `isclose` holds everywhere (evaluates)."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


def equal(input: Tensor, other: Tensor) -> bool:
    """True if both have the same shape and the same elements (evaluates)."""
    need_tensor("equal", input)
    need_tensor("equal", other, "other")
    return input._shape == other._shape and bool(eq(input, other).all())


# One value --------------------------------------------------------------------------------------


def _everywhere(value: bool, like: Tensor) -> Tensor:
    return filled(value, bool_, like._shape, node_of(like).device)


def isnan(input: Tensor) -> Tensor:
    """True where the element is not a number."""
    return ne(input, input)


def isinf(input: Tensor) -> Tensor:
    """True where the element is an infinity."""
    if input.dtype.kind != FLOAT:
        return _everywhere(False, input)
    with paused():
        return eq(unary(_E.ABS, input), math.inf)


def isposinf(input: Tensor) -> Tensor:
    """True where the element is plus infinity."""
    return eq(input, math.inf) if input.dtype.kind == FLOAT else _everywhere(False, input)


def isneginf(input: Tensor) -> Tensor:
    """True where the element is minus infinity."""
    return eq(input, -math.inf) if input.dtype.kind == FLOAT else _everywhere(False, input)


def isfinite(input: Tensor) -> Tensor:
    """True where the element is neither infinite nor NaN."""
    if input.dtype.kind != FLOAT:
        return _everywhere(True, input)
    with paused():
        return lt(unary(_E.ABS, input), math.inf)


def isreal(input: Tensor) -> Tensor:
    """True everywhere: there are no complex tensors."""
    return _everywhere(True, input)


def signbit(input: Tensor) -> Tensor:
    """True where the sign is minus, also that of -0.0 and of NaN."""
    if input.dtype.kind != FLOAT:
        return _everywhere(False, input) if not input.dtype.is_signed else lt(input, 0)
    with paused():
        double = input.dtype.itemsize == 8
        bits = bitcast(input if double else cast(input, float32), int64 if double else int32)
        return lt(bits, 0)


def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """True where an element is one of `test_elements`; with `invert` where it is none.

    One of the two may be a number.  `assume_unique` changes nothing.
    """
    if not is_tensor(elements) and not is_tensor(test_elements):
        raise TypeError("isin(): at least one of elements and test_elements must be a Tensor")
    for one in (elements, test_elements):
        if is_tensor(one) and one.dtype.kind == BOOL:
            raise DTypeError("isin() does not take bool tensors; convert them with .int() first")
    if not is_tensor(elements):
        found = eq(test_elements, elements).any()
    elif not is_tensor(test_elements):
        found = eq(elements, test_elements)
    else:
        found = eq(elements.unsqueeze(-1), test_elements.reshape(-1)).any(-1)
    return logical_not(found) if invert else found


# Logic ------------------------------------------------------------------------------------------


def as_bool(x: Tensor) -> Tensor:
    """True where the element is not zero."""
    return x if x.dtype is bool_ else ne(x, 0)


def _logical(op: ElementwiseOps, name: str, input: Any, other: Any) -> Tensor:
    need_tensor(name, input)
    need_tensor(name, other, "other")
    return binary(op, as_bool(input), as_bool(other))


def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """True where both are non-zero."""
    return _logical(_E.AND, "logical_and", input, other)


def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """True where either is non-zero."""
    return _logical(_E.OR, "logical_or", input, other)


def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """True where exactly one is non-zero."""
    return _logical(_E.XOR, "logical_xor", input, other)


def logical_not(input: Tensor) -> Tensor:
    """True where the element is zero."""
    need_tensor("logical_not", input)
    return binary(_E.XOR, as_bool(input), True)


def is_nonzero(input: TensorBase) -> bool:
    """Whether the only element is not zero (evaluates)."""
    need_tensor("is_nonzero", input)
    return bool(input)
