"""How a primitive becomes a tensor: promotion, broadcasting, the node, the tape.

Floor 6.  Every operation on tensors ends in one of the functions here.  They make the graph
node, wrap it, and call `tape.record`.  Casts and expansions that promotion and broadcasting put
in front of an element-wise primitive are not recorded: the walk of `autograd/walk.py` brings each
gradient back to the dtype and the shape of its source.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.core.base import (
    Number,
    TensorBase,
    grad_mode,
    make,
    make_view,
    node_of,
    requires_grad,
)
from dlgrad.core.storage import pending_depth
from dlgrad.core.tape import enter, record
from dlgrad.dtype import (
    BOOL,
    FLOAT,
    SIGNED,
    UNSIGNED,
    DType,
    bool_,
    combine_categories,
    float32,
    float64,
    int64,
    promote_types,
    scalar_dtype,
)
from dlgrad.errors import DeviceError, DTypeError, ShapeError
from dlgrad.lazy import graph
from dlgrad.lazy.graph import Contraction, Layout, Node
from dlgrad.lazy.ops import (
    OPS,
    BufferOps,
    ElementwiseOps,
    IndexOps,
    MatrixOps,
    MovementOps,
    Op,
    ReduceOps,
)
from dlgrad.lazy.shape import Shape, View, broadcast_shapes

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

_BUFFER, _CONST = BufferOps.BUFFER, BufferOps.CONST
_ON_BOOLS = {ElementwiseOps.ADD: ElementwiseOps.OR, ElementwiseOps.MUL: ElementwiseOps.AND}
LARGE = 1e38  # below this a float needs no look at the range of its dtype
_EXPAND: dict[tuple[Shape, Shape], View] = {}


def as_number(value: Any, name: str = "other") -> Number:
    """`value` as a Python number; TypeError for anything else."""
    if isinstance(value, (bool, int, float)):
        return value
    if hasattr(value, "__index__"):
        return int(value.__index__())
    if hasattr(value, "__float__") and not hasattr(value, "__len__"):
        return float(value)
    raise TypeError(
        f"argument '{name}' must be a Tensor or a number, not {type(value).__name__}; "
        "make a tensor of it with dlgrad.tensor(...)"
    )


def is_operand(value: object) -> bool:
    """True for what an operator accepts on its other side."""
    return isinstance(value, (TensorBase, int, float)) or (
        (hasattr(value, "__index__") or hasattr(value, "__float__"))
        and not hasattr(value, "__len__")
    )


def fit_number(value: Number, dtype: DType) -> Number:
    """`value` as an element of `dtype`: integers wrap around, floats overflow to infinity."""
    kind = dtype.kind
    if kind == FLOAT:
        number = float(value)
        largest = dtype.max
        if number > largest or number < -largest:
            return float("inf") if number > 0 else float("-inf")
        return number
    if kind == BOOL:
        return bool(value)
    number_int = int(value)
    if dtype.min <= number_int <= dtype.max:
        return number_int
    if not -(2**63) <= number_int < 2**64:
        raise OverflowError(f"int too big to convert: {number_int} has more than 64 bits")
    bits = 8 * dtype.itemsize
    number_int &= (1 << bits) - 1
    if dtype.is_signed and number_int >> (bits - 1):
        number_int -= 1 << bits
    return number_int


def exact(value: Number, dtype: DType) -> Number:
    """`value`; RuntimeError where the integer type `dtype` cannot hold it.

    As in PyTorch, unsigned types take negative numbers of their size: 255 is -1.
    """
    if dtype.is_integer and not -dtype.max - 1 <= value <= dtype.max:
        raise RuntimeError(f"value {value} cannot be converted to type {dtype!r} without overflow")
    return value


def constant(value: Number, dtype: DType, shape: Shape, device: str) -> Node:
    """A node that is `value` everywhere."""
    if dtype is float32 and type(value) is float and -LARGE < value < LARGE:
        return Node(_CONST, (), value, dtype, shape, device)  # the usual case
    return Node(_CONST, (), fit_number(value, dtype), dtype, shape, device)


def same_device(tensors: Sequence[TensorBase]) -> str:
    """The one device of all `tensors`; DeviceError where they differ."""
    device = tensors[0]._storage.node.device
    for tensor in tensors:
        other = tensor._storage.node.device
        if other != device:
            raise DeviceError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{device} and {other}; move one of them with .to(device)"
            )
    return device


def result_dtype(operands: Sequence[TensorBase | Number]) -> DType:
    """PyTorch's result type of an operation on tensors and Python numbers."""
    found: list[DType | None] = [None, None, None]
    for operand in operands:
        if isinstance(operand, TensorBase):
            category, dtype = (0 if operand._shape else 1), operand.dtype
        else:
            category, dtype = 2, scalar_dtype(operand)
        known = found[category]
        found[category] = dtype if known is None else promote_types(known, dtype)
    return combine_categories(*found)


def node_as(tensor: TensorBase, dtype: DType, shape: Shape) -> Node:
    """The tensor's node converted to `dtype` and expanded to `shape`."""
    node = node_of(tensor)
    if node.dtype is not dtype:
        node = graph.cast(node, dtype)
    if node.shape != shape:
        node = expand_node(node, shape)
    return node


def expand_node(node: Node, shape: Shape) -> Node:
    """`node` broadcast to `shape`."""
    key = (node.shape, shape)
    view = _EXPAND.get(key)
    if view is None:
        if len(_EXPAND) > 4096:
            _EXPAND.clear()
        view = _EXPAND[key] = View.contiguous(node.shape).expand(shape)
    return graph.view(node, view)


def finish(
    op: Op | str, arg: Any, node: Node, sources: tuple[TensorBase, ...]
) -> Tensor:
    """The tensor of `node`, recorded as `op(sources)`."""
    depth = 0
    wanted = False
    for source in sources:
        storage = source._storage
        if storage.depth > depth and storage.node.op is not _BUFFER:
            depth = storage.depth
        if source._requires or (source._base is not None and requires_grad(source)):
            wanted = True
    out = make(node, depth + 1)
    if wanted and grad_mode.enabled:
        enter(op, arg, out, sources)
    return out


# Element-wise ---------------------------------------------------------------------------------


def unary(op: ElementwiseOps, x: TensorBase) -> Tensor:
    """`op(x)` in the dtype of `x`."""
    node = node_of(x)
    if node.dtype.kind == BOOL and not OPS[op].bools:
        refuse_bool(op)
    return finish(op, None, Node(op, (node,), None, node.dtype, node.shape, node.device), (x,))


def binary(op: ElementwiseOps, a: Any, b: Any, result: DType | None = None) -> Tensor:
    """`op(a, b)` in the common dtype of `a` and `b`, broadcast; one of them is a tensor.

    `result` is bool for a comparison; a float dtype for `result` says what integers become.
    """
    if result is not bool_ and isinstance(a, TensorBase) and isinstance(b, TensorBase):
        left, right = node_of(a), node_of(b)
        dtype, shape, device = left.dtype, left.shape, left.device
        if (  # the usual case takes the short way
            dtype is right.dtype
            and dtype.kind == FLOAT
            and shape == right.shape
            and device == right.device
        ):
            return finish(op, None, Node(op, (left, right), None, dtype, shape, device), (a, b))
    if not isinstance(a, TensorBase):
        a = as_number(a, "input")
        if not isinstance(b, TensorBase):
            raise TypeError(f"{op.value}: at least one argument must be a Tensor, not two numbers")
        device, shape = b._storage.node.device, b._shape
        dtype = result_dtype((a, b))
        sources: tuple[TensorBase, ...] = (b,)
    elif not isinstance(b, TensorBase):
        b = as_number(b)
        device, shape = a._storage.node.device, a._shape
        dtype = a.dtype if a.dtype.kind == FLOAT else result_dtype((a, b))
        sources = (a,)
    else:
        if a._storage.node.device != b._storage.node.device:
            a, b = gather_zero_dim(a, b)
        device, shape = a._storage.node.device, a._shape
        dtype = a.dtype
        if shape != b._shape:
            shape = broadcast_shapes(shape, b._shape)
            if dtype is not b.dtype:
                dtype = result_dtype((a, b))
        elif dtype is not b.dtype:
            dtype = promote_types(dtype, b.dtype)
        sources = (a, b)
    if result is not None and result.kind == FLOAT and dtype.kind != FLOAT:
        dtype = result
    if dtype.kind == BOOL and not OPS[op].bools:
        op = on_bools(op)
    if result is bool_ and len(sources) == 1 and dtype.kind in (SIGNED, UNSIGNED):
        dtype = comparable(b if isinstance(a, TensorBase) else a, dtype)
    if isinstance(a, TensorBase):
        node_a = node_as(a, dtype, shape)
    else:
        node_a = constant(a, dtype, shape, device)
    if isinstance(b, TensorBase):
        node_b = node_as(b, dtype, shape)
    else:
        node_b = constant(b, dtype, shape, device)
    if result is bool_:
        node = Node(op, (node_a, node_b), None, bool_, shape, device)
        return make(node, 1 + max(pending_depth(source._storage) for source in sources))
    node = Node(op, (node_a, node_b), None, dtype, shape, device)
    if len(sources) == 2:
        return finish(op, None, node, sources)
    # The row of a binary op has two sources: a number stands there as a constant tensor.
    if grad_mode.enabled and requires_grad(sources[0]):
        first = a if isinstance(a, TensorBase) else make(constant(a, dtype, (), device))
        second = b if isinstance(b, TensorBase) else make(constant(b, dtype, (), device))
        return finish(op, None, node, (first, second))
    return make(node, 1 + pending_depth(sources[0]._storage))


def comparable(number: Number, dtype: DType) -> DType:
    """The dtype in which a tensor of an integer `dtype` meets a number that it may not hold."""
    if dtype.min <= number <= dtype.max:
        return dtype
    return float64 if dtype.itemsize == 8 and -(2**63) <= number < 2**64 else int64


def on_bools(op: ElementwiseOps) -> ElementwiseOps:
    """What a binary `op` of numbers is on bools; DTypeError where it has no meaning on them."""
    if op not in _ON_BOOLS:
        refuse_bool(op)
    return _ON_BOOLS[op]


def refuse_bool(op: ElementwiseOps) -> None:
    """Raises the error of an operation that has no meaning on bools."""
    raise DTypeError(f"{op.value!r} is not there for bool tensors; convert them with .int() first")


def gather_zero_dim(a: TensorBase, b: TensorBase) -> tuple[TensorBase, TensorBase]:
    """Brings a zero-dimensional CPU operand to the device of the other.

    DeviceError where neither is one.
    """
    if not a._shape and a._storage.node.device == "cpu":
        return to_device(a, b._storage.node.device), b
    if not b._shape and b._storage.node.device == "cpu":
        return a, to_device(b, a._storage.node.device)
    same_device((a, b))
    return a, b


def where(condition: TensorBase, a: Any, b: Any) -> Tensor:
    """`a` where the bool `condition` holds, else `b`; tensors or numbers."""
    if condition.dtype is not bool_:
        raise DTypeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype "
            f"{condition.dtype!r}; compare it first, as in x != 0"
        )
    operands = [a, b]
    tensors: list[TensorBase] = [condition]
    for i, operand in enumerate(operands):
        if isinstance(operand, TensorBase):
            if operand._storage.node.device != condition._storage.node.device:
                operand = operands[i] = gather_zero_dim(condition, operand)[1]
            tensors.append(operand)
        else:
            operands[i] = as_number(operand)
    device = same_device(tensors)
    dtype = result_dtype(operands)
    shape = condition._shape
    for tensor in tensors[1:]:
        if tensor._shape != shape:
            shape = broadcast_shapes(shape, tensor._shape)
    nodes = [node_as(condition, bool_, shape)]
    sources: list[TensorBase] = [condition]
    for operand in operands:
        if isinstance(operand, TensorBase):
            nodes.append(node_as(operand, dtype, shape))
            sources.append(operand)
        else:
            nodes.append(constant(exact(operand, dtype), dtype, shape, device))
            sources.append(condition)  # a stand-in that never wants a gradient
    node = Node(ElementwiseOps.WHERE, tuple(nodes), None, dtype, shape, device)
    return finish(ElementwiseOps.WHERE, None, node, tuple(sources))


def cast(x: TensorBase, dtype: DType) -> Tensor:
    """`x` converted to `dtype` (a new tensor unless it has that dtype)."""
    if x.dtype is dtype:
        return x  # type: ignore[return-value]
    return finish(ElementwiseOps.CAST, None, graph.cast(node_of(x), dtype), (x,))


def bitcast(x: TensorBase, dtype: DType) -> Tensor:
    """The bits of `x` read as `dtype`, of the same size."""
    node = graph.elementwise(ElementwiseOps.BITCAST, node_of(x), dtype=dtype)
    return finish(ElementwiseOps.BITCAST, None, node, (x,))


# Memory ---------------------------------------------------------------------------------------


def copy(x: TensorBase) -> Tensor:
    """The same values in new row-major memory."""
    return finish(BufferOps.COPY, None, graph.copy(node_of(x)), (x,))


def to_device(x: TensorBase, device: str) -> Tensor:
    """`x` on `device` (itself if it is there)."""
    if x._storage.node.device == device:
        return x  # type: ignore[return-value]
    return finish(BufferOps.COPY, None, graph.copy(node_of(x), device), (x,))


def counting(dim: int, dtype: DType, shape: Shape, device: str) -> Tensor:
    """The index along dimension `dim`."""
    return make(graph.iota(dim, dtype, shape, device))


def filled(value: Number, dtype: DType, shape: Shape, device: str) -> Tensor:
    """`value` everywhere."""
    return make(constant(value, dtype, shape, device))


def empty_of(dtype: DType, shape: Shape, device: str) -> Tensor:
    """Memory with unspecified contents."""
    return make(graph.empty(dtype, shape, device))


# Reductions -----------------------------------------------------------------------------------


def reduce(op: ReduceOps, x: TensorBase, dims: Shape, keepdim: bool) -> Tensor:
    """`op` along `dims` (sorted, non-negative); without `keepdim` they leave the shape."""
    node = graph.reduce(op, node_of(x), dims)
    if dims and not keepdim:
        kept = tuple(size for i, size in enumerate(x._shape) if i not in dims)
        node = graph.reshape(node, kept)
    return finish(op, dims, node, (x,))


# Movement -------------------------------------------------------------------------------------


def move(name: str, arg: Any, x: TensorBase, view: View) -> Tensor:
    """`x` seen through `view` of its storage; `name` is the row of the table of derivatives."""
    out = make_view(x, view)
    if grad_mode.enabled and requires_grad(x):
        record(name, arg, out, (x,))
    return out


def read_view(x: TensorBase, view: View) -> Tensor:
    """A new tensor with the elements of `x` that `view` (of x's row-major elements) names."""
    node = graph.view(node_of(x), view)
    return finish(MovementOps.VIEW, view, node, (x,))


def embed(value: TensorBase, shape: Shape, view: View, fill: Number = 0) -> Tensor:
    """A tensor of `shape` full of `fill`, with `value` written through `view` of it."""
    node = node_of(value)
    base = constant(fill, node.dtype, shape, node.device)
    return finish("embed", view, graph.update(base, node, view), (value,))


def update(base: TensorBase, value: TensorBase, view: View) -> Tensor:
    """A new tensor: `base` with `value` (of view's shape) written through `view` of it."""
    node = graph.update(node_of(base), node_of(value), view)
    return finish(BufferOps.UPDATE, view, node, (base, value))


# Matrix ---------------------------------------------------------------------------------------


def contract(a: TensorBase, b: TensorBase, dims: Contraction) -> Tensor:
    """The primitive matmul, see `graph.Contraction`; the dtypes must be the same."""
    if a.dtype is not b.dtype:
        raise DTypeError(
            f"expected both operands to have the same dtype, but got {a.dtype!r} and "
            f"{b.dtype!r}; convert one of them with .to(dtype)"
        )
    same_device((a, b))
    batch_m = dims.batch + dims.m
    inner = a._shape[batch_m:]
    if inner != b._shape[dims.batch : dims.batch + dims.k]:
        raise ShapeError(
            f"cannot multiply shapes {a._shape} and {b._shape}: the sizes to sum over are "
            f"{inner} and {b._shape[dims.batch : dims.batch + dims.k]}"
        )
    return finish(MatrixOps.MATMUL, dims, graph.matmul(node_of(a), node_of(b), dims), (a, b))


# Computed places ------------------------------------------------------------------------------


def gather(x: TensorBase, index: TensorBase, layout: Layout) -> Tensor:
    """The elements of `x` at the int64 places `index`; those outside are NaN, or 0."""
    node = graph.gather(node_of(x), node_of(index), layout)
    return finish(IndexOps.GATHER, layout, node, (x, index))


def scatter(
    base: TensorBase,
    values: TensorBase,
    index: TensorBase,
    layout: Layout,
    combine: ReduceOps | None = None,
) -> Tensor:
    """A new tensor: `base` with `values` written, or combined, at the int64 places `index`.

    Values have the dtype of `base` and the shape of the index; places outside are left out,
    and of several values for one place the last one stays.
    """
    node = graph.scatter(node_of(base), node_of(values), node_of(index), layout, combine)
    row: Op | str = IndexOps.SCATTER
    if combine is not None:
        row = "scatter_sum" if combine is ReduceOps.SUM else "scatter_fold"
    return finish(row, (layout, combine), node, (base, values, index))


def scan(op: ReduceOps | str, x: TensorBase, dim: int) -> Tensor:
    """The result of `op` over all elements up to each one along `dim`.

    That of a maximum or minimum has no derivative; use the places.
    """
    rows: dict[ReduceOps | str, str] = {ReduceOps.SUM: "cumsum", ReduceOps.PROD: "cumprod"}
    row = rows.get(op, "logcumsumexp")
    return finish(row, (dim, op), graph.scan(node_of(x), dim, op), (x,))


def argsort(x: TensorBase, dim: int, descending: bool) -> Tensor:
    """The places along `dim` that put `x` in order; equal elements keep their order."""
    return make(graph.argsort(node_of(x), dim, descending), 1 + pending_depth(x._storage))
