"""Operations on the bits of integers, and on bools as single bits.

Floor 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import binary, result_dtype, unary
from dlgrad.core.composing import need_tensor
from dlgrad.dtype import BOOL, FLOAT, bool_
from dlgrad.errors import DTypeError
from dlgrad.lazy.ops import ElementwiseOps
from dlgrad.operators.comparison import logical_not

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

_E = ElementwiseOps


def _bits(op: ElementwiseOps, input: Any, other: Any, bools: bool = True) -> Tensor:
    dtype = result_dtype((input, other))
    if dtype.kind == FLOAT or (dtype.kind == BOOL and not bools):
        raise DTypeError(f"bitwise {op.value!r} takes integers, got {dtype!r}")
    return binary(op, input, other)


def bitwise_and(input: Any, other: Any) -> Tensor:
    """input & other, on integers or bools."""
    return _bits(_E.AND, input, other)


def bitwise_or(input: Any, other: Any) -> Tensor:
    """input | other, on integers or bools."""
    return _bits(_E.OR, input, other)


def bitwise_xor(input: Any, other: Any) -> Tensor:
    """input ^ other, on integers or bools."""
    return _bits(_E.XOR, input, other)


def bitwise_left_shift(input: Any, other: Any) -> Tensor:
    """input << other, on integers."""
    return _bits(_E.SHL, input, other, bools=False)


def bitwise_right_shift(input: Any, other: Any) -> Tensor:
    """input >> other, on integers; the sign is kept."""
    return _bits(_E.SHR, input, other, bools=False)


def bitwise_not(input: Tensor) -> Tensor:
    """~input, on integers or bools."""
    need_tensor("bitwise_not", input)
    if input.dtype.kind == FLOAT:
        raise DTypeError(f"~ takes integers or bools, got {input.dtype!r}")
    return logical_not(input) if input.dtype is bool_ else unary(_E.INVERT, input)
