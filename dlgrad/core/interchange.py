"""Tensors in the hands of others: NumPy, the buffer protocol, pickle and copies.

Floor 6.  What is given out shares the memory of a CPU tensor and keeps that memory alive.  From
then on a write to the tensor is evaluated at once, so it is seen there.  The other way round,
operations are lazy: what is pending when somebody else writes into the memory reads the new
numbers, so `realize()` it before.
"""

from __future__ import annotations

import copy
import copyreg
import ctypes
from typing import TYPE_CHECKING, Any

from dlgrad.core.base import TensorBase, from_storage, node_of, requires_grad, view_of
from dlgrad.core.host import export_bytes, from_bytes
from dlgrad.core.storage import Storage, pending_depth
from dlgrad.dtype import DType
from dlgrad.errors import AutogradError
from dlgrad.lazy import graph
from dlgrad.lazy.shape import Shape, View

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

_KINDS = {"bool": "b", "floa": "f", "uint": "u"}


class Exported:
    """An array interface, and what keeps its memory alive."""

    def __init__(self, x: TensorBase) -> None:
        if x.dtype.format is None:
            raise TypeError(f"arrays have no {x.dtype.name}; use x.float() first")
        size = x.dtype.itemsize
        kind = _KINDS.get(x.dtype.name[:4], "i")
        interface: dict[str, Any] = {
            "version": 3,
            "shape": tuple(x._shape),
            "typestr": f"{'|' if size == 1 else '<'}{kind}{size}",
        }
        view = view_of(x)
        if x._storage.device == "cpu" and view.numel:
            memory = x._storage.memory()
            memory.shared = True
            self.memory: Any = memory
            interface["data"] = (memory.address + view.offset * size, False)
            interface["strides"] = tuple(step * size for step in view.strides)
        else:
            self.memory = export_bytes(x)
            interface["data"] = (address_of(self.memory), False)
        self.__array_interface__ = interface


def address_of(data: bytearray) -> int:
    """Where the bytes are; 0 where there are none."""
    return ctypes.addressof((ctypes.c_char * len(data)).from_buffer(data)) if data else 0


def array_interface(x: Tensor) -> dict[str, Any]:
    """The array interface of a tensor, which keeps the memory as long as it lives itself."""
    if requires_grad(x):
        raise RuntimeError("use tensor.detach() to look at a tensor that requires grad")
    exported = Exported(x)
    x.__dict__.setdefault("_exported", []).append(exported.memory)
    return exported.__array_interface__


def to_numpy(x: Tensor, force: bool) -> Any:
    """A NumPy array over the memory of a CPU tensor; see `Tensor.numpy`."""
    if requires_grad(x) and not force:
        raise RuntimeError(
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() "
            "instead."
        )
    if x._storage.device != "cpu" and not force:
        raise TypeError(
            f"can't convert {x.device} device type tensor to numpy. Use Tensor.cpu() to "
            "copy the tensor to host memory first."
        )
    try:
        import numpy
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "numpy() needs NumPy, which is not installed; pip install numpy, or use tolist()",
            name="numpy",
        ) from None
    return numpy.asarray(Exported(x))


def to_array(x: Tensor, dtype: Any, copy: bool | None) -> Any:
    """What `numpy.asarray(x, dtype)` calls where it finds no other way."""
    made = to_numpy(x, False)
    return made if dtype is None and not copy else made.astype(dtype or made.dtype)


def to_buffer(x: Tensor) -> memoryview:
    """A writable memoryview of a contiguous CPU tensor, of its shape and format."""
    if requires_grad(x):
        raise BufferError("use tensor.detach() to look at a tensor that requires grad")
    view = view_of(x)
    if x._storage.device != "cpu" or not view.is_contiguous:
        raise BufferError(
            "only a contiguous tensor on the CPU has a buffer; call .cpu().contiguous() first"
        )
    letter: Any = x.dtype.format
    if letter is None:
        raise BufferError(f"a buffer has no elements of type {x.dtype.name}; use x.float() first")
    if not view.numel:
        empty: memoryview = memoryview(b"").cast(letter)
        return empty
    memory = x._storage.memory()
    memory.shared = True
    address = memory.address + view.offset * x.dtype.itemsize
    raw = (ctypes.c_char * (view.numel * x.dtype.itemsize)).from_address(address)
    raw.owner = memory  # type: ignore[attr-defined]
    plain = memoryview(raw).cast("B")
    shaped: memoryview = plain.cast(letter, tuple(x._shape))
    return shaped


# Pickle and copies ------------------------------------------------------------------------------


def reduce_storage(storage: Storage) -> Any:
    """How a storage is pickled: once for all tensors that show it."""
    whole = from_storage(storage, None)
    data = bytes(export_bytes(whole))
    return rebuild_storage, (data, storage.dtype, storage.shape, storage.device)


copyreg.pickle(Storage, reduce_storage)


def rebuild_storage(data: bytes, dtype: DType, shape: Shape, device: str) -> Storage:
    """A storage from its pickle."""
    return from_bytes(data, dtype, shape, device)._storage


def reduce_tensor(x: Tensor) -> Any:
    """How a tensor is pickled: its storage, its view of it, and whether it asks for gradients."""
    if x._entry is not None and requires_grad(x):
        x = x.detach().as_subclass(type(x))
        leaf = False
    else:
        leaf = requires_grad(x)
    return rebuild_tensor, (type(x), x._storage, x._view, leaf, attributes_of(x))


def attributes_of(x: Tensor) -> dict[str, Any]:
    """What the user has set on a tensor."""
    return {name: value for name, value in x.__dict__.items() if name != "_exported"}


def rebuild_tensor(
    cls: Any, storage: Storage, view: View | None, leaf: bool, attributes: dict[str, Any]
) -> Any:
    """A tensor from its pickle."""
    tensor = from_storage(storage, view).as_subclass(cls)
    tensor._requires = leaf
    tensor.__dict__.update(attributes)
    return tensor


def deep_copy(x: Tensor, memo: dict[int, Any]) -> Tensor:
    """`x` in memory of its own, which the copies of other tensors over its memory share."""
    if id(x) in memo:
        known: Tensor = memo[id(x)]
        return known
    if requires_grad(x) and not x.is_leaf:
        raise AutogradError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
            "protocol at the moment; detach() it first"
        )
    storage = x._storage
    own = memo.get(id(storage))
    if own is None:
        node = graph.copy(node_of(from_storage(storage, None)))
        own = memo[id(storage)] = Storage(node, 1 + pending_depth(storage))
    copied: Tensor = from_storage(own, x._view).as_subclass(type(x))
    copied._requires = requires_grad(x)
    memo[id(x)] = copied
    if x._grad is not None:
        copied._grad = copy.deepcopy(x._grad, memo)
    copied.__dict__.update(copy.deepcopy(attributes_of(x), memo))
    return copied
