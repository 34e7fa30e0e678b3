"""The run time in C: memory, threads, and sequences of launches."""

import array
import ctypes
import os
import shutil
import struct
import threading
import time
from pathlib import Path

import pytest
from processes import KERNEL

from dlgrad import config
from dlgrad.c_src import library
from dlgrad.c_src.runtime import cut_kernel, cut_matmul
from dlgrad.errors import DeviceError
from dlgrad.runtime import cache
from dlgrad.runtime.device import Buffer, Launch, get_backend

pytestmark = pytest.mark.skipif(
    not (shutil.which("clang") or shutil.which("gcc")), reason="neither clang nor gcc is there"
)

# Sums in an order that would show in the last bits if it depended on how the range is cut.
CHUNKY = """\
#include <stdint.h>
void dg_test_chunky(void *const *buffers, const int64_t *sizes, const double *scalars,
                    int64_t begin, int64_t end)
{
    float *out = buffers[0];
    float sum = 0.0f;
    for (int64_t i = begin; i < end; i++) {
        sum += 0.1f * (float)(i % 97);
        out[i] = sum;
    }
}
"""

# Writes sizes, scalars and the range to its buffers, one number each.
ECHO = """\
#include <stdint.h>
void dg_test_echo(void *const *buffers, const int64_t *sizes, const double *scalars,
                  int64_t begin, int64_t end)
{
    double *out = buffers[0];
    for (int i = 0; i < 3; i++)
        out[i] = (double)sizes[i];
    for (int i = 0; i < 3; i++)
        out[3 + i] = scalars[i];
    out[6] += (double)(end - begin);
    for (int i = 1; i < 100; i++)
        *(double *)buffers[i] = i;
}
"""

# A matmul's two functions.
JOBS = """\
#include <stdint.h>
void dg_test_jobs(void *const *buffers, const int64_t *sizes, const double *scalars,
                  int64_t begin, int64_t end)
{
    double *out = buffers[0];
    for (int64_t i = begin; i < end; i++)
        out[i] += (double)i;
}

int64_t dg_test_jobs_jobs(const int64_t *sizes)
{
    return sizes[0] * sizes[1];
}
"""


@pytest.fixture(scope="module")
def cpu():
    return get_backend("cpu")


@pytest.fixture
def cleared(cpu):
    """The run time with no memory kept and a fresh peak."""
    cpu.runtime.trim()
    cpu.runtime.memory(reset_peak=True)
    return cpu.runtime


def floats(cpu, buffer: Buffer) -> list[float]:
    data = bytearray(buffer.nbytes)
    buffer.copy_out(memoryview(data))
    return list(struct.unpack(f"{buffer.nbytes // 4}f", data))


def doubles(buffer: Buffer) -> list[float]:
    data = bytearray(buffer.nbytes)
    buffer.copy_out(memoryview(data))
    return list(struct.unpack(f"{buffer.nbytes // 8}d", data))


def zeros(cpu, nbytes: int) -> Buffer:
    buffer = Buffer(cpu, nbytes)
    buffer.copy_in(memoryview(bytes(nbytes)))
    return buffer


# Memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "nbytes", [1, 63, 64, 65, 511, 512, 513, 1000, 4096, 100_000, (2 << 20) - 1, 2 << 20, 5_000_001]
)
def test_memory_is_aligned_and_large_enough(cpu, nbytes):
    address = cpu.allocate(nbytes)
    try:
        assert address % (1 << 21 if nbytes >= 2 << 20 else 64) == 0
        ctypes.memset(address, 0xA5, nbytes)
        assert ctypes.string_at(address + nbytes - 1, 1) == b"\xa5"
    finally:
        cpu.free(address, nbytes)


def test_size_classes_waste_little(cleared):
    for nbytes in [*range(1, 3000, 7), *range(10_000, 3_000_000, 99_991)]:
        before = cleared.memory()[0]
        address = cleared.allocate(nbytes)
        taken = cleared.memory()[0] - before
        cleared.free(address, nbytes)
        assert nbytes <= taken <= max(nbytes * 9 // 8 + 1, nbytes + 64), nbytes
        assert cleared.memory()[0] == before


def test_memory_is_used_again(cleared):
    address = cleared.allocate(3_000_000)
    cleared.free(address, 3_000_000)
    assert cleared.memory()[1] >= 3_000_000
    assert cleared.allocate(2_999_999) == address
    cleared.free(address, 2_999_999)
    cleared.trim()
    assert cleared.memory()[1] == 0


def test_small_blocks_stay_at_hand(cleared):
    live = cleared.memory()[0]
    addresses = [cleared.allocate(1000) for _ in range(10)]
    for address in addresses:
        cleared.free(address, 1000)
    again = cleared.allocate(1024)  # the same multiple of 64
    assert again in addresses
    assert cleared.memory()[0] == live + 1024
    cleared.free(again, 1024)
    assert cleared.memory()[0] == live
    cleared.trim()
    assert cleared.memory()[1] == 0


def test_kept_memory_is_bounded(cleared):
    """Blocks of ever new sizes: what is kept does not grow beyond the spare room."""
    live = cleared.memory()[0]
    for nbytes in range(20 << 20, 200 << 20, 12 << 20):
        cleared.free(cleared.allocate(nbytes), nbytes)
    in_use, kept, peak = cleared.memory()
    assert in_use == live
    assert kept <= (peak - live) + (256 << 20)
    cleared.trim()


def test_the_peak(cleared):
    live = cleared.memory()[0]
    first, second = cleared.allocate(1 << 20), cleared.allocate(1 << 20)
    cleared.free(first, 1 << 20)
    assert cleared.memory()[2] == live + (2 << 20)
    cleared.memory(reset_peak=True)
    assert cleared.memory()[2] == live + (1 << 20)
    cleared.free(second, 1 << 20)


def test_too_much_memory(cpu):
    for nbytes in (1 << 50, 1 << 62):
        with pytest.raises(MemoryError, match=f"cannot allocate {nbytes:,} bytes"):
            cpu.allocate(nbytes)


def test_copies(cpu):
    buffer = zeros(cpu, 16)
    buffer.copy_in(memoryview(array.array("h", [1, 2])), 4)  # any format, read-only too
    buffer.copy_in(memoryview(b"\x03\x00"), 8)
    part = array.array("h", [0] * 4)
    buffer.copy_out(memoryview(part), 2)
    assert list(part) == [0, 1, 2, 3]


def test_memory_from_many_threads(cleared):
    live = cleared.memory()[0]

    def work(seed: int) -> None:
        for step in range(300):
            nbytes = (seed * 7919 + step * 104_729) % 50_000 + 1
            address = cleared.allocate(nbytes)
            ctypes.memset(address, seed, nbytes)
            assert ctypes.string_at(address, nbytes) == bytes([seed]) * nbytes
            cleared.free(address, nbytes)

    run_in_threads(work, 4)
    assert cleared.memory()[0] == live


def run_in_threads(work, count: int) -> None:
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]


# How work is cut ----------------------------------------------------------------------------


@pytest.mark.parametrize("work", [0, 1, 2, 63, 64, 65, 1000, 12_345, 10_000_000])
@pytest.mark.parametrize("cost", [0, 1 << 10, 1 << 17, 1 << 22, 1 << 40])
def test_units_cover_the_range_once(work, cost):
    cut = cut_kernel(work, cost)
    assert cut.units * cut.grain >= work
    assert (cut.units - 1) * cut.grain < work or work == 0
    assert cut.units <= 256
    assert cut.units == 1 or cost >= 1 << 17 or work == 0
    assert cut.grain % 64 == 0 or cut.units == 1 or cut.grain < 64


def test_a_small_matmul_is_one_call():
    assert (cut_matmul(12, 1000).units, cut_matmul(12, 1000).grain) == (1, 12)
    assert (cut_matmul(12, 1 << 30).units, cut_matmul(12, 1 << 30).grain) == (12, 1)
    assert cut_matmul(0, 1 << 30).units == 0


# Sequences ----------------------------------------------------------------------------------


def add_launch(program, work: int, cost: int = 1 << 30) -> Launch:
    return Launch(program, ((0, 0), (1, 0)), (), (2.0,), work, cost)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("work", [1, 100, 4097, 200_000])
def test_every_place_is_computed_once(cpu, threads, work):
    program = cpu.compile_source(KERNEL.replace("NAME", "dg_test_add"), "dg_test_add")
    sequence = cpu.prepare([add_launch(program, work)] * 3)
    out, a = zeros(cpu, 4 * work), Buffer(cpu, 4 * work)
    a.copy_in(memoryview(struct.pack("f", 0.5) * work))
    with config.NUM_THREADS(threads):
        for _ in range(2):
            cpu.run(sequence, [out.address, a.address], [])
    assert floats(cpu, out) == [6 * (1.0 + i % 1000) for i in range(work)]


def test_results_do_not_depend_on_the_number_of_threads(cpu):
    work = 100_003
    program = cpu.compile_source(CHUNKY, "dg_test_chunky")
    sequence = cpu.prepare([Launch(program, ((0, 0),), (), (), work, 1 << 24)])
    results = []
    for threads in (1, 2, 3, 7):
        out = zeros(cpu, 4 * work)
        with config.NUM_THREADS(threads):
            cpu.run(sequence, [out.address], [])
        results.append(floats(cpu, out))
    assert all(result == results[0] for result in results)


def test_slots_offsets_sizes_and_scalars(cpu):
    program = cpu.compile_source(ECHO, "dg_test_echo")
    out = zeros(cpu, 8 * 10)
    many = zeros(cpu, 8 * 100)
    buffers = ((2, 16), *[(0, 8 * i) for i in range(1, 100)])  # more than fit on the stack
    own = Launch(program, buffers, (5, -6, 7), (0.5, 1.5, 2.5), 11, 1)
    given = Launch(program, buffers, (5, -6, 7), (0.5, 1.5, 2.5), 11, 1, scalar_slots=(1, -1, 0))
    slots = [many.address, 0, out.address]
    cpu.run(cpu.prepare([own]), slots, [])
    assert doubles(out) == [0, 0, 5, -6, 7, 0.5, 1.5, 2.5, 11, 0]
    assert doubles(many) == [float(i) for i in range(100)]
    sequence = cpu.prepare([given])
    cpu.run(sequence, slots, [10.0, 20.0])
    assert doubles(out)[5:9] == [20.0, 1.5, 10.0, 22]
    cpu.run(sequence, slots, [30.0, 40.0])
    assert doubles(out)[5:9] == [40.0, 1.5, 30.0, 33]


def test_an_empty_range_calls_nothing(cpu):
    program = cpu.compile_source(KERNEL.replace("NAME", "dg_test_add"), "dg_test_add")
    cpu.run(cpu.prepare([add_launch(program, 0)]), [0, 0], [])
    cpu.run(cpu.prepare([]), [], [])


@pytest.mark.parametrize("cost", [1, 1 << 30])
@pytest.mark.parametrize("shape", [(3, 50), (0, 7), (1, 1)])
def test_a_matmul_counts_its_jobs_itself(cpu, cost, shape):
    program = cpu.compile_source(JOBS, "dg_test_jobs", has_jobs=True)
    jobs = shape[0] * shape[1]
    out = zeros(cpu, 8 * 150)
    with config.NUM_THREADS(4):
        cpu.run(cpu.prepare([Launch(program, ((0, 0),), shape, (), 0, cost)]), [out.address], [])
    assert doubles(out) == [float(i) if i < jobs else 0.0 for i in range(150)]


def test_many_python_threads_at_once(cpu):
    """One of them has the helpers; the others work alone; all results are right."""
    work = 60_000
    program = cpu.compile_source(KERNEL.replace("NAME", "dg_test_add"), "dg_test_add")
    sequence = cpu.prepare([add_launch(program, work, 1 << 24)] * 5)
    expected = [5 * (2.0 + i % 1000) for i in range(work)]

    def work_alone(number: int) -> None:
        a = Buffer(cpu, 4 * work)
        a.copy_in(memoryview(struct.pack("f", 1.0) * work))
        for _ in range(10):
            out = zeros(cpu, 4 * work)
            cpu.run(sequence, [out.address, a.address], [])
            assert floats(cpu, out) == expected

    with config.NUM_THREADS(3):
        run_in_threads(work_alone, 4)


def test_helpers_that_slept_wake_up(cpu):
    program = cpu.compile_source(KERNEL.replace("NAME", "dg_test_add"), "dg_test_add")
    work = 400_000
    sequence = cpu.prepare([add_launch(program, work, 1 << 40)])
    out, a = zeros(cpu, 4 * work), zeros(cpu, 4 * work)
    with config.NUM_THREADS(3):
        for _ in range(20):
            cpu.run(sequence, [out.address, a.address], [])
            time.sleep(0.003)
    assert floats(cpu, out) == [20.0 * (i % 1000) for i in range(work)]


def test_the_debug_line(cpu, capsys):
    program = cpu.compile_source(KERNEL.replace("NAME", "dg_test_add"), "dg_test_add")
    launch = Launch(program, ((0, 0), (1, 0)), (), (2.0,), 1000, 1, "a note", 2000, 8000)
    out, a = zeros(cpu, 4000), zeros(cpu, 4000)
    with config.DEBUG(2):
        cpu.run(cpu.prepare([launch] * 2), [out.address, a.address], [])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    for word in ("dg_test_add", "GFLOP/s", "GB/s", "% of roof", "a note"):
        assert word in lines[0]
    assert floats(cpu, out)[:3] == [0.0, 2.0, 4.0]


def test_the_roofs_are_measured_once(cpu, tmp_path, monkeypatch):
    with config.CACHE_DIR(str(tmp_path / "cache")):
        monkeypatch.setattr(cpu, "_roofs", None)
        first = cpu.roofs()
        assert first.arithmetic > 1e8
        assert first.memory > 1e8
        monkeypatch.setattr(cpu, "_roofs", None)
        assert cpu.roofs() == first


def test_the_source_and_the_assembly_are_shown(cpu, capsys):
    with config.DEBUG(6):
        cpu.compile_source(JOBS, "dg_test_jobs")
    error = capsys.readouterr().err
    assert "void dg_test_jobs(void *const *buffers" in error
    assert error.count("dg_test_jobs_jobs") >= 2
    assert "ret" in error


# Loading ------------------------------------------------------------------------------------


@pytest.mark.parametrize("places", [1, 2, 3])
def test_a_directory_that_may_not_hold_code(cpu, monkeypatch, tmp_path, places):
    """noexec on the first `places` of: temporary directory, cache, memory."""
    name = f"dg_test_noexec_{places}"
    real = ctypes.CDLL
    refused = []

    def open_library(path: str | None) -> ctypes.CDLL:
        if len(refused) < places:
            refused.append(path)
            raise OSError(f"{path}: failed to map segment from shared object")
        return real(path)

    with config.CACHE_DIR(str(tmp_path / "cache")):
        program = cpu.compile_source(KERNEL.replace("NAME", name), name)
        entry = next(e for e in cache.entries() if e.stem.startswith(name))
        binary = Path(program.source_path).with_suffix(".so").read_bytes()
        assert entry.nbytes > len(binary)
        monkeypatch.setattr(library.ctypes, "CDLL", open_library)
        if places == 3 or (places == 2 and not hasattr(os, "memfd_create")):
            with pytest.raises(DeviceError, match="set TMPDIR"):
                library._open(f"{name}-again.so", binary)
        else:
            assert hasattr(library._open(f"{name}-again.so", binary), name)
        assert list((tmp_path / "cache" / "run").iterdir()) == []


def test_a_library_is_loaded_once(cpu):
    first = cpu.compile_source(JOBS, "dg_test_jobs")
    assert cpu.compile_source(JOBS, "dg_test_jobs").function == first.function
