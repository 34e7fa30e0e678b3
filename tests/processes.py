"""Child processes for tests: a fresh Python with a cache and a temporary directory of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 120

# A kernel as people would write it by hand: out[i] = a[i] * scalar + i, in steps that show
# whether every place was computed once.
KERNEL = """\
#include <stdint.h>
void NAME(void *const *buffers, const int64_t *sizes, const double *scalars,
          int64_t begin, int64_t end)
{
    float *restrict out = buffers[0];
    const float *restrict a = buffers[1];
    #pragma omp simd
    for (int64_t i = begin; i < end; i++)
        out[i] += a[i] * (float)scalars[0] + (float)(i % 1000);
}
"""

# What a child does to have used everything: memory, threads, a compiled kernel.
USE_EVERYTHING = f"""
import struct
from dlgrad.runtime.device import Buffer, Launch, get_backend

KERNEL = {KERNEL!r}
N = 300_000

def compute(name="dg_test_kernel"):
    backend = get_backend("cpu")
    out, a = Buffer(backend, 4 * N), Buffer(backend, 4 * N)
    out.copy_in(memoryview(bytes(4 * N)))
    a.copy_in(memoryview(struct.pack("f", 1.0) * N))
    program = backend.compile_source(KERNEL.replace("NAME", name), name)
    launch = Launch(program, ((0, 0), (1, 0)), (), (2.0,), N, 1 << 30)
    backend.run(backend.prepare([launch]), [out.address, a.address], [])
    result = bytearray(4 * N)
    out.copy_out(memoryview(result))
    expected = [2.0 + i % 1000 for i in range(N)]
    assert list(struct.unpack(f"{{N}}f", result)) == expected
    return backend
"""


def environment(folder: Path, **changes: str) -> dict[str, str]:
    """The environment of a child: cache in folder/cache, temporary files in folder/tmp."""
    (folder / "tmp").mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DLGRAD_")}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
        "DLGRAD_CACHE_DIR": str(folder / "cache"),
        "DLGRAD_NUM_THREADS": "2",
        "TMPDIR": str(folder / "tmp"),
        **changes,
    }


def start(code: str, folder: Path, **changes: str) -> "subprocess.Popen[str]":
    """Starts a child that runs `code`; its output is piped."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment(folder, **changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(child: "subprocess.Popen[str]") -> str:
    """Waits for a child, which must succeed; returns what it printed."""
    out, error = child.communicate(timeout=TIMEOUT)
    assert child.returncode == 0, error
    return out


def run(code: str, folder: Path, **changes: str) -> str:
    """Runs `code` in a child, which must succeed; returns what it printed."""
    return finish(start(code, folder, **changes))


def leftovers(folder: Path) -> list[str]:
    """What is in the temporary directory of the children."""
    return sorted(path.name for path in (folder / "tmp").iterdir())
