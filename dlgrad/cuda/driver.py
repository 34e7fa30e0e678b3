"""The CUDA driver library through ctypes: an explicit prototype for every function in use.

Floor 4.  `load` finds and opens the library, `Driver` calls it and turns error codes into
`CudaError`.  The names carry the suffixes that `cuda.h` adds (cuMemAlloc without one is an
interface of 2010 with 32-bit addresses).  Nothing happens at import.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

from dlgrad import config
from dlgrad.errors import DeviceError

LIBRARY_NAMES = (
    "libcuda.so.1",
    "libcuda.so",
    "/usr/lib/wsl/lib/libcuda.so.1",
    "nvcuda.dll",
)

_handle = c_void_p
_handle_out = POINTER(c_void_p)
_address = c_uint64  # CUdeviceptr
_device = c_int  # CUdevice

PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (POINTER(c_int),),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(_device), c_int),
    "cuDeviceGetName": (c_char_p, c_int, _device),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, _device),
    "cuDeviceTotalMem_v2": (POINTER(c_size_t), _device),
    "cuDevicePrimaryCtxRetain": (_handle_out, _device),
    "cuDevicePrimaryCtxRelease_v2": (_device,),
    "cuCtxSetCurrent": (_handle,),
    "cuMemAlloc_v2": (POINTER(_address), c_size_t),
    "cuMemFree_v2": (_address,),
    "cuMemcpyHtoDAsync_v2": (_address, c_void_p, c_size_t, _handle),
    "cuMemcpyDtoHAsync_v2": (c_void_p, _address, c_size_t, _handle),
    "cuStreamCreate": (_handle_out, c_uint),
    "cuStreamDestroy_v2": (_handle,),
    "cuStreamSynchronize": (_handle,),
    "cuEventCreate": (_handle_out, c_uint),
    "cuEventRecord": (_handle, _handle),
    "cuEventElapsedTime_v2": (POINTER(c_float), _handle, _handle),
    "cuEventDestroy_v2": (_handle,),
    "cuModuleLoadData": (_handle_out, c_void_p),
    "cuModuleUnload": (_handle,),
    "cuModuleGetFunction": (_handle_out, _handle, c_char_p),
    "cuLaunchKernel": (
        (_handle,)
        + (c_uint,) * 6  # grid x y z, block x y z
        + (c_uint, _handle, _handle_out, _handle_out)  # shared bytes, stream, arguments, extra
    ),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
}

# What a driver may lack, with the name that does the same there.
OLDER_NAMES = {"cuEventElapsedTime_v2": "cuEventElapsedTime"}

# Numbers of cuda.h
OUT_OF_MEMORY = 2
STREAM_NON_BLOCKING = 1
ATTRIBUTE_MULTIPROCESSORS = 16
ATTRIBUTE_LEVEL2_CACHE = 38
ATTRIBUTE_MAJOR = 75
ATTRIBUTE_MINOR = 76


class CudaError(DeviceError):
    """A call to the driver failed; `code` is the driver's number for the reason."""

    def __init__(self, function: str, code: int, name: str, words: str) -> None:
        super().__init__(f"{function} failed: {name} ({code}): {words}")
        self.code = code


class Driver:
    """The opened library.

    `simulated` is True where the library says that it is a test double.
    """

    def __init__(self, library: ctypes.CDLL, path: str) -> None:
        self.path = path
        self.simulated = hasattr(library, "dlgrad_sim_version")
        self._functions: dict[str, Any] = {}
        for name, argtypes in PROTOTYPES.items():
            found = getattr(library, name, None)
            if found is None and name in OLDER_NAMES:
                found = getattr(library, OLDER_NAMES[name], None)
            if found is None:
                raise DeviceError(
                    f"{path} has no function {name}; update the NVIDIA driver, or name another "
                    "library in DLGRAD_LIBCUDA"
                )
            found.argtypes = argtypes
            found.restype = c_int
            self._functions[name] = found
        self.launch_kernel = self._functions["cuLaunchKernel"]  # for the one hot loop

    def call(self, name: str, *arguments: Any) -> None:
        """Calls a driver function; raises CudaError where it reports one."""
        code = self._functions[name](*arguments)
        if code:
            self.fail(name, code)

    def fail(self, name: str, code: int) -> None:
        """Raises CudaError for an error code that function `name` returned."""
        raise CudaError(name, code, self._text("cuGetErrorName", code), self._words(code))

    def _words(self, code: int) -> str:
        return self._text("cuGetErrorString", code)

    def _text(self, function: str, code: int) -> str:
        text = c_char_p()  # stays NULL for codes that the driver does not know
        self._functions[function](code, byref(text))
        return (text.value or b"unknown error").decode()

    def handle(self, name: str, *arguments: Any) -> int:
        """Calls a function whose first parameter receives a handle, and returns that."""
        result = c_void_p()
        self.call(name, byref(result), *arguments)
        return result.value or 0

    def integer(self, name: str, *arguments: Any) -> int:
        """Calls a function whose first parameter receives an int, and returns that."""
        result = c_int()
        self.call(name, byref(result), *arguments)
        return result.value


_driver: Driver | None = None


def load() -> Driver:
    """Opens and initialises the driver, once.

    Raises DeviceError, with what was tried and one thing to do, where that is not possible.
    """
    global _driver
    if _driver is None:
        library, path = _open()
        driver = Driver(library, path)
        try:
            driver.call("cuInit", 0)
        except CudaError as error:
            raise DeviceError(
                f"CUDA is not available: {error}; check with `nvidia-smi` that the driver runs "
                "and sees a GPU"
            ) from None
        _driver = driver
    return _driver


def _open() -> tuple[ctypes.CDLL, str]:
    chosen = config.LIBCUDA.value
    problems = []
    for name in (chosen,) if chosen else LIBRARY_NAMES:
        try:
            return ctypes.CDLL(name), name
        except OSError as error:
            problems.append(f"{name}: {error}" if chosen else name)
    advice = "correct DLGRAD_LIBCUDA"
    if not chosen:
        advice = "install the NVIDIA driver, or name its library in DLGRAD_LIBCUDA"
    raise DeviceError(
        "CUDA is not available: the driver library was not found (tried "
        f"{', '.join(problems)}); {advice}"
    )
