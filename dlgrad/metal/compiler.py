"""MSL text to compute pipelines.

Floor 4.  Where Apple's command-line compiler is installed (with Xcode), a kernel becomes a
.metallib in the cache by `xcrun metal` and `xcrun metallib`; elsewhere the framework compiles
the source in this process, and the system keeps its own cache.  Fast mathematics is off: NaN,
infinities and signed zeros are kept.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from ctypes import byref, c_void_p

from dlgrad import config
from dlgrad.errors import CompileError, NoCompileError
from dlgrad.metal.objc import Runtime
from dlgrad.runtime import cache, temporary

FLAGS = ("-O2", "-fno-fast-math")


class MetalCompiler:
    """Compiles kernels for one device."""

    def __init__(self, runtime: Runtime, device: int) -> None:
        self.runtime = runtime
        self.device = device
        self.version = _offline_version()

    def describe(self) -> str:
        """The compiler in a few words."""
        return f"xcrun metal ({self.version})" if self.version else "the Metal framework"

    def prepare(self, name: str, source: str, note: str) -> bytes:
        """Compiles as far as that goes outside the framework; may run in several threads."""
        if not self.version:
            return b""
        identity = {"compiler": "metal", "version": self.version, "flags": list(FLAGS)}
        suffixes = (".metal", ".metallib")
        return cache.lookup_or_build(name, source, suffixes, identity, _build, note).binary

    def pipeline(self, name: str, source: str, library: bytes) -> int:
        """The compute pipeline of a kernel, owned by the caller; CompileError says why not."""
        send = self.runtime.send
        with self.runtime.pool():
            handle = self._open(library) if library else self._compile(name, source)
            function = send(handle, "newFunctionWithName:", self.runtime.string(name))
            send(handle, "release")
            if not function:
                raise CompileError(f"the compiled Metal library has no kernel {name}")
            error = c_void_p()
            pipeline = send(
                self.device, "newComputePipelineStateWithFunction:error:", function, byref(error)
            )
            send(function, "release")
            if not pipeline:
                reason = self.runtime.error_text(error)
                raise CompileError(f"Metal makes no pipeline of the kernel {name}: {reason}")
            return int(pipeline)

    def _compile(self, name: str, source: str) -> int:
        if config.NO_COMPILE.value:
            raise NoCompileError(
                f"{name} would be compiled by the Metal framework, and DLGRAD_NO_COMPILE is set; "
                "with Xcode's command-line compiler the cache can hold it"
            )
        runtime, error = self.runtime, c_void_p()
        options = runtime.send(runtime.class_named("MTLCompileOptions"), "new")
        runtime.send(options, "setFastMathEnabled:", False)
        library = runtime.send(
            self.device,
            "newLibraryWithSource:options:error:",
            runtime.string(source),
            options,
            byref(error),
        )
        runtime.send(options, "release")
        if not library:  # an error beside a library is only a warning
            raise CompileError(
                f"the Metal framework refused the kernel {name} (DLGRAD_DEBUG=4 shows the source): "
                f"{runtime.error_text(error)}"
            )
        return int(library)

    def _open(self, library: bytes) -> int:
        """The library object of a .metallib, read through a file of this process's own."""
        runtime, error = self.runtime, c_void_p()
        folder = temporary.new_folder("metal")
        try:
            path = os.path.join(folder, "kernel.metallib")
            with open(path, "wb") as file:
                file.write(library)
            url = runtime.send(
                runtime.class_named("NSURL"), "fileURLWithPath:", runtime.string(path)
            )
            handle = runtime.send(self.device, "newLibraryWithURL:error:", url, byref(error))
        finally:
            temporary.remove_tree(folder)
        if not handle:
            raise CompileError(f"Metal cannot load a library: {runtime.error_text(error)}")
        return int(handle)


def _offline_version() -> str:
    """The version of the command-line compiler; "" where there is none."""
    if not shutil.which("xcrun"):
        return ""
    result = _run(["xcrun", "-sdk", "macosx", "metal", "--version"])
    lines = result.stdout.splitlines()
    return lines[0].strip() if result.returncode == 0 and lines else ""


def _build(source_path: str, binary_path: str) -> dict[str, str]:
    middle = os.path.splitext(source_path)[0] + ".air"
    xcrun = ["xcrun", "-sdk", "macosx"]
    commands = [
        [*xcrun, "metal", *FLAGS, "-c", source_path, "-o", middle],
        [*xcrun, "metallib", middle, "-o", binary_path],
    ]
    for command in commands:
        result = _run(command)
        if result.returncode:
            said = (result.stderr + result.stdout).strip()[-4000:]
            raise CompileError(
                f"the Metal compiler refused a kernel.\nCommand: {' '.join(command)}\n{said}"
            )
    return {"command": " && ".join(" ".join(command) for command in commands)}


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C must not leave half a file
        close_fds=False,
    )
