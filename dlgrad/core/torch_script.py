"""The names of PyTorch's `torch.jit` that are about TorchScript, which dlgrad has not.

Floor 6.  Programs ask whether they are being scripted, and mark what should be left out of it:
there is nothing to do then.  What would script, trace or load is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlgrad.errors import OutOfScopeError


def add_names(jit: Any) -> None:
    """Makes the names attributes of the function `jit`."""
    for name in ("script", "trace", "trace_module", "load", "save", "freeze"):
        setattr(jit, name, absent(name))
    for name in ("is_scripting", "is_tracing"):
        setattr(jit, name, in_eager_mode)
    for name in ("export", "ignore", "unused", "script_if_tracing"):
        setattr(jit, name, as_it_is)


def absent(name: str) -> Callable[..., Any]:
    """A name of `torch.jit` that dlgrad has not, and what to use."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OutOfScopeError(
            f"dlgrad has no TorchScript, so there is no jit.{name}: a model is the Python code "
            "that it is. @dlgrad.jit captures a training step; dlgrad.save and dlgrad.load keep "
            "weights"
        )

    return refuse


def in_eager_mode() -> bool:
    """False: there is no TorchScript."""
    return False


def as_it_is(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """The function itself: there is no TorchScript that it could be left out of."""
    return function if function is not None else as_it_is
