"""The devices without a machine: "null" renders and counts, "python" interprets."""

import pytest
from kernel_examples import EXAMPLES
from test_verify import GEMM

from dlgrad.dtype import float32, pack_values, unpack_values
from dlgrad.runtime.device import Buffer, Launch, get_backend


def launches(backend, kernel, example, **more) -> list[Launch]:
    program = backend.compile([kernel])[0]
    buffers = tuple((slot, 0) for slot in range(len(kernel.parameters)))
    numbers = {"sizes": example.sizes, "scalars": example.scalars, **more}
    return [Launch(program, buffers, work=example.work, cost=1, **numbers)]


def test_null_counts_launches():
    backend = get_backend("null")
    example = EXAMPLES["add"]()
    sequence = backend.prepare(launches(backend, example.kernel, example) * 3)
    backend.run(sequence, [1, 2, 3], [])
    backend.run(sequence, [1, 2, 3], [])
    program = backend.compile([example.kernel])[0]
    assert program.launches == 6
    assert "out[i] = x[i] + y[i];" in program.source


def test_null_renders_matmuls():
    assert "matmul" in get_backend("null").compile([GEMM])[0].source


def test_null_memory_is_counted_and_reads_as_zeros():
    backend = get_backend("null")
    before = backend.allocated
    buffer = Buffer(backend, 64)
    assert backend.allocated == before + 64
    data = bytearray(b"x" * 64)
    buffer.copy_out(memoryview(data))
    assert data == bytes(64)
    del buffer
    assert backend.allocated == before


def on_python(values: list[float]) -> Buffer:
    data = pack_values(float32, values)
    buffer = Buffer(get_backend("python"), len(data))
    buffer.copy_in(memoryview(data))
    return buffer


def read(buffer: Buffer) -> list[float]:
    data = bytearray(buffer.nbytes)
    buffer.copy_out(memoryview(data))
    return unpack_values(float32, data)


def test_python_takes_numbers_from_the_slots_of_the_call():
    """A launch with `scalar_slots` reads its numbers anew in each run."""
    backend = get_backend("python")
    example = EXAMPLES["optimizer_step"]()
    buffers = [on_python([2.0]), on_python([1.0]), on_python([4.0])]
    sequence = backend.prepare(
        launches(backend, example.kernel, example, sizes=(1,), scalar_slots=(1, -1))
    )
    backend.run(sequence, [buffer.address for buffer in buffers], [9.0, 0.5])
    assert read(buffers[1]) == [4.5]  # 0.5 * 1 + 4
    assert read(buffers[0]) == [pytest.approx(2 - 0.01 * 4.5, rel=1e-6)]


def test_python_runs_a_matmul():
    """[2, 3] @ [3, 2] with b given transposed, and a window of one row."""
    backend = get_backend("python")
    a, b = on_python([1, 2, 3, 4, 5, 6]), on_python([1, 0, 1, 0, 2, 0])
    result = on_python([0] * 4)
    sizes = [0, 1, 1, 1, 2, 2, 3]  # ranks, then m, n, k
    sizes += [0, 2, 1, 0]  # result: offset, strides along m, n, k
    sizes += [0, 3, 0, 1]  # a
    sizes += [0, 0, 3, 1]  # b, transposed
    launch = Launch(
        backend.compile([GEMM])[0], ((0, 0), (1, 0), (2, 0)), tuple(sizes), (), work=1, cost=1
    )
    backend.run(backend.prepare([launch]), [x.address for x in (result, a, b)], [])
    assert read(result) == [4, 4, 10, 10]


def test_python_forgets_freed_memory():
    backend = get_backend("python")
    buffer = on_python([1.0])
    address = buffer.address
    assert address in backend.blocks
    del buffer
    assert address not in backend.blocks
