"""The roofs of this machine: the most arithmetic and memory traffic that it can do.

Floor 4.  Both are measured once with kernels of the run time and kept in the cache directory.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from dlgrad.c_src import host
from dlgrad.c_src.runtime import Runtime
from dlgrad.runtime import cache
from dlgrad.runtime.device import Launch

PATIENCE = 10  # measurements without a better one, after which the best one counts
MOST_REPEATS = 60
ROUNDS = 5_000
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


def measure_roofs(
    runtime: Runtime, threads: int, vector_bytes: int, compiler: str, again: bool = False
) -> Roofs:
    """The roofs for so many threads, from the cache or measured (some tens of milliseconds).

    With `again` they are measured also where the cache has them, and the higher ones stay.
    """
    key = {"cpu": host.cpu_identity(), "threads": threads, "compiler": compiler}
    record = cache.load_record("roofs", key)
    known = Roofs(0.0, 0.0)
    if record is not None:
        try:
            known = Roofs(float(record["arithmetic"]), float(record["memory"]))
        except (KeyError, ValueError):
            again = True  # a damaged record is measured again
        if not again:
            return known
    places = 64
    floats = vector_bytes // 4
    arithmetic = _fastest(runtime, threads, "dg_roof_arithmetic", 1, places, (ROUNDS,), 4 * places)
    memory = _fastest(runtime, threads, "dg_roof_copy", 2, COPIED_FLOATS, (), 4 * COPIED_FLOATS)
    roofs = Roofs(
        max(known.arithmetic, places * ROUNDS * OPERATIONS_PER_ROUND * floats / arithmetic),
        max(known.memory, 2 * 4 * COPIED_FLOATS / memory),
    )
    cache.store_record("roofs", key, asdict(roofs))
    return roofs


def _fastest(
    runtime: Runtime, threads: int, name: str, buffers: int, work: int, sizes: Any, nbytes: int
) -> float:
    """The seconds of the fastest of many short runs of a kernel, over `buffers` blocks.

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
        best, since = float("inf"), 0
        for _ in range(MOST_REPEATS):
            seconds = runtime.run_timed(prepared, slots, [], threads)[0]
            since = 0 if seconds < 0.99 * best else since + 1
            best = min(best, seconds)
            if since == PATIENCE:
                break
        return best
    finally:
        for slot in slots:
            runtime.free(slot, nbytes)
