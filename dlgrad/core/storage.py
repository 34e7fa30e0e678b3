"""Storage: the one value that a tensor and all its views share, and when it is computed.

Floor 6.  A `Storage` holds the graph node that stands for its contents now.  A write replaces
the node (a functional update) and counts the version up; evaluation goes through `realize`,
which hands pending nodes to the engine and lets a storage keep the memory that it had.

Pending work is evaluated unasked in two cases: when a chain of pending results is DEPTH_LIMIT
operations long, and when tensors made from outside data have brought in BYTES_LIMIT bytes
since the last time, so that a program which never looks at a number cannot hold on to all of
its inputs.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dlgrad.core.tracing import TRACED, no_value
from dlgrad.lazy import graph
from dlgrad.lazy.ops import BufferOps
from dlgrad.runtime import engine
from dlgrad.runtime.device import Blocks

if TYPE_CHECKING:
    from dlgrad.dtype import DType
    from dlgrad.lazy.shape import Shape
    from dlgrad.runtime.device import Buffer

DEPTH_LIMIT = 4000
BYTES_LIMIT = 1 << 30

_BUFFER = BufferOps.BUFFER


class Storage:
    """The current contents (`node`) of a block of memory, its `version`, and its memory if any.

    `depth` counts the operations that are pending below `node`.  A node is the value of one
    living storage only: the engine asks `node.owner` before it overwrites memory.
    """

    __slots__ = ("node", "version", "buffer", "depth", "shape", "__weakref__")

    def __init__(self, node: graph.Node, depth: int = 0) -> None:
        owner = node.owner
        if owner is not None:
            holder = owner()
            if holder is not None and holder.node is node:
                node = graph.copy(node)
        self.node = node
        self.version = 0
        self.buffer: Buffer | None = None
        self.depth = depth
        self.shape: Shape = node.shape
        node.owner = reference = weakref.ref(self)
        if node.op is _BUFFER:
            self.buffer = node.arg
        elif depth < TRACED:
            _watch(reference)
            if depth > DEPTH_LIMIT:
                realize((self,))

    @property
    def dtype(self) -> DType:
        return self.node.dtype

    @property
    def device(self) -> str:
        return self.node.device

    @property
    def nbytes(self) -> int:
        return self.node.nbytes

    def replace(self, node: graph.Node, depth: int) -> None:
        """Makes `node` the contents, after a write; nobody else may show it."""
        reference = weakref.ref(self)
        if self.node.op is _BUFFER and node.op is not _BUFFER and depth < TRACED:
            _watch(reference)
        self.node = node
        self.depth = depth
        self.version += 1
        node.owner = reference
        if DEPTH_LIMIT < depth < TRACED:
            realize((self,))

    def hand_over(self) -> Storage:
        """A storage that takes over the present contents, because a write comes next."""
        old = Storage.__new__(Storage)
        old.node, old.version, old.buffer = self.node, 0, None
        old.depth, old.shape = self.depth, self.shape
        old.node.owner = weakref.ref(old)
        return old

    def memory(self) -> Buffer:
        """The memory that holds the contents, computed first if need be."""
        if self.node.op is not _BUFFER:
            realize((self,))
        buffer: Buffer = self.node.arg
        self.buffer = buffer
        return buffer


def pending_depth(storage: Storage) -> int:
    """How many operations are pending below the contents."""
    return 0 if storage.node.op is _BUFFER else storage.depth


def realize(storages: Iterable[Storage]) -> None:
    """Evaluates the contents of all `storages` together, each in the memory it had if it can."""
    pending = []
    nodes = []
    for storage in storages:
        node = storage.node
        if node.op is not _BUFFER:
            if storage.depth >= TRACED:
                raise no_value()
            pending.append(storage)
            nodes.append(node)
    if nodes:
        engine.realize(nodes)
        for storage in pending:
            storage.buffer = storage.node.arg
            storage.depth = 0


_imported_bytes = 0
_watched: list[weakref.ref[Storage]] = []
_watch_limit = 10_000


def note_import(nbytes: int) -> None:
    """Counts bytes that came from outside; many of them evaluate what is pending."""
    global _imported_bytes
    _imported_bytes += nbytes
    if _imported_bytes > BYTES_LIMIT:
        _imported_bytes = 0
        realize(pending_storages())


class _Own(threading.local):
    """The storages that may be pending because of this thread, in a block of `only_own`."""

    watched: list[weakref.ref[Storage]] | None = None


_own = _Own()
_only_own = Blocks()


@contextmanager
def only_own() -> Iterator[None]:
    """In the block, pending is what this thread made or wrote in it; one thread at a time.

    What is captured must not evaluate what other threads happen to have pending meanwhile.
    """
    _own.watched = []
    _only_own.change(1)
    try:
        yield
    finally:
        _only_own.change(-1)
        _own.watched = None


def _watch(reference: weakref.ref[Storage]) -> None:
    """Adds a new storage to those that may be pending; forgets the others now and then."""
    global _watched, _watch_limit
    _watched.append(reference)
    if _only_own.open and _own.watched is not None:
        _own.watched.append(reference)
    if len(_watched) > _watch_limit:
        _watched = [storage_ref for storage_ref in _watched if _is_pending(storage_ref())]
        _watch_limit = max(10_000, 2 * len(_watched))


def _is_pending(storage: Storage | None) -> bool:
    return storage is not None and storage.node.op is not _BUFFER and storage.depth < TRACED


def pending_storages() -> list[Storage]:
    """The living storages whose contents are not computed yet."""
    watched = _watched if _own.watched is None else _own.watched
    found = [reference() for reference in watched]
    return [storage for storage in found if storage is not None and _is_pending(storage)]


def evaluate_pending() -> None:
    """Evaluates, together, everything that living storages still owe."""
    global _watched
    realize(pending_storages())
    if _own.watched is None:
        _watched = []
