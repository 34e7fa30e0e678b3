"""Workers of a DataLoader: order, shares, failures, and that none of them is left behind."""

import contextlib
import gc
import multiprocessing
import os
import random
import signal
import textwrap
import threading
import time

import pytest
from processes import environment, run, start

import dlgrad
from dlgrad.data import (
    ChainDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    TensorDataset,
    get_worker_info,
)
from dlgrad.data.processes import INLINE_BYTES

KINDS = ["process", "thread"] if hasattr(os, "fork") else ["thread"]
PROCESSES = pytest.mark.skipif("process" not in KINDS, reason="there is no fork here")


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(autouse=True)
def nothing_left():
    """After every test, whatever went wrong in it, no worker is left."""
    yield
    gc.collect()  # an exception holds the frames that hold an iterator
    assert_ends(children() | threads())


class Numbers(Dataset):
    """Sample i is i; some samples take long."""

    def __init__(self, size=12, slow=()):
        self.size, self.slow = size, slow

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index in self.slow:
            time.sleep(0.15)
        return index


class Counting(IterableDataset):
    """0 to `size`, each worker its share."""

    def __init__(self, size):
        self.size = size

    def __iter__(self):
        info = get_worker_info()
        return iter(range(self.size) if info is None else range(info.id, self.size, 2))


class Draws(Dataset):
    """Random numbers of all streams that a worker has."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        info = get_worker_info()
        stream = dlgrad.default_generator if info is None else info.generator
        return random.random(), dlgrad.rand(1, generator=stream).item()


class Broken(Numbers):
    def __getitem__(self, index):
        if index == 5:
            raise LookupError("sample 5 is broken")
        if index == 7:
            raise Picky("seven", "wrong")
        return index


class Picky(Exception):
    """An exception that a pickle does not bring back."""

    def __init__(self, number, reason):
        super().__init__(f"{number} is {reason}")


class Lethal(Numbers):
    """A worker that comes to sample 4 is killed."""

    def __getitem__(self, index):
        if index == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return index


def children():
    return {process.pid for process in multiprocessing.active_children()}


def threads():
    return {thread for thread in threading.enumerate() if thread.name.startswith("dlgrad-data")}


def values(loader):
    return [batch.tolist() for batch in loader]


# Order and contents ------------------------------------------------------------------------------


def test_the_order_does_not_depend_on_the_speed_of_workers(kind):
    loader = DataLoader(Numbers(slow=(0, 5)), 2, num_workers=3, worker_type=kind)
    assert values(loader) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]
    assert len(values(loader)) == 6, "a loader can be iterated again"
    assert not children()


def test_shuffling_is_the_same_with_any_workers():
    def order(**settings):
        generator = dlgrad.Generator().manual_seed(11)
        loader = DataLoader(Numbers(20), 6, shuffle=True, generator=generator, **settings)
        return values(loader), values(loader)

    first, second = order()
    assert first != second
    for kind in KINDS:
        assert order(num_workers=2, worker_type=kind) == (first, second)


@PROCESSES
def test_batches_large_and_small_and_nested_come_whole():
    large = dlgrad.arange(3 * INLINE_BYTES).reshape(3, -1)
    data = TensorDataset(large, dlgrad.zeros(3, 0), dlgrad.tensor([True, False, True]))

    def named(samples):
        rows, empty, flags = zip(*samples, strict=True)
        return {"rows": dlgrad.stack(rows), "text": "x" * 5 * INLINE_BYTES, "none": None,
                "turned": dlgrad.stack(rows).T, "rest": (empty[0], flags[0])}  # fmt: skip

    for batch in DataLoader(data, 2, num_workers=1, collate_fn=named):
        rows = batch["rows"]
        assert batch["turned"].tolist() == rows.T.tolist()
        assert batch["rest"][0].shape == (0,) and batch["rest"][1].item() is True
        assert len(batch["text"]) == 5 * INLINE_BYTES and batch["none"] is None
        rows.add_(1)  # the memory of a batch can be written
    assert rows.tolist() == (large[2:] + 1).tolist()
    gathered = [batch[0].tolist() for batch in DataLoader(data, 2, num_workers=2)]
    assert gathered == [large[:2].tolist(), large[2:].tolist()]


def test_single_samples_and_batch_samplers(kind):
    settings = {"num_workers": 2, "worker_type": kind}
    assert list(DataLoader(Numbers(5), batch_size=None, **settings)) == [0, 1, 2, 3, 4]
    batches = DataLoader(Numbers(9), batch_sampler=[[8, 1], [3]], **settings)
    assert values(batches) == [[8, 1], [3]]


def test_an_iterable_dataset_is_shared(kind):
    settings = {"num_workers": 2, "worker_type": kind}
    assert values(DataLoader(Counting(7), 2)) == [[0, 1], [2, 3], [4, 5], [6]]
    assert values(DataLoader(Counting(7), 2, drop_last=True)) == [[0, 1], [2, 3], [4, 5]]
    assert values(DataLoader(Counting(7), 2, **settings)) == [[0, 2], [1, 3], [4, 6], [5]]
    assert values(DataLoader(Counting(9), 2, **settings)) == [
        [0, 2], [1, 3], [4, 6], [5, 7], [8],
    ]  # fmt: skip
    assert list(DataLoader(Counting(5), None, **settings)) == [0, 1, 2, 3, 4]
    assert values(DataLoader(Counting(0), 2, **settings)) == []
    chained = ChainDataset([Counting(3), Counting(2)])
    assert sorted(sum(values(DataLoader(chained, 2, **settings)), [])) == [0, 0, 1, 1, 2]


def test_workers_know_themselves(kind):
    def note(samples):
        info = get_worker_info()
        return info.id, info.num_workers, len(info.dataset), info.seed

    notes = list(DataLoader(Numbers(6), 2, num_workers=2, worker_type=kind, collate_fn=note))
    assert [note[:3] for note in notes] == [(0, 2, 6), (1, 2, 6), (0, 2, 6)]
    assert notes[0][3] == notes[2][3] != notes[1][3]
    assert get_worker_info() is None


def test_random_numbers_in_workers_follow_the_seed(kind):
    def draws(seed):
        dlgrad.manual_seed(seed)
        random.seed(1)
        loader = DataLoader(Draws(), None, num_workers=2, worker_type=kind)
        return [[draw[kind == "thread" :] for draw in loader] for _ in range(2)]

    first, second = draws(3)
    assert len({draw[-1] for draw in first}) == 6, "workers draw different numbers"
    assert first != second, "and others in each pass"
    assert draws(3) == [first, second]
    assert draws(4) != [first, second]


def test_worker_init_fn(kind):
    calls = []

    def begin(id):
        calls.append(id)
        get_worker_info().dataset.size += id

    def sizes(samples):
        return get_worker_info().dataset.size

    data = Numbers(4)
    settings = {"worker_init_fn": begin, "collate_fn": sizes, "worker_type": kind}
    found = list(DataLoader(data, 2, num_workers=2, **settings))
    if kind == "process":  # each has its copy of the dataset, and of `calls`
        assert found == [4, 5] and calls == [] and data.size == 4
    else:
        assert sorted(calls) == [0, 1] and data.size == 5

    def fail(id):
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        next(iter(DataLoader(data, 2, num_workers=1, worker_init_fn=fail, worker_type=kind)))


def test_persistent_workers_stay(kind):
    def who(samples):
        return os.getpid(), threading.get_ident(), samples

    settings = {"num_workers": 2, "worker_type": kind, "collate_fn": who}
    loader = DataLoader(Numbers(8), 1, persistent_workers=True, **settings)
    first = list(loader)
    given_up = iter(loader)
    next(given_up)
    second = list(loader)  # what the pass before prepared does not appear in it
    assert first == second and len({pid[:2] for pid in first}) == 2
    with pytest.raises(RuntimeError, match="newer pass"):
        next(given_up)
    left = children() if kind == "process" else threads()
    assert len(left) == 2
    del loader, given_up
    assert_ends(left)


def assert_ends(left):
    for _ in range(100):
        if not left & (children() | threads()):
            return
        time.sleep(0.05)
    raise AssertionError(f"left behind: {left & (children() | threads())}")


# Failures ----------------------------------------------------------------------------------------


def test_an_exception_in_a_worker_comes_back(kind):
    loader = DataLoader(Broken(10), 2, num_workers=2, worker_type=kind)
    iterator = iter(loader)
    assert [next(iterator).tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(LookupError, match="sample 5") as caught:
        next(iterator)
    cause = str(caught.value.__cause__)
    assert "in __getitem__" in cause and f"worker {kind} 0" in cause
    with pytest.raises(Exception, match="seven is wrong") as caught:
        next(iterator)
    assert type(caught.value) is (Picky if kind == "thread" else RuntimeError)
    assert "Picky" in str(caught.value.__cause__)
    assert next(iterator).tolist() == [8, 9], "the other batches still come"


@PROCESSES
def test_a_batch_that_cannot_be_sent_is_an_error():
    loader = DataLoader(Numbers(2), 2, num_workers=1, collate_fn=lambda samples: lambda: 0)
    with pytest.raises(Exception, match="pickle|local object"):
        list(loader)


@PROCESSES
@pytest.mark.parametrize("persistent", [False, True])
def test_a_killed_worker_is_an_error(persistent):
    loader = DataLoader(Lethal(8), 1, num_workers=2, persistent_workers=persistent)
    with pytest.raises(RuntimeError, match="exited unexpectedly, by signal SIGKILL.*memory"):
        list(loader)
    assert not children()


def test_a_timeout_is_an_error(kind):
    loader = DataLoader(Numbers(2, slow=(0,)), num_workers=1, timeout=0.02, worker_type=kind)
    with pytest.raises(RuntimeError, match="timed out after 0.02 seconds"):
        list(loader)


@pytest.mark.parametrize(
    "settings",
    [
        {"prefetch_factor": 2},
        {"persistent_workers": True},
        {"num_workers": 1, "worker_type": "fiber"},
        {"timeout": -1},
        {"dataset": Counting(3), "shuffle": True},
        {"dataset": Counting(3), "sampler": [0]},
    ],
    ids=" ".join,
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError):
        DataLoader(**{"dataset": Numbers(3), **settings})


# The end -----------------------------------------------------------------------------------------


def test_an_iterator_that_is_given_up_leaves_nothing(kind):
    for batch in DataLoader(Numbers(100), num_workers=2, worker_type=kind):
        if batch.item() == 3:
            break
    assert_ends(children() | threads())
    iterator = iter(DataLoader(Numbers(100), num_workers=2, worker_type=kind))
    next(iterator)
    left = children() | threads()
    assert len(left) == 2
    del iterator
    assert_ends(left)


LOOP = textwrap.dedent(
    """
    import multiprocessing, sys, time
    from dlgrad.data import DataLoader, Dataset

    class Slow(Dataset):
        def __len__(self):
            return 1000
        def __getitem__(self, index):
            time.sleep(0.01)
            return index

    if __name__ == "__main__":
        for number, batch in enumerate(DataLoader(Slow(), 1, num_workers=2)):
            if number == 3:
                print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    """
)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:  # a zombie whose parent has not looked yet is gone for our purpose
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@PROCESSES
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_its_loader(tmp_path, how):
    """Ctrl-C reaches the whole group; a kill reaches the loader alone."""
    child = start("import os; os.setsid()\n" + LOOP, tmp_path)
    pids = [int(word) for word in child.stdout.readline().split()]
    assert len(pids) == 2 and all(alive(pid) for pid in pids)
    if how == signal.SIGINT:
        os.killpg(child.pid, how)
    else:
        os.kill(child.pid, how)
    _, error = child.communicate(timeout=30)
    assert child.returncode != 0
    if how == signal.SIGINT:
        assert error.count("Traceback") == 1 and "KeyboardInterrupt" in error
    for _ in range(160):
        if not any(alive(pid) for pid in pids):
            break
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)


@PROCESSES
def test_processes_that_are_spawned(tmp_path):
    """With 'spawn' the dataset travels; the file is a program, which a worker imports."""
    program = tmp_path / "program.py"
    program.write_text(
        LOOP.replace("Slow(), 1, num_workers=2", "Slow(), 1, None, range(5), num_workers=1, "
                     "multiprocessing_context='spawn'")  # fmt: skip
    )
    environment(tmp_path)
    run(
        f"import subprocess, sys; subprocess.run([sys.executable, {str(program)!r}], check=True)",
        tmp_path,
    )


@PROCESSES
def test_workers_compute(tmp_path):
    """Kernels run in forked workers, after they ran on several threads in their parent."""
    code = textwrap.dedent(
        """
        import dlgrad
        from dlgrad.data import DataLoader
        x = dlgrad.ones(1000, 1000)
        assert (x @ x).sum().item() == 1e9
        def compute(samples):
            return (x @ x)[0, :3] + dlgrad.tensor(samples)
        batches = list(DataLoader(range(6), 3, num_workers=2, collate_fn=compute))
        assert [batch.tolist() for batch in batches] == [[1000, 1001, 1002], [1003, 1004, 1005]]
        assert (x @ x).sum().item() == 1e9
        """
    )
    run(code, tmp_path, DLGRAD_CACHE_DIR=os.environ["DLGRAD_CACHE_DIR"])


class Stuck(Numbers):
    """Samples after the first take a minute, whatever the signal."""

    def __getitem__(self, index):
        if index:
            with contextlib.suppress(SystemExit):
                time.sleep(60)
            time.sleep(60)
        return index


@PROCESSES
def test_workers_that_do_not_listen_are_killed():
    iterator = iter(DataLoader(Stuck(4), num_workers=3))
    assert next(iterator).item() == 0
    left = children()
    assert len(left) == 3
    del iterator
    assert not children() & left
