"""Compiles generated C directly, without the cache and the device: one library for a test."""

from __future__ import annotations

import ctypes
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dlgrad.codegen.kernel import Kernel
from dlgrad.dtype import DType, pack_values

COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
FLAGS = (
    "-std=gnu11", "-O3", "-fPIC", "-shared", "-fwrapv", "-fopenmp-simd", "-fno-math-errno",
    "-fno-trapping-math", "-Wno-pass-failed",
)  # fmt: skip


def need_compiler() -> str:
    """Any C compiler, or the test is skipped."""
    found = next((name for name in ("cc", *COMPILERS) if shutil.which(name)), None)
    if found is None:
        pytest.skip("no C compiler on PATH")
    return found


def compile_library(
    folder: Path, sources: dict[str, str], compiler: str, *flags: str
) -> ctypes.CDLL:
    """One library of all `sources` (by file name); a warning fails the test."""
    paths = []
    for name, text in sources.items():
        path = folder / f"{name}.c"
        path.write_text(text)
        paths.append(str(path))
    library = folder / "library.so"
    command = [compiler, *FLAGS, *flags, "-o", str(library), *paths, "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    assert "warning" not in done.stderr, done.stderr
    return ctypes.CDLL(str(library))


def run_compiled(
    library: ctypes.CDLL,
    kernel: Kernel,
    buffers: list[bytearray],
    sizes: tuple[int, ...],
    scalars: tuple[float, ...],
    begin: int,
    end: int,
) -> None:
    """Does the part [begin, end) of a kernel's range."""
    function: Any = library[kernel.name]
    function.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 2
    function.restype = None
    views = [(ctypes.c_char * len(data)).from_buffer(data) for data in buffers]
    addresses = (ctypes.c_void_p * len(views))(*(ctypes.addressof(view) for view in views))
    integers = (ctypes.c_int64 * max(len(sizes), 1))(*sizes)
    numbers = (ctypes.c_double * max(len(scalars), 1))(*scalars)
    function(addresses, integers, numbers, begin, end)


SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-40, 3e38, float("inf"), -float("inf"), float("nan")]


def random_numbers(dtype: DType, count: int, source: random.Random) -> list[Any]:
    """Numbers of a dtype: mostly of everyday size, with every special one among them."""
    if dtype.is_floating_point:
        everyday = [source.uniform(-8, 8) for _ in range(count)]
        return [source.choice(SPECIAL) if source.random() < 0.1 else x for x in everyday]
    low, high = int(dtype.min), int(dtype.max)
    if dtype.itemsize == 1 and not dtype.is_integer:
        return [source.random() < 0.7 for _ in range(count)]
    small = [n for n in range(-4, 5) if n >= low]
    return [
        source.choice([low, high, *small]) if source.random() < 0.5 else source.randint(low, high)
        for _ in range(count)
    ]


def random_buffer(dtype: DType, count: int, source: random.Random) -> bytearray:
    return bytearray(pack_values(dtype, random_numbers(dtype, count, source)))
