"""Capture of what is evaluated, and its replay as one sequence of launches.

Floor 5.  A `Capture` records every run of a plan while a function executes.  `Replay` joins
the recorded launches into one prepared sequence, whose slots are the buffers themselves; some
slots (inputs, outputs) take other memory at each replay.  `jit.py` above decides what is
recorded and what is an input.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dlgrad.errors import CaptureError
from dlgrad.runtime.device import (
    Backend,
    Buffer,
    Captured,
    Condition,
    Launch,
    set_transfer_hook,
)
from dlgrad.runtime.engine import Recorder, Run, current_recorder, set_recorder
from dlgrad.runtime.report import is_timed, report_time
from dlgrad.runtime.timeline import span


class Capture(Recorder):
    """Records the runs of one function; the active one is `current_capture()`."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.moved: list[tuple[Any, Buffer]] = []  # (storage, the memory that it left)
        self.refreshes: list[Callable[[], Any]] = []
        self.tolerant = 0

    def before_replay(self, refresh: Callable[[], Any]) -> None:
        """Registers a function to call before each replay, in order of registration.

        It may write new numbers into device memory that the captured work reads: a learning
        rate, a step count, the offset of a random generator.
        """
        self.refreshes.append(refresh)

    def record(self, run: Run) -> None:
        self.runs.append(run)
        for storage, memory in run.moved:
            if not any(storage is known for known, _ in self.moved):
                self.moved.append((storage, memory))

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Allows data to move between Python and the device: it is not part of the function."""
        self.tolerant += 1
        try:
            yield
        finally:
            self.tolerant -= 1

    def transfer(self, what: str) -> None:
        """Refuses data from Python, or to it, because a replay would not move it again."""
        if not self.tolerant:
            raise CaptureError(
                f"{what} inside a function under dlgrad.jit: a replay would not do it again. "
                "Pass tensors as arguments, return what you want to see, and call item(), "
                "tolist(), print() and dlgrad.tensor(...) outside of the function"
            )

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Records everything that this thread evaluates inside the block."""
        before = set_recorder(self)
        hook = set_transfer_hook(self.transfer)
        try:
            yield
        finally:
            set_transfer_hook(hook)
            set_recorder(before)


def current_capture() -> Capture | None:
    """The capture that is recording this thread, or None."""
    recorder = current_recorder()
    return recorder if isinstance(recorder, Capture) else None


class Replay:
    """The recorded launches as one sequence.

    `inputs` and `outputs` are buffers of the capture that get other memory at each call of
    `run`.  `written` are the others that a replay overwrites, and `overwrites` says which of
    the inputs it overwrites.
    """

    def __init__(self, runs: Sequence[Run], inputs: list[Buffer], outputs: list[Buffer]) -> None:
        if not runs:
            raise CaptureError(
                "the function under dlgrad.jit computed nothing that could be replayed; return a "
                "tensor that it computes, or change one in place"
            )
        self.backend: Backend = runs[0].plan.backend
        if any(run.plan.backend is not self.backend for run in runs):
            raise CaptureError(
                "a function under dlgrad.jit must stay on one device; "
                f"this one uses {sorted({run.plan.backend.name for run in runs})}"
            )
        self.buffers: list[Buffer] = []
        self.slots: dict[int, int] = {}
        blocks = [run.buffers[-1] for run in runs if run.plan.block_bytes]
        # The runs come one after the other, so one block serves the intermediates of all.
        self.block = max(blocks, key=lambda block: block.nbytes, default=None)
        launches: list[Launch] = []
        for run in runs:
            launches += self.joined(run)
        # One address more than there are slots, the last, for inputs that nothing reads and
        # for outputs without elements.
        self.places = [self.slots.get(id(buffer), -1) for buffer in (*inputs, *outputs)]
        self.addresses = array("Q", [*(buffer.address for buffer in self.buffers), 0])
        self.written = self.written_buffers(launches, [*inputs, *outputs])
        overwritten = {id(buffer) for buffer in self.written_buffers(launches, outputs)}
        self.overwrites = [id(buffer) in overwritten for buffer in inputs]
        self.read_first = self.buffers_read_first(launches)
        self.sequence = self.backend.prepare(launches)

    def joined(self, run: Run) -> list[Launch]:
        """The launches of one run, with the slots of the whole and their numbers fixed."""
        buffers = list(run.buffers)
        if run.plan.block_bytes and self.block is not None:
            buffers[-1] = self.block
        numbers = [self.slot(buffer) for buffer in buffers]
        result = []
        for launch in run.plan.launches:
            scalars = tuple(
                own if position < 0 else run.scalars[position]
                for own, position in zip(
                    launch.scalars, launch.scalar_slots or (-1,) * len(launch.scalars), strict=True
                )
            )
            places = tuple((numbers[slot], offset) for slot, offset in launch.buffers)
            result.append(launch._replace(buffers=places, scalars=scalars, scalar_slots=()))
        return result

    def slot(self, buffer: Buffer) -> int:
        number = self.slots.get(id(buffer))
        if number is None:
            number = self.slots[id(buffer)] = len(self.buffers)
            self.buffers.append(buffer)
        return number

    def written_buffers(self, launches: list[Launch], without: list[Buffer]) -> list[Buffer]:
        """The buffers that a replay overwrites, apart from those in `without`."""
        apart = {id(buffer) for buffer in without}
        written: dict[int, Buffer] = {}
        for launch in launches:
            for (slot, _), is_output in zip(launch.buffers, launch.outputs, strict=True):
                buffer = self.buffers[slot]
                if is_output and id(buffer) not in apart:
                    written[id(buffer)] = buffer
        return list(written.values())

    def buffers_read_first(self, launches: list[Launch]) -> set[int]:
        """The ids of the buffers whose contents from before a replay matter to it."""
        read: set[int] = set()
        written: set[int] = set()
        for launch in launches:
            slots = zip(launch.buffers, launch.outputs, strict=True)
            sides = [(slot, is_output) for (slot, _), is_output in slots]
            read.update(slot for slot, is_output in sides if not is_output and slot not in written)
            written.update(slot for slot, is_output in sides if is_output)
        return {id(self.buffers[slot]) for slot in read}

    def direct(
        self,
        conditions: Sequence[Condition],
        arguments: Sequence[Any],
        results: Sequence[Any],
        is_tuple: bool,
    ) -> Callable[..., Any] | None:
        """A function that replays without Python; see `Backend.replayer`.

        `arguments` and `results` are tensors like those of a call, in the order of the buffers.
        What else is written must be nobody's but the replay's.
        """
        last = len(self.addresses) - 1
        slots = [last if place < 0 else place for place in self.places]
        placed = list(zip((*arguments, *results), slots, strict=True))
        count = len(arguments)
        lent = [(b.nbytes, self.slots[id(b)]) for b in self.written if b.nbytes]
        return self.backend.replayer(
            Captured(
                self.sequence, self.addresses, conditions, placed[:count], placed[count:], lent,
                is_tuple,
            )  # fmt: skip
        )

    def run(self, inputs: Sequence[Buffer], outputs: Sequence[Buffer]) -> None:
        """Runs all launches over the memory of `inputs` and `outputs`."""
        addresses = self.addresses[:]
        for number, buffer in enumerate((*inputs, *outputs)):
            addresses[self.places[number]] = buffer.address
        if not is_timed():
            self.backend.run(self.sequence, addresses, ())
            return
        report_time("python")
        with span("replay", "evaluate"):
            self.backend.run(self.sequence, addresses, ())
