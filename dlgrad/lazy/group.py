"""What the scheduler works with: groups of nodes that become kernels, and how nodes read nodes.

Floor 2.  A group has one space of loops: the dimensions of its widest values (`full`), of which
`reduced` are summed over.  A member is at full level (a value per element of the space) or at
outer level (a value per row, after a reduction).  So x, max(x), exp(x - max(x)), its sum and
the quotient are one group: the softmax of the rows of x.  A matmul is a group of its own kind,
which takes element-wise consumers of its result as its epilogue and cheap producers as its
prologue.

Shapes are compared squeezed, that is without dimensions of size 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dlgrad.lazy.graph import Node
from dlgrad.lazy.ops import WRITERS, FactorOps, IndexOps, MovementOps
from dlgrad.lazy.shape import Shape, View, contiguous_strides


def squeeze(shape: Shape) -> Shape:
    """`shape` without dimensions of size 1."""
    return tuple(size for size in shape if size != 1)


def squeezed_strides(view: View) -> Shape:
    """The strides of the dimensions that `squeeze` keeps."""
    return tuple(t for size, t in zip(view.shape, view.strides, strict=True) if size != 1)


def read(source: Node) -> tuple[Node, View]:
    """The node that holds the values, and the view through which `source` shows them."""
    if source.op is MovementOps.VIEW:
        return source.src[0], source.arg
    return source, View.contiguous(source.shape)


def is_identity(view: View, producer: Node) -> bool:
    """True when `view` shows all elements of `producer` in their order."""
    return (
        view.offset == 0 and view.is_contiguous and squeeze(view.shape) == squeeze(producer.shape)
    )


def squeezed_dims(node: Node) -> frozenset[int]:
    """The reduced dimensions of a REDUCE node, as dimensions of its squeezed source."""
    kept = [dim for dim, size in enumerate(node.src[0].shape) if size != 1]
    return frozenset(kept.index(dim) for dim in node.arg)


def serial_dims(node: Node) -> frozenset[int]:
    """The dimension that a node of its own kernel goes through in order, squeezed as above."""
    if isinstance(node.op, FactorOps):
        return frozenset()
    dim = node.arg.dim if node.op is IndexOps.SCATTER else node.arg[0]
    shape = written_shape(node)
    if shape[dim] == 1:
        return frozenset()
    return frozenset({sum(size != 1 for size in shape[:dim])})


def written_shape(node: Node) -> Shape:
    """The shape of the values that `node` computes: of a writer, of what it writes."""
    return node.src[1].shape if node.op in WRITERS else node.shape


def permutation(view: View, producer: Node) -> tuple[int, ...] | None:
    """The order of producer's squeezed dimensions that `view` shows, or None."""
    sizes = squeeze(producer.shape)
    strides = contiguous_strides(sizes)
    shown = squeezed_strides(view)
    if view.offset or sorted(shown) != sorted(strides):
        return None
    order = tuple(strides.index(stride) for stride in shown)
    if tuple(sizes[i] for i in order) != squeeze(view.shape):
        return None
    return order


@dataclass(eq=False)
class Group:
    """Nodes that become one kernel."""

    full: Shape
    reduced: frozenset[int] = frozenset()  # dimensions of `full`
    matmul: Node | None = None
    alone: Node | None = None  # the one member, of an op that is not fused with anything
    # For a matmul: dimension order[i] of its squeezed result is dimension i of `full`.
    order: tuple[int, ...] | None = None
    members: list[Node] = field(default_factory=list)
    outer_level: set[int] = field(default_factory=set)  # ids of members with a value per row
    needs: set[int] = field(default_factory=set)  # numbers of the groups to run before
    stores: list[Node] = field(default_factory=list)

    @property
    def outer(self) -> Shape:
        return tuple(size for i, size in enumerate(self.full) if i not in self.reduced)

    def row_strides(self) -> Shape:
        """The strides over `full` of a value per row that is stored densely."""
        dense = iter(contiguous_strides(self.outer))
        return tuple(0 if i in self.reduced else next(dense) for i in range(len(self.full)))
