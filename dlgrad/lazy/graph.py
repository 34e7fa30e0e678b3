"""The lazy tensor graph: nodes that know shape, dtype and device, and compute nothing yet.

Floor 1.  The functions below are the only makers of nodes; they take arguments that the
user-facing functions above have already checked and promoted.  A node's value is always the
row-major block of its shape.  `engine.realize` turns a node into a BUFFER in place, so every
graph that refers to it sees the memory.
"""

from __future__ import annotations

import weakref
from functools import lru_cache
from typing import Any, NamedTuple

from dlgrad.dtype import BOOL, DType, bool_, int64
from dlgrad.errors import DeviceError, DTypeError
from dlgrad.lazy.ops import (
    OPS,
    BufferOps,
    ElementwiseOps,
    IndexOps,
    MatrixOps,
    MovementOps,
    Op,
    ReduceOps,
    Result,
    SerialOps,
)
from dlgrad.lazy.shape import Shape, View

# With so many, and again with twice as many, the readers that are gone are forgotten.
MOST_READERS = 64


class Node:
    """One value of the graph: `op` applied to the nodes in `src`, with the argument `arg`.

    `owner` is a weak reference to the storage that holds this node as its value (None where no
    tensor shows it); `readers` lists weak references to the nodes made from this one, so that
    the engine knows who still waits for a value before its memory is overwritten.
    """

    __slots__ = (
        "op", "src", "arg", "dtype", "shape", "device", "owner", "readers", "__weakref__"
    )  # fmt: skip

    def __init__(
        self, op: Op, src: tuple[Node, ...], arg: Any, dtype: DType, shape: Shape, device: str
    ) -> None:
        self.op = op
        self.src = src
        self.arg = arg
        self.dtype = dtype
        self.shape = shape
        self.device = device
        self.owner: weakref.ref[Any] | None = None
        self.readers: list[weakref.ref[Node]] | None = None
        if src:
            me = weakref.ref(self)
            for source in src:
                readers = source.readers
                if readers is None:
                    source.readers = [me]
                else:
                    readers.append(me)
                    count = len(readers)
                    if count >= MOST_READERS and not count & (count - 1):
                        source.readers = [ref for ref in readers if ref() is not None]

    @property
    def is_held(self) -> bool:
        """True while a living storage shows this node's value."""
        if self.owner is None:
            return False
        holder = self.owner()
        return holder is not None and holder.node is self

    @property
    def holder(self) -> Any:
        """The living storage that took this node as its value last, or None."""
        return None if self.owner is None else self.owner()

    @property
    def numel(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize

    @property
    def is_realized(self) -> bool:
        return self.op is BufferOps.BUFFER

    def become_buffer(self, buffer: Any) -> None:
        """Turns this node into realised memory; what it was made from is let go."""
        self.op, self.src, self.arg = BufferOps.BUFFER, (), buffer
        buffer.shown_by = weakref.ref(self)

    def __repr__(self) -> str:
        return f"<{self.op.value} {self.dtype.name} {list(self.shape)} {self.device}>"


class Contraction(NamedTuple):
    """How many dimensions of a matmul's operands belong to each group.

    a: [batch..., m..., k...], b: [batch..., k..., n...], result: [batch..., m..., n...]:
    result = sum over k of a * b.  A convolution has several dimensions in m, n and k.
    """

    batch: int
    m: int
    n: int
    k: int


class Layout(NamedTuple):
    """How the axes of an index belong to the dimensions of what it indexes.

    `axes` has for every axis of the index the dimension that it walks, or -1 for the axis that
    counts the places.  `indexed` are the dimensions that the index replaces: of one, it holds
    the positions; of several, the sums of positions times row-major strides.
    """

    axes: tuple[int, ...]
    indexed: tuple[int, ...]

    @property
    def dim(self) -> int:
        """The axis that counts the places."""
        return self.axes.index(-1)


class Places(NamedTuple):
    """How an index finds elements: at offset + sum(i * stride) + index * step.

    `view` (over the row-major elements of the memory) has the shape of the index, and stride 0
    along `dim`, the dimension that the index replaces; an index is from 0 to `length` - 1.
    `combine` says what a scatter does with the element that is there; None: overwrites it.
    """

    view: View
    dim: int
    step: int
    length: int
    combine: ReduceOps | None = None


def buffer(memory: Any, dtype: DType, shape: Shape, device: str) -> Node:
    """Realised memory, row-major."""
    node = Node(BufferOps.BUFFER, (), memory, dtype, shape, device)
    if memory is not None:
        memory.shown_by = weakref.ref(node)
    return node


def const(value: bool | int | float, dtype: DType, shape: Shape, device: str) -> Node:
    """`value` in every element; it must be representable in `dtype`."""
    if dtype.kind == BOOL:
        value = bool(value)
    else:
        value = float(value) if dtype.is_floating_point else int(value)
    return Node(BufferOps.CONST, (), value, dtype, shape, device)


class Varying(float):
    """A constant that is given at launch from the first time on: it differs at every call."""

    __slots__ = ()


def varying(value: int | float, dtype: DType, shape: Shape, device: str) -> Node:
    """`value` in every element, never written into a kernel; a double must hold it."""
    return Node(BufferOps.CONST, (), Varying(value), dtype, shape, device)


def empty(dtype: DType, shape: Shape, device: str) -> Node:
    """Unspecified contents, to be updated."""
    return Node(BufferOps.EMPTY, (), None, dtype, shape, device)


def iota(dim: int, dtype: DType, shape: Shape, device: str) -> Node:
    """The index along dimension `dim`."""
    return Node(BufferOps.IOTA, (), dim, dtype, shape, device)


def copy(src: Node, device: str | None = None) -> Node:
    """The same values in memory of their own, on `device` (default: where they are)."""
    device = device or src.device
    return Node(BufferOps.COPY, (src,), device, src.dtype, src.shape, device)


def update(base: Node, value: Node, view: View) -> Node:
    """`base` with `value` written through `view` (a view of base's row-major elements).

    `value.shape == view.shape`, the dtypes agree, and the view does not overlap itself.
    """
    if view.is_contiguous and view.numel == base.numel:
        return reshape(value, base.shape)
    return Node(BufferOps.UPDATE, (base, value), view, base.dtype, base.shape, base.device)


def elementwise(op: ElementwiseOps, *src: Node, dtype: DType | None = None) -> Node:
    """`op` over sources of one shape; `dtype` is needed where the op table says GIVEN."""
    rule = OPS[op].result
    if rule is Result.BOOL:
        dtype = bool_
    elif rule is not Result.GIVEN:
        dtype = src[-1].dtype
    if not isinstance(dtype, DType):
        raise TypeError(f"expected a dtype such as dlgrad.float32, not {type(dtype).__name__}")
    if op is ElementwiseOps.BITCAST and dtype.itemsize != src[0].dtype.itemsize:
        raise DTypeError(f"bitcast: {src[0].dtype!r} and {dtype!r} have not the same size")
    return Node(op, src, None, dtype, src[0].shape, src[0].device)


def cast(src: Node, dtype: DType) -> Node:
    """The values converted to `dtype`."""
    if src.dtype is dtype:
        return src
    return elementwise(ElementwiseOps.CAST, src, dtype=dtype)


def reduce(op: ReduceOps, src: Node, dims: Shape) -> Node:
    """`op` along `dims` (sorted, non-negative), which stay in the shape with size 1."""
    if not dims:
        return src
    shape = tuple(1 if i in dims else size for i, size in enumerate(src.shape))
    return Node(op, (src,), dims, src.dtype, shape, src.device)


def view(src: Node, view: View) -> Node:
    """`view` over the row-major elements of `src`; views of views become one where they can."""
    if src.op is BufferOps.CONST:
        return Node(src.op, (), src.arg, src.dtype, view.shape, src.device)
    if view.offset == 0 and view.shape == src.shape and view.is_contiguous:
        return src
    if src.op is MovementOps.VIEW:
        composed = composition(view, src.arg)
        if composed is not None:
            inner = src.src[0]
            if composed.offset == 0 and composed.shape == inner.shape and composed.is_contiguous:
                return inner
            return Node(MovementOps.VIEW, (inner,), composed, src.dtype, view.shape, src.device)
    return Node(MovementOps.VIEW, (src,), view, src.dtype, view.shape, src.device)


@lru_cache(maxsize=4096)
def composition(outer: View, inner: View) -> View | None:
    """The view that shows `outer` of `inner`, if one does: a training loop asks again and again."""
    return outer.compose(inner)


def view_on(src: Node, shown: View) -> Node:
    """`shown` over `src` itself, for a view that outlives the evaluation of `src`.

    Where `src` is a view, one that skipped it would stand on what `src` was made from, which
    nobody keeps once `src` is memory.
    """
    if src.op is MovementOps.VIEW:
        return Node(MovementOps.VIEW, (src,), shown, src.dtype, shown.shape, src.device)
    return view(src, shown)


def reshape(src: Node, shape: Shape) -> Node:
    """The same elements in row-major order under another shape."""
    return src if src.shape == shape else view(src, View.contiguous(shape))


def matmul(a: Node, b: Node, dims: Contraction) -> Node:
    """The contraction of `a` and `b`; see `Contraction` for the order of the dimensions."""
    batch_m = dims.batch + dims.m
    shape = a.shape[:batch_m] + b.shape[dims.batch + dims.k :]
    return Node(MatrixOps.MATMUL, (a, b), dims, a.dtype, shape, a.device)


def places(view: View, layout: Layout, shape: Shape, combine: ReduceOps | None = None) -> Places:
    """The places of an index of `shape` in the values that `view` shows."""
    strides = tuple(0 if axis < 0 else view.strides[axis] for axis in layout.axes)
    steps = [view.strides[dim] for dim in layout.indexed]
    sizes = [view.shape[dim] for dim in layout.indexed]
    seen = View(shape, strides, view.offset)
    if len(steps) == 1:
        return Places(seen, layout.dim, steps[0], sizes[0], combine)
    last = sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    return Places(seen, layout.dim, 1, last + 1 if min(sizes) else 0, combine)


def check_place(*nodes: Node) -> None:
    """DeviceError unless all nodes are on one device: a kernel has no address on another."""
    for node in nodes:
        if node.device != nodes[0].device:
            raise DeviceError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{nodes[0].device} and {node.device}; move one of them with .to(device)"
            )


def gather(src: Node, index: Node, layout: Layout) -> Node:
    """The elements of `src` that `index` names, in the shape of the index."""
    check_place(src, index)
    memory, view = src, View.contiguous(src.shape)
    if src.op is MovementOps.VIEW and len(layout.indexed) == 1:
        memory, view = src.src[0], src.arg
    where = places(view, layout, index.shape)
    return Node(IndexOps.GATHER, (memory, index), where, src.dtype, index.shape, src.device)


def scatter(
    base: Node, values: Node, index: Node, layout: Layout, combine: ReduceOps | None
) -> Node:
    """`base` with `values` written (or combined) where `index` names, first to last along
    `layout.dim`; values and index have one shape."""
    check_place(base, values, index)
    where = places(View.contiguous(base.shape), layout, index.shape, combine)
    return Node(
        IndexOps.SCATTER, (base, values, index), where, base.dtype, base.shape, base.device
    )


def scan(src: Node, dim: int, op: ReduceOps | str) -> Node:
    """The result of `op` over all elements up to each one along `dim`."""
    return Node(SerialOps.SCAN, (src,), (dim, op), src.dtype, src.shape, src.device)


def argsort(src: Node, dim: int, descending: bool) -> Node:
    """The int64 places along `dim` that would put `src` in order; equal elements stay in order."""
    return Node(SerialOps.ARGSORT, (src,), (dim, bool(descending)), int64, src.shape, src.device)


def toposort(roots: list[Node]) -> list[Node]:
    """Every node that the roots need, sources before users; iterative, for long chains."""
    order: list[Node] = []
    seen: set[Node] = set()
    stack: list[Node | None] = [*reversed(roots)]
    while stack:
        node = stack.pop()
        if node is None:  # all sources of the node below it are in the order
            order.append(stack.pop())  # type: ignore[arg-type]
        elif node not in seen:
            seen.add(node)
            src = node.src
            if src:
                stack.append(node)
                stack.append(None)
                stack.extend(src[::-1])
            else:
                order.append(node)
    return order
