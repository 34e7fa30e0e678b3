"""The class `Tensor`: evaluation, autograd state, and Python's protocols.

Floor 6.  The state is in `core/base.py`; the methods that compute are listed in
`core/methods.py`, each a function of a module by subject.  What touches the object itself is
written out here.
"""

from __future__ import annotations

import builtins
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dlgrad import autograd
from dlgrad.autograd.calls import check_gradient
from dlgrad.core import creation, formatting, interchange
from dlgrad.core.apply import where
from dlgrad.core.arguments import check_methods
from dlgrad.core.base import (
    LeafHooks,
    from_storage,
    register_tensor_class,
    requires_grad,
    view_of,
)
from dlgrad.core.composing import need_tensor
from dlgrad.core.device_type import DeviceLike, device, device_object
from dlgrad.core.host import export_numbers, nested
from dlgrad.core.methods import Methods
from dlgrad.core.storage import Storage, realize
from dlgrad.core.tape import Entry, check_writable, edge_of
from dlgrad.dtype import FLOAT, get_default_dtype
from dlgrad.errors import AutogradError
from dlgrad.matrix import linear
from dlgrad.operators import (
    bitwise,
    comparison,
    elementwise,
    indexing,
    movement,
    repeating,
    splitting,
)

Number = builtins.bool | builtins.int | builtins.float
RETAIN = 1 << 60  # the number of the hook of `retain_grad`: it runs after all others


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
    """What `register_hook` returns; `remove()`, or the end of a `with`, takes the hook away."""

    def __init__(self, hooks: dict[builtins.int, Any], hook: Any) -> None:
        self._hooks = hooks
        self._number = 1 + max((n for n in hooks if n < RETAIN), default=0)
        hooks[self._number] = hook

    def remove(self) -> None:
        """Takes the hook away."""
        self._hooks.pop(self._number, None)

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *details: object) -> None:
        self.remove()


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
            else creation.tensor(*data or ([],), dtype=get_default_dtype(), device=device)
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

    def realize(self, *others: Tensor) -> Tensor:
        """Computes the contents now, together with those of `others`; returns the tensor."""
        if others:
            for other in others:
                need_tensor("realize", other, "others")
            realize((self._storage, *(other._storage for other in others)))
        else:
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
        """A NumPy array over the memory of a CPU tensor; with `force`, a copy where it must be.

        The array keeps the memory alive, and a write to the tensor is seen in it.  A write to the
        array is seen by what is evaluated after it.
        """
        return interchange.to_numpy(self, force)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return interchange.array_interface(self)

    def __array__(self, dtype: Any = None, copy: builtins.bool | None = None) -> Any:
        return interchange.to_array(self, dtype, copy)

    def __buffer__(self, flags: builtins.int, /) -> memoryview:
        return interchange.to_buffer(self)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[builtins.int, builtins.int] | None = None,
        dl_device: tuple[builtins.int, builtins.int] | None = None,
        copy: builtins.bool | None = None,
    ) -> Any:
        """A DLPack capsule of this tensor's memory, for `from_dlpack` of another library.

        All work on the tensor is done when it returns, so `stream` is not needed.
        """
        return later_dlpack().exported(self, max_version, dl_device, copy)

    def __dlpack_device__(self) -> tuple[builtins.int, builtins.int]:
        """DLPack's number for the kind of device, and which of them."""
        place: tuple[builtins.int, builtins.int] = later_dlpack().device_of(self)
        return place

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
        if self.dtype.kind == FLOAT or self.numel() != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return builtins.int(self.item())

    def __len__(self) -> builtins.int:
        if not self._shape:
            raise TypeError("len() of a 0-d tensor")
        return self._shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self._shape:
            raise TypeError("iteration over a 0-d tensor")
        return iter(splitting.unbind(self))

    def __reversed__(self) -> Tensor:
        return repeating.flip(self, 0) if self._shape else self

    def __contains__(self, element: Any) -> builtins.bool:
        if not isinstance(element, (Tensor, Number)):
            raise RuntimeError(
                "Tensor.__contains__ only supports Tensor or scalar, but you passed in a "
                f"{type(element)}."
            )
        return builtins.bool(comparison.eq(self, element).any())

    def __hash__(self) -> builtins.int:
        return id(self)

    def __repr__(self) -> str:
        return formatting.describe(self)

    def __format__(self, spec: str) -> str:
        return formatting.format_number(self, spec, type(self) is Tensor)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return interchange.reduce_tensor(self)

    def __deepcopy__(self, memo: dict[builtins.int, Any]) -> Tensor:
        return interchange.deep_copy(self, memo)

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
    def grad(self) -> Tensor | None:
        """The gradient that `backward` has added up, or None; it may be assigned, too."""
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        check_gradient(self, value)
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

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
        need_tensor("set_", value, "source")
        self._storage, self._view, self._shape = value._storage, value._view, value._shape
        self.dtype, self._node, self._node_version = value.dtype, None, -1

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> HookHandle:
        """Calls `hook(gradient)` when the gradient of this tensor is known; it may change it."""
        if not requires_grad(self):
            raise AutogradError("cannot register a hook on a tensor that doesn't require gradient")
        return HookHandle(self._gradient_hooks(), hook)

    def _gradient_hooks(self) -> dict[builtins.int, Any]:
        """The hooks that are called with the gradient, by number."""
        edge = edge_of(self)
        if isinstance(edge, Entry):
            if edge.hooks is None:
                edge.hooks = {}
            return edge.hooks
        return self._leaf_hooks().before

    def _leaf_hooks(self) -> LeafHooks:
        if self._hooks is None:
            self._hooks = LeafHooks({}, {})
        return self._hooks

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> HookHandle:
        """Calls `hook(tensor)` after `backward` has added to the `.grad` of this leaf."""
        if not requires_grad(self):
            raise AutogradError("cannot register a hook on a tensor that doesn't require gradient")
        if not self.is_leaf:
            raise AutogradError(
                "post accumulate grad hooks cannot be registered on non-leaf tensors"
            )
        return HookHandle(self._leaf_hooks().after, hook)

    @property
    def retains_grad(self) -> builtins.bool:
        """True after `retain_grad()` of a tensor that is not a leaf."""
        return not self.is_leaf and RETAIN in self._gradient_hooks()

    def retain_grad(self) -> None:
        """Keeps the gradient of a tensor that is not a leaf in its `.grad`, too.

        It is what the hooks have made of it, in whatever order they were registered.
        """
        if not requires_grad(self):
            raise AutogradError("can't retain_grad on Tensor that has requires_grad=False")
        if self.is_leaf:
            return
        itself = weakref.ref(self)

        def keep(gradient: Tensor) -> None:
            tensor = itself()
            if tensor is not None:
                autograd.accumulate(tensor, gradient, False, {id(gradient._storage)})

        self._gradient_hooks()[RETAIN] = keep

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
        return bitwise.bitwise_not(self)

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

    mH = mT  # there are no complex numbers to conjugate

    @property
    def H(self) -> Tensor:
        """A matrix transposed: there are no complex numbers to conjugate."""
        if len(self._shape) not in (0, 2):
            raise RuntimeError(
                "tensor.H is only supported on matrices (2-D tensors). Got "
                f"{len(self._shape)}-D tensor. For batches of matrices, consider using tensor.mH"
            )
        return self.T


def later_dlpack() -> Any:
    """The module for DLPack, which few programs need."""
    from dlgrad.core import dlpack

    return dlpack


check_methods(Tensor)
register_tensor_class(Tensor)
