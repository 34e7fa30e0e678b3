"""A line on the terminal while kernels are being compiled, gone again when they are.

Floor 4.  The first run of a program spends seconds in the compiler, and nothing else would say
so.  Where stderr is not a terminal nothing is written.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from dlgrad import config
from dlgrad.helpers import ForkSafeLock, is_live_terminal

PATIENCE = 0.3  # seconds of compiling before the line appears
PAUSE = 0.5  # seconds without a compiler that end a count


class _Count:
    """What is being compiled in this process now."""

    def __init__(self) -> None:
        self.lock = ForkSafeLock()
        self.running = 0
        self.kernels = 0
        self.began = self.ended = 0.0
        self.shown = False


_count = _Count()


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Stands around one run of a compiler."""
    count = _count
    with count.lock.held:
        now = time.monotonic()
        if not count.running and now - count.ended > PAUSE:
            count.kernels, count.began = 0, now
        count.running += 1
        count.kernels += 1
        if now - count.began >= PATIENCE and not config.DEBUG.value:
            plural = "" if count.kernels == 1 else "s"
            count.shown = _write(f"\r\033[Kcompiling {count.kernels} kernel{plural} ...")
    try:
        yield
    finally:
        with count.lock.held:
            count.running -= 1
            count.ended = time.monotonic()
            if count.shown and not count.running:
                count.shown = False
                _write("\r\033[K")


def _write(text: str) -> bool:
    """Writes to stderr if that is a terminal; says whether it did."""
    if not is_live_terminal(sys.stderr):
        return False
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        return False
    return True
