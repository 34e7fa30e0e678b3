"""A progress bar: what is done, how fast, how long still, and a few figures beside it.

Floor 7.  Draws on stderr, on one line that it redraws ten times a second at most.  Where
stderr is not a terminal (a file, a pipe, a notebook) it writes a plain line when the work
ends, and one every half minute before that.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, TextIO, TypeVar

from dlgrad.helpers import colored, is_live_terminal

T = TypeVar("T")

REDRAW_SECONDS = 0.1
SPARSE_SECONDS = 30.0
RATE_SMOOTHING = 0.3  # weight of the newest interval in the rate of a drawn bar
MIN_BAR_WIDTH, MAX_BAR_WIDTH = 4, 30


class Progress(Generic[T]):
    """A bar around an iterable, or around a `with` block that calls `update`.

        for images, labels in Progress(loader, "epoch 1"):
            ...

        with Progress(total=60_000, description="epoch 1", unit="images") as bar:
            for images, labels in loader:
                bar.update(len(labels), loss=loss, accuracy=f"{accuracy:.1%}")

    `total` is taken from `len(iterable)` where it is not given; without one the bar shows
    counts and no remaining time.  Figures given to `update` or `set_postfix` are numbers,
    strings, or anything that `float` takes, such as a tensor of one element: they are read
    only when the line is drawn, so a figure costs nothing in the steps between.
    `disable=True` draws nothing; `disable=None` draws nothing unless stderr is a terminal.
    """

    def __init__(
        self,
        iterable: Iterable[T] | None = None,
        description: str = "",
        total: int | None = None,
        unit: str = "items",
        file: TextIO | None = None,
        disable: bool | None = False,
    ) -> None:
        if total is None and hasattr(iterable, "__len__"):
            total = len(iterable)  # type: ignore[arg-type]
        if total is not None and total < 0:
            raise ValueError(f"total must not be negative, got {total}")
        self.iterable = iterable
        self.description = description
        self.total = total
        self.unit = unit
        self.count = 0
        self._figures: dict[str, Any] = {}
        self._file = sys.stderr if file is None else file
        self._live = is_live_terminal(self._file)
        self._disabled = not self._live if disable is None else disable
        self._blocks = _bar_characters(self._file)
        self._started = self._drawn_at = time.monotonic()
        self._drawn_count = 0
        self._rate: float | None = None
        self._closed = False

    def __iter__(self) -> Iterator[T]:
        if self.iterable is None:
            raise TypeError("this Progress has no iterable; give it one, or call update()")
        with self:
            for item in self.iterable:
                yield item
                self.update()

    def __len__(self) -> int:
        if self.total is None:
            raise TypeError("this Progress has no total")
        return self.total

    def __enter__(self) -> Progress[T]:
        self._started = self._drawn_at = time.monotonic()
        if self._live and not self._disabled:
            self._write_line("\r" + self._line())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def update(self, n: int = 1, **figures: Any) -> None:
        """Counts `n` more units as done; `figures` are shown behind the bar."""
        self.count += n
        if figures:
            self._figures.update(figures)
        if self._disabled or self._closed:
            return
        now = time.monotonic()
        elapsed = now - self._drawn_at
        if elapsed < (REDRAW_SECONDS if self._live else SPARSE_SECONDS):
            return
        newest = (self.count - self._drawn_count) / elapsed
        if self._rate is None:
            self._rate = newest
        else:
            self._rate += RATE_SMOOTHING * (newest - self._rate)
        self._drawn_at, self._drawn_count = now, self.count
        self._write_line("\r" + self._line() if self._live else self._line() + "\n")

    def set_postfix(self, **figures: Any) -> None:
        """Replaces the figures shown behind the bar."""
        self._figures = figures

    def close(self) -> None:
        """Draws the final state and ends the line; closing again does nothing."""
        if self._closed or self._disabled:
            self._closed = True
            return
        self._closed = True
        seconds = time.monotonic() - self._started
        self._rate = self.count / seconds if seconds > 0 else None
        start = "\r" if self._live else ""
        self._write_line(start + self._line() + "\n")

    def _write_line(self, text: str) -> None:
        try:
            self._file.write(text)
            self._file.flush()
        except (OSError, ValueError):  # a closed pipe must not end a training
            self._disabled = True

    def _line(self) -> str:
        """The whole line; on a terminal as wide as it, so that it covers the line before."""
        parts = [self.description, self._counts()]
        if self._rate is not None:
            parts.append(f"{_short(self._rate)} {self.unit}/s")
        parts.append(self._clock())
        parts += [f"{name} {_figure(value)}" for name, value in self._figures.items()]
        if not self._live:
            return "  ".join(part for part in parts if part)
        columns = shutil.get_terminal_size().columns - 1
        room = columns - len("  ".join(part for part in parts if part)) - 2
        if room < MIN_BAR_WIDTH:  # on a narrow terminal the counts alone say how far it is
            parts[1] = parts[1].rpartition("%  ")[2]
        filled, empty = self._bar(min(room, MAX_BAR_WIDTH))
        parts.insert(1, filled + empty)
        line = "  ".join(part for part in parts if part)[:columns].ljust(columns)
        return line.replace(filled, colored(filled, "blue", self._file), 1) if filled else line

    def _bar(self, width: int) -> tuple[str, str]:
        """The filled and the empty part of a bar, or nothing where there is no room."""
        if not self.total or width < MIN_BAR_WIDTH:
            return "", ""
        done = min(width, width * self.count // self.total)
        full, empty = self._blocks
        return full * done, empty * (width - done)

    def _counts(self) -> str:
        if self.total is None:
            return f"{self.count:,} {self.unit}"
        share = 100 * self.count // self.total if self.total else 100
        return f"{share:3d}%  {self.count:,}/{self.total:,}"

    def _clock(self) -> str:
        """Seconds so far; while work remains and a rate is known, seconds still to go."""
        elapsed = time.monotonic() - self._started
        if not self._closed and self.total is not None and self._rate:
            return f"{_clock((self.total - self.count) / self._rate)} left"
        return _clock(elapsed)


def _bar_characters(file: TextIO) -> tuple[str, str]:
    """A full and an empty cell that the encoding of `file` can show."""
    try:
        "━─".encode(getattr(file, "encoding", None) or "ascii")
    except (UnicodeError, LookupError):
        return "#", "-"
    return "━", "─"


def _short(value: float) -> str:
    """A rate in at most five characters or so: 0.42, 8.1, 523, 12,400."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _clock(seconds: float) -> str:
    whole = int(max(seconds, 0))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _figure(value: Any) -> str:
    if isinstance(value, (str, int)):
        return str(value)
    return f"{float(value):.4g}"
