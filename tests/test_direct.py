"""Captured functions that are replayed without Python: the same results, never a wrong guess."""

from __future__ import annotations

import gc
import importlib.util
import threading
import weakref

import pytest
from processes import run

import dlgrad
from dlgrad import config, nn, profiler
from dlgrad.c_src import direct
from dlgrad.core.base import TensorBase
from dlgrad.errors import CaptureError
from dlgrad.runtime.device import get_backend

USUAL = direct.open_direct(get_backend("cpu").runtime._library) is not None
pytestmark = pytest.mark.skipif(not USUAL, reason="this Python takes no direct calls")


def captured(function, *arguments):
    """The function under jit, captured with the arguments, and surely replayed directly."""
    made = dlgrad.jit(function)
    for _ in range(2):
        made(*arguments)
    assert made.direct is not None
    return made


def by_python(function, *arguments):
    """The result of a replay that is not direct."""
    with config.NUM_THREADS(1):
        assert function.direct(*arguments) is NotImplemented
        return function(*arguments)


def pair():
    dlgrad.manual_seed(5)
    return dlgrad.randn(3, 40).realize(), dlgrad.randn(3, 40).realize()


def slots(value):
    """What stands in the slots of an object, by name."""
    names = (name for cls in type(value).__mro__ for name in cls.__dict__.get("__slots__", ()))
    return {name: getattr(value, name, "unset") for name in names if not name.startswith("__")}


def shown(tensor):
    """Everything that a tensor consists of, with what belongs to it alone as its type."""
    storage = tensor._storage
    members = [storage.node.arg, storage.node, storage, tensor]
    own = {id(member): number for number, member in enumerate(members)}
    found = []
    for member in members:
        for name, value in slots(member).items():
            if isinstance(value, weakref.ref):
                value = ("weakly", own[id(value())])
            found.append((name, own.get(id(value), int if name == "address" else value)))
    return found


def test_the_results_are_those_of_python():
    x, y = pair()
    f = captured(lambda a, b: (a * b + a).exp(), x, y)
    for _ in range(3):
        x, y = y, (x + 1).realize()
        expected = f.function(x, y)
        assert f.direct(x, y).tolist() == expected.tolist() == f(x, y).tolist()


def test_a_result_is_made_as_python_makes_it():
    x, y = pair()
    f = captured(lambda a, b: a + b, x, y)
    result = f.direct(x, y)
    assert type(result) is dlgrad.Tensor
    assert shown(result) == shown(f.play((x, y), f.capture))
    result.add_(1)
    result.requires_grad_()
    (result * result).sum().backward()
    assert result.grad.tolist() == (2 * (x + y + 1)).tolist()
    result.note = "its own"
    assert result.note == "its own"
    assert (f.direct(x, y) - x - y).abs().max().item() < 1e-6


@pytest.mark.parametrize("count", [1, 2, 5])
def test_several_results_come_as_a_tuple(count):
    x, y = pair()
    f = captured(lambda a, b: tuple(a + b * 2**i for i in range(count)), x, y)
    results = f.direct(x, y)
    assert type(results) is tuple and len(results) == count
    for i, result in enumerate(results):
        assert result.tolist() == (x + y * 2**i).tolist()


def test_results_without_elements():
    x = dlgrad.zeros(0, 3)
    y = dlgrad.ones(4).realize()
    f = dlgrad.jit(lambda a, b: (a + 1, b + 1))
    results = [f(x.realize(), y) for _ in range(4)]
    assert [[t.tolist() for t in r] for r in results] == [[[], [2.0] * 4]] * 4


def test_views_of_a_whole_storage_go_as_well():
    x, y = pair()
    f = captured(lambda a, b: a - b, x.reshape(8, 15), y.reshape(8, 15))
    expected = (x.reshape(8, 15) - y.reshape(8, 15)).tolist()
    assert f.direct(x.reshape(8, 15), y.reshape(8, 15)).tolist() == expected
    whole = x.reshape(8, 15).contiguous().clone().realize()
    assert f.direct(whole, y.reshape(8, 15)).tolist() == expected
    big = dlgrad.randn(20, 15).realize()
    assert f.direct(big[:8], y.reshape(8, 15)) is NotImplemented
    assert f(big[:8], y.reshape(8, 15)).tolist() == (big[:8] - y.reshape(8, 15)).tolist()
    turned = dlgrad.randn(15, 8).realize().t()
    assert f.direct(turned, y.reshape(8, 15)) is NotImplemented


def test_other_arguments_are_left_to_python():
    x, y = pair()
    f = captured(lambda a, b: a + b, x, y)
    wide = dlgrad.randn(3, 41).realize()
    whole = dlgrad.ones(3, 40, dtype=dlgrad.int32).realize()
    others = [
        (wide, wide), (x, wide), (whole, y), (x,), (x, y, x), (), (x, 2.0), (None, None),
        (x, [1.0]), (object(), object()), (nn.Parameter(x), y), (x + 1, y),
        (x.to("python"), y.to("python")),
    ]  # fmt: skip
    for arguments in others:
        assert f.direct(*arguments) is NotImplemented, arguments
    assert f(nn.Parameter(x), y).tolist() == (x + y).tolist()
    assert f(x + 1, y).tolist() == (x + 1 + y).tolist()
    with pytest.raises(CaptureError, match="tensor argument 0 was captured as"):
        f(wide, wide)
    with pytest.raises(TypeError):
        f.direct(x, b=y)


def test_what_was_read_from_outside_is_looked_at(monkeypatch):
    x, y = pair()
    factor = 2.0
    f = captured(lambda a, b: a * factor + b, x, y)
    assert f.direct(x, y) is not NotImplemented
    factor = 3.0
    assert f.direct(x, y) is NotImplemented
    with pytest.raises(CaptureError, match="'factor'"):
        f(x, y)
    g = captured(lambda a, b: a + b + GLOBAL, x, y)
    assert g.direct(x, y).tolist() == (x + y + 2.5).tolist()
    monkeypatch.setitem(globals(), "GLOBAL", 4.5)
    assert g.direct(x, y) is NotImplemented
    monkeypatch.delitem(globals(), "GLOBAL")
    assert g.direct(x, y) is NotImplemented


GLOBAL = 2.5


def test_settings_that_change_the_way_are_looked_at(capsys):
    x, y = pair()
    f = captured(lambda a, b: a + b, x, y)
    with config.DEBUG(2):
        assert f.direct(x, y) is NotImplemented
        f(x, y)
    assert "GB/s" in capsys.readouterr().err
    with profiler.profile() as profile:
        f(x, y)
    assert any(event.kind == "kernel" for event in profile.events())
    with config.NUM_THREADS(1):
        assert f.direct(x, y) is NotImplemented
    with dlgrad.no_grad():
        assert f.direct(x, y) is NotImplemented
    outer = dlgrad.jit(lambda a, b: f(a, b) * 2)
    for _ in range(3):
        assert outer(x, y).tolist() == ((x + y) * 2).tolist()
    assert f.direct(x, y).tolist() == (x + y).tolist()


@pytest.mark.parametrize(
    "make",
    [
        lambda x: lambda a: a.add_(1),  # changes its argument
        lambda x: lambda a: a * x,  # reads a tensor from outside
        lambda x: lambda a: nn.functional.dropout(a, 0.5),  # has to count on
        lambda x: lambda a: {"result": a + 1},
        lambda x: lambda a: [a + 1],
        lambda x: lambda a: () if (a + 1).realize().shape else None,
        lambda x: nn.Linear(40, 40),
    ],
)
def test_what_is_not_plain_is_left_to_python(make):
    x, _ = pair()
    function = make(x)
    f = dlgrad.jit(function)
    for _ in range(4):
        f(x)
    assert f.direct is None


def test_more_arguments_and_results_than_c_has_room_for():
    tensors = [dlgrad.full((2,), float(i)).realize() for i in range(60)]
    empty = dlgrad.zeros(0).realize()
    f = dlgrad.jit(lambda *given: given[3] + given[4])
    g = dlgrad.jit(lambda a, b: (a + 1, *[b + i for i in range(60)]))
    for _ in range(4):
        assert f(*tensors).tolist() == [7.0, 7.0]
        assert g(tensors[1], empty)[0].tolist() == [2.0, 2.0]
    assert f.direct is None and g.direct is None


def test_autocast_is_looked_at():
    x, y = pair()
    f = captured(lambda a, b: a + b, x, y)
    with dlgrad.autocast("cpu"):
        assert f.direct(x, y) is NotImplemented
    assert f.direct(x, y).tolist() == (x + y).tolist()
    with dlgrad.autocast("cpu"):
        g = dlgrad.jit(lambda a, b: a + b)
        for _ in range(3):
            g(x, y)
        assert g.direct is None


def test_reset_forgets_the_direct_way():
    x, y = pair()
    f = captured(lambda a, b: a + b, x, y)
    f.reset()
    assert f.direct is None
    assert f(x[:2], y[:2]).tolist() == (x + y)[:2].tolist()


def test_nothing_is_left_behind():
    x, y = pair()
    f = captured(lambda a, b: (a + b, a - b), x, y)
    runtime = get_backend("cpu").runtime

    def counts():
        gc.collect()
        return runtime.memory()[0], len(gc.get_objects())

    kept = [f(x, y) for _ in range(20)]
    del kept
    before = counts()
    for _ in range(500):
        f(x, y)
        f.direct(x, 1.0)
    kept = [f(x, y) for _ in range(20)]
    assert runtime.memory()[0] == before[0] + 36 * 512  # two of each result were spare
    del kept
    live, objects = counts()
    assert live == before[0] and objects < before[1] + 100
    other = (x + 1).realize()
    f(other, y)
    members = other._storage.node.arg, other._storage.node, other._storage
    references = [weakref.ref(member) for member in members]
    del other, members
    gc.collect()
    assert [reference() for reference in references] == [None] * 3


def test_memory_of_results_that_are_gone_is_used_again():
    x, y = pair()
    f = captured(lambda a, b: a + b, x, y)
    expected = [(x + y).tolist(), (x + x).tolist(), (y + y).tolist()]
    for _ in range(5):  # two results are there at a time
        first, second = f.direct(x, y), f.direct(x, x)
        assert [first.tolist(), second.tolist()] == expected[:2]
    places = {first.data_ptr(), second.data_ptr()}
    del first, second
    for _ in range(5):
        again = f.direct(y, y)
        assert again.data_ptr() in places and again.tolist() == expected[2]
        again = None


@pytest.mark.parametrize(
    "keep",
    [
        lambda r: r,
        lambda r: r[1:],
        lambda r: r.detach(),
        lambda r: r * 2,  # pending work
        lambda r: r._storage,
        lambda r: r._storage.node,
        lambda r: r._storage.node.arg,
        lambda r: memoryview(dlgrad.from_dlpack(r).numpy()) if has_numpy() else r,
    ],
)
def test_memory_that_somebody_knows_is_not_used_again(keep):
    x, y = pair()
    f = captured(lambda a, b: a + b, x, y)
    f.direct(x, y)
    result = f.direct(x, y)
    place, numbers = result.data_ptr(), result.tolist()
    kept = keep(result)
    del result
    for _ in range(4):
        others = f.direct(y, y), f.direct(x, x)
        assert place not in [other.data_ptr() for other in others]
    if isinstance(kept, dlgrad.Tensor) and kept.shape == x.shape:
        assert kept.tolist() in (numbers, (2 * (x + y)).tolist())


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.add_(1).realize(),
        lambda r: r.unsqueeze_(0),
        lambda r: setattr(r, "data", dlgrad.ones(3, 40)),
        lambda r: r.requires_grad_().mul(2).sum().backward(),
        lambda r: setattr(r, "note", 1),
        lambda r: (r + 1).realize(),
    ],
)
def test_what_was_done_to_a_result_is_not_seen_in_the_next(change):
    x, y = pair()
    f = captured(lambda a, b: a + b, x, y)
    expected, fresh = (x + y).tolist(), shown(by_python(f, x, y))
    for _ in range(4):
        result = f.direct(x, y)
        assert result.tolist() == expected
        assert shown(result) == fresh and result.grad is None and not hasattr(result, "note")
        change(result)
        result = None


@pytest.mark.parametrize("member", [lambda r: r, lambda r: r._storage, lambda r: r._storage.node])
def test_a_weak_reference_never_shows_another_result(member):
    x, y = pair()
    f = captured(lambda a, b: a + b, x, y)
    f.direct(x, y)
    reference = weakref.ref(member(f.direct(x, y)))
    for _ in range(4):
        others = f.direct(y, y), f.direct(x, x)
        assert reference() is None or reference() not in [member(other) for other in others]
        del others


def has_numpy():
    return importlib.util.find_spec("numpy") is not None


def test_memory_between_kernels_is_lent_for_a_call():
    x = dlgrad.rand(64, 64).realize()
    f = captured(chain, x)
    expected = f.function(x).tolist()
    live = get_backend("cpu").runtime.memory()[0]
    kept = f.direct(x)
    assert kept.tolist() == expected
    assert get_backend("cpu").runtime.memory()[0] <= live + kept._storage.nbytes
    large = dlgrad.jit(lambda a: (a.sum(dim=0, keepdim=True) * 2 + a).cumsum(0) @ a)
    wide = dlgrad.rand(500, 500).realize()
    for _ in range(3):
        large(wide)
    assert large.direct is None  # a megabyte would be allocated at every call


def test_a_capture_lets_go_of_its_arguments_and_results():
    x = dlgrad.rand(1 << 20).realize()
    runtime = get_backend("cpu").runtime
    f = dlgrad.jit(lambda a: a * 3 + 1)
    f(x)
    live = runtime.memory()[0]
    for _ in range(3):
        f(x)
    assert runtime.memory()[0] < live + (1 << 20)


def test_large_results_are_not_kept():
    x = dlgrad.rand(1 << 16).realize()
    f = captured(lambda a: a + 1, x)
    f(x)
    live = get_backend("cpu").runtime.memory()[0]
    result = f.direct(x)
    assert get_backend("cpu").runtime.memory()[0] == live + 4 * (1 << 16)
    del result
    assert get_backend("cpu").runtime.memory()[0] == live


def test_the_function_lives_as_long_as_it_is_called():
    x, y = pair()
    f = captured(lambda a, b: a * 7 + b, x, y)
    kept = f.direct
    expected = f(x, y).tolist()
    del f
    gc.collect()
    junk = [bytearray(1000) for _ in range(100)]
    assert kept(x, y).tolist() == expected
    del junk


def chain(a):
    """Several kernels, and memory for what lies between them."""
    return ((a @ a).sum(dim=0, keepdim=True) @ a).softmax(dim=1)


@pytest.mark.parametrize("kernels", ["one", "several", "several, with a tensor from outside"])
def test_threads_that_share_a_function_get_their_own_numbers(kernels):
    """Else what lies between the kernels of one replay would be the other thread's."""
    outside = dlgrad.ones(64, 64).realize()
    functions = {"one": lambda a: a @ a, "several": chain}
    arguments = [(dlgrad.rand(64, 64) * (i + 1) / 8).realize() for i in range(3)]
    f = dlgrad.jit(functions.get(kernels, lambda a: chain(a) + outside))
    for _ in range(2):
        f(arguments[0])
    assert (f.direct is not None) == (kernels in functions)
    expected = [f(a).tolist() for a in arguments]
    wrong = []

    def work(number):
        for _ in range(700):
            if f(arguments[number]).tolist() != expected[number]:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_no_memory_is_pythons_error():
    x = dlgrad.zeros(1).realize()
    f = captured(lambda a: a + 1, x)
    backend = get_backend("cpu")
    results = [(f.new_result(x._storage.node.arg, (1 << 48,), dlgrad.float32), 1)]
    replay = f.replay
    slots_ = [place if place >= 0 else len(replay.addresses) - 1 for place in replay.places]
    refused = backend.replayer(
        direct.Captured(replay.sequence, replay.addresses, [], [(x, slots_[0])], results, [], False)
    )
    live = backend.runtime.memory()[0]
    assert refused(x) is NotImplemented
    assert backend.runtime.memory()[0] == live


def test_direct_calls_check_what_they_get():
    runtime = get_backend("cpu").runtime
    address = runtime._allocate(64)
    assert address % 64 == 0 and runtime.free(address, 64) == 0
    for wrong in ((), (1, 2, 3), ("a",), (1.5, 2), (1 << 70, 1), tuple(range(7))):
        with pytest.raises((TypeError, OverflowError)):
            runtime.free(*wrong)


def test_every_slot_is_found():
    x, _ = pair()
    storage = x._storage
    for value in (x, storage, storage.node, storage.node.arg):
        offsets = direct._offsets(type(value))
        assert set(offsets) == set(slots(value))
        words = direct._words(value, type(value).__basicsize__ // 8)
        for name, kept in slots(value).items():
            if kept != "unset":
                assert words[offsets[name] // 8] == id(kept)
    assert isinstance(x, TensorBase)


SHARED = """
import dlgrad
x, y = dlgrad.rand(30).realize(), dlgrad.rand(30).realize()
f = dlgrad.jit(lambda a, b: a + b)
f(x, y); f(x, y)
expected = (x + y).tolist()
assert f(x, y).tolist() == expected
"""


def test_without_direct_calls_everything_goes_on(tmp_path):
    """As under a Python whose objects look otherwise."""
    before = """
import dlgrad.c_src.direct as direct
direct._words = lambda value, count: [0] * count
"""
    run(before + SHARED + "assert f.direct is None; print('all is well')", tmp_path)


def test_the_end_of_the_process(tmp_path):
    """A call when all is closed is an error of Python's, and memory may still be given back."""
    after = """
import atexit
from dlgrad.runtime import temporary
kept = f(x, y)
class Late:
    def __del__(self, f=f, x=x, y=y):
        try:
            f(x, y)
        except Exception as error:
            print(type(error).__name__, error, flush=True)
late = Late()
temporary.leave()
try:
    f(x, y)
except Exception as error:
    print(type(error).__name__, error)
del kept
"""
    said = run(SHARED + after, tmp_path)
    assert said.count("DeviceError the process is ending") == 2, said


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork here")
def test_a_forked_child_replays(tmp_path):
    after = """
import os
child = os.fork()
if not child:
    os._exit(0 if f(x, y).tolist() == expected else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    run(SHARED + after, tmp_path)
