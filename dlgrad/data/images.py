"""Images with labels, all in memory: what MNIST and CIFAR have in common.

Floor 7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dlgrad.data.dataset import Dataset, RowGatherer
from dlgrad.dtype import int64
from dlgrad.files.mapped import tensor_from_bytes
from dlgrad.tensor import Tensor


class LabelledImages(Dataset):
    """Pairs (image, label): row i of `data` and an int, each through its transform.

    `data` holds all images (count, ...) and `targets` all labels, int64 (count,).  Without
    transforms whole batches are gathered at once.
    """

    classes: tuple[str, ...] = ()

    def __init__(
        self,
        data: Tensor,
        labels: bytes,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
    ) -> None:
        self.transform = transform
        self.target_transform = target_transform
        self.data = data
        wide = b"".join(label.to_bytes(8, "little") for label in labels)
        self.targets = tensor_from_bytes(wide, int64, (len(labels),))
        self._labels = labels
        if transform is None and target_transform is None:
            self._gatherers = [RowGatherer(self.data), RowGatherer(self.targets)]
            self.gather = self._gather

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The label of each class by its name."""
        return {name: label for label, name in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self._labels)

    def __repr__(self) -> str:
        shape = list(self.data.shape[1:])
        return f"{type(self).__name__}({len(self)} images of {self.data.dtype.name} {shape})"

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image: Any = self.data[index]
        label: Any = self._labels[index]
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label

    def _gather(self, indices: Sequence[int]) -> list[Tensor]:
        return [gatherer.gather(indices) for gatherer in self._gatherers]
