"""Memory for kernels that are called by themselves: guarded blocks, and scratch memory."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any


class Guarded:
    """Bytes whose end is the end of what may be touched."""

    PAGE = mmap.PAGESIZE

    def __init__(self, data: bytes) -> None:
        room = -(-max(len(data), 1) // self.PAGE) * self.PAGE
        self.map = mmap.mmap(-1, room + self.PAGE)
        self.all = (ctypes.c_char * (room + self.PAGE)).from_buffer(self.map)
        start = ctypes.addressof(self.all)
        protect = ctypes.CDLL(None).mprotect
        protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        assert protect(start + room, self.PAGE, 0) == 0
        self.address = start + room - len(data)
        self.length = len(data)
        ctypes.memmove(self.address, data, len(data))

    def data(self) -> bytes:
        return ctypes.string_at(self.address, self.length)


_malloc = ctypes.CDLL(None).malloc
_malloc.argtypes, _malloc.restype = [ctypes.c_int64], ctypes.c_void_p


@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int64)
def used_memory(nbytes: int) -> int:
    """A block that somebody used before: nothing in it is zero, and fives look like a choice."""
    block: int = _malloc(nbytes)
    ctypes.memmove(block, (b"\5\0\0\0" * (nbytes // 4 + 1))[:nbytes], nbytes)
    return block


class Scratch(ctypes.Structure):
    """A `dg_scratch` whose memory is that of the C library, used before."""

    _fields_ = [
        ("allocate", ctypes.c_void_p),
        ("release", ctypes.c_void_p),
        ("wait", ctypes.c_void_p),
        ("shared", ctypes.c_void_p),
        ("failed", ctypes.c_int),
    ]

    def __init__(self, allocate: Any = None) -> None:
        libc = ctypes.CDLL(None)
        functions = [allocate or used_memory, libc.free, libc.sched_yield]
        super().__init__(*(ctypes.cast(function, ctypes.c_void_p).value for function in functions))

    def close(self) -> None:
        libc = ctypes.CDLL(None)
        libc.free.argtypes = [ctypes.c_void_p]
        libc.free(self.shared)
