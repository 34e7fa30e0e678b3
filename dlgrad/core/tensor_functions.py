"""Methods of a tensor under the same names as functions: `detach(x)`, `relu_(x)`.

Floor 6.  PyTorch has most methods as functions, too; those that no module by subject defines are
taken from the class.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from dlgrad.core.composing import need_tensor
from dlgrad.core.later import FUNCTIONS
from dlgrad.tensor import Tensor


def __getattr__(name: str) -> Any:
    if FUNCTIONS.get(name) == "core.tensor_functions":
        return _function_of(getattr(Tensor, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _function_of(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def function(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        need_tensor(method.__name__, input)
        return method(input, *args, **kwargs)

    return function


def real(input: Tensor) -> Tensor:
    """The tensor itself: all numbers are real."""
    need_tensor("real", input)
    return input.real


def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor like `input` that holds `value` everywhere."""
    return input.clone().fill_(value)


def typename(obj: Any) -> str:
    """The name of the type of an object; of a tensor, with its dtype."""
    if isinstance(obj, Tensor):
        return str(obj.type())
    return f"{type(obj).__module__}.{type(obj).__qualname__}"
