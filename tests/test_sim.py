"""The simulation engine: right kernels give right results, and every seeded fault is found.

The kernels are CUDA text through the simulated nvcc and driver; the engine below is the one
that runs Metal too.
"""

from __future__ import annotations

import os
from ctypes import addressof, c_int

import pytest
from sim import build
from sim.harness import CudaLab, c_uint64

pytestmark = pytest.mark.skipif(bool(build.reason_to_skip()), reason=build.reason_to_skip())

GOOD = """
extern "C" __global__ void add(const float *a, const float *b, float *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = a[i] + b[i];
}

extern "C" __global__ void __launch_bounds__(256) matmul(
    const float *a, const float *b, float *out, int m, int n, int k)
{
    __shared__ float a_tile[16][17], b_tile[16][17];
    int x = threadIdx.x, y = threadIdx.y;
    int row = blockIdx.y * 16 + y, column = blockIdx.x * 16 + x;
    float sum = 0.0f;
    for (int start = 0; start < k; start += 16) {
        a_tile[y][x] = row < m && start + x < k ? a[row * k + start + x] : 0.0f;
        b_tile[y][x] = column < n && start + y < k ? b[(start + y) * n + column] : 0.0f;
        __syncthreads(); /* loaded */
        for (int i = 0; i < 16; i++) sum += a_tile[y][i] * b_tile[i][x];
        __syncthreads(); /* used */
    }
    if (row < m && column < n) out[row * n + column] = sum;
}

extern "C" __global__ void row_sum(const float *x, float *out, int n)
{
    extern __shared__ float part[];
    float sum = 0.0f;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += x[blockIdx.x * n + i];
    for (int step = 16; step; step >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        sum = threadIdx.x < blockDim.x / 32 ? part[threadIdx.x] : 0.0f;
        for (int step = 16; step; step >>= 1) sum += __shfl_down_sync(0xffffffffu, sum, step);
        if (threadIdx.x == 0) out[blockIdx.x] = sum;
    }
}

extern "C" __global__ void swap4(const float4 *a, float4 *out, unsigned *count, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        out[i] = make_float4(a[i].y, a[i].x, a[i].w, a[i].z);
        atomicAdd(count, 1u);
    }
}
"""

TENSOR_CORES = """
#include <cuda_fp16.h>
#include <mma.h>
using namespace nvcuda;
extern "C" __global__ void multiply(const __half *a, const __half *b, float *out, int shift)
{
    wmma::fragment<wmma::matrix_a, 16, 16, 16, __half, wmma::row_major> left;
    wmma::fragment<wmma::matrix_b, 16, 16, 16, __half, wmma::row_major> right;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum;
    wmma::fill_fragment(sum, 0.0f);
    wmma::load_matrix_sync(left, a + shift, 16);
    wmma::load_matrix_sync(right, b, 16);
    wmma::mma_sync(sum, left, right, sum);
    wmma::store_matrix_sync(out, sum, 16, wmma::mem_row_major);
}
"""

# Each kernel gets one buffer of 64 floats, of which a[i] == i, and runs as one group of 32.
FAULTS = {
    "past_the_end": ("a[threadIdx.x] = a[threadIdx.x + 33];", "byte 256 of a 256-byte"),
    "far_before": ("a[(int)threadIdx.x - 2000] = 1;", "byte -8000 of a 256-byte"),
    "null": ("float *p = a[0] < 0 ? a : nullptr; p[threadIdx.x] = 1;", "invalid memory access"),
    "divergent_barrier": (
        "if (threadIdx.x < 8) __syncthreads(); a[threadIdx.x] = 1;",
        "8 threads wait, 24 returned",
    ),
    "two_barriers": (
        "if (threadIdx.x < 8) { __syncthreads(); a[0] = 1; } else { a[1] = 2; __syncthreads(); }",
        "wait at different barriers",
    ),
    "missing_lanes": (
        "if (threadIdx.x < 8) a[threadIdx.x] = __shfl_xor_sync(~0u, a[threadIdx.x], 1);",
        "names lanes ffffffff, only lanes ff arrived",
    ),
    "misaligned": (
        "((float4 *)(a + 1))[0] = make_float4(1, 2, 3, 4);",
        "misaligned vector access",
    ),
    "divide": (
        "volatile int zero = (int)a[0]; a[1] = 5 / zero;",
        "integer division by zero",
    ),
    "endless": ("volatile int x = 1; while (x) ; a[0] = 1;", "timeout"),
}

TRAPPED = {
    "array_bounds": "int v[4]; v[(int)a[5]] = 1; a[0] = v[(int)a[5]];",
    "alignment": "*(int *)((char *)a + 1) = 1;",
    "float_cast": "a[0] = (int)(a[1] + 3e10f);",
    "division": "a[0] = 5 / (int)a[0];",
}

# What the race detector must report; "" where there is no race.
RACES = {
    "neighbour": (
        "__shared__ float s[64]; int t = threadIdx.x; s[t] = t; a[t] = t ? s[t - 1] : 0;",
        "after",  # a read after a write or a write after a read, whoever comes first
    ),
    "neighbour_barrier": (
        "__shared__ float s[64]; int t = threadIdx.x; s[t] = t; __syncthreads();"
        "a[t] = t ? s[t - 1] : 0;",
        "",
    ),
    "two_groups": ("if (threadIdx.x == 0) a[0] += 1.0f;", "device memory at byte 0"),
    "atomic_groups": ("atomicAdd(a, 1.0f);", ""),
    "write_after_many_reads": (
        "__shared__ float s[1]; int t = threadIdx.x; if (t == 0) s[0] = 3; __syncthreads();"
        "float x = s[0]; if (t == blockDim.x - 1) s[0] = 4; a[t + blockIdx.x * 64] = x;",
        "after",
    ),
    "warp_without_sync": (
        "__shared__ volatile float s[32]; int t = threadIdx.x % 32; if (threadIdx.x < 32) {"
        "s[t] = t; if (t < 16) s[t] = s[t] + s[t + 16]; }",
        "after",
    ),
    "warp_with_sync": (
        "__shared__ float s[32]; int t = threadIdx.x % 32; if (threadIdx.x < 32) { s[t] = t;"
        "__syncwarp(); float v = t < 16 ? s[t] + s[t + 16] : 0; __syncwarp(); s[t] = v; }",
        "",
    ),
    "neighbouring_bytes": (
        "((unsigned char *)a)[blockIdx.x * blockDim.x + threadIdx.x] = 1;",
        "",
    ),
}


def kernels(bodies: dict[str, str]) -> str:
    return "\n".join(
        f'extern "C" __global__ void {name}(float *a)\n{{\n    {body}\n}}'
        for name, body in bodies.items()
    )


@pytest.fixture(scope="module")
def lab() -> CudaLab:
    return CudaLab(build.library("cuda"))


@pytest.fixture(autouse=True)
def clean(lab: CudaLab):
    """Every test starts with plain settings and leaves no fault and no memory."""
    lab.switches.set()
    before = lab.alive(0)
    yield
    lab.reset()
    assert lab.alive(0) == before, "the test leaves device memory behind"


@pytest.fixture(scope="module")
def good(lab: CudaLab):
    loaded = lab.load(GOOD)
    yield loaded
    lab.must("cuModuleUnload", loaded)


@pytest.mark.parametrize("order", [0, 1, 7])
def test_right_kernels_give_right_results(lab: CudaLab, good, order: int) -> None:
    lab.switches.set(order=order)
    n = 1000
    a, b, out = lab.upload(range(n)), lab.upload([0.5] * n), lab.allocate(4 * n)
    assert lab.run(lab.function(good, "add"), (4,), (256,), a, b, out, c_int(n)) == 0
    assert lab.download(out, n) == [i + 0.5 for i in range(n)]

    rows = lab.function(good, "row_sum")
    assert lab.run(rows, (10,), (64,), a, out, c_int(100), shared=8) == 0
    assert lab.download(out, 10) == [sum(range(i, i + 100)) for i in range(0, 1000, 100)]
    lab.free(a, b, out)


@pytest.mark.parametrize("order", [0, 1, 7])
def test_matmul_with_barriers(lab: CudaLab, good, order: int) -> None:
    lab.switches.set(order=order)
    m, n, k = 20, 18, 21
    left = [i % 7 - 3 for i in range(m * k)]
    right = [i % 5 - 2 for i in range(k * n)]
    a, b, out = lab.upload(left), lab.upload(right), lab.allocate(4 * m * n)
    function = lab.function(good, "matmul")
    sizes = c_int(m), c_int(n), c_int(k)
    assert lab.run(function, (2, 2), (16, 16), a, b, out, *sizes) == 0
    expected = [
        sum(left[i * k + s] * right[s * n + j] for s in range(k))
        for i in range(m)
        for j in range(n)
    ]
    assert lab.download(out, m * n) == expected
    lab.free(a, b, out)


def test_vectors_and_atomics(lab: CudaLab, good) -> None:
    a, out, count = lab.upload(range(80)), lab.allocate(320), lab.upload([0], "I")
    assert lab.run(lab.function(good, "swap4"), (2,), (16,), a, out, count, c_int(20)) == 0
    assert lab.download(out, 8) == [1, 0, 3, 2, 5, 4, 7, 6]
    assert lab.download(count, 1, "I") == [20]
    lab.free(a, out, count)


def test_tensor_cores(lab: CudaLab) -> None:
    module = lab.load(TENSOR_CORES)
    function = lab.function(module, "multiply")
    ones, half = 0x3C00, 0x3800  # float16 bits of 1 and 0.5
    a, b, out = lab.upload([ones] * 272, "H"), lab.upload([half] * 256, "H"), lab.allocate(1024)
    assert lab.run(function, (1,), (32,), a, b, out, c_int(0)) == 0
    assert lab.download(out, 256) == [8.0] * 256
    assert lab.run(function, (1,), (32,), a, b, out, c_int(1)) != 0
    assert "not aligned to 32 bytes" in lab.message()
    lab.reset()
    lab.free(a, b, out)
    lab.must("cuModuleUnload", module)


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_found(lab: CudaLab, monkeypatch, name: str) -> None:
    monkeypatch.setitem(os.environ, "SIM_TIMEOUT", "1")
    module = lab.load(kernels({name: body for name, (body, _) in FAULTS.items()}))
    a = lab.upload(range(64))
    assert lab.run(lab.function(module, name), (1,), (32,), a) != 0
    assert FAULTS[name][1] in lab.message()
    assert lab.call("cuCtxSynchronize") != 0, "a fault sticks until the device is reset"
    lab.reset()
    lab.free(a)
    lab.must("cuModuleUnload", module)


def test_a_write_into_the_gap_behind_a_buffer_is_found(lab: CudaLab, good) -> None:
    a, out = lab.upload([1, 2, 3, 4]), lab.allocate(12)  # guards stand at multiples of 16 bytes
    assert lab.run(lab.function(good, "add"), (1,), (4,), a, a, out, c_int(4)) != 0
    assert "byte 12 of a 12-byte" in lab.message()
    lab.reset()
    lab.free(a, out)


def test_group_memory_starts_as_nan(lab: CudaLab) -> None:
    module = lab.load(
        kernels(
            {
                "unset": "__shared__ float s[32]; if (threadIdx.x < 16) s[threadIdx.x] = 1;"
                "__syncthreads(); a[threadIdx.x] = s[threadIdx.x];"
            }
        )
    )
    a = lab.upload([0] * 32)
    assert lab.run(lab.function(module, "unset"), (1,), (32,), a) == 0
    values = lab.download(a, 32)
    assert values[:16] == [1] * 16
    assert all(value != value for value in values[16:])
    lab.free(a)
    lab.must("cuModuleUnload", module)


def test_new_memory_is_nan(lab: CudaLab) -> None:
    a = lab.allocate(16)
    assert all(value != value for value in lab.download(a, 4))
    lab.free(a)


@pytest.mark.parametrize("name", TRAPPED)
def test_undefined_behaviour_traps(lab: CudaLab, name: str) -> None:
    module = lab.load(kernels(TRAPPED), traps=True)
    a = lab.upload(range(64))
    assert lab.run(lab.function(module, name), (1,), (1,), a) != 0
    assert "trap" in lab.message()
    lab.reset()
    lab.free(a)
    lab.must("cuModuleUnload", module)


def test_a_race_that_only_the_reverse_order_shows(lab: CudaLab) -> None:
    module = lab.load(kernels({name: body for name, (body, _) in RACES.items()}))
    looks_right = []
    for order in (0, 1):
        lab.switches.set(order=order)
        a = lab.upload([0] * 64)
        assert lab.run(lab.function(module, "neighbour"), (1,), (64,), a) == 0
        looks_right.append(lab.download(a, 64) == [0, *range(63)])
        lab.free(a)
    assert looks_right == [True, False]
    lab.must("cuModuleUnload", module)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("name", RACES)
def test_races(lab: CudaLab, name: str, order: int) -> None:
    lab.switches.set(order=order, races=True)
    module = lab.load(kernels({name: body for name, (body, _) in RACES.items()}), races=True)
    expected = RACES[name][1]
    threads = 32 if "warp" in name else 64
    groups = 2 if "group" in name or "bytes" in name else 1
    a = lab.upload([0] * 128)
    code = lab.run(lab.function(module, name), (groups,), (threads,), a)
    assert (code != 0) == bool(expected), lab.message() if code else "nothing was reported"
    if expected:
        assert "race (" in lab.message() and expected in lab.message()
    lab.reset()
    lab.free(a)
    lab.must("cuModuleUnload", module)


@pytest.mark.parametrize("missing", ["", "loaded", "used"])
def test_races_of_a_matmul(lab: CudaLab, missing: str) -> None:
    """Without either barrier the matmul is a race; with both it is none."""
    source = GOOD.replace(f"__syncthreads(); /* {missing} */", "") if missing else GOOD
    lab.switches.set(races=True)
    module = lab.load(source, races=True)
    a, b, out = lab.upload([1] * 1024), lab.upload([1] * 1024), lab.allocate(4096)
    sizes = [c_int(32)] * 3
    code = lab.run(lab.function(module, "matmul"), (2, 2), (16, 16), a, b, out, *sizes)
    assert (code != 0) == bool(missing)
    lab.reset()
    rows = lab.function(module, "row_sum")
    assert lab.run(rows, (4,), (64,), a, out, c_int(32), shared=8) == 0, lab.message()
    lab.free(a, b, out)
    lab.must("cuModuleUnload", module)


def test_a_pointer_to_the_host_is_refused(lab: CudaLab, good) -> None:
    host = (c_int * 4)()
    a = lab.allocate(16)
    address = c_uint64(addressof(host))
    assert lab.run(lab.function(good, "add"), (1,), (4,), address, a, a, c_int(4)) != 0
    assert "argument 0 is no device pointer" in lab.message()
    lab.reset()
    lab.free(a)
