"""The C compiler: which one, and how a file of C becomes a library.

Floor 4.  Nothing is searched or started before the first kernel needs it.  What the compiler
can do on this machine is found out by `probe.py`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeVar

from dlgrad import config
from dlgrad.c_src import host
from dlgrad.c_src.probe import Finding, examine, run
from dlgrad.errors import CompileError, CompilerNotFoundError
from dlgrad.helpers import ForkSafeLock
from dlgrad.runtime import temporary

T = TypeVar("T")

OUTPUT_LINES = 40  # of a compiler's message that an error shows
NEWEST_CLANG, OLDEST_CLANG = 25, 11
NEWEST_GCC, OLDEST_GCC = 18, 9

HOW_TO_GET_ONE = """\
Install one:
  Debian, Ubuntu   sudo apt-get install -y gcc libc6-dev
  Fedora           sudo dnf install -y gcc
  macOS            xcode-select --install
  by pip           pip install "dlgrad[clang]"
or name one: DLGRAD_CC=/path/to/compiler"""


@dataclass(frozen=True)
class Compiler:
    """A compiler that was found to work here."""

    command: tuple[str, ...]
    finding: Finding

    @property
    def flags(self) -> tuple[str, ...]:
        return self.finding.flags

    def identity(self, more_flags: Sequence[str] = ()) -> dict[str, Any]:
        """All that shapes a binary apart from its source; part of the key in the cache."""
        target = config.CPU.value
        return {
            "compiler": self.finding.version,
            "compiler_path": " ".join(self.command),
            "compiler_time": _modified(self.command[0]),
            "flags": " ".join([*self.flags, *more_flags]),
            "cpu": host.cpu_identity() if target == "native" else target,
        }

    def describe(self) -> str:
        """ "clang 14.0.6 (/usr/bin/clang)": for people."""
        return f"{self.finding.version} ({' '.join(self.command)})"

    def compile_library(
        self, source: str, library: str, more_flags: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Compiles a file of C to a shared library; returns the command, for the record.

        A compiler that breaks down itself gets more chances: less optimisation, then code for
        any processor, then another compiler.  Raises CompileError.
        """
        flags = [*self.flags, *more_flags]
        first = self._command(source, library, flags)
        status, output = run(first)
        if status == 0:
            return {"command": _for_the_record(first)}
        if _broke_down(status, output):
            for command in self._second_chances(source, library, flags):
                if run(command)[0] == 0:
                    record = _for_the_record(command)
                    remark = f"{self.describe()} broke down; compiled with: {record}"
                    warnings.warn(remark, RuntimeWarning, stacklevel=2)
                    return {"command": record, "remark": remark}
        raise CompileError(_failure(os.path.basename(source), first, status, output))

    def assembly(self, source: str) -> str:
        """The assembly of some C text; raises CompileError."""
        folder = temporary.new_folder("assembly")
        path = os.path.join(folder, "kernel.c")
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(source)
            flags = [flag for flag in self.flags if flag != "-shared"]
            command = [*self.command, *flags, "-S", "-o", path + ".s", path]
            status, output = run(command)
            if status:
                raise CompileError(_failure("kernel.c", command, status, output))
            with open(path + ".s", encoding="utf-8") as file:
                return file.read()
        finally:
            temporary.remove_tree(folder)

    def _command(self, source: str, library: str, flags: Sequence[str]) -> list[str]:
        return [*self.command, *flags, source, "-o", library, "-lm"]

    def _second_chances(self, source: str, library: str, flags: list[str]) -> Iterator[list[str]]:
        milder = ["-O1" if flag == "-O3" else flag for flag in flags]
        yield self._command(source, library, milder)
        plain = [flag for flag in milder if not flag.startswith("-m")]
        yield self._command(source, library, plain)
        for name, command in candidates():
            if isinstance(command, tuple) and command != self.command and name != "DLGRAD_CC":
                yield [*command, *plain, source, "-o", library, "-lm"]


def _for_the_record(command: Sequence[str]) -> str:
    """The command as it can be repeated in the cache directory: source and library by name."""
    folder = os.path.dirname(command[-2])  # ... source -o library -lm
    return shlex.join(
        os.path.basename(word) if os.path.dirname(word) == folder else word for word in command
    )


def _modified(program: str) -> int:
    try:
        return os.stat(os.path.realpath(program)).st_mtime_ns
    except OSError:
        return 0


def _broke_down(status: int, output: str) -> bool:
    """Whether the compiler itself failed, rather than finding fault with the source."""
    signs = ("internal compiler error", "PLEASE submit a bug report", "Segmentation fault")
    return status < 0 or any(sign in output for sign in signs)


def _failure(name: str, command: Sequence[str], status: int, output: str) -> str:
    lines = output.strip().splitlines()
    shown = "\n".join(lines[-OUTPUT_LINES:]) or "(no message)"
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    return f"{name} was not compiled ({how}).\nThe command: {shlex.join(command)}\n{shown}"


# The search -------------------------------------------------------------------------------------


def candidates() -> Iterator[tuple[str, tuple[str, ...] | str]]:
    """Where to look, best first: (what, the command, or why there is none)."""
    for variable, setting in (("DLGRAD_CC", config.CC.value), ("CC", os.environ.get("CC", ""))):
        if setting.strip():
            yield variable, _resolve(shlex.split(setting))
    for name in ("clang", "gcc", "cc"):
        yield name, _resolve([name])
    versions = [f"clang-{n}" for n in range(NEWEST_CLANG, OLDEST_CLANG - 1, -1)]
    versions += [f"gcc-{n}" for n in range(NEWEST_GCC, OLDEST_GCC - 1, -1)]
    for name in versions:
        command = _resolve([name])
        if isinstance(command, tuple):
            yield name, command
    if sys.platform == "darwin":
        status, output = run(["xcrun", "-f", "clang"])
        yield "xcrun -f clang", _resolve([output.strip()]) if status == 0 else "not there"
    yield "ziglang", _zig()


def _resolve(words: list[str]) -> tuple[str, ...] | str:
    """The command with the full path of its program, or why it cannot be used."""
    program = shutil.which(words[0]) if words and words[0] else None
    if program is None:
        return "not found on PATH"
    if sys.platform == "darwin" and program.startswith("/usr/bin/") and not _has_xcode_tools():
        # Those are stand-ins of macOS that open a window instead of compiling.
        return "the Command Line Tools of Xcode are not installed"
    return (program, *words[1:])


def _has_xcode_tools() -> bool:
    return run(["/usr/bin/xcode-select", "-p"])[0] == 0


def _zig() -> tuple[str, ...] | str:
    """The clang inside the package `ziglang`, which pip can install anywhere."""
    spec = find_spec("ziglang")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        program = os.path.join(folder, "zig.exe" if os.name == "nt" else "zig")
        if os.path.isfile(program):
            return (program, "cc")
    return "the Python package is not installed"


_lock = ForkSafeLock()
_found: dict[tuple[str, str, str | None, str], Compiler] = {}


def find_compiler() -> Compiler:
    """The compiler to use; the search runs once for each setting of the environment.

    Raises CompilerNotFoundError, which says where was looked and how to get one.
    """
    setting = (
        config.CC.value, config.CPU.value, os.environ.get("CC"), os.environ.get("PATH", "")
    )  # fmt: skip
    with _lock.held:
        if setting not in _found:
            _found[setting] = _search()
        return _found[setting]


def _search() -> Compiler:
    looked: list[str] = []
    if not config.CC.value:
        looked.append("  DLGRAD_CC: not set")
    for name, command in candidates():
        if isinstance(command, tuple):
            finding = examine(command)
            if not finding.problem:
                return Compiler(command, finding)
            looked.append(f"  {name} ({' '.join(command)}): {finding.problem}")
        else:
            looked.append(f"  {name}: {command}")
        if name == "DLGRAD_CC":  # who names a compiler does not want another
            raise CompilerNotFoundError(
                f"DLGRAD_CC={config.CC.value!r} is not a working C compiler:\n{looked[-1]}\n"
                "Unset it to let dlgrad look for one."
            )
    looked.append(f"  clang-{NEWEST_CLANG} to gcc-{OLDEST_GCC}: none on PATH")
    raise CompilerNotFoundError(
        "No C compiler was found; dlgrad needs one to compile its kernels on first use. "
        "It looked at:\n" + "\n".join(looked) + "\n" + HOW_TO_GET_ONE
    )


# Side by side -----------------------------------------------------------------------------------


def in_parallel(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """The results of `tasks`, which mostly wait for compilers, run side by side.

    After the first failure, or a Ctrl-C, no further task is started; the error of the first
    task in order that failed is raised.
    """
    if len(tasks) == 1:
        return [tasks[0]()]
    results: dict[int, T] = {}
    errors: dict[int, BaseException] = {}
    remaining = iter(range(len(tasks)))
    lock = threading.Lock()
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            with lock:
                number = next(remaining, None)
            if number is None:
                return
            try:
                results[number] = tasks[number]()
            except BaseException as error:
                errors[number] = error
                stopped.set()

    count = min(len(tasks), os.cpu_count() or 1)
    workers = [threading.Thread(target=work, name=f"dlgrad-compile-{i}") for i in range(count)]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    finally:
        stopped.set()
    if errors:
        raise errors[min(errors)]
    return [results[number] for number in range(len(tasks))]


# For `python -m dlgrad` -------------------------------------------------------------------------


def survey() -> Iterator[tuple[str, str]]:
    """(name, version or reason) of every place that is searched; tries the compilers out."""
    for name, command in candidates():
        if isinstance(command, str):
            yield name, command
            continue
        finding = examine(command)
        yield name, finding.problem or f"{finding.version} ({' '.join(command)})"
