"""The graph of one row, done to all rows: how every primitive takes one more dimension in front.

Floor 6.  `vmap` calls a function once, on placeholders that stand for one row.  What it computed
is a graph, and `Batcher` makes another graph of it, in which the placeholders are whole tensors.
A node that does not depend on a placeholder stays as it is.  There is one rule per primitive, in
the table at the end; a rule gets the sources as `Operand`s and gives the node for all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dlgrad.core.tracing import Unknown
from dlgrad.errors import VmapError
from dlgrad.lazy import graph
from dlgrad.lazy.graph import Contraction, Node
from dlgrad.lazy.ops import (
    BufferOps,
    ElementwiseOps,
    FactorOps,
    IndexOps,
    MatrixOps,
    MovementOps,
    Op,
    ReduceOps,
    SerialOps,
)
from dlgrad.lazy.shape import Shape, View


class Operand(NamedTuple):
    """A source of a node: `node` is for all rows (one more dimension in front), or for each."""

    node: Node
    batched: bool

    def rows(self, size: int) -> Node:
        """The node for `size` rows: one that is the same for each is repeated, not copied."""
        if self.batched:
            return self.node
        shape = (size, *self.node.shape)
        if self.node.op is BufferOps.EMPTY:
            return graph.empty(self.node.dtype, shape, self.node.device)
        return graph.view(self.node, View.contiguous(self.node.shape).expand(shape))


Rule = Callable[[Node, list[Operand], int], Node]


class Batcher:
    """Nodes for all `size` rows, made of nodes for one row and kept as long as the batcher."""

    def __init__(self, level: int, size: int) -> None:
        self.level = level
        self.size = size
        self.within = False  # whether a placeholder of another trace was met
        self._known: dict[int, tuple[Node, Operand]] = {}

    def bind(self, row: Node, whole: Node) -> None:
        """Says that the placeholder `row` stands for the rows of `whole`."""
        self._known[id(row)] = row, Operand(whole, True)

    def operand(self, root: Node) -> Operand:
        """What the rows of `root` are, for all rows if they differ; iterative."""
        stack = [root]
        while stack:
            node = stack[-1]
            if id(node) in self._known:
                stack.pop()
                continue
            missing = [source for source in node.src if id(source) not in self._known]
            if missing:
                stack += missing
                continue
            stack.pop()
            self._known[id(node)] = node, self._made(node)
        return self._known[id(root)][1]

    def known(self, node: Node) -> Node | None:
        """The node for all rows of one that has been met and differs from row to row."""
        found = self._known.get(id(node))
        return found[1].node if found is not None and found[1].batched else None

    def _made(self, node: Node) -> Operand:
        if node.op is BufferOps.BUFFER:
            self.within |= isinstance(node.arg, Unknown)
            return Operand(node, False)
        operands = [self._known[id(source)][1] for source in node.src]
        if not any(operand.batched for operand in operands):
            return Operand(node, False)
        rule = RULES.get(node.op)
        if rule is None:
            raise VmapError(f"vmap has no rule for {node.op.value!r}; take it out of the function")
        return Operand(rule(node, operands, self.size), True)


def behind_rows(view: View, size: int, step: int) -> View:
    """`view` for `size` rows of memory that are `step` elements apart."""
    return View((size, *view.shape), (step, *view.strides), view.offset)


# One rule per primitive -----------------------------------------------------------------------


def _elementwise(node: Node, operands: list[Operand], size: int) -> Node:
    sources = tuple(operand.rows(size) for operand in operands)
    return Node(node.op, sources, node.arg, node.dtype, (size, *node.shape), node.device)


def _copy(node: Node, operands: list[Operand], size: int) -> Node:
    return graph.copy(operands[0].node, node.device)


def _update(node: Node, operands: list[Operand], size: int) -> Node:
    base, value = (operand.rows(size) for operand in operands)
    return graph.update(base, value, behind_rows(node.arg, size, _count(node.shape)))


def _view(node: Node, operands: list[Operand], size: int) -> Node:
    source = operands[0].node
    return graph.view(source, behind_rows(node.arg, size, _count(source.shape[1:])))


def _reduce(node: Node, operands: list[Operand], size: int) -> Node:
    assert isinstance(node.op, ReduceOps)
    return graph.reduce(node.op, operands[0].node, tuple(dim + 1 for dim in node.arg))


def _matmul(node: Node, operands: list[Operand], size: int) -> Node:
    """One product for all rows where one side is the same for each, else a batch of products."""
    dims: Contraction = node.arg
    left, right = operands
    if dims.batch == 0 and not right.batched:
        return graph.matmul(left.node, right.node, dims._replace(m=dims.m + 1))
    if dims.batch == 0 and not left.batched:
        order = (*range(1, dims.k + 1), 0, *range(dims.k + 1, len(right.node.shape)))
        turned = graph.view(right.node, View.contiguous(right.node.shape).permute(order))
        made = graph.matmul(left.node, turned, dims._replace(n=dims.n + 1))
        back = (dims.m, *range(dims.m), *range(dims.m + 1, len(made.shape)))
        return graph.view(made, View.contiguous(made.shape).permute(back))
    return graph.matmul(left.rows(size), right.rows(size), dims._replace(batch=dims.batch + 1))


def _gather(node: Node, operands: list[Operand], size: int) -> Node:
    memory, index = operands[0].node, operands[1].rows(size)
    step = _count(memory.shape[1:]) if operands[0].batched else 0
    places = node.arg._replace(view=behind_rows(node.arg.view, size, step), dim=node.arg.dim + 1)
    return Node(node.op, (memory, index), places, node.dtype, index.shape, node.device)


def _scatter(node: Node, operands: list[Operand], size: int) -> Node:
    base, values, index = (operand.rows(size) for operand in operands)
    view = behind_rows(node.arg.view, size, _count(node.shape))
    places = node.arg._replace(view=view, dim=node.arg.dim + 1)
    return Node(node.op, (base, values, index), places, node.dtype, base.shape, node.device)


def _serial(node: Node, operands: list[Operand], size: int) -> Node:
    dim, rest = node.arg
    source = operands[0].node
    return Node(node.op, (source,), (dim + 1, rest), node.dtype, source.shape, node.device)


def _count(shape: Shape) -> int:
    """How many elements a block of `shape` has, 1 at least: the step from row to row."""
    count = 1
    for size in shape:
        count *= max(size, 1)
    return count


RULES: dict[Op, Rule] = {
    BufferOps.COPY: _copy,
    BufferOps.UPDATE: _update,
    MovementOps.VIEW: _view,
    MatrixOps.MATMUL: _matmul,
    IndexOps.GATHER: _gather,
    IndexOps.SCATTER: _scatter,
}
RULES.update(dict.fromkeys(ElementwiseOps, _elementwise))
RULES.update(dict.fromkeys(ReduceOps, _reduce))
RULES.update(dict.fromkeys(SerialOps, _serial))
RULES.update(dict.fromkeys(FactorOps, _elementwise))  # leading dimensions count matrices
