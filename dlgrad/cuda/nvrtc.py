"""The run-time compiler of CUDA through ctypes: source in, cubin out, no process.

Floor 4.  It comes with the toolkit or from `pip install nvidia-cuda-nvrtc`.
"""

from __future__ import annotations

import ctypes
import glob
import importlib.util
import os
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_void_p
from typing import Any

from dlgrad.cuda.compiler import FLAGS, CudaCompiler, toolkit_folders
from dlgrad.errors import CompileError, CompilerNotFoundError

LIBRARY_NAMES = ("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so")

_program = c_void_p

PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "nvrtcVersion": (POINTER(c_int), POINTER(c_int)),
    "nvrtcCreateProgram": (
        POINTER(_program),
        c_char_p,
        c_char_p,
        c_int,
        POINTER(c_char_p),
        POINTER(c_char_p),
    ),
    "nvrtcCompileProgram": (_program, c_int, POINTER(c_char_p)),
    "nvrtcDestroyProgram": (POINTER(_program),),
    "nvrtcGetProgramLogSize": (_program, POINTER(c_size_t)),
    "nvrtcGetProgramLog": (_program, c_char_p),
    "nvrtcGetCUBINSize": (_program, POINTER(c_size_t)),
    "nvrtcGetCUBIN": (_program, c_char_p),
}


class Nvrtc(CudaCompiler):
    """The opened library."""

    def __init__(self, library: ctypes.CDLL, path: str) -> None:
        self.path = path
        self._functions: dict[str, Any] = {}
        for name, argtypes in PROTOTYPES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = argtypes, c_int
            self._functions[name] = function
        library.nvrtcGetErrorString.argtypes = (c_int,)
        library.nvrtcGetErrorString.restype = c_char_p
        self._error_string = library.nvrtcGetErrorString
        major, minor = c_int(), c_int()
        self._call("nvrtcVersion", byref(major), byref(minor))
        self.version = f"{major.value}.{minor.value}"
        self.identity = {"compiler": "nvrtc", "version": self.version}

    def describe(self) -> str:
        return f"{self.path} (NVRTC {self.version})"

    def build(self, source_path: str, binary_path: str, architecture: str) -> str:
        options = [f"--gpu-architecture={architecture}", *FLAGS, *_include_options()]
        with open(source_path, "rb") as source_file:
            source = source_file.read()
        name = os.path.basename(source_path)
        program = _program()
        self._call("nvrtcCreateProgram", byref(program), source, name.encode(), 0, None, None)
        try:
            encoded = [option.encode() for option in options]
            array = (c_char_p * len(encoded))(*encoded)
            code = self._functions["nvrtcCompileProgram"](program, len(encoded), array)
            command = f"nvrtc {self.version} {' '.join(options)} {name}"
            if code:
                log = self._read(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog")
                said = log.rstrip(b"\0").decode(errors="replace").strip()[-4000:]
                raise CompileError(
                    f"NVRTC refused a kernel ({self._words(code)}).\nCommand: {command}\n{said}"
                )
            binary = self._read(program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN")
        finally:
            self._functions["nvrtcDestroyProgram"](byref(program))
        with open(binary_path, "wb") as binary_file:
            binary_file.write(binary)
        return command

    def _read(self, program: c_void_p, size_function: str, function: str) -> bytes:
        size = c_size_t()
        self._call(size_function, program, byref(size))
        text = ctypes.create_string_buffer(size.value)
        self._call(function, program, text)
        return text.raw

    def _call(self, name: str, *arguments: Any) -> None:
        code = self._functions[name](*arguments)
        if code:
            raise CompileError(f"{name} failed: {self._words(code)}")

    def _words(self, code: int) -> str:
        return str((self._error_string(code) or b"unknown error").decode())


def open_library(path: str) -> Nvrtc:
    """NVRTC at `path`; CompilerNotFoundError where that cannot be opened."""
    try:
        return Nvrtc(ctypes.CDLL(path), path)
    except (OSError, AttributeError) as error:
        raise CompilerNotFoundError(
            f"the CUDA run-time compiler {path!r} cannot be used: {error}; correct DLGRAD_NVRTC"
        ) from None


def find_library() -> Nvrtc | None:
    """NVRTC where the loader, a toolkit or a Python package has it; else None."""
    candidates = list(LIBRARY_NAMES)
    for folder in toolkit_folders():
        candidates += sorted(glob.glob(os.path.join(folder, "lib64", "libnvrtc.so.*")))
    for folder in _package_folders():
        candidates += sorted(glob.glob(os.path.join(folder, "*", "lib", "libnvrtc.so.*")))
    for path in candidates:
        try:
            return Nvrtc(ctypes.CDLL(path), path)
        except (OSError, AttributeError, CompileError):
            continue
    return None


def _package_folders() -> list[str]:
    """The folders of the `nvidia` packages of pip."""
    found = importlib.util.find_spec("nvidia")
    return list(found.submodule_search_locations or []) if found else []


def _include_options() -> list[str]:
    """Where cuda_fp16.h and its like are, if anywhere."""
    folders = [os.path.join(folder, "include") for folder in toolkit_folders()]
    for package in _package_folders():
        folders += sorted(glob.glob(os.path.join(package, "*", "include")))
    found = [folder for folder in folders if os.path.exists(os.path.join(folder, "cuda_fp16.h"))]
    return [f"-I{found[0]}"] if found else []
