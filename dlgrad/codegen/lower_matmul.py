"""From a matmul with its prologues and epilogue to one call of the matmul template.

Floor 3.  The dimensions of the operands belong to four groups: batch, m, n and k.  Every
memory that the kernel touches gets one stride for each dimension; neighbouring dimensions that
all of them walk as one are joined, so that a plain matrix product has rank 1 in each group.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from dlgrad.codegen.kernel import (
    Alu,
    Caps,
    Expr,
    Gemm,
    Let,
    Literal,
    Load,
    Local,
    Parameter,
    Stmt,
    Store,
)
from dlgrad.codegen.lower_values import (
    KernelCall,
    Memory,
    Values,
    kernel_words,
    load_dtype,
    memory_of,
    structure_hash,
)
from dlgrad.dtype import DType
from dlgrad.lazy.graph import Contraction, Node, Places
from dlgrad.lazy.group import Group, squeezed_strides
from dlgrad.lazy.ops import ElementwiseOps
from dlgrad.lazy.schedule import Schedule
from dlgrad.lazy.shape import Shape, View, contiguous_strides

GROUPS = ("batch", "m", "n", "k")


@dataclass
class Access:
    """One view of one memory: a stride for every dimension of batch, m, n and k."""

    memory: Memory
    strides: list[int]
    offset: int
    dtype: DType


class MatmulKernel(Values):
    """Lowers one matmul group."""

    def __init__(self, group: Group, schedule: Schedule, caps: Caps) -> None:
        super().__init__(group, schedule)
        assert group.matmul is not None
        self.caps = caps
        self.matmul = group.matmul
        self.accumulate = load_dtype(self.matmul.dtype)
        self.make_dimensions()
        self.accesses: list[Access] = []
        self.memories: list[Memory] = []
        self.parameters: list[Parameter] = []
        self.frame: list[int] = []  # the dimension that each dimension of a view walks
        self.squeezed = False  # whether views in this frame are squeezed
        self.lets: list[Stmt] = []
        self.known: dict[int, Local] = {}

    def make_dimensions(self) -> None:
        """`sizes` and `kinds` of all dimensions, and which of them each operand walks."""
        counts: Contraction = self.matmul.arg
        a, b = self.matmul.src
        batch, m = counts.batch, counts.m
        self.sizes = [*a.shape[: batch + m], *b.shape[batch + counts.k :], *a.shape[batch + m :]]
        self.kinds = [kind for kind, count in
                      zip(GROUPS, (batch, m, counts.n, counts.k), strict=True)
                      for _ in range(count)]  # fmt: skip
        at = {kind: [d for d, other in enumerate(self.kinds) if other == kind] for kind in GROUPS}
        self.a_frame = at["batch"] + at["m"] + at["k"]
        self.b_frame = at["batch"] + at["k"] + at["n"]
        self.out_frame = at["batch"] + at["m"] + at["n"]

    # Accesses -----------------------------------------------------------------------------------

    def access(self, memory: Memory, strides: Shape, offset: int, dtype: DType) -> int:
        """The number of the access of `memory` with these strides in the current frame."""
        row = [0] * len(self.sizes)
        for dimension, stride in zip(self.frame, strides, strict=True):
            if self.sizes[dimension] != 1:
                row[dimension] = stride
        wanted = Access(memory, row, offset, dtype)
        for number, known in enumerate(self.accesses):
            if known.memory is memory and known.strides == row and known.offset == offset:
                return number
        self.accesses.append(wanted)
        return len(self.accesses) - 1

    def parameter(self, memory: Memory, dtype: DType, is_output: bool = False) -> int:
        for number, known in enumerate(self.memories):
            if known is memory:
                return number
        outputs = sum(p.is_output for p in self.parameters)
        inputs = len(self.parameters) - outputs
        if is_output:
            name = "out" if outputs == 0 else f"out{outputs + 1}"
        else:
            name = ("a", "b", "c", "d")[inputs] if inputs < 4 else f"x{inputs + 1}"
        self.memories.append(memory)
        self.parameters.append(Parameter(name, dtype, is_output))
        return len(self.memories) - 1

    def view_strides(self, view: View) -> Shape:
        return squeezed_strides(view) if self.squeezed else view.strides

    def load(self, memory: Node, view: View, dtype: DType) -> Expr:
        access = self.access(memory, self.view_strides(view), view.offset, memory.dtype)
        return Load(self.parameter(memory, memory.dtype), None, dtype, access)

    def counter(self, view: View, dtype: DType) -> Expr:
        raise AssertionError("the scheduler keeps counters out of matmuls")

    def gather(self, memory: Node, places: Places, index: Expr, dtype: DType) -> Expr:
        raise AssertionError("the scheduler keeps computed places out of matmuls")

    # Values -------------------------------------------------------------------------------------

    def member(self, node: Node, view: View) -> Expr:
        if node is self.matmul:
            return Local("accumulator", self.accumulate)
        known = self.known.get(id(node))
        if known is None:
            value = self.compute(node, None)
            if isinstance(value, (Local, Literal)):
                return value
            known = Local(f"{node.op.value}_{len(self.known) + 1}", value.dtype)
            self.lets.append(Let(known.name, value))
            self.known[id(node)] = known
        return known

    def stores(self) -> list[Stmt]:
        """The epilogue: the values behind the matmul, and their places in memory."""
        result: list[Stmt] = []
        for node in self.group.stores:
            strides = contiguous_strides(node.shape)
            if node is self.matmul:
                self.frame, self.squeezed = self.out_frame, False
            else:
                self.frame, self.squeezed = self.epilogue_frame(), True
                strides = tuple(t for s, t in zip(node.shape, strides, strict=True) if s != 1)
            value = self.member(node, View.contiguous(node.shape))
            memory = memory_of(node)
            access = self.access(memory, strides, 0, node.dtype)
            buffer = self.parameter(memory, node.dtype, True)
            result.append(Store(buffer, None, value, access))
        return self.lets + result

    def epilogue_frame(self) -> list[int]:
        """The dimension that each squeezed dimension of the consumers walks."""
        squeezed = [d for d in self.out_frame if self.sizes[d] != 1]
        order = self.group.order or tuple(range(len(squeezed)))
        return [squeezed[i] for i in order]

    # The call -------------------------------------------------------------------------------------

    def lower(self) -> KernelCall:
        a, b = self.matmul.src
        self.frame, self.squeezed = self.a_frame, False
        a_value = self.operand(a)
        self.frame = self.b_frame
        b_value = self.operand(b)
        epilogue = tuple(self.stores())
        self.join_dimensions()
        contiguous = tuple(
            (number, kind)
            for number, access in enumerate(self.accesses)
            for kind in ("m", "n", "k")
            if self.last_stride(access, kind) == 1
        )
        parameters = tuple(self.parameters)
        scalars = tuple(self.scalar_dtypes)
        count = len(self.accesses)
        body = (parameters, scalars, self.accumulate, a_value, b_value, epilogue, count)
        name = f"{kernel_words(self.group)}_{self.matmul.dtype.name}"
        gemm = Gemm(
            f"{name}_{structure_hash(body, contiguous)}",
            self.note(),
            parameters,
            scalars,
            self.accumulate,
            a_value,
            b_value,
            epilogue,
            count,
            contiguous,
        )
        return self.call(gemm)

    def operand(self, node: Node) -> Expr:
        value = (self.compute if id(node) in self.schedule.repeated else self.value)(node, None)
        if not isinstance(value, Load) or node.dtype.is_half:
            return value
        if self.parameters[value.buffer].dtype.is_half:
            # The cast stays, though a load has widened: whoever asked for a product of float32
            # gets one, and not that of a processor's pairs of bfloat16, where denormals are 0.
            return Alu(ElementwiseOps.CAST, (value,), value.dtype)
        return value

    def extents(self, kind: str) -> list[int]:
        return [s for s, other in zip(self.sizes, self.kinds, strict=True) if other == kind]

    def last_stride(self, access: Access, kind: str) -> int:
        last = [d for d, other in enumerate(self.kinds) if other == kind]
        return access.strides[last[-1]] if last else 0

    def join_dimensions(self) -> None:
        """Drops dimensions of size 1 and joins neighbours that all accesses walk as one."""
        kept: list[int] = []
        sizes: list[int] = []
        for d, size in enumerate(self.sizes):
            if size == 1:
                continue
            before = kept[-1] if kept else None
            if (
                before is not None
                and self.kinds[before] == self.kinds[d]
                and all(x.strides[before] == x.strides[d] * size for x in self.accesses)
            ):
                kept[-1] = d
                sizes[-1] *= size
            else:
                kept.append(d)
                sizes.append(size)
        for access in self.accesses:
            access.strides = [access.strides[d] for d in kept]
        self.kinds = [self.kinds[d] for d in kept]
        self.sizes = sizes

    def call(self, gemm: Gemm) -> KernelCall:
        numbers = [sum(kind == other for other in self.kinds) for kind in GROUPS]
        numbers += self.sizes
        for access in self.accesses:
            numbers += [access.offset, *access.strides]
        flops = 2 * prod(self.sizes)
        moved = sum(
            access.dtype.itemsize
            * prod(s for s, t in zip(self.sizes, access.strides, strict=True) if t)
            for access in self.accesses
        )
        shape = "x".join(str(prod(self.extents(kind))) for kind in GROUPS)
        return KernelCall(
            gemm,
            list(self.memories),
            tuple(numbers),
            tuple(self.scalar_positions),
            0,
            flops + moved,
            f"{kernel_words(self.group)} {shape} (batch, m, n, k)",
            flops,
            moved,
            [m for m, p in zip(self.memories, self.parameters, strict=True) if p.is_output],
        )

    def note(self) -> str:
        after = [m.op.value for m in self.group.members if m is not self.matmul]
        behind = f", then {', '.join(dict.fromkeys(after))}" if after else ""
        return f"matmul{behind}: out[m, n] = sum over k of a[m, k] * b[k, n]"


def lower_matmul(group: Group, schedule: Schedule, caps: Caps) -> KernelCall:
    """The launch that computes one matmul group."""
    return MatmulKernel(group, schedule, caps).lower()
