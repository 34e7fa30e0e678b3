"""Methods that change the shape of the tensor itself: `t_`, `squeeze_`, `resize_` and the like.

Floor 6.  The memory stays as it is, and so do other views of it.  A tensor whose gradient is
recorded is refused: its views would no longer fit what the tape knows of it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from dlgrad.core.apply import filled
from dlgrad.core.base import grad_mode, node_of, requires_grad, view_of
from dlgrad.core.dims import as_sizes
from dlgrad.errors import AutogradError
from dlgrad.lazy.shape import View
from dlgrad.operators import movement, striding
from dlgrad.operators.indexing import assign

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

P = ParamSpec("P")


def _show(tensor: Tensor, view: View) -> Tensor:
    tensor._view, tensor._shape = view, view.shape
    tensor._node, tensor._node_version = None, -1
    return tensor


def _refuse_history(name: str, tensor: Tensor) -> None:
    if grad_mode.enabled and requires_grad(tensor):
        raise AutogradError(
            f"{name}() cannot change a tensor that requires grad; use the function that returns "
            f"a new tensor, or do it inside `with dlgrad.no_grad():`"
        )


def _changing(
    function: Callable[Concatenate[Tensor, P], Tensor],
) -> Callable[Concatenate[Tensor, P], Tensor]:
    """The method after which the tensor is what `function` shows of it."""

    @functools.wraps(function)
    def method(tensor: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        _refuse_history(method.__name__, tensor)
        return _show(tensor, view_of(function(tensor, *args, **kwargs)))

    method.__name__ = f"{function.__name__}_"
    method.__doc__ = f"In place: {function.__doc__}"
    return method


squeeze_ = _changing(movement.squeeze)
unsqueeze_ = _changing(movement.unsqueeze)
transpose_ = _changing(movement.transpose)
swapaxes_ = _changing(movement.swapaxes)
swapdims_ = _changing(movement.swapdims)
t_ = _changing(movement.t)
as_strided_ = _changing(striding.as_strided)


def resize_(input: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Gives the tensor other sizes; it shows its memory in row-major order from then on.

    Where the memory is too small the tensor moves to new memory, of which the first part holds
    what the old memory held, and the rest is not defined.
    """
    _refuse_history("resize_", input)
    shape = as_sizes(sizes)
    if min(shape, default=0) < 0:
        raise RuntimeError(f"resize_: sizes must not be negative, got {list(shape)}")
    offset = view_of(input).offset
    old = math.prod(input._storage.shape)
    needed = offset + math.prod(shape)
    if needed > old:
        larger = filled(0, input.dtype, (needed,), node_of(input).device)
        whole = input.detach()
        if old:
            first = larger.narrow(0, 0, old)
            assign(first, _show(whole, View.contiguous((old,))))
        input.data = larger
    return _show(input, View(shape, View.contiguous(shape).strides, offset))


def resize_as_(input: Tensor, the_template: Tensor, *, memory_format: Any = None) -> Tensor:
    """`resize_` to the sizes of another tensor."""
    return resize_(input, the_template._shape)
