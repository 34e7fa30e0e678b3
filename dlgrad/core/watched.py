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
from typing import Any, NamedTuple

from dlgrad import dtype
from dlgrad.core.base import TensorBase
from dlgrad.runtime.device import Condition

_PLAIN = (bool, int, float, str, bytes, dtype.DType, type(None))
_GONE = (KeyError, ValueError)  # a global that is not there (now), a cell that is empty


class Place(NamedTuple):
    """Where a function finds a value: an attribute of `owner`, or an item of it if it is a dict.

    `name` is what the function's code calls it.
    """

    name: str
    owner: Any
    key: str

    def reader(self) -> Callable[[], Any]:
        """A function that gives the value that is there now; it may raise one of `_GONE`."""
        get = getitem if isinstance(self.owner, dict) else getattr
        return functools.partial(get, self.owner, self.key)


class Watched:
    """The values outside of a function as they are now, to be compared with those of later."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.values = watched_values(function)
        self._same: list[tuple[Callable[[], Any], Any]] = []
        self._modes: list[tuple[Callable[[], Any], Any]] = []
        self._conditions: list[Condition] = []
        for place in places(function):
            if place.name in self.values:
                value = self.values[place.name]
                self._same.append((place.reader(), value))
                self._conditions.append(Condition(place.owner, place.key, value))
            elif modes_name(place.name) in self.values:
                self._modes.append((place.reader(), self.values[modes_name(place.name)]))

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

    def conditions(self) -> list[Condition] | None:
        """What `is_same` looks at, for others to look; None where there is a module to ask."""
        return None if self._modes else self._conditions

    def storages(self) -> set[int]:
        """The ids of the storages that the function can read by what it refers to."""
        tensors = [value for value in self.values.values() if isinstance(value, TensorBase)]
        for get, _ in self._modes:
            tensors += [*get().parameters(), *get().buffers()]
        return {id(tensor._storage) for tensor in tensors}

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
    for place in places(function):
        try:
            value = place.reader()()
        except _GONE:
            continue
        if isinstance(value, (TensorBase, *_PLAIN)):
            found[place.name] = value
        else:
            modes = modes_of(value)
            if modes is not None:
                found[modes_name(place.name)] = modes
    return found


def places(function: Callable[..., Any]) -> list[Place]:
    """Where the function's own code finds values.

    Looks into closure cells, globals and the object of a method, one level deep.  The default
    dtype is a global that every function may read.
    """
    while isinstance(function, functools.partial):
        function = function.func
    called: Any = type(function).__call__
    if hasattr(called, "__code__") and modes_of(function) is None:
        function = called.__get__(function)  # an object that can be called, and is no module
    code = getattr(function, "__code__", None)
    default = Place("the default dtype", vars(dtype), "_default_dtype")
    is_method = getattr(function, "__self__", None) is not None
    if code is None:
        name = "the module"
        place = (function, "__self__") if is_method else ({name: function}, name)
        return [Place(name, *place), default]
    found = [default]
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        found.append(Place(name, cell, "cell_contents"))
    for name in global_names(code):
        found.append(Place(name, function.__globals__, name))
    if is_method:
        found.append(Place("self", function, "__self__"))
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
