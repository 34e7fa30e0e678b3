"""The body of a tensor: storage, view, and what autograd keeps on it; no operations yet.

Floor 6.  `TensorBase` carries the state; `tensor.py` adds the methods, from the modules between.
Those modules make tensors with `make` (memory of its own) and `make_view` (shared memory), and
read them with `node_of`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from dlgrad.core.storage import Storage
from dlgrad.lazy import graph
from dlgrad.lazy.shape import Shape, View
from dlgrad.runtime.device import Blocks

if TYPE_CHECKING:
    from dlgrad.core.tape import Entry
    from dlgrad.dtype import DType
    from dlgrad.tensor import Tensor

Number = bool | int | float


class GradMode(threading.local):
    """Whether operations are recorded, for this thread; `inference` says what turned it off.

    `differentiated` is whether a transform of `dlgrad.func` runs the function that it was given.
    """

    enabled = True
    inference = False
    differentiated = False


class LeafHooks(NamedTuple):
    """Functions to call with the gradient of a leaf, and with the leaf after its accumulation."""

    before: dict[int, Any]
    after: dict[int, Any]


grad_mode = GradMode()
transforms = Blocks()  # of `dlgrad.func` that run the function that they were given


class TensorBase:
    """A `Storage` seen through a `View`, with its place in the tape.

    `_view` is None where the tensor is the whole storage in the storage's own shape.
    A tensor made by a movement remembers the tensor it came from as `_base`, and the entry
    `_base_entry` that made the base then: a write through another view gives the base a new
    one, from which this tensor's own entry is made anew (see `tape.edge_of`).
    """

    __slots__ = (
        "_storage", "_view", "_shape", "dtype", "_grad", "_requires", "_entry", "_base",
        "_base_entry", "_tracked", "_hooks", "_node", "_node_version", "__weakref__",
    )  # fmt: skip

    _storage: Storage
    _view: View | None
    _shape: Shape
    dtype: DType
    _grad: Tensor | None
    _requires: bool
    _entry: Entry | None
    _base: Tensor | None
    _base_entry: Entry | None
    _tracked: bool
    _hooks: LeafHooks | None
    _node: graph.Node | None
    _node_version: int

    def _set_up(self, storage: Storage, view: View | None, dtype: DType) -> None:
        self._storage = storage
        self._view = view
        self._shape = storage.shape if view is None else view.shape
        self.dtype = dtype
        self._grad = None
        self._requires = False
        self._entry = None
        self._base = None
        self._base_entry = None
        self._tracked = True
        self._hooks = None
        self._node = None
        self._node_version = -1


_tensor_class: list[type[Tensor]] = []


def register_tensor_class(tensor_class: type[Tensor]) -> None:
    """Says which class the functions below make; called once, by `tensor.py`."""
    _tensor_class.append(tensor_class)


def from_storage(storage: Storage, view: View | None) -> Tensor:
    """A tensor without history."""
    cls = _tensor_class[0]
    tensor = cls.__new__(cls)
    tensor._set_up(storage, view, storage.node.dtype)
    return tensor


def make(node: graph.Node, depth: int = 0) -> Tensor:
    """A tensor with memory of its own, whose contents are `node`."""
    cls = _tensor_class[0]
    tensor = cls.__new__(cls)
    tensor._set_up(Storage(node, depth), None, node.dtype)
    return tensor


def make_view(source: TensorBase, view: View) -> Tensor:
    """A tensor that shows the storage of `source` through `view`; not recorded yet."""
    cls = _tensor_class[0]
    tensor = cls.__new__(cls)
    tensor._set_up(source._storage, view, source.dtype)
    base = source._base
    tensor._base = base if base is not None else source  # type: ignore[assignment]
    tensor._base_entry = source._base_entry if base is not None else source._entry
    tensor._tracked = source._tracked and grad_mode.enabled
    return tensor


def view_of(tensor: TensorBase) -> View:
    """The view of the storage that `tensor` shows."""
    view = tensor._view
    return view if view is not None else View.contiguous(tensor._shape)


def node_of(tensor: TensorBase) -> graph.Node:
    """The graph node of the tensor's elements now, row-major in the tensor's shape."""
    view = tensor._view
    storage = tensor._storage
    if view is None:
        return storage.node
    node = tensor._node
    if node is None or tensor._node_version != storage.version:
        node = graph.view_on(storage.node, view)
        tensor._node = node
        tensor._node_version = storage.version
    return node


def is_tensor(value: object) -> TypeGuard[Tensor]:
    """True for tensors."""
    return isinstance(value, TensorBase)


def requires_grad(tensor: TensorBase) -> bool:
    """True where a gradient flows through the tensor, also one that a view brought later."""
    if tensor._requires:
        return True
    base = tensor._base
    return (
        base is not None
        and tensor._tracked
        and base._entry is not tensor._base_entry
        and base._requires
    )
