"""The roofs of this machine: the most arithmetic and memory traffic that it can do.

Floor 4.  Both are measured with kernels of the run time.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from dlgrad.c_src import host
from dlgrad.c_src.runtime import Runtime
from dlgrad.runtime import cache
from dlgrad.runtime.device import Launch

PATIENCE = 10  # measurements without a faster one, after which it is enough
MOST_REPEATS = 60
ROUNDS = 5_000
PLACES = 64
OPERATIONS_PER_ROUND = 12 * 2  # for each float of a vector
COPIED_FLOATS = 16 << 20  # 64 MB there and 64 MB back: more than most caches hold


@dataclass(frozen=True)
class Roofs:
    """The most this machine does: operations per second (float32) and bytes per second."""

    arithmetic: float
    memory: float

    def share(self, flops: int, bytes_moved: int, seconds: float) -> float:
        """How much of the nearer roof was reached, 1.0 being all of it."""
        return max(flops / self.arithmetic, bytes_moved / self.memory) / seconds


def known_roofs(runtime: Runtime, threads: int, vector_bytes: int, compiler: str) -> Roofs:
    """The best roofs, from the cache or measured and kept there (some tenths of a second)."""
    key = {"cpu": host.cpu_identity(), "threads": threads, "compiler": compiler, "copy": "streamed"}
    record = cache.load_record("roofs", key)
    if record is not None:
        try:
            return Roofs(float(record["arithmetic"]), float(record["memory"]))
        except (KeyError, ValueError):
            pass  # a damaged record is measured again
    roofs = measure_roofs(runtime, threads, vector_bytes, min)
    cache.store_record("roofs", key, asdict(roofs))
    return roofs


def measure_roofs(
    runtime: Runtime, threads: int, vector_bytes: int, choose: Callable[[list[float]], float]
) -> Roofs:
    """The roofs now.  `choose` takes the seconds of many runs and tells which to count.

    The fastest (`min`) is the best that the machine can do; beside the median of a benchmark
    belongs the median, because a virtual machine has good and bad moments.
    """
    arithmetic = _runs(runtime, threads, "dg_roof_arithmetic", 1, PLACES, (ROUNDS,), 4 * PLACES)
    copies = _runs(runtime, threads, "dg_roof_copy", 2, COPIED_FLOATS, (), 4 * COPIED_FLOATS)
    operations = PLACES * ROUNDS * OPERATIONS_PER_ROUND * (vector_bytes // 4)
    return Roofs(operations / choose(arithmetic), 2 * 4 * COPIED_FLOATS / choose(copies))


def _runs(
    runtime: Runtime, threads: int, name: str, buffers: int, work: int, sizes: Any, nbytes: int
) -> list[float]:
    """The seconds of many short runs of a kernel, over `buffers` blocks.

    Other programs may have the processor for a while; some run finds it free.
    """
    slots = [runtime.allocate(nbytes) for _ in range(buffers)]
    launch = Launch(
        program=runtime.program(name),
        buffers=tuple((slot, 0) for slot in range(buffers)),
        sizes=sizes,
        scalars=(),
        work=work,
        cost=1 << 30,
    )
    prepared = runtime.prepare([launch])
    try:
        for slot in slots:  # memory that nobody wrote to is one page of zeros, and in the caches
            ctypes.memset(slot, 1, nbytes)
        seconds: list[float] = []
        best, since = float("inf"), 0
        for _ in range(MOST_REPEATS):
            seconds += runtime.run_timed(prepared, slots, [], threads)
            since = 0 if seconds[-1] < 0.99 * best else since + 1
            best = min(best, seconds[-1])
            if since == PATIENCE:
                break
        return seconds
    finally:
        for slot in slots:
            runtime.free(slot, nbytes)
