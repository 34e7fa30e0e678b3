"""What the two compilers of CUDA text have in common.

Floor 4.  `nvcc.py` runs the toolkit's compiler as a process, `nvrtc.py` calls the run-time
compiler in this one.  Both make a cubin for one architecture, and both go through the cache.
"""

from __future__ import annotations

import functools
import glob
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from dlgrad.runtime import cache

FLAGS = ("-std=c++17", "--fmad=true")


class CudaCompiler(ABC):
    """Compiles one source file to a cubin."""

    identity: Mapping[str, Any]  # what decides the binary, beside source and architecture

    @abstractmethod
    def describe(self) -> str:
        """The compiler and its version in a few words."""

    @abstractmethod
    def build(self, source_path: str, binary_path: str, architecture: str) -> str:
        """Compiles a file for an architecture such as "sm_90"; returns the command.

        Raises CompileError with what the compiler said.
        """

    def compile(self, name: str, source: str, architecture: str, note: str = "") -> bytes:
        """The cubin of `source`, from the cache where it is there."""

        def build(source_path: str, binary_path: str) -> dict[str, str]:
            return {"command": self.build(source_path, binary_path, architecture)}

        identity = {**self.identity, "architecture": architecture, "flags": list(FLAGS)}
        suffixes = (".cu", ".cubin")
        return cache.lookup_or_build(name, source, suffixes, identity, build, note).binary


@functools.lru_cache(maxsize=1)
def toolkit_folders() -> tuple[str, ...]:
    """Where a CUDA toolkit may be installed, best guess first."""
    folders = [os.environ.get("CUDA_HOME", ""), os.environ.get("CUDA_PATH", ""), "/usr/local/cuda"]
    folders += sorted(glob.glob("/usr/local/cuda-*"), reverse=True)
    return tuple(folder for folder in folders if folder and os.path.isdir(folder))
