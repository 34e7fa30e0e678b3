"""Tensors without values: what a function gets while `vmap` looks at what it computes.

Floor 6.  A placeholder is a pending node over memory that is not there.  All that is made from
it is pending, too, and marked by the depth of its storage, which is TRACED or more: such a
storage is never evaluated unasked, and refuses when it is asked.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from dlgrad.errors import VmapError
from dlgrad.lazy import graph
from dlgrad.lazy.graph import Node

if TYPE_CHECKING:
    from dlgrad.dtype import DType
    from dlgrad.lazy.shape import Shape

TRACED = 1 << 60  # the depth from which on a storage has no value


class Unknown:
    """The memory of a placeholder; it has no address."""

    def __init__(self, level: int) -> None:
        self.level = level

    @property
    def address(self) -> int:
        """Raises: there is no memory."""
        raise no_value()


def placeholder(level: int, dtype: DType, shape: Shape, device: str) -> Node:
    """A node that stands for one row of a tensor."""
    nothing = graph.buffer(None, dtype, shape, device)
    nothing.arg = Unknown(level)
    return graph.copy(nothing)


class _Stack(threading.local):
    """The traces that this thread is in, the outermost first."""

    def __init__(self) -> None:
        self.traces: list[Any] = []


stack = _Stack()


def current_trace() -> Any:
    """The innermost trace that this thread is in (see `func.vmapping.Trace`), or None."""
    return stack.traces[-1] if stack.traces else None


def no_value() -> VmapError:
    """The error for looking at a number that is not there."""
    return VmapError(
        "inside of vmap a tensor stands for every row at once and has no value: item(), "
        "tolist(), numpy(), printing numbers, and `if` or `while` on a tensor are not possible "
        "there; choose with where(), or take it out of the function"
    )


def check_write(storage: Any) -> None:
    """VmapError if a row is written into memory that existed before the function was called."""
    for trace in stack.traces:
        if trace.existed(storage):
            raise VmapError(
                "vmap: a tensor that differs from row to row is written in place into one from "
                "outside of the function, which has no room for all rows; return it instead, or "
                "pass the target as an argument"
            )
