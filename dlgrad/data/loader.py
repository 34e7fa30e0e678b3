"""The DataLoader: batches of a dataset, in order or shuffled, prepared ahead by workers.

Floor 7.  What a batch is made of is decided here and in `sampler.py`; `fetch.py` makes it, in
this thread or in workers (`workers.py`), which are processes or threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

from dlgrad.data.dataset import IterableDataset
from dlgrad.data.fetch import Exhausted, Fetcher, Recipe
from dlgrad.data.sampler import BatchSampler, RandomSampler, SequentialSampler
from dlgrad.data.streams import stream
from dlgrad.data.threads import ThreadWorker
from dlgrad.data.workers import Team, TeamIterator, Worker, stop_workers
from dlgrad.random import Generator

PREFETCH_FACTOR = 2


class DataLoader:
    """Iterates over batches of `dataset`, a new pass at every `for`.

    - `batch_size`: samples of a batch; None hands out single samples.
    - `shuffle`: a new random order for each pass, from `generator` or `dlgrad.manual_seed`.
    - `sampler`, `batch_sampler`: the order, or the batches, instead of `shuffle`.
    - `drop_last`: leaves out a last batch that is not full.
    - `collate_fn`: makes a batch of a list of samples; by default `default_collate`.
    - `num_workers`: workers that prepare batches ahead, `prefetch_factor` (2) each; 0 prepares
      each batch when it is asked for.  The order of the batches does not depend on it.  An
      exception in a worker is raised where its batch would be taken, with the traceback of the
      worker; a worker that dies is a RuntimeError.
    - `worker_type`: "process" (as in PyTorch) or "thread".  Threads start at once and share
      the dataset; processes run Python code side by side.
    - `multiprocessing_context`: how processes start: "fork" (the default on Linux), "spawn" or
      "forkserver", for which the dataset and the functions must be picklable.
    - `worker_init_fn(id)` is called in each worker at its start, `get_worker_info()` works there.
    - `persistent_workers`: keeps the workers for the next pass.
    - `timeout`: seconds to wait for a batch, then RuntimeError; 0 waits for ever.
    - `pin_memory`, `pin_memory_device`, `in_order`: accepted for PyTorch's sake.  There is no
      pinned memory in dlgrad, and batches always come in order.

    An `IterableDataset` is iterated by every worker; it divides its samples by
    `get_worker_info()`.  Workers end with the pass, and also where the iterator or the loader
    is given up, at Ctrl-C, and when this process dies.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Sequence[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        worker_type: str = "process",
    ) -> None:
        _check_workers(num_workers, prefetch_factor, persistent_workers, timeout, worker_type)
        iterable = isinstance(dataset, IterableDataset)
        _check_order(iterable, batch_size, shuffle, sampler, batch_sampler, drop_last)
        if batch_sampler is not None:
            batch_size = None
        if sampler is None and not iterable:
            sampler = (
                RandomSampler(dataset, generator=generator) if shuffle
                else SequentialSampler(dataset)
            )  # fmt: skip
        if batch_sampler is None and batch_size is not None and not iterable:
            assert sampler is not None
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = collate_fn
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.prefetch_factor = prefetch_factor
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        self.worker_type = worker_type
        self._iterable = iterable
        self._team: Team | None = None

    def __len__(self) -> int:
        """The number of batches of one pass; TypeError where an iterable dataset has no length."""
        if not self._iterable:
            return len(self._groups)  # type: ignore[arg-type]
        size = len(self.dataset)
        if self.batch_size is None:
            return size
        return size // self.batch_size if self.drop_last else -(-size // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        # Drawn in any case, so that the order does not depend on the number of workers.
        seed = stream(self.generator).getrandbits(62)
        if self.num_workers == 0:
            return self._fetch_here()
        team = self._team
        if team is None or not team.finish.alive:
            team = Team(self._hire())
        self._team = team if self.persistent_workers else None
        ahead = self.prefetch_factor or PREFETCH_FACTOR
        return TeamIterator(
            team, self._groups, seed, ahead, self.timeout, self.persistent_workers
        )

    @property
    def _groups(self) -> Iterable[Any]:
        """Lists of indices for batches, single indices, or None for the next batch there is."""
        if self._iterable:
            return repeat(None)
        groups = self.sampler if self.batch_sampler is None else self.batch_sampler
        assert groups is not None
        return groups

    @property
    def _recipe(self) -> Recipe:
        return Recipe(
            self.dataset,
            self._iterable,
            self.batch_sampler is not None or self.batch_size is not None,
            self.batch_size,
            self.drop_last,
            self.collate_fn,
            self.num_workers,
            self.worker_init_fn,
        )

    def _fetch_here(self) -> Iterator[Any]:
        fetcher = Fetcher(self._recipe)
        for group in self._groups:
            try:
                batch = fetcher.fetch(group)
            except Exhausted:
                return
            yield batch

    def _hire(self) -> list[Worker]:
        """Starts the workers; none is left where one of them cannot be started."""
        recipe = self._recipe
        if self.worker_type == "thread":
            return [ThreadWorker(recipe, id) for id in range(self.num_workers)]
        from dlgrad.data.processes import ProcessWorker, find_context

        context = find_context(self.multiprocessing_context)
        workers: list[Worker] = []
        try:
            for id in range(self.num_workers):
                workers.append(ProcessWorker(recipe, id, context))
        except BaseException:
            stop_workers(workers)
            raise
        return workers


def _check_workers(
    num_workers: int, prefetch_factor: int | None, persistent: bool, timeout: float, kind: str
) -> None:
    """ValueError for settings of workers that make no sense."""
    if num_workers < 0:
        raise ValueError(f"num_workers must be 0 or more, got {num_workers}")
    if timeout < 0:
        raise ValueError(f"timeout must be 0 or more seconds, got {timeout}")
    if kind not in ("process", "thread"):
        raise ValueError(f"worker_type is 'process' or 'thread', got {kind!r}")
    if prefetch_factor is not None and prefetch_factor < 1:
        raise ValueError(f"prefetch_factor must be 1 or more, got {prefetch_factor}")
    if num_workers == 0 and (prefetch_factor is not None or persistent):
        raise ValueError(
            "prefetch_factor and persistent_workers are for workers: set num_workers, or leave "
            "them out"
        )


def _check_order(
    iterable: bool, batch_size: int | None, shuffle: Any, sampler: Any, batch_sampler: Any,
    drop_last: bool,
) -> None:  # fmt: skip
    """ValueError for settings of the order and the batches that contradict each other."""
    if iterable and (shuffle or sampler is not None or batch_sampler is not None):
        raise ValueError(
            "an IterableDataset decides about its order: leave out shuffle, sampler and "
            "batch_sampler"
        )
    if sampler is not None and shuffle:
        raise ValueError("give either a sampler or shuffle=True, not both")
    if batch_sampler is not None:
        if batch_size != 1 or shuffle or sampler is not None or drop_last:
            raise ValueError(
                "a batch_sampler decides alone: leave out batch_size, shuffle, sampler "
                "and drop_last"
            )
    elif batch_size is None:
        if drop_last:
            raise ValueError("drop_last needs a batch_size")
    elif type(batch_size) is not int or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number from 1, got {batch_size!r}")
