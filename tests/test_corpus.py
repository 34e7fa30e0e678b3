"""Texts to learn from, and the readers of CIFAR and FashionMNIST."""

import io
import os
import re
import tarfile

import pytest

import dlgrad
from dlgrad import config
from dlgrad.data import (
    CIFAR10,
    CIFAR100,
    CharacterCorpus,
    DataLoader,
    FashionMNIST,
    TokenBlocks,
    open_text,
    text,
    write_text,
)
from dlgrad.errors import DownloadError, FileFormatError
from dlgrad.runtime import cache

# Texts -----------------------------------------------------------------------------------------


def test_a_corpus_encodes_and_decodes():
    corpus = CharacterCorpus("hello, world" * 10, train_fraction=0.75)
    assert corpus.vocabulary == " ,dehlorw" and corpus.vocab_size == 9 and len(corpus) == 120
    assert corpus.encode("hold") == [4, 6, 5, 2]
    assert corpus.decode([4, 6, 5, 2]) == corpus.decode(dlgrad.tensor([4, 6, 5, 2])) == "hold"
    both = [corpus.decode(corpus.tokens(part)) for part in ("train", "validation")]
    assert "".join(both) == corpus.text
    assert len(corpus.tokens("validation")) == 30
    assert repr(corpus) == "CharacterCorpus(120 characters, 9 different)"
    with pytest.raises(ValueError, match="'x' is not in the vocabulary"):
        corpus.encode("xylophone")
    for wrong in (lambda: CharacterCorpus(""), lambda: CharacterCorpus("a", 0),
                  lambda: corpus.tokens("test"), lambda: corpus.blocks(90),
                  lambda: corpus.blocks(0)):  # fmt: skip
        with pytest.raises(ValueError):
            wrong()


def test_blocks_of_a_corpus():
    corpus = CharacterCorpus("abcdefghij", train_fraction=0.8)
    blocks = corpus.blocks(3)
    assert isinstance(blocks, TokenBlocks) and len(blocks) == 5
    before, after = blocks[4]
    assert corpus.decode(before) == "efg" and corpus.decode(after) == "fgh"
    before, after = next(iter(DataLoader(blocks, 2, sampler=[3, 0])))
    assert before.tolist() == [[3, 4, 5], [0, 1, 2]] and after.tolist() == [[4, 5, 6], [1, 2, 3]]
    with pytest.raises(IndexError):
        blocks[5]


def test_random_batches_follow_the_seed():
    corpus = CharacterCorpus(write_text(500))
    one, two, again = (
        corpus.random_batch(8, 16, generator=dlgrad.Generator().manual_seed(seed))
        for seed in (1, 2, 1)
    )
    before, after = one
    assert tuple(before.shape) == (8, 16) and before.dtype is dlgrad.int64
    assert before[:, 1:].tolist() == after[:, :-1].tolist()
    assert again[0].tolist() == before.tolist() != two[0].tolist()
    held_back = corpus.decode(corpus.tokens("validation"))
    before, _ = corpus.random_batch(4, 10, "validation")
    assert all(corpus.decode(row) in held_back for row in before)


def test_a_text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("caf\u00e9 " * 10, encoding="utf-8")
    corpus = open_text(path)
    assert corpus.vocabulary == " acf\u00e9" and "50 characters" in corpus.description
    assert str(path) in corpus.description
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(FileFormatError, match="utf-8"):
        open_text(path)
    path.write_bytes(b"")
    with pytest.raises(FileFormatError, match="empty"):
        open_text(path)
    with pytest.raises(FileNotFoundError):
        open_text(tmp_path / "nowhere")


def test_without_a_file_a_text_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "directory", lambda name: str(tmp_path))
    monkeypatch.setattr(text, "WRITTEN_CHARACTERS", 3000)
    with config.OFFLINE(True):
        corpus = open_text()
    assert len(corpus) == 3000 and "DLGRAD_OFFLINE" in corpus.description
    assert "writes itself" in corpus.description and not os.listdir(tmp_path)
    digest = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"  # of "foo"
    monkeypatch.setattr(text, "SHAKESPEARE_SHA256", digest)
    (tmp_path / "tinyshakespeare.txt").write_text("foo")
    with config.OFFLINE(True):
        assert open_text().text == "foo"


def test_the_text_that_is_written():
    found = write_text(2000)
    assert len(found) == 2000 and found == write_text(2000) != write_text(2000, seed=1)
    assert not re.search("[A-Z]{2}", found), "no symbol of the grammar is left"
    assert found.count(". ") + found.count(".\n") > 20


# CIFAR -----------------------------------------------------------------------------------------


class SmallCIFAR10(CIFAR10):
    images_of_file = {f"data_batch_{i}.bin": 2 for i in range(1, 6)} | {"test_batch.bin": 3}


class SmallCIFAR100(CIFAR100):
    images_of_file = {"train.bin": 2, "test.bin": 1}


def record(*labels, start=0):
    return bytes(labels) + bytes((start + i) % 256 for i in range(3072))


def write_archive(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def cifar_files(folder="cifar-10-batches-bin/"):
    files = {
        f"{folder}data_batch_{i}.bin": record(i, start=i) + record(9, start=i) for i in range(1, 6)
    }
    files[f"{folder}test_batch.bin"] = record(7) + record(8) + record(0)
    return files


def test_cifar10(tmp_path):
    write_archive(tmp_path / "cifar-10-binary.tar.gz", {"other/readme": b"x", **cifar_files()})
    data = SmallCIFAR10(tmp_path)
    assert len(data) == 10 and tuple(data.data.shape) == (10, 3, 32, 32)
    assert data.targets.tolist() == [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]
    image, label = data[4]
    assert label == 3 and image.dtype is dlgrad.uint8
    assert image[1, 0, 1].item() == (3 + 1024 + 1) % 256
    assert data.class_to_idx["ship"] == 8 and "10 images of uint8 [3, 32, 32]" in repr(data)
    changed = SmallCIFAR10(tmp_path, train=False, transform=lambda image: image.float() / 255,
                           target_transform=str)  # fmt: skip
    assert [label for _, label in changed] == ["7", "8", "0"]
    folder = tmp_path / "unpacked" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name, content in cifar_files("").items():
        (folder / name).write_bytes(content)
    assert SmallCIFAR10(folder.parent).data.tolist() == data.data.tolist()


def test_cifar100(tmp_path):
    files = {"cifar-100-binary/train.bin": record(3, 99) + record(4, 0),
             "cifar-100-binary/test.bin": record(5, 42)}  # fmt: skip
    write_archive(tmp_path / "cifar-100-binary.tar.gz", files)
    assert SmallCIFAR100(tmp_path).targets.tolist() == [99, 0]
    assert SmallCIFAR100(tmp_path, train=False)[0][1] == 42
    assert len(CIFAR100.classes) == 100 and list(CIFAR100.classes) == sorted(CIFAR100.classes)


@pytest.mark.parametrize("harm", ["cut", "lacks", "label", "short", "long", "text"])
def test_a_damaged_cifar_archive_is_refused(tmp_path, harm):
    path, name = tmp_path / "cifar-10-binary.tar.gz", "cifar-10-batches-bin/data_batch_3.bin"
    files = cifar_files()
    if harm == "lacks":
        del files[name]
    elif harm == "label":
        files[name] = record(1) + record(10)
    elif harm in ("short", "long"):
        files[name] += record(1)
        files[name] = files[name][: 100 if harm == "short" else None]
    write_archive(path, files)
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:400])
    elif harm == "text":
        path.write_bytes(b"<html>not found</html>")
    with pytest.raises(FileFormatError):
        SmallCIFAR10(tmp_path)


def test_sets_that_are_not_there(tmp_path):
    for kind in (CIFAR10, CIFAR100, FashionMNIST):
        with pytest.raises(FileNotFoundError, match=f"{kind.__name__} is not in"):
            kind(tmp_path)
        with config.OFFLINE(True), pytest.raises(DownloadError, match="DLGRAD_OFFLINE"):
            kind(tmp_path, download=True)
    assert CIFAR10.archive in CIFAR10.__doc__ and len(CIFAR10.sha256) == len(CIFAR100.sha256) == 64
