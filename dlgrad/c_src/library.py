"""Loading compiled libraries: from the process's temporary directory, and never twice.

Floor 4.  A library is written to `dlgrad-PID-xxxx` and opened there, so nothing that happens
to the cache touches code that is running.  Handles are closed at exit, and not before: a
kernel may be anywhere in a prepared sequence.
"""

from __future__ import annotations

import ctypes
import os
import threading

from dlgrad.errors import DeviceError
from dlgrad.helpers import ForkSafeLock
from dlgrad.runtime import cache, temporary

# What loaders say where files of a directory may not be executed ("noexec").
_NOT_EXECUTABLE = ("failed to map segment", "Operation not permitted", "cannot enable executable")

_lock = ForkSafeLock()
_loaded: dict[str, ctypes.CDLL] = {}  # stem -> library
_closed = False


def load(entry: cache.Entry) -> ctypes.CDLL:
    """The library of a cache entry, opened on first use.

    Raises DeviceError where no directory of this machine can hold executable files, and
    OSError where the file is not a library for this machine.
    """
    with _lock.held:
        library = _loaded.get(entry.stem)
        if library is None:
            if _closed:
                raise DeviceError("the process is ending; no kernel can be loaded any more")
            library = _loaded[entry.stem] = _open(entry.stem + ".so", entry.binary)
        return library


def _open(name: str, binary: bytes) -> ctypes.CDLL:
    """Tries the temporary directory, a folder of the cache, and memory, in this order."""
    try:
        return _open_file(os.path.join(temporary.directory(), name), binary)
    except OSError as error:
        if not _is_about_permission(error):
            raise
        problem = error
    for attempt in (_open_in_cache, _open_in_memory):
        try:
            return attempt(name, binary)
        except (OSError, AttributeError):
            continue
    raise DeviceError(
        f"no directory was found from which a compiled kernel can be loaded ({problem}); "
        "set TMPDIR to a directory on a file system that is not mounted with noexec"
    ) from problem


def _is_about_permission(error: OSError) -> bool:
    return isinstance(error, PermissionError) or any(sign in str(error) for sign in _NOT_EXECUTABLE)


def _open_file(path: str, binary: bytes) -> ctypes.CDLL:
    """Writes a file that is not there yet, since a library in use is never overwritten."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, 0o700)
    try:
        with open(descriptor, "wb") as file:
            file.write(binary)
        return ctypes.CDLL(path)
    except OSError:  # the next attempt starts anew
        os.unlink(path)
        raise


def _open_in_cache(name: str, binary: bytes) -> ctypes.CDLL:
    """A file in the cache directory that loses its name at once, so nothing is left behind."""
    path = os.path.join(cache.directory("run"), f"{os.getpid()}-{name}")
    library = _open_file(path, binary)
    os.unlink(path)
    return library


def _open_in_memory(name: str, binary: bytes) -> ctypes.CDLL:
    """Linux: a file without a directory, which no mount option concerns."""
    # The descriptor stays open: loaders know a library by its path, and the number is in it.
    descriptor = os.memfd_create(name)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(binary)
    return ctypes.CDLL(f"/proc/self/fd/{descriptor}")


def close_all(apart: ctypes.CDLL) -> None:
    """Closes every library `apart` from one; called once, when nothing of theirs runs any more.

    Where other Python threads still run (daemons), the libraries stay mapped instead, because
    one of those threads may be inside a kernel.
    """
    global _closed
    with _lock.held:
        _closed = True
        libraries = [library for library in _loaded.values() if library is not apart]
        _loaded.clear()
    if threading.active_count() > 1 or os.name != "posix":
        return
    close = ctypes.CDLL(None).dlclose
    close.argtypes = [ctypes.c_void_p]
    for library in reversed(libraries):
        close(library._handle)
