"""What a function reads besides its arguments, and whether that is still what it was.

Floor 6.  A captured function is not run again, so a number, a tensor or the training mode of a
module that it got from outside is fixed at the capture.  `jit.py` asks here, at every call,
whether one of them is another now.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from operator import getitem
from types import CodeType
from typing import Any

from dlgrad.core.base import TensorBase

_PLAIN = (bool, int, float, str, bytes, type(None))
_GONE = (KeyError, ValueError)  # a global that is not there (now), a cell that is empty


class Watched:
    """The values outside of a function as they are now, to be compared with those of later."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.values = watched_values(function)
        self._same: list[tuple[Callable[[], Any], Any]] = []
        self._modes: list[tuple[Callable[[], Any], Any]] = []
        for name, get in places(function):
            if name in self.values:
                self._same.append((get, self.values[name]))
            elif modes_name(name) in self.values:
                self._modes.append((get, self.values[modes_name(name)]))

    def is_same(self) -> bool:
        """Whether all are the very objects that they were; quick, for every call.

        Where it says no, `difference` knows whether that matters.
        """
        try:
            for get, value in self._same:
                if get() is not value:
                    return False
            for get, modes in self._modes:
                if modes_of(get()) != modes:
                    return False
        except _GONE:
            return False
        return True

    def difference(self) -> tuple[str, Any, Any] | None:
        """The name of a value that is another now, what it was, and what it is."""
        now = watched_values(self.function)
        for name, value in self.values.items():
            if name in now and changed(value, now[name]):
                return name, value, now[name]
        return None


def watched_values(function: Callable[..., Any]) -> dict[str, Any]:
    """The plain values, tensors and module modes that the function's own code refers to."""
    found: dict[str, Any] = {}
    for name, get in places(function):
        try:
            value = get()
        except _GONE:
            continue
        if isinstance(value, (TensorBase, *_PLAIN)):
            found[name] = value
        else:
            modes = modes_of(value)
            if modes is not None:
                found[modes_name(name)] = modes
    return found


def places(function: Callable[..., Any]) -> list[tuple[str, Callable[[], Any]]]:
    """Where the function's own code finds values: names, and how to read what is there.

    Looks into closure cells, globals and the object of a method, one level deep.
    """
    code = getattr(function, "__code__", None)
    if code is None:
        owner = getattr(function, "__self__", None) or function
        return [("the module", lambda: owner)]
    found: list[tuple[str, Callable[[], Any]]] = []
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        found.append((name, functools.partial(getattr, cell, "cell_contents")))
    for name in global_names(code):
        found.append((name, functools.partial(getitem, function.__globals__, name)))
    owner = getattr(function, "__self__", None)
    if owner is not None:
        found.append(("self", lambda: owner))
    return found


@functools.lru_cache(maxsize=256)
def global_names(code: CodeType) -> tuple[str, ...]:
    """The global names that a function's code reads, apart from its attributes."""
    import dis  # slow to import, and needed only here

    loads = (i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL")
    return tuple(dict.fromkeys(loads))


def modes_of(value: Any) -> tuple[Any, ...] | None:
    """The training modes of a module and of all below it; None for anything else."""
    if isinstance(value, type) or not (hasattr(value, "training") and hasattr(value, "modules")):
        return None
    return tuple(module.training for module in value.modules())


def modes_name(name: str) -> str:
    """Under which name the modes of the module `name` are kept."""
    return f"{name}.training"


def changed(before: Any, after: Any) -> bool:
    """Whether a plain value or a tensor is another now: tensors count by identity."""
    if isinstance(before, TensorBase) or isinstance(after, TensorBase):
        return before is not after
    return type(before) is not type(after) or not (
        before == after or (before != before and after != after)
    )
