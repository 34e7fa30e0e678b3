"""The class `Tensor`: evaluation, autograd state, and Python's protocols.

Floor 6.  The state is in `base.py`; the methods that compute are listed in `methods.py`, each a
function of a module by subject.  What touches the object itself is written out here.
"""

from __future__ import annotations

import builtins
import ctypes
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dlgrad import (
    autograd,
    creation,
    elementwise,
    formatting,
    indexing,
    linear,
    movement,
)
from dlgrad.apply import where
from dlgrad.base import (
    from_storage,
    register_tensor_class,
    requires_grad,
    view_of,
)
from dlgrad.device_type import DeviceLike, device, device_object
from dlgrad.dtype import FLOAT, DType
from dlgrad.errors import AutogradError
from dlgrad.host import export_bytes, export_numbers, nested
from dlgrad.methods import Methods
from dlgrad.storage import Storage, realize
from dlgrad.tape import Entry, check_writable, edge_of

Number = builtins.bool | builtins.int | builtins.float


class Size(tuple[builtins.int, ...]):
    """A shape: a tuple of ints that also counts elements."""

    __slots__ = ()

    def numel(self) -> builtins.int:
        """The product of the sizes."""
        count = 1
        for size in self:
            count *= size
        return count

    def __repr__(self) -> str:
        return f"dlgrad.Size({list(self)})"


class HookHandle:
    """What `register_hook` returns; `remove()` takes the hook away."""

    def __init__(self, hooks: dict[builtins.int, Any], number: builtins.int) -> None:
        self._hooks, self._number = hooks, number

    def remove(self) -> None:
        self._hooks.pop(self._number, None)


class Tensor(Methods):
    """A multi-dimensional array of one dtype on one device, which may record what is done to it.

    Made by `dlgrad.tensor(data)`, `dlgrad.zeros(2, 3)` and the like.  Operations are lazy: a
    number is computed when it is looked at (`item`, `tolist`, `numpy`, `print`) or when
    `realize()` asks for it.
    """

    __slots__ = ("__dict__",)

    def __init__(self, *data: Any, device: DeviceLike = None) -> None:
        sizes = builtins.all(isinstance(value, builtins.int) for value in data)
        made = (
            creation.empty(*data, device=device)
            if sizes and data
            else creation.tensor(*data or ([],), dtype=creation.default_float(), device=device)
        )
        self._set_up(made._storage, made._view, made.dtype)

    # What it is ---------------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        """The sizes of the dimensions."""
        return Size(self._shape)

    def size(self, dim: builtins.int | None = None) -> Any:
        """The shape, or the size of dimension `dim`."""
        if dim is None:
            return Size(self._shape)
        return self._shape[indexing.wrap_dim(dim, len(self._shape))]

    @property
    def ndim(self) -> builtins.int:
        """The number of dimensions."""
        return len(self._shape)

    def dim(self) -> builtins.int:
        """The number of dimensions."""
        return len(self._shape)

    def numel(self) -> builtins.int:
        """The number of elements."""
        count = 1
        for size in self._shape:
            count *= size
        return count

    nelement = numel

    @property
    def device(self) -> device:
        """Where the memory is."""
        return device_object(self._storage.node.device)

    @property
    def is_cuda(self) -> builtins.bool:
        """True on a CUDA device."""
        return self.device.type == "cuda"

    @property
    def itemsize(self) -> builtins.int:
        """Bytes per element."""
        return self.dtype.itemsize

    def element_size(self) -> builtins.int:
        """Bytes per element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> builtins.int:
        """Bytes of all elements."""
        return self.numel() * self.dtype.itemsize

    def stride(self, dim: builtins.int | None = None) -> Any:
        """How many elements of memory lie between neighbours, in each dimension or in one."""
        strides = view_of(self).strides
        return strides if dim is None else strides[indexing.wrap_dim(dim, len(strides))]

    def storage_offset(self) -> builtins.int:
        """The place of the first element in the memory, counted in elements."""
        return view_of(self).offset

    def is_contiguous(self, memory_format: Any = None) -> builtins.bool:
        """True if the elements are row-major in memory without gaps."""
        return self._view is None or self._view.is_contiguous

    def is_floating_point(self) -> builtins.bool:
        """True for the float dtypes."""
        return self.dtype.kind == FLOAT

    def is_complex(self) -> builtins.bool:
        """False: there are no complex tensors."""
        return False

    def is_signed(self) -> builtins.bool:
        """True for dtypes with negative numbers."""
        return self.dtype.is_signed

    # Values -------------------------------------------------------------------------------------

    def realize(self) -> Tensor:
        """Computes the contents now; returns the tensor."""
        realize((self._storage,))
        return self

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self.numel() != 1:
            raise RuntimeError(
                f"a Tensor with {self.numel()} elements cannot be converted to Scalar; use "
                "tolist(), or reduce it first"
            )
        return export_numbers(self)[0]

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers (one number for zero dimensions)."""
        return nested(export_numbers(self), self._shape)

    def numpy(self, *, force: builtins.bool = False) -> Any:
        """A NumPy array: over the same memory for a CPU tensor without strides, else a copy."""
        if requires_grad(self) and not force:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() "
                "instead."
            )
        if self.device.type != "cpu" and not force:
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to "
                "copy the tensor to host memory first."
            )
        try:
            import numpy
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "numpy() needs NumPy, which is not installed; pip install numpy, or use tolist()",
                name="numpy",
            ) from None
        return numpy.asarray(self.detach())

    @property
    def __array_interface__(self) -> dict[str, Any]:
        if requires_grad(self):
            raise RuntimeError("use tensor.detach() to look at a tensor that requires grad")
        if self.dtype.format is None:
            raise TypeError("arrays have no bfloat16; use x.float() first")
        kind = {"bool": "b", "floa": "f", "uint": "u"}.get(self.dtype.name[:4], "i")
        answer: dict[str, Any] = {
            "version": 3,
            "shape": tuple(self._shape),
            "typestr": f"{'|' if self.itemsize == 1 else '<'}{kind}{self.itemsize}",
        }
        if self.device.type == "cpu" and self.numel():
            view = view_of(self)
            memory = self._storage.memory()
            answer["data"] = (memory.address + view.offset * self.itemsize, False)
            answer["strides"] = tuple(step * self.itemsize for step in view.strides)
        else:
            data = export_bytes(self)
            answer["data"] = (_address_of(data), False) if data else (0, False)
            answer["keepalive"] = data
        return answer

    def __bool__(self) -> builtins.bool:
        if self.numel() != 1:
            if not self.numel():
                raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous; "
                               "use any() or all()")
        return builtins.bool(self.item())

    def __int__(self) -> builtins.int:
        return builtins.int(self.item())

    def __float__(self) -> builtins.float:
        return builtins.float(self.item())

    def __index__(self) -> builtins.int:
        if self.dtype.kind == FLOAT or self._shape:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return builtins.int(self.item())

    def __len__(self) -> builtins.int:
        if not self._shape:
            raise TypeError("len() of a 0-d tensor")
        return self._shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self._shape:
            raise TypeError("iteration over a 0-d tensor")
        return iter(movement.unbind(self))

    def __contains__(self, element: Any) -> builtins.bool:
        return builtins.bool(elementwise.eq(self, element).any())

    def __hash__(self) -> builtins.int:
        return id(self)

    def __repr__(self) -> str:
        return formatting.describe(self)

    def __format__(self, spec: str) -> str:
        return formatting.format_number(self, spec)

    def __reduce_ex__(self, protocol: Any) -> Any:
        data = bytes(export_bytes(self))
        leaf = requires_grad(self) and self._entry is None
        state = (type(self), data, self.dtype, self._shape, str(self.device), leaf)
        return (_rebuild, (*state, dict(self.__dict__)))

    def __deepcopy__(self, memo: dict[builtins.int, Any]) -> Tensor:
        if id(self) in memo:
            known: Tensor = memo[id(self)]
            return known
        if self._entry is not None:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
                "protocol at the moment; detach() it first"
            )
        copied: Tensor = self.detach().clone().as_subclass(type(self))
        copied._requires = self._requires
        memo[id(self)] = copied
        if self.grad is not None:
            copied.grad = self.grad.detach().clone()
        return copied

    # Autograd -----------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> builtins.bool:
        """Whether gradients are recorded for this tensor."""
        return requires_grad(self)

    @requires_grad.setter
    def requires_grad(self, value: builtins.bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: builtins.bool = True) -> Tensor:
        """Says whether gradients shall be recorded from here on; returns the tensor."""
        if requires_grad and self.dtype.kind != FLOAT:
            raise AutogradError(
                "only Tensors of floating point and complex dtype can require gradients, this "
                f"one has {self.dtype!r}"
            )
        if not requires_grad and self._entry is not None:
            raise AutogradError(
                "you can only change requires_grad flags of leaf variables. If you want to use "
                "a computed variable in a subgraph that doesn't require differentiation use "
                "var_no_grad = var.detach()."
            )
        self._requires = builtins.bool(requires_grad)
        return self

    @property
    def is_leaf(self) -> builtins.bool:
        """True for tensors that no recorded operation made."""
        return not requires_grad(self) or not isinstance(edge_of(self), Entry)

    @property
    def grad_fn(self) -> Entry | None:
        """The recorded operation that made the tensor."""
        if not requires_grad(self):
            return None
        edge = edge_of(self)
        return edge if isinstance(edge, Entry) else None

    @property
    def _version(self) -> builtins.int:
        return self._storage.version

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: builtins.bool | None = None,
        create_graph: builtins.bool = False,
        inputs: Tensor | Sequence[Tensor] | None = None,
    ) -> None:
        """Adds the derivatives of this tensor, weighted by `gradient`, to `.grad` of the leaves."""
        given = None if gradient is None else (gradient,)
        autograd.backward((self,), given, retain_graph, create_graph, inputs)

    def detach(self) -> Tensor:
        """A tensor over the same memory that autograd does not connect with this one."""
        return from_storage(self._storage, self._view)

    def detach_(self) -> Tensor:
        """Cuts this tensor off from its history."""
        if self._base is not None:
            raise AutogradError("Can't detach views in-place. Use detach() instead.")
        self._entry, self._requires = None, False
        return self

    @property
    def data(self) -> Tensor:
        """The same as `detach()`; assigning to it replaces the contents, unrecorded."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        self._storage, self._view, self._shape = value._storage, value._view, value._shape
        self.dtype, self._node, self._node_version = value.dtype, None, -1

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> HookHandle:
        """Calls `hook(gradient)` when the gradient of this tensor is known; it may change it."""
        if not requires_grad(self):
            raise AutogradError("cannot register a hook on a tensor that doesn't require gradient")
        edge = edge_of(self)
        if isinstance(edge, Entry):
            hooks = edge.hooks = edge.hooks if edge.hooks is not None else {}
        else:
            hooks = self._hooks = self._hooks if self._hooks is not None else {}
        number = len(hooks) + 1 + max(hooks, default=0)
        hooks[number] = hook
        return HookHandle(hooks, number)

    def retain_grad(self) -> None:
        """Keeps the gradient of a tensor that is not a leaf in its `.grad`, too."""
        if self.is_leaf:
            return
        itself = weakref.ref(self)

        def keep(gradient: Tensor) -> None:
            tensor = itself()
            if tensor is not None:
                autograd.accumulate(tensor, gradient, False, {id(gradient._storage)})

        self.register_hook(keep)

    # Memory -------------------------------------------------------------------------------------

    def untyped_storage(self) -> Storage:
        """What all views of this memory share."""
        return self._storage

    def data_ptr(self) -> builtins.int:
        """The address of the first element; evaluates."""
        return self._storage.memory().address + view_of(self).offset * self.itemsize

    def as_subclass(self, cls: Any) -> Any:
        """The same memory as an instance of a subclass of Tensor, without history."""
        tensor = cls.__new__(cls)
        tensor._set_up(self._storage, self._view, self.dtype)
        return tensor

    def copy_(self, src: Any, non_blocking: builtins.bool = False) -> Tensor:
        """Writes `src`, broadcast and converted, into this tensor."""
        indexing.assign(self, src)
        return self

    def fill_(self, value: Any) -> Tensor:
        """Writes one number everywhere."""
        indexing.assign(self, value)
        return self

    def zero_(self) -> Tensor:
        """Writes zeros."""
        indexing.assign(self, 0)
        return self

    def set_(self, source: Tensor) -> Tensor:
        """Shows the memory of `source` from now on."""
        check_writable(self, False)
        self.data = source
        return self

    def new_tensor(self, data: Any, dtype: DType | None = None) -> Tensor:
        """A tensor of `data` in this one's dtype and device."""
        return creation.tensor(data, dtype=dtype or self.dtype, device=self.device)

    def new_zeros(self, *size: Any, dtype: DType | None = None) -> Tensor:
        """Zeros in this one's dtype and device."""
        return creation.zeros(*size, dtype=dtype or self.dtype, device=self.device)

    def new_ones(self, *size: Any, dtype: DType | None = None) -> Tensor:
        """Ones in this one's dtype and device."""
        return creation.ones(*size, dtype=dtype or self.dtype, device=self.device)

    def new_full(self, size: Any, fill_value: Number, dtype: DType | None = None) -> Tensor:
        """`fill_value` everywhere in this one's dtype and device."""
        return creation.full(size, fill_value, dtype=dtype or self.dtype, device=self.device)

    new_empty = new_zeros

    # Operators and short forms ------------------------------------------------------------------

    def __matmul__(self, other: Any) -> Tensor:
        return linear.matmul(self, other) if isinstance(other, Tensor) else NotImplemented

    def __neg__(self) -> Tensor:
        return elementwise.neg(self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return elementwise.abs(self)

    def __invert__(self) -> Tensor:
        return elementwise.bitwise_not(self)

    def where(self, condition: Tensor, other: Any) -> Tensor:
        """This tensor where `condition` holds, else `other`."""
        return where(condition, self, other)

    def reshape_as(self, other: Tensor) -> Tensor:
        """In the shape of `other`."""
        return movement.reshape(self, other._shape)

    def view_as(self, other: Tensor) -> Tensor:
        """The same memory in the shape of `other`."""
        return movement.view(self, other._shape)

    @property
    def T(self) -> Tensor:
        """The dimensions in reverse order."""
        return movement.permute(self, tuple(range(len(self._shape) - 1, -1, -1)))

    @property
    def mT(self) -> Tensor:
        """The last two dimensions swapped."""
        if len(self._shape) < 2:
            raise RuntimeError(
                "tensor.mT is only supported on matrices or batches of matrices. "
                f"Got {len(self._shape)}-D tensor."
            )
        return movement.transpose(self, -2, -1)


def _address_of(data: bytearray) -> int:
    return ctypes.addressof((ctypes.c_char * len(data)).from_buffer(data))


def _rebuild(
    cls: Any, data: bytes, dtype: DType, shape: tuple[int, ...], place: str, leaf: bool,
    attributes: dict[str, Any],
) -> Any:  # fmt: skip
    """A tensor from its pickle."""
    tensor = creation.frombuffer(data, dtype=dtype).to(device=place).reshape(shape).detach()
    tensor = tensor.as_subclass(cls)
    tensor._requires = leaf
    tensor.__dict__.update(attributes)
    return tensor


register_tensor_class(Tensor)
