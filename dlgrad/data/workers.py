"""Workers of a `DataLoader`: what each of them does, and the iterator that hands them work.

Floor 7.  A worker is a thread (`threads.py`) or a process (`processes.py`); this file knows
neither.  Each worker has a line of its own to the iterator.  Batch after batch is assigned to
the workers in turn, and taken from them in the same turn: the order of the batches does not
depend on which worker is faster.
"""

from __future__ import annotations

import os
import random
import time
import traceback
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from dlgrad.data.fetch import Exhausted, Fetcher, Recipe
from dlgrad.data.worker_info import WorkerInfo, set_worker_info
from dlgrad.random import Generator, manual_seed

BATCH, END, FAILURE = range(3)  # what a reply is
GRACE_SECONDS = 1.0  # for workers to end by themselves, and then to obey a signal


class Start(NamedTuple):
    """To a worker: a new pass begins.  Replies of earlier passes are not wanted any more."""

    number: int
    seed: int


class Fetch(NamedTuple):
    """To a worker: make the batch of these indices."""

    group: Any


class Reply(NamedTuple):
    """From a worker, for each Fetch: the pass, BATCH, END or FAILURE, and the batch or error."""

    number: int
    kind: int
    value: Any


class Failure:
    """An exception in a worker: itself, and its traceback as text."""

    def __init__(self, error: BaseException, worker: str) -> None:
        self.error = error
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        self.text = f"\n\nIn {worker} of the DataLoader:\n\n{''.join(lines)}"


class WorkerTraceback(Exception):  # noqa: N818
    """The cause of an exception that comes from a worker; its text is the traceback there."""


class Line(ABC):
    """The end of a line that a worker holds."""

    @abstractmethod
    def receive(self) -> Start | Fetch | None:
        """The next task, waited for; None where the work is over."""

    @abstractmethod
    def reply(self, reply: Reply) -> None:
        """Hands a reply out."""


class Worker(ABC):
    """A worker as the iterator sees it."""

    @abstractmethod
    def send(self, task: Start | Fetch) -> None:
        """Gives the worker something to do."""

    @abstractmethod
    def receive(self, timeout: float | None) -> Reply:
        """The next reply; TimeoutError after `timeout` seconds, RuntimeError if it died."""

    @abstractmethod
    def ask_to_stop(self) -> None:
        """Says that no more will come."""

    @abstractmethod
    def stop(self, deadline: float) -> None:
        """Makes sure that the worker is gone; until `deadline` (monotonic) it may go by itself."""


def stop_workers(workers: list[Worker]) -> None:
    """Ends all workers together, so that slow ones do not add up."""
    for worker in workers:
        worker.ask_to_stop()
    deadline = time.monotonic() + GRACE_SECONDS
    for worker in workers:
        worker.stop(deadline)


# In a worker ------------------------------------------------------------------------------------


def work(recipe: Recipe, id: int, line: Line, name: str, alone: bool) -> None:
    """What a worker does: one reply for each Fetch, until the line ends.

    `alone` says that the process is the worker's own, so that the default streams of dlgrad
    and of Python are its own too and get its seed.
    """
    job = _Job(recipe, id, name, alone)
    while (task := line.receive()) is not None:
        if isinstance(task, Start):
            job.start(task)
        else:
            line.reply(job.fetch(task))


class _Job:
    """What a worker knows between two tasks."""

    def __init__(self, recipe: Recipe, id: int, name: str, alone: bool) -> None:
        self.recipe, self.id, self.name, self.alone = recipe, id, name, alone
        self.number = 0
        self.fetcher: Fetcher | None = None
        self.failure: Failure | None = None  # of the start

    def start(self, task: Start) -> None:
        """Begins a pass; `worker_init_fn` is called before the first."""
        recipe, first = self.recipe, not self.number
        self.number, self.failure, self.fetcher = task.number, None, None
        seed = (task.seed + self.id) % (1 << 63)
        generator = manual_seed(seed) if self.alone else Generator("cpu").manual_seed(seed)
        if self.alone:
            random.seed(seed)
        set_worker_info(
            WorkerInfo(self.id, recipe.num_workers, seed, recipe.dataset, generator)
        )
        try:
            if recipe.worker_init_fn is not None and first:
                recipe.worker_init_fn(self.id)
            self.fetcher = Fetcher(recipe)
        except Exception as error:
            self.failure = Failure(error, self.name)

    def fetch(self, task: Fetch) -> Reply:
        """Makes a batch."""
        if self.failure is not None:  # told once, and not kept: it holds the frames it came from
            problem, self.failure = self.failure, None
            return Reply(self.number, FAILURE, problem)
        if self.fetcher is None:
            return Reply(self.number, END, None)
        try:
            return Reply(self.number, BATCH, self.fetcher.fetch(task.group))
        except Exhausted:
            return Reply(self.number, END, None)
        except Exception as error:
            return Reply(self.number, FAILURE, Failure(error, self.name))


# Where the batches are taken --------------------------------------------------------------------


class Team:
    """All workers of a loader; they stop when nobody holds the team any more."""

    def __init__(self, workers: list[Worker]) -> None:
        self.workers = workers
        self.passes = 0
        self.finish = weakref.finalize(self, _stop_all, workers, os.getpid())

    def start_pass(self, seed: int) -> int:
        """Begins a new pass in all workers; returns its number."""
        self.passes += 1
        for worker in self.workers:
            worker.send(Start(self.passes, seed))
        return self.passes


def _stop_all(workers: list[Worker], owner: int) -> None:
    """Ends the workers; a forked copy of their owner leaves them alone."""
    if os.getpid() == owner:
        stop_workers(workers)
        workers.clear()


class TeamIterator:
    """One pass: hands `groups` to the workers of a team and gives the batches in order.

    `ahead` is how many batches each worker may have begun.  With `keep` the team is there for
    another pass; otherwise it ends with this one.
    """

    def __init__(
        self, team: Team, groups: Iterable[Any], seed: int, ahead: int, timeout: float, keep: bool
    ) -> None:
        self.team = team
        self.groups = iter(groups)
        self.more = True
        self.ahead = ahead
        self.timeout = timeout
        self.keep = keep
        self.number = team.start_pass(seed)
        self.active = list(team.workers)  # those that an iterable dataset has not ended yet
        self.turn = 0
        self.waiting: deque[Worker] = deque()
        self.fill()

    def __iter__(self) -> Iterator[Any]:
        return self

    def fill(self) -> None:
        """Hands out groups until every worker has its share of work ahead."""
        while self.more and self.active and len(self.waiting) < self.ahead * len(self.active):
            try:
                group = next(self.groups)
            except StopIteration:
                self.more = False
                break
            worker = self.active[self.turn % len(self.active)]
            self.turn += 1
            worker.send(Fetch(group))
            self.waiting.append(worker)

    def __next__(self) -> Any:
        while True:
            if self.team.passes != self.number:
                raise RuntimeError(
                    "a newer pass over this DataLoader with persistent_workers has begun; only "
                    "the newest iterator can go on"
                )
            if not self.waiting:
                self.end()
                raise StopIteration
            worker = self.waiting.popleft()
            reply = self.take(worker)
            if reply.kind == END:
                self.retire(worker)
                continue
            self.fill()
            if reply.kind == FAILURE:
                _raise(reply.value)
            return reply.value

    def take(self, worker: Worker) -> Reply:
        """The next reply of `worker` that belongs to this pass."""
        try:
            while True:
                reply = worker.receive(self.timeout or None)
                if reply.number == self.number:
                    return reply
        except TimeoutError:
            self.end(failed=True)
            raise RuntimeError(f"DataLoader timed out after {self.timeout} seconds") from None
        except BaseException:
            self.end(failed=True)
            raise

    def retire(self, worker: Worker) -> None:
        """Gives no more work to a worker whose share of an iterable dataset is at its end."""
        if worker in self.active:
            place = self.active.index(worker)
            turn = self.turn % len(self.active)
            self.active.remove(worker)
            self.turn = turn - 1 if place < turn else turn
        self.fill()

    def end(self, failed: bool = False) -> None:
        """The pass is over: no more work, and no team where it shall not be kept."""
        self.more = False
        self.waiting.clear()
        if failed or not self.keep:
            self.team.finish()


def _raise(failure: Failure) -> None:
    raise failure.error from WorkerTraceback(failure.text)
