"""The memory of tensors as a capture sees it: whole tensors, storages that live on in it.

Floor 6.  A replay gets addresses, so an argument has to be all of its memory; and what stays in
the memory of a capture between two replays (parameters, optimizer state) has to be there again
when the next one begins.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Iterable

from dlgrad.core.base import TensorBase, make, node_of
from dlgrad.core.storage import Storage, realize
from dlgrad.errors import CaptureError
from dlgrad.lazy import graph
from dlgrad.lazy.shape import Shape, View
from dlgrad.runtime.device import Buffer


def shares_storage(tensor: TensorBase, others: Iterable[TensorBase]) -> bool:
    """Whether one of the others shows elements of the same storage."""
    return any(other._storage is tensor._storage for other in others)


def is_whole(tensor: TensorBase) -> bool:
    """Whether the tensor is all of its memory, in row-major order."""
    return tensor._view is None or shows_all(tensor._view, tensor._storage.shape)


@functools.lru_cache(maxsize=4096)
def shows_all(view: View, shape: Shape) -> bool:
    """Whether a view is all of the memory of a storage of that shape, in row-major order."""
    return view.offset == 0 and view.is_contiguous and view.numel == math.prod(shape)


def as_whole(tensor: TensorBase) -> TensorBase:
    """The tensor, or a pending copy of it where it is not all of its memory."""
    return tensor if is_whole(tensor) else make(graph.copy(node_of(tensor)))


def held_storages(buffers: Iterable[Buffer]) -> list[tuple[weakref.ref[Storage], Buffer]]:
    """The living storages whose contents are in `buffers`: parameters, optimizer state."""
    found = []
    for memory in buffers:
        node = None if memory.shown_by is None else memory.shown_by()
        storage = None if node is None or node.owner is None else node.owner()
        if storage is not None and storage.node is node:
            found.append((weakref.ref(storage), memory))
    return found


def restore(storage: Storage, memory: Buffer) -> None:
    """Copies the contents of a storage back to the memory that it had, for the next replay."""
    node = graph.copy(storage.node)
    version = storage.version
    storage.replace(node, 0)
    storage.version = version
    storage.buffer = memory
    realize([storage])
    if storage.buffer is not memory:
        raise CaptureError(
            "a tensor that the function changes in place is still read by work that is not "
            "evaluated; call .realize() on the results of earlier steps before the call"
        )
