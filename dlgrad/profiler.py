"""Where the time goes: Python, planning, compiling and kernels on one time line.

Floor 5.  With PyTorch's names:

    with dlgrad.profiler.profile() as p:
        for images, labels in loader:
            with dlgrad.profiler.record_function("step"):
                step(images, labels)
    print(p.key_averages().table())
    p.export_chrome_trace("trace.json")     # for chrome://tracing or ui.perfetto.dev

While a profile is active every kernel is waited for and timed, which costs a little.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ContextDecorator
from dataclasses import dataclass
from types import CodeType, FrameType, TracebackType
from typing import Any

from dlgrad.helpers import human_time, write_atomically
from dlgrad.runtime import timeline
from dlgrad.runtime.timeline import Event, Timeline

__all__ = ["EventAverages", "KeyAverage", "profile", "record_function"]

PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
SORT_KEYS: dict[str, Callable[[KeyAverage], Any]] = {
    "self_cpu_time_total": lambda row: -row.self_time_total,
    "cpu_time_total": lambda row: -row.time_total,
    "cpu_time": lambda row: -row.time_total / row.count,
    "count": lambda row: -row.count,
    "name": lambda row: row.key,
}
WHOLE = "python"  # the event of the whole profile: what is not in another one is Python


class record_function(ContextDecorator):
    """Marks a block, or a function, with a name on the time line.

    It does next to nothing where no profile is active.
    """

    def __init__(self, name: str) -> None:
        self.name = str(name)
        self._spans: list[Any] = []

    def _recreate_cm(self) -> record_function:
        return record_function(self.name)  # one for each call of a function that is marked

    def __enter__(self) -> record_function:
        span = timeline.span(self.name, "user")
        self._spans.append(span)
        span.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._spans.pop().__exit__(kind, error, trace)


class profile:
    """Collects what happens, in all threads, between `start` and `stop` (or in a `with` block).

    With `with_stack` the calls of Python functions are on the time line too, those of this
    thread outside dlgrad and their calls into it; that makes Python noticeably slower.

    Raises RuntimeError where another profile is active.
    """

    def __init__(self, *, with_stack: bool = False) -> None:
        self.with_stack = with_stack
        self._timeline = Timeline()
        self._start = self._end = 0
        self._thread = 0
        self._calls: CallRecorder | None = None

    def start(self) -> None:
        """Begins to collect."""
        if timeline.active() is not None:
            raise RuntimeError("another profile is active; stop it before you start one")
        self._timeline = Timeline()
        self._thread = threading.get_ident()
        self._start = time.perf_counter_ns()
        self._end = 0
        timeline.activate(self._timeline)
        if self.with_stack:
            self._calls = CallRecorder(self._timeline)
            self._calls.start()

    def stop(self) -> None:
        """Ends it; nothing happens where the profile is not active."""
        if timeline.active() is not self._timeline:
            return
        if self._calls is not None:
            self._calls.stop()
            self._calls = None
        self._end = time.perf_counter_ns()
        timeline.activate(None)

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def events(self) -> list[Event]:
        """Everything that was collected, by the time it began; the whole profile is the first.

        Raises RuntimeError before the profile has ended.
        """
        if not self._end:
            raise RuntimeError("the profile has not ended; leave its with block, or call stop()")
        whole = Event(WHOLE, "python", self._start, self._end, self._thread)
        inside = [event for event in self._timeline.events if event.start >= self._start]
        return [whole, *sorted(inside, key=lambda event: (event.start, -event.end))]

    def key_averages(self) -> EventAverages:
        """The events of each name together."""
        return EventAverages(self.events(), self._end - self._start)

    def export_chrome_trace(self, path: str) -> None:
        """Writes the time line as JSON for chrome://tracing and ui.perfetto.dev."""
        events = self.events()
        tracks = Tracks(self._thread)
        records = [tracks.record(event, self._start) for event in events]
        trace = {"traceEvents": [*tracks.names(), *records], "displayTimeUnit": "ms"}
        write_atomically(path, json.dumps(trace).encode(), 0o644)


class Tracks:
    """The rows of the picture: one for each thread, and one for the kernels."""

    def __init__(self, main: int) -> None:
        self.numbers: dict[Any, int] = {main: 0, "kernels": 1}

    def record(self, event: Event, start: int) -> dict[str, Any]:
        """The event in the format of the trace; its times are microseconds."""
        key: Any = "kernels" if event.kind == "kernel" else event.thread
        record: dict[str, Any] = {
            "ph": "X",
            "name": event.name,
            "cat": event.kind,
            "ts": (event.start - start) / 1000,
            "dur": (event.end - event.start) / 1000,
            "pid": os.getpid(),
            "tid": self.numbers.setdefault(key, len(self.numbers)),
        }
        if event.details:
            record["args"] = event.details
        return record

    def names(self) -> Iterator[dict[str, Any]]:
        for key, number in self.numbers.items():
            name = "main thread" if number == 0 else key if number == 1 else f"thread {number}"
            yield {
                "ph": "M",
                "name": "thread_name",
                "pid": os.getpid(),
                "tid": number,
                "args": {"name": name},
            }


# Averages -------------------------------------------------------------------------------------


@dataclass
class KeyAverage:
    """All events of one name; times in microseconds.

    `self_time_total` leaves out what belongs to events inside.
    """

    key: str
    kind: str
    count: int = 0
    time_total: float = 0.0
    self_time_total: float = 0.0

    @property
    def cpu_time_total(self) -> float:
        return self.time_total

    @property
    def self_cpu_time_total(self) -> float:
        return self.self_time_total


class EventAverages(list[KeyAverage]):
    """What `profile.key_averages` returns: a row for each name."""

    def __init__(self, events: Iterable[Event], whole: int) -> None:
        self.whole = whole / 1000
        rows: dict[tuple[str, str], KeyAverage] = {}
        for event, inside in with_self_times(events):
            key = event.name, event.kind
            row = rows.setdefault(key, KeyAverage(*key))
            row.count += 1
            row.time_total += (event.end - event.start) / 1000
            row.self_time_total += inside / 1000
        super().__init__(rows.values())

    def table(
        self, sort_by: str = "self_cpu_time_total", row_limit: int = 100, max_name_width: int = 55
    ) -> str:
        """The rows as text, the first `row_limit` of them in the order of `sort_by`.

        `sort_by` is "self_cpu_time_total", "cpu_time_total", "cpu_time" (the average), "count"
        or "name"; ValueError for anything else.
        """
        if sort_by not in SORT_KEYS:
            raise ValueError(f"sort_by must be one of {', '.join(SORT_KEYS)}, not {sort_by!r}")
        rows = sorted(self, key=SORT_KEYS[sort_by])[: max(row_limit, 0)]
        width = min(max([len(row.key) for row in rows] + [4]), max_name_width)
        line = "-" * (width + 67)
        head = f"{'name':<{width}}  {'kind':<8}{'self %':>8}{'self':>11}{'total %':>9}"
        lines = [line, f"{head}{'total':>11}{'average':>11}{'calls':>8}", line]
        for row in rows:
            name = row.key if len(row.key) <= width else row.key[: width - 3] + "..."
            lines.append(
                f"{name:<{width}}  {row.kind:<8}"
                f"{row.self_time_total / self.whole:8.1%}{_shown(row.self_time_total):>11}"
                f"{row.time_total / self.whole:9.1%}{_shown(row.time_total):>11}"
                f"{_shown(row.time_total / row.count):>11}{row.count:>8}"
            )
        return "\n".join([*lines, line, f"Time on the clock: {_shown(self.whole)}"])


def _shown(microseconds: float) -> str:
    return human_time(microseconds * 1e-6)


def with_self_times(events: Iterable[Event]) -> Iterator[tuple[Event, int]]:
    """Every event with the nanoseconds in it that are in no other event inside of it.

    The events come by the time they began; those of one thread lie in or beside each other.
    """
    open_events: dict[int, list[tuple[Event, list[int]]]] = {}
    for event in events:
        stack = open_events.setdefault(event.thread, [])
        while stack and stack[-1][0].end <= event.start:
            yield _closed(stack)
        if stack:
            outer = stack[-1][0]
            stack[-1][1][0] += min(event.end, outer.end) - event.start
        stack.append((event, [0]))
    for stack in open_events.values():
        while stack:
            yield _closed(stack)


def _closed(stack: list[tuple[Event, list[int]]]) -> tuple[Event, int]:
    event, inside = stack.pop()
    return event, max(event.end - event.start - inside[0], 0)


# Python ---------------------------------------------------------------------------------------


class CallRecorder:
    """Puts the calls of Python functions on a timeline: the user's, and theirs into dlgrad."""

    def __init__(self, collected: Timeline) -> None:
        self.timeline = collected
        self.stack: list[tuple[CodeType, int, bool]] = []
        self.inside = 0  # how many calls deep in dlgrad
        self.before: Any = None

    def start(self) -> None:
        self.before = sys.getprofile()
        sys.setprofile(self.see)

    def stop(self) -> None:
        sys.setprofile(self.before)

    def see(self, frame: FrameType, what: str, argument: Any) -> None:
        code = frame.f_code
        if what == "call":
            is_ours = code.co_filename.startswith(PACKAGE) and not is_wrapper(code)
            self.stack.append((code, time.perf_counter_ns(), is_ours))
            self.inside += is_ours
        elif what == "return" and self.stack and self.stack[-1][0] is code:
            _, start, is_ours = self.stack.pop()
            self.inside -= is_ours
            if self.inside == 0 and code.co_filename != __file__ and not is_wrapper(code):
                name = f"{os.path.basename(code.co_filename)}: {code.co_name}"
                seconds = (time.perf_counter_ns() - start) * 1e-9
                timeline.note(name, "python", start, seconds)


def is_wrapper(code: CodeType) -> bool:
    """Whether this is the inner function of a decorator of dlgrad, which shows what it wraps."""
    return "function" in code.co_freevars and code.co_filename.startswith(PACKAGE)
