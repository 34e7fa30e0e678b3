"""The Metal backend: memory, programs and launches on the GPU of a Mac.

Floor 4.  Memory is shared between processor and GPU, so a copy is a move of bytes after a wait
for the work in flight.  The address of a block is its MTLBuffer object.  One run of a sequence
is one command buffer of one queue; command buffers run in order, and each keeps what it uses.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Sequence
from typing import Any

from dlgrad import config
from dlgrad.codegen.kernel import Caps, Gemm, Kernel
from dlgrad.dtype import ALL_DTYPES, float64
from dlgrad.errors import DeviceError, DTypeError
from dlgrad.helpers import ForkSafeLock, debug_print
from dlgrad.metal import objc
from dlgrad.metal.compiler import MetalCompiler
from dlgrad.metal.dialect import GROUP, NUMBERS_INDEX, SIZES_INDEX
from dlgrad.metal.kernels import source_of
from dlgrad.metal.launches import PreparedLaunch, Program
from dlgrad.runtime import temporary
from dlgrad.runtime.device import Backend, Launch
from dlgrad.runtime.report import is_timed, report_launch

DTYPES = tuple(dtype for dtype in ALL_DTYPES if dtype is not float64)
FAMILY_APPLE7 = 1007  # the first with everything that kernels here use
STORAGE_SHARED = 0
STATUS_COMPLETED = 4
STATUS_FAILED = 5
MOST_BYTES = 4096  # that a command itself can carry
WORKERS = 64  # groups in flight that feed a small GPU


class MetalBackend(Backend):
    """The default GPU."""

    def __init__(self, index: int) -> None:
        self.name = f"metal:{index}"
        if index:
            raise DeviceError(f"there is only one Metal device, 'metal:0'; got {self.name!r}")
        self._runtime = objc.load()
        self._send = self._runtime.send
        self.simulated = self._runtime.simulated
        self._process = os.getpid()
        self._closed = False
        self._lock = ForkSafeLock()  # entered again where a finalizer frees at any point
        self._free: dict[int, list[int]] = {}  # size in bytes -> buffers
        self._blocks: dict[int, int] = {}  # buffer -> address of its bytes
        self._programs: dict[Kernel | Gemm, Program] = {}
        self._running: list[tuple[int, str]] = []  # command buffers, and what they do

        with self._runtime.pool():
            self._device = self._runtime.default_device()
            if not self._device:
                raise DeviceError("Metal is not available: the system has no GPU for it")
            if not self._send(self._device, "supportsFamily:", FAMILY_APPLE7):
                raise DeviceError(
                    "this Mac's GPU is not supported: dlgrad's Metal kernels need an Apple "
                    "processor (M1 or later); use device='cpu'"
                )
            self._title = self._runtime.text(self._send(self._device, "name"))
            self._queue = int(self._send(self._device, "newCommandQueue"))
        self._compiler = MetalCompiler(self._runtime, self._device)
        self.caps = Caps(
            dtypes=DTYPES, vector_bytes=16, registers=128, workers=WORKERS, group_size=GROUP
        )
        temporary.at_exit(self.close)
        if config.DEBUG.value >= 1:
            debug_print(self.describe())

    def _enter(self) -> None:
        if self._process != os.getpid():
            raise DeviceError(
                f"{self.name} was opened before this process was forked, and Metal does not "
                "survive a fork; start worker processes with the 'spawn' method"
            )
        if self._closed:
            raise DeviceError(f"{self.name} is closed: the process is ending")

    # Memory

    def allocate(self, nbytes: int) -> int:
        with self._lock.held:
            self._enter()
            kept = self._free.get(nbytes)
            if kept:
                return kept.pop()
            buffer = self._new_buffer(nbytes)
            if not buffer and self._free:
                self._give_back_kept()
                buffer = self._new_buffer(nbytes)
            if not buffer:
                raise DeviceError(f"{self.name} has no {nbytes} bytes of memory left")
            self._blocks[buffer] = self._send(buffer, "contents")
            return buffer

    def _new_buffer(self, nbytes: int) -> int:
        with self._runtime.pool():
            buffer = self._send(
                self._device, "newBufferWithLength:options:", nbytes, STORAGE_SHARED
            )
            return int(buffer or 0)

    def free(self, address: int, nbytes: int) -> None:
        with self._lock.held:
            if not self._closed:
                self._free.setdefault(nbytes, []).append(address)

    def _give_back_kept(self) -> None:
        """Releases all memory that nobody uses; running work still holds what it needs."""
        for buffers in self._free.values():
            for buffer in buffers:
                del self._blocks[buffer]
                self._send(buffer, "release")
        self._free.clear()

    def copy_in(self, address: int, offset: int, data: memoryview) -> None:
        self.synchronize()
        target = (ctypes.c_char * len(data)).from_address(self._blocks[address] + offset)
        memoryview(target).cast("B")[:] = data.cast("B")

    def copy_out(self, address: int, offset: int, data: memoryview) -> None:
        self.synchronize()
        source = (ctypes.c_char * len(data)).from_address(self._blocks[address] + offset)
        data.cast("B")[:] = memoryview(source).cast("B")

    # Programs

    def compile(self, kernels: Sequence[Kernel | Gemm]) -> list[Any]:
        with self._lock.held:
            self._enter()
            missing = [k for k in dict.fromkeys(kernels) if k not in self._programs]
            for kernel in missing:
                self._check_dtypes(kernel)
            sources = [source_of(kernel) for kernel in missing]
            if config.DEBUG.value >= 4:
                debug_print("\n".join(sources))
            libraries = self._libraries(missing, sources)
            for kernel, source, library in zip(missing, sources, libraries, strict=True):
                pipeline = self._compiler.pipeline(kernel.name, source, library)
                limit = self._send(pipeline, "maxTotalThreadsPerThreadgroup")
                if limit < GROUP:
                    raise DeviceError(
                        f"{kernel.name} runs with at most {limit} threads in a group on this "
                        f"GPU, dlgrad's kernels need {GROUP}; use device='cpu' for this model"
                    )
                self._programs[kernel] = Program(kernel, pipeline)
            return [self._programs[kernel] for kernel in kernels]

    def _check_dtypes(self, kernel: Kernel | Gemm) -> None:
        for parameter in kernel.parameters:
            if parameter.dtype not in DTYPES:
                raise DTypeError(
                    f"Metal has no {parameter.dtype.name}; convert with .float() before moving a "
                    f"tensor to {self.name}"
                )

    def _libraries(self, kernels: list[Kernel | Gemm], sources: list[str]) -> list[bytes]:
        def library(kernel: Kernel | Gemm, source: str) -> bytes:
            return self._compiler.prepare(kernel.name, source, kernel.note)

        if len(kernels) < 2:
            return [library(kernel, sources[0]) for kernel in kernels]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(library, kernels, sources))

    # Launches

    def prepare(self, launches: Sequence[Launch]) -> list[PreparedLaunch]:
        return [PreparedLaunch(launch) for launch in launches]

    def run(self, sequence: Any, slots: Sequence[int], scalars: Sequence[float]) -> None:
        timed = is_timed()
        with self._lock.held:
            self._enter()
            if not timed:
                self._submit(sequence, slots, scalars)
                return
            for prepared in sequence:
                self._submit([prepared], slots, scalars)
                self._report_time(prepared)

    def _submit(
        self, sequence: Sequence[PreparedLaunch], slots: Sequence[int], scalars: Sequence[float]
    ) -> None:
        """Puts launches into one command buffer and commits it."""
        send = self._send
        with self._runtime.pool():
            commands = send(self._queue, "commandBuffer")
            encoder = send(commands, "computeCommandEncoder")
            for prepared in sequence:
                if prepared.groups:
                    self._encode(encoder, prepared, slots, scalars)
            send(encoder, "endEncoding")
            send(commands, "commit")
            send(commands, "retain")
            note = ", ".join(prepared.program.kernel.name for prepared in sequence)
            self._running.append((commands, note))
            self._forget_finished()

    def _encode(
        self,
        encoder: int,
        prepared: PreparedLaunch,
        slots: Sequence[int],
        scalars: Sequence[float],
    ) -> None:
        send = self._send
        send(encoder, "setComputePipelineState:", prepared.program.pipeline)
        for index, (slot, offset) in enumerate(prepared.launch.buffers):
            if slots[slot]:
                send(encoder, "setBuffer:offset:atIndex:", slots[slot], offset, index)
            else:  # a tensor without elements: bound to something that nobody reads
                self._set_bytes(encoder, bytes(8), index)
        self._set_bytes(encoder, prepared.sizes, SIZES_INDEX)
        self._set_bytes(encoder, prepared.numbers(scalars), NUMBERS_INDEX)
        send(
            encoder,
            "dispatchThreadgroups:threadsPerThreadgroup:",
            objc.Size(prepared.groups, 1, 1),
            objc.Size(GROUP, 1, 1),
        )

    def _set_bytes(self, encoder: int, data: bytes, index: int) -> None:
        """Gives a kernel constants: in the command itself, or in a buffer if they are many."""
        if len(data) <= MOST_BYTES:
            self._send(encoder, "setBytes:length:atIndex:", data, len(data), index)
            return
        buffer = self._send(
            self._device, "newBufferWithBytes:length:options:", data, len(data), STORAGE_SHARED
        )
        self._send(encoder, "setBuffer:offset:atIndex:", buffer, 0, index)
        self._send(buffer, "release")  # the command buffer holds it as long as need be

    def synchronize(self) -> None:
        with self._lock.held, self._runtime.pool():
            self._enter()
            running, self._running = self._running, []
            problems = []
            for commands, note in running:
                self._send(commands, "waitUntilCompleted")
                problems += self._problem(commands, note)
                self._send(commands, "release")
        if problems:
            raise DeviceError(f"{self.name} failed: " + "; ".join(problems))

    def _problem(self, commands: int, note: str) -> list[str]:
        if self._send(commands, "status") != STATUS_FAILED:
            return []
        return [f"{note}: {self._runtime.error_text(self._send(commands, 'error'))}"]

    def _forget_finished(self) -> None:
        """Lets go of command buffers that are done; those that failed wait to be reported."""
        still = []
        for commands, note in self._running:
            if self._send(commands, "status") == STATUS_COMPLETED:
                self._send(commands, "release")
            else:
                still.append((commands, note))
        self._running = still

    def _report_time(self, prepared: PreparedLaunch) -> None:
        """Waits for the launch that was submitted last, and prints a line about it."""
        commands, _ = self._running[-1]
        self._send(commands, "waitUntilCompleted")
        start, end = (self._send(commands, name) for name in ("GPUStartTime", "GPUEndTime"))
        seconds = end - start
        began = time.perf_counter_ns() - round(seconds * 1e9)
        report_launch(prepared.program.kernel.name, prepared.launch, seconds, began)

    # The device itself

    def describe(self) -> str:
        return f"{self.name}: {self._title}, compiled by {self._compiler.describe()}"

    def close(self) -> None:
        """Finishes the work and releases everything, in order; further calls are errors."""
        with self._lock.held:
            if self._closed or self._process != os.getpid():
                return
            try:
                self.synchronize()
            finally:
                self._closed = True
                owned = [*self._blocks, *(p.pipeline for p in self._programs.values())]
                for handle in [*owned, self._queue, self._device]:
                    self._send(handle, "release")
                self._blocks.clear()
                self._free.clear()
                self._programs.clear()


def open_backend(index: int) -> MetalBackend:
    """The GPU of this Mac; DeviceError, with the reason, where it is not there."""
    return MetalBackend(index)
