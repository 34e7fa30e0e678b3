"""What forms of loops the writer prints in a way of their own: pure questions about loop IR.

Floor 3.  `writer.py` asks.  A loop may be one of vector lanes, a nest may be the filling of a
tile that one call does, or a sum over columns that takes several rows at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

from dlgrad.codegen.kernel import (
    Accumulate,
    Accumulator,
    Alu,
    Assign,
    Expr,
    Let,
    Load,
    Loop,
    LoopKind,
    Stmt,
    Store,
    lane_terms,
)
from dlgrad.lazy.ops import ElementwiseOps, ReduceOps

_UNROLLED = 32  # as many iterations, inside, leave the lanes to the loop outside
_LIGHT = (ElementwiseOps.ADD, ElementwiseOps.SUB, ElementwiseOps.MUL)
_LIGHT_WORK = 3  # as many operations for an element take less time than its way through sums


def stores_along(stmt: Stmt, axis: str) -> bool:
    """Whether a statement stores to another place in every iteration of a loop."""
    if not isinstance(stmt, Store) or stmt.index is None:
        return False
    return any(name == axis for name, _ in stmt.index.terms)


def turned_tile(outer: Loop, side: int) -> tuple[Loop, Assign, Load] | None:
    """The parts of a nest that fills a block of `side` x `side` by reading across its rows.

    The inner loop, which goes along memory, what it assigns, and what that loads; None for
    another nest, and for elements that are not of four bytes.
    """
    inner = outer.body[0]
    if not side or len(outer.body) != 1 or not isinstance(inner, Loop) or len(inner.body) != 1:
        return None
    fill = inner.body[0]
    if not isinstance(fill, Assign) or not isinstance(fill.value, Load):
        return None
    load = fill.value
    if load.index is None or load.dtype.itemsize != 4:
        return None
    if any(loop.tile is None or loop.tile[1] != side for loop in (outer, inner)):
        return None
    strides = dict(load.index.terms)
    places = ((inner.axis, side), (outer.axis, 1))
    if strides.get(inner.axis) != 1 or outer.axis not in strides:
        return None
    return (inner, fill, load) if lane_terms(fill.lane) == places else None


def is_vector_loop(stmt: Loop) -> bool:
    """Whether vector lanes fit the iterations of this loop: what is inside is short and fixed."""
    if stmt.kind not in (LoopKind.PARALLEL, LoopKind.LANES):
        return False
    return _unrolled_length(stmt.body) <= _UNROLLED


def _unrolled_length(body: Sequence[Stmt]) -> int:
    """How often the innermost statements run in one iteration; huge if that is not fixed."""
    length = 1
    for stmt in body:
        if isinstance(stmt, Accumulator) and stmt.lanes > 1:
            return _UNROLLED + 1
        if isinstance(stmt, Loop):
            if isinstance(stmt.extent, str) or stmt.tile is not None:
                return _UNROLLED + 1
            length = max(length, stmt.extent * _unrolled_length(stmt.body))
    return length


def column_sums(rows: Loop) -> Loop | None:
    """The inner loop of a nest that adds row after row to sums that lie side by side.

    Only where so little is computed that reading and writing the sums is what takes the time.
    """
    lanes = rows.body[0]
    if rows.kind is not LoopKind.SERIAL or len(rows.body) != 1 or not isinstance(lanes, Loop):
        return None
    operations = 0
    for stmt in lanes.body:
        if isinstance(stmt, Accumulate):
            if stmt.op is not ReduceOps.SUM or stmt.lane != lanes.axis:
                return None
        elif not isinstance(stmt, Let):
            return None
        operations += _operations(stmt.value)
    return lanes if lanes.kind is LoopKind.LANES and operations <= _LIGHT_WORK else None


def _operations(value: Expr) -> int:
    """How many operations an expression takes; huge if one of them is slow."""
    if isinstance(value, Alu):
        own = 1 if value.op in _LIGHT else _LIGHT_WORK + 1
        return own + sum(_operations(source) for source in value.src)
    return 0
