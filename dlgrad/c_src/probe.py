"""What a C compiler can do on this machine: which flags it takes, and whether its code runs.

Floor 4.  A compiler is tried once: a small file is compiled with the wanted flags and loaded
in a child process, so that an instruction the processor lacks kills the child and not the
user's program.  The finding is kept in the cache directory until the compiler changes.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dlgrad import config
from dlgrad.c_src import host
from dlgrad.errors import DeviceError, NoCompileError
from dlgrad.runtime import cache, temporary

TIMEOUT_SECONDS = 600

LIBRARY_FLAGS = ("-O3", "-fPIC", "-shared")
# What the text of the kernels assumes: signed arithmetic wraps around, `omp simd` lines mean
# vector loops.  Numbers stay IEEE; what goes is errno, the exception flags that nobody reads,
# and the rounding between a multiplication and the addition after it.
WANTED_FLAGS = (
    "-std=gnu11", "-fwrapv", "-fopenmp-simd",
    "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
)  # fmt: skip

PROBE_SOURCE = """\
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What the probe runs: enough arithmetic for the widest vectors to be used. */
void dg_probe(float *numbers, int64_t count) {
    #pragma omp simd
    for (int64_t i = 0; i < count; i++)
        numbers[i] = numbers[i] * 2.0f + sqrtf(numbers[i]);
}

int dg_vector_bytes(void) {
#if defined(__AVX512F__)
    return 64;
#elif defined(__AVX__)
    return 32;
#else
    return 16;
#endif
}

int dg_vector_registers(void) {
#if defined(__AVX512F__) || defined(__aarch64__)
    return 32;
#elif defined(__VSX__)
    return 64;
#else
    return 16;
#endif
}

int dg_bfloat16_pairs(void) {
#if defined(__AVX512BF16__)
    return 1;
#else
    return 0;
#endif
}
"""

# The child: loads the library, computes, checks, and reports what the compiler compiled for.
PROBE_CHILD = """\
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
numbers = (ctypes.c_float * 1000)(*[4.0] * 1000)
library.dg_probe(numbers, ctypes.c_int64(1000))
assert set(numbers) == {10.0}, "wrong results"
print(library.dg_vector_bytes(), library.dg_vector_registers(), library.dg_bfloat16_pairs())
"""


@dataclass(frozen=True)
class Finding:
    """What was found out about a compiler command; `problem` is empty where it is usable."""

    version: str
    flags: tuple[str, ...]
    vector_bytes: int
    registers: int
    bfloat16_pairs: bool = False
    problem: str = ""
    remark: str = ""


def run(command: Sequence[str]) -> tuple[int, str]:
    """Runs a command to its end; returns the exit status and all that it printed.

    The command is in a session of its own: a Ctrl-C in the terminal does not reach a compiler
    that is writing a file.
    """
    environment = {**os.environ, "LC_ALL": "C"}
    if os.path.basename(command[0]).startswith("zig"):
        # zig keeps a cache of its own, and fails without a place for it.
        environment.setdefault("ZIG_GLOBAL_CACHE_DIR", cache.directory("zig"))
        environment.setdefault("ZIG_LOCAL_CACHE_DIR", cache.directory("zig"))
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            close_fds=False,
            start_new_session=True,
            timeout=TIMEOUT_SECONDS,
        )
    except OSError as error:
        return 127, f"{command[0]}: {error.strerror or error}"
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]} did not end within {TIMEOUT_SECONDS} seconds"
    return done.returncode, done.stdout.decode(errors="replace")


def examine(command: tuple[str, ...]) -> Finding:
    """The finding about a compiler, from the cache or by trying it out.

    Raises NoCompileError where it would have to be tried while DLGRAD_NO_COMPILE is set, and
    DeviceError where DLGRAD_CPU names a processor that it cannot compile for or that this
    machine is not.
    """
    key = _key(command)
    record = cache.load_record("compiler", key)
    if record is not None:
        try:
            record["flags"] = tuple(record["flags"])
            return Finding(**record)
        except (KeyError, TypeError):
            pass  # a damaged record is as good as none
    if config.NO_COMPILE.value:
        raise NoCompileError(
            f"the compiler {' '.join(command)} has not been tried on this machine yet, and "
            "DLGRAD_NO_COMPILE is set; run once without it"
        )
    finding = _try_out(command)
    if not finding.problem:  # a failure may be mended by the next time
        cache.store_record("compiler", key, asdict(finding))
    return finding


def _key(command: tuple[str, ...]) -> dict[str, Any]:
    """Everything that a finding depends on."""
    program = os.path.realpath(command[0])
    try:
        status = os.stat(program)
        stamp = [status.st_size, status.st_mtime_ns]
    except OSError:
        stamp = []
    return {
        "command": list(command),
        "program": program,
        "stamp": stamp,
        "cpu": host.cpu_identity(),
        "target": config.CPU.value,
        "wanted": [*LIBRARY_FLAGS, *WANTED_FLAGS],
        "probe": hashlib.sha256(PROBE_SOURCE.encode()).hexdigest(),
    }


def _try_out(command: tuple[str, ...]) -> Finding:
    status, output = run([*command, "--version"])
    version = output.strip().splitlines()[0] if output.strip() else "unknown version"
    if status:
        return Finding("", (), 0, 0, problem=f"--version failed: {version}")
    folder = temporary.new_folder("probe")
    try:
        return _find_flags(command, version, folder)
    finally:
        temporary.remove_tree(folder)


def _find_flags(command: tuple[str, ...], version: str, folder: str) -> Finding:
    """Tries the code for this very processor first, then code that runs everywhere."""
    source = os.path.join(folder, "probe.c")
    with open(source, "w", encoding="utf-8") as file:
        file.write(PROBE_SOURCE)
    problem = ""
    for number, target in enumerate(_target_choices()):
        flags = (*LIBRARY_FLAGS, *WANTED_FLAGS, *target)
        library = os.path.join(folder, f"probe-{number}.so")
        status, output = _compile(command, flags, source, library)
        if status:
            accepted = _accepted(command, source, library)
            flags = (*LIBRARY_FLAGS, *accepted, *target)
            status, output = _compile(command, flags, source, library)
        if status:
            problem = problem or _last_words(output)
            continue
        outcome = _run_child(library)
        if isinstance(outcome, tuple):
            remark = f"without {' '.join(_target_choices()[0])}: {problem}" if problem else ""
            return Finding(version, flags, *outcome, remark=remark)
        problem = problem or outcome
    if config.CPU.value != "native":
        raise DeviceError(
            f"DLGRAD_CPU={config.CPU.value!r} does not work with {' '.join(command)} on "
            f"{host.cpu_name()}: {problem}; unset it to compile for this processor"
        )
    return Finding(version, (), 0, 0, problem=problem)


def _target_choices() -> list[tuple[str, ...]]:
    """The flags that say for which processor to compile, the best first."""
    cpu = config.CPU.value
    is_x86 = host.architecture() in ("x86_64", "i686", "i386")
    wide = ("-mprefer-vector-width=512",)
    if cpu != "native":
        flags = (f"-march={cpu}",)
        return [(*flags, *wide), flags] if cpu == "x86-64-v4" else [flags]
    if is_x86:
        flags = ("-march=native",)
        return [(*flags, *wide), flags, ()] if host.has_feature("avx512f") else [flags, ()]
    return [("-mcpu=native",), ("-march=native",), ()]


def _compile(
    command: tuple[str, ...], flags: Sequence[str], source: str, library: str
) -> tuple[int, str]:
    return run([*command, *flags, source, "-o", library, "-lm", "-pthread"])


def _accepted(command: tuple[str, ...], source: str, library: str) -> list[str]:
    """Those of the wanted flags with which the compiler compiles at all."""
    return [
        flag
        for flag in WANTED_FLAGS
        if not _compile(command, (*LIBRARY_FLAGS, flag), source, library)[0]
    ]


def _run_child(library: str) -> tuple[int, int, bool] | str:
    """Vector bytes, registers and pairs of bfloat16, as a child process tells; or why not."""
    if not sys.executable:  # Python is embedded in another program: nothing to start
        return 16, 16, False
    status, output = run([sys.executable, "-I", "-S", "-c", PROBE_CHILD, library])
    words = output.split()
    if status == 0 and len(words) == 3:
        return int(words[0]), int(words[1]), words[2] == "1"
    if status < 0:
        return f"its code ends with signal {-status} on this processor"
    return f"its library does not load: {_last_words(output)}"


def _last_words(output: str) -> str:
    lines = [line for line in output.strip().splitlines() if "error" in line.lower()]
    return (lines or output.strip().splitlines() or ["no message"])[0].strip()
