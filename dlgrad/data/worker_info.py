"""Which worker of a `DataLoader` this is: its number, its seed, and its copy of the dataset.

Floor 7.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from dlgrad.random import Generator


@dataclass
class WorkerInfo:
    """What a worker knows about itself.

    `id` counts from 0 to `num_workers` - 1.  `seed` is another one in each worker and each
    pass; `generator` is seeded with it, and the transforms of `dlgrad.data` draw from it.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any
    generator: Generator


class _Current(threading.local):
    info: WorkerInfo | None = None


_current = _Current()


def get_worker_info() -> WorkerInfo | None:
    """The worker that this thread is; None in the thread that takes the batches.

    An iterable dataset uses it to hand out its share: worker `info.id` of `info.num_workers`.
    """
    return _current.info


def set_worker_info(info: WorkerInfo) -> None:
    """Says which worker this thread is."""
    _current.info = info
