"""The matmul template in C against the interpreter: dtypes, layouts, windows, fusion, edges.

Every buffer ends where the memory ends, so reading or writing one element too far is a crash.
"""

from __future__ import annotations

import ctypes
import platform
import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import pytest
from c_kernels import COMPILERS, compile_library, random_numbers
from kernel_memory import Guarded, Scratch

from dlgrad.c_src.matmul_source import register_tile, render_gemm
from dlgrad.codegen.kernel import (
    Alu,
    Caps,
    Expr,
    Gemm,
    Let,
    Literal,
    Load,
    Local,
    Parameter,
    Scalar,
    Store,
)
from dlgrad.dtype import (
    ALL_DTYPES,
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int32,
    int64,
    pack_values,
    uint8,
    uint64,
    unpack_values,
)
from dlgrad.lazy.ops import ElementwiseOps as E
from dlgrad.runtime.interp import run_gemm

# Vector units by name: the flags that ask for them, bytes and registers.  Small caches make
# small problems run through every loop of the template.
UNITS: dict[str, tuple[tuple[str, ...], int, int]] = {"plain": ((), 16, 16)}
if platform.machine() in ("x86_64", "AMD64"):
    features = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    if " avx2 " in features and " fma " in features:
        UNITS["avx2"] = (("-mavx2", "-mfma"), 32, 16)
    if " avx512dq " in features:
        UNITS["avx512"] = (("-mavx512f", "-mavx512dq", "-mavx512vl", "-mfma"), 64, 32)
UNITS["many registers"] = ((), 16, 32)
WIDEST = max(UNITS, key=lambda name: UNITS[name][1])


def caps(unit: str) -> Caps:
    _, vector_bytes, registers = UNITS[unit]
    return Caps(ALL_DTYPES, vector_bytes, registers, level2_cache=8 * 1024)


# Products in the loop IR -----------------------------------------------------------------------


def loaded(dtype: DType) -> DType:
    return float32 if dtype.is_half else dtype


def load(buffer: int, dtype: DType, access: int) -> Load:
    return Load(buffer, None, loaded(dtype), access)


def plain(dtype: DType) -> Gemm:
    """out = a @ b, all of one dtype."""
    kind = loaded(dtype)
    parameters = tuple(Parameter(name, dtype, name == "out") for name in ("out", "a", "b"))
    store = Store(0, None, Local("accumulator", kind), 2)
    operands = load(1, dtype, 0), load(2, dtype, 1)
    name = f"matmul_{dtype.name}"
    return Gemm(name, f"a @ b of {dtype.name}", parameters, (), kind, *operands, (store,), 3)


def alu(op: E, *src: Expr, dtype: DType = float32) -> Alu:
    return Alu(op, src, dtype)


def fused() -> Gemm:
    """More in every part than one load, and names that the template uses itself."""
    a = alu(E.MAXIMUM, alu(E.MUL, load(2, float32, 0), load(3, float32, 1)), Literal(0.0, float32))
    b = alu(E.MUL, alu(E.CAST, load(4, int8, 2)), Scalar(0, float32))
    total = Local("accumulator", float32)
    shifted, residual = Local("add_1", float32), load(6, float16, 4)
    chosen = alu(
        E.WHERE, alu(E.LT, shifted, Literal(0.5, float32), dtype=bool_), shifted, residual
    )
    return Gemm(
        "fused",
        "relu(a * mask) @ (b * scalar) + bias, and a choice of it and a residual",
        (
            Parameter("out", float32, True),
            Parameter("row", float16, True),
            Parameter("run", float32, False),
            Parameter("mask", float32, False),
            Parameter("k", int8, False),
            Parameter("bias", float32, False),
            Parameter("residual", float16, False),
        ),
        (float32,),
        float32,
        a,
        b,
        (
            Let("add_1", alu(E.ADD, total, load(5, float32, 3))),
            Store(0, None, shifted, 5),
            Store(1, None, chosen, 6),
        ),
        7,
    )


def three_loads() -> Gemm:
    """An operand of three accesses, and one of none."""
    product = alu(E.MUL, load(1, float32, 0), alu(E.ADD, load(2, float32, 1), load(3, float32, 2)))
    parameters = tuple(Parameter(name, float32, name == "out") for name in ("out", "a", "x", "y"))
    store = Store(0, None, Local("accumulator", float32), 3)
    two = Literal(2.0, float32)
    return Gemm("three_loads", "sums", parameters, (), float32, product, two, (store,), 4)


DTYPES = (float32, float64, float16, bfloat16, int8, uint8, int32, int64, uint64)
GEMMS = {gemm.name: gemm for gemm in (*map(plain, DTYPES), fused(), three_loads())}


# Launches ---------------------------------------------------------------------------------------


@dataclass
class Dims:
    batch: tuple[int, ...] = ()
    m: tuple[int, ...] = ()
    n: tuple[int, ...] = ()
    k: tuple[int, ...] = ()

    def __getitem__(self, group: str) -> tuple[int, ...]:
        return {"b": self.batch, "m": self.m, "n": self.n, "k": self.k}[group]


@dataclass
class Layout:
    """Strides for every group that an access walks, and how many elements that spans."""

    strides: dict[str, tuple[int, ...]]
    count: int
    offset: int = 0


def layout(dims: Dims, order: str, gap: int = 1, backwards: bool = False) -> Layout:
    """Row-major over the groups of `order`; groups that are missing have stride 0."""
    step, strides = gap, {}
    for group in reversed(order):
        inner = []
        for size in reversed(dims[group]):
            inner.append(-step if backwards else step)
            step *= max(size, 1)
        strides[group] = tuple(reversed(inner))
    count = max(step - gap + 1, 1)
    return Layout(strides, count + 3, count - 1 if backwards else 3)


def launch_sizes(dims: Dims, layouts: Sequence[Layout]) -> tuple[int, ...]:
    numbers = [len(dims[group]) for group in "bmnk"]
    numbers += [size for group in "bmnk" for size in dims[group]]
    for each in layouts:
        numbers.append(each.offset)
        for group in "bmnk":
            numbers += each.strides.get(group, (0,) * len(dims[group]))
    return tuple(numbers)


@dataclass
class Launch:
    gemm: Gemm
    dims: Dims
    layouts: tuple[Layout, ...]  # of the accesses
    counts: tuple[int, ...]  # of the elements of the parameters
    scalars: tuple[float, ...] = ()
    sizes: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.sizes = launch_sizes(self.dims, self.layouts)


def plain_launch(dtype: DType, dims: Dims, a: Layout, b: Layout, out: Layout) -> Launch:
    return Launch(plain(dtype), dims, (a, b, out), (out.count, a.count, b.count))


def run_c(
    library: ctypes.CDLL, launch: Launch, buffers: Sequence[bytes], least: int, most: int
) -> list[bytes]:
    """Runs all jobs in calls of between `least` and `most` jobs; the buffers afterwards."""
    memory = [Guarded(data) for data in buffers]
    scratch = Scratch()
    call, jobs = calls(library, launch, memory, scratch)
    begin, source = 0, random.Random(7)
    while begin < jobs:
        end = min(begin + source.randint(least, most), jobs)
        call(begin, end)
        begin = end
    scratch.close()
    assert not scratch.failed
    return [block.data() for block in memory]


def calls(
    library: ctypes.CDLL, launch: Launch, memory: Sequence[Guarded], scratch: Scratch
) -> tuple[Callable[[int, int], None], int]:
    """A function that does the jobs of a range, and the number of all jobs."""
    name = launch.gemm.name
    count_jobs: Any = library[f"{name}_jobs"]
    count_jobs.argtypes, count_jobs.restype = [ctypes.c_void_p], ctypes.c_int64
    kernel: Any = library[name]
    kernel.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 2
    kernel.restype = None
    places = [*(block.address for block in memory), ctypes.addressof(scratch)]
    addresses = (ctypes.c_void_p * len(places))(*places)
    sizes = (ctypes.c_int64 * len(launch.sizes))(*launch.sizes)
    scalars = (ctypes.c_double * 1)(*launch.scalars)
    return lambda begin, end: kernel(addresses, sizes, scalars, begin, end), count_jobs(sizes)


ALL_JOBS = 1 << 30
expectations: dict[Any, tuple[list[bytes], list[bytes]]] = {}


def numbers_of(dtype: DType, count: int, source: random.Random) -> list[Any]:
    if dtype is bfloat16:  # sums of products of such numbers are exact in any order
        return [source.randint(-8, 8) / 8 for _ in range(count)]
    if dtype.is_floating_point:
        return [source.uniform(-1, 1) for _ in range(count)]
    return random_numbers(dtype, count, source)


def random_buffers(launch: Launch) -> list[bytes]:
    source = random.Random(1)
    return [
        pack_values(p.dtype, numbers_of(p.dtype, count, source))
        for p, count in zip(launch.gemm.parameters, launch.counts, strict=True)
    ]


def expectation(launch: Launch) -> tuple[list[bytes], list[bytes]]:
    """The buffers before, and after the interpreter was there."""
    key = (launch.gemm.name, launch.sizes, launch.counts)
    if key not in expectations:
        before = random_buffers(launch)
        after = [bytearray(data) for data in before]
        run_gemm(launch.gemm, [memoryview(x) for x in after], launch.sizes, launch.scalars)
        expectations[key] = before, [bytes(data) for data in after]
    return expectations[key]


def check(library: ctypes.CDLL, launch: Launch) -> None:
    """The same numbers as the interpreter, and the same bits however the jobs are cut."""
    parameters = launch.gemm.parameters
    buffers, expected = expectation(launch)
    whole = run_c(library, launch, buffers, ALL_JOBS, ALL_JOBS)
    assert run_c(library, launch, buffers, 1, 1) == whole
    assert run_c(library, launch, buffers, 1, 5) == whole
    depth = prod(launch.dims.k)
    for parameter, found, wanted in zip(parameters, whole, expected, strict=True):
        dtype = parameter.dtype
        if not dtype.is_floating_point or dtype is bfloat16:
            assert found == wanted, parameter.name
            continue
        epsilon = {float16: 1e-3, float32: 1e-6, float64: 1e-15}[dtype]
        pairs = zip(unpack_values(dtype, found), unpack_values(dtype, wanted), strict=True)
        for index, (x, y) in enumerate(pairs):
            assert abs(x - y) <= epsilon * (abs(y) + 1 + depth / 4), (parameter.name, index)


# Libraries --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Every product, with the widest vectors."""
    if not COMPILERS:
        pytest.skip("no C compiler on PATH")
    return build(tmp_path_factory.mktemp("matmul"), COMPILERS[0], WIDEST, GEMMS.values())


def build(folder: Path, compiler: str, unit: str, gemms: Any) -> ctypes.CDLL:
    sources = {gemm.name: render_gemm(gemm, caps(unit)) for gemm in gemms}
    return compile_library(folder, sources, compiler, "-Wall", "-O2", *UNITS[unit][0])


# Tests ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_dtypes(library: ctypes.CDLL, dtype: DType) -> None:
    dims = Dims((2,), (19,), (37,), (23,))
    check(
        library,
        plain_launch(
            dtype, dims, layout(dims, "bmk"), layout(dims, "bkn"), layout(dims, "bmn")
        ),
    )


def all_layouts(dims: Dims, groups: str, missing: Sequence[str] = ()) -> Iterator[Layout]:
    yield layout(dims, groups)
    yield layout(dims, groups[::-1])
    yield layout(dims, groups, gap=2)
    yield layout(dims, groups, backwards=True)
    for order in missing:
        yield layout(dims, order)


def layout_cases(dtype: DType = float32) -> Iterator[Launch]:
    dims = Dims((3,), (9,), (34,), (11,))
    out = layout(dims, "bmn")
    for a in all_layouts(dims, "bmk", ("mk", "bm", "bk", "")):
        yield plain_launch(dtype, dims, a, layout(dims, "bkn"), out)
    for b in all_layouts(dims, "bkn", ("kn", "bk", "bn", "n")):
        yield plain_launch(dtype, dims, layout(dims, "bmk"), b, out)
    for out in (layout(dims, "nbm"), layout(dims, "nmb"), layout(dims, "bmn", gap=3)):
        yield plain_launch(dtype, dims, layout(dims, "bmk"), layout(dims, "bkn"), out)


@pytest.mark.parametrize("number", range(19))
def test_layouts(library: ctypes.CDLL, number: int) -> None:
    check(library, list(layout_cases())[number])


def test_every_layout_is_tested() -> None:
    assert len(list(layout_cases())) == 19


@pytest.mark.parametrize(
    "dims",
    [
        Dims((), (), (), ()),
        Dims((), (1,), (1,), (1,)),
        Dims((), (1,), (70,), (40,)),
        Dims((), (70,), (1,), (40,)),
        Dims((), (3,), (5,), (700,)),
        Dims((), (1,), (5,), (2500,)),
        Dims((), (2,), (150,), (20,)),
        Dims((), (29,), (10,), (130,)),
        Dims((), (10,), (65,), (9,)),
        Dims((), (60,), (100,), (3,)),
        Dims((40,), (3,), (2,), (4,)),
        Dims((2, 3), (4, 2), (3, 3, 2), (2, 5)),
        Dims((), (4,), (5,), (0,)),
        Dims((2,), (3, 0), (5,), (6,)),
        Dims((2,), (3,), (0,), (6,)),
        Dims((0,), (3,), (4,), (6,)),
    ],
    ids=str,
)
@pytest.mark.parametrize("turned", [False, True])
def test_shapes(library: ctypes.CDLL, dims: Dims, turned: bool) -> None:
    a, b = layout(dims, "bkm" if turned else "bmk"), layout(dims, "bnk" if turned else "bkn")
    check(library, plain_launch(float32, dims, a, b, layout(dims, "bmn")))


def test_long_sums_go_through_many_blocks(library: ctypes.CDLL) -> None:
    """Two tiles or more each way, and several blocks of k."""
    dims = Dims((2,), (17,), (33,), (300,))
    for gemm_dtype in (float32, int32):
        check(
            library,
            plain_launch(
                gemm_dtype, dims, layout(dims, "bmk"), layout(dims, "bnk"), layout(dims, "bmn")
            ),
        )


# A convolution of 2 images, 3 channels, 9 x 12, with a window of 3 x 2 to 5 channels.
IMAGES, CHANNELS, HEIGHT, WIDTH, WINDOW, FILTERS = 2, 3, 9, 12, (3, 2), 5


def wide_launch(dtype: DType = float32, a: str = "bmk") -> Launch:
    """Several tiles of rows and of columns, and several blocks of k."""
    dims = Dims((1,), (60,), (150,), (300,))
    orders = (a, "bkn", "bmn")
    return plain_launch(dtype, dims, *(layout(dims, order) for order in orders))


@pytest.mark.parametrize("order", ["bmk", "bkm"])
def test_threads_share_packed_rows(library: ctypes.CDLL, order: str) -> None:
    check_threads(library, wide_launch(a=order))


def check_threads(library: ctypes.CDLL, launch: Launch) -> None:
    """Calls at the same time, over one scratch record."""
    buffers = random_buffers(launch)
    whole = run_c(library, launch, buffers, ALL_JOBS, ALL_JOBS)
    for _ in range(20):
        memory, scratch = [Guarded(data) for data in buffers], Scratch()
        call, jobs = calls(library, launch, memory, scratch)
        assert jobs >= 12
        cuts = [0, jobs // 3, jobs // 2, jobs]
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(call, cuts[:-1], cuts[1:]))
        assert scratch.shared and not scratch.failed
        scratch.close()
        assert [block.data() for block in memory] == whole


@pytest.mark.parametrize("given", [0, 1])
def test_no_memory_is_told(library: ctypes.CDLL, given: int) -> None:
    """After `given` blocks there is no more; nothing is written and nothing kept."""
    libc = ctypes.CDLL(None)
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_int64], ctypes.c_void_p
    blocks: list[int] = []

    @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int64)
    def allocate(nbytes: int) -> int | None:
        if len(blocks) == given:
            return None
        blocks.append(libc.malloc(nbytes))
        return blocks[-1]

    launch = wide_launch()
    buffers = random_buffers(launch)
    memory, scratch = [Guarded(data) for data in buffers], Scratch(allocate)
    call, jobs = calls(library, launch, memory, scratch)
    call(0, jobs)
    assert scratch.failed and not scratch.shared and len(blocks) == given
    assert [block.data() for block in memory] == buffers


def convolution(step: int, dtype: DType = float32) -> dict[str, Launch]:
    rows = (HEIGHT - WINDOW[0]) // step + 1
    columns = (WIDTH - WINDOW[1]) // step + 1
    places, taps = (IMAGES, rows, columns), (CHANNELS, *WINDOW)
    image = CHANNELS * HEIGHT * WIDTH
    place_strides = (image, WIDTH * step, step)
    tap_strides = (HEIGHT * WIDTH, WIDTH, 1)
    out_strides = (FILTERS * rows * columns, columns, 1)
    area, size = rows * columns, prod(taps)
    tap_order = (WINDOW[0] * WINDOW[1], WINDOW[1], 1)
    counts = {"x": IMAGES * image, "w": FILTERS * size, "y": IMAGES * FILTERS * area}

    forward = Dims((), (FILTERS,), places, taps)
    w = Layout({"m": (size,), "k": tap_order}, counts["w"])
    x = Layout({"n": place_strides, "k": tap_strides}, counts["x"])
    y = Layout({"m": (area,), "n": out_strides}, counts["y"])

    backward = Dims((), (FILTERS,), taps, places)
    gradient = Layout({"m": (area,), "k": out_strides}, counts["y"])
    windows = Layout({"n": tap_strides, "k": place_strides}, counts["x"])
    weights = Layout({"m": (size,), "n": tap_order}, counts["w"])
    return {
        "forward": plain_launch(dtype, forward, w, x, y),
        "backward": plain_launch(dtype, backward, gradient, windows, weights),
    }


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_convolution(library: ctypes.CDLL, step: int, direction: str) -> None:
    check(library, convolution(step)[direction])


def fused_launch(dims: Dims, a: str, mask: str, b: str, bias: str, residual: str) -> Launch:
    layouts = [layout(dims, order) for order in (a, mask, b, bias, residual, "bmn", "bnm")]
    counts = [layouts[i].count for i in (5, 6, 0, 1, 2, 3, 4)]
    return Launch(fused(), dims, tuple(layouts), tuple(counts), (0.37,))


@pytest.mark.parametrize("dims", [
    Dims((2,), (18,), (35,), (21,)), Dims((), (3, 2), (4, 7), (5, 30)),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("orders", [
    ("bmk", "bmk", "bkn", "n", "bmn"),
    ("bkm", "bkm", "bnk", "m", "bnm"),
    ("bmk", "m", "kn", "b", "mn"),
    ("bmk", "k", "bkn", "bmn", ""),
    ("bkm", "bmk", "nk", "bn", "n"),
], ids=str)  # fmt: skip
def test_fused(library: ctypes.CDLL, dims: Dims, orders: tuple[str, ...]) -> None:
    check(library, fused_launch(dims, *orders))


@pytest.mark.parametrize(
    "orders", [("bmk", "bmk", "bmk"), ("bkm", "bkm", "bkm"), ("bmk", "m", "k")]
)
def test_three_accesses_and_none(library: ctypes.CDLL, orders: tuple[str, ...]) -> None:
    dims = Dims((2,), (20,), (19,), (9,))
    layouts = [layout(dims, order) for order in (*orders, "bmn")]
    counts = [layouts[i].count for i in (3, 0, 1, 2)]
    check(library, Launch(three_loads(), dims, tuple(layouts), tuple(counts)))


def test_infinities_and_nans_stay_where_they_belong(library: ctypes.CDLL) -> None:
    """What is packed beyond an edge must not meet what is inside."""
    dims = Dims((), (15,), (33,), (5,))
    launch = plain_launch(
        float32, dims, layout(dims, "mk"), layout(dims, "kn"), layout(dims, "mn")
    )
    a = [1.0] * launch.counts[1]
    a[launch.layouts[0].offset + 14 * 5] = float("nan")
    b = [1.0] * launch.counts[2]
    b[launch.layouts[1].offset + 32] = float("inf")
    buffers = [pack_values(float32, x) for x in ([0.0] * launch.counts[0], a, b)]
    out = unpack_values(float32, run_c(library, launch, buffers, ALL_JOBS, ALL_JOBS)[0])
    start = launch.layouts[2].offset
    for m in range(15):
        for n in range(33):
            value = out[start + m * 33 + n]
            if m == 14:
                assert value != value
            else:
                assert value == (float("inf") if n == 32 else 5.0)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_every_vector_unit_and_compiler(tmp_path: Path, compiler: str, unit: str) -> None:
    """The tile of each unit, through layouts, windows and fusion."""
    library = build(tmp_path, compiler, unit, [plain(float32), plain(float64), fused()])
    dims = Dims((2,), (21,), (50,), (40,))
    for order in ("bmk", "bkm"):
        for dtype in (float32, float64):
            a, b = layout(dims, order), layout(dims, "bnk" if order == "bmk" else "bkn")
            check(library, plain_launch(dtype, dims, a, b, layout(dims, "bmn")))
        check(library, fused_launch(dims, order, order, "bkn", "n", "bmn"))
    for launch in (*convolution(1).values(), *convolution(2).values()):
        check(library, launch)


@pytest.mark.skipif("clang" not in COMPILERS, reason="needs clang, which compiles for any target")
def test_compiles_for_arm(tmp_path: Path) -> None:
    """No header and no intrinsic: the text needs nothing of the machine it is made on."""
    source = tmp_path / "arm.c"
    source.write_text(render_gemm(fused(), Caps(ALL_DTYPES, 16, 32)))
    compile_object(source)


def compile_object(source: Path) -> None:
    done = subprocess.run(
        ["clang", "--target=aarch64-linux-gnu", "-std=gnu11", "-O2", "-Wall", "-Werror",
         "-Wno-pass-failed", "-fopenmp-simd", "-ffreestanding", "-c", str(source),
         "-o", str(source.with_suffix(".o"))],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_register_tile_fits_the_registers() -> None:
    for _, vector_bytes, registers in UNITS.values():
        for dtype in DTYPES:
            tile = register_tile(loaded(dtype), Caps(ALL_DTYPES, vector_bytes, registers))
            assert (tile.rows + 1) * tile.vectors + 1 <= registers
            assert tile.lanes * tile.itemsize == vector_bytes


def test_the_text_is_the_same_each_time_and_says_what_it_is() -> None:
    text = render_gemm(fused(), caps("plain"))
    assert text == render_gemm(replace(fused()), caps("plain"))
    assert text.startswith("/* relu(a * mask) @ (b * scalar) + bias")
    assert "#include" not in text.replace("#include <stdbool.h>", "")
