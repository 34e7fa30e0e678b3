"""In-place methods, made from the functions that compute a new tensor.

Floor 6.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from dlgrad.core.apply import cast
from dlgrad.core.base import TensorBase, grad_mode, requires_grad
from dlgrad.core.tape import check_writable, old_value, write
from dlgrad.dtype import BOOL, FLOAT, DType
from dlgrad.errors import ShapeError

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

P = ParamSpec("P")


def _category(dtype: DType) -> int:
    return 2 if dtype.kind == FLOAT else 0 if dtype.kind == BOOL else 1


def in_place(
    function: Callable[Concatenate[Tensor, P], Tensor],
) -> Callable[Concatenate[Tensor, P], Tensor]:
    """The method that writes the result of `function(tensor, ...)` into the tensor itself."""

    @functools.wraps(function)
    def method(tensor: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        recorded = grad_mode.enabled and (
            requires_grad(tensor) or _any_requires_grad(args) or _any_requires_grad(kwargs.values())
        )
        check_writable(tensor, recorded)
        source = old_value(tensor) if recorded else tensor
        if recorded:  # x.mul_(x) multiplies with what x was
            args = tuple(source if arg is tensor else arg for arg in args)  # type: ignore
        try:
            value = function(source, *args, **kwargs)
            if value.dtype is not tensor.dtype:
                value = converted_for(value, tensor)
            if value._shape != tensor._shape:
                raise ShapeError(
                    f"output with shape {list(tensor._shape)} doesn't match the broadcast shape "
                    f"{list(value._shape)}"
                )
        except BaseException:
            storage = tensor._storage  # it keeps its contents, also where they were handed over
            storage.node.owner = weakref.ref(storage)
            raise
        write(tensor, value, fresh=value._storage is not source._storage)
        return tensor

    method.__name__ = f"{function.__name__.rstrip('_')}_"
    method.__doc__ = f"In place: {function.__doc__}"
    return method


def _any_requires_grad(values: Any) -> bool:
    return any(isinstance(value, TensorBase) and requires_grad(value) for value in values)


def converted_for(value: Tensor, tensor: Tensor) -> Tensor:
    """`value` in the dtype of `tensor`, to be written there; RuntimeError if that is lesser."""
    if _category(value.dtype) > _category(tensor.dtype):
        raise RuntimeError(
            f"result type {value.dtype!r} can't be cast to the desired output type "
            f"{tensor.dtype!r}; use the operation that makes a new tensor"
        )
    return cast(value, tensor.dtype)
