"""What is told about a launch: the lines of DLGRAD_DEBUG=2, and the events of a profile.

Floor 4.  The lines add up to the time on the clock: what passes between the launches has lines
of its own, "python" for everything outside dlgrad's planning and "plan" for that.
"""

from __future__ import annotations

import time

from dlgrad import config
from dlgrad.helpers import debug_print, human_time
from dlgrad.runtime import timeline
from dlgrad.runtime.device import Condition, Launch

_NAME_WIDTH = 40


class _Clock:
    """Up to when every moment is on a line."""

    reported = time.perf_counter()


def is_timed() -> bool:
    """Whether somebody wants to know the time of every launch."""
    return config.DEBUG.value >= 2 or timeline.active() is not None


def untimed() -> list[Condition]:
    """What must stay as it is for the time of launches to be nobody's concern."""
    return [
        Condition(*config.DEBUG.place, config.DEBUG.value),
        Condition(*timeline.place(), None),
    ]


def report_time(what: str, remark: str = "") -> None:
    """A line for the time since the last line, under DLGRAD_DEBUG=2."""
    if config.DEBUG.value < 2:
        return
    now = time.perf_counter()
    line = f"{what:<{_NAME_WIDTH}}  {human_time(now - _Clock.reported):>8}  {remark}"
    _Clock.reported = now
    debug_print(line.rstrip())


def report_launch(
    name: str, launch: Launch, seconds: float, start: int, share: float | None = None
) -> None:
    """Tells that `launch` of the kernel `name` began at `start` (ns) and took `seconds`."""
    if config.DEBUG.value >= 2:
        debug_print(launch_line(name, launch, seconds, share))
        _Clock.reported = start * 1e-9 + seconds
    details = {"what": launch.note, "flops": launch.flops, "bytes": launch.bytes_moved}
    timeline.note(name, "kernel", start, seconds, details)


def launch_line(name: str, launch: Launch, seconds: float, share: float | None = None) -> str:
    """What `launch` of the kernel `name` reached in so many seconds.

    `share` is how much that is of the nearer roof of the machine, where the roofs are known.
    """
    seconds = max(seconds, 1e-9)
    parts = [f"{name:<{_NAME_WIDTH}}", f"{human_time(seconds):>8}"]
    parts.append(f"{launch.flops / seconds / 1e9:7.1f} GFLOP/s")
    parts.append(f"{launch.bytes_moved / seconds / 1e9:7.1f} GB/s")
    if share is not None:
        parts.append(f"{share:4.0%} of roof")
    return "  ".join([*parts, launch.note]).rstrip()
