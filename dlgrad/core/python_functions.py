"""Methods that call a Python function for each element, and that write along a diagonal.

Floor 6.  They compute in Python, one element after the other: what tensor operations can say is
faster by orders of magnitude, and has a derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dlgrad.core.base import is_tensor, requires_grad
from dlgrad.core.creation import tensor
from dlgrad.core.host import export_numbers
from dlgrad.core.tape import check_writable
from dlgrad.errors import AutogradError, ShapeError
from dlgrad.operators.indexing import assign
from dlgrad.operators.movement import broadcast_to, diagonal

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def _written(name: str, function: Callable[..., Any], input: Tensor, *others: Tensor) -> Tensor:
    for one in (input, *others):
        if not is_tensor(one):
            raise TypeError(f"{name}(): argument must be Tensor, not {type(one).__name__}")
        if one.device.type != "cpu":
            raise TypeError(f"{name} is only implemented on CPU tensors; call .cpu() first")
        if requires_grad(one):
            raise AutogradError(
                f"Can't call {name}() on Variable that requires grad. Use var.detach().{name}() "
                "instead."
            )
    check_writable(input, False)
    columns = [export_numbers(input)]
    columns += [export_numbers(broadcast_to(other, input._shape)) for other in others]
    numbers = [function(*row) for row in zip(*columns, strict=True)]
    found = tensor(numbers, dtype=input.dtype, device=input.device)
    assign(input, found.reshape(input._shape))
    return input


def apply_(input: Tensor, callable: Callable[[Any], Any]) -> Tensor:
    """Replaces each element x by `callable(x)`, in Python; on the CPU, not recorded."""
    return _written("apply_", callable, input)


def map_(input: Tensor, tensor: Tensor, callable: Callable[[Any, Any], Any]) -> Tensor:
    """Replaces each x by `callable(x, y)`, y of `tensor`, in Python; on the CPU, not recorded."""
    return _written("map_", callable, input, tensor)


def map2_(
    input: Tensor, x: Tensor, y: Tensor, callable: Callable[[Any, Any, Any], Any]
) -> Tensor:
    """Replaces each a by `callable(a, b, c)`, of `x` and `y`, in Python; on the CPU."""
    return _written("map2_", callable, input, x, y)


def fill_diagonal_(input: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Writes a number on the diagonal; with `wrap`, of a tall matrix again below a free row."""
    shape = input._shape
    if len(shape) < 2:
        raise ShapeError("dimensions must larger than 1")
    if len(shape) > 2:
        if len(set(shape)) != 1:
            raise ShapeError("all dimensions of input must be of equal length")
        places = tuple(range(shape[0]))
        for place in places:
            input[(place,) * len(shape)] = fill_value
        return input
    rows, columns = shape
    step = columns + 1
    starts = range(0, rows, step) if wrap and columns else (0,)
    for start in starts:
        assign(diagonal(input[start:] if start else input), fill_value)
    return input
