"""From the nodes of a group to expressions of the loop IR: what loops and matmuls share.

Floor 3.  `Values` walks from a value down to what is in memory, composing views on the way,
and asks its subclass how an element of memory is addressed.  A `KernelCall` is a kernel with
the memory and the numbers of one launch.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from dlgrad.codegen.kernel import Alu, Expr, Gemm, Kernel, Literal, Scalar
from dlgrad.dtype import BOOL, DType
from dlgrad.lazy.graph import Node, Places
from dlgrad.lazy.group import Group, read
from dlgrad.lazy.ops import (
    WRITERS,
    BufferOps,
    ElementwiseOps,
    IndexOps,
    MatrixOps,
    ReduceOps,
    is_elementwise,
    reduce_identity,
)
from dlgrad.lazy.schedule import Schedule
from dlgrad.lazy.shape import View
from dlgrad.lazy.simplify import ScalarParameter
from dlgrad.lazy.stores import needs_memory


class Scratch:
    """Memory that only the launches of one group use: partial results of a split reduction."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.shown_by: object = None  # as every memory of a BUFFER node has


Memory = Node | Scratch


@dataclass
class KernelCall:
    """One launch: the kernel, the memory of its parameters, its integers and doubles."""

    kernel: Kernel | Gemm
    memory: list[Memory]
    sizes: tuple[int, ...]
    scalars: tuple[int, ...]  # positions in the plan's list of varying constants
    work: int
    cost: int
    note: str
    flops: int = 0
    bytes_moved: int = 0
    writes: list[Memory] = field(default_factory=list)


def memory_of(node: Node) -> Node:
    """The node whose memory holds the value of `node`: writers share that of their base."""
    while node.op in WRITERS:
        node = node.src[0]
    return node


def load_dtype(dtype: DType) -> DType:
    """The dtype that an element of `dtype` has once it is loaded."""
    return dtype.compute


def identity_literal(op: ReduceOps, dtype: DType) -> Literal:
    """The start value of a reduction."""
    if dtype.is_floating_point:
        low, high = float("-inf"), float("inf")
    else:
        low, high = dtype.min, dtype.max
    value = reduce_identity(op, low, high)
    if dtype.kind == BOOL:
        value = bool(value)
    elif dtype.is_floating_point:
        value = float(value)
    return Literal(value, dtype)


class Values(ABC):
    """Makes expressions for the values of one group."""

    def __init__(self, group: Group, schedule: Schedule) -> None:
        self.group = group
        self.schedule = schedule
        self.members = {id(member) for member in group.members}
        self.scalar_positions: list[int] = []
        self.scalar_dtypes: list[DType] = []

    @abstractmethod
    def load(self, memory: Node, view: View, dtype: DType) -> Expr:
        """One element of memory, seen through `view` in the current frame."""

    @abstractmethod
    def counter(self, view: View, dtype: DType) -> Expr:
        """The row-major index of the element that `view` shows in the current frame."""

    def gather(self, memory: Node, places: Places, index: Expr, dtype: DType) -> Expr:
        """The element at the place that `index` names."""
        raise AssertionError("the scheduler keeps computed places out of this kind of kernel")

    @abstractmethod
    def member(self, node: Node, view: View) -> Expr:
        """The value of a node of this group."""

    def value(self, source: Node, through: View | None = None) -> Expr:
        """The element of `source` at the current place, seen through the view `through`."""
        producer, view = read(source)
        if through is not None and producer.op is not BufferOps.CONST:
            composed = through.compose(view)
            assert composed is not None, "the scheduler checked that these views compose"
            view = composed
        return self.element(producer, view)

    def element(self, producer: Node, view: View) -> Expr:
        if producer.op is BufferOps.CONST:
            return self.constant(producer)
        if producer.op is BufferOps.IOTA:
            return self.counter(view, producer.dtype)
        if id(producer) in self.members:
            return self.member(producer, view)
        if id(producer) in self.schedule.repeated:
            return self.compute(producer, view)
        return self.load(memory_of(producer), view, load_dtype(producer.dtype))

    def constant(self, node: Node) -> Expr:
        dtype = load_dtype(node.dtype)
        if isinstance(node.arg, ScalarParameter):
            position = node.arg.position
            for i, (known, known_dtype) in enumerate(
                zip(self.scalar_positions, self.scalar_dtypes, strict=True)
            ):
                if known == position and known_dtype is dtype:
                    return Scalar(i, dtype)
            self.scalar_positions.append(position)
            self.scalar_dtypes.append(dtype)
            return Scalar(len(self.scalar_positions) - 1, dtype)
        return Literal(node.arg, dtype)

    def compute(self, node: Node, view: View | None) -> Expr:
        """The operation of `node` on its sources, all seen through `view`."""
        # A writer reads nothing of the memory it writes into, which has a shape of its own.
        read_here = node.src[1:] if needs_memory(node) else node.src
        sources = tuple(self.value(source, view) for source in read_here)
        if node.op is IndexOps.GATHER:
            return self.gather(memory_of(node.src[0]), node.arg, sources[0], node.dtype)
        if not is_elementwise(node.op):
            return sources[0]  # COPY and UPDATE repeat a source; an op by itself computes with it
        assert isinstance(node.op, ElementwiseOps)
        dtype = load_dtype(node.dtype)
        if node.op is ElementwiseOps.CAST:
            if node.dtype.is_half and node.src[0].dtype is not node.dtype:
                return self.round_to_half(sources[0], node)
            if sources[0].dtype is dtype:
                return sources[0]
        return Alu(node.op, sources, dtype)

    @staticmethod
    def round_to_half(source: Expr, node: Node) -> Expr:
        """An explicit cast to a 16-bit float rounds even where the value stays in a register."""
        narrow = Alu(ElementwiseOps.CAST, (source,), node.dtype)
        return Alu(ElementwiseOps.CAST, (narrow,), load_dtype(node.dtype))


def structure_hash(*parts: object) -> str:
    """Eight hex digits that tell kernels of different structure apart."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def kernel_words(group: Group) -> str:
    """The operations of a group as a readable part of a name: "mul_add_exp"."""
    words: list[str] = []
    for node in group.members:
        if node.op is ElementwiseOps.CAST:
            continue
        word = node.op.value
        if not words or words[-1] != word:
            words.append(word)
    if group.matmul is not None:
        words.sort(key=lambda word: word != MatrixOps.MATMUL.value)
    if len(words) > 5:
        words = words[:3] + ["etc"] + words[-1:]
    return "_".join(words) or "copy"


def shapes_note(group: Group) -> str:
    """The operations and sizes of one launch, for the debug line."""
    sizes = "x".join(map(str, group.full)) or "1"
    if group.reduced:
        sizes += " over " + ",".join(str(group.full[dim]) for dim in sorted(group.reduced))
    return sizes
