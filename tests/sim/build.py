"""Builds the simulators on first use, and says under which environment dlgrad finds them.

The libraries are kept in build/sim/ by a hash of their sources and of the compiler.  Where no
fitting clang is installed, `reason_to_skip` says so in words.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sim.flags import cuda_flags, metal_flags

HERE = Path(__file__).resolve().parent
OLDEST_CLANG = 15
SECONDS_OF_A_DAY = 86400
CLANG_NAMES = ("clang-19", "clang-20", "clang-21", "clang-18", "clang-17", "clang-16", "clang")
LIBRARY_FLAGS = ["-std=c++17", "-O2", "-g1", "-fPIC", "-Wall", "-Wextra", "-Werror"]
ENGINE = ["bfloat", "fibers", "launch", "memory", "module", "race"]

# name -> (sources without .cpp, the name that the loader knows the library by)
LIBRARIES = {
    "cuda": (
        [f"engine/{name}" for name in ENGINE]
        + [f"cuda/fake_{name}" for name in ("device", "memory", "modules", "streams")],
        "libdlgrad-sim-cuda.so",
    ),
    "nvrtc": (["cuda/fake_nvrtc"], "libdlgrad-sim-nvrtc.so"),
    "metal": (
        [f"engine/{name}" for name in ENGINE]
        + [f"metal/{name}" for name in ("objc", "device", "encoder", "library")],
        "libdlgrad-sim-metal.so",
    ),
}

# The compiler --------------------------------------------------------------------------------


@functools.cache
def find_clang() -> str:
    """The path of a clang that compiles both kernel languages, or "" ."""
    for name in CLANG_NAMES:
        path = shutil.which(name)
        if path and _version(path) >= OLDEST_CLANG and _compiles_kernels(path):
            return path
    return ""


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@functools.cache
def _version_text(path: str) -> str:
    return _run([path, "--version"]).stdout


def _version(path: str) -> int:
    found = re.search(r"version (\d+)", _version_text(path))
    return int(found[1]) if found else 0


def _compiles_kernels(path: str) -> bool:
    """Tries the two headers: 16-bit floats and C++ for OpenCL are not in every clang."""
    checks = [
        [*cuda_flags(), "-include", str(HERE / "cuda/sim_cuda.h"), os.devnull],
        [*metal_flags(), "-include", str(HERE / "metal/include/metal_stdlib"), os.devnull],
    ]
    return all(_run([path, "-fsyntax-only", *check]).returncode == 0 for check in checks)


def reason_to_skip() -> str:
    """Why the simulators cannot run here; "" where they can."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return "the GPU simulators run on Linux, x86-64 or aarch64"
    if not find_clang():
        return f"the GPU simulators need clang {OLDEST_CLANG} or newer (clang-19 is known good)"
    return ""


# The libraries -------------------------------------------------------------------------------


def source_digest() -> str:
    """Names the state of everything that shapes a simulator or a simulated kernel."""
    digest = hashlib.sha256(_version_text(find_clang()).encode())
    for path in sorted(HERE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(HERE)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def build_folder() -> Path:
    """build/sim/ in the checkout, or a folder of the user's where that cannot be written."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    places = (HERE.parent.parent / "build" / "sim", Path(tempfile.gettempdir()) / f"dgsim-{user}")
    for place in places:
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(place, os.W_OK) and place.stat().st_uid == user:
            return place
    raise OSError(f"no place to build the simulators in; tried {places[0]} and {places[1]}")


@functools.cache
def library(name: str) -> Path:
    """The path of the built library `name`: "cuda", "nvrtc" or "metal"."""
    sources, soname = LIBRARIES[name]
    folder = build_folder() / source_digest()
    path = folder / soname
    if path.exists():
        return path
    folder.mkdir(exist_ok=True)
    compiler = [find_clang(), *LIBRARY_FLAGS]
    with tempfile.TemporaryDirectory(dir=build_folder()) as scratch:
        objects = [f"{scratch}/{source.replace('/', '_')}.o" for source in sources]
        commands = [
            [*compiler, "-c", str(HERE / f"{source}.cpp"), "-o", object_file]
            for source, object_file in zip(sources, objects, strict=True)
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for result in pool.map(_run, commands):
                if result.returncode:
                    raise RuntimeError(f"a simulator does not build:\n{result.stderr}")
        linked = f"{scratch}/{soname}"
        _must(
            [find_clang(), "-shared", f"-Wl,-soname,{soname}", *objects, "-o", linked]
            + ["-lstdc++", "-lm", "-ldl", "-lrt", "-lpthread"]
        )
        os.replace(linked, path)
    _forget_old_states()
    return path


def _forget_old_states() -> None:
    """Removes what earlier states of the sources left, once it is a day old."""
    for folder in build_folder().iterdir():
        old = time.time() - folder.stat().st_mtime > SECONDS_OF_A_DAY
        if old and folder.is_dir() and folder.name != source_digest():
            shutil.rmtree(folder, ignore_errors=True)


def _must(command: list[str]) -> None:
    result = _run(command)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{result.stderr}")


def _script(name: str, source: str) -> str:
    """An executable that runs a Python file of this folder with this Python."""
    path = build_folder() / source_digest() / name
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{HERE / source}" "$@"\n')
        part.chmod(0o700)
        part.replace(path)
    return str(path)


def _images() -> Path:
    """Where compiled kernels are kept that dlgrad itself does not keep."""
    folder = build_folder() / source_digest() / "images"
    folder.mkdir(exist_ok=True)
    return folder


# The environment -----------------------------------------------------------------------------


def environment(device: str, *, order: int = 0, races: bool = False, traps: bool = False,
                nvrtc: bool = False) -> dict[str, str]:  # fmt: skip
    """The variables under which a process finds the simulated device "cuda" or "metal".

    `order` is that of the threads between barriers: 0 forward, 1 reverse, more: shuffled.
    `races` turns the race detector on, `traps` the checks for undefined behaviour.
    """
    variables = {
        "SIM_CLANG": find_clang(),
        "SIM_DIGEST": source_digest(),
        "SIM_LIBRARY": str(library(device)),
        "SIM_IMAGES": str(_images()),
        "SIM_ORDER": str(order),
        "SIM_RACES": str(int(races)),
        "SIM_TRAPS": str(int(traps)),
    }
    if device == "cuda":
        compiler = _script("nvcc", "cuda/simnvcc.py")
        variables["DLGRAD_LIBCUDA"] = str(library("cuda"))
        variables["DLGRAD_NVCC"] = "" if nvrtc else compiler
        variables["DLGRAD_NVRTC"] = str(library("nvrtc")) if nvrtc else ""
        variables["SIM_NVCC"] = compiler
    else:
        variables["DLGRAD_LIBOBJC"] = variables["DLGRAD_METAL"] = str(library("metal"))
        variables["SIM_METAL_COMPILER"] = _script("metalc", "metal/simmetal.py")
    return variables
