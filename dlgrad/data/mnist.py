"""MNIST and FashionMNIST: 70,000 images each, read from a folder or fetched from a mirror.

Floor 7.  `open_digits` finds the best digits that a machine has: the whole of MNIST, a part
of it, or, where there is neither file nor network, digits that dlgrad draws itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import ENOENT
from typing import Any, NamedTuple

from dlgrad import config
from dlgrad.data.dataset import TensorDataset
from dlgrad.data.digits import draw_digits
from dlgrad.data.download import download
from dlgrad.data.idx import read_idx
from dlgrad.data.images import LabelledImages
from dlgrad.dtype import uint8
from dlgrad.errors import FileFormatError
from dlgrad.files.mapped import tensor_from_bytes
from dlgrad.runtime import cache
from dlgrad.tensor import Tensor

# The sizes of the smaller sets that stand in for MNIST.
PART_TRAIN = 9_000  # of the 10,000 of the t10k pair
DRAWN_TRAIN, DRAWN_TEST = 9_000, 1_000


class MNIST(LabelledImages):
    """Pairs (image, label): uint8 (28, 28), 0 to 255, and an int from 0 to 9.

    The files are looked for in `root` and in `root`/MNIST/raw, gzipped or not; with
    `download=True` missing ones are fetched into `root` and their checksums compared.
    `data` holds all images (count, 28, 28) and `targets` all labels, int64 (count,).
    Raises FileNotFoundError, DownloadError or FileFormatError.
    """

    classes: tuple[str, ...] = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    mirrors: tuple[str, ...] = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    )
    sha256 = {
        "train-images-idx3-ubyte.gz":
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz":
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz":
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz":
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    }  # fmt: skip

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
        if download and not self.is_in(self.root, train):
            self.fetch(self.root, train)
        (shape, pixels), labels = self._read_pair()
        super().__init__(
            tensor_from_bytes(pixels, uint8, shape), labels, transform, target_transform
        )

    @classmethod
    def _find(cls, root: str, name: str) -> str | None:
        """The path of an IDX file, gzipped or not."""
        for folder in (root, os.path.join(root, cls.__name__, "raw")):
            for found in (f"{name}.gz", name):
                path = os.path.join(folder, found)
                if os.path.isfile(path):
                    return path
        return None

    @classmethod
    def is_in(cls, root: str, train: bool) -> bool:
        """Whether both files of the training or the test set are in `root`."""
        return all(cls._find(root, name) for name in _names(train))

    @classmethod
    def fetch(cls, root: str, train: bool) -> None:
        """Downloads the two files of a set into `root`; DownloadError where that fails."""
        for name in _names(train):
            file = f"{name}.gz"
            urls = [mirror + file for mirror in cls.mirrors]
            download(urls, os.path.join(root, file), cls.sha256[file])

    def _read_pair(self) -> tuple[tuple[tuple[int, ...], bytes], bytes]:
        """The checked images (sizes and bytes) and labels."""
        image_path, label_path = (self._find(self.root, name) for name in _names(self.train))
        if image_path is None or label_path is None:
            missing = ", ".join(f"{name}.gz" for name in _names(self.train))
            raise FileNotFoundError(
                f"{type(self).__name__} is not in {self.root!r}: {missing} are expected there; "
                "copy them there, or pass download=True"
            )
        images = read_idx(image_path, ndim=3)
        (count,), labels = read_idx(label_path, ndim=1)
        if images[0] != (count, 28, 28):
            raise FileFormatError(
                f"{image_path} holds images of sizes {images[0]}; {(count, 28, 28)} are "
                f"expected, since {label_path} holds {count} labels"
            )
        if count and max(labels) > 9:
            raise FileFormatError(
                f"{label_path} holds the label {max(labels)}; 0 to 9 are expected"
            )
        return images, labels


class FashionMNIST(MNIST):
    """Pairs (image, label) like those of MNIST: photographs of ten kinds of clothes.

    The files have the names of MNIST's, so that it needs a folder of its own, or lies in
    `root`/FashionMNIST/raw.
    """

    classes = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
        "Bag", "Ankle boot",
    )  # fmt: skip
    mirrors = (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    )
    sha256 = {
        "train-images-idx3-ubyte.gz":
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz":
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz":
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz":
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    }  # fmt: skip


def _names(train: bool) -> tuple[str, str]:
    part = "train" if train else "t10k"
    return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"


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
    `description` says which it was and, where it matters, why.  A `folder` that does not exist
    is a FileNotFoundError.
    """
    if folder is not None and not os.path.isdir(folder):
        raise FileNotFoundError(
            ENOENT, "the folder for MNIST does not exist; make it, or name none", os.fspath(folder)
        )
    root = cache.directory("downloads") if folder is None else os.fspath(folder)
    if not MNIST.is_in(root, train=False):
        try:
            for train in (True, False):
                MNIST.fetch(root, train)
        except OSError:  # DownloadError is one
            return _drawn_digits(root, seed)
    test = _set(root, train=False)
    if MNIST.is_in(root, train=True):
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
