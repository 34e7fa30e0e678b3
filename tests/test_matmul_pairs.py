"""Products of bfloat16 whose panels hold pairs of steps of k, against the interpreter, exactly.

Where the processor multiplies no such pairs, the same cases go through panels of floats.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import pytest
from c_kernels import COMPILERS, compile_library
from test_matmul_source import (
    ALL_JOBS,
    UNITS,
    WIDEST,
    Dims,
    Layout,
    caps,
    check,
    check_threads,
    convolution,
    layout,
    layout_cases,
    plain,
    plain_launch,
    run_c,
    wide_launch,
)

from dlgrad.c_src import host
from dlgrad.c_src.matmul_source import render_gemm
from dlgrad.dtype import bfloat16, pack_values, unpack_values

HAS_PAIRS = WIDEST == "avx512" and host.has_feature("avx512_bf16")


@pytest.fixture(scope="module", params=COMPILERS)
def paired(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The product of bfloat16, by pairs of steps where the processor multiplies such pairs."""
    text = render_gemm(plain(bfloat16), replace(caps(WIDEST), bfloat16_pairs=HAS_PAIRS))
    assert ("vdpbf16ps" in text) == HAS_PAIRS
    flags = ("-mavx512bf16",) if HAS_PAIRS else ()
    folder = tmp_path_factory.mktemp("paired")
    sources = {"matmul_bfloat16": text}
    return compile_library(
        folder, sources, request.param, "-Wall", "-O2", *UNITS[WIDEST][0], *flags
    )


@pytest.mark.parametrize("number", range(19))
def test_pairs_in_every_layout(paired: ctypes.CDLL, number: int) -> None:
    check(paired, list(layout_cases(bfloat16))[number])


@pytest.mark.parametrize(
    "dims",
    [
        Dims((), (1,), (1,), (1,)),
        Dims((), (70,), (1,), (41,)),
        Dims((), (2,), (150,), (21,)),
        Dims((), (29,), (40,), (131,)),
        Dims((3,), (21,), (47,), (32,)),
        Dims((2,), (20,), (70,), (7, 5)),
        Dims((2,), (17,), (33,), (333,)),
        Dims((), (3,), (5,), (701,)),
        Dims((), (4,), (5,), (0,)),
    ],
    ids=str,
)
@pytest.mark.parametrize("orders", [("bmk", "bkn"), ("bkm", "bnk")], ids=str)
def test_pairs_of_odd_and_even_steps(
    paired: ctypes.CDLL, dims: Dims, orders: tuple[str, str]
) -> None:
    """Part panels, an odd step at the end of a block of k, rows at odd addresses."""
    a, b = (layout(dims, order) for order in orders)
    check(paired, plain_launch(bfloat16, dims, a, b, layout(dims, "bmn")))


def test_pairs_of_windows_and_threads(paired: ctypes.CDLL) -> None:
    """Steps in short runs, some of odd length; packed rows that threads share."""
    for launch in (*convolution(1, bfloat16).values(), *convolution(2, bfloat16).values()):
        check(paired, launch)
    check_threads(paired, wide_launch(bfloat16))


def test_runs_of_steps_that_end_within_a_pair(paired: ctypes.CDLL) -> None:
    """Images of 5 x 5 in rows of 9: the runs of k begin at odd and at even steps."""
    dims = Dims((), (15,), (37,), (5, 5))
    a = Layout({"m": (81,), "k": (9, 1)}, 15 * 81 - 36 - 4)
    b = Layout({"n": (83,), "k": (1, 7)}, 37 * 83, 9)
    check(paired, plain_launch(bfloat16, dims, a, b, layout(dims, "mn")))
    check(paired, plain_launch(bfloat16, dims, a, layout(dims, "kn"), layout(dims, "mn")))


def test_no_pair_reaches_past_an_infinity(paired: ctypes.CDLL) -> None:
    """What lies behind the last of an odd number of steps is no part of the sums."""
    dims = Dims((), (15,), (33,), (5,))
    rows, columns = Layout({"m": (8,), "k": (1,)}, 120), Layout({"n": (7,), "k": (1,)}, 231)
    launch = plain_launch(bfloat16, dims, rows, columns, layout(dims, "mn"))
    nan, inf = float("nan"), float("inf")
    a = [1.0 if i % 8 < 5 else nan for i in range(120)]
    b = [1.0 if i % 7 < 5 else inf for i in range(231)]
    buffers = [pack_values(bfloat16, x) for x in ([0.0] * launch.counts[0], a, b)]
    out = unpack_values(bfloat16, run_c(paired, launch, buffers, ALL_JOBS, ALL_JOBS)[0])
    assert out[launch.layouts[2].offset :] == [5.0] * (15 * 33)
