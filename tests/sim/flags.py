"""How kernels are compiled for the simulators; used by `build.py` and by the two compilers.

It imports next to nothing, because the compilers start once for every kernel.
"""

from __future__ import annotations

import os
import posixpath

HERE = posixpath.dirname(posixpath.abspath(__file__))

RACE_FLAGS = ["-fsanitize-coverage=func,trace-loads,trace-stores"]
TRAP_FLAGS = [
    "-fsanitize=signed-integer-overflow,integer-divide-by-zero,bounds,alignment,"
    "float-cast-overflow",
    "-fsanitize-trap=all",
]


def cuda_flags() -> list[str]:
    """CUDA C++ is compiled as plain C++ behind a header."""
    return ["-x", "c++", "-std=c++17", f"-I{HERE}/cuda/include"]


def metal_flags() -> list[str]:
    """MSL is compiled as C++ for OpenCL, which has address spaces and kernel rules."""
    extensions = "-all,+cl_khr_fp16,+__opencl_c_generic_address_space"
    return [
        "-x", "clcpp", "-cl-std=clc++2021", "-cl-no-stdinc", "-cl-single-precision-constant",
        "-Xclang", f"-cl-ext={extensions}", "-target", f"{os.uname().machine}-linux-gnu",
        f"-I{HERE}/metal/include",
    ]  # fmt: skip


def kernel_flags() -> list[str]:
    """What the environment adds to the compilation of a kernel."""
    flags = []
    if os.environ.get("SIM_RACES") == "1":
        flags += RACE_FLAGS
    if os.environ.get("SIM_TRAPS") == "1":
        flags += TRAP_FLAGS
    return flags
