"""The run time in C as Python sees it: memory by address, and sequences of launches.

Floor 4.  Compiles and loads the text of `runtime_source.py` and lays out its records.
"""

from __future__ import annotations

import ctypes
import os
import struct
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlgrad.c_src import library
from dlgrad.c_src.compiler import Compiler
from dlgrad.c_src.direct import open_direct
from dlgrad.c_src.runtime_source import RUNTIME, RUNTIME_FLAGS
from dlgrad.errors import DeviceError
from dlgrad.runtime import cache, temporary
from dlgrad.runtime.device import Captured, Condition, Launch

# Cost counts operations and bytes.  Below two units of it a kernel is one call of one thread:
# that takes a few microseconds, about what it takes to share work with threads that are awake.
# Operations of a matmul are cheaper than the others.
UNIT_COST = 1 << 16
MOST_UNITS = 256
SHARED_MATMUL_COST = 1 << 20
# Parts of a range begin at multiples of this, so that vector loops keep whole vectors.
GRAIN_STEP = 64
# One call into C does about this much (some tenths of a second): Ctrl-C is seen in between.
SEGMENT_COST = 1 << 32

_RECORD = struct.Struct("13q")


@dataclass(frozen=True)
class Program:
    """A compiled kernel: its function, and for a matmul the function that counts its jobs."""

    name: str
    note: str
    function: int  # address
    jobs: Any = None  # int64 (const int64_t *sizes), or None
    source_path: str = ""


@dataclass(frozen=True)
class Source:
    """C text that defines the function `name`, and for a matmul `name`_jobs too."""

    name: str
    text: str
    note: str = ""
    has_jobs: bool = False
    flags: tuple[str, ...] = ()

    def compile(self, compiler: Compiler) -> cache.Entry:
        """The library as a cache entry."""
        return cache.lookup_or_build(
            self.name,
            self.text,
            (".c", ".so"),
            compiler.identity(self.flags),
            lambda source, binary: compiler.compile_library(source, binary, self.flags),
            self.note,
        )

    def load(self, entry: cache.Entry, compiler: Compiler) -> ctypes.CDLL:
        """Opens the library; one from the cache that does not load here is compiled anew.

        That happens where machines with different system libraries share a home directory.
        """
        try:
            return library.load(entry)
        except OSError:
            if entry.is_new:
                raise
            cache.forget(entry)
            return library.load(self.compile(compiler))

    def program(self, entry: cache.Entry, compiler: Compiler) -> Program:
        """The program in the library."""
        loaded = self.load(entry, compiler)
        address = ctypes.cast(loaded[self.name], ctypes.c_void_p).value or 0
        jobs = None
        if self.has_jobs:
            jobs = _function(loaded, f"{self.name}_jobs", ctypes.c_int64, ctypes.c_void_p)
        return Program(self.name, self.note, address, jobs, entry.source_path)


@dataclass(frozen=True)
class Work:
    """How a launch is cut: `units` parts of `grain` places each of the range [0, work)."""

    work: int
    grain: int
    units: int
    join: bool  # whether one call may do several units


def cut_kernel(work: int, cost: int) -> Work:
    """The parts of an ordinary kernel.  They depend on the work alone, never on threads."""
    units = max(1, min(cost // UNIT_COST, MOST_UNITS, work))
    grain = -(-work // units)
    if units > 1 and grain > GRAIN_STEP:
        grain = -(-grain // GRAIN_STEP) * GRAIN_STEP
    units = -(-work // grain) if work else 0
    return Work(work, max(grain, 1), units, False)


def cut_matmul(jobs: int, cost: int) -> Work:
    """The parts of a matmul: its jobs, or all of them at once where they are little work."""
    if cost < SHARED_MATMUL_COST:
        return Work(jobs, max(jobs, 1), min(jobs, 1), True)
    return Work(jobs, 1, jobs, True)


@dataclass
class Prepared:
    """Records in memory, ready for `Runtime.run`.

    `segments` are (address of the first record, how many); `kept` holds the memory that the
    records point to; `launches` are for people to look at.
    """

    segments: list[tuple[int, int]]
    launches: tuple[Any, ...]
    kept: list[Any] = field(default_factory=list)


class Table:
    """Numbers of one kind, laid out one after the other; C reads them by address."""

    def __init__(self, kind: str) -> None:
        self.numbers: array[Any] = array(kind)

    def add(self, numbers: Sequence[Any]) -> int:
        """Appends `numbers`; returns where they begin."""
        start = len(self.numbers)
        self.numbers.extend(numbers)
        return start

    def address(self) -> int:
        return self.numbers.buffer_info()[0]


@dataclass(frozen=True)
class Record:
    """One record: positions in the tables, and for each launch in it its cut and its counts."""

    program: Program
    shown: Launch
    sizes: list[int]
    slots: int
    offsets: int
    scalars: int
    scalar_slots: int  # -1 where all scalars are its own
    buffer_count: int
    scalar_count: int
    work: Work
    parts: list[tuple[Work, int, int]]

    def parts_table(self, function: int, integers_at: int) -> array[Any]:
        """The integers that `dg_parts` reads."""
        table = array("q", [function, len(self.parts)])
        unit = buffer = scalar = 0
        for (cut, buffers, scalars), sizes in zip(self.parts, self.sizes, strict=True):
            table.extend([unit, buffer, scalar, integers_at + 8 * sizes, cut.work, cut.grain])
            unit, buffer, scalar = unit + cut.units, buffer + buffers, scalar + scalars
        return table


def side_by_side(launches: Sequence[Launch]) -> list[list[Launch]]:
    """The launches, those that may run beside each other together."""
    groups: list[list[Launch]] = []
    for launch in launches:
        if launch.beside and groups and launch.program.jobs is None:
            groups[-1].append(launch)
        else:
            groups.append([launch])
    return groups


def shown_launch(group: Sequence[Launch]) -> Launch:
    """The launches of one record as one, for people to look at."""
    if len(group) == 1:
        return group[0]
    return group[0]._replace(
        cost=sum(launch.cost for launch in group),
        flops=sum(launch.flops for launch in group),
        bytes_moved=sum(launch.bytes_moved for launch in group),
        note=f"{group[0].note} and {len(group) - 1} more",
    )


def own_or_given(launch: Launch) -> Sequence[int]:
    """Where each scalar of a launch comes from: its slot, or -1 for its own."""
    return launch.scalar_slots or (-1,) * len(launch.scalars)


class Runtime:
    """The loaded library.  One for each process; closed at exit."""

    def __init__(self, compiler: Compiler) -> None:
        text = Source("dlgrad_runtime", RUNTIME, "memory, threads, launches", flags=RUNTIME_FLAGS)
        self._library = loaded = text.load(text.compile(compiler), compiler)
        pointer, int64 = ctypes.c_void_p, ctypes.c_int64
        self._direct = open_direct(loaded)
        self._allocate = self._called("dg_allocate", int64)
        # Takes memory back (address, bytes); once the process is ending it does nothing.
        self.free = self._called("dg_free", int64, int64)
        self._trim = _function(loaded, "dg_trim", None)
        self._memory = _function(loaded, "dg_memory", None, pointer, int64)
        self._run = self._called("dg_run", *[int64] * 6)
        self._parts = self.program("dg_parts")
        self._shutdown = _function(loaded, "dg_shutdown", None)
        self._hold = _function(loaded, "dg_hold", None)
        self._release = _function(loaded, "dg_release", None)
        self._after_fork = _function(loaded, "dg_after_fork", None)
        self.closed = False
        temporary.at_exit(self._close)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=lambda: None if self.closed else self._hold(),
                after_in_parent=lambda: None if self.closed else self._release(),
                after_in_child=lambda: None if self.closed else self._after_fork(),
            )

    def program(self, name: str) -> Program:
        """A kernel that is part of the run time itself."""
        address = ctypes.cast(getattr(self._library, name), ctypes.c_void_p).value
        return Program(name, name, address or 0)

    def _called(self, name: str, *arguments: Any) -> Callable[..., int]:
        """A function of integers with an integer result, called directly where that is possible."""
        if self._direct is not None:
            return self._direct.function(name)
        called: Callable[..., int] = _function(self._library, name, ctypes.c_int64, *arguments)
        return called

    def replayer(
        self, prepared: Prepared, captured: Captured, conditions: Sequence[Condition], threads: int
    ) -> Callable[..., Any] | None:
        """A function that plays a captured sequence without Python; see `Backend.replayer`."""
        if self._direct is None or self.closed or len(prepared.segments) != 1:
            return None
        return self._direct.replayer(captured, conditions, prepared.segments[0], threads)

    # Memory

    def allocate(self, nbytes: int) -> int:
        """The address of at least `nbytes`; MemoryError where the system has no more."""
        if self.closed:
            self._check_open()
        address: int = self._allocate(nbytes)
        if not address:
            live = self.memory()[0]
            raise MemoryError(
                f"cannot allocate {nbytes:,} bytes of memory; tensors hold {live:,} bytes now"
            )
        return address

    def trim(self) -> None:
        """Gives memory that is kept for later back to the system."""
        self._check_open()
        self._trim()

    def memory(self, reset_peak: bool = False) -> tuple[int, int, int]:
        """Bytes in use, bytes kept for later, and the most that was ever in use at once."""
        self._check_open()
        counts = (ctypes.c_int64 * 3)()
        self._memory(ctypes.addressof(counts), int(reset_peak))
        return counts[0], counts[1], counts[2]

    # Sequences

    def prepare(self, launches: Sequence[Launch]) -> Prepared:
        """Lays the records of `launches` (of Programs) out in memory.

        Launches that may run beside each other are one record, of the kernel `dg_parts`.
        """
        integers, doubles = Table("q"), Table("d")
        layout = [self._lay_out(group, integers, doubles) for group in side_by_side(launches)]
        integers_at, doubles_at = integers.address(), doubles.address()
        records = (ctypes.c_char * max(1, len(layout) * _RECORD.size))()
        records_at = ctypes.addressof(records)
        kept: list[Any] = [integers, doubles, records]
        prepared = Prepared([], tuple(record.shown for record in layout), kept)
        first, cost = 0, 0
        for number, record in enumerate(layout):
            work, sizes = record.work, integers_at + 8 * record.sizes[0]
            function = record.program.function
            if len(record.sizes) > 1:
                table = record.parts_table(function, integers_at)
                kept.append(table)
                sizes, function = table.buffer_info()[0], self._parts.function
            elif record.program.jobs is not None:
                work = cut_matmul(record.program.jobs(sizes), record.shown.cost)
            own_scalars = record.scalar_slots < 0
            _RECORD.pack_into(
                records, number * _RECORD.size,
                function, sizes, doubles_at + 8 * record.scalars,
                integers_at + 8 * record.slots, integers_at + 8 * record.offsets,
                0 if own_scalars else integers_at + 8 * record.scalar_slots,
                record.buffer_count, record.scalar_count,
                work.work, work.grain, work.units, int(work.join), record.shown.cost,
            )  # fmt: skip
            cost += record.shown.cost
            if cost >= SEGMENT_COST or number == len(layout) - 1:
                address = records_at + first * _RECORD.size
                prepared.segments.append((address, number + 1 - first))
                first, cost = number + 1, 0
        return prepared

    @staticmethod
    def _lay_out(group: Sequence[Launch], integers: Table, doubles: Table) -> Record:
        """Writes what one record points to; the addresses follow when the tables are full."""
        buffers = [buffer for launch in group for buffer in launch.buffers]
        slots = [slot for launch in group for slot in own_or_given(launch)]
        given = any(slot >= 0 for slot in slots)
        cuts = [cut_kernel(launch.work, launch.cost) for launch in group]
        units = sum(cut.units for cut in cuts)
        return Record(
            group[0].program,
            shown_launch(group),
            [integers.add(launch.sizes) for launch in group],
            integers.add([slot for slot, _ in buffers]),
            integers.add([offset for _, offset in buffers]),
            doubles.add([value for launch in group for value in launch.scalars]),
            integers.add(slots) if given else -1,
            len(buffers),
            len(slots),
            cuts[0] if len(group) == 1 else Work(units, 1, units, False),
            [
                (cut, len(launch.buffers), len(launch.scalars))
                for cut, launch in zip(cuts, group, strict=True)
            ],
        )

    def run(
        self, prepared: Prepared, slots: Sequence[int], scalars: Sequence[float], threads: int
    ) -> None:
        """Runs a prepared sequence; between calls into C Python may handle a Ctrl-C."""
        if self.closed:
            self._check_open()
        slot_array = slots if isinstance(slots, array) else array("Q", slots)
        slots_at = slot_array.buffer_info()[0]
        scalar_array = array("d", scalars) if scalars else None
        scalars_at = 0 if scalar_array is None else scalar_array.buffer_info()[0]
        for first, count in prepared.segments:
            if self._run(first, count, slots_at, scalars_at, threads, 0):
                raise MemoryError("there is no memory for what a kernel keeps while it runs")

    def run_timed(
        self, prepared: Prepared, slots: Sequence[int], scalars: Sequence[float], threads: int
    ) -> list[float]:
        """As `run`; returns the seconds of each launch."""
        self._check_open()
        slot_array, scalar_array = array("Q", slots), array("d", scalars)
        slots_at, scalars_at = slot_array.buffer_info()[0], scalar_array.buffer_info()[0]
        seconds: list[float] = []
        for first, count in prepared.segments:
            times = (ctypes.c_double * count)()
            times_at = ctypes.addressof(times)
            if self._run(first, count, slots_at, scalars_at, threads, times_at):
                raise MemoryError("there is no memory for what a kernel keeps while it runs")
            seconds.extend(times)
        return seconds

    # The end

    def _check_open(self) -> None:
        if self.closed:
            raise DeviceError("the process is ending; the device cpu is closed")

    def _close(self) -> None:
        """Threads first, then memory, then the libraries that both ran in."""
        if not self.closed:
            self.closed = True
            self._shutdown()
            library.close_all(apart=self._library)  # Python's own functions are in that one


def _function(loaded: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = loaded[name]
    function.restype = result
    function.argtypes = list(arguments)
    return function
