"""The device "cpu": kernels as C, compiled on first use, on all cores.

Floor 4.  An address is a pointer; launches run before `run` returns.  Nothing is searched,
compiled or started before the first memory or kernel is asked for.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dlgrad import config
from dlgrad.c_src import dialect, host
from dlgrad.c_src.compiler import Compiler, find_compiler, in_parallel
from dlgrad.c_src.matmul_source import render_gemm
from dlgrad.c_src.roofs import Roofs, known_roofs
from dlgrad.c_src.runtime import Prepared, Program, Runtime, Source
from dlgrad.codegen.kernel import Caps, Gemm, Kernel
from dlgrad.codegen.render import render
from dlgrad.dtype import ALL_DTYPES
from dlgrad.helpers import ForkSafeLock, debug_print
from dlgrad.runtime.device import Backend, Captured, Condition, Launch
from dlgrad.runtime.report import is_timed, report_launch, untimed
from dlgrad.runtime.timeline import span

# The loops of the template that matter are written out already; unrolling the others takes the
# compiler as long as all the rest.
MATMUL_FLAGS = ("-fno-unroll-loops",)


class CpuBackend(Backend):
    """The processor that Python itself runs on."""

    def __init__(self) -> None:
        self.name = "cpu"
        self._lock = ForkSafeLock()
        self._programs: dict[tuple[Kernel | Gemm, Compiler], Program] = {}
        compiler = find_compiler()
        level1, level2 = host.cache_sizes()
        self._threads = host.thread_count()
        self.caps = Caps(
            dtypes=ALL_DTYPES,
            vector_bytes=compiler.finding.vector_bytes,
            registers=compiler.finding.registers,
            bfloat16_pairs=compiler.finding.bfloat16_pairs,
            level1_cache=level1,
            level2_cache=level2,
            workers=self._threads,
        )
        self.runtime = Runtime(compiler)
        # The end of every tensor: without a call in between it takes half as long.
        self.free = self.runtime.free  # type: ignore[method-assign, assignment]
        self._roofs: Roofs | None = None
        if config.DEBUG.value >= 1:
            debug_print(f"cpu: {self.describe()}")

    @property
    def threads(self) -> int:
        """How many threads compute now."""
        return config.NUM_THREADS.value or self._threads

    # Memory

    def allocate(self, nbytes: int) -> int:
        return self.runtime.allocate(nbytes)

    def free(self, address: int, nbytes: int) -> None:
        self.runtime.free(address, nbytes)

    def copy_in(self, address: int, offset: int, data: memoryview) -> None:
        _view(address + offset, data.nbytes)[:] = data.cast("B")

    def copy_out(self, address: int, offset: int, data: memoryview) -> None:
        data.cast("B")[:] = _view(address + offset, data.nbytes)

    # Programs

    def compile(self, kernels: Sequence[Kernel | Gemm]) -> list[Program]:
        compiler = find_compiler()
        with self._lock.held:
            programs = {
                kernel: self._programs[kernel, compiler]
                for kernel in kernels
                if (kernel, compiler) in self._programs
            }
        missing = list(dict.fromkeys(kernel for kernel in kernels if kernel not in programs))
        if missing:
            sources = [self._render(kernel) for kernel in missing]
            for kernel, program in zip(missing, _build(compiler, sources), strict=True):
                programs[kernel] = program
                with self._lock.held:
                    self._programs[kernel, compiler] = program
        return [programs[kernel] for kernel in kernels]

    def _render(self, kernel: Kernel | Gemm) -> Source:
        if isinstance(kernel, Gemm):
            text = render_gemm(kernel, self.caps)
            return Source(kernel.name, text, kernel.note, True, MATMUL_FLAGS)
        return Source(kernel.name, render(kernel, dialect.C), kernel.note)

    def compile_source(self, text: str, name: str, has_jobs: bool = False) -> Program:
        """A program from C text that defines the function `name` (see `runtime.Source`)."""
        return _build(find_compiler(), [Source(name, text, has_jobs=has_jobs)])[0]

    # Launches

    def prepare(self, launches: Sequence[Launch]) -> Prepared:
        return self.runtime.prepare(launches)

    def run(self, sequence: Prepared, slots: Sequence[int], scalars: Sequence[float]) -> None:
        if not is_timed():
            threads = config.NUM_THREADS.value or self._threads
            self.runtime.run(sequence, slots, scalars, threads)
            return
        roofs = self.roofs()
        start = time.perf_counter_ns()
        for launch, seconds in zip(
            sequence.launches, self.run_timed(sequence, slots, scalars), strict=True
        ):
            share = roofs.share(launch.flops, launch.bytes_moved, seconds)
            report_launch(launch.program.name, launch, seconds, start, share)
            start += round(seconds * 1e9)

    def replayer(self, captured: Captured) -> Callable[..., Any] | None:
        conditions = [
            *captured.conditions,
            Condition(*config.NUM_THREADS.place, config.NUM_THREADS.value),
            *untimed(),
        ]
        return self.runtime.replayer(captured.sequence, captured, conditions, self.threads)

    def run_timed(
        self, sequence: Prepared, slots: Sequence[int], scalars: Sequence[float]
    ) -> list[float]:
        """As `run`, and returns the seconds that each launch took."""
        return self.runtime.run_timed(sequence, slots, scalars, self.threads)

    def synchronize(self) -> None:
        """Nothing is ever under way: `run` returns when the work is done."""

    # For people

    def describe(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        bits = 8 * self.caps.vector_bytes
        return f"{host.cpu_name()}, {threads}, {bits}-bit vectors, {find_compiler().describe()}"

    def roofs(self) -> Roofs:
        """The most that this machine does, measured once and kept in the cache."""
        if self._roofs is None:
            compiler = find_compiler().finding.version
            self._roofs = known_roofs(self.runtime, self.threads, self.caps.vector_bytes, compiler)
        return self._roofs


def _view(address: int, nbytes: int) -> memoryview:
    return memoryview((ctypes.c_ubyte * nbytes).from_address(address)).cast("B")


def _build(compiler: Compiler, sources: Sequence[Source]) -> list[Program]:
    """Compiles side by side, shows what DLGRAD_DEBUG asks for, and loads."""
    with span("compile", "compile"):
        entries = in_parallel([partial(source.compile, compiler) for source in sources])
    programs = []
    for source, entry in zip(sources, entries, strict=True):
        if config.DEBUG.value >= 4:
            debug_print(f"--- {entry.source_path}\n{source.text}")
        if config.DEBUG.value >= 6:
            debug_print(f"--- {entry.stem}.s\n{compiler.assembly(source.text)}")
        programs.append(source.program(entry, compiler))
    return programs


def open_backend(index: int) -> CpuBackend:
    """The backend of the device "cpu"; CompilerNotFoundError where there is no C compiler."""
    return CpuBackend()
