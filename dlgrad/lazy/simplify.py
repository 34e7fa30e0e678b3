"""Rewrites a graph into one with the same values and less to do, before it is scheduled.

Floor 2.  In: nodes in topological order and the roots.  Out: new roots in which
- equal nodes are one node,
- copies of values that are computed anyway, casts to the same dtype and x * 1 are gone,
- a view of element-wise work became element-wise work on views, wherever strides can say it,
  so that the work fuses with what reads the view,
- a product of a matrix and a vector is a sum of products, whose loops fuse with what is around it,
- a view stands only on memory or on a computed value, never on another view,
- every root is computed (a root that is a view or a constant becomes a copy).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from dlgrad.dtype import float32, float64
from dlgrad.lazy import graph
from dlgrad.lazy.graph import Contraction, Node
from dlgrad.lazy.group import squeeze
from dlgrad.lazy.ops import (
    OPS,
    BufferOps,
    ElementwiseOps,
    IndexOps,
    MatrixOps,
    MovementOps,
    ReduceOps,
    is_elementwise,
    reads_memory,
)
from dlgrad.lazy.shape import View, contiguous_strides

# A value is cheap to compute again for each of its readers up to this many operations.
CHEAP = 4
# A view is pushed through element-wise work of at most this many operations: what is larger
# fills a kernel by itself, and the walk below is recursive.
PUSH_LIMIT = 64


class ScalarParameter:
    """Stands in a CONST for a number that is given at launch, as entry `position`."""

    __slots__ = ("position",)

    def __init__(self, position: int) -> None:
        self.position = position


def is_computed(node: Node) -> bool:
    """True for nodes that need work; False for memory, constants, counters and views."""
    return node.op not in (
        BufferOps.BUFFER,
        BufferOps.CONST,
        BufferOps.IOTA,
        BufferOps.EMPTY,
        MovementOps.VIEW,
    )


def is_product_with_vector(node: Node) -> bool:
    """Whether a matmul uses each element of its matrix once only, so that packing gains nothing.

    A window of a convolution, which has several dimensions to sum over, is left to the matmul,
    as are 16-bit floats, which it has pairs for, and GPUs, where this was not measured.
    """
    dims: Contraction = node.arg
    a, b = node.src
    rows = squeeze(a.shape[dims.batch : dims.batch + dims.m])
    columns = squeeze(b.shape[dims.batch + dims.k :])
    summed = squeeze(a.shape[dims.batch + dims.m :])
    return (
        node.device == "cpu"
        and node.dtype in (float32, float64)
        and (not rows or not columns)
        and max(len(rows), len(columns), len(summed)) <= 1
    )


class Simplifier:
    """One pass over one graph; see the head of this file."""

    def __init__(self, order: list[Node], roots: list[Node]) -> None:
        self.order = order
        self.roots = roots
        self.old_uses = Counter(id(source) for node in order for source in node.src)
        self.old_uses.update(id(root) for root in roots)
        self.uses: Counter[int] = Counter()
        self.known: dict[Any, Node] = {}
        self.costs: dict[int, int] = {}

    def run(self) -> list[Node]:
        """The new roots, in the order of the old."""
        new: dict[int, Node] = {}
        for node in self.order:
            result = self.rewrite(node, tuple(new[id(source)] for source in node.src))
            new[id(node)] = result
            self.uses[id(result)] += self.old_uses[id(node)]
        return [self.as_root(new[id(root)]) for root in self.roots]

    def as_root(self, node: Node) -> Node:
        """`node` as something that a kernel writes to memory of its own."""
        return node if is_computed(node) else self.unique(graph.copy(node))

    def unique(self, node: Node) -> Node:
        """The first node that was made equal to `node`."""
        if node.op in (BufferOps.BUFFER, BufferOps.EMPTY):
            return node
        argument = node.arg
        if node.op is BufferOps.CONST:
            argument = (type(argument), repr(argument))  # 0.0 is not -0.0, NaN is NaN
        key = (node.op, tuple(map(id, node.src)), argument, node.dtype, node.shape)
        return self.known.setdefault(key, node)

    def rewrite(self, node: Node, src: tuple[Node, ...]) -> Node:
        op = node.op
        if op is BufferOps.IOTA:
            return self.rewrite_iota(node)
        if not src:
            return self.unique(node)
        if op is BufferOps.COPY:
            return src[0] if is_computed(src[0]) else self.unique(graph.copy(src[0]))
        if op is MovementOps.VIEW:
            return self.view(src[0], node.arg)
        if isinstance(op, ReduceOps):
            dims = tuple(dim for dim in node.arg if src[0].shape[dim] != 1)
            return self.unique(graph.reduce(op, src[0], dims))
        if op is MatrixOps.MATMUL and is_product_with_vector(node):
            return self.sum_of_products(node, *src)
        if op is MatrixOps.MATMUL:
            src = tuple(self.operand(source) for source in src)
        if op is IndexOps.GATHER:
            src = (self.memory(src[0]), src[1])
        if reads_memory(op):
            src = tuple(self.memory(source) for source in src)
        if is_elementwise(op):
            kept = self.identity(node, src)
            if kept is not None:
                return kept
        return self.unique(Node(op, src, node.arg, node.dtype, node.shape, node.device))

    def operand(self, source: Node) -> Node:
        """A matmul reads memory: a counter becomes memory first."""
        base = source.src[0] if source.op is MovementOps.VIEW else source
        return self.unique(graph.copy(source)) if base.op is BufferOps.IOTA else source

    def sum_of_products(self, node: Node, a: Node, b: Node) -> Node:
        """A matmul as element-wise work over batch, m, n and k, summed over k."""
        dims: Contraction = node.arg
        batch, batch_m = dims.batch, dims.batch + dims.m
        full = (*a.shape[:batch_m], *b.shape[batch + dims.k :], *a.shape[batch_m:])
        a_steps, b_steps = contiguous_strides(a.shape), contiguous_strides(b.shape)
        a_steps = (*a_steps[:batch_m], *(0,) * dims.n, *a_steps[batch_m:])
        b_columns, b_rows = b_steps[batch + dims.k :], b_steps[batch : batch + dims.k]
        b_steps = (*b_steps[:batch], *(0,) * dims.m, *b_columns, *b_rows)
        factors = self.view(a, View(full, a_steps)), self.view(b, View(full, b_steps))
        product = self.unique(graph.elementwise(ElementwiseOps.MUL, *factors))
        over = tuple(dim for dim in range(len(full) - dims.k, len(full)) if full[dim] != 1)
        total = self.unique(graph.reduce(ReduceOps.SUM, product, over))
        return self.view(total, View.contiguous(node.shape))

    def memory(self, source: Node) -> Node:
        """Something that can be read at any place."""
        if source.op is BufferOps.BUFFER or is_computed(source):
            return source
        return self.unique(graph.copy(source))

    def rewrite_iota(self, node: Node) -> Node:
        """A counter along one dimension, as a view of a one-dimensional counter."""
        dim, shape = node.arg, node.shape
        if len(shape) == 1:
            return self.unique(node)
        line = self.unique(graph.iota(0, node.dtype, (shape[dim],), node.device))
        strides = tuple(1 if i == dim else 0 for i in range(len(shape)))
        return self.unique(graph.view(line, View(shape, strides)))

    def identity(self, node: Node, src: tuple[Node, ...]) -> Node | None:
        """The source that `node` merely repeats, or a constant that it comes to."""
        op, E = node.op, ElementwiseOps
        last = src[-1]
        if last.op is not BufferOps.CONST or isinstance(last.arg, ScalarParameter):
            return None
        if op is E.CAST:
            return self.cast_const(last, node)
        if op in (E.MUL, E.DIV) and last.arg == 1:
            return src[0]
        if op is E.SUB and last.arg == 0 and str(last.arg)[0] != "-":
            return src[0]
        if op is E.POW and last.arg == 2:
            return self.unique(graph.elementwise(E.MUL, src[0], src[0]))
        if op is E.POW and last.arg == 1:
            return src[0]
        return None

    def cast_const(self, const: Node, node: Node) -> Node | None:
        """A cast constant, where the conversion in Python is the one of the kernels."""
        if node.dtype.is_floating_point or not isinstance(const.arg, float):
            low, high = node.dtype.min, node.dtype.max
            if node.dtype.is_floating_point or low <= const.arg <= high:
                return self.unique(graph.const(const.arg, node.dtype, node.shape, node.device))
        return None

    # Views ------------------------------------------------------------------------------------

    def view(self, src: Node, view: View) -> Node:
        pushed = self.push(src, view)
        if pushed is not None:
            return pushed
        result = graph.view(src, view)
        if result.op is MovementOps.VIEW and result.src[0].op is MovementOps.VIEW:
            inner = self.unique(graph.copy(result.src[0]))
            result = graph.view(inner, result.arg)
        return self.unique(result)

    def push(self, src: Node, view: View) -> Node | None:
        """The view of element-wise `src` as element-wise work on views, or None if unwise."""
        if not is_elementwise(src.op) or self.cost(src) > PUSH_LIMIT:
            return None
        expands = view.numel > src.numel
        cost = self.cost(src)
        if expands and (cost > CHEAP // 2 or self.uses[id(src)] > 1):
            return None
        if self.uses[id(src)] > 1 and cost > CHEAP:
            return None
        sources = []
        for source in src.src:
            moved = self.push(source, view)
            if moved is None:
                moved = graph.view(source, view)
                if moved.op is MovementOps.VIEW and moved.src[0].op is MovementOps.VIEW:
                    return None
                moved = self.unique(moved)
            sources.append(moved)
        return self.unique(Node(src.op, tuple(sources), src.arg, src.dtype, view.shape, src.device))

    def cost(self, node: Node) -> int:
        """Operations to compute one element of `node` from what is not element-wise."""
        if not is_elementwise(node.op):
            return 0
        known = self.costs.get(id(node))
        if known is None:
            # Iterative: a chain may be thousands of operations long.
            pending = [node]
            while pending:
                top = pending[-1]
                missing = [
                    source
                    for source in top.src
                    if is_elementwise(source.op) and id(source) not in self.costs
                ]
                if missing:
                    pending += missing
                    continue
                pending.pop()
                below = sum(self.costs.get(id(source), 0) for source in top.src)
                # A square of a square doubles: stop counting where it no longer matters.
                self.costs[id(top)] = min(OPS[top.op].cost + below, 2 * PUSH_LIMIT)
            known = self.costs[id(node)]
        return known


def simplify(order: list[Node], roots: list[Node]) -> list[Node]:
    """The roots of an equal graph with less to do; `order` is topological."""
    return Simplifier(order, roots).run()
