"""The writer: loop IR in, the text of one kernel in a C-like language out.

Floor 3.  There is one writer; what differs between C, MSL and CUDA is data in a `Dialect`.
`render` prints a whole kernel; a template such as the matmul prints its own loops and calls
`expression` and `statements` for the fused parts.  Text is for people: names from the IR, no
parenthesis too many, and only those helper functions that the kernel uses.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Container, Sequence
from dataclasses import replace

from dlgrad.codegen.dialect import Dialect as Dialect
from dlgrad.codegen.helper_source import literal, shared_helper, value_type
from dlgrad.codegen.kernel import (
    Accumulate,
    Accumulator,
    Expr,
    Gemm,
    Index,
    Kernel,
    Load,
    Local,
    Loop,
    LoopKind,
    Parameter,
    Size,
    Stmt,
    Store,
    lane_terms,
    parallel_nest,
)
from dlgrad.codegen.loop_forms import is_vector_loop
from dlgrad.codegen.writer import (
    Expressions,
    Place,
    Statements,
    element_type,
    index_text,
    without,
)
from dlgrad.dtype import FLOAT, DType
from dlgrad.lazy.ops import ReduceOps, reduce_identity


def expression(
    expr: Expr, dialect: Dialect, parameters: Sequence[Parameter], place: Place
) -> str:
    """`expr` as text.  `place` gives the element of a Load, which is widened here if need be."""
    return Expressions(dialect, parameters, place).text(expr)[0]


def statements(
    body: Sequence[Stmt], dialect: Dialect, parameters: Sequence[Parameter], place: Place
) -> list[str]:
    """Lets and Stores as lines, for a template that has its own loops."""
    writer = Statements(dialect, parameters, place)
    writer.block(body)
    return writer.lines


def declarations(
    kernel: Kernel | Gemm, dialect: Dialect, used: Container[str] | None = None
) -> list[str]:
    """The lines at the start of a function that name its buffers, integers and numbers.

    Only those in `used`, if given.  A Gemm has no named integers; `Scalar(i)` is `scalar<i>`.
    """
    lines = {}
    for position, parameter in enumerate(kernel.parameters):
        pattern = dialect.output_declaration if parameter.is_output else dialect.input_declaration
        element = element_type(parameter.dtype, dialect)
        name = parameter.name
        lines[name] = pattern.format(type=element, name=name, position=position)
    for position, name in enumerate(_sizes(kernel)):
        lines[name] = dialect.size_declaration.format(name=name, position=position)
    for position, dtype in enumerate(kernel.scalars):
        pattern = dialect.integer_scalar_declaration
        if dtype.kind == FLOAT:
            pattern = dialect.scalar_declaration
        kind, name = value_type(dtype.compute, dialect), f"scalar{position}"
        lines[name] = pattern.format(type=kind, name=name, position=position)
    return [line for name, line in lines.items() if line and (used is None or name in used)]


def _sizes(kernel: Kernel | Gemm) -> tuple[str, ...]:
    return kernel.sizes if isinstance(kernel, Kernel) else ()


def opening(kernel: Kernel | Gemm, dialect: Dialect) -> str:
    """The first line of the kernel function: its name and its parameters."""
    sizes = _sizes(kernel)
    parts = []
    for position, parameter in enumerate(kernel.parameters):
        pattern = dialect.output_parameter if parameter.is_output else dialect.input_parameter
        element = element_type(parameter.dtype, dialect)
        parts.append(pattern.format(type=element, name=parameter.name, position=position))
    for position, name in enumerate(sizes):
        parts.append(dialect.size_parameter.format(name=name, position=position))
    for position, dtype in enumerate(kernel.scalars):
        kind = value_type(dtype.compute, dialect)
        name = f"scalar{position}"
        parts.append(dialect.scalar_parameter.format(type=kind, name=name, position=position))
    counts = {
        "buffers": len(kernel.parameters),
        "sizes": len(sizes),
        "scalars": len(kernel.scalars),
    }
    parts += [pattern.format(**counts) for pattern in dialect.more_parameters]
    # A parameter stays on one line: its own spaces do not count for the filling.
    text = ", ".join(part.replace(" ", "\0") for part in parts if part)
    line = dialect.opening.format(name=kernel.name, parameters=text)
    return "\n    ".join(textwrap.wrap(line, 92, break_long_words=False)).replace("\0", " ")


def with_helpers(text: str, dialect: Dialect) -> str:
    """`text` behind the definitions of every helper that it mentions, each once."""
    found: dict[str, None] = {}  # the definitions, what is used before what uses it

    def visit(source: str, above: frozenset[str]) -> None:
        for name in dict.fromkeys(re.findall(r"[A-Za-z_]\w*", source)):
            definition = dialect.helpers.get(name) or shared_helper(name, dialect)
            if definition is not None and name not in above and definition not in found:
                visit(definition, above | {name})
                found[definition] = None

    visit(text, frozenset())
    parts = [definition.strip() for definition in found]
    short = "\n".join(sorted((part for part in parts if "\n" not in part), key=_prelude_order))
    long = [part for part in parts if "\n" in part]
    return "\n\n".join([short, *long, text] if short else [*long, text])


def _prelude_order(line: str) -> tuple[int, str]:
    """Includes, then types, then the rest."""
    return (0 if line.startswith("#include") else 1 if line.startswith("typedef") else 2), line


def render(kernel: Kernel, dialect: Dialect) -> str:
    """The full source of a kernel: a comment, the helpers it uses, and the function."""
    note = kernel.note.replace("*/", "* /").replace("\n", "\n * ")
    function = _KernelWriter(kernel, dialect).function()
    return f"/* {note} */\n\n" + with_helpers(function, dialect) + "\n"


def identity(op: ReduceOps, dtype: DType, dialect: Dialect) -> str:
    """The text of the number that a reduction starts from."""
    low, high = dtype.min, dtype.max
    if dtype.kind == FLOAT:
        low, high = float("-inf"), float("inf")
    return literal(reduce_identity(op, low, high), dtype, dialect)


class _KernelWriter(Statements):
    """Prints the function of a kernel: its head, its share of the range, and the body."""

    def __init__(self, kernel: Kernel, dialect: Dialect) -> None:
        super().__init__(dialect, kernel.parameters, self.element)
        self.kernel = kernel
        self.nest = parallel_nest(kernel)
        self.cooperative = kernel.cooperative and bool(dialect.group_index)
        self.started: dict[str, str] = {}  # accumulators that still have their first value
        self.streaming = ""  # what counts a place of a result's block, where it goes there first
        self.sharing = False  # at the level where the threads of a group share loops

    def element(self, access: Load | Store) -> str:
        assert access.index is not None
        name = self.parameters[access.buffer].name
        if self.streaming and isinstance(access, Store):
            return f"{name}_block[{self.streaming}]"
        return f"{name}[{index_text(access.index)}]"

    def function(self) -> str:
        self.lines.append(opening(self.kernel, self.dialect))
        self.line("{")
        self.depth += 1
        head = len(self.lines)
        if self.dialect.thread_index:
            self.thread_body()
        else:
            self.range_body()
        used = set(re.findall(r"\w+", "\n".join(self.lines[head:])))
        needed = declarations(self.kernel, self.dialect, used)
        self.lines[head:head] = ["    " * self.depth + line for line in needed]
        self.depth -= 1
        self.line("}")
        return "\n".join(self.lines)

    # The function does a range of places

    def range_body(self) -> None:
        for stmt in self.kernel.body:
            if self.nest and stmt is self.nest[0]:
                self.range_loops()
            else:
                self.statement(stmt)

    def range_loops(self) -> None:
        """The flattened loops from begin to end; the last one stays a loop, for its vectors."""
        index, last = self.dialect.index, self.nest[-1]
        streams = bool(self.kernel.stream and self.dialect.stream)
        if streams and len(self.nest) == 1:
            self.stream_loop(last)
            return
        if len(self.nest) == 1:
            if is_vector_loop(last):
                self.vector_line()
            self.counted_loop(last, "begin", "end")
            return
        self.line(f"for ({index} place = begin, stop; place < end; place = stop) {{")
        self.depth += 1
        for axis, value in self.axes("place")[:-1]:
            self.line(f"const {index} {axis} = {value};")
        self.line(f"const {index} first = place % {last.extent};")
        self.line(f"const {index} last = dg_min(first + end - place, {last.extent});")
        self.line("stop = place + last - first;")
        if is_vector_loop(last):
            self.vector_line()
        self.counted_loop(last, "first", "last")
        self.depth -= 1
        self.line("}")
        if streams:
            self.line(self.dialect.stream_end)

    def stream_loop(self, loop: Loop) -> None:
        """The only loop in pieces: each is computed into blocks, which go past the caches."""
        kinds = self.result_blocks()
        piece = f"(first / {self.kernel.stream} + 1) * {self.kernel.stream}"
        self.line(f"for ({self.dialect.index} first = begin, stop; first < end; first = stop) {{")
        self.depth += 1
        self.line(f"stop = dg_min({piece}, end);")
        self.vector_line()
        self.streaming = f"{loop.axis} - first"
        self.counted_loop(loop, "first", "stop")
        self.streaming = ""
        for name, kind in kinds.items():
            to, block = f"{name} + first", f"{name}_block"
            self.line(
                self.dialect.stream.format(to=to, block=block, count="stop - first", type=kind)
            )
        self.depth -= 1
        self.line("}")
        self.line(self.dialect.stream_end)

    def result_blocks(self) -> dict[str, str]:
        """Declares a block for each result; their element types by name."""
        results = [p for p in self.parameters if p.is_output]
        kinds = {p.name: element_type(p.dtype, self.dialect) for p in results}
        for name, kind in kinds.items():
            self.line(f"{kind} {name}_block[{self.kernel.stream}];")
        return kinds

    def stream_line(self, loop: Loop) -> None:
        """A line of a tile: computed into blocks, which go past the caches."""
        count = self.limit(loop)
        kept = {stmt: self.kept_line(stmt, loop.axis) for stmt in loop.body}
        if not all(kept.values()):
            self.result_blocks()
            self.vector_line()
            self.streaming = loop.axis
            self.counted_loop(replace(loop, body=tuple(s for s in kept if not kept[s])), "0", count)
            self.streaming = ""
        for stmt in loop.body:
            if isinstance(stmt, Store):
                parameter = self.parameters[stmt.buffer]
                assert stmt.index is not None
                to = f"&{parameter.name}[{index_text(without(stmt.index, loop.axis))}]"
                block = kept[stmt] or f"{parameter.name}_block"
                kind = element_type(parameter.dtype, self.dialect)
                self.line(self.dialect.stream.format(to=to, block=block, count=count, type=kind))

    def kept_line(self, stmt: Stmt, axis: str) -> str:
        """Where what a statement stores along `axis` lies already, or an empty text."""
        if not isinstance(stmt, Store) or not isinstance(stmt.value, Local):
            return ""
        value = stmt.value
        places = Index(lane_terms(value.lane))
        if (axis, 1) not in places.terms or value.dtype is not self.parameters[stmt.buffer].dtype:
            return ""
        return f"&{self.expressions.name(value.name)}[{index_text(without(places, axis))}]"

    def axes(self, place: str) -> list[tuple[str, str]]:
        """Each axis of the nest with its value at a flattened place, outermost first."""
        values = []
        inner: list[Size] = []
        for loop in reversed(self.nest):
            text = place
            if inner:
                product = " * ".join(str(size) for size in reversed(inner))
                text += f" / ({product})" if len(inner) > 1 else f" / {product}"
            if loop is not self.nest[0]:
                text += f" % {loop.extent}"
            values.append((loop.axis, text))
            inner.append(loop.extent)
        return values[::-1]

    # One thread, or one group of threads, does one place

    def thread_body(self) -> None:
        dialect = self.dialect
        if dialect.work_declaration:
            self.line(dialect.work_declaration.format(sizes=len(self.kernel.sizes)))
        place = self.nest[0].axis if len(self.nest) == 1 else "place"
        source = dialect.group_index if self.cooperative else dialect.thread_index
        self.line(f"const {dialect.index} {place} = {source};")
        if self.cooperative:
            self.line(f"const {dialect.index} lane = {dialect.group_lane};")
            self.shared_arrays()
        self.line(f"if ({place} >= work) return;")
        if len(self.nest) > 1:
            for axis, value in self.axes("place"):
                self.line(f"const {dialect.index} {axis} = {value};")
        self.sharing = self.cooperative
        for stmt in self.kernel.body:
            if self.nest and stmt is self.nest[0]:
                self.block(self.nest[-1].body)
            else:
                self.statement(stmt)

    def shared_arrays(self) -> None:
        arrays: dict[str, tuple[ReduceOps, DType]] = {}
        for loop in _shared_loops(self.kernel.body):
            arrays.update(self.reduced(loop.body))
        for name, (_, dtype) in arrays.items():
            kind = value_type(dtype, self.dialect)
            array = self.dialect.shared_array.format(
                type=kind, name=f"{name}_shared", size=self.dialect.group_size
            )
            self.line(array)

    def statement(self, stmt: Stmt) -> None:
        if self.sharing and isinstance(stmt, Store):
            self.line("if (lane == 0)")
            self.depth += 1
            super().statement(stmt)
            self.depth -= 1
        else:
            super().statement(stmt)

    def accumulator(self, stmt: Accumulator) -> None:
        super().accumulator(stmt)
        name = self.expressions.name(stmt.name)
        self.started[name] = self.expressions.text(stmt.initial)[0]

    def loop(self, stmt: Loop) -> None:
        if (
            self.kernel.stream and self.dialect.stream and stmt.tile is not None
            and any(isinstance(inner, Store) for inner in stmt.body)
        ):  # fmt: skip
            self.stream_line(stmt)
            return
        if not self.sharing or stmt.kind is LoopKind.SERIAL:
            self.started.clear()  # the second time round there is more than the start value
            super().loop(stmt)
            return
        reduced = self.reduced(stmt.body)
        for name, (op, dtype) in reduced.items():
            start = identity(op, dtype, self.dialect)
            if self.started.get(name) != start:  # what was there counts once
                self.line(f"if (lane != 0) {name} = {start};")
            self.started.pop(name, None)
        self.sharing = False
        self.counted_loop(stmt, "lane", self.limit(stmt), str(self.dialect.group_size))
        self.sharing = True
        for name, (op, dtype) in reduced.items():
            self.combine_group(name, op, dtype)

    def combine_group(self, name: str, op: ReduceOps, dtype: DType) -> None:
        """A tree over the partial results of a group; every thread gets the result."""
        array, barrier = f"{name}_shared", self.dialect.barrier
        self.line(f"{array}[lane] = {name};")
        self.line(barrier)
        half = self.dialect.group_size // 2
        self.line(f"for (int step = {half}; step > 0; step /= 2) {{")
        self.depth += 1
        self.line("if (lane < step)")
        self.depth += 1
        other: tuple[str, int] = (f"{array}[lane + step]", 16)
        self.combine(f"{array}[lane]", op, dtype, other)
        self.depth -= 1
        self.line(barrier)
        self.depth -= 1
        self.line("}")
        self.line(f"{name} = {array}[0];")
        self.line(barrier)

    def reduced(self, body: Sequence[Stmt]) -> dict[str, tuple[ReduceOps, DType]]:
        """The accumulators from outside that the statements change, with how and their dtype.

        Those with lanes are left out: each lane belongs to one thread.
        """
        found: dict[str, tuple[ReduceOps, DType]] = {}
        own: set[str] = set()
        for stmt in body:
            if isinstance(stmt, Accumulator):
                own.add(self.expressions.name(stmt.name))
            elif isinstance(stmt, Accumulate) and stmt.lane is None:
                found[self.expressions.name(stmt.name)] = (stmt.op, stmt.value.dtype)
            elif isinstance(stmt, Loop):
                found.update(self.reduced(stmt.body))
        return {name: found[name] for name in found if name not in own}


def _shared_loops(body: Sequence[Stmt]) -> list[Loop]:
    """The loops of a cooperative kernel that the threads of a group share."""
    found = []
    for stmt in body:
        if isinstance(stmt, Loop):
            inner = stmt.kind in (LoopKind.PARALLEL, LoopKind.SERIAL)
            found += _shared_loops(stmt.body) if inner else [stmt]
    return found
