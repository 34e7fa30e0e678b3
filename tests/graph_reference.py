"""What a tensor graph means, in plain Python: the oracle beside the engine.

`evaluate(tensor)` walks the pending graph of a tensor, one node after the other, over lists of
Python numbers.  Nothing is fused, scheduled or lowered, so a wrong schedule, kernel or compiler
shows as a difference.  Element-wise primitives have their definition in
`dlgrad.codegen.primitives`.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

from factor_reference import evaluate_factor

from dlgrad.codegen import primitives
from dlgrad.core.base import TensorBase, node_of
from dlgrad.core.host import nested
from dlgrad.dtype import BOOL, DType, float32, unpack_values
from dlgrad.lazy.graph import Contraction, Node, toposort
from dlgrad.lazy.ops import (
    BufferOps,
    ElementwiseOps,
    FactorOps,
    IndexOps,
    MatrixOps,
    MovementOps,
    ReduceOps,
    SerialOps,
)
from dlgrad.lazy.shape import View

Values = list[Any]


def evaluate(tensor: TensorBase) -> Any:
    """The elements of a tensor as nested lists, without realising it."""
    return nested(evaluate_node(node_of(tensor)), tensor._shape) if tensor.numel() else []


def evaluate_flat(tensor: TensorBase) -> Values:
    """The elements of a tensor in row-major order, without realising it."""
    return evaluate_node(node_of(tensor))


def evaluate_node(root: Node) -> Values:
    """The row-major elements of a node."""
    values: dict[int, Values] = {}
    for node in toposort([root]):
        sources = [values[id(source)] for source in node.src]
        values[id(node)] = compute(node, sources)
        assert len(values[id(node)]) == node.numel, node
    return values[id(root)]


def compute(node: Node, sources: list[Values]) -> Values:
    """The elements of one node from those of its sources."""
    op = node.op
    if isinstance(op, ElementwiseOps):
        kind = node.src[-1].dtype
        if op is ElementwiseOps.PHILOX:
            kind = node.dtype
        return [
            primitives.apply(op, list(row), kind, node.dtype)
            for row in zip(*sources, strict=True)
        ]
    if isinstance(op, ReduceOps):
        return reduce(op, node, sources[0])
    if op is MovementOps.VIEW:
        return [sources[0][place] for place in places(node.arg)]
    if op is MatrixOps.MATMUL:
        return contract(node, *sources)
    if op is BufferOps.UPDATE:
        result = list(sources[0])
        for place, value in zip(places(node.arg), sources[1], strict=True):
            result[place] = value
        return result
    if isinstance(op, IndexOps):
        return at_places(node, sources)
    if isinstance(op, FactorOps):
        return evaluate_factor(node, sources)
    if op is SerialOps.SCAN:
        return scan(node, sources[0])
    if op is SerialOps.ARGSORT:
        return argsort(node, sources[0])
    if op is BufferOps.COPY:
        return sources[0]
    if op is BufferOps.BUFFER:
        data = bytearray(node.nbytes)
        node.arg.copy_out(memoryview(data))
        return list(unpack_values(node.dtype, memoryview(data)))
    if op is BufferOps.CONST:
        return [round_to(node.arg, node.dtype)] * node.numel
    if op is BufferOps.EMPTY:
        return [round_to(0, node.dtype)] * node.numel
    assert op is BufferOps.IOTA
    return [round_to(index[node.arg], node.dtype) for index in indices(node.shape)]


def round_to(value: Any, dtype: DType) -> Any:
    """A Python number as an element of `dtype`."""
    if dtype.is_floating_point:
        # Constants of half types take part in arithmetic as float32.
        return primitives.round_float(float(value), float32 if dtype.is_half else dtype)
    return bool(value) if dtype.kind == BOOL else int(value)


def indices(shape: tuple[int, ...]) -> Any:
    """All index tuples, row-major."""
    return itertools.product(*map(range, shape))


def places(view: View) -> list[int]:
    """The elements of the memory that a view shows, by its definition."""
    return [
        view.offset + sum(i * step for i, step in zip(index, view.strides, strict=True))
        for index in indices(view.shape)
    ]


def reduce(op: ReduceOps, node: Node, source: Values) -> Values:
    """The reduction of a source whose shape is that of the node but for the dims reduced."""
    shape, dims = node.src[0].shape, node.arg
    groups: dict[tuple[int, ...], Values] = {index: [] for index in indices(node.shape)}
    for index, value in zip(indices(shape), source, strict=True):
        key = tuple(0 if dim in dims else i for dim, i in enumerate(index))
        groups[key].append(value)
    return [combine(op, group, node.dtype) for group in groups.values()]


def at_places(node: Node, sources: list[Values]) -> Values:
    """A gather or a scatter, element by element in the order of the index."""
    where, index = node.arg, sources[-1]
    start = round_to(math.nan if node.dtype.is_floating_point else 0, node.dtype)
    result = list(sources[0]) if node.op is IndexOps.SCATTER else [start] * node.numel
    for number, (base, i) in enumerate(zip(places(where.view), index, strict=True)):
        if not 0 <= i < where.length:
            continue
        place = base + i * where.step
        if node.op is IndexOps.GATHER:
            result[number] = sources[0][place]
        elif where.combine is None:
            result[place] = sources[1][number]
        else:
            result[place] = combine(where.combine, [result[place], sources[1][number]], node.dtype)
    return result


def rows(shape: tuple[int, ...], dim: int) -> list[list[int]]:
    """The row-major numbers of the elements of every row along `dim`."""
    found: dict[tuple[int, ...], list[int]] = {}
    for number, index in enumerate(indices(shape)):
        found.setdefault(index[:dim] + index[dim + 1 :], []).append(number)
    return list(found.values())


def scan(node: Node, source: Values) -> Values:
    dim, op = node.arg
    result = list(source)
    for row in rows(node.shape, dim):
        values = [source[place] for place in row]
        for count, place in enumerate(row):
            if op == "logsumexp":
                result[place] = log_sum_exp(values[: count + 1])
            else:
                result[place] = combine(op, values[: count + 1], node.dtype)
    return result


def log_sum_exp(values: Values) -> float:
    top = max(values) if all(value == value for value in values) else math.nan
    if math.isinf(top):
        return top
    return top + math.log(sum(math.exp(value - top) for value in values))


def argsort(node: Node, source: Values) -> Values:
    dim, descending = node.arg
    result = [0] * node.numel
    for row in rows(node.shape, dim):
        keys = [(source[place] != source[place], source[place]) for place in row]
        places_and_keys = list(enumerate(keys))
        places_and_keys.sort(key=functools.cmp_to_key(
            lambda a, b: compare(a[1], b[1], descending)))  # fmt: skip
        for place, (position, _) in zip(row, places_and_keys, strict=True):
            result[place] = position
    return result


def compare(a: tuple[bool, Any], b: tuple[bool, Any], descending: bool) -> int:
    """-1, 0 or 1, with NaN as the largest number."""
    order = a[0] - b[0] if a[0] or b[0] else (a[1] > b[1]) - (a[1] < b[1])
    return -order if descending else order


def combine(op: ReduceOps, values: Values, dtype: DType) -> Any:
    """One result from the elements of one group."""
    if op is ReduceOps.SUM:
        if not dtype.is_floating_point:
            return primitives.fit(sum(values), dtype)
        return primitives.round_float(exact_sum(values), dtype)
    if op is ReduceOps.PROD:
        return primitives.fit(math.prod(values), dtype)
    if any(value != value for value in values):
        return math.nan
    if not values:
        lowest: Any = -math.inf if dtype.is_floating_point else dtype.min
        highest: Any = math.inf if dtype.is_floating_point else dtype.max
        return primitives.fit(lowest if op is ReduceOps.MAX else highest, dtype)
    return max(values) if op is ReduceOps.MAX else min(values)


def exact_sum(values: Values) -> float:
    """The sum with one rounding; infinities and NaN as in any order of additions."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        return sum(values)


def contract(node: Node, a: Values, b: Values) -> Values:
    """The contraction by its definition: for every place, the sum of products over k."""
    dims: Contraction = node.arg
    left, right = node.src[0].shape, node.src[1].shape
    batch, m = left[: dims.batch], left[dims.batch : dims.batch + dims.m]
    k, n = left[dims.batch + dims.m :], right[dims.batch + dims.k :]
    rows, inner, columns = math.prod(m), math.prod(k), math.prod(n)
    result = []
    for which in range(math.prod(batch)):
        at_a, at_b = which * rows * inner, which * inner * columns
        for row in range(rows):
            line = a[at_a + row * inner : at_a + (row + 1) * inner]
            for column in range(columns):
                across = b[at_b + column : at_b + inner * columns : columns]
                products = [x * y for x, y in zip(line, across, strict=True)]
                if node.dtype.is_floating_point:
                    total: Any = primitives.round_float(exact_sum(products), node.dtype)
                else:
                    total = primitives.fit(sum(products), node.dtype)
                result.append(total)
    return result
