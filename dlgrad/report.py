"""The line of DLGRAD_DEBUG=2 for one launch on a GPU: name, time, speed, what it did.

Floor 4.
"""

from __future__ import annotations

from dlgrad.device import Launch
from dlgrad.helpers import human_time


def launch_line(name: str, launch: Launch, seconds: float) -> str:
    """What `launch` of the kernel `name` reached in so many seconds."""
    seconds = max(seconds, 1e-9)
    parts = [f"{name:<40}", f"{human_time(seconds):>8}"]
    parts.append(f"{launch.flops / seconds / 1e9:7.1f} GFLOP/s")
    parts.append(f"{launch.bytes_moved / seconds / 1e9:7.1f} GB/s")
    return "  ".join([*parts, launch.note]).rstrip()
