"""How a batch is made of a dataset: the part of a loader that runs in each worker.

Floor 7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from dlgrad.data.collate import default_collate, default_convert
from dlgrad.data.dataset import can_gather


class Exhausted(Exception):  # noqa: N818
    """An iterable dataset has no more samples."""


@dataclass
class Recipe:
    """What a worker must know; it may travel to another process.

    Without `batched` single samples are handed out.  `iterable` says that the dataset is
    iterated, in batches of `batch_size`; otherwise it is indexed, by the batches of a sampler.
    """

    dataset: Any
    iterable: bool
    batched: bool
    batch_size: int | None
    drop_last: bool
    collate_fn: Callable[[Any], Any] | None
    num_workers: int
    worker_init_fn: Callable[[int], Any] | None


class Fetcher:
    """Makes batches of `recipe.dataset`; one pass over it."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.samples = iter(recipe.dataset) if recipe.iterable else None

    def fetch(self, group: Any) -> Any:
        """The batch of the indices `group`, or the next one of an iterable dataset.

        Raises Exhausted where an iterable dataset has no more.
        """
        recipe = self.recipe
        if self.samples is not None:
            return self._next_batch()
        dataset, collate = recipe.dataset, recipe.collate_fn
        if not recipe.batched:
            return (collate or default_convert)(dataset[group])
        if collate is None and can_gather(dataset):
            return dataset.gather(group)
        if hasattr(dataset, "__getitems__"):
            samples = dataset.__getitems__(group)
        else:
            samples = [dataset[index] for index in group]
        return (collate or default_collate)(samples)

    def _next_batch(self) -> Any:
        recipe, samples = self.recipe, self.samples
        assert samples is not None
        if not recipe.batched:
            for sample in samples:
                return (recipe.collate_fn or default_convert)(sample)
            raise Exhausted
        assert recipe.batch_size is not None
        batch = list(islice(samples, recipe.batch_size))
        if not batch or (recipe.drop_last and len(batch) < recipe.batch_size):
            raise Exhausted
        return (recipe.collate_fn or default_collate)(batch)
