"""The CUDA backend: its cases on the simulated driver and on hardware, and what is around it."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gpu_kernels import examples
from gpu_modes import child_environment, hardware_reason, kernel_cache, run_cases, run_program
from sim import build

from dlgrad.cuda import compiler, driver, nvcc, nvrtc
from dlgrad.cuda.kernels import source_of
from dlgrad.errors import CompilerNotFoundError

TESTS = Path(__file__).resolve().parent
needs_simulator = pytest.mark.skipif(
    bool(build.reason_to_skip()), reason=build.reason_to_skip() or "-"
)

# The cases --------------------------------------------------------------------------------------


@needs_simulator
@pytest.mark.parametrize("mode", ["forward", "reverse", "races"], ids=lambda m: f"cuda-sim-{m}")
def test_cases(mode: str) -> None:
    assert " passed" in run_cases("cuda", mode, kernel_cache())


@pytest.mark.parametrize("mode", ["hardware"], ids=["cuda-hw"])
def test_cases_on_hardware(mode: str, tmp_path: Path) -> None:
    reason = hardware_reason("cuda", tmp_path)
    if reason:
        pytest.skip(reason)
    assert " passed" in run_cases("cuda", mode, tmp_path)


MATMUL_WITHOUT_BARRIERS = """
from dataclasses import replace
import dlgrad
from dlgrad.cuda import kernels
kernels._MATMUL = replace(kernels._MATMUL, barrier=";")
x = dlgrad.ones(20, 20, device="cuda")
try:
    print((x @ x).tolist())
except dlgrad.errors.DeviceError as error:
    print("found")
"""


@needs_simulator
def test_a_missing_barrier_would_be_found() -> None:
    assert run_program("cuda", MATMUL_WITHOUT_BARRIERS, "races").strip() == "found"


# What the user meets ----------------------------------------------------------------------------

ADD = """
import dlgrad
x = dlgrad.ones(3, device="cuda")
print((x + 1).tolist())
"""


def failing_program(program: str, **variables: str) -> str:
    """The last line of what a program that must fail says, with CUDA set up as given."""
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**child_environment("cuda", "hardware", TESTS), **variables},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1, result.stdout
    return result.stderr.strip().splitlines()[-1]


def test_without_a_driver(tmp_path: Path) -> None:
    message = failing_program(
        ADD, DLGRAD_LIBCUDA="/nowhere/libcuda.so", DLGRAD_CACHE_DIR=str(tmp_path)
    )
    assert message.startswith("dlgrad.errors.DeviceError: CUDA is not available")
    assert "/nowhere/libcuda.so" in message and "DLGRAD_LIBCUDA" in message


def test_a_library_that_is_no_driver(tmp_path: Path) -> None:
    path = ctypes.util.find_library("m") or "libm.so.6"
    message = failing_program(ADD, DLGRAD_LIBCUDA=path, DLGRAD_CACHE_DIR=str(tmp_path))
    assert "has no function cuInit" in message


@needs_simulator
def test_without_a_gpu(tmp_path: Path) -> None:
    library = str(build.library("cuda"))
    variables = {"DLGRAD_LIBCUDA": library, "DLGRAD_CACHE_DIR": str(tmp_path)}
    message = failing_program(ADD, SIM_NO_DEVICE="1", **variables)
    assert "CUDA_ERROR_NO_DEVICE" in message and "nvidia-smi" in message
    message = failing_program(ADD.replace("cuda", "cuda:3"), **variables)
    assert "no device 'cuda:3'" in message


@needs_simulator
def test_everything_is_released_at_exit() -> None:
    """In the right order: the simulator would refuse a call without a context."""
    program = """
import atexit, ctypes, os
library = ctypes.CDLL(os.environ["DLGRAD_LIBCUDA"])
alive = lambda: [library.sim_alive(i) for i in range(6)]
atexit.register(lambda: print("at exit", alive()))
import dlgrad
x = dlgrad.rand(20, 30, device="cuda")
keep = (x @ x.T).exp().realize()
blocks, streams, events, modules, pinned, contexts = alive()
assert blocks >= 3 and streams == contexts == 1 and modules >= 2 and events == pinned == 0
"""
    assert run_program("cuda", program).strip() == "at exit [0, 0, 0, 0, 0, 0]"


@needs_simulator
def test_a_forked_child_is_told() -> None:
    program = """
import os, dlgrad
x = dlgrad.ones(3, device="cuda").realize()
if os.fork() == 0:
    try:
        x.tolist()
    except dlgrad.errors.DeviceError as error:
        print("child:", error, flush=True)
    os._exit(0)
os.wait()
print("parent:", x.tolist())
"""
    output = run_program("cuda", program)
    assert "child: cuda:0 was opened before this process was forked" in output
    assert "parent: [1.0, 1.0, 1.0]" in output


@needs_simulator
def test_memory_that_is_kept_is_given_back_when_it_runs_out() -> None:
    """The simulated GPU has 8 GiB; a block in use stays, a free one makes room."""
    program = """
from dlgrad.runtime.device import Buffer, get_backend
from dlgrad.errors import DeviceError
backend = get_backend("cuda:0")
calls = []
call = backend._driver.call
def counted(name, *arguments):
    calls.append(name)
    if name == "cuMemAlloc_v2" and calls.count("cuMemFree_v2") == 0 and len(calls) > 12:
        backend._driver.fail(name, 2)
    call(name, *arguments)
backend._driver.call = counted
used, spare = Buffer(backend, 1000), Buffer(backend, 2000)
del spare
calls += ["cuCtxSetCurrent"] * 12
Buffer(backend, 3000)
print(calls.count("cuMemFree_v2"))
backend._driver.call = call
try:
    Buffer(backend, 1 << 40)
except DeviceError as error:
    print(error)
"""
    output = run_program("cuda", program).splitlines()
    assert output[0] == "1"
    assert "CUDA_ERROR_OUT_OF_MEMORY" in output[1]


@needs_simulator
def test_memory_is_counted() -> None:
    program = """
import dlgrad
from dlgrad import cuda
print(cuda.memory_allocated(), cuda.is_initialized())
cuda.init()
before = cuda.memory_allocated()
x = dlgrad.zeros(1000, device="cuda").realize()
print(cuda.memory_allocated() - before >= 4000, cuda.memory_reserved() >= 4000)
del x
print(cuda.memory_allocated() == before, cuda.max_memory_allocated() >= before + 4000)
cuda.reset_peak_memory_stats()
print(cuda.max_memory_allocated() == before, cuda.memory_reserved() >= before + 4000)
cuda.empty_cache()
print(cuda.memory_reserved() == before, cuda.is_initialized(), cuda.get_device_capability()[0] > 0)
start, end = (cuda.Event(enable_timing=True) for _ in range(2))
start.record()
end.record()
print(start.elapsed_time(end) >= 0)
cuda.set_device(0)
try:
    cuda.set_device(1)
except dlgrad.DeviceError as error:
    print("cuda:1" in str(error))
"""
    lines = run_program("cuda", program).splitlines()
    assert lines[0] == "0 False"
    assert lines[1:] == ["True True"] * 3 + ["True True True", "True", "True"], lines


@needs_simulator
def test_a_fault_in_a_kernel_is_reported_when_somebody_waits() -> None:
    program = """
import dlgrad
from dlgrad.runtime.device import Buffer, Launch, get_backend
from gpu_kernels import elementwise
backend = get_backend("cuda:0")
(program,) = backend.compile([elementwise()])
buffer = Buffer(backend, 64)
launch = Launch(program, ((0, 0),) * 3, (1000,), (1.0,), 1000, 1)
backend.run(backend.prepare([launch]), [buffer.address], [])
try:
    backend.synchronize()
except dlgrad.errors.DeviceError as error:
    print(error)
"""
    program = f"import sys; sys.path.insert(0, {str(TESTS)!r})\n{program}"
    environment = {**child_environment("cuda", "forward", kernel_cache())}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert "cuStreamSynchronize failed: CUDA_ERROR_ILLEGAL_ADDRESS" in result.stdout
    assert "byte 64 of a 64-byte device buffer" in result.stderr


@needs_simulator
def test_the_debug_ladder() -> None:
    program = "import dlgrad; (dlgrad.ones(3, device='cuda') * 2).exp().tolist()"
    environment = child_environment("cuda", "forward", kernel_cache())
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "DLGRAD_DEBUG": "4"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    for expected in ("Simulated CUDA device (sm_90)", "compiles with", "GFLOP/s", "__global__"):
        assert expected in result.stderr


@needs_simulator
def test_nothing_is_compiled_twice(tmp_path: Path) -> None:
    run_program("cuda", ADD, DLGRAD_CACHE_DIR=str(tmp_path))
    sources = sorted(path.suffix for path in tmp_path.glob("*.*") if path.is_file())
    assert {".cu", ".cubin", ".json"} <= set(sources)
    run_program("cuda", ADD, DLGRAD_CACHE_DIR=str(tmp_path), DLGRAD_NO_COMPILE="1")


# Compilers --------------------------------------------------------------------------------------


@needs_simulator
def test_the_run_time_compiler(tmp_path: Path) -> None:
    variables = build.environment("cuda", nvrtc=True)
    output = run_program("cuda", ADD, **variables, DLGRAD_CACHE_DIR=str(tmp_path))
    assert output.strip() == "[2.0, 2.0, 2.0]"
    records = "".join(path.read_text() for path in tmp_path.glob("*.json"))
    assert "nvrtc 13.0 --gpu-architecture=sm_90" in records


REFUSED = """
from dlgrad.cuda.nvcc import find_compiler
from dlgrad.errors import CompileError
try:
    find_compiler().compile("bad", "__global__ void bad(float *a) { a[0] = b; }", "sm_90")
except CompileError as error:
    print(error)
"""


@needs_simulator
@pytest.mark.parametrize("nvrtc", [False, True])
def test_what_a_compiler_refuses(nvrtc: bool, tmp_path: Path) -> None:
    variables = build.environment("cuda", nvrtc=nvrtc)
    output = run_program("cuda", REFUSED, **variables, DLGRAD_CACHE_DIR=str(tmp_path))
    assert ("NVRTC refused" if nvrtc else "nvcc refused") in output
    assert "use of undeclared identifier 'b'" in output
    assert "Command:" in output and "The source is kept in" in output


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nvcc, "toolkit_folders", lambda: ())
    with pytest.raises(CompilerNotFoundError, match="pip install nvidia-cuda-nvrtc"):
        nvcc.find_nvcc()


def real_nvcc() -> str:
    if shutil.which("gcc") is None:
        pytest.skip("nvcc needs gcc, its host compiler")
    try:
        return nvcc.find_nvcc()
    except CompilerNotFoundError:
        pytest.skip("nvcc is not installed")


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_120"])
def test_the_real_compiler_takes_every_kernel(architecture: str, tmp_path: Path) -> None:
    """No error, no warning, no spilt register; the golden files for one architecture."""
    path = real_nvcc()
    for kernel in examples():
        (tmp_path / f"{kernel.name}.cu").write_text(source_of(kernel))
    if architecture == "sm_90":
        for golden in (TESTS / "golden").glob("*.cu"):
            shutil.copy(golden, tmp_path)
    sources = sorted(str(source) for source in tmp_path.glob("*.cu"))
    command = [path, "-cubin", f"-arch={architecture}", *compiler.FLAGS, "-Xptxas", "-v"]
    result = subprocess.run(
        [*command, "--threads", "2", *sources], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert len(list(tmp_path.glob("*.cubin"))) == len(sources)
    spills = re.findall(r"(\d+) bytes spill stores", result.stderr)
    assert len(spills) >= len(sources)
    assert set(spills) == {"0"}
    assert "warning" not in result.stderr, result.stderr


def test_the_real_run_time_compiler_takes_every_kernel(tmp_path: Path) -> None:
    found = nvrtc.find_library()
    if found is None:
        pytest.skip("NVRTC is not installed")
    for kernel in examples():
        source, binary = tmp_path / f"{kernel.name}.cu", tmp_path / f"{kernel.name}.cubin"
        source.write_text(source_of(kernel))
        found.build(str(source), str(binary), "sm_90")
        assert binary.read_bytes()[:4] == b"\x7fELF"


# The driver's interface -------------------------------------------------------------------------


def header_prototypes() -> dict[str, list[str]]:
    """The functions of the toolkit's cuda.h, with the kind of each parameter.

    The preprocessor maps the plain names to the versioned ones; the raw text also holds the
    prototypes of 2010.
    """
    folders = [Path(folder) / "include" / "cuda.h" for folder in compiler.toolkit_folders()]
    headers = [path for path in folders if path.exists()]
    preprocessor = shutil.which("clang") or shutil.which("gcc")
    if not headers or not preprocessor:
        pytest.skip("there is no cuda.h, or nothing to preprocess it with")
    command = [preprocessor, "-E", "-P", "-x", "c", str(headers[0])]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    handles = set(re.findall(r"typedef struct \w+_st\s*\*\s*(\w+);", text))
    found = re.findall(r"CUresult\s+(cu\w+)\s*\(([^;]*?)\)\s*;", text)
    return {
        name: [parameter_kind(part, handles) for part in split_parameters(parameters)]
        for name, parameters in found
    }


def split_parameters(text: str) -> list[str]:
    return [] if text.strip() in ("", "void") else text.split(",")


def parameter_kind(text: str, handles: set[str]) -> str:
    """How a parameter travels: "pointer", or its size in bytes."""
    words = re.sub(r"\b(const|__restrict__)\b", "", text).split()
    kind = " ".join(words[:-1]) if len(words) > 1 else words[0]
    if "*" in text or "[" in text or kind in handles:
        return "pointer"
    eight = ("CUdeviceptr", "size_t", "unsigned long long", "cuuint64_t")
    return "8" if kind in eight else "1" if kind == "unsigned char" else "4"


def ctypes_kind(kind) -> str:
    if kind in (ctypes.c_void_p, ctypes.c_char_p) or hasattr(kind, "contents"):
        return "pointer"
    return str(ctypes.sizeof(kind))


def mismatches(prototypes: dict[str, tuple]) -> list[str]:
    """The functions that the header declares otherwise or not at all."""
    header = header_prototypes()
    wrong = []
    for name, arguments in prototypes.items():
        known = header.get(name) or header.get(driver.OLDER_NAMES.get(name, ""))
        if known != [ctypes_kind(kind) for kind in arguments]:
            wrong.append(name)
    return wrong


def test_prototypes_are_those_of_the_header() -> None:
    assert mismatches(driver.PROTOTYPES) == []


def test_a_wrong_prototype_would_be_found() -> None:
    size, address = ctypes.c_uint, ctypes.POINTER(ctypes.c_uint64)
    assert mismatches({"cuMemAlloc_v2": (address, size)}) == ["cuMemAlloc_v2"]
    assert mismatches({"cuMemAlloc": (address, ctypes.c_size_t)}) == ["cuMemAlloc"]


@needs_simulator
def test_the_simulator_has_every_function() -> None:
    library = ctypes.CDLL(str(build.library("cuda")))
    assert [name for name in driver.PROTOTYPES if not hasattr(library, name)] == []
