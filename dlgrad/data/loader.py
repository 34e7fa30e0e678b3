"""The DataLoader: batches of a dataset, in order or shuffled, fetched ahead by threads.

Floor 7.  Workers are threads: the samples stay in this process, and compiled kernels let
other threads run meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from dlgrad.creation import tensor
from dlgrad.data.dataset import can_gather
from dlgrad.data.sampler import BatchSampler, RandomSampler, SequentialSampler
from dlgrad.movement import stack
from dlgrad.random import Generator
from dlgrad.tensor import Tensor


class DataLoader:
    """Iterates over batches of `dataset`, a new pass at every `for`.

    - `batch_size`: samples of a batch; None hands out single samples as they are.
    - `shuffle`: a new random order for each pass, from `generator` or `dlgrad.manual_seed`.
    - `sampler`, `batch_sampler`: the order, or the batches, instead of `shuffle`.
    - `drop_last`: leaves out a last batch that is not full.
    - `collate_fn`: makes a batch of a list of samples; by default `default_collate`.
    - `num_workers`: threads that prepare batches ahead, `prefetch_factor` each; 0 prepares
      each batch when it is asked for.  The order of the batches does not depend on it, and
      an exception in a worker is raised, with its traceback, where the batch is taken.
    - `pin_memory`, `persistent_workers`: accepted for PyTorch's sake, without effect.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[Sequence[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        generator: Generator | None = None,
        *,
        prefetch_factor: int = 2,
        persistent_workers: bool = False,
    ) -> None:
        if num_workers < 0 or prefetch_factor < 1:
            raise ValueError(
                "num_workers must be 0 or more and prefetch_factor 1 or more, "
                f"got {num_workers} and {prefetch_factor}"
            )
        if sampler is not None and shuffle:
            raise ValueError("give either a sampler or shuffle=True, not both")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "a batch_sampler decides alone: leave out batch_size, shuffle, sampler "
                    "and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError("drop_last needs a batch_size")
        if sampler is None:
            sampler = RandomSampler(dataset, generator) if shuffle else SequentialSampler(dataset)
        if batch_sampler is None and batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = collate_fn
        self.pin_memory = pin_memory
        self.drop_last = drop_last
        self.generator = generator
        self.prefetch_factor = prefetch_factor
        self.persistent_workers = persistent_workers

    def __len__(self) -> int:
        """The number of batches of one pass."""
        return len(self._groups)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        if self.num_workers == 0:
            return (self._fetch(group) for group in self._groups)
        return self._fetch_ahead()

    @property
    def _groups(self) -> Iterable[Any]:
        """Lists of indices for batches, or single indices where there are none."""
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def _fetch(self, group: Any) -> Any:
        if self.batch_sampler is None:
            sample = self.dataset[group]
            return sample if self.collate_fn is None else self.collate_fn(sample)
        if self.collate_fn is None and can_gather(self.dataset):
            return self.dataset.gather(group)
        samples = [self.dataset[index] for index in group]
        return default_collate(samples) if self.collate_fn is None else self.collate_fn(samples)

    def _fetch_ahead(self) -> Iterator[Any]:
        from concurrent.futures import Future, ThreadPoolExecutor

        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="dlgrad-data")
        waiting: deque[Future[Any]] = deque()
        try:
            for group in self._groups:
                waiting.append(pool.submit(self._fetch, group))
                if len(waiting) >= self.num_workers * self.prefetch_factor:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # also when the loop over the batches ends early
            pool.shutdown(wait=False, cancel_futures=True)


def default_collate(samples: list[Any]) -> Any:
    """A batch of a list of samples.

    Tensors of one shape are stacked, numbers become a tensor, and the members of tuples, lists
    and dicts are collated one by one; strings and bytes stay a list.
    """
    if not samples:
        raise ValueError("a batch needs at least one sample")
    first = samples[0]
    if isinstance(first, Tensor):
        return stack(samples)
    if isinstance(first, (bool, int, float)):
        return tensor(samples)
    if isinstance(first, (str, bytes)):
        return samples
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, Sequence):
        lengths = {len(sample) for sample in samples}
        if len(lengths) > 1:
            raise ValueError(f"samples of different lengths {sorted(lengths)} make no batch")
        columns = [default_collate(list(column)) for column in zip(*samples, strict=True)]
        return type(first)(*columns) if hasattr(first, "_fields") else columns
    if hasattr(first, "__array_interface__") or hasattr(first, "__array__"):
        return stack([tensor(sample) for sample in samples])
    raise TypeError(
        f"samples of type {type(first).__name__} make no batch; expected tensors, numbers, "
        "strings, or tuples, lists and dicts of them; otherwise give a collate_fn"
    )
