"""Workers that are threads: they share the dataset, and batches cost nothing to hand over.

Floor 7.  Compiled kernels, files and decompression let other threads run; Python code does not.
"""

from __future__ import annotations

import queue
import threading

from dlgrad.data.fetch import Recipe
from dlgrad.data.workers import Fetch, Line, Reply, Start, Worker, work


class _ThreadLine(Line):
    """Two queues; a None among the tasks is the end."""

    def __init__(self) -> None:
        self.tasks: queue.SimpleQueue[Start | Fetch | None] = queue.SimpleQueue()
        self.replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        self.stopped = False

    def receive(self) -> Start | Fetch | None:
        task = self.tasks.get()
        return None if self.stopped else task

    def reply(self, reply: Reply) -> None:
        self.replies.put(reply)


class ThreadWorker(Worker):
    """Worker `id` of a loader, as a thread that ends with the process at the latest."""

    def __init__(self, recipe: Recipe, id: int) -> None:
        self.line = _ThreadLine()
        name = f"worker thread {id}"
        thread = threading.Thread(
            target=work,
            args=(recipe, id, self.line, name, False),
            name=f"dlgrad-data-{id}",
            daemon=True,
        )
        thread.start()

    def send(self, task: Start | Fetch) -> None:
        self.line.tasks.put(task)

    def receive(self, timeout: float | None) -> Reply:
        try:
            return self.line.replies.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None

    def ask_to_stop(self) -> None:
        self.line.stopped = True
        self.line.tasks.put(None)

    def stop(self, deadline: float) -> None:
        """A thread cannot be stopped from outside: it ends after the batch that it makes."""
