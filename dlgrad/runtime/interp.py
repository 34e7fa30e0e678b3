"""The interpreter of the loop IR, and the device "python" that runs on it.

Floor 4 (the interpreter itself stands on floor 3 only).  It is slow and simple: it defines
what a kernel means, and it is the oracle of the tests on a machine that has no compiler.
Every access is checked, so a kernel that reads or writes outside its memory is found here.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

from dlgrad.codegen.kernel import (
    Accumulate,
    Accumulator,
    Assign,
    Caps,
    Counter,
    Expr,
    Gemm,
    Index,
    Kernel,
    Let,
    Literal,
    Load,
    Local,
    Loop,
    Scalar,
    Size,
    Stmt,
    Store,
)
from dlgrad.codegen.primitives import Number, apply, convert, fit
from dlgrad.dtype import ALL_DTYPES, DType, int64, pack_values, unpack_values
from dlgrad.errors import VerifyError
from dlgrad.lazy.ops import COMBINE
from dlgrad.runtime.device import Backend, Launch

Address = Callable[[Load | Store], int]


class Memory:
    """The bytes of one parameter as elements of its dtype."""

    def __init__(self, name: str, dtype: DType, data: memoryview) -> None:
        self.name = name
        self.dtype = dtype
        self.data = data

    def span(self, index: int) -> slice:
        size = self.dtype.itemsize
        if not 0 <= index * size <= len(self.data) - size:
            count = len(self.data) // size
            raise VerifyError(f"element {index} of {self.name}, which has {count} elements")
        return slice(index * size, (index + 1) * size)

    def load(self, index: int) -> Number:
        return unpack_values(self.dtype, self.data[self.span(index)])[0]

    def store(self, index: int, value: Number) -> None:
        self.data[self.span(index)] = pack_values(self.dtype, [value])


class Run:
    """One launch of a Kernel: its parameters and the values of names so far."""

    def __init__(
        self,
        kernel: Kernel | Gemm,
        data: Sequence[memoryview],
        sizes: Sequence[int],
        scalars: Sequence[float],
    ) -> None:
        self.memory = [
            Memory(parameter.name, parameter.dtype, memoryview(view).cast("B"))
            for parameter, view in zip(kernel.parameters, data, strict=True)
        ]
        self.scalars = [
            fit(value, dtype.compute) for value, dtype in zip(scalars, kernel.scalars, strict=True)
        ]
        names = kernel.sizes if isinstance(kernel, Kernel) else ()
        self.integers = dict(zip(names, sizes, strict=False))  # sizes, and axes as they move
        self.values: dict[str, Any] = {}
        self.address: Address = self.index_of

    # Expressions

    def size(self, size: Size) -> int:
        return self.integer(size) if isinstance(size, str) else size

    def integer(self, name: str) -> int:
        """A size, an axis, or a computed number."""
        number: int = self.integers[name] if name in self.integers else self.values[name]
        return number

    def place(self, index: Index) -> int:
        terms = (self.integer(axis) * self.size(stride) for axis, stride in index.terms)
        return self.size(index.offset) + sum(terms)

    def lane(self, lane: str | Index) -> int:
        """The place among the lanes of an accumulator."""
        return self.integers[lane] if isinstance(lane, str) else self.place(lane)

    def index_of(self, access: Load | Store) -> int:
        assert access.index is not None
        return self.place(access.index)

    def value(self, expr: Expr) -> Number:
        if isinstance(expr, Literal):
            return fit(expr.value, expr.dtype)
        if isinstance(expr, Scalar):
            return self.scalars[expr.position]
        if isinstance(expr, Load):
            return self.memory[expr.buffer].load(self.address(expr))
        if isinstance(expr, Local):
            value = self.values[expr.name]
            return value if expr.lane is None else value[self.lane(expr.lane)]
        if isinstance(expr, Counter):
            return convert(self.place(expr.index), int64, expr.dtype)
        values = [self.value(source) for source in expr.src]
        return apply(expr.op, values, expr.src[-1].dtype, expr.dtype)

    # Statements

    def block(self, body: Sequence[Stmt]) -> None:
        for stmt in body:
            self.statement(stmt)

    def statement(self, stmt: Stmt) -> None:
        if isinstance(stmt, Loop):
            for place in range(self.iterations(stmt)):
                self.integers[stmt.axis] = place
                self.block(stmt.body)
            self.integers.pop(stmt.axis, None)  # the name may stand for another number later
        elif isinstance(stmt, Let):
            self.values[stmt.name] = self.value(stmt.value)
        elif isinstance(stmt, Accumulator):
            initial = self.value(stmt.initial)
            self.values[stmt.name] = initial if stmt.lanes == 1 else [initial] * stmt.lanes
        elif isinstance(stmt, Accumulate):
            self.accumulate(stmt)
        elif isinstance(stmt, Assign):
            self.assign(stmt)
        else:
            memory = self.memory[stmt.buffer]
            value = convert(self.value(stmt.value), stmt.value.dtype, memory.dtype)
            memory.store(self.address(stmt), value)

    def iterations(self, loop: Loop) -> int:
        extent = self.size(loop.extent)
        if loop.tile is None:
            return extent
        outer, length = loop.tile
        return min(length, extent - self.integers[outer] * length)

    def accumulate(self, stmt: Accumulate) -> None:
        dtype = stmt.value.dtype
        places, key = self.values, stmt.name
        if stmt.lane is not None:
            places, key = self.values[stmt.name], self.lane(stmt.lane)  # type: ignore
        values = [places[key], self.value(stmt.value)]
        places[key] = apply(COMBINE[stmt.op], values, dtype, dtype)

    def assign(self, stmt: Assign) -> None:
        value = self.value(stmt.value)
        if stmt.lane is not None:
            self.values[stmt.name][self.lane(stmt.lane)] = value
        else:
            self.values[stmt.name] = value


def run_kernel(
    kernel: Kernel,
    data: Sequence[memoryview],
    sizes: Sequence[int],
    scalars: Sequence[float],
) -> None:
    """Runs all iterations of a kernel on the memory of its parameters."""
    Run(kernel, data, sizes, scalars).block(kernel.body)


# The matmul template --------------------------------------------------------------------------

GROUPS = ("batch", "m", "n", "k")


class GemmSizes:
    """The integers of a Gemm's launch, taken apart; see the docstring of `Gemm`."""

    def __init__(self, gemm: Gemm, sizes: Sequence[int]) -> None:
        ranks, rest = list(sizes[:4]), list(sizes[4:])
        rank = sum(ranks)
        if len(rest) != rank + gemm.accesses * (1 + rank):
            raise VerifyError(f"{gemm.name}: {len(sizes)} integers for {gemm.accesses} accesses")
        self.dims: dict[str, list[int]] = {}
        self.bounds: dict[str, slice] = {}
        start = 0
        for group, count in zip(GROUPS, ranks, strict=True):
            self.bounds[group] = slice(start, start + count)
            self.dims[group] = rest[start : start + count]
            start += count
        rows = [rest[i : i + 1 + rank] for i in range(rank, len(rest), 1 + rank)]
        self.offsets = [row[0] for row in rows]
        self.strides = [row[1:] for row in rows]

    def places(self, group: str) -> list[tuple[int, ...]]:
        """Every index tuple of a group of dimensions, row-major."""
        return list(itertools.product(*(range(size) for size in self.dims[group])))

    def address(self, access: int, place: dict[str, tuple[int, ...]]) -> int:
        total = self.offsets[access]
        for group, index in place.items():
            strides = self.strides[access][self.bounds[group]]
            total += sum(i * stride for i, stride in zip(index, strides, strict=True))
        return total


def run_gemm(
    gemm: Gemm,
    data: Sequence[memoryview],
    sizes: Sequence[int],
    scalars: Sequence[float],
) -> None:
    """Runs a whole matmul; the sum over k is exact as far as Python's floats go."""
    tables = GemmSizes(gemm, sizes)
    run = Run(gemm, data, (), scalars)
    place: dict[str, tuple[int, ...]] = {}
    run.address = lambda access: tables.address(access.access, place)
    for batch in tables.places("batch"):
        for m in tables.places("m"):
            for n in tables.places("n"):
                total: Number = 0
                for k in tables.places("k"):
                    place.clear()
                    place.update(batch=batch, m=m, k=k)
                    a = run.value(gemm.a)
                    place.clear()
                    place.update(batch=batch, n=n, k=k)
                    total += a * run.value(gemm.b)
                place.clear()
                place.update(batch=batch, m=m, n=n)
                run.values["accumulator"] = fit(total, gemm.accumulate)
                run.block(gemm.epilogue)


# The device -----------------------------------------------------------------------------------


class PythonBackend(Backend):
    """Memory is bytearrays behind numbers; a program is the IR itself."""

    def __init__(self) -> None:
        self.name = "python"
        self.caps = Caps(ALL_DTYPES)
        self.blocks: dict[int, bytearray] = {}
        self.handles = itertools.count(1)
        self.lock = threading.Lock()

    def allocate(self, nbytes: int) -> int:
        with self.lock:
            handle = next(self.handles)
            self.blocks[handle] = bytearray(b"\xff" * nbytes)  # as NaN, to show a missing store
        return handle

    def free(self, address: int, nbytes: int) -> None:
        with self.lock:
            self.blocks.pop(address, None)

    def copy_in(self, address: int, offset: int, data: memoryview) -> None:
        source = data.cast("B")
        self.blocks[address][offset : offset + len(source)] = source

    def copy_out(self, address: int, offset: int, data: memoryview) -> None:
        target = data.cast("B")
        target[:] = memoryview(self.blocks[address])[offset : offset + len(target)]

    def compile(self, kernels: Sequence[Kernel | Gemm]) -> list[Any]:
        return list(kernels)

    def prepare(self, launches: Sequence[Launch]) -> Any:
        return tuple(launches)

    def run(self, sequence: Any, slots: Sequence[int], scalars: Sequence[float]) -> None:
        for launch in sequence:
            places = [(slots[s], offset) for s, offset in launch.buffers]
            # Memory of no bytes has the address 0 and no block.
            data = [memoryview(self.blocks[at] if at else b"")[skip:] for at, skip in places]
            numbers = list(launch.scalars)
            for i, position in enumerate(launch.scalar_slots):
                if position >= 0:
                    numbers[i] = scalars[position]
            start = run_gemm if isinstance(launch.program, Gemm) else run_kernel
            start(launch.program, data, launch.sizes, numbers)

    def synchronize(self) -> None:
        """Nothing is ever under way."""

    def describe(self) -> str:
        return "python: the interpreter of the loop IR (slow, for tests)"


def open_backend(index: int) -> Backend:
    """The one device "python"."""
    return PythonBackend()
