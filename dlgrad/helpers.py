"""Small things that several files share: atomic writes, locks, sizes for people, colours.

Floor 0.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import sys
import threading
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import Any, BinaryIO, TextIO

# Where the system has no such notion the flag is 0.
_NO_FOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_BINARY: int = getattr(os, "O_BINARY", 0)
_Lock = contextlib.AbstractContextManager[object]
_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def write_atomically(path: str, data: bytes, mode: int = 0o600) -> None:
    """Makes `path` hold `data`: readers see the old file or the new one, never a part.

    Raises OSError, leaving nothing behind, where that is not possible.
    """
    with atomic_file(path, mode) as file:
        file.write(data)


@contextlib.contextmanager
def atomic_file(path: str, mode: int = 0o600, lasting: bool = False) -> Iterator[BinaryIO]:
    """A file to write that takes the name `path` at the end of the block, or else vanishes.

    The new file is written beside the old one under a name of its own and renamed.  With
    `lasting` it is on the disk before it takes the name, so that not even a power cut leaves
    a part of it.  Raises OSError, leaving nothing behind, where that is not possible.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name[:60]}.{os.getpid()}.{secrets.token_hex(6)}.tmp")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | _BINARY
    descriptor = os.open(temporary, flags, mode)
    try:
        with open(descriptor, "w+b") as file:
            yield file
            if lasting:
                file.flush()
                os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the folder itself may be gone
            os.unlink(temporary)
        raise
    if lasting:
        _sync_folder(folder or ".")


def _sync_folder(folder: str) -> None:
    """Forces a new name to the disk, where folders can be opened for that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class ForkSafeLock:
    """A re-entrant lock that no vanished thread keeps: `with lock.held: ...`.

    It is free in a forked child, whichever thread held it before.  And when the interpreter
    ends, which stops daemon threads wherever they are, nobody waits for one of them.  `held`
    is Python's own lock until then: entering one that is written in Python takes far longer.
    """

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held: _Lock = threading.RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)
        atexit.register(self._prepare_for_end)

    def _renew(self) -> None:
        self.held = threading.RLock()

    def _prepare_for_end(self) -> None:
        self.held = _LockAtEnd(self.held)


class _LockAtEnd:
    """The same lock while threads still run, and a fresh one when only the last of them does.

    It uses nothing from the module, which may be emptied before the last finalizers run.
    """

    def __init__(self, lock: _Lock) -> None:
        self._lock = lock
        self._fresh = threading.RLock()
        self._is_finalizing = sys.is_finalizing

    def __enter__(self) -> None:
        if self._is_finalizing():
            self._lock = self._fresh
        self._lock.__enter__()

    def __exit__(self, *details: Any) -> None:
        self._lock.__exit__(*details)


def callers_frame() -> tuple[FrameType, int]:
    """The innermost call that is not dlgrad's own, and how many calls it is above this one."""
    frame, distance = sys._getframe(), 0
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, distance = frame.f_back, distance + 1
    return frame, distance


def warn(message: str) -> None:
    """A UserWarning that shows the line of the program, however deep in dlgrad it arises."""
    warnings.warn(message, stacklevel=callers_frame()[1])


def human_size(nbytes: int) -> str:
    """A number of bytes for people: "512 B", "1.5 KB", "20 MB" (powers of 1024)."""
    if nbytes < 1024:
        return f"{nbytes} B"
    power = min((nbytes.bit_length() - 1) // 10, 4)
    size = nbytes / 1024**power
    return f"{size:.{0 if size >= 10 else 1}f} {'KMGT'[power - 1]}B"


def human_time(seconds: float) -> str:
    """A time span for people: "812 ns", "3.42 us", "12.0 ms", "1.50 s"."""
    for scale, unit in ((1e-6, "ns"), (1e-3, "us"), (1.0, "ms")):
        if seconds < scale:
            return f"{seconds / scale * 1000:.3g} {unit}"
    return f"{seconds:.3g} s"


def use_color(stream: TextIO) -> bool:
    """Whether to colour text on `stream`.

    PYTHON_COLORS=0 or 1 decides; else NO_COLOR turns colours off and FORCE_COLOR on where they
    are not empty; else a terminal that is not "dumb" gets them.
    """
    environment = os.environ
    if environment.get("PYTHON_COLORS") in ("0", "1"):
        return environment["PYTHON_COLORS"] == "1"
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    if environment.get("TERM") == "dumb":
        return False
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # no stream at all, or a closed one
        return False


def is_live_terminal(stream: TextIO) -> bool:
    """Whether `stream` is a terminal on which a line can be redrawn in place."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):
        return False


_COLORS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "grey": "90", "bold": "1"}


def colored(text: str, color: str, stream: TextIO) -> str:
    """`text` in a colour (red, green, yellow, blue, grey, bold) where `stream` shows colours."""
    if not use_color(stream):
        return text
    return f"\033[{_COLORS[color]}m{text}\033[0m"


def debug_print(text: str) -> None:
    """Writes a line for DLGRAD_DEBUG on stderr; a closed stderr is not an error."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(text, file=sys.stderr, flush=True)
