"""The line of DLGRAD_DEBUG=2 for one launch: name, time, speed, what it did.

Floor 4.
"""

from __future__ import annotations

from dlgrad.device import Launch
from dlgrad.helpers import human_time


def launch_line(name: str, launch: Launch, seconds: float, share: float | None = None) -> str:
    """What `launch` of the kernel `name` reached in so many seconds.

    `share` is how much that is of the nearer roof of the machine, where the roofs are known.
    """
    seconds = max(seconds, 1e-9)
    parts = [f"{name:<40}", f"{human_time(seconds):>8}"]
    parts.append(f"{launch.flops / seconds / 1e9:7.1f} GFLOP/s")
    parts.append(f"{launch.bytes_moved / seconds / 1e9:7.1f} GB/s")
    if share is not None:
        parts.append(f"{share:4.0%} of roof")
    return "  ".join([*parts, launch.note]).rstrip()
