"""What the factorizations of matrices leave in memory.

Floor 1.  A `FactorOps` node works on the matrices in the last two dimensions of its source.  Its
results lie one after the other in one row per matrix: `parts` says what they are, in order.
"""

from __future__ import annotations

from math import prod
from typing import Any

from dlgrad.lazy.graph import Node, check_place
from dlgrad.lazy.ops import FactorOps
from dlgrad.lazy.shape import Shape

F = FactorOps


def parts(op: FactorOps, matrix: Shape, arg: Any) -> dict[str, Shape]:
    """The results of `op` for one matrix of shape `matrix`, by name, each row-major."""
    rows, columns = matrix
    least = min(rows, columns)
    if op is F.LU:
        # L without its diagonal of ones below U; pivots[i] is the row that row i changed with.
        return {"factors": matrix, "pivots": (least,)}
    if op is F.CHOLESKY:
        # info: the size of the first leading part that is not positive definite, else 0.
        return {"factor": matrix, "info": (1,)}
    if op is F.QR:
        # Both transposed; R has as many rows as the matrix, and zeros below its diagonal.
        return {"basis": (arg, rows), "triangle": (columns, rows)}
    if op is F.EIGH:
        return {"values": (rows,), "vectors": matrix}  # a vector is a row
    assert op is F.SVD
    # A right vector is a row; the matrix times it is a row of `images`, whose norm is a value.
    return {"values": (columns,), "vectors": (columns, columns), "images": (columns, rows)}


def factor(op: FactorOps, *src: Node, arg: Any = None) -> Node:
    """`op` on the matrices of `src`; leading dimensions count matrices, and are equal."""
    check_place(*src)
    dtype, device = src[0].dtype, src[0].device
    return Node(op, src, arg, dtype, result_shape(op, [x.shape for x in src], arg), device)


def result_shape(op: FactorOps, shapes: list[Shape], arg: Any) -> Shape:
    """The shape of the node `op` on sources of these shapes."""
    if op is F.TRIANGULAR:
        return shapes[1]
    if op is F.PERMUTATION:
        return (*shapes[0][:-1], arg)
    matrix = shapes[0][-2:]
    return (*shapes[0][:-2], sum(prod(part) for part in parts(op, matrix, arg).values()))


def problem(node: Node) -> str:
    """What is wrong with the shapes of a node; empty if nothing is."""
    shapes = [source.shape for source in node.src]
    matrix = shapes[0][-2:]
    square = len(matrix) == 2 and matrix[0] == matrix[1]
    if node.op is F.PERMUTATION:
        fits = len(shapes[0]) >= 1 and shapes[0][-1] <= node.arg
    elif node.op is F.TRIANGULAR:
        fits = square and shapes[1][:-2] == shapes[0][:-2] and shapes[1][-1] == matrix[0]
    elif node.op in (F.CHOLESKY, F.EIGH):
        fits = square
    elif node.op is F.SVD:
        fits = len(matrix) == 2 and matrix[0] >= matrix[1]
    else:
        fits = len(matrix) == 2
    assert isinstance(node.op, FactorOps)
    if not fits or node.shape != result_shape(node.op, shapes, node.arg):
        return f"{node.op.value} of {shapes}, {node.arg} to {node.shape}"
    return ""
