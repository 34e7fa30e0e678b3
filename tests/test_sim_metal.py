"""The fake Objective-C run time and Metal framework, and the MSL headers."""

from __future__ import annotations

import ctypes
import math
import os
import subprocess
import sys
from ctypes import c_bool, c_char_p, c_int, c_long, c_uint, c_ulong, c_void_p
from pathlib import Path

import pytest
from sim import build
from sim.harness import MetalLab, Size, compiled

pytestmark = pytest.mark.skipif(bool(build.reason_to_skip()), reason=build.reason_to_skip())

HEAD = "#include <metal_stdlib>\nusing namespace metal;\n"
BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"
ONE = "device float *a [[buffer(0)]], uint i [[thread_position_in_grid]]"

GOOD = (
    HEAD
    + """
kernel void add(device const float *a [[buffer(0)]], device const float *b [[buffer(1)]],
                device float *out [[buffer(2)]], constant uint &n [[buffer(3)]],
                uint i [[thread_position_in_grid]])
{
    if (i < n) out[i] = a[i] + b[i];
}

struct Sizes { uint m, n, k; };
kernel void matmul(device const float *a [[buffer(0)]], device const float *b [[buffer(1)]],
                   device float *out [[buffer(2)]], constant Sizes &size [[buffer(3)]],
                   uint group [[threadgroup_position_in_grid]],
                   uint index [[thread_index_in_threadgroup]])
{
    threadgroup float a_tile[16][16];
    threadgroup float b_tile[16][16];
    uint columns = (size.n + 15) / 16, x = index % 16, y = index / 16;
    uint row = group / columns * 16 + y, column = group % columns * 16 + x;
    float sum = 0.0f;
    for (uint start = 0; start < size.k; start += 16) {
        bool a_inside = row < size.m && start + x < size.k;
        bool b_inside = column < size.n && start + y < size.k;
        a_tile[y][x] = a_inside ? a[row * size.k + start + x] : 0.0f;
        b_tile[y][x] = b_inside ? b[(start + y) * size.n + column] : 0.0f;
        threadgroup_barrier(mem_flags::mem_threadgroup); /* loaded */
        for (uint i = 0; i < 16; i++) sum += a_tile[y][i] * b_tile[i][x];
        threadgroup_barrier(mem_flags::mem_threadgroup); /* used */
    }
    if (row < size.m && column < size.n) out[row * size.n + column] = sum;
}

kernel void row_sum(device const float *x [[buffer(0)]], device float *out [[buffer(1)]],
                    constant uint &n [[buffer(2)]], uint row [[threadgroup_position_in_grid]],
                    uint index [[thread_index_in_threadgroup]],
                    uint threads [[threads_per_threadgroup]],
                    uint lane [[thread_index_in_simdgroup]],
                    uint simd [[simdgroup_index_in_threadgroup]],
                    uint simds [[simdgroups_per_threadgroup]])
{
    threadgroup float part[32];
    float sum = 0.0f;
    for (uint i = index; i < n; i += threads) sum += x[row * n + i];
    sum = simd_sum(sum);
    if (lane == 0) part[simd] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (simd == 0) {
        sum = simd_sum(lane < simds ? part[lane] : 0.0f);
        if (lane == 0) out[row] = sum;
    }
}

kernel void tile8(device const half *a [[buffer(0)]], device float *out [[buffer(1)]])
{
    simdgroup_half8x8 left, right;
    simdgroup_float8x8 sum = simdgroup_float8x8(0.0f);
    simdgroup_load(left, a, 8);
    simdgroup_load(right, a, 8, ulong2(0, 0), true);
    simdgroup_multiply_accumulate(sum, left, right, sum);
    simdgroup_store(sum, out, 8);
}

kernel void vectors(device const half4 *a [[buffer(0)]], device float4 *out [[buffer(1)]],
                    device atomic_uint *count [[buffer(2)]],
                    device bfloat *rounded [[buffer(3)]], uint i [[thread_position_in_grid]])
{
    float4 v = float4(a[i]);
    v.xy = v.yx * 2.0f;
    out[i] = sqrt(v) + float4(float2(1.0f, 2.0f), v.z, as_type<float>(0x3f800000u));
    rounded[i] = bfloat(v.x + 0.001f);
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
}
"""
)


@pytest.fixture(scope="module")
def lab() -> MetalLab:
    return MetalLab(build.library("metal"))


@pytest.fixture(autouse=True)
def clean(lab: MetalLab):
    """Plain settings, and a pool; at the end no buffer or command lives."""
    lab.switches.set()
    pool = lab.push_pool()
    buffers = lab.alive("MTLBuffer")
    yield
    lab.pop_pool(pool)
    assert lab.alive("MTLBuffer") == buffers, "the test leaves buffers behind"
    assert lab.alive("MTLCommandBuffer") == lab.alive("MTLComputeCommandEncoder") == 0
    assert lab.alive("NSString") == lab.alive("NSError") == 0


def release(lab: MetalLab, *objects: c_void_p) -> None:
    for each in objects:
        lab.send(each, "release", result=None)


@pytest.mark.parametrize("order", [0, 1, 7])
def test_right_kernels_give_right_results(lab: MetalLab, order: int) -> None:
    lab.switches.set(order=order)
    n = 600
    a, b, out = lab.buffer(range(n)), lab.buffer([0.5] * n), lab.buffer([0] * n)
    assert lab.run(lab.pipeline(GOOD, "add"), [a, b, out, c_uint(n)], 3, 256) == ""
    assert lab.contents(out) == [i + 0.5 for i in range(n)]
    assert lab.run(lab.pipeline(GOOD, "row_sum"), [a, out, c_uint(100)], 6, 64) == ""
    assert lab.contents(out)[:6] == [sum(range(i, i + 100)) for i in range(0, n, 100)]
    m, k = 20, 21
    sizes = (c_uint * 3)(m, m, k)
    assert lab.run(lab.pipeline(GOOD, "matmul"), [a, b, out, sizes], 4, 256) == ""
    expected = [0.5 * sum(range(i * k, i * k + k)) for i in range(m) for _ in range(m)]
    assert lab.contents(out)[: m * m] == expected
    release(lab, a, b, out)


def test_simdgroup_matrix(lab: MetalLab) -> None:
    a = lab.buffer([0x3C00 + (i % 8 == i // 8) * 0x400 for i in range(64)], "H")  # 1, diagonal 2
    out = lab.buffer([0] * 64)
    assert lab.run(lab.pipeline(GOOD, "tile8"), [a, out], 1, 32) == ""
    matrix = [[1 + (i == j) for j in range(8)] for i in range(8)]
    expected = [
        sum(x * y for x, y in zip(row, other, strict=True)) for row in matrix for other in matrix
    ]
    assert lab.contents(out) == expected
    release(lab, a, out)


def test_vectors_and_atomics(lab: MetalLab) -> None:
    a = lab.buffer([0x3C00, 0x4000, 0x4400, 0x4800] * 4, "H")  # 1 2 4 8
    out, count, rounded = lab.buffer([0] * 16), lab.buffer([0], "I"), lab.buffer([0] * 4, "H")
    assert lab.run(lab.pipeline(GOOD, "vectors"), [a, out, count, rounded], 1, 4) == ""
    expected = [2 + 1, math.sqrt(2) + 2, 2 + 4, math.sqrt(8) + 1]
    assert lab.contents(out) == pytest.approx(expected * 4)
    assert lab.contents(count, "I") == [4]
    assert lab.contents(rounded, "H") == [0x4080] * 4
    release(lab, a, out, count, rounded)


REFUSED = {
    "double": (f"kernel void k({ONE}) {{ double d = a[0]; a[0] = d; }}", "double"),
    "erf": (f"kernel void k({ONE}) {{ a[0] = erf(a[1]); }}", "erf"),
    "address space": (
        f"kernel void k({ONE}) {{ threadgroup float t[4]; device float *p = t; p[0] = 1; }}",
        "__local float[4]",
    ),
    "plain pointer": (
        f"inline void g(float *p) {{ p[0] = 1; }} kernel void k({ONE}) {{ g(a); }}",
        "without an address space",
    ),
    "group memory in a helper": (
        "inline float g(float v) { threadgroup float t[4]; t[0] = v; return t[0]; }"
        f"kernel void k({ONE}) {{ a[0] = g(1.0f); }}",
        "local address space",
    ),
    "write to const": (
        "kernel void k(device const float *a [[buffer(0)]]) { a[0] = 1; }",
        "read-only",
    ),
    "no attribute": (f"kernel void k(device float *b, {ONE}) {{ a[i] = b[i]; }}", "error"),
    "components": (
        "kernel void k(device float4 *a [[buffer(0)]]) { a[0] = float4(1.0f, 2.0f, 3.0f); }",
        "number of vector components",
    ),
    "mixed max": (f"kernel void k({ONE}) {{ a[0] = max(i, 1); }}", "ambiguous"),
    "goto": (f"kernel void k({ONE}) {{ goto end; end: a[0] = 1; }}", "goto"),
    "lambda": (f"kernel void k({ONE}) {{ auto f = [&]() {{ a[0] = 1; }}; f(); }}", "lambda"),
    "keyword": (f"kernel void k({ONE}) {{ float local = 1; a[0] = local; }}", "keyword"),
    "same index": (
        "kernel void k(device float *a [[buffer(0)]], device float *b [[buffer(0)]]) { a[0] = 1; }",
        "one buffer index",
    ),
    "index 31": ("kernel void k(device float *a [[buffer(31)]]) { a[0] = 1; }", "beyond 30"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_compiler_refuses(name: str) -> None:
    source, expected = REFUSED[name]
    with pytest.raises(RuntimeError) as caught:
        compiled("metal", HEAD + source)
    assert expected in str(caught.value)


def test_too_much_group_memory(lab: MetalLab) -> None:
    source = f"kernel void k({ONE}) {{ threadgroup float t[9000]; t[i] = a[i]; a[i] = t[i + 1]; }}"
    with pytest.raises(RuntimeError, match=r"Threadgroup memory size \(36000\)"):
        lab.pipeline(HEAD + source)


FAULTS = {
    "past the end": (f"kernel void k({ONE}) {{ a[i] = a[i + 1]; }}", "byte 256 of a 256-byte"),
    "divergence": (
        f"kernel void k({ONE}) {{ if (i < 16) return; {BARRIER} a[i] = 1; }}",
        "48 threads wait, 16 returned",
    ),
    "unbound": (
        f"kernel void k(device float *b [[buffer(1)]], {ONE}) {{ a[i] = b[i]; }}",
        "buffer(1) is not bound",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_found(lab: MetalLab, name: str) -> None:
    a = lab.buffer(range(64))
    source, expected = FAULTS[name]
    assert expected in lab.run(lab.pipeline(HEAD + source), [a], 1, 64)
    release(lab, a)


def test_constants_that_are_too_short(lab: MetalLab) -> None:
    source = f"kernel void k(constant ulong &n [[buffer(1)]], {ONE}) {{ a[i] = n; }}"
    a = lab.buffer(range(64))
    message = lab.run(lab.pipeline(HEAD + source), [a, c_uint(3)], 1, 64)
    assert "buffer(1) holds 4 bytes, the kernel reads 8" in message
    release(lab, a)


@pytest.mark.parametrize("missing", ["", "loaded", "used"])
def test_races_of_a_matmul(lab: MetalLab, missing: str) -> None:
    source = GOOD.replace(f"{BARRIER} /* {missing} */", "") if missing else GOOD
    lab.switches.set(races=True)
    a, b, out = (lab.buffer([1] * 1024) for _ in range(3))
    sizes = (c_uint * 3)(32, 32, 32)
    message = lab.run(lab.pipeline(source, "matmul", races=True), [a, b, out, sizes], 4, 256)
    assert ("race (" in message) == bool(missing), message
    release(lab, a, b, out)


def test_nothing_runs_before_a_wait(lab: MetalLab) -> None:
    a = lab.buffer([1, 2])
    pipeline = lab.pipeline(HEAD + f"kernel void k({ONE}) {{ a[i] = 7.0f; }}")
    commands = lab.commit(pipeline, [a], 1, 2)
    assert lab.contents(a) == [1, 2]
    lab.send(commands, "waitUntilCompleted", result=None)
    assert lab.contents(a) == [7, 7]
    release(lab, a)


def test_a_warning_comes_with_a_library(lab: MetalLab, monkeypatch, tmp_path: Path) -> None:
    variables = {**build.environment("metal"), "SIM_IMAGES": str(tmp_path)}
    for name, value in variables.items():
        monkeypatch.setitem(os.environ, name, value)
    options = c_void_p(lab.send(lab.library.objc_getClass(b"MTLCompileOptions"), "new"))
    lab.send(options, "setFastMathEnabled:", c_bool(False), result=None)
    selector = "newLibraryWithSource:options:error:"
    for body, works in (("int x = 1.5f; a[0] = x;", True), ("a[0] = nothing;", False)):
        error = c_void_p()
        source = lab.string(HEAD + f"kernel void k({ONE}) {{ {body} }}")
        library = lab.send(lab.device, selector, source, options, ctypes.pointer(error))
        assert bool(library) == works
        assert error.value, "what matters is the library, not the error"
        if library:
            release(lab, c_void_p(library))
    release(lab, options)


def misuses(lab: MetalLab, a: c_void_p) -> dict[str, str]:
    """What is wrong with each of these uses; the keys say what must be in the message."""
    zero, size = c_ulong(0), Size(1, 1, 1)
    dispatch = "dispatchThreadgroups:threadsPerThreadgroup:"
    found = {}

    def use(expected: str, *steps: tuple) -> None:
        commands = lab.send(lab.queue, "commandBuffer")
        encoder = lab.send(commands, "computeCommandEncoder")
        ended = False
        for selector, *arguments in steps:
            receiver = commands if selector in ("commit", "waitUntilCompleted") else encoder
            lab.send(receiver, selector, *arguments, result=None)
            ended = ended or selector == "endEncoding"
        found[expected] = lab.misuse()
        if not ended:
            lab.send(encoder, "endEncoding", result=None)

    pipeline = lab.pipeline(HEAD + f"kernel void k({ONE}) {{ a[i] = 7.0f; }}")
    use("without a pipeline", (dispatch, size, size))
    use(
        "2048 x 1 x 1 threads",
        ("setComputePipelineState:", pipeline),
        (dispatch, size, Size(2048, 1, 1)),
    )
    use("offset 16 of a 16-byte", ("setBuffer:offset:atIndex:", a, c_ulong(16), zero))
    use("buffer index 31", ("setBuffer:offset:atIndex:", a, zero, c_ulong(31)))
    use("setBytes of 5000", ("setBytes:length:atIndex:", c_void_p(0), c_ulong(5000), zero))
    use("open encoder", ("commit",))
    use("before commit", ("waitUntilCompleted",))
    use("has ended", ("endEncoding",), ("setComputePipelineState:", pipeline))
    return found


def test_misuse_is_reported(lab: MetalLab) -> None:
    lab.library.sim_note_misuse(1)
    try:
        a = lab.buffer([1, 2, 3, 4])
        for expected, message in misuses(lab, a).items():
            assert expected in message, f"{expected!r} not in {message!r}"
        lab.send(lab.device, "newBufferWithLength:options:", c_ulong(0), c_ulong(0))
        assert "0 bytes" in lab.misuse()
        selector = "newBufferWithBytesNoCopy:length:options:deallocator:"
        odd = c_void_p(4096)
        lab.send(lab.device, selector, odd, c_ulong(16384), c_ulong(0), c_void_p(0))
        assert "multiples of 16384" in lab.misuse()
        release(lab, a)
    finally:
        lab.library.sim_note_misuse(0)


# Each ends the process, as the real run time would or might; run in a child.
CRASHES = {
    "release(lab, a); lab.send(a, 'contents')": "contents sent to deallocated MTLBuffer",
    "release(lab, a); release(lab, a)": "release sent to deallocated MTLBuffer",
    "p = lab.push_pool(); lab.library.objc_autorelease(a); release(lab, a); lab.pop_pool(p)": (
        "over-release of MTLBuffer"
    ),
    "lab.send(lab.device, 'frobnicate')": "unrecognized selector -[MTLDevice frobnicate]",
    "lab.send(lab.library.objc_getClass(b'NSURL'), 'none')": "unrecognized selector +[NSURL none]",
    "lab.library.objc_msgSend(c_void_p(lab.device), c_char_p(b'name'))": "was not registered",
    "lab.send(lab.send(lab.queue, 'commandBuffer'), 'waitUntilCompleted')": "before commit",
}


@pytest.mark.parametrize("code", CRASHES)
def test_crashes(code: str) -> None:
    tests = Path(__file__).resolve().parent
    program = f"""
import sys
sys.path[:0] = [{str(tests)!r}, {str(tests.parent)!r}]
from test_sim_metal import *
lab = MetalLab(build.library("metal"))
pool = lab.push_pool()
a = lab.buffer([1, 2])
{code}
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == -6, result.stderr
    assert CRASHES[code] in result.stderr


def test_a_truth_value_is_one_byte(lab: MetalLab) -> None:
    """Whoever reads a BOOL as an int gets rubbish in the upper bytes, and notices."""
    family = c_long(1007)
    assert lab.send(lab.device, "supportsFamily:", family, result=c_bool) is True
    assert lab.send(lab.device, "supportsFamily:", c_long(1), result=c_bool) is False
    assert lab.send(lab.device, "supportsFamily:", c_long(1), result=c_int) != 0


def test_messages_to_nil_and_structures(lab: MetalLab) -> None:
    assert lab.send(None, "length", result=c_ulong) == 0
    assert lab.send(None, "UTF8String", result=c_char_p) is None
    if sys.platform == "linux" and os.uname().machine == "x86_64":
        address = ctypes.cast(lab.library.objc_msgSend_stret, c_void_p).value
        prototype = ctypes.CFUNCTYPE(Size, c_void_p, c_void_p)
        selector = lab.library.sel_registerName(b"maxThreadsPerThreadgroup")
        size = prototype(address)(lab.device, selector)
        assert (size.width, size.height, size.depth) == (1024, 1024, 1024)


def test_what_is_autoreleased_dies_with_its_pool(lab: MetalLab) -> None:
    outer = lab.push_pool()
    lab.push_pool()
    lab.string("inner")
    assert lab.alive("NSString") == 1
    lab.pop_pool(outer)  # and with it the inner one
    assert lab.alive("NSString") == 0
