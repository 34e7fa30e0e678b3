"""CIFAR-10 and CIFAR-100: small colour photographs of 10 and of 100 kinds of things.

Floor 7.  The binary version of the archive is read, a tar file of plain bytes: for each image
the label (for CIFAR-100 two), then 32 x 32 values of red, of green and of blue.  The format is
described at https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from dlgrad.data.download import download as fetch
from dlgrad.data.images import LabelledImages
from dlgrad.dtype import uint8
from dlgrad.errors import FileFormatError
from dlgrad.files.mapped import tensor_from_bytes

SIDE = 32
PIXELS = 3 * SIDE * SIDE
IMAGES_OF_FILE = 10_000
MIRROR = "https://www.cs.toronto.edu/~kriz/"


class CIFAR10(LabelledImages):
    """Pairs (image, label): uint8 (3, 32, 32), 0 to 255, and an int from 0 to 9.

    `root` holds cifar-10-binary.tar.gz, or the folder cifar-10-batches-bin that it unpacks to;
    with `download=True` a missing archive is fetched and its checksum compared.  `data` holds
    all images (count, 3, 32, 32) and `targets` all labels, int64 (count,).
    Raises FileNotFoundError, DownloadError or FileFormatError.
    """

    classes: tuple[str, ...] = (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip
    archive = "cifar-10-binary.tar.gz"
    folder = "cifar-10-batches-bin"
    sha256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
    train_files: tuple[str, ...] = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
    test_files: tuple[str, ...] = ("test_batch.bin",)
    label_bytes = 1  # before each image; the last of them is the label
    label_count = 10
    images_of_file: dict[str, int] = {}  # where it is not IMAGES_OF_FILE

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        download: bool = False,
    ) -> None:
        self.root = os.fspath(root)
        self.train = train
        path = os.path.join(self.root, self.archive)
        if download and not os.path.isdir(os.path.join(self.root, self.folder)):
            fetch([MIRROR + self.archive], path, self.sha256)
        images, labels = bytearray(), bytearray()
        for name, content in self._contents(path):
            self._take(name, content, images, labels)
        count = len(labels)
        data = tensor_from_bytes(images, uint8, (count, 3, SIDE, SIDE))
        super().__init__(data, bytes(labels), transform, target_transform)

    def _contents(self, path: str) -> Iterator[tuple[str, bytes]]:
        """The name and the bytes of each file of the set."""
        names = self.train_files if self.train else self.test_files
        folder = os.path.join(self.root, self.folder)
        if os.path.isdir(folder):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    yield name, file.read(self._size_of(name) + 1)
        elif os.path.isfile(path):
            yield from self._unpacked(path, names)
        else:
            raise FileNotFoundError(
                f"{type(self).__name__} is not in {self.root!r}: {self.archive} or the folder "
                f"{self.folder} is expected there; copy it there, or pass download=True"
            )

    def _unpacked(self, path: str, names: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
        """The same from the archive, which is read once, from front to back."""
        import tarfile
        import zlib

        found: dict[str, bytes] = {}
        try:
            with tarfile.open(path, "r|gz") as archive:
                for member in archive:
                    name = os.path.basename(member.name)
                    if name in names and member.isfile() and name not in found:
                        file = archive.extractfile(member)
                        assert file is not None
                        found[name] = file.read(self._size_of(name) + 1)
                    if len(found) == len(names):
                        break
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise FileFormatError(f"{path} is not a whole archive ({error})") from None
        missing = [name for name in names if name not in found]
        if missing:
            raise FileFormatError(f"{path} lacks {', '.join(missing)}")
        yield from ((name, found[name]) for name in names)

    def _size_of(self, name: str) -> int:
        count = self.images_of_file.get(name, IMAGES_OF_FILE)
        return count * (self.label_bytes + PIXELS)

    def _take(self, name: str, content: bytes, images: bytearray, labels: bytearray) -> None:
        """Adds the images and labels of one file."""
        record = self.label_bytes + PIXELS
        if len(content) != self._size_of(name):
            raise FileFormatError(
                f"{name} has {len(content)} bytes or more; {self._size_of(name)} are expected"
            )
        found = content[self.label_bytes - 1 :: record]
        if max(found, default=0) >= self.label_count:
            raise FileFormatError(
                f"{name} has the label {max(found)}; 0 to {self.label_count - 1} are expected"
            )
        labels += found
        for start in range(self.label_bytes, len(content), record):
            images += content[start : start + PIXELS]


class CIFAR100(CIFAR10):
    """Pairs (image, label) like those of CIFAR10, with labels from 0 to 99.

    The archive is cifar-100-binary.tar.gz, the folder cifar-100-binary.
    """

    classes = (
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
        "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
        "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
        "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest",
        "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower",
        "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
        "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear",
        "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit",
        "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
        "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower",
        "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor", "train",
        "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
    )  # fmt: skip
    archive = "cifar-100-binary.tar.gz"
    folder = "cifar-100-binary"
    sha256 = "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"
    train_files = ("train.bin",)
    test_files = ("test.bin",)
    label_bytes = 2
    label_count = 100
    images_of_file = {"train.bin": 50_000}
