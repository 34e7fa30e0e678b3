"""MNIST: 70,000 handwritten digits, read from a folder or fetched from a mirror.

Floor 7.  `open_digits` finds the best digits that a machine has: the whole of MNIST, a part
of it, or, where there is neither file nor network, digits that dlgrad draws itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from dlgrad import cache, config
from dlgrad.data.dataset import Dataset, RowGatherer, TensorDataset
from dlgrad.data.digits import draw_digits
from dlgrad.data.download import download
from dlgrad.data.idx import read_idx
from dlgrad.dtype import int64, uint8
from dlgrad.errors import FileFormatError
from dlgrad.serialization import tensor_from_bytes
from dlgrad.tensor import Tensor

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
SHA256 = {
    "train-images-idx3-ubyte.gz":
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz":
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz":
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz":
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}  # fmt: skip
PARTS = {True: "train", False: "t10k"}

# The sizes of the smaller sets that stand in for MNIST.
PART_TRAIN = 9_000  # of the 10,000 of the t10k pair
DRAWN_TRAIN, DRAWN_TEST = 9_000, 1_000


class MNIST(Dataset):
    """Pairs (image, label): uint8 (28, 28), 0 to 255, and an int from 0 to 9.

    The files are looked for in `root` and in `root`/MNIST/raw, gzipped or not; with
    `download=True` missing ones are fetched into `root` and their checksums compared.
    `data` holds all images (count, 28, 28) and `targets` all labels, int64 (count,).
    Raises FileNotFoundError, DownloadError or FileFormatError.
    """

    classes = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Tensor], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        download: bool = False,
    ) -> None:
        self.root = os.fspath(root)
        self.train = train
        self.transform = transform
        self.target_transform = target_transform
        if download and not has_mnist(self.root, train):
            fetch_mnist(self.root, train)
        images, labels = _read_pair(self.root, PARTS[train])
        self.data = tensor_from_bytes(images[1], uint8, images[0])
        wide = b"".join(label.to_bytes(8, "little") for label in labels)
        self.targets = tensor_from_bytes(wide, int64, (len(labels),))
        self._labels = labels
        if transform is None and target_transform is None:
            self._gatherers = [RowGatherer(self.data), RowGatherer(self.targets)]
            self.gather = self._gather

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image: Any = self.data[index]
        label: Any = self._labels[index]
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label

    def _gather(self, indices: list[int]) -> list[Tensor]:
        return [gatherer.gather(indices) for gatherer in self._gatherers]


def _find(root: str, name: str) -> str | None:
    """The path of an IDX file, gzipped or not, in a folder of MNIST files."""
    for folder in (root, os.path.join(root, "MNIST", "raw")):
        for found in (f"{name}.gz", name):
            path = os.path.join(folder, found)
            if os.path.isfile(path):
                return path
    return None


def _names(part: str) -> tuple[str, str]:
    return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"


def has_mnist(root: str, train: bool) -> bool:
    """Whether both files of the training or the test set are in `root`."""
    return all(_find(root, name) for name in _names(PARTS[train]))


def fetch_mnist(root: str, train: bool) -> None:
    """Downloads the two files of a set into `root`; DownloadError where that fails."""
    for name in _names(PARTS[train]):
        file = f"{name}.gz"
        urls = [mirror + file for mirror in MIRRORS]
        download(urls, os.path.join(root, file), SHA256[file])


def _read_pair(root: str, part: str) -> tuple[tuple[tuple[int, ...], bytes], bytes]:
    """The checked images (sizes and bytes) and labels of one set."""
    image_path, label_path = (_find(root, name) for name in _names(part))
    if image_path is None or label_path is None:
        missing = ", ".join(f"{name}.gz" for name in _names(part))
        raise FileNotFoundError(
            f"MNIST is not in {root!r}: {missing} are expected there; "
            "copy them there, or pass download=True"
        )
    images = read_idx(image_path, ndim=3)
    (count,), labels = read_idx(label_path, ndim=1)
    if images[0] != (count, 28, 28):
        raise FileFormatError(
            f"{image_path} holds images of sizes {images[0]}; {(count, 28, 28)} are expected, "
            f"since {label_path} holds {count} labels"
        )
    if count and max(labels) > 9:
        raise FileFormatError(f"{label_path} holds the label {max(labels)}; 0 to 9 are expected")
    return images, labels


class Digits(NamedTuple):
    """A training and a test set of (image, label), and where they come from in words."""

    train: TensorDataset
    test: TensorDataset
    description: str


def open_digits(folder: str | os.PathLike[str] | None = None, seed: int = 0) -> Digits:
    """The best digits that can be had, uint8 (count, 28, 28) with int64 labels.

    Looks in `folder`, or where that is None in the cache, for the four files of MNIST, then
    for the t10k pair alone (9,000 to train, 1,000 to test).  Where neither is there MNIST is
    fetched; where that fails too, digits are drawn, the same for the same `seed`.
    `description` says which it was and, where it matters, why.
    """
    root = cache.directory("downloads") if folder is None else os.fspath(folder)
    if not has_mnist(root, train=False):
        try:
            for train in (True, False):
                fetch_mnist(root, train)
        except OSError:  # DownloadError is one
            return _drawn_digits(root, seed)
    test = _set(root, train=False)
    if has_mnist(root, train=True):
        train_set = _set(root, train=True)
        words = f"MNIST in {root}: {len(train_set):,} digits to train, {len(test):,} to test"
        return Digits(train_set, test, words)
    images, labels = test.tensors
    if len(test) <= PART_TRAIN:
        raise FileFormatError(f"the t10k pair in {root} holds {len(test)} digits, not 10,000")
    words = (
        f"only the t10k files are in {root}: training on their first {PART_TRAIN:,} digits, "
        f"testing on the last {len(test) - PART_TRAIN:,}"
    )
    return Digits(
        TensorDataset(images[:PART_TRAIN], labels[:PART_TRAIN]),
        TensorDataset(images[PART_TRAIN:], labels[PART_TRAIN:]),
        words,
    )


def _set(root: str, train: bool) -> TensorDataset:
    mnist = MNIST(root, train)
    return TensorDataset(mnist.data, mnist.targets)


def _drawn_digits(root: str, seed: int) -> Digits:
    images, labels = draw_digits(DRAWN_TRAIN + DRAWN_TEST, seed)
    reason = "DLGRAD_OFFLINE is set" if config.OFFLINE.value else "could not be fetched"
    words = (
        f"MNIST is not in {root} and {reason}: training on {DRAWN_TRAIN:,} digits that dlgrad "
        f"draws itself, testing on {DRAWN_TEST:,}"
    )
    return Digits(
        TensorDataset(images[:DRAWN_TRAIN], labels[:DRAWN_TRAIN]),
        TensorDataset(images[DRAWN_TRAIN:], labels[DRAWN_TRAIN:]),
        words,
    )
