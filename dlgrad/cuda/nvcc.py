"""CUDA text to machine code by the compiler of the toolkit, run as a process.

Floor 4.  `find_compiler` gives this one or the run-time compiler, whichever is there: that
one first, because it starts no process and takes a tenth of the time.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from dlgrad import config
from dlgrad.cuda import nvrtc
from dlgrad.cuda.compiler import FLAGS, CudaCompiler, toolkit_folders
from dlgrad.errors import CompileError, CompilerNotFoundError


class Nvcc(CudaCompiler):
    """The compiler driver of the CUDA toolkit, run as a process."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            result = subprocess.run(
                [path, "--version"],
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                close_fds=False,
            )
        except OSError as error:
            raise CompilerNotFoundError(
                f"the CUDA compiler {path!r} does not start: {error}; correct DLGRAD_NVCC"
            ) from None
        self.version = result.stdout.strip()
        self.identity = {"compiler": path, "version": self.version}

    def describe(self) -> str:
        lines = [line for line in self.version.splitlines() if "release" in line]
        return f"{self.path} ({lines[-1].strip() if lines else 'unknown version'})"

    def build(self, source_path: str, binary_path: str, architecture: str) -> str:
        command = [self.path, "-cubin", f"-arch={architecture}", *FLAGS]
        command += ["-o", binary_path, source_path]
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must not leave half a file
            close_fds=False,
        )
        text = " ".join(command)
        if result.returncode:
            said = (result.stderr + result.stdout).strip()[-4000:]
            raise CompileError(f"nvcc refused a kernel.\nCommand: {text}\n{said}")
        return text


def find_compiler() -> CudaCompiler:
    """NVRTC or nvcc; what DLGRAD_NVRTC or DLGRAD_NVCC names goes first.

    Raises CompilerNotFoundError where neither is there.
    """
    wanted_nvcc, wanted_nvrtc = config.NVCC.value, config.NVRTC.value
    if wanted_nvrtc:
        return nvrtc.open_library(wanted_nvrtc)
    if not wanted_nvcc:
        found = nvrtc.find_library()
        if found is not None:
            return found
    return Nvcc(wanted_nvcc or find_nvcc())


def find_nvcc() -> str:
    """The path of nvcc; CompilerNotFoundError where there is none."""
    found = shutil.which("nvcc")
    if found:
        return found
    for folder in toolkit_folders():
        path = os.path.join(folder, "bin", "nvcc")
        if os.access(path, os.X_OK):
            return path
    raise CompilerNotFoundError(
        "no CUDA compiler was found: looked for the NVRTC library, for nvcc on PATH, in "
        "$CUDA_HOME and in /usr/local/cuda; `pip install nvidia-cuda-nvrtc` is the smallest one, "
        "or install the CUDA toolkit and set DLGRAD_NVCC to its nvcc"
    )
