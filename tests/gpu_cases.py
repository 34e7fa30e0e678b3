"""What a GPU must do, on the device that DLGRAD_TEST_DEVICE names.

Run by `test_cuda.py` and `test_metal.py` in child processes, once for every mode of the
simulators and once on hardware; not collected by itself.  First the backend with kernels in
loop IR, then tensors.
"""

from __future__ import annotations

import math
import os
import threading

import pytest
from gpu_kernels import (
    elementwise,
    halves,
    integer_scalar,
    matmul,
    matmul_sizes,
    row_reduction,
)

from dlgrad.dtype import (
    DType,
    bfloat16,
    float16,
    float32,
    int32,
    int64,
    pack_values,
    unpack_values,
)
from dlgrad.lazy.ops import ReduceOps
from dlgrad.runtime.device import Buffer, Launch, get_backend

DEVICE = os.environ["DLGRAD_TEST_DEVICE"]
SIMULATED = os.environ["DLGRAD_TEST_SIMULATED"] == "1"


@pytest.fixture(scope="module")
def backend():
    opened = get_backend(f"{DEVICE}:0")
    assert opened.simulated == SIMULATED
    return opened


def upload(backend, values, dtype: DType = float32) -> Buffer:
    data = pack_values(dtype, list(values))
    buffer = Buffer(backend, len(data))
    buffer.copy_in(memoryview(data))
    return buffer


def download(buffer: Buffer, dtype: DType = float32) -> list:
    data = bytearray(buffer.nbytes)
    buffer.copy_out(memoryview(data))
    return unpack_values(dtype, bytes(data))


def run(backend, kernel, buffers, sizes, scalars=(), work=0, slots=(), given=()) -> None:
    """Compiles a kernel, prepares a launch of it, and runs that once."""
    places = tuple((i, 0) for i in range(len(buffers)))
    (program,) = backend.compile([kernel])
    launch = Launch(program, places, sizes, scalars, work, 1, scalar_slots=slots)
    sequence = backend.prepare([launch])
    backend.run(sequence, [buffer.address for buffer in buffers], given)


# The backend ------------------------------------------------------------------------------------


def test_memory(backend) -> None:
    buffer = upload(backend, range(10))
    buffer.copy_in(memoryview(pack_values(float32, [7.0, 8.0])), offset=8)
    part = bytearray(12)
    buffer.copy_out(memoryview(part), offset=4)
    assert unpack_values(float32, bytes(part)) == [1.0, 7.0, 8.0]


def test_elementwise_kernel_runs_again_with_other_memory_and_numbers(backend) -> None:
    n = 700
    a, b = [i / n for i in range(n)], [float(i) for i in range(n)]
    (program,) = backend.compile([elementwise()])
    places = ((0, 0), (1, 0), (2, 4))  # b from its second element on
    launch = Launch(program, places, (n - 1,), (2.0,), n - 1, 1, scalar_slots=(0,))
    sequence = backend.prepare([launch])
    inputs = [upload(backend, a), upload(backend, b)]
    for scale in (2.0, -0.5):
        out = upload(backend, [0] * n)
        backend.run(sequence, [out.address, *(x.address for x in inputs)], [scale])
        expected = [math.exp(a[i]) + b[i + 1] * scale for i in range(n - 1)]
        assert download(out)[:-1] == pytest.approx(expected, rel=1e-5, abs=1e-5)
        assert download(out)[-1] == 0


def test_integer_numbers(backend) -> None:
    out = upload(backend, [0] * 5, int64)
    run(backend, integer_scalar(), [out], (5,), (1 << 40, -3), 5)
    assert download(out, int64) == [i * (1 << 40) - 3 for i in range(5)]


@pytest.mark.parametrize("dtype", [float16, bfloat16])
def test_sixteen_bit_floats(backend, dtype: DType) -> None:
    values = [0.0, 0.5, 100.25, -3.0, float("inf"), 2.0**-9]
    a, out = upload(backend, values, dtype), upload(backend, [0] * 6, dtype)
    run(backend, halves(dtype), [out, a], (6,), (), 6)
    expected = [value + 1 for value in unpack_values(dtype, pack_values(dtype, values))]
    assert download(out, dtype) == unpack_values(dtype, pack_values(dtype, expected))


@pytest.mark.parametrize("cooperative", [False, True])
@pytest.mark.parametrize("shape", [(1, 1000), (5, 77), (300, 3), (4, 0)])
def test_row_sums(backend, shape: tuple[int, int], cooperative: bool) -> None:
    rows, columns = shape
    values = [float(i % 11) for i in range(rows * columns)]
    a, out = upload(backend, values or [0.0]), upload(backend, [9] * rows)
    run(backend, row_reduction(ReduceOps.SUM, cooperative), [out, a], shape, (), rows)
    assert download(out) == [sum(values[r * columns : (r + 1) * columns]) for r in range(rows)]


def test_a_maximum_in_which_nan_wins(backend) -> None:
    values = [float(i % 300) for i in range(900)]
    values[450] = float("nan")
    a, out = upload(backend, values), upload(backend, [0] * 3)
    run(backend, row_reduction(ReduceOps.MAX, True), [out, a], (3, 300), (), 3)
    result = download(out)
    assert result[0] == result[2] == 299 and math.isnan(result[1])


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [float32, int32])
def test_matmul_of_several_dimensions(backend, dtype: DType, transposed: bool) -> None:
    batch, m, n, k = 2, (3, 7), 18, 21
    rows = m[0] * m[1]
    a = [i % 5 - 2 for i in range(batch * rows * k)]
    b = [i % 7 - 3 for i in range(batch * n * k)]
    c = list(range(n))
    buffers = [upload(backend, x, dtype) for x in ([0] * (batch * rows * n), a, b, c)]
    run(backend, matmul(dtype, dtype), buffers, matmul_sizes(batch, m, n, k, transposed))

    def right(i: int, s: int, j: int) -> int:
        return b[i * n * k + (j * k + s if transposed else s * n + j)]

    expected = [
        sum(2 * a[(i * rows + row) * k + s] * right(i, s, j) for s in range(k)) + c[j]
        for i in range(batch)
        for row in range(rows)
        for j in range(n)
    ]
    assert download(buffers[0], dtype) == expected


def test_matmul_over_nothing(backend) -> None:
    """With k = 0 the sum is empty; with m = 0 there is nothing to do."""
    out, c = upload(backend, [5] * 6), upload(backend, [1, 2, 3])
    empty = Buffer(backend, 0)
    run(backend, matmul(), [out, empty, empty, c], matmul_sizes(1, (1, 2), 3, 0, False))
    assert download(out) == [1, 2, 3, 1, 2, 3]
    run(backend, matmul(), [out, empty, empty, c], matmul_sizes(1, (0, 2), 3, 4, False))


def test_threads_share_a_backend(backend) -> None:
    results = {}

    def work(number: int) -> None:
        a, out = upload(backend, [number] * 50), upload(backend, [0] * 50)
        for _ in range(5):
            run(backend, halves(float16), [out, a], (0,), (), 0)
            run(backend, elementwise(), [out, a, a], (50,), (float(number),), 50)
        results[number] = download(out)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        assert results[number] == pytest.approx([math.exp(number) + number**2] * 50)


def test_memory_is_used_again(backend) -> None:
    first = Buffer(backend, 12345)
    address = first.address
    del first
    assert Buffer(backend, 12345).address == address


def test_description(backend) -> None:
    assert backend.name in backend.describe()
    backend.synchronize()
