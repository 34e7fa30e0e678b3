"""The fake CUDA driver, nvcc and NVRTC: lazy streams, error codes, misuse."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from ctypes import (
    byref,
    c_char_p,
    c_float,
    c_int,
    c_size_t,
    c_uint,
    c_uint64,
    c_ulonglong,
    c_void_p,
)

import pytest
from sim import build
from sim.harness import EVENTS, MODULES, PINNED, STREAMS, CudaLab, compiled

pytestmark = pytest.mark.skipif(bool(build.reason_to_skip()), reason=build.reason_to_skip())

SOURCE = """
extern "C" __global__ void add(const float *a, const float *b, float *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = a[i] + b[i];
}
extern "C" __global__ void dynamic(float *a)
{
    extern __shared__ float part[];
    part[threadIdx.x] = a[threadIdx.x];
}
"""
N = 100
INVALID_VALUE, INVALID_CONTEXT = 1, 201


@pytest.fixture(scope="module")
def lab() -> CudaLab:
    return CudaLab(build.library("cuda"))


@pytest.fixture(scope="module")
def module(lab: CudaLab):
    loaded = lab.load(SOURCE)
    yield loaded
    lab.must("cuModuleUnload", loaded)


@pytest.fixture
def stream(lab: CudaLab):
    handle = lab.handle("cuStreamCreate", c_uint(1))
    yield handle
    lab.must("cuStreamDestroy_v2", handle)


@pytest.fixture
def numbers(lab: CudaLab):
    """A buffer with 0 to 99, and one for results."""
    a, out = lab.upload(range(N)), lab.upload([0] * N)
    yield a, out
    lab.reset()
    lab.free(a, out)


@pytest.mark.parametrize("with_event", [False, True])
def test_streams_are_lazy_and_events_order_them(
    lab: CudaLab, module, stream, numbers, with_event: bool
) -> None:
    a, out = numbers
    other = lab.handle("cuStreamCreate", c_uint(1))
    event = lab.handle("cuEventCreate", c_uint(0))
    host = lab.handle("cuMemHostAlloc", c_size_t(4 * N), c_uint(0))
    ctypes.memset(host, 0, 4 * N)
    seen = (c_float * N).from_address(host.value)

    add = lab.function(module, "add")
    assert lab.launch(add, (1,), (128,), a, a, out, c_int(N), stream=stream) == 0
    lab.must("cuEventRecord", event, stream)
    if with_event:
        lab.must("cuStreamWaitEvent", other, event, c_uint(0))
    lab.must("cuMemcpyDtoHAsync_v2", host, out, c_size_t(4 * N), other)
    assert list(seen) == [0] * N, "nothing runs before something waits"
    lab.must("cuStreamSynchronize", other)
    expected = [2.0 * i for i in range(N)]
    assert (list(seen) == expected) == with_event, "a missing event shows as old data"

    lab.must("cuCtxSynchronize")
    lab.must("cuEventDestroy_v2", event)
    lab.must("cuMemFreeHost", host)
    lab.must("cuStreamDestroy_v2", other)


def test_elapsed_time(lab: CudaLab, module, stream, numbers) -> None:
    a, out = numbers
    events = [lab.handle("cuEventCreate", c_uint(0)) for _ in range(2)]
    milliseconds = c_float(-1)
    lab.must("cuEventRecord", events[0], stream)
    lab.launch(lab.function(module, "add"), (1,), (128,), a, a, out, c_int(N), stream=stream)
    lab.must("cuEventRecord", events[1], stream)
    assert lab.call("cuEventElapsedTime_v2", byref(milliseconds), *events) == 600  # not ready
    lab.must("cuEventSynchronize", events[1])
    lab.must("cuEventElapsedTime_v2", byref(milliseconds), *events)
    assert milliseconds.value >= 0
    for event in events:
        lab.must("cuEventDestroy_v2", event)


def test_capture_and_graph(lab: CudaLab, module, stream, numbers) -> None:
    a, out = numbers
    add = lab.function(module, "add")
    lab.must("cuStreamBeginCapture_v2", stream, c_int(0))
    assert lab.launch(add, (1,), (128,), a, out, out, c_int(N), stream=stream) == 0
    assert lab.call("cuStreamSynchronize", stream) == 900  # not while capturing
    graph = c_void_p()
    lab.must("cuStreamEndCapture", stream, byref(graph))
    executable = lab.handle("cuGraphInstantiateWithFlags", graph, c_ulonglong(0))
    for _ in range(3):
        lab.must("cuGraphLaunch", executable, stream)
    lab.must("cuStreamSynchronize", stream)
    assert lab.download(out, N) == [3.0 * i for i in range(N)]
    lab.must("cuGraphExecDestroy", executable)
    lab.must("cuGraphDestroy", graph)


def test_arguments_are_taken_at_the_launch(lab: CudaLab, module, numbers) -> None:
    a, out = numbers
    count = c_int(N)
    assert lab.launch(lab.function(module, "add"), (1,), (128,), a, a, out, count) == 0
    count.value = 0
    assert lab.download(out, N) == [2.0 * i for i in range(N)]


LAUNCHES = {
    "too many threads": ((1,), (2048,), 0),
    "too tall a grid": ((1, 70000), (1,), 0),
    "an empty grid": ((0,), (1,), 0),
    "too much shared memory": ((1,), (32,), 65536),
}


@pytest.mark.parametrize("name", LAUNCHES)
def test_bad_launches(lab: CudaLab, module, numbers, name: str) -> None:
    grid, block, shared = LAUNCHES[name]
    dynamic = lab.function(module, "dynamic")
    assert lab.launch(dynamic, grid, block, numbers[0], shared=shared) == INVALID_VALUE


def test_more_shared_memory_must_be_asked_for(lab: CudaLab, module, numbers) -> None:
    dynamic = lab.function(module, "dynamic")
    lab.must("cuFuncSetAttribute", dynamic, c_int(8), c_int(65536))
    assert lab.run(dynamic, (1,), (32,), numbers[0], shared=65536) == 0
    assert lab.call("cuFuncSetAttribute", dynamic, c_int(8), c_int(300000)) == INVALID_VALUE


def test_sizes_of_parameters(lab: CudaLab, module) -> None:
    offset, size = c_size_t(), c_size_t()
    add = lab.function(module, "add")
    found = []
    for index in range(4):
        lab.must("cuFuncGetParamInfo", add, c_size_t(index), byref(offset), byref(size))
        found.append((offset.value, size.value))
    assert found == [(0, 8), (8, 8), (16, 8), (24, 4)]


IMAGES = {
    "zeros": (b"\0" * 64, 200),
    "text": (b".version 8.0 is PTX text\0", 218),
    "a real cubin": (b"\x7fELF\2\1\1" + b"\0" * 9 + b"\2\0\xbe\0" + b"\0" * 44, 209),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_that_cannot_be_loaded(lab: CudaLab, name: str) -> None:
    image, code = IMAGES[name]
    if name == "a real cubin":  # a section table, so that it has a length
        image = image[:40] + (64).to_bytes(8, "little") + image[48:58] + b"\x40\0\1\0" + image[62:]
    assert lab.call("cuModuleLoadData", byref(c_void_p()), c_char_p(image)) == code


def test_misuse_gets_error_codes(lab: CudaLab, module, numbers) -> None:
    a, _ = numbers
    bytes_too_many = (ctypes.c_char * (4 * N + 4))()
    size = c_size_t(len(bytes_too_many))
    assert lab.call("cuMemcpyHtoD_v2", a, bytes_too_many, size) == INVALID_VALUE
    assert lab.call("cuMemFree_v2", c_uint64(a.value + 4)) == INVALID_VALUE
    assert lab.call("cuModuleGetFunction", byref(c_void_p()), module, c_char_p(b"none")) == 500
    assert lab.call("cuStreamSynchronize", c_void_p(1234)) == 400
    assert lab.call("cuMemAlloc_v2", byref(c_uint64()), c_size_t(1 << 40)) == 2
    freed = lab.allocate(16)
    lab.free(freed)
    assert lab.call("cuMemFree_v2", freed) == INVALID_VALUE


def test_a_thread_without_a_context_is_refused(lab: CudaLab) -> None:
    codes: list[int] = []
    thread = threading.Thread(
        target=lambda: codes.append(lab.call("cuMemAlloc_v2", byref(c_uint64()), c_size_t(16)))
    )
    thread.start()
    thread.join()
    assert codes == [INVALID_CONTEXT]


def test_unknown_errors_have_no_name(lab: CudaLab) -> None:
    text = c_char_p(b"something")
    assert lab.call("cuGetErrorName", c_int(12345), byref(text)) == INVALID_VALUE
    assert text.value is None


def test_nothing_is_left_alive(lab: CudaLab, module) -> None:
    assert [lab.alive(what) for what in (STREAMS, EVENTS, PINNED)] == [0, 0, 0]
    assert lab.alive(MODULES) == 1, "the module of this file alone"


def nvcc(*arguments: str) -> subprocess.CompletedProcess[str]:
    variables = build.environment("cuda")
    command = [variables["DLGRAD_NVCC"], *arguments]
    return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True)


def test_nvcc_refuses_what_the_real_one_refuses(tmp_path) -> None:
    source = tmp_path / "kernel.cu"
    source.write_text('extern "C" __global__ void k(float *a) { a[0] = b; }')
    result = nvcc("-cubin", "-arch=sm_90", "-o", str(tmp_path / "k.cubin"), str(source))
    assert result.returncode and "kernel.cu:1" in result.stderr
    assert "Unsupported gpu architecture" in nvcc("-arch=sm_12", str(source)).stderr
    assert "Unknown option" in nvcc("-frobnicate", str(source)).stderr


def test_versions_differ_with_the_checks(monkeypatch) -> None:
    """What decides the binary is in the version, by which compilations are cached."""
    plain = nvcc("--version").stdout
    assert "release 13.0" in plain
    variables = build.environment("cuda", races=True)
    command = [variables["DLGRAD_NVCC"], "--version"]
    raced = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True)
    assert raced.stdout != plain


def test_sixteen_bit_floats_need_no_library(lab: CudaLab) -> None:
    """Conversions to bfloat16 are calls on processors without them; the engine has them."""
    source = """
        #include <cuda_bf16.h>
        extern "C" __global__ void round_trip(float *a) {
            a[threadIdx.x] = __bfloat162float(__float2bfloat16(a[threadIdx.x]));
        }
    """
    module = lab.load(source)
    nan, infinity = float("nan"), float("inf")
    # 1 + 2^-8 lies half way and goes to even, the next number above it goes up.
    values = [1.0, 1.00390625, 1.0039063692092896, 1.01171875, -3.0, infinity, nan, 1e-40]
    a = lab.upload(values)
    assert lab.run(lab.function(module, "round_trip"), (1,), (8,), a) == 0
    result = lab.download(a, 8)
    assert result[:6] == [1.0, 1.0, 1.0078125, 1.015625, -3.0, infinity]
    assert result[6] != result[6]
    lab.free(a)
    lab.must("cuModuleUnload", module)


def test_images_are_made_once() -> None:
    assert compiled("cuda", SOURCE) == compiled("cuda", SOURCE)
    assert compiled("cuda", SOURCE) != compiled("cuda", SOURCE, races=True)


def test_no_device(tmp_path) -> None:
    code = f"import ctypes; print(ctypes.CDLL({str(build.library('cuda'))!r}).cuInit(0))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SIM_NO_DEVICE": "1"},
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip() == "100"
