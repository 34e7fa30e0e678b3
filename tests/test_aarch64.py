"""Kernels compiled for 64-bit ARM on another machine, run by an emulator of the processor.

Needs a cross compiler (aarch64-linux-gnu-gcc) and qemu-aarch64; skipped where one is missing.
"""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from c_kernels import FLAGS
from kernel_examples import EXAMPLES
from test_interp import differences, make_buffers, views
from test_matmul_source import Dims, Launch, layout, plain_launch

from dlgrad.c_src.dialect import C
from dlgrad.c_src.matmul_source import render_gemm
from dlgrad.c_src.scratch_source import SCRATCH
from dlgrad.codegen.kernel import Caps
from dlgrad.codegen.render import render
from dlgrad.dtype import ALL_DTYPES, bfloat16, float32, pack_values, unpack_values
from dlgrad.runtime.interp import run_gemm, run_kernel

CROSS, EMULATOR = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
pytestmark = pytest.mark.skipif(
    CROSS is None or EMULATOR is None,
    reason="needs aarch64-linux-gnu-gcc and qemu-aarch64",
)
ARM = Caps(ALL_DTYPES, vector_bytes=16, registers=32, level2_cache=8 * 1024)

# Reads one launch from stdin: the number of the kernel, counts, integers, doubles, and buffers
# with their lengths in front; runs it; writes the buffers.
DRIVER = """\
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

SCRATCH
typedef void (*kernel)(void *const *, const int64_t *, const double *, int64_t, int64_t);
PROTOTYPES
static const kernel kernels[] = { KERNELS };
static int64_t (*const jobs[])(const int64_t *) = { JOBS };

static void *take(size_t bytes)
{
    char *data = malloc(bytes + 1);
    if (!data || fread(data, 1, bytes, stdin) != bytes)
        exit(2);
    return data;
}

static void *allocate(int64_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }
static void wait_a_little(void) {}

int main(void)
{
    struct dg_scratch scratch = { allocate, free, wait_a_little, NULL, 0 };
    const int64_t *head = take(5 * sizeof(int64_t));
    const int64_t *sizes = take(head[1] * sizeof(int64_t));
    const double *scalars = take(head[2] * sizeof(double));
    const int64_t *lengths = take(head[3] * sizeof(int64_t));
    void *buffers[16];
    for (int64_t i = 0; i < head[3]; i++)
        buffers[i] = take(lengths[i]);
    buffers[head[3]] = &scratch;
    const int64_t work = jobs[head[0]] ? jobs[head[0]](sizes) : head[4];
    kernels[head[0]](buffers, sizes, scalars, 0, work);
    for (int64_t i = 0; i < head[3]; i++)
        fwrite(buffers[i], 1, lengths[i], stdout);
    return 0;
}
"""


def products() -> dict[str, Launch]:
    """Matrix products with edges in every direction, of float32 and of a half type."""
    found = {}
    for dtype, dims in (
        (float32, Dims((2,), (21,), (29,), (33,))),
        (bfloat16, Dims((), (9,), (26,), (17,))),
    ):
        orders = layout(dims, "bmk"), layout(dims, "bkn"), layout(dims, "bmn")
        launch = plain_launch(dtype, dims, *orders)
        found[launch.gemm.name] = launch
    return found


PRODUCTS = products()
NAMES = [*EXAMPLES, *PRODUCTS]


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """All kernels in one program for the emulator."""
    folder = tmp_path_factory.mktemp("aarch64")
    sources = {name: render(make().kernel, C) for name, make in EXAMPLES.items()}
    sources |= {name: render_gemm(launch.gemm, ARM) for name, launch in PRODUCTS.items()}
    kernels = [make().kernel.name for make in EXAMPLES.values()]
    kernels += [launch.gemm.name for launch in PRODUCTS.values()]
    arguments = "(void *const *, const int64_t *, const double *, int64_t, int64_t);"
    prototypes = [f"void {name}{arguments}" for name in kernels]
    prototypes += [f"int64_t {name}_jobs(const int64_t *);" for name in PRODUCTS]
    jobs = ["0"] * len(EXAMPLES) + [f"{name}_jobs" for name in PRODUCTS]
    text = DRIVER.replace("PROTOTYPES", "\n".join(prototypes)).replace("SCRATCH", SCRATCH)
    sources["driver"] = text.replace("KERNELS", ", ".join(kernels)).replace("JOBS", ", ".join(jobs))
    paths = []
    for name, source in sources.items():
        paths.append(folder / f"{name}.c")
        paths[-1].write_text(source)
    binary = folder / "program"
    flags = [flag for flag in FLAGS if flag not in ("-shared", "-fPIC")]
    command = [CROSS, *flags, "-ffp-contract=off", "-static", "-o", binary, *paths, "-lm"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr, done.stderr
    return binary


def run(
    program: Path, name: str, sizes: tuple[int, ...], scalars: tuple[float, ...],
    buffers: list[bytearray], work: int,
) -> list[bytes]:  # fmt: skip
    """The buffers after a launch in the emulator."""
    head = [NAMES.index(name), len(sizes), len(scalars), len(buffers), work]
    lengths = [len(data) for data in buffers]
    given = struct.pack(f"<{len(head) + len(sizes)}q", *head, *sizes)
    given += struct.pack(f"<{len(scalars)}d", *scalars)
    given += struct.pack(f"<{len(lengths)}q", *lengths) + b"".join(buffers)
    done = subprocess.run([str(EMULATOR), str(program)], input=given, capture_output=True)
    assert done.returncode == 0, done.stderr
    results, place = [], 0
    for length in lengths:
        results.append(done.stdout[place : place + length])
        place += length
    return results


@pytest.mark.parametrize("name", EXAMPLES)
def test_loops(program, name):
    example = EXAMPLES[name]()
    buffers = make_buffers(example, 0)
    expected = [bytearray(data) for data in buffers]
    run_kernel(example.kernel, views(expected), example.sizes, example.scalars)
    got = run(program, name, example.sizes, example.scalars, buffers, example.work)
    for parameter, a, b in zip(example.kernel.parameters, expected, got, strict=True):
        assert not differences(parameter.dtype, bytes(a), b, example.close)


@pytest.mark.parametrize("name", PRODUCTS)
def test_matrix_products(program, name):
    launch = PRODUCTS[name]
    source = random.Random(5)
    buffers = [
        bytearray(pack_values(p.dtype, [source.randint(-4, 4) for _ in range(count)]))
        for p, count in zip(launch.gemm.parameters, launch.counts, strict=True)
    ]
    expected = [bytearray(data) for data in buffers]
    run_gemm(launch.gemm, views(expected), launch.sizes, launch.scalars)
    got = run(program, name, launch.sizes, launch.scalars, buffers, 0)
    result = launch.gemm.parameters[0].dtype
    assert unpack_values(result, got[0]) == unpack_values(result, bytes(expected[0]))
