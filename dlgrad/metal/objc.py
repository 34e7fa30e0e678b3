"""The Objective-C run time and the Metal framework through ctypes.

Floor 4.  A message is a C call of one address whose prototype differs from selector to
selector, so there is one typed function object for each.  Everything that a call may pass is
in `SIGNATURES`; an argument too many would travel where the receiver does not look on Apple's
processors, so the count is checked.  Nothing happens at import.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_bool, c_char_p, c_double, c_long, c_ulong, c_void_p
from typing import Any

from dlgrad import config
from dlgrad.errors import DeviceError

LIBOBJC = "/usr/lib/libobjc.A.dylib"
METAL = "/System/Library/Frameworks/Metal.framework/Metal"
# Without it there is no default device for a process that has no window.
CORE_GRAPHICS = "/System/Library/Frameworks/CoreGraphics.framework/CoreGraphics"

_object = c_void_p  # id, SEL and Class are pointers
_integer = c_ulong  # NSUInteger


class Size(ctypes.Structure):
    """MTLSize: passed by reference or on the stack, as the platform's rules say for 24 bytes."""

    _fields_ = [("width", _integer), ("height", _integer), ("depth", _integer)]


# selector -> (result, arguments).  BOOL is one byte: read as an int it has rubbish above.
SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    # Foundation
    "new": (_object, ()),
    "release": (None, ()),
    "retain": (_object, ()),
    "stringWithUTF8String:": (_object, (c_char_p,)),
    "UTF8String": (c_char_p, ()),
    "fileURLWithPath:": (_object, (_object,)),
    "localizedDescription": (_object, ()),
    # MTLDevice
    "name": (_object, ()),
    "supportsFamily:": (c_bool, (c_long,)),
    "newCommandQueue": (_object, ()),
    "newBufferWithLength:options:": (_object, (_integer, _integer)),
    "newBufferWithBytes:length:options:": (_object, (c_void_p, _integer, _integer)),
    "newLibraryWithSource:options:error:": (_object, (_object, _object, POINTER(_object))),
    "newLibraryWithURL:error:": (_object, (_object, POINTER(_object))),
    "newComputePipelineStateWithFunction:error:": (_object, (_object, POINTER(_object))),
    # MTLCompileOptions, MTLLibrary, MTLComputePipelineState
    "setFastMathEnabled:": (None, (c_bool,)),
    "newFunctionWithName:": (_object, (_object,)),
    "maxTotalThreadsPerThreadgroup": (_integer, ()),
    # MTLBuffer
    "contents": (c_void_p, ()),
    # MTLCommandQueue, MTLCommandBuffer
    "commandBuffer": (_object, ()),
    "computeCommandEncoder": (_object, ()),
    "commit": (None, ()),
    "waitUntilCompleted": (None, ()),
    "status": (_integer, ()),
    "error": (_object, ()),
    "GPUStartTime": (c_double, ()),
    "GPUEndTime": (c_double, ()),
    # MTLComputeCommandEncoder
    "setComputePipelineState:": (None, (_object,)),
    "setBuffer:offset:atIndex:": (None, (_object, _integer, _integer)),
    "setBytes:length:atIndex:": (None, (c_void_p, _integer, _integer)),
    "dispatchThreadgroups:threadsPerThreadgroup:": (None, (Size, Size)),
    "endEncoding": (None, ()),
}


class Runtime:
    """The two opened libraries."""

    def __init__(self, objc: ctypes.CDLL, metal: ctypes.CDLL) -> None:
        self.simulated = hasattr(metal, "dlgrad_sim_version")
        self._register = _function(objc, "sel_registerName", _object, c_char_p)
        self._get_class = _function(objc, "objc_getClass", _object, c_char_p)
        self._push_pool = _function(objc, "objc_autoreleasePoolPush", c_void_p)
        self._pop_pool = _function(objc, "objc_autoreleasePoolPop", None, c_void_p)
        self._create_device = _function(metal, "MTLCreateSystemDefaultDevice", _object)
        # The address alone: types set on an attribute of a library are shared by all its users.
        self._address = ctypes.cast(objc.objc_msgSend, c_void_p).value or 0
        self._senders: dict[str, tuple[Callable[..., Any], int, int]] = {}

    def send(self, receiver: int | None, selector: str, *arguments: Any) -> Any:
        """Sends a message and returns what it answers (None for nil)."""
        sender = self._senders.get(selector)
        if sender is None:
            sender = self._senders[selector] = self._make_sender(selector)
        function, registered, count = sender
        if len(arguments) != count:
            raise TypeError(f"{selector} takes {count} arguments, got {len(arguments)}")
        return function(receiver, registered, *arguments)

    def _make_sender(self, selector: str) -> tuple[Callable[..., Any], int, int]:
        result, arguments = SIGNATURES[selector]
        prototype = CFUNCTYPE(result, _object, _object, *arguments)
        registered: int = self._register(selector.encode())
        return prototype(self._address), registered, len(arguments)

    def class_named(self, name: str) -> int:
        """The class object `name`."""
        return int(self._get_class(name.encode()) or 0)

    def default_device(self) -> int:
        """The GPU, owned by the caller; 0 where there is none."""
        return int(self._create_device() or 0)

    def string(self, text: str) -> int:
        """A string object that lives until the pool around it ends."""
        return int(self.send(self.class_named("NSString"), "stringWithUTF8String:", text.encode()))

    def text(self, string: int | None) -> str:
        """The text of a string object; "" for nil."""
        return (self.send(string, "UTF8String") or b"").decode(errors="replace")

    def error_text(self, error: c_void_p | int | None) -> str:
        """What an error object says."""
        value = error.value if isinstance(error, c_void_p) else error
        return self.text(self.send(value, "localizedDescription")) or "no reason given"

    @contextmanager
    def pool(self) -> Iterator[None]:
        """Frees at its end what was autoreleased inside; every use of Metal needs one."""
        token = self._push_pool()
        try:
            yield
        finally:
            self._pop_pool(token)


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


_runtime: Runtime | None = None


def load() -> Runtime:
    """Opens the libraries, once.

    Raises DeviceError, with what was tried and one thing to do, where that is not possible.
    """
    global _runtime
    if _runtime is None:
        objc = _open(config.LIBOBJC.value or LIBOBJC, "DLGRAD_LIBOBJC")
        if not config.METAL.value:
            _open(CORE_GRAPHICS, "DLGRAD_METAL")
        metal = _open(config.METAL.value or METAL, "DLGRAD_METAL")
        _runtime = Runtime(objc, metal)
    return _runtime


def _open(path: str, variable: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        chosen = (config.LIBOBJC if variable == "DLGRAD_LIBOBJC" else config.METAL).value
        advice = f"correct {variable}" if chosen else "it is part of macOS; use device='cpu' here"
        raise DeviceError(
            f"Metal is not available: {path} cannot be opened ({error}); {advice}"
        ) from None
