"""Direct use of the fake libraries, for the tests of the simulators themselves.

`CudaLab` and `MetalLab` compile kernels given as text, launch them, and tell what was reported.
They speak to the libraries with calls of their own, so that the tests of the simulators do not
depend on dlgrad's backends.
"""

from __future__ import annotations

import array
import ctypes
import hashlib
import os
import subprocess
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from sim import build

BLOCKS, STREAMS, EVENTS, MODULES, PINNED = range(5)  # what CudaLab.alive counts


def compiled(device: str, source: str, *, races: bool = False, traps: bool = False) -> bytes:
    """The image of a kernel source, kept beside the libraries; RuntimeError says why not."""
    variables = build.environment(device, races=races, traps=traps)
    key = hashlib.sha256(f"{device} {races} {traps} {source}".encode()).hexdigest()[:20]
    folder = build.build_folder() / build.source_digest()
    image = folder / f"{key}.image"
    if not image.exists():
        part = folder / f"{key}.{os.getpid()}"
        text = folder / f"{key}.{os.getpid()}.source"
        text.write_text(source)
        if device == "cuda":
            command = [variables["DLGRAD_NVCC"], "-cubin", "-arch=sm_90"]
        else:
            command = [variables["SIM_METAL_COMPILER"]]
        command += ["-o", str(part), str(text)]
        result = subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, text=True
        )
        text.unlink()
        if result.returncode:
            raise RuntimeError(result.stderr)
        part.replace(image)
    return image.read_bytes()


class Switches:
    """The switches that both simulators have."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._order = c_int.in_dll(library, "sim_order")
        self._races = c_int.in_dll(library, "sim_races")

    def set(self, *, order: int = 0, races: bool = False) -> None:
        self._order.value, self._races.value = order, int(races)


class CudaLab:
    """The fake CUDA driver with one context."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))
        self.switches = Switches(self.library)
        self.library.sim_last_message.restype = c_char_p
        self.must("cuInit", c_uint(0))
        self.context = self.handle("cuDevicePrimaryCtxRetain", c_int(0))
        self.must("cuCtxSetCurrent", self.context)

    def call(self, name: str, *arguments: Any) -> int:
        """The result code of a driver function; the arguments are ctypes objects."""
        return int(getattr(self.library, name)(*arguments))

    def must(self, name: str, *arguments: Any) -> None:
        code = self.call(name, *arguments)
        assert code == 0, f"{name} returned {code}: {self.message()}"

    def handle(self, name: str, *arguments: Any) -> c_void_p:
        result = c_void_p()
        self.must(name, byref(result), *arguments)
        return result

    def message(self) -> str:
        """What the simulator said last, in words."""
        return str(self.library.sim_last_message().decode())

    def alive(self, what: int) -> int:
        return int(self.library.sim_alive(what))

    def reset(self) -> None:
        """Clears a fault, as resetting the device would."""
        self.library.sim_reset()

    # Memory: device addresses are c_uint64, contents come and go as arrays

    def allocate(self, nbytes: int) -> c_uint64:
        address = c_uint64()
        self.must("cuMemAlloc_v2", byref(address), c_size_t(nbytes))
        return address

    def upload(self, values: list[float], kind: str = "f") -> c_uint64:
        data = array.array(kind, values)
        address = self.allocate(len(data) * data.itemsize)
        start, _ = data.buffer_info()
        size = c_size_t(len(data) * data.itemsize)
        self.must("cuMemcpyHtoD_v2", address, c_void_p(start), size)
        return address

    def download(self, address: c_uint64, count: int, kind: str = "f") -> list[float]:
        data = array.array(kind, bytes(count * array.array(kind).itemsize))
        start, _ = data.buffer_info()
        size = c_size_t(len(data) * data.itemsize)
        self.must("cuMemcpyDtoH_v2", c_void_p(start), address, size)
        return data.tolist()

    def free(self, *addresses: c_uint64) -> None:
        for address in addresses:
            self.must("cuMemFree_v2", address)

    # Kernels

    def load(self, source: str, **options: bool) -> c_void_p:
        image = compiled("cuda", source, **options)
        return self.handle("cuModuleLoadData", c_char_p(image))

    def function(self, module: c_void_p, name: str) -> c_void_p:
        return self.handle("cuModuleGetFunction", module, c_char_p(name.encode()))

    def launch(
        self,
        function: c_void_p,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        *arguments: Any,
        shared: int = 0,
        stream: c_void_p | None = None,
    ) -> int:
        """The result code of a launch alone; the kernel runs when something waits."""
        sizes = [c_uint(n) for part in (grid, block) for n in (*part, 1, 1)[:3]]
        addresses = (c_void_p * len(arguments))(*[ctypes.addressof(a) for a in arguments])
        return self.call(
            "cuLaunchKernel", function, *sizes, c_uint(shared), stream, addresses, None
        )

    def run(self, *arguments: Any, **options: Any) -> int:
        """Launches and waits; the first result code that is not 0, or 0."""
        return self.launch(*arguments, **options) or self.call("cuCtxSynchronize")


class MetalLab:
    """The fake Objective-C run time and Metal framework."""

    def __init__(self, path: Path) -> None:
        self.library = library = ctypes.CDLL(str(path))
        self.switches = Switches(library)
        for name in (
            "sel_registerName",
            "objc_getClass",
            "MTLCreateSystemDefaultDevice",
            "objc_autoreleasePoolPush",
        ):
            getattr(library, name).restype = c_void_p
        library.sim_alive.restype = ctypes.c_long
        library.sim_take_misuse.restype = ctypes.c_long
        self._send_address = ctypes.cast(library.objc_msgSend, c_void_p).value
        self.device = library.MTLCreateSystemDefaultDevice()
        self.queue = self.send(self.device, "newCommandQueue")

    def send(self, receiver: Any, selector: str, *arguments: Any, result: Any = c_void_p) -> Any:
        """Sends a message; the arguments are ctypes objects, whose types make the prototype."""
        kinds = [type(argument) for argument in arguments]
        prototype = ctypes.CFUNCTYPE(result, c_void_p, c_void_p, *kinds)
        registered = self.library.sel_registerName(selector.encode())
        return prototype(self._send_address)(receiver, registered, *arguments)

    def string(self, text: str) -> c_void_p:
        owner = self.library.objc_getClass(b"NSString")
        return c_void_p(self.send(owner, "stringWithUTF8String:", c_char_p(text.encode())))

    def text(self, string: Any) -> str:
        return str(self.send(string, "UTF8String", result=c_char_p).decode())

    def push_pool(self) -> c_void_p:
        return c_void_p(self.library.objc_autoreleasePoolPush())

    def pop_pool(self, pool: c_void_p) -> None:
        self.library.objc_autoreleasePoolPop(pool)

    def alive(self, name: str) -> int:
        return int(self.library.sim_alive(name.encode()))

    def misuse(self) -> str:
        """What was noted since the last call; needs sim_note_misuse(1)."""
        text = ctypes.create_string_buffer(4096)
        self.library.sim_take_misuse(text, c_size_t(len(text)))
        return text.value.decode()

    # Memory and kernels

    def buffer(self, values: list[float], kind: str = "f") -> c_void_p:
        data = array.array(kind, values).tobytes()
        length, options = ctypes.c_ulong(len(data)), ctypes.c_ulong(0)
        made = c_void_p(self.send(self.device, "newBufferWithLength:options:", length, options))
        ctypes.memmove(self.send(made, "contents"), data, len(data))
        return made

    def contents(self, buffer: c_void_p, kind: str = "f") -> list[float]:
        size = self.send(buffer, "length", result=ctypes.c_ulong)
        data = ctypes.string_at(self.send(buffer, "contents"), size)
        return array.array(kind, data).tolist()

    def pipeline(self, source: str, name: str = "k", **options: bool) -> c_void_p:
        """The pipeline of a kernel; RuntimeError says what was refused."""
        image = compiled("metal", source, **options)
        path = build.build_folder() / f"{os.getpid()}.metallib"
        path.write_bytes(image)
        owner = self.library.objc_getClass(b"NSURL")
        url = c_void_p(self.send(owner, "fileURLWithPath:", self.string(str(path))))
        error = c_void_p()
        loaded = self.send(self.device, "newLibraryWithURL:error:", url, ctypes.pointer(error))
        path.unlink()
        function = c_void_p(self.send(loaded, "newFunctionWithName:", self.string(name)))
        selector = "newComputePipelineStateWithFunction:error:"
        made = self.send(self.device, selector, function, ctypes.pointer(error))
        if not made:
            raise RuntimeError(self.text(self.send(error, "localizedDescription")))
        return c_void_p(made)

    def run(self, pipeline: c_void_p, arguments: list[Any], groups: int, threads: int) -> str:
        """Runs a kernel on buffers (c_void_p) and constants; what went wrong, or ""."""
        commands = self.commit(pipeline, arguments, groups, threads)
        self.send(commands, "waitUntilCompleted", result=None)
        error = self.send(commands, "error")
        return self.text(self.send(error, "localizedDescription")) if error else ""

    def commit(self, pipeline: c_void_p, arguments: list[Any], groups: int, threads: int) -> Any:
        commands = self.send(self.queue, "commandBuffer")
        encoder = self.send(commands, "computeCommandEncoder")
        self.send(encoder, "setComputePipelineState:", pipeline, result=None)
        for index, argument in enumerate(arguments):
            place = ctypes.c_ulong(index)
            if isinstance(argument, c_void_p):
                zero = ctypes.c_ulong(0)
                selector = "setBuffer:offset:atIndex:"
                self.send(encoder, selector, argument, zero, place, result=None)
            else:
                size = ctypes.c_ulong(ctypes.sizeof(argument))
                address = c_void_p(ctypes.addressof(argument))
                self.send(encoder, "setBytes:length:atIndex:", address, size, place, result=None)
        selector = "dispatchThreadgroups:threadsPerThreadgroup:"
        self.send(encoder, selector, Size(groups, 1, 1), Size(threads, 1, 1), result=None)
        self.send(encoder, "endEncoding", result=None)
        self.send(commands, "commit", result=None)
        return commands


class Size(ctypes.Structure):
    """MTLSize"""

    _fields_ = [(name, ctypes.c_ulong) for name in ("width", "height", "depth")]
