"""Plans, constants that vary, and writes into memory that pending work may still read."""

from __future__ import annotations

import threading

from launches import recorded

import dlgrad
from dlgrad import config
from dlgrad.runtime import engine


def kernels(seen):
    return [launch.program for launch in seen.launches]


def test_the_second_equal_step_uses_the_plan_of_the_first():
    with recorded() as seen:
        for _ in range(3):
            x = dlgrad.randn(5, 4).realize()
            (x.exp() @ x.T).relu().realize()
    plans = [run.plan for run in seen.runs]
    assert plans[2] is plans[4] or plans[3] is plans[5]
    assert len({id(plan) for plan in plans}) < len(plans)


def test_a_number_that_varies_compiles_once_more_and_never_again():
    engine.clear_plans()  # another test may have made this number vary already
    x = dlgrad.randn(7).realize()
    programs = []
    for factor in (0.5, 0.25, 0.125, 4.0, 8.0):
        with recorded() as seen:
            result = (x * factor).realize()
        programs.append(kernels(seen)[0])
        assert result.tolist() == [v * factor for v in x.tolist()]
    assert programs[0] != programs[1]
    assert programs[1] == programs[2] == programs[3] == programs[4]


def test_special_constants_keep_their_value():
    x = dlgrad.tensor([1.0, -2.0])
    assert [str(v) for v in (x * 0.0).tolist()] == ["0.0", "-0.0"]
    assert [str(v) for v in (x * -0.0).tolist()] == ["-0.0", "0.0"]
    for _ in range(3):
        assert all(v != v for v in (x * float("nan")).tolist())
    big = dlgrad.tensor([1], dtype=dlgrad.int64)
    for value in (2**62, 2**62 + 1, 2**62 + 2):
        assert (big * value).tolist() == [value]


def test_a_new_batch_size_compiles_nothing():
    weight = dlgrad.randn(6, 3).realize()
    bias = dlgrad.randn(3).realize()

    def run(batch):
        x = dlgrad.ones(batch, 6).realize()
        return ((x @ weight + bias).relu() * 2).softmax(1).sum(0).realize()

    run(64)
    with config.NO_COMPILE(True):
        assert len(run(63).tolist()) == 3


def test_an_update_in_place_keeps_the_memory():
    x = dlgrad.randn(100).realize()
    before = x.data_ptr()
    for _ in range(3):
        x.mul_(0.5).add_(1.0)
        x.realize()
    assert x.data_ptr() == before


def test_a_slice_write_keeps_the_memory_and_the_rest():
    x = dlgrad.zeros(4, 4).realize()
    before = x.data_ptr()
    x[1:3, 2] = 5.0
    assert x.tolist()[1] == [0.0, 0.0, 5.0, 0.0]
    assert x.tolist()[3] == [0.0] * 4
    assert x.data_ptr() == before


def test_pending_work_reads_what_was_there_before_a_write():
    x = dlgrad.tensor([1.0, 2.0, 3.0]).realize()
    pending = x * 10
    x.add_(100)
    x.realize()
    assert pending.tolist() == [10.0, 20.0, 30.0]
    assert x.tolist() == [101.0, 102.0, 103.0]


def test_pending_work_on_a_value_in_between_reads_it_too():
    x = dlgrad.tensor([1.0, 2.0]).realize()
    x.add_(1)
    pending = x * 10
    x.add_(1)
    x.realize()
    assert x.tolist() == [3.0, 4.0]
    assert pending.tolist() == [20.0, 30.0]


def test_a_write_that_reads_its_neighbours_is_not_done_in_place():
    x = dlgrad.arange(6, dtype=dlgrad.float32).realize()
    x[1:] = x[:-1] * 2
    assert x.tolist() == [0.0, 0.0, 2.0, 4.0, 6.0, 8.0]
    y = dlgrad.arange(4, dtype=dlgrad.float32).realize()
    y.copy_(y.flip(0))
    assert y.tolist() == [3.0, 2.0, 1.0, 0.0]
    z = dlgrad.arange(6, dtype=dlgrad.float32).reshape(2, 3).realize()
    z.sub_(z.sum(1, keepdim=True))
    assert z.tolist() == [[-3.0, -2.0, -1.0], [-9.0, -8.0, -7.0]]


def test_two_storages_swap_their_numbers():
    a, b = dlgrad.ones(3).realize(), dlgrad.zeros(3).realize()
    old = a.clone()
    a.copy_(b)
    b.copy_(old)
    engine.realize([a._storage.node, b._storage.node])
    assert (a.tolist(), b.tolist()) == ([0.0] * 3, [1.0] * 3)


def test_a_chain_of_ten_thousand_operations():
    x = dlgrad.zeros(3)
    for _ in range(10_000):
        x = x + 1
    assert x.tolist() == [10_000.0] * 3
    y = dlgrad.ones(2, requires_grad=True)
    z = y
    for _ in range(10_000):
        z = z * 1.0001
    z.sum().backward()
    assert abs(y.grad.tolist()[0] - 1.0001**10_000) < 1e-2


def test_empty_tensors():
    x = dlgrad.zeros(0, 4)
    assert (x + 1).tolist() == []
    assert x.sum(0).tolist() == [0.0] * 4
    assert (x.T @ dlgrad.zeros(0, 3)).tolist() == [[0.0] * 3] * 4
    assert dlgrad.zeros(3, 0).sum().item() == 0.0


def test_threads_evaluate_at_the_same_time():
    results: dict[int, list[float]] = {}

    def work(number):
        x = dlgrad.full((50, 50), float(number))
        for _ in range(5):
            x = (x @ x.T).tanh() + number
        results[number] = x.sum(0).tolist()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        work_alone = results.pop(number)
        work(number)
        assert results[number] == work_alone


def test_a_tensor_of_one_thread_is_used_in_another():
    x = dlgrad.randn(4)
    found = []
    thread = threading.Thread(target=lambda: found.append((x * 2).tolist()))
    thread.start()
    thread.join()
    assert found[0] == (x * 2).tolist()


def test_synchronize_returns():
    dlgrad.ones(3).realize()
    dlgrad.synchronize()
    dlgrad.synchronize("cpu")


def test_equal_kernels_of_one_step_are_one_launch():
    shapes = [(3,), (50,), (7, 4), (1000,), (2, 3, 4)]
    values = [dlgrad.randn(*shape).realize() for shape in shapes]
    rates = [dlgrad.full(shape, 0.5).realize() for shape in shapes]
    expected = [(v * 3 - r).tolist() for v, r in zip(values, rates, strict=True)]
    for value, rate in zip(values, rates, strict=True):
        value.mul_(3).sub_(rate)
    with recorded() as seen:
        engine.realize([value._storage.node for value in values])
    assert [launch.beside for launch in seen.launches] == [False, True, True, True, True]
    assert len({launch.program.name for launch in seen.launches}) == 1
    assert [value.tolist() for value in values] == expected


def test_dependent_calls_of_one_kernel_stay_in_order():
    x = dlgrad.randn(64, 64).realize()
    a = (x @ x) + 1
    b = (a @ a) + 1
    with recorded() as seen:
        b.realize()
    assert not any(launch.beside for launch in seen.launches)
