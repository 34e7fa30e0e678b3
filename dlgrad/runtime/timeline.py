"""What happened when: spans of time that a profile collects while it is active.

Floor 0.  `span(name, kind)` marks a block of code, `note` a piece of time that is already over.
Without an active timeline both do next to nothing.  `profiler.py` is for people.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any, NamedTuple


class Event(NamedTuple):
    """A span of time: nanoseconds of the monotonic clock, and where it was."""

    name: str
    kind: str  # "python", "evaluate", "plan", "compile", "kernel", "copy" or "user"
    start: int
    end: int
    thread: int  # the thread's number, or for a kernel that of the thread that launched it
    details: dict[str, Any] | None = None


class Timeline:
    """Collects events from all threads."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, event: Event) -> None:
        self.events.append(event)


class _Active:
    """The timeline that collects now; one for the whole process."""

    __slots__ = ("timeline",)

    def __init__(self) -> None:
        self.timeline: Timeline | None = None


_active = _Active()


def activate(timeline: Timeline | None) -> Timeline | None:
    """Lets `timeline` collect what happens from now on; returns the one before."""
    before = _active.timeline
    _active.timeline = timeline
    return before


def active() -> Timeline | None:
    """The timeline that collects, or None."""
    return _active.timeline


def place() -> tuple[object, str]:
    """Where the active timeline is: an object and the name of its attribute."""
    return _active, "timeline"


class Span:
    """A block of code as an event of the timeline that is active at its end."""

    __slots__ = ("name", "kind", "start")

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind

    def __enter__(self) -> None:
        self.start = time.perf_counter_ns()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        timeline = _active.timeline
        if timeline is not None:
            end = time.perf_counter_ns()
            thread = threading.get_ident()
            timeline.add(Event(self.name, self.kind, self.start, end, thread))


class _Nothing:
    """The span that nobody collects."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


_nothing = _Nothing()


def span(name: str, kind: str) -> Span | _Nothing:
    """For a `with` block: an event where a timeline is active at its beginning."""
    return _nothing if _active.timeline is None else Span(name, kind)


def note(
    name: str, kind: str, start: int, seconds: float, details: dict[str, Any] | None = None
) -> None:
    """An event that began at `start` and took `seconds`."""
    timeline = _active.timeline
    if timeline is not None:
        end = start + round(seconds * 1e9)
        timeline.add(Event(name, kind, start, end, threading.get_ident(), details))
