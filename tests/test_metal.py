"""The Metal backend: its cases on the simulated framework and on a Mac, and what is around it."""

from __future__ import annotations

import ctypes
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from gpu_modes import child_environment, hardware_reason, kernel_cache, run_cases, run_program
from sim import build

from dlgrad.metal import objc

TESTS = Path(__file__).resolve().parent
needs_simulator = pytest.mark.skipif(
    bool(build.reason_to_skip()), reason=build.reason_to_skip() or "-"
)

# The cases --------------------------------------------------------------------------------------


@needs_simulator
@pytest.mark.parametrize("mode", ["forward", "reverse", "races"], ids=lambda m: f"metal-sim-{m}")
def test_cases(mode: str) -> None:
    assert " passed" in run_cases("metal", mode, kernel_cache())


@pytest.mark.parametrize("mode", ["hardware"], ids=["metal-hw"])
def test_cases_on_hardware(mode: str, tmp_path: Path) -> None:
    reason = hardware_reason("metal", tmp_path)
    if reason:
        pytest.skip(reason)
    assert " passed" in run_cases("metal", mode, tmp_path)


MATMUL_WITHOUT_BARRIERS = """
from dataclasses import replace
import dlgrad
from dlgrad.metal import kernels
kernels.METAL = replace(kernels.METAL, barrier=";")
x = dlgrad.ones(20, 20, device="metal")
try:
    print((x @ x).tolist())
except dlgrad.errors.DeviceError as error:
    print(error)
"""


@needs_simulator
def test_a_missing_barrier_would_be_found() -> None:
    assert "race (" in run_program("metal", MATMUL_WITHOUT_BARRIERS, "races")


# What the user meets ----------------------------------------------------------------------------

ADD = """
import dlgrad
x = dlgrad.ones(3, device="metal")
print((x + 1).tolist())
"""


def failing_program(program: str, **variables: str) -> str:
    """The last line of what a program that must fail says, with Metal set up as given."""
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**child_environment("metal", "hardware", TESTS), **variables},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1, result.stdout
    return result.stderr.strip().splitlines()[-1]


def test_without_metal(tmp_path: Path) -> None:
    message = failing_program(ADD, DLGRAD_LIBOBJC="/nowhere", DLGRAD_CACHE_DIR=str(tmp_path))
    assert message.startswith("dlgrad.errors.DeviceError: Metal is not available: /nowhere")
    assert "DLGRAD_LIBOBJC" in message


@needs_simulator
def test_without_a_gpu(tmp_path: Path) -> None:
    variables = {**build.environment("metal"), "DLGRAD_CACHE_DIR": str(tmp_path)}
    assert "no GPU" in failing_program(ADD, SIM_NO_DEVICE="1", **variables)
    assert "only one Metal device" in failing_program(ADD.replace("metal", "metal:1"), **variables)


@needs_simulator
def test_a_gpu_with_small_groups(tmp_path: Path) -> None:
    """Where a pipeline allows fewer threads in a group, the kernels do not run wrongly."""
    variables = {**build.environment("metal"), "DLGRAD_CACHE_DIR": str(tmp_path)}
    message = failing_program(ADD, SIM_MAX_THREADS="128", **variables)
    assert "at most 128 threads in a group" in message


@needs_simulator
def test_everything_is_released_at_exit() -> None:
    program = """
import atexit, ctypes, os
library = ctypes.CDLL(os.environ["DLGRAD_METAL"])
library.sim_alive.restype = ctypes.c_long
alive = lambda name=None: library.sim_alive(name)
atexit.register(lambda: print("at exit", alive(), library.sim_autoreleased_without_pool()))
import dlgrad
x = dlgrad.rand(20, 30, device="metal")
keep = (x @ x.T).exp().realize()
assert alive(b"MTLBuffer") >= 2 and alive(b"MTLComputePipelineState") >= 2
assert alive(b"MTLLibrary") == alive(b"MTLFunction") == alive(b"MTLComputePipelineState")
keep.tolist()
assert alive(b"NSString") == alive(b"NSError") == alive(b"MTLComputeCommandEncoder") == 0
assert alive(b"MTLCommandBuffer") == 0
"""
    assert run_program("metal", program).strip() == "at exit 0 0"


@needs_simulator
def test_a_forked_child_is_told() -> None:
    program = """
import os, dlgrad
x = dlgrad.ones(3, device="metal").realize()
if os.fork() == 0:
    try:
        x.tolist()
    except dlgrad.errors.DeviceError as error:
        print("child:", error, flush=True)
    os._exit(0)
os.wait()
print("parent:", x.tolist())
"""
    output = run_program("metal", program)
    assert "child: metal:0 was opened before this process was forked" in output
    assert "parent: [1.0, 1.0, 1.0]" in output


@needs_simulator
def test_a_fault_in_a_kernel_is_reported_when_somebody_waits() -> None:
    program = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
import dlgrad
from dlgrad.runtime.device import Buffer, Launch, get_backend
from gpu_kernels import elementwise
backend = get_backend("metal:0")
(program,) = backend.compile([elementwise()])
buffer = Buffer(backend, 64)
launch = Launch(program, ((0, 0),) * 3, (1000,), (1.0,), 1000, 1)
backend.run(backend.prepare([launch]), [buffer.address], [])
try:
    backend.synchronize()
except dlgrad.errors.DeviceError as error:
    print(error)
backend.synchronize()
"""
    output = run_program("metal", program)
    assert "metal:0 failed: exp_add_mul:" in output
    assert "byte 64 of a 64-byte device buffer" in output


@needs_simulator
def test_many_sizes_do_not_fit_the_command() -> None:
    """Beyond 4096 bytes the integers of a launch go through a buffer."""
    program = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from dlgrad.runtime.device import Buffer, Launch, get_backend
from gpu_kernels import matmul
backend = get_backend("metal:0")
(program,) = backend.compile([matmul()])
m = 130  # dimensions, all but the last of size 1
access = lambda strides: (0, *[0] * (m - 1), *strides)
sizes = (0, m, 1, 1, *[1] * (m - 1), 2, 3, 4)
sizes += access((4, 0, 1)) + access((0, 1, 3)) + access((0, 1, 0)) + access((3, 1, 0))
buffers = []
for count in (6, 8, 12, 3):
    import struct
    buffer = Buffer(backend, 4 * count)
    buffer.copy_in(memoryview(struct.pack(f"{{count}}f", *range(count))))
    buffers.append(buffer)
launch = Launch(program, tuple((i, 0) for i in range(4)), sizes, (), 0, 1)
backend.run(backend.prepare([launch]), [buffer.address for buffer in buffers], [])
out = bytearray(24)
buffers[0].copy_out(memoryview(out))
print(len(sizes) * 8 > 4096, list(struct.unpack("6f", out)))
"""
    a = [[0, 1, 2, 3], [4, 5, 6, 7]]
    expected = [
        float(sum(2 * a[i][s] * (3 * s + j) for s in range(4)) + j)
        for i in range(2)
        for j in range(3)
    ]
    assert run_program("metal", program).strip() == f"True {expected}"


@needs_simulator
def test_the_debug_ladder() -> None:
    program = "import dlgrad; (dlgrad.ones(3, device='metal') * 2).exp().tolist()"
    environment = child_environment("metal", "forward", kernel_cache())
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "DLGRAD_DEBUG": "4"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    for expected in ("Simulated Metal device", "GFLOP/s", "kernel void"):
        assert expected in result.stderr


# Compilers --------------------------------------------------------------------------------------


@pytest.fixture
def xcrun(tmp_path: Path) -> str:
    """A folder with an `xcrun` that leads to the simulated Metal compiler."""
    compiler = build.environment("metal")["SIM_METAL_COMPILER"]
    script = tmp_path / "bin" / "xcrun"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{compiler}" "$@"\n')
    script.chmod(0o700)
    return f"{script.parent}{os.pathsep}{os.environ['PATH']}"


@needs_simulator
def test_the_command_line_compiler_fills_the_cache(xcrun: str, tmp_path: Path) -> None:
    variables = {"PATH": xcrun, "DLGRAD_CACHE_DIR": str(tmp_path / "cache")}
    assert run_program("metal", ADD, **variables).strip() == "[2.0, 2.0, 2.0]"
    kept = {path.suffix for path in (tmp_path / "cache").glob("*.*")}
    assert {".metal", ".metallib", ".json"} <= kept
    record = next((tmp_path / "cache").glob("*.json")).read_text()
    assert "xcrun -sdk macosx metal -O2 -fno-fast-math" in record
    run_program("metal", ADD, DLGRAD_NO_COMPILE="1", **variables)


@needs_simulator
def test_without_a_command_line_compiler_nothing_can_be_kept() -> None:
    program = f"""
import dlgrad
try:
    exec({ADD!r})
except dlgrad.errors.NoCompileError as error:
    print(error)
"""
    output = run_program("metal", program, DLGRAD_NO_COMPILE="1")
    assert "would be compiled by the Metal framework" in output


REFUSED = """
from dlgrad.runtime.device import get_backend
from dlgrad.errors import CompileError
compiler = get_backend("metal:0")._compiler
source = "#include <metal_stdlib>\\nusing namespace metal;\\nkernel void bad() { int a = b; }"
try:
    compiler.pipeline("bad", source, compiler.prepare("bad", source, ""))
except CompileError as error:
    print(error)
"""


@needs_simulator
@pytest.mark.parametrize("offline", [False, True])
def test_what_a_compiler_refuses(offline: bool, xcrun: str, tmp_path: Path) -> None:
    variables = {"PATH": xcrun} if offline else {}
    output = run_program("metal", REFUSED, DLGRAD_CACHE_DIR=str(tmp_path / "cache"), **variables)
    assert "refused" in output and "use of undeclared identifier 'b'" in output


# The Objective-C bridge -------------------------------------------------------------------------

# The class that answers a selector, where a living object is needed to find it.
OWNERS = {
    "MTLDevice": (
        "name", "supportsFamily:", "newCommandQueue", "newBufferWithLength:options:",
        "newBufferWithBytes:length:options:", "newLibraryWithSource:options:error:",
        "newLibraryWithURL:error:", "newComputePipelineStateWithFunction:error:",
    ),
    "MTLBuffer": ("contents", "release", "retain"),
    "MTLLibrary": ("newFunctionWithName:",),
    "MTLComputePipelineState": ("maxTotalThreadsPerThreadgroup",),
    "MTLCompileOptions": ("setFastMathEnabled:",),
    "MTLCommandQueue": ("commandBuffer",),
    "MTLCommandBuffer": (
        "computeCommandEncoder", "commit", "waitUntilCompleted", "status", "error",
        "GPUStartTime", "GPUEndTime",
    ),
    "MTLComputeCommandEncoder": (
        "setComputePipelineState:", "setBuffer:offset:atIndex:", "setBytes:length:atIndex:",
        "dispatchThreadgroups:threadsPerThreadgroup:", "endEncoding",
    ),
    "NSString": ("UTF8String",),
    "NSError": ("localizedDescription",),
}  # fmt: skip
CLASS_METHODS = {"new", "stringWithUTF8String:", "fileURLWithPath:"}
CODES = {
    ctypes.c_ulong: "Q", ctypes.c_long: "q", ctypes.c_double: "d", ctypes.c_bool: "B",
}  # fmt: skip


def encoded(kind) -> str:
    """How Objective-C would write a ctypes type; every pointer is a P."""
    if kind is None:
        return "v"
    if isinstance(kind, type) and issubclass(kind, ctypes.Structure):
        return "{" + "".join(encoded(field[1]) for field in kind._fields_) + "}"
    if kind in (ctypes.c_void_p, ctypes.c_char_p) or hasattr(kind, "contents"):
        return "P"
    return CODES[kind]


def normalised(encoding: str) -> list[str]:
    """The types of a method's encoding, without offsets and qualifiers."""
    text = re.sub(r"[0-9rnNoORV]", "", encoding)
    found = re.findall(r"\{[^=]*=([^}]*)\}|(\^?[@#:*v]\??|[A-Za-z])", text)
    return [
        "{" + structure + "}" if structure else "P" if single[0] in "@#:*^" else single
        for structure, single in found
    ]


@needs_simulator
def test_prototypes_agree_with_the_run_time() -> None:
    library = ctypes.CDLL(str(build.library("metal")))
    for name in ("objc_getClass", "class_getInstanceMethod", "sel_registerName"):
        getattr(library, name).restype = ctypes.c_void_p
    library.method_getTypeEncoding.restype = ctypes.c_char_p
    for owner, selectors in OWNERS.items():
        class_object = ctypes.c_void_p(library.objc_getClass(owner.encode()))
        for selector in selectors:
            registered = ctypes.c_void_p(library.sel_registerName(selector.encode()))
            method = ctypes.c_void_p(library.class_getInstanceMethod(class_object, registered))
            encoding = library.method_getTypeEncoding(method).decode()
            result, arguments = objc.SIGNATURES[selector]
            expected = [encoded(result), "P", "P", *(encoded(kind) for kind in arguments)]
            assert normalised(encoding) == expected, f"{selector}: {encoding}"


def test_every_selector_has_been_compared() -> None:
    compared = {selector for selectors in OWNERS.values() for selector in selectors}
    assert compared | CLASS_METHODS == set(objc.SIGNATURES)


@needs_simulator
def test_an_argument_too_many_is_refused() -> None:
    path = str(build.library("metal"))
    runtime = objc.Runtime(ctypes.CDLL(path), ctypes.CDLL(path))
    with pytest.raises(TypeError, match="takes 0 arguments, got 1"):
        runtime.send(runtime.default_device(), "name", 1)
    assert runtime.send(None, "contents") is None


# Mathematics that MSL lacks ---------------------------------------------------------------------


@needs_simulator
def test_our_own_functions() -> None:
    """Within 4 units in the last place, also near zero, where the plain formulas cancel."""
    program = """
import dlgrad
x = [i * 10.0**e for e in range(-6, 1) for i in range(-9, 10)] + [-30.0, 30.0, 88.0, 3.9]
t = dlgrad.tensor(x, device="metal")
print(x, t.expm1().tolist(), t.log1p().tolist(), t.erf().tolist(), sep="\\n")
"""
    lines = run_program("metal", program).replace("nan", "float('nan')")
    x, *results = (eval(line.replace("inf", "float('inf')")) for line in lines.splitlines())
    for function, values in zip((math.expm1, math.log1p, math.erf), results, strict=True):
        for number, value in zip(x, values, strict=True):
            rounded = ctypes.c_float(number).value
            if function is math.log1p and rounded <= -1:
                expected = -math.inf if rounded == -1 else math.nan
            else:
                expected = function(rounded)
            assert value == pytest.approx(expected, rel=4 * 2.0**-23, nan_ok=True), (
                function.__name__,
                number,
            )
