"""Workers that are processes: Python code of several of them runs at the same time.

Floor 7.  A worker is joined to its loader by one pair of sockets.  Tasks and small replies go
through it as pickles.  A large reply is written into a file in memory without a name, whose
descriptor goes through the socket; the loader maps it, and the tensors of the batch lie on the
mapping.  So nothing is left behind, however a process ends.

On Linux a worker is forked, with the dataset as it is: dlgrad's own threads and locks are made
for that (see `c_src/runtime.py`).  Elsewhere, and where `multiprocessing_context` says so, it
is a new process, to which the dataset is pickled.  A worker ends when its socket closes, which
the death of the loader's process does too.
"""

from __future__ import annotations

import ctypes
import io
import mmap
import multiprocessing
import os
import pickle
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import warnings
from contextlib import suppress
from multiprocessing import connection
from typing import Any

from dlgrad import config
from dlgrad.core.host import export_bytes
from dlgrad.data.fetch import Recipe
from dlgrad.data.workers import (
    FAILURE,
    GRACE_SECONDS,
    Failure,
    Fetch,
    Line,
    Reply,
    Start,
    Worker,
    work,
)
from dlgrad.dtype import dtype_from_name
from dlgrad.files.mapped import MappedFile
from dlgrad.tensor import Tensor

INLINE_BYTES = 1 << 14  # replies up to that size go through the socket, which holds several
ALIGNMENT = 64
WATCH_SECONDS = 5.0  # between two looks at whether the loader's process lives

_HEAD = struct.Struct("<BIQ")  # is it in a file; how many pieces; bytes in all
_LENGTH = struct.Struct("<Q")


# Messages -----------------------------------------------------------------------------------------


class _Pickler(pickle.Pickler):
    """Pickles with the elements of tensors beside the pickle, so that they are not copied."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not Tensor or value.requires_grad:
            return NotImplemented
        elements = pickle.PickleBuffer(_elements(value))
        return _rebuild, (elements, value.dtype.name, tuple(value.shape), str(value.device))


def _elements(value: Tensor) -> Any:
    """The elements as bytes: the memory of the tensor itself where it is the CPU's."""
    value.realize()
    if not value.nbytes or value.device.type != "cpu" or not value.is_contiguous():
        return export_bytes(value)
    start = value._storage.memory().address + value.storage_offset() * value.itemsize
    return (ctypes.c_char * value.nbytes).from_address(start)


def _rebuild(elements: Any, dtype: str, shape: tuple[int, ...], device: str) -> Tensor:
    """A tensor on the bytes of a message."""
    kind = dtype_from_name(dtype)
    file = MappedFile.of_bytes(memoryview(elements), "a batch", device)
    return file.tensor(0, len(file.data), kind, shape)


def _pack(value: Any) -> list[Any]:
    """The pieces of a message: a pickle, and the buffers beside it."""
    buffers: list[pickle.PickleBuffer] = []
    out = io.BytesIO()
    _Pickler(out, protocol=5, buffer_callback=buffers.append).dump(value)
    return [out.getbuffer(), *[buffer.raw() for buffer in buffers]]


def _places(lengths: list[int]) -> tuple[list[int], int]:
    """Where pieces of these lengths begin, each aligned, and where the last one ends."""
    places, position = [], 0
    for length in lengths:
        position += -position % ALIGNMENT
        places.append(position)
        position += length
    return places, position


def send_message(channel: socket.socket, value: Any) -> None:
    """Sends a value; what is large goes as a file without a name."""
    pieces = _pack(value)
    lengths = [piece.nbytes for piece in pieces]
    places, total = _places(lengths)
    table = b"".join(map(_LENGTH.pack, lengths))
    if total <= INLINE_BYTES:
        body = bytearray(total)
        for place, piece in zip(places, pieces, strict=True):
            body[place : place + piece.nbytes] = piece
        channel.sendall(_HEAD.pack(0, len(pieces), total) + table + body)
        return
    descriptor = _memory_file()
    try:
        os.ftruncate(descriptor, total)
        for place, piece in zip(places, pieces, strict=True):
            _write_at(descriptor, piece, place)
        socket.send_fds(channel, [_HEAD.pack(1, len(pieces), total)], [descriptor])
        channel.sendall(table)
    finally:
        os.close(descriptor)


def receive_message(channel: socket.socket) -> Any:
    """The next value; EOFError where the other end is gone."""
    head, descriptors, _, _ = socket.recv_fds(channel, _HEAD.size, 1)
    try:
        head += _receive(channel, _HEAD.size - len(head))
        in_file, count, total = _HEAD.unpack(head)
        table = _receive(channel, count * _LENGTH.size)
        lengths = [length for (length,) in _LENGTH.iter_unpack(table)]
        if in_file:
            body: Any = memoryview(mmap.mmap(descriptors[0], total))
        else:
            body = memoryview(bytearray(_receive(channel, total)))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    pieces = [
        body[place : place + length]
        for place, length in zip(_places(lengths)[0], lengths, strict=True)
    ]
    return pickle.loads(pieces[0], buffers=pieces[1:])


def _receive(channel: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = channel.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


def _memory_file() -> int:
    """The descriptor of a new file without a name: in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("dlgrad-batch")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write_at(descriptor: int, piece: memoryview, place: int) -> None:
    while piece.nbytes:
        written = os.pwrite(descriptor, piece, place)
        piece, place = piece[written:], place + written


# In the worker ------------------------------------------------------------------------------------


class _SocketLine(Line):
    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.parent = os.getppid()

    def receive(self) -> Start | Fetch | None:
        owner = multiprocessing.parent_process()
        watched: list[Any] = [self.channel] + ([] if owner is None else [owner.sentinel])
        while True:
            ready = connection.wait(watched, WATCH_SECONDS)
            if self.channel in ready:
                try:
                    task: Start | Fetch = receive_message(self.channel)
                except (EOFError, ConnectionError):
                    return None
                return task
            if ready or os.getppid() != self.parent:
                return None

    def reply(self, reply: Reply) -> None:
        if isinstance(reply.value, Failure):
            reply.value.error = _portable(reply.value.error)
        try:
            send_message(self.channel, reply)
        except OSError:
            raise
        except Exception as error:  # the batch cannot be pickled
            self.reply(Reply(reply.number, FAILURE, Failure(error, "a worker process")))


def _portable(error: BaseException) -> BaseException:
    """The exception, or one of the same words where it does not survive a pickle."""
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return RuntimeError(f"{type(error).__name__}: {error}")


def _leave(*_: Any) -> None:
    sys.exit(0)


def _run(recipe: Recipe, id: int, channel: socket.socket) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the loader, which ends us
    signal.signal(signal.SIGTERM, _leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    name = f"worker process {id} (pid {os.getpid()})"
    # The workers share the cores, so that one thread each is enough.
    with channel, config.NUM_THREADS(1), suppress(ConnectionError):
        work(recipe, id, _SocketLine(channel), name, True)


# In the loader's process --------------------------------------------------------------------------


def find_context(given: Any) -> Any:
    """The way to start processes: forks on Linux, what Python prefers elsewhere."""
    if given is None:
        return multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    return multiprocessing.get_context(given) if isinstance(given, str) else given


class ProcessWorker(Worker):
    """Worker `id` of a loader, as a process."""

    def __init__(self, recipe: Recipe, id: int, context: Any) -> None:
        self.channel, other = socket.socketpair()
        self.process = context.Process(
            target=_run, args=(recipe, id, other), name=f"dlgrad-data-{id}", daemon=True
        )
        in_main = threading.current_thread() is threading.main_thread()
        if in_main:  # a Ctrl-C now must not meet a worker that does not ignore it yet
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            with warnings.catch_warnings():
                # Python warns of forks beside threads; the threads here are prepared for it.
                warnings.filterwarnings("ignore", ".*multi-threaded.*", DeprecationWarning)
                self.process.start()
        finally:
            if in_main:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            other.close()

    def send(self, task: Start | Fetch) -> None:
        with suppress(ConnectionError):  # that it is gone is said where its batch is due
            send_message(self.channel, task)

    def receive(self, timeout: float | None) -> Reply:
        if not connection.wait([self.channel, self.process.sentinel], timeout):
            raise TimeoutError
        # What a worker sent before it died is still there; after that comes the end.
        try:
            reply: Reply = receive_message(self.channel)
        except (EOFError, ConnectionError):
            raise self.death() from None
        return reply

    def death(self) -> RuntimeError:
        """What to say about a worker that is gone."""
        self.process.join(GRACE_SECONDS)
        code = self.process.exitcode
        how = f"with exit code {code}"
        if code is not None and code < 0:
            with suppress(ValueError):
                how = f"by signal {signal.Signals(-code).name}"
        hint = "; the system may have run out of memory" if code == -signal.SIGKILL else ""
        return RuntimeError(
            f"DataLoader worker (pid {self.process.pid}) exited unexpectedly, {how}{hint}. "
            "num_workers=0 shows errors of the dataset where they happen"
        )

    def ask_to_stop(self) -> None:
        with suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)

    def stop(self, deadline: float) -> None:
        self.channel.close()
        self.process.join(max(0.0, deadline - time.monotonic()))
        for end in (self.process.terminate, self.process.kill):
            if self.process.is_alive():
                end()
                self.process.join(GRACE_SECONDS)
        with suppress(ValueError):
            self.process.close()
