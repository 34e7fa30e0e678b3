"""In which order a `DataLoader` asks for samples, and how it groups them.

Floor 7.  Random orders follow from the `generator` of a sampler, or from `dlgrad.manual_seed`
where it has none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

from dlgrad.core.base import is_tensor
from dlgrad.data.streams import stream
from dlgrad.random import Generator, permutation


class Sampler:
    """The base of samplers: iterating gives indices; every iteration is a new pass."""

    def __init__(self, data_source: Any = None) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__()")


class SequentialSampler(Sampler):
    """0, 1, 2, ... to the length of `data_source`."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """Indices of `data_source` in a new random order at each pass.

    Every index comes once; with `replacement` each index is drawn from all.  `num_samples` is
    how many are drawn, the length of `data_source` by default; without replacement more than
    that are several passes one after another.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, got {replacement!r}")
        if num_samples is not None:
            _check_count(num_samples)
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator

    @property
    def num_samples(self) -> int:
        """How many indices a pass has."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        size = len(self.data_source)
        if self.replacement:
            draw = stream(self.generator).randrange
            return (draw(size) for _ in range(self.num_samples))
        return self._passes(size)

    def _passes(self, size: int) -> Iterator[int]:
        left = self.num_samples if size else 0
        while left > 0:
            order = permutation(size, self.generator)[:left]
            left -= len(order)
            yield from order

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """The given indices, in a new random order at each pass."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        return (self.indices[i] for i in permutation(len(self.indices), self.generator))

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """`num_samples` indices, drawn with probabilities in the proportions of `weights`.

    Without `replacement` no index comes twice, and an index of weight 0 never comes.  (Then
    each index i gets the key u ** (1 / weights[i]) for a uniform u, and the largest keys win:
    Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006.)
    """

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        _check_count(num_samples)
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, got {replacement!r}")
        numbers = weights.tolist() if is_tensor(weights) else weights
        self.weights = [float(weight) for weight in numbers]
        if not all(0 <= weight < math.inf for weight in self.weights) or not any(self.weights):
            raise ValueError("weights must be finite, not negative, and not all zero")
        positive = sum(weight > 0 for weight in self.weights)
        if not replacement and num_samples > positive:
            raise ValueError(
                f"num_samples={num_samples} is more than the {positive} weights that are not "
                "zero; draw with replacement"
            )
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        source = stream(self.generator)
        places = range(len(self.weights))
        if self.replacement:
            return iter(source.choices(places, self.weights, k=self.num_samples))
        keys = [
            (math.log(1.0 - source.random()) / weight, place)
            for place, weight in enumerate(self.weights)
            if weight > 0
        ]
        keys.sort(reverse=True)
        return (place for _, place in keys[: self.num_samples])

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """Groups the indices of `sampler` into lists of `batch_size`; the last may be shorter."""

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool) -> None:
        if type(batch_size) is not int or batch_size < 1:
            raise ValueError(f"batch_size must be a whole number from 1, got {batch_size!r}")
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, got {drop_last!r}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[Any]]:
        batch: list[Any] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        size = len(self.sampler)  # type: ignore[arg-type]
        if self.drop_last:
            return size // self.batch_size
        return -(-size // self.batch_size)


def _check_count(num_samples: Any) -> None:
    if type(num_samples) is not int or num_samples < 1:
        raise ValueError(f"num_samples should be a positive integer value, got {num_samples!r}")
