"""Datasets, loaders, the readers of MNIST's files, downloads, and drawn digits."""

import gzip
import hashlib
import os
import threading
import tracemalloc
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import dlgrad
from dlgrad import config
from dlgrad.data import (
    MNIST,
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    FashionMNIST,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    draw_digits,
    mnist,
    open_digits,
    random_split,
)
from dlgrad.data import download as downloads
from dlgrad.data.idx import MAX_BYTES, read_idx
from dlgrad.errors import DownloadError, FileFormatError, ShapeError


class Squares(Dataset):
    """Plain Python samples (i, i * i)."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if not 0 <= index < self.size:
            raise IndexError(index)
        return index, float(index * index)


def numbered(count, device=None):
    """Rows [10 i, 10 i + 1] with label i."""
    rows = [[10 * i, 10 * i + 1] for i in range(count)]
    return TensorDataset(
        dlgrad.tensor(rows, dtype=dlgrad.int16, device=device),
        dlgrad.arange(count, device=device),
    )


# Datasets --------------------------------------------------------------------------------------


def test_tensor_dataset():
    data = numbered(4)
    assert len(data) == 4
    row, label = data[2]
    assert row.tolist() == [20, 21] and label.item() == 2
    assert [label.item() for _, label in data] == [0, 1, 2, 3]
    rows, labels = data.gather([3, 0, 3])
    assert rows.tolist() == [[30, 31], [0, 1], [30, 31]] and labels.tolist() == [3, 0, 3]
    assert rows.dtype is dlgrad.int16 and labels.dtype is dlgrad.int64
    with pytest.raises(IndexError, match="index 4"):
        data.gather([0, 4])
    with pytest.raises(IndexError, match="index -1"):
        data.gather([-1])


def test_tensor_dataset_gathers_strided_rows_and_scalars():
    base = dlgrad.arange(12).reshape(3, 4)
    columns, labels = TensorDataset(base.T, dlgrad.arange(4)).gather([1, 3])
    assert columns.tolist() == [[1, 5, 9], [3, 7, 11]] and labels.tolist() == [1, 3]
    (empty,) = TensorDataset(dlgrad.zeros(0, 2)).gather([])
    assert tuple(empty.shape) == (0, 2)


def test_tensor_dataset_refuses_what_does_not_fit():
    with pytest.raises(ShapeError, match=r"\[2, 3\]"):
        TensorDataset(dlgrad.zeros(2), dlgrad.zeros(3))
    with pytest.raises(ValueError, match="at least one"):
        TensorDataset()


def test_subset_and_concatenation():
    part = Subset(numbered(5), [4, 0, 2])
    assert len(part) == 3 and part[1][1].item() == 0
    assert part.gather([2, 0])[1].tolist() == [2, 4]
    assert not hasattr(Subset(Squares(3), [0]), "gather")
    both = ConcatDataset([Squares(3), Squares(2)])
    assert [sample[0] for sample in both] == [0, 1, 2, 0, 1]
    assert both[-1] == (1, 1.0)
    with pytest.raises(IndexError):
        both[5]
    with pytest.raises(ValueError):
        ConcatDataset([])


def test_stacked_and_added_datasets():
    both = StackDataset(Squares(3), ["a", "b", "c"])
    assert len(both) == 3 and both[1] == ((1, 1.0), "b")
    assert StackDataset(x=[1, 2], y=[3, 4])[1] == {"x": 2, "y": 4}
    added = Squares(2) + Squares(1)
    assert isinstance(added, ConcatDataset) and [sample[0] for sample in added] == [0, 1, 0]
    for wrong in ((), ([1], [1, 2])):
        with pytest.raises(ValueError):
            StackDataset(*wrong)
    with pytest.raises(ValueError):
        StackDataset([1], x=[1])


class Stream(IterableDataset):
    def __iter__(self):
        return iter("abc")


def test_iterable_datasets():
    chained = Stream() + ChainDataset([Stream()])
    assert isinstance(chained, ChainDataset) and "".join(chained) == "abcabc"
    assert Stream() and list(DataLoader(Stream(), 2)) == [["a", "b"], ["c"]]
    for misuse in (lambda: len(Stream()), lambda: Stream()[0], lambda: len(DataLoader(Stream())),
                   lambda: ConcatDataset([Stream()])):  # fmt: skip
        with pytest.raises(TypeError):
            misuse()


def test_a_tensor_dataset_says_what_it_holds():
    assert repr(numbered(3)) == "TensorDataset(3 samples of int16 [2], int64 [])"


def test_random_split():
    generator = dlgrad.Generator().manual_seed(3)
    a, b = random_split(range(10), [7, 3], generator)
    assert len(a) == 7 and sorted([*a, *b]) == list(range(10))
    assert list(a) != sorted(a)
    again, _ = random_split(range(10), [7, 3], dlgrad.Generator().manual_seed(3))
    assert list(again) == list(a)
    assert [len(part) for part in random_split(range(11), [0.5, 0.5])] == [6, 5]
    with pytest.raises(ValueError, match=r"\[7, 4\]"):
        random_split(range(10), [7, 4])


# Samplers and loaders --------------------------------------------------------------------------


def test_samplers():
    assert list(SequentialSampler(Squares(3))) == [0, 1, 2]
    assert list(BatchSampler(range(5), 2, drop_last=False)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler(range(5), 2, drop_last=True)) == [[0, 1], [2, 3]]
    assert [len(BatchSampler(range(5), 2, drop)) for drop in (False, True)] == [3, 2]
    with pytest.raises(ValueError, match="batch_size"):
        BatchSampler(range(5), 0, drop_last=False)


def test_random_sampler_with_a_number_of_samples():
    generator = dlgrad.Generator().manual_seed(4)
    longer = list(RandomSampler(range(4), num_samples=10, generator=generator))
    assert [sorted(longer[i : i + 4]) for i in (0, 4)] == [[0, 1, 2, 3]] * 2
    assert len(longer) == 10 and len(set(longer[8:])) == 2
    sampler = RandomSampler(range(5), replacement=True, num_samples=200)
    drawn = list(sampler)
    assert len(sampler) == len(drawn) == 200 and set(drawn) == set(range(5))
    assert list(RandomSampler([])) == []
    for wrong, error in ((0, ValueError), (1.5, ValueError)):
        with pytest.raises(error, match="num_samples"):
            RandomSampler(range(3), num_samples=wrong)
    with pytest.raises(TypeError, match="replacement"):
        RandomSampler(range(3), dlgrad.Generator())


def test_subset_and_weighted_samplers():
    generator = dlgrad.Generator().manual_seed(4)
    subset = SubsetRandomSampler([3, 5, 8], generator)
    assert sorted(subset) == [3, 5, 8] and len(subset) == 3
    weights = dlgrad.tensor([0.0, 1.0, 3.0])
    drawn = list(WeightedRandomSampler(weights, 4000, generator=generator))
    assert drawn.count(0) == 0 and 0.70 < drawn.count(2) / 4000 < 0.80
    firsts = [
        list(WeightedRandomSampler(weights, 2, replacement=False, generator=generator))
        for _ in range(1000)
    ]
    assert all(sorted(pair) == [1, 2] for pair in firsts)
    assert 0.70 < sum(pair[0] == 2 for pair in firsts) / 1000 < 0.80
    for wrong in (([], 1), ([0.0], 1), ([-1.0, 2.0], 1), ([1.0], 0), ([float("nan")], 1),
                  ([1.0, 0.0], 2, False)):  # fmt: skip
        with pytest.raises(ValueError):
            WeightedRandomSampler(*wrong)


def test_random_sampler_follows_the_seed():
    dlgrad.manual_seed(1)
    sampler = RandomSampler(range(50))
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second != list(range(50))
    dlgrad.manual_seed(1)
    assert list(RandomSampler(range(50))) == first
    dlgrad.manual_seed(2)
    assert list(RandomSampler(range(50))) != first


@pytest.mark.parametrize("dataset", [numbered(10), Squares(10)], ids=["tensors", "samples"])
def test_batches_in_order(dataset):
    loader = DataLoader(dataset, batch_size=4)
    assert len(loader) == 3
    firsts = [[int(v) for v in batch[-1].tolist()] for batch in loader]
    assert [len(first) for first in firsts] == [4, 4, 2]
    wanted = [sample[-1] for sample in dataset]
    assert sum(firsts, []) == [int(value) for value in wanted]
    assert len(list(loader)) == 3, "a loader can be iterated again"


def test_shuffling_and_drop_last():
    dataset = numbered(10)
    dlgrad.manual_seed(5)
    loader = DataLoader(dataset, batch_size=3, shuffle=True, drop_last=True)
    one, two = ([label for _, labels in loader for label in labels.tolist()] for _ in range(2))
    assert len(loader) == 3 and len(one) == len(set(one)) == 9 and one != two
    rows, labels = next(iter(loader))
    assert [row[0] for row in rows.tolist()] == [10 * label for label in labels.tolist()]


def test_single_samples_batch_samplers_and_collate():
    assert list(DataLoader(Squares(3), batch_size=None)) == [(0, 0.0), (1, 1.0), (2, 4.0)]
    batches = DataLoader(Squares(4), batch_sampler=[[3, 0], [1]])
    assert [batch[0].tolist() for batch in batches] == [[3, 0], [1]]
    loader = DataLoader(Squares(4), batch_size=2, collate_fn=lambda samples: sum(samples, ()))
    assert list(loader) == [(0, 0.0, 1, 1.0), (2, 4.0, 3, 9.0)]
    reverse = DataLoader(Squares(4), batch_size=2, sampler=[3, 2, 1, 0])
    assert [batch[0].tolist() for batch in reverse] == [[3, 2], [1, 0]]


def test_an_exception_comes_from_where_it_happened():
    class Broken(Squares):
        def __getitem__(self, index):
            if index == 5:
                raise LookupError("sample 5 is broken")
            return super().__getitem__(index)

    iterator = iter(DataLoader(Broken(8), batch_size=2))
    assert [next(iterator)[0].tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(LookupError, match="sample 5") as caught:
        next(iterator)
    assert any(frame.name == "__getitem__" for frame in caught.traceback)


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"num_workers": -1},
        {"num_workers": 1, "prefetch_factor": 0},
        {"sampler": [0], "shuffle": True},
        {"batch_sampler": [[0]], "batch_size": 2},
        {"batch_sampler": [[0]], "shuffle": True},
        {"batch_size": None, "drop_last": True},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError):
        DataLoader(Squares(3), **settings)


def test_default_collate():
    Pair = namedtuple("Pair", "a b")
    assert default_collate([1, 2]).dtype is dlgrad.int64
    assert default_collate([1.5, 2.5]).tolist() == [1.5, 2.5]
    assert default_collate(["a", "b"]) == ["a", "b"]
    assert default_collate([{"x": 1}, {"x": 2}])["x"].tolist() == [1, 2]
    assert default_collate([Pair(1, "u"), Pair(2, "v")]).b == ["u", "v"]
    stacked = default_collate([dlgrad.ones(2), dlgrad.zeros(2)])
    assert stacked.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    sample = {"a": (1, "x"), "b": [memoryview(b"x")]}
    assert default_convert(sample) == sample
    for bad, error in (
        ([], ValueError),
        ([(1,), (1, 2)], ValueError),
        ([object()], TypeError),
    ):
        with pytest.raises(error):
            default_collate(bad)


# IDX files -------------------------------------------------------------------------------------


def idx(shape, data=None, magic=None):
    magic = bytes([0, 0, 8, len(shape)]) if magic is None else magic
    sizes = b"".join(size.to_bytes(4, "big") for size in shape)
    count = 1
    for size in shape:
        count *= size
    return magic + sizes + (bytes(i % 251 for i in range(count)) if data is None else data)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (0, 28, 28)])
def test_read_idx(tmp_path, pack, shape):
    path = tmp_path / "file"
    path.write_bytes(pack(idx(shape)))
    assert read_idx(str(path), len(shape)) == (shape, idx(shape)[4 + 4 * len(shape) :])


BAD_IDX = {
    "empty": b"",
    "short magic": b"\0\0",
    "wrong type": idx((2,), magic=b"\0\0\x0d\1"),
    "wrong rank": idx((2, 2)),
    "not zero": idx((2,), magic=b"\1\0\x08\1"),
    "text": b"<html>not found</html>",
    "short header": b"\0\0\x08\1\0\0",
    "too short": idx((10,), b"123"),
    "too long": idx((2,), b"123"),
    "huge claim": idx((0xFFFFFFFF,), b"123"),
    "just over the limit": idx((MAX_BYTES + 1,), b"123"),
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", BAD_IDX)
def test_a_hostile_idx_file_is_refused(tmp_path, name, pack):
    path = tmp_path / "hostile-idx"
    path.write_bytes(pack(BAD_IDX[name]))
    with pytest.raises(FileFormatError, match="hostile-idx"):
        read_idx(str(path), 1)


def test_a_cut_gzip_is_refused(tmp_path):
    path = tmp_path / "cut.gz"
    whole = gzip.compress(idx((1000,), os.urandom(1000)))
    for length in (3, 20, 200, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError, match="cut.gz"):
            read_idx(str(path), 1)
    path.write_bytes(whole[:300] + b"\0" * 50 + whole[350:])
    with pytest.raises(FileFormatError):
        read_idx(str(path), 1)


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(idx((10,), b"\0" * (64 << 20))))
    tracemalloc.start()
    with pytest.raises(FileFormatError, match="more"):
        read_idx(str(path), 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


# MNIST -----------------------------------------------------------------------------------------


def write_mnist(folder, part, count, pack=gzip.compress):
    suffix = ".gz" if pack is gzip.compress else ""
    images = bytes((i // 784 + i) % 256 for i in range(784 * count))
    labels = bytes(i % 10 for i in range(count))
    os.makedirs(folder, exist_ok=True)
    for name, shape, data in (
        (f"{part}-images-idx3-ubyte", (count, 28, 28), images),
        (f"{part}-labels-idx1-ubyte", (count,), labels),
    ):
        (folder / (name + suffix)).write_bytes(pack(idx(shape, data)))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_mnist(tmp_path, pack):
    write_mnist(tmp_path / "MNIST" / "raw", "train", 20, pack)
    data = MNIST(tmp_path)
    assert len(data) == 20
    assert tuple(data.data.shape) == (20, 28, 28) and data.data.dtype is dlgrad.uint8
    assert data.targets.tolist() == [i % 10 for i in range(20)]
    image, label = data[13]
    assert label == 3 and tuple(image.shape) == (28, 28)
    assert image[0, 1].item() == (13 + 13 * 784 + 1) % 256
    images, labels = next(iter(DataLoader(data, batch_size=4)))
    assert tuple(images.shape) == (4, 28, 28) and labels.tolist() == [0, 1, 2, 3]


def test_mnist_transforms(tmp_path):
    write_mnist(tmp_path, "t10k", 10)
    data = MNIST(tmp_path, train=False, transform=lambda image: image.float() / 255,
                 target_transform=lambda label: -label)  # fmt: skip
    image, label = data[4]
    assert image.dtype is dlgrad.float32 and label == -4
    images, labels = next(iter(DataLoader(data, batch_size=2)))
    assert images.dtype is dlgrad.float32 and labels.tolist() == [0, -1]


def test_mnist_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte.gz"):
        MNIST(tmp_path)
    with config.OFFLINE(True), pytest.raises(DownloadError, match="DLGRAD_OFFLINE"):
        MNIST(tmp_path, download=True)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "name, shape, data",
    [
        ("t10k-images-idx3-ubyte.gz", (10, 28, 27), None),
        ("t10k-images-idx3-ubyte.gz", (9, 28, 28), None),
        ("t10k-labels-idx1-ubyte.gz", (10,), bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 10])),
    ],
)
def test_mnist_files_that_do_not_fit_are_refused(tmp_path, name, shape, data):
    write_mnist(tmp_path, "t10k", 10)
    (tmp_path / name).write_bytes(gzip.compress(idx(shape, data)))
    with pytest.raises(FileFormatError, match=name):
        MNIST(tmp_path, train=False)


def test_open_digits_prefers_the_whole_of_mnist(tmp_path):
    write_mnist(tmp_path, "train", 30)
    write_mnist(tmp_path, "t10k", 10)
    train, test, description = open_digits(tmp_path)
    assert (len(train), len(test)) == (30, 10)
    assert "30 digits to train, 10 to test" in description


def test_open_digits_divides_the_t10k_pair(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "PART_TRAIN", 12)
    write_mnist(tmp_path, "t10k", 20)
    train, test, description = open_digits(tmp_path)
    assert train.tensors[1].tolist() == [i % 10 for i in range(12)]
    assert test.tensors[1].tolist() == [i % 10 for i in range(12, 20)]
    assert "only the t10k files" in description and "first 12" in description


def test_open_digits_draws_where_there_is_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "DRAWN_TRAIN", 20)
    monkeypatch.setattr(mnist, "DRAWN_TEST", 10)
    with config.OFFLINE(True):
        train, test, description = open_digits(tmp_path)
    assert (len(train), len(test)) == (20, 10)
    assert "20 digits that dlgrad draws itself" in description
    assert "DLGRAD_OFFLINE" in description
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_digits(tmp_path / "nowhere")


# Downloads -------------------------------------------------------------------------------------


@pytest.fixture
def server():
    """A server on this machine: /good is right, /bad is damaged, /short is cut off."""
    body = b"the right bytes" * 10_000

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            found = {"/good": body, "/bad": body[:-1] + b"x", "/short": body[:-5]}
            if self.path not in found:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(found[self.path])

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.sha256 = hashlib.sha256(body).hexdigest()
        made.body = body
        made.url = f"http://127.0.0.1:{made.server_address[1]}"
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def online(monkeypatch):
    """The network is allowed, and no proxy stands between this machine and itself."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with config.OFFLINE(False):
        yield


def test_download_takes_the_first_mirror_that_is_right(tmp_path, server, online):
    path = tmp_path / "new" / "file"
    urls = [f"{server.url}/{name}" for name in ("missing", "bad", "short", "good")]
    downloads.download(urls, str(path), server.sha256)
    assert path.read_bytes() == server.body
    assert os.listdir(path.parent) == ["file"]
    downloads.download([f"{server.url}/missing"], str(path), server.sha256)  # already there


def test_a_damaged_file_is_fetched_again(tmp_path, server, online):
    path = tmp_path / "file"
    path.write_bytes(server.body[:100])
    downloads.download([f"{server.url}/good"], str(path), server.sha256)
    assert path.read_bytes() == server.body


def test_a_download_that_fails_says_why_and_leaves_nothing(tmp_path, server, online):
    path = tmp_path / "file"
    urls = [f"{server.url}/missing", f"{server.url}/bad", f"{server.url}/short"]
    with pytest.raises(DownloadError) as caught:
        downloads.download(urls, str(path), server.sha256)
    message = str(caught.value)
    assert "404" in message and "checksum" in message and message.count("\n") == 3
    assert os.listdir(tmp_path) == []


def test_a_download_without_end_is_stopped(tmp_path, server, online, monkeypatch):
    monkeypatch.setattr(downloads, "MAX_BYTES", 1000)
    with pytest.raises(DownloadError, match="more than 1000 bytes"):
        downloads.download([f"{server.url}/good"], str(tmp_path / "file"), server.sha256)


def test_offline_opens_no_connection(tmp_path, server):
    with config.OFFLINE(True), pytest.raises(DownloadError, match="unset DLGRAD_OFFLINE"):
        downloads.download([f"{server.url}/good"], str(tmp_path / "file"), server.sha256)


def test_the_mirrors_are_encrypted():
    for kind in (MNIST, FashionMNIST):
        assert all(mirror.startswith("https://") for mirror in kind.mirrors)
        assert all(len(digest) == 64 for digest in kind.sha256.values())


# Drawn digits ----------------------------------------------------------------------------------


def test_drawn_digits():
    images, labels = draw_digits(300, seed=4)
    assert tuple(images.shape) == (300, 28, 28) and images.dtype is dlgrad.uint8
    counts = [labels.tolist().count(digit) for digit in range(10)]
    assert counts == [30] * 10
    assert labels.tolist() != sorted(labels.tolist())
    pixels = images.tolist()
    for image in pixels:
        flat = [value for row in image for value in row]
        assert max(flat) > 200, "there is ink"
        assert 15 < sum(value > 128 for value in flat) < 300, "neither a dot nor a blot"
        border = image[0] + image[-1] + [row[0] for row in image] + [row[-1] for row in image]
        assert max(border) == 0, "the digit is inside the picture"
        middle = sum(x * row[x] for row in image for x in range(28)) / sum(flat)
        assert 8 < middle < 20


def test_drawn_digits_follow_the_seed():
    first, labels = draw_digits(20, seed=1)
    again, _ = draw_digits(20, seed=1)
    other, _ = draw_digits(20, seed=2)
    assert first.tolist() == again.tolist() != other.tolist()
    assert tuple(draw_digits(0)[0].shape) == (0, 28, 28)
    with pytest.raises(ValueError):
        draw_digits(-1)


def test_drawn_digits_differ_and_can_be_told_apart():
    """The nearest of 400 labelled digits is of the same class for most of 100 others."""
    images, labels = draw_digits(500, seed=0)
    flat = images.reshape(500, 784).float()
    known, asked = flat[:400], flat[400:]
    squares = (known * known).sum(dim=1) - 2 * (asked @ known.T)
    nearest = squares.argmin(dim=1).tolist()
    truth = labels.tolist()
    right = sum(truth[near] == truth[400 + i] for i, near in enumerate(nearest))
    assert right >= 85
    pictures = {bytes(value for row in image for value in row) for image in images.tolist()}
    assert len(pictures) == 500
