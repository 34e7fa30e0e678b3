"""What the engine launched: a recorder for tests that count kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dlgrad.runtime.device import Launch
from dlgrad.runtime.engine import Recorder, Run, set_recorder


class Seen(Recorder):
    """Keeps every run; `launches` are all their launches in order."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    def record(self, run: Run) -> None:
        self.runs.append(run)

    @property
    def launches(self) -> list[Launch]:
        return [launch for run in self.runs for launch in run.plan.launches]

    @property
    def notes(self) -> list[str]:
        return [launch.note for launch in self.launches]


@contextmanager
def recorded() -> Iterator[Seen]:
    """Records what this thread evaluates inside the block."""
    seen = Seen()
    before = set_recorder(seen)
    try:
        yield seen
    finally:
        set_recorder(before)
