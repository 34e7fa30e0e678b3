"""What the matmul template asks for ahead, and which memory it takes for neighbours.

A spy stands in for the prefetch, so that a test sees which addresses of the next batch it names.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace

import pytest
from c_kernels import COMPILERS, compile_library
from kernel_memory import Guarded, Scratch
from test_matmul_source import (
    UNITS,
    WIDEST,
    Dims,
    Launch,
    Layout,
    alu,
    calls,
    caps,
    check,
    layout,
    load,
    plain,
    plain_launch,
    random_buffers,
    three_loads,
)

from dlgrad.c_src.matmul_source import register_tile, render_gemm
from dlgrad.codegen.kernel import Gemm, Let, Literal, Local, Parameter, Store
from dlgrad.dtype import float32
from dlgrad.lazy.ops import ElementwiseOps as E

LANES = register_tile(float32, caps(WIDEST)).lanes
PREFETCH = "__builtin_prefetch(run + at, 0, 2)"
SPY = """\
#include <stdint.h>

int64_t seen_count;
const char *seen[1 << 14];

void spy(const char *place)
{
    if (seen_count < 1 << 14)
        seen[seen_count++] = place;
}
"""


def biased() -> Gemm:
    """out = relu(a @ b + bias): the epilogue loads before it stores."""
    names = ("out", "a", "b", "bias")
    parameters = tuple(Parameter(name, float32, name == "out") for name in names)
    total, shifted = Local("accumulator", float32), Local("shifted", float32)
    epilogue = (
        Let("shifted", alu(E.ADD, total, load(3, float32, 2))),
        Store(0, None, alu(E.MAXIMUM, shifted, Literal(0.0, float32)), 3),
    )
    operands = load(1, float32, 0), load(2, float32, 1)
    return Gemm("biased", "relu", parameters, (), float32, *operands, epilogue, 4)


def lettered() -> Gemm:
    """An operand that is computed from all three inputs, by the names that the lowering gives."""
    gemm = three_loads()
    parameters = tuple(
        replace(parameter, name=name)
        for parameter, name in zip(gemm.parameters, ("out", "a", "b", "c"), strict=True)
    )
    return replace(gemm, name="lettered", parameters=parameters)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if not COMPILERS:
        pytest.skip("no C compiler on PATH")
    sources = {"spy": SPY}
    for gemm in (plain(float32), biased(), lettered()):
        text = render_gemm(gemm, caps(WIDEST))
        assert text.count(PREFETCH) == 1
        sources[gemm.name] = "void spy(const char *);\n" + text.replace(PREFETCH, "spy(run + at)")
    folder = tmp_path_factory.mktemp("reach")
    return compile_library(folder, sources, COMPILERS[0], "-Wall", "-O2", *UNITS[WIDEST][0])


def asked_for(library: ctypes.CDLL, launch: Launch) -> list[set[int]]:
    """The elements of each buffer that are asked for ahead; none lies outside of them all."""
    memory, scratch = [Guarded(data) for data in random_buffers(launch)], Scratch()
    call, jobs = calls(library, launch, memory, scratch)
    count = ctypes.c_int64.in_dll(library, "seen_count")
    count.value = 0
    call(0, jobs)
    scratch.close()
    seen = (ctypes.c_void_p * (1 << 14)).in_dll(library, "seen")
    found: list[set[int]] = [set() for _ in memory]
    for place in seen[: count.value]:
        assert place is not None
        (number,) = [
            i for i, block in enumerate(memory) if 0 <= place - block.address < block.length
        ]
        found[number].add((place - memory[number].address) // 4)
    return found


def first_elements(dims: Dims, each: Layout, order: str) -> set[int]:
    """Where the rows of all batches but the first begin; `order` is as the memory goes."""
    (batches,), rows = dims.batch, dims[order[1]][0]
    batch_step, row_step = each.strides["b"][0], each.strides[order[1]][0]
    return {
        each.offset + batch * batch_step + row * row_step
        for batch in range(1, batches)
        for row in range(rows)
    }


@pytest.mark.parametrize("orders", [("bmk", "bkn"), ("bkm", "bnk"), ("bmk", "kn")], ids=str)
def test_the_next_batch_is_asked_for(library: ctypes.CDLL, orders: Sequence[str]) -> None:
    """Rows of 12 elements are in one line or two: the first element of each is asked for."""
    dims = Dims((3,), (12,), (12,), (12,))
    a, b = (layout(dims, order) for order in orders)
    out, bias = layout(dims, "bmn"), layout(dims, "n")
    launches = [
        plain_launch(float32, dims, a, b, out),
        Launch(biased(), dims, (a, b, bias, out), tuple(x.count for x in (out, a, b, bias))),
    ]
    for launch in launches:
        found = asked_for(library, launch)
        assert found[0] == first_elements(dims, out, "bmn")
        assert found[1] == first_elements(dims, a, orders[0])
        wanted = first_elements(dims, b, orders[1]) if orders[1][0] == "b" else set()
        assert found[2] == wanted
        assert found[3:] in ([], [set()])


def test_columns_that_alternate_are_not_taken_for_neighbours(library: ctypes.CDLL) -> None:
    """As far from the first to the last as neighbours are, under a row or two."""
    dims = Dims((), (2,), (2, LANES), (40,))
    b = Layout({"n": (1, 2), "k": (2 * LANES,)}, 80 * LANES)
    check(library, plain_launch(float32, dims, layout(dims, "mk"), b, layout(dims, "mn")))


def test_steps_that_stand_still_are_not_taken_for_neighbours(library: ctypes.CDLL) -> None:
    """The last of nine blocks of k begins with the last of 73 equal steps, under two rows."""
    dims = Dims((), (2,), (5,), (118, 73))
    b = Layout({"n": (118,), "k": (1, 0)}, 5 * 118)
    check(library, plain_launch(float32, dims, layout(dims, "mk"), b, layout(dims, "mn")))


def test_parameters_meet_no_variable_of_the_template(library: ctypes.CDLL) -> None:
    dims = Dims((), (9,), (5,), (40,))
    layouts = tuple(layout(dims, order) for order in ("mk", "mk", "mk", "mn"))
    counts = tuple(layouts[i].count for i in (3, 0, 1, 2))
    check(library, Launch(lettered(), dims, layouts, counts))
