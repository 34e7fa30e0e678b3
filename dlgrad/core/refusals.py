"""Why a captured function is not replayed, in words: the errors and what to do about them.

Floor 6.  Those about arguments that differ are in `jit.py`, where they are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlgrad.errors import CaptureError


def name_of(function: Callable[..., Any]) -> str:
    """What a function is called in an error."""
    return getattr(function, "__name__", "the function")


def not_to_be_differentiated(function: Callable[..., Any]) -> CaptureError:
    """For a transform of `dlgrad.func` that calls a captured function."""
    name = name_of(function)
    return CaptureError(
        f"{name} is captured, and what a capture gives has no history, so its derivative would "
        f"be zero; let the transform of dlgrad.func have {name}.function, or capture the "
        "transformed function: dlgrad.jit(dlgrad.func.grad(...))"
    )


def unclear_write(function: Callable[..., Any], position: int) -> CaptureError:
    """For a change of an argument that others see, or that is not all of its memory."""
    return CaptureError(
        f"{name_of(function)} changes its tensor argument {position} in place, which is a view "
        "of a part of a tensor, or is given twice, or is also read from outside the arguments; "
        "pass a whole tensor, once, or return the new value instead"
    )


def replaced_outside(function: Callable[..., Any]) -> CaptureError:
    """For a tensor of the capture that the function would no longer find."""
    name = name_of(function)
    return CaptureError(
        f"a tensor that {name} reads from outside its arguments is gone or was replaced by "
        "another since the capture (by model.to(...), x.data = ..., or .grad = None where "
        f"gradients add up); write into it instead (copy_(), zero_()), or call {name}.reset()"
    )
