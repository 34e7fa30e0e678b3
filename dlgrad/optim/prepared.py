"""A step of an optimizer, prepared once and run again on other gradients.

Floor 7.  What a step does to its parameters is the same every time: the numbers that change are
in device memory (`Numbers`), and only the gradients are in other memory.  So the launches of
one step are kept, and the next steps make no graph at all.  Whatever does not fit what was
kept (other parameters, replaced tensors, views as gradients) is done in the plain way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dlgrad.core.captured_memory import held_storages, is_whole
from dlgrad.core.storage import Storage, evaluate_pending
from dlgrad.lazy.ops import BufferOps
from dlgrad.runtime.capture import Replay
from dlgrad.runtime.device import Buffer, set_transfer_hook
from dlgrad.runtime.engine import Recorder, Run, set_recorder
from dlgrad.tensor import Tensor


class StepRecorder(Recorder):
    """Notes what is run, and whether anything happens that running again would not do."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.repeatable = True

    def record(self, run: Run) -> None:
        self.runs.append(run)
        if run.moved:
            self.repeatable = False  # a tensor got other memory

    def transfer(self, what: str) -> None:
        """Data went from or to Python."""
        self.repeatable = False


class PreparedStep:
    """The launches of one step; `signature` says for which parameters and settings."""

    def __init__(self, signature: Any, replay: Replay, gradients: Sequence[Buffer]) -> None:
        self.signature = signature
        self.replay = replay
        apart = {id(memory) for memory in gradients}
        written = {id(memory) for memory in replay.written}
        self.held: list[tuple[Storage, Buffer, bool]] = []
        for reference, memory in held_storages(replay.buffers):
            storage = reference()
            if storage is not None and id(memory) not in apart:
                self.held.append((storage, memory, id(memory) in written))
        # The gradients of the step that was kept are not needed again; all else lives on.
        replay.buffers = [memory for memory in replay.buffers if id(memory) not in apart]

    def fits(self, signature: Any) -> bool:
        """Whether the tensors are the same, in the same memory."""
        return bool(self.signature == signature) and all(
            storage.node.op is BufferOps.BUFFER and storage.node.arg is memory
            for storage, memory, _ in self.held
        )

    def run(self, gradients: Sequence[Buffer]) -> None:
        """Does the step; nothing may be pending that reads what it overwrites."""
        self.replay.run(gradients, ())
        for storage, _, is_written in self.held:
            if is_written:
                storage.version += 1


def record_step(
    signature: Any, gradients: list[Buffer], work: Callable[[], None]
) -> PreparedStep | None:
    """Does `work`, the plain step, and returns it prepared; None where it cannot be repeated."""
    recorder = StepRecorder()
    before = set_recorder(recorder)
    hook = set_transfer_hook(recorder.transfer)
    try:
        work()
        evaluate_pending()
    finally:
        set_transfer_hook(hook)
        set_recorder(before)
    backends = {run.plan.backend for run in recorder.runs}
    if not recorder.repeatable or len(backends) != 1:
        return None
    replay = Replay(recorder.runs, gradients, [])
    return None if any(replay.overwrites) else PreparedStep(signature, replay, gradients)


def memories(gradients: Sequence[Tensor], others: Sequence[Storage]) -> list[Buffer] | None:
    """The memory of gradients that are computed; None where one is a view, or not alone.

    `others` are parameters and states: a gradient in the memory of one is not alone either.
    """
    found = [gradient._storage.memory() for gradient in gradients if is_whole(gradient)]
    taken = {id(storage.node.arg) for storage in others}
    apart = {id(memory) for memory in found} - taken
    return found if len(apart) == len(gradients) else None
