"""Collections of samples, PyTorch's way: a length, and a sample for each index.

Floor 7.  A dataset that also has `gather(indices)` hands out whole batches at once; the
`DataLoader` then makes no Python object per sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from dlgrad.errors import ShapeError
from dlgrad.files.mapped import tensor_bytes, tensor_from_bytes
from dlgrad.random import Generator, permutation
from dlgrad.tensor import Tensor


class Dataset:
    """The base of datasets: subclasses define `__getitem__(index)` and `__len__()`."""

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__(index)")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__()")

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def __add__(self, other: Any) -> Dataset:
        """The samples of both, one after another."""
        return ConcatDataset([self, other])


class IterableDataset(Dataset):
    """The base of datasets that can only be iterated: subclasses define `__iter__()`.

    With several workers each of them iterates a copy; `get_worker_info()` in `__iter__` says
    which worker it is, so that each can hand out its own share.
    """

    def __getitem__(self, index: int) -> Any:
        raise TypeError(f"{type(self).__name__} can be iterated, not indexed")

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__()")

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__} has no length: define __len__() if it has one")

    def __bool__(self) -> bool:
        return True

    def __add__(self, other: Any) -> ChainDataset:
        return ChainDataset([self, other])


class RowGatherer:
    """Copies chosen rows of a tensor into a new one, without an object per row.

    The bytes of the tensor are read once, at the first gathering; later changes of the tensor
    are not seen.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self._rows: memoryview | None = None

    def gather(self, indices: Sequence[int]) -> Tensor:
        """The rows `indices` along the first dimension, on the tensor's device."""
        tensor = self.tensor
        if self._rows is None:
            self._rows = memoryview(tensor_bytes(tensor)).cast("B")
        rows = self._rows
        stride = len(rows) // max(len(tensor), 1)
        data = b"".join([rows[i * stride : (i + 1) * stride] for i in indices])
        shape = (len(indices), *tensor.shape[1:])
        return tensor_from_bytes(data, tensor.dtype, shape, str(tensor.device))


class TensorDataset(Dataset):
    """Sample i is the tuple of row i of each tensor; all must have the same first size."""

    def __init__(self, *tensors: Tensor) -> None:
        if not tensors:
            raise ValueError("TensorDataset needs at least one tensor")
        sizes = [len(tensor) for tensor in tensors]
        if len(set(sizes)) > 1:
            raise ShapeError(f"the tensors of a TensorDataset differ in first size: {sizes}")
        self.tensors = tensors
        self._gatherers = [RowGatherer(tensor) for tensor in tensors]

    def __repr__(self) -> str:
        columns = ", ".join(
            f"{tensor.dtype.name} {list(tensor.shape[1:])}" for tensor in self.tensors
        )
        return f"TensorDataset({len(self)} samples of {columns})"

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def gather(self, indices: Sequence[int]) -> list[Tensor]:
        """The samples `indices` as one batch: a tensor for each tensor of the dataset."""
        check_indices(indices, len(self))
        return [gatherer.gather(indices) for gatherer in self._gatherers]


class Subset(Dataset):
    """The samples of `dataset` at `indices`, in that order."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices
        if can_gather(dataset):
            self.gather = self._gather

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)

    def _gather(self, indices: Sequence[int]) -> Any:
        check_indices(indices, len(self))
        return self.dataset.gather([self.indices[i] for i in indices])


class ConcatDataset(Dataset):
    """The samples of several datasets, one after another."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset needs at least one dataset")
        if any(isinstance(dataset, IterableDataset) for dataset in self.datasets):
            raise TypeError("ConcatDataset needs datasets with indices; use ChainDataset")
        self.cumulative_sizes = list(accumulate(len(dataset) for dataset in self.datasets))

    def __getitem__(self, index: int) -> Any:
        if index < 0:
            index += len(self)
        check_indices([index], len(self))
        start = 0
        for dataset, end in zip(self.datasets, self.cumulative_sizes, strict=True):
            if index < end:
                return dataset[index - start]
            start = end
        raise AssertionError("the index was checked")

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


class StackDataset(Dataset):
    """Sample i holds sample i of each dataset: a tuple, or a dict where they are named."""

    def __init__(self, *datasets: Any, **named: Any) -> None:
        if bool(datasets) == bool(named):
            raise ValueError("StackDataset needs datasets, either all named or none")
        self.datasets: Any = named or datasets
        sizes = [len(dataset) for dataset in named.values() or datasets]
        if len(set(sizes)) > 1:
            raise ValueError(f"the datasets of a StackDataset differ in length: {sizes}")
        self._size = sizes[0]

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.datasets, dict):
            return {name: dataset[index] for name, dataset in self.datasets.items()}
        return tuple(dataset[index] for dataset in self.datasets)

    def __len__(self) -> int:
        return self._size


class ChainDataset(IterableDataset):
    """The samples of several iterable datasets, one after another."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)

    def __iter__(self) -> Iterator[Any]:
        for dataset in self.datasets:
            yield from dataset

    def __len__(self) -> int:
        return sum(len(dataset) for dataset in self.datasets)


def can_gather(dataset: Any) -> bool:
    """Whether `dataset` hands out whole batches with `gather(indices)`."""
    return callable(getattr(dataset, "gather", None))


def check_indices(indices: Sequence[int], size: int) -> None:
    """IndexError for an index that a dataset of `size` samples has not."""
    if indices and not (min(indices) >= 0 and max(indices) < size):
        bad = next(i for i in indices if not 0 <= i < size)
        raise IndexError(f"index {bad} is out of range for a dataset of {size} samples")


def random_split(
    dataset: Any, lengths: Sequence[int | float], generator: Generator | None = None
) -> list[Subset]:
    """Splits into disjoint random subsets of the given lengths, or fractions that sum to 1."""
    size = len(dataset)
    if abs(sum(lengths) - 1) < 1e-6 and any(isinstance(n, float) for n in lengths):
        counts = [int(size * fraction) for fraction in lengths]
        for i in range(size - sum(counts)):  # what rounding down left over, one by one
            counts[i % len(counts)] += 1
    else:
        counts = [int(n) for n in lengths]
    if sum(counts) != size or min(counts, default=0) < 0:
        raise ValueError(f"lengths {list(lengths)} do not split a dataset of {size} samples")
    order = permutation(size, generator)
    ends = list(accumulate(counts))
    return [
        Subset(dataset, order[end - n : end]) for n, end in zip(counts, ends, strict=True)
    ]
