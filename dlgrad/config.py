"""Every setting of dlgrad: read from the environment once, typed, and changeable for a while.

Floor 0.  `config.DEBUG.value` is the setting, `with config.DEBUG(2): ...` changes it for the
whole process until the block ends.  The text of a variable is taken when dlgrad is imported
and understood when it is first needed, so a wrong value is reported by the code that uses it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")

_flags: dict[str, Flag[int] | Flag[bool] | Flag[str]] = {}


class Flag(Generic[T]):
    """One setting, held by the environment variable `variable`.

    `convert` turns text into a value and raises ValueError, whose message says what is
    expected.  `shown` is the default as the documentation prints it.
    """

    __slots__ = ("variable", "default", "description", "shown", "_convert", "_text", "_value")

    def __init__(
        self, name: str, default: T, convert: Callable[[str], T], description: str, shown: str = ""
    ) -> None:
        self.variable = f"DLGRAD_{name}"
        self.default = default
        self.description = description
        self.shown = shown or (str(default) if default != "" else "")
        self._convert = convert
        self._text: str | None = os.environ.get(self.variable, "").strip()
        self._value = default

    @property
    def value(self) -> T:
        """The setting; ValueError if the environment variable cannot be understood."""
        if self._text is not None:
            if self._text:
                self._value = self._understand(self._text)
            self._text = None
        return self._value

    @property
    def place(self) -> tuple[object, str]:
        """Where the setting is, once it was asked for: an object and the name of an attribute."""
        return self, "_value"

    def _understand(self, text: str) -> T:
        try:
            return self._convert(text)
        except ValueError as error:
            raise ValueError(f"{self.variable}={text!r} is not understood: {error}") from None

    def __call__(self, value: T) -> Override[T]:
        """A context manager that sets the flag to `value`, for all threads, until it ends.

        Raises ValueError where the environment variable could not hold `value` either.
        """
        text = str(int(value)) if isinstance(value, bool) else str(value)
        return Override(self, self._understand(text) if text else value)

    def set(self, value: T) -> None:
        """Sets the flag for all threads, from now on; raises ValueError as a call does."""
        self(value).__enter__()

    def __repr__(self) -> str:
        return f"<{self.variable}={self.value}>"

    def _swap(self, value: T) -> T:
        previous = self.value
        self._value = value
        return previous


class Override(Generic[T]):
    """A flag changed for the time of a `with` block."""

    def __init__(self, flag: Flag[T], value: T) -> None:
        self._flag = flag
        self._value = value
        self._previous: list[T] = []

    def __enter__(self) -> Flag[T]:
        self._previous.append(self._flag._swap(self._value))
        return self._flag

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._flag._swap(self._previous.pop())


# What a text means ------------------------------------------------------------------------------


def _switch(text: str) -> bool:
    lowered = text.lower()
    if lowered in ("1", "true", "yes", "on"):
        return True
    if lowered in ("0", "false", "no", "off"):
        return False
    raise ValueError("expected 0 or 1")


def _whole_number(lowest: int, highest: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = lowest - 1
        if not lowest <= number <= highest:
            raise ValueError(f"expected a whole number from {lowest} to {highest}")
        return number

    return convert


def _add_text(name: str, default: str, description: str, shown: str = "") -> Flag[str]:
    flag = Flag(name, default, str, description, shown)
    _flags[name] = flag
    return flag


def _add_switch(name: str, default: bool, description: str) -> Flag[bool]:
    flag = Flag(name, default, _switch, description, str(int(default)))
    _flags[name] = flag
    return flag


def _add_number(
    name: str, default: int, lowest: int, highest: int, description: str, shown: str = ""
) -> Flag[int]:
    flag = Flag(name, default, _whole_number(lowest, highest), description, shown)
    _flags[name] = flag
    return flag


# The flags, in the order of the documentation ---------------------------------------------------

DEBUG = _add_number(
    "DEBUG", 0, 0, 6,
    "What to print on stderr: 1 device and compiler, 2 a line per kernel launch, 3 why the "
    "schedule cut where it cut, 4 the source, 5 both intermediate forms, 6 the assembly",
)  # fmt: skip
DEVICE = _add_text("DEVICE", "cpu", "The device of tensors that name none: cpu, cuda or metal")
NUM_THREADS = _add_number(
    "NUM_THREADS", 0, 0, 1024,
    "How many threads compute; unset: OMP_NUM_THREADS, then as many cores as the process may use",
    "cores",
)  # fmt: skip
OPT = _add_number("OPT", 1, 0, 1, "0 makes one plain kernel per operation: to compare, and to read")
VERIFY = _add_switch("VERIFY", False, "Check the intermediate forms between all steps")
CC = _add_text(
    "CC", "", "The C compiler, with arguments if need be", "$CC, clang, gcc, cc, ziglang"
)
CPU = _add_text("CPU", "native", "The processor to compile for: native, x86-64-v3, or any -march")
NO_COMPILE = _add_switch("NO_COMPILE", False, "Raise NoCompileError where a compiler would run")
CACHE_DIR = _add_text("CACHE_DIR", "", "Where sources and binaries are kept", "~/.cache/dlgrad")
CACHE_SIZE = _add_number(
    "CACHE_SIZE", 512, 0, 1 << 40,
    "Megabytes of kernels to keep; those unused for longest go first",
)  # fmt: skip
OFFLINE = _add_switch("OFFLINE", False, "Never open a network connection")
NVCC = _add_text("NVCC", "", "The CUDA compiler", "nvcc on PATH, then $CUDA_HOME")
NVRTC = _add_text("NVRTC", "", "The library of the CUDA run-time compiler", "searched")
LIBCUDA = _add_text("LIBCUDA", "", "The library of the CUDA driver", "searched")
LIBOBJC = _add_text("LIBOBJC", "", "The library of the Objective-C run time", "that of macOS")
METAL = _add_text("METAL", "", "The library of the Metal framework", "that of macOS")


def table() -> str:
    """The flags as a Markdown table: variable, default, meaning."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for flag in _flags.values():
        rows.append(f"| `{flag.variable}` | {flag.shown} | {flag.description} |")
    return "\n".join(rows)
