"""The CUDA backend: memory, programs and launches on one NVIDIA GPU.

Floor 4.  Everything goes through one stream in order, so memory that is given back may be
handed out again at once: whoever gets it comes later in the stream.  Calls may come from any
thread.  At exit the work is finished, and memory, modules, stream and context go, in this
order.
"""

from __future__ import annotations

import ctypes
import os
import time
import weakref
from collections.abc import Sequence
from ctypes import byref, c_float, c_uint64
from typing import Any

from dlgrad import config
from dlgrad.codegen.kernel import Caps, Gemm, Kernel
from dlgrad.cuda import driver as cuda
from dlgrad.cuda.compiler import CudaCompiler
from dlgrad.cuda.dialect import BLOCK
from dlgrad.cuda.driver import CudaError, Driver
from dlgrad.cuda.kernels import source_of
from dlgrad.cuda.launches import PreparedLaunch, Program
from dlgrad.cuda.nvcc import find_compiler
from dlgrad.dtype import ALL_DTYPES
from dlgrad.errors import DeviceError
from dlgrad.helpers import ForkSafeLock, debug_print
from dlgrad.runtime import temporary
from dlgrad.runtime.device import Backend, Launch
from dlgrad.runtime.report import is_timed, report_launch

GROUPS_PER_MULTIPROCESSOR = 8  # 2048 resident threads in groups of 256
NAME_LENGTH = 256


class PreparedSequence:
    """Launches ready to run; `tables` are the blocks that hold the sizes of its matmuls."""

    __slots__ = ("launches", "tables", "__weakref__")

    def __init__(self, launches: list[PreparedLaunch], tables: list[tuple[int, int]]) -> None:
        self.launches = launches
        self.tables = tables


class CudaBackend(Backend):
    """One GPU."""

    def __init__(self, index: int) -> None:
        self.name = f"cuda:{index}"
        self._driver: Driver = cuda.load()
        self.simulated = self._driver.simulated
        self._process = os.getpid()
        self._closed = False
        self._lock = ForkSafeLock()  # entered again where a finalizer frees at any point
        self._free: dict[int, list[int]] = {}  # size in bytes -> addresses
        self._blocks: set[int] = set()  # every address that the driver has given
        self.in_use = 0  # bytes handed out now
        self.most_in_use = 0  # and the most since the start, or since it was set back
        self._programs: dict[Kernel | Gemm, Program] = {}
        self._compiler: CudaCompiler | None = None

        driver = self._driver
        count = driver.integer("cuDeviceGetCount")
        if index >= count:
            raise DeviceError(f"there is no device 'cuda:{index}': the driver sees {count} GPU(s)")
        self._device = driver.integer("cuDeviceGet", index)
        self._context = driver.handle("cuDevicePrimaryCtxRetain", self._device)
        driver.call("cuCtxSetCurrent", self._context)
        self._stream = driver.handle("cuStreamCreate", cuda.STREAM_NON_BLOCKING)
        major = self._attribute(cuda.ATTRIBUTE_MAJOR)
        minor = self._attribute(cuda.ATTRIBUTE_MINOR)
        self.architecture = f"sm_{major}{minor}"
        self.caps = Caps(
            dtypes=ALL_DTYPES,
            vector_bytes=16,
            registers=255,
            level2_cache=self._attribute(cuda.ATTRIBUTE_LEVEL2_CACHE),
            workers=self._attribute(cuda.ATTRIBUTE_MULTIPROCESSORS) * GROUPS_PER_MULTIPROCESSOR,
            group_size=BLOCK,
        )
        temporary.at_exit(self.close)
        if config.DEBUG.value >= 1:
            debug_print(self.describe())

    def _attribute(self, number: int) -> int:
        return self._driver.integer("cuDeviceGetAttribute", number, self._device)

    def _enter(self) -> Driver:
        """Makes the context current in this thread; the first thing in every call."""
        if self._process != os.getpid():
            raise DeviceError(
                f"{self.name} was opened before this process was forked, and CUDA does not "
                "survive a fork; start worker processes with the 'spawn' method"
            )
        if self._closed:
            raise DeviceError(f"{self.name} is closed: the process is ending")
        self._driver.call("cuCtxSetCurrent", self._context)
        return self._driver

    # Memory

    def allocate(self, nbytes: int) -> int:
        with self._lock.held:
            kept = self._free.get(nbytes)
            if kept:
                self._count(nbytes)
                return kept.pop()
            driver = self._enter()
            address = c_uint64()
            try:
                driver.call("cuMemAlloc_v2", byref(address), nbytes)
            except CudaError as error:
                if error.code != cuda.OUT_OF_MEMORY or not self._free:
                    raise
                self._give_back_kept()
                driver.call("cuMemAlloc_v2", byref(address), nbytes)
            self._blocks.add(address.value)
            self._count(nbytes)
            return address.value

    def _count(self, nbytes: int) -> None:
        self.in_use += nbytes
        self.most_in_use = max(self.most_in_use, self.in_use)

    def reserved(self) -> int:
        """Bytes that the driver has given: handed out, or kept for later."""
        with self._lock.held:
            kept = sum(nbytes * len(addresses) for nbytes, addresses in self._free.items())
            return self.in_use + kept

    def free(self, address: int, nbytes: int) -> None:
        with self._lock.held:
            if not self._closed:
                self.in_use -= nbytes
                self._free.setdefault(nbytes, []).append(address)

    def _give_back_kept(self) -> None:
        """Returns to the driver all memory that nobody uses."""
        for addresses in self._free.values():
            for address in addresses:
                self._driver.call("cuMemFree_v2", address)
                self._blocks.discard(address)
        self._free.clear()

    def give_back(self) -> None:
        with self._lock.held:
            self._enter()
            self._give_back_kept()

    def copy_in(self, address: int, offset: int, data: memoryview) -> None:
        driver = self._enter()
        source = _readable(data)
        driver.call("cuMemcpyHtoDAsync_v2", address + offset, source, len(data), self._stream)
        driver.call("cuStreamSynchronize", self._stream)  # pinned memory is read late

    def copy_out(self, address: int, offset: int, data: memoryview) -> None:
        driver = self._enter()
        target = (ctypes.c_char * len(data)).from_buffer(data)
        driver.call("cuMemcpyDtoHAsync_v2", target, address + offset, len(data), self._stream)
        driver.call("cuStreamSynchronize", self._stream)

    # Programs

    def compile(self, kernels: Sequence[Kernel | Gemm]) -> list[Any]:
        with self._lock.held:
            missing = [k for k in dict.fromkeys(kernels) if k not in self._programs]
            if missing:
                images = self._images(missing)
                for kernel, image in zip(missing, images, strict=True):
                    self._programs[kernel] = self._load(kernel, image)
            return [self._programs[kernel] for kernel in kernels]

    def _images(self, kernels: list[Kernel | Gemm]) -> list[bytes]:
        """The machine code of the kernels, compiled side by side."""
        if self._compiler is None:
            self._compiler = find_compiler()
            if config.DEBUG.value >= 1:
                debug_print(f"{self.name} compiles with {self._compiler.describe()}")
        sources = [source_of(kernel) for kernel in kernels]
        if config.DEBUG.value >= 4:
            debug_print("\n".join(sources))
        compiler, architecture = self._compiler, self.architecture

        def image(kernel: Kernel | Gemm, source: str) -> bytes:
            return compiler.compile(kernel.name, source, architecture, kernel.note)

        if len(kernels) == 1:
            return [image(kernels[0], sources[0])]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(image, kernels, sources))

    def _load(self, kernel: Kernel | Gemm, image: bytes) -> Program:
        driver = self._enter()
        module = driver.handle("cuModuleLoadData", image)
        function = driver.handle("cuModuleGetFunction", module, kernel.name.encode())
        return Program(kernel, module, function)

    # Launches

    def prepare(self, launches: Sequence[Launch]) -> PreparedSequence:
        prepared: list[PreparedLaunch] = []
        tables: list[tuple[int, int]] = []
        sequence = PreparedSequence(prepared, tables)
        weakref.finalize(sequence, self._free_tables, tables).atexit = False
        for launch in launches:
            table = 0
            if isinstance(launch.program.kernel, Gemm):
                sizes = (ctypes.c_int64 * len(launch.sizes))(*launch.sizes)
                nbytes = ctypes.sizeof(sizes)
                table = self.allocate(nbytes)
                tables.append((table, nbytes))
                self.copy_in(table, 0, memoryview(sizes).cast("B"))
            prepared.append(PreparedLaunch(launch, table))
        return sequence

    def _free_tables(self, tables: list[tuple[int, int]]) -> None:
        for address, nbytes in tables:
            self.free(address, nbytes)

    def run(self, sequence: Any, slots: Sequence[int], scalars: Sequence[float]) -> None:
        driver = self._enter()
        timed = is_timed()
        with self._lock.held:  # the arguments belong to the sequence, which two threads may run
            for prepared in sequence.launches:
                if prepared.groups == 0:
                    continue
                prepared.fill(slots, scalars)
                if timed:
                    self._launch_timed(driver, prepared)
                else:
                    self._launch(driver, prepared)

    def _launch(self, driver: Driver, prepared: PreparedLaunch) -> None:
        code = driver.launch_kernel(
            prepared.function,
            prepared.groups, 1, 1,
            BLOCK, 1, 1,
            0, self._stream, prepared.layout.array, None,
        )  # fmt: skip
        if code:
            driver.fail(f"launching {prepared.launch.program.kernel.name}", code)

    def _launch_timed(self, driver: Driver, prepared: PreparedLaunch) -> None:
        """One launch, waited for, with a line about it."""
        events = [driver.handle("cuEventCreate", 0) for _ in range(2)]
        driver.call("cuEventRecord", events[0], self._stream)
        self._launch(driver, prepared)
        driver.call("cuEventRecord", events[1], self._stream)
        driver.call("cuStreamSynchronize", self._stream)
        milliseconds = c_float()
        driver.call("cuEventElapsedTime_v2", byref(milliseconds), *events)
        for event in events:
            driver.call("cuEventDestroy_v2", event)
        launch = prepared.launch
        name = launch.program.kernel.name
        seconds = milliseconds.value * 1e-3
        report_launch(name, launch, seconds, time.perf_counter_ns() - round(seconds * 1e9))

    def synchronize(self) -> None:
        self._enter().call("cuStreamSynchronize", self._stream)

    # The device itself

    def describe(self) -> str:
        name = ctypes.create_string_buffer(NAME_LENGTH)
        self._driver.call("cuDeviceGetName", name, NAME_LENGTH, self._device)
        version = self._driver.integer("cuDriverGetVersion")
        return (
            f"{self.name}: {name.value.decode()} ({self.architecture}), driver for CUDA "
            f"{version // 1000}.{version % 1000 // 10}"
        )

    def close(self) -> None:
        """Finishes the work and releases everything, in order; further calls are errors."""
        with self._lock.held:
            if self._closed or self._process != os.getpid():
                return
            driver = self._enter()
            self._closed = True
            try:
                driver.call("cuStreamSynchronize", self._stream)
                for address in self._blocks:
                    driver.call("cuMemFree_v2", address)
                for program in self._programs.values():
                    driver.call("cuModuleUnload", program.module)
                driver.call("cuStreamDestroy_v2", self._stream)
            finally:
                self._blocks.clear()
                self._free.clear()
                self._programs.clear()
                driver.call("cuDevicePrimaryCtxRelease_v2", self._device)


def _readable(data: memoryview) -> Any:
    """The bytes of a view as something ctypes passes by address."""
    if data.readonly:
        return bytes(data)  # a view of constants gives no address
    return (ctypes.c_char * len(data)).from_buffer(data)


def open_backend(index: int) -> CudaBackend:
    """The GPU number `index`; DeviceError, with the reason, where it is not there."""
    return CudaBackend(index)
