"""Expressions and statements of the loop IR as text: the inner half of the writer.

Floor 3.  `render.py` stands above and prints whole kernels; `dialect.py` and
`helper_source.py` below say what the language looks like.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace

from dlgrad.codegen.dialect import Dialect
from dlgrad.codegen.helper_source import literal, shared_helper, short_name, value_type
from dlgrad.codegen.kernel import (
    Accumulate,
    Accumulator,
    Alu,
    Assign,
    Counter,
    Expr,
    Index,
    Lane,
    Let,
    Load,
    Local,
    Loop,
    LoopKind,
    Parameter,
    Scalar,
    Stmt,
    Store,
)
from dlgrad.codegen.loop_forms import column_sums, is_vector_loop, stores_along, turned_tile
from dlgrad.dtype import BOOL, FLOAT, DType, float32, int32, int64, uint8, uint32, uint64
from dlgrad.errors import DTypeError
from dlgrad.lazy.ops import COMBINE, ElementwiseOps, ReduceOps

E = ElementwiseOps
Place = Callable[[Load | Store], str]  # the text of the element that is loaded or stored
Text = tuple[str, int]  # an expression and how tightly it holds together

# How tightly C's operators bind, and what needs parentheses beside what.
_PRIMARY, _UNARY, _PRODUCT, _SUM = 16, 14, 13, 12
_LESS, _EQUAL, _AND, _XOR, _OR, _SELECT = 10, 9, 8, 7, 6, 3
_BINARY: dict[ElementwiseOps, tuple[str, int]] = {
    E.ADD: ("+", _SUM),
    E.SUB: ("-", _SUM),
    E.MUL: ("*", _PRODUCT),
    E.DIV: ("/", _PRODUCT),
    E.LT: ("<", _LESS),
    E.LE: ("<=", _LESS),
    E.EQ: ("==", _EQUAL),
    E.NE: ("!=", _EQUAL),
    E.AND: ("&", _AND),
    E.OR: ("|", _OR),
    E.XOR: ("^", _XOR),
}
_LOGIC = {E.MAXIMUM: E.OR, E.MINIMUM: E.AND}  # what they are on bool
_SHORT_LOOP = 8  # a reduction of so few, by a fixed number, is not worth vector lanes
_ROWS_AT_ONCE = 4  # that are added to sums while these are in registers
_WIDTH = 100  # columns of a line
_REDUCTION_SYMBOL = {
    ReduceOps.SUM: "+",
    ReduceOps.PROD: "*",
    ReduceOps.MAX: "max",
    ReduceOps.MIN: "min",
}
_ORDER = (ReduceOps.MAX, ReduceOps.MIN)
_CPP_WORDS = ("and", "or", "xor", "not")  # operators of C++ that are also names of primitives


def index_text(index: Index) -> str:
    """An affine index as an expression."""
    return _index(index)[0]


def without(index: Index, *axes: str) -> Index:
    """An index at the beginning of these axes."""
    return Index(tuple(term for term in index.terms if term[0] not in axes), index.offset)


def _index(index: Index) -> Text:
    parts: list[tuple[bool, str]] = []  # (is negative, text)
    for axis, stride in index.terms:
        if isinstance(stride, str):
            parts.append((False, f"{axis} * {stride}"))
        else:
            text = axis if abs(stride) == 1 else f"{axis} * {abs(stride)}"
            parts.append((stride < 0, text))
    if isinstance(index.offset, str):
        parts.append((False, index.offset))
    elif index.offset:
        parts.append((index.offset < 0, str(abs(index.offset))))
    parts.sort(key=lambda part: part[0])  # what is subtracted comes last
    if not parts:
        return "0", _PRIMARY
    text = ("-" if parts[0][0] else "") + parts[0][1]
    for negative, part in parts[1:]:
        text += (" - " if negative else " + ") + part
    if len(parts) > 1:
        return text, _SUM
    return text, _PRODUCT if " " in text else _UNARY if text[0] == "-" else _PRIMARY


def _at_lane(name: str, lane: Lane) -> str:
    """A variable, or one of its lanes."""
    if lane is None:
        return name
    return f"{name}[{lane if isinstance(lane, str) else index_text(lane)}]"


def element_type(dtype: DType, dialect: Dialect) -> str:
    value_type(dtype.compute, dialect)  # the same refusal for memory as for values
    return dialect.elements[dtype.name]


# Expressions ----------------------------------------------------------------------------------


class Expressions:
    """Prints expressions; the methods give a text and how tightly it binds."""

    def __init__(
        self, dialect: Dialect, parameters: Sequence[Parameter], place: Place
    ) -> None:
        self.dialect = dialect
        self.parameters = parameters
        self.place = place
        self.loaded: dict[Load, str] = {}  # loads that already have a name
        self.taken = set(_CPP_WORDS) | dialect.reserved
        for pattern in dialect.operations.values():
            self.taken.update(re.findall(r"[A-Za-z_]\w*", pattern))

    def text(self, expr: Expr) -> Text:
        if isinstance(expr, Alu):
            return self.alu(expr)
        if isinstance(expr, Load):
            return self.load(expr), _PRIMARY
        if isinstance(expr, Local):
            name = self.name(expr.name)
            return _at_lane(name, expr.lane), _PRIMARY
        if isinstance(expr, Scalar):
            return f"scalar{expr.position}", _PRIMARY
        if isinstance(expr, Counter):
            return self.convert(_index(expr.index), int64, expr.dtype)
        value = literal(expr.value, expr.dtype, self.dialect)
        return value, _UNARY if value.startswith("-") else _PRIMARY

    def name(self, name: str) -> str:
        """The name of a local value, changed where the language or a pattern needs the word."""
        return f"{name}_" if name in self.taken else name

    def load(self, expr: Load) -> str:
        if expr in self.loaded:
            return self.loaded[expr]
        dtype = self.parameters[expr.buffer].dtype
        element = self.place(expr)
        return self.dialect.widen[dtype.name].format(element) if dtype.is_half else element

    def stored(self, store: Store) -> str:
        """The value of a store as an element of its parameter."""
        dtype = self.parameters[store.buffer].dtype
        return self.convert(self.text(store.value), store.value.dtype, dtype)[0]

    def inside(self, text: Text, least: int) -> str:
        return text[0] if text[1] >= least else f"({text[0]})"

    def convert(self, text: Text, source: DType, target: DType) -> Text:
        """A number of type `source` as one of type `target`."""
        if source is target:
            return text
        if source.is_half:
            text = self.dialect.widen[source.name].format(text[0]), _PRIMARY
            return self.convert(text, float32, target)
        if target.is_half:
            inner = self.convert(text, source, float32)[0]
            return self.dialect.narrow[target.name].format(inner), _PRIMARY
        if target.kind == BOOL:
            zero = literal(0, source, self.dialect)
            return f"{self.inside(text, _LESS + 1)} != {zero}", _EQUAL
        name = value_type(target, self.dialect)
        if source.kind == FLOAT and target.is_integer:
            return f"dg_{short_name(source)}_to_{short_name(target)}({text[0]})", _PRIMARY
        return f"({name}){self.inside(text, _UNARY)}", _UNARY

    def alu(self, expr: Alu) -> Text:
        operands = [self.text(source) for source in expr.src]
        if expr.op is E.CAST:
            return self.convert(operands[0], expr.src[0].dtype, expr.dtype)
        if expr.op is E.BITCAST:
            return self.bitcast(operands[0], expr.src[0].dtype, expr.dtype)
        return self.apply(expr.op, expr.src[-1].dtype, operands)

    def bitcast(self, text: Text, source: DType, target: DType) -> Text:
        if source is target:
            return text
        call = self.dialect.bitcast.format(
            text[0],
            source=short_name(source),
            target=short_name(target),
            type=value_type(target, self.dialect),
        )
        return call, _PRIMARY

    def apply(self, op: ElementwiseOps, dtype: DType, operands: Sequence[Text]) -> Text:
        """`op` on operands of `dtype` (of a WHERE: the choices)."""
        if dtype.kind == BOOL:
            op = _LOGIC.get(op, op)
        pattern = self.dialect.operations.get((op, dtype.name))
        if pattern is not None:
            return pattern.format(*(text for text, _ in operands)), _PRIMARY
        if op is E.WHERE:
            condition, chosen, other = operands
            text = f"{self.inside(condition, _OR)} ? {self.inside(chosen, _SELECT + 1)}"
            return f"{text} : {self.inside(other, _SELECT)}", _SELECT
        if op in _BINARY:
            return self.binary(op, dtype, operands)
        if op in (E.NEG, E.INVERT):
            return self.unary(op, dtype, operands[0])
        if op is E.PHILOX:
            return f"dg_philox({operands[0][0]}, {operands[1][0]})", _PRIMARY
        name = f"dg_{op.value}_{short_name(dtype)}"
        if name not in self.dialect.helpers and shared_helper(name, self.dialect) is None:
            raise DTypeError(f"{self.dialect.name} has no {op.value} of {dtype!r}")
        return f"{name}({', '.join(text for text, _ in operands)})", _PRIMARY

    def unary(self, op: ElementwiseOps, dtype: DType, operand: Text) -> Text:
        if op is E.NEG and dtype.is_integer and not self.keeps_wrapping(dtype):
            zero: Text = ("0", _PRIMARY)
            return self.binary(E.SUB, dtype, [zero, operand])
        symbol = "-" if op is E.NEG else "~"
        text = f"{symbol}{self.inside(operand, _UNARY + 1)}", _UNARY
        return self.cut(text, dtype)

    def binary(self, op: ElementwiseOps, dtype: DType, operands: Sequence[Text]) -> Text:
        symbol, strength = _BINARY[op]
        if op in (E.ADD, E.SUB, E.MUL) and not self.keeps_wrapping(dtype):
            unsigned = value_type(_unsigned_of(dtype), self.dialect)
            operands = [(f"({unsigned}){self.inside(x, _UNARY)}", _UNARY) for x in operands]
            left, right = operands[0][0], operands[1][0]
            return f"({value_type(dtype, self.dialect)})({left} {symbol} {right})", _UNARY
        # Beside comparisons and bit operators C's precedence surprises people.
        least = strength if strength >= _SUM else _LESS + 1 if strength >= _EQUAL else _UNARY
        left = self.inside(operands[0], least)
        right = self.inside(operands[1], least + 1 if strength >= _SUM else least)
        text = f"{left} {symbol} {right}", strength
        return self.cut(text, dtype) if op in (E.ADD, E.SUB, E.MUL) else text

    def keeps_wrapping(self, dtype: DType) -> bool:
        """Whether the language's own + - * on this type wrap around, if cut to its width."""
        return dtype.kind == FLOAT or not dtype.is_signed or self.dialect.signed_wraps

    def cut(self, text: Text, dtype: DType) -> Text:
        """C computes small integers as int; back to their own width."""
        if dtype.is_integer and dtype.itemsize < 4:
            name = value_type(dtype, self.dialect)
            return f"({name}){self.inside(text, _UNARY)}", _UNARY
        return text


def _unsigned_of(dtype: DType) -> DType:
    return uint64 if dtype.itemsize == 8 else uint32


# Statements -----------------------------------------------------------------------------------


class Statements:
    """Prints statements as lines, four spaces to a level."""

    def __init__(
        self, dialect: Dialect, parameters: Sequence[Parameter], place: Place
    ) -> None:
        self.dialect = dialect
        self.parameters = parameters
        self.expressions = Expressions(dialect, parameters, place)
        self.lines: list[str] = []
        self.depth = 0
        self.names = 0
        self.keys: dict[str, str] = {}  # accumulators that are integer keys just now
        self.limits: dict[str, str] = {}  # ends of tiled loops that have a name, and their text

    def line(self, text: str) -> None:
        """Adds a line; a statement that is too long goes on in the next, further in."""
        indent = "    " * self.depth
        if len(indent + text) <= _WIDTH or text.startswith("#"):
            self.lines.append(indent + text)
            return
        more = indent + "    "
        self.lines += textwrap.wrap(
            text, _WIDTH, initial_indent=indent, subsequent_indent=more,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip

    def block(self, body: Sequence[Stmt]) -> None:
        for stmt, after in zip(body, (*body[1:], None), strict=True):
            if isinstance(stmt, Accumulator) and self.is_filled(stmt, after):
                self.array(stmt)
            else:
                self.statement(stmt)

    def is_filled(self, stmt: Accumulator, after: Stmt | None) -> bool:
        """Whether the next statement fills a block, so that it needs no start value."""
        if not isinstance(after, Loop):
            return False
        turned = turned_tile(after, self.dialect.turned_side)
        return turned is not None and turned[1].name == stmt.name

    def statement(self, stmt: Stmt) -> None:
        if isinstance(stmt, Let):
            self.name_loads(stmt.value)
            kind = value_type(stmt.value.dtype, self.dialect)
            name = self.expressions.name(stmt.name)
            self.line(f"const {kind} {name} = {self.expressions.text(stmt.value)[0]};")
        elif isinstance(stmt, Store):
            self.name_loads(stmt.value)
            element = self.expressions.place(stmt)
            self.line(f"{element} = {self.expressions.stored(stmt)};")
            self.forget_loads([stmt])
        elif isinstance(stmt, Accumulator):
            self.accumulator(stmt)
        elif isinstance(stmt, Accumulate):
            self.name_loads(stmt.value)
            self.accumulate(stmt)
        elif isinstance(stmt, Assign):
            self.assign(stmt)
        else:
            self.loop(stmt)

    def name_loads(self, expr: Expr) -> None:
        """Takes loads out of the branches of a select.

        C loads only the chosen branch, which would keep compilers from using vectors; in the
        IR every load is in range, so both may be loaded.
        """
        if not self.dialect.simd:
            return
        for load in _chosen_loads(expr, False):
            if load not in self.expressions.loaded:
                name = f"{self.parameters[load.buffer].name}_{self.names}"
                self.names += 1
                kind = value_type(load.dtype, self.dialect)
                self.line(f"const {kind} {name} = {self.expressions.load(load)};")
                self.expressions.loaded[load] = name

    def forget_loads(self, body: Sequence[Stmt]) -> None:
        """What the statements store may have changed what was loaded before."""
        for stmt in body:
            if isinstance(stmt, Loop):
                self.forget_loads(stmt.body)
            elif isinstance(stmt, Store):
                loaded = self.expressions.loaded
                kept = {load: name for load, name in loaded.items() if load.buffer != stmt.buffer}
                self.expressions.loaded = kept

    def accumulator(self, stmt: Accumulator) -> None:
        kind = value_type(stmt.dtype, self.dialect)
        name = self.expressions.name(stmt.name)
        initial = self.expressions.text(stmt.initial)[0]
        if stmt.lanes == 1:
            self.line(f"{kind} {name} = {initial};")
            return
        self.array(stmt)
        self.line(f"for ({self.dialect.index} lane = 0; lane < {stmt.lanes}; lane++)")
        self.line(f"    {name}[lane] = {initial};")

    def array(self, stmt: Accumulator) -> None:
        """A variable with lanes, still without values."""
        kind = value_type(stmt.dtype, self.dialect)
        self.line(f"{kind} {self.expressions.name(stmt.name)}[{stmt.lanes}];")

    def accumulate(self, stmt: Accumulate) -> None:
        name = _at_lane(self.expressions.name(stmt.name), stmt.lane)
        value, dtype = self.expressions.text(stmt.value), stmt.value.dtype
        if name in self.keys:
            operator = "|" if stmt.op is ReduceOps.MAX else "&"
            key, name = self.key(stmt.op, dtype, value[0]), self.keys[name]
            if dtype.kind == BOOL:
                self.line(f"{name} {operator}= {key};")
                return
            value, dtype = (key, _PRIMARY), _key_type(dtype)
        self.combine(name, stmt.op, dtype, value)

    def assign(self, stmt: Assign) -> None:
        self.name_loads(stmt.value)
        target = _at_lane(self.expressions.name(stmt.name), stmt.lane)
        self.line(f"{target} = {self.expressions.text(stmt.value)[0]};")
        # What was loaded from a place that the variable counts is another element now.
        loaded = self.expressions.loaded
        self.expressions.loaded = {
            load: known
            for load, known in loaded.items()
            if load.index is None or all(axis != stmt.name for axis, _ in load.index.terms)
        }

    def combine(self, name: str, op: ReduceOps, dtype: DType, value: Text) -> None:
        combined = self.expressions.apply(COMBINE[op], dtype, [(name, _PRIMARY), value])[0]
        for symbol in ("+", "*", "|", "&"):
            if combined.startswith(f"{name} {symbol} "):
                self.line(f"{name} {symbol}= {value[0]};")
                return
        self.line(f"{name} = {combined};")

    def loop(self, stmt: Loop) -> None:
        turned = turned_tile(stmt, self.dialect.turned_side)
        if turned is not None:
            self.turn(stmt, *turned)
            return
        reduced = self.vector_reduction(stmt)
        if reduced:
            self.reduction_loop(stmt, reduced)
            return
        limit = self.limit(stmt)
        start = "0"
        lanes = column_sums(stmt) if self.dialect.simd else None
        if lanes is not None:
            start = f"{limit} / {_ROWS_AT_ONCE} * {_ROWS_AT_ONCE}"
            self.rows_at_once(stmt, lanes, start)
        if is_vector_loop(stmt):
            self.vector_line()
        self.counted_loop(stmt, start, limit)

    def rows_at_once(self, rows: Loop, lanes: Loop, limit: str) -> None:
        """Sums of columns that take several rows at a time, each sum one after the other."""
        index, row, column = self.dialect.index, rows.axis, lanes.axis
        first, columns = f"first_{row}", self.limit(lanes)
        self.line(f"for ({index} {first} = 0; {first} < {limit}; {first} += {_ROWS_AT_ONCE}) {{")
        self.depth += 1
        self.vector_line()
        self.line(f"for ({index} {column} = 0; {column} < {columns}; {column}++) {{")
        self.depth += 1
        self.counted_loop(replace(rows, body=lanes.body), first, f"{first} + {_ROWS_AT_ONCE}")
        self.depth -= 1
        self.line("}")
        self.depth -= 1
        self.line("}")

    def turn(self, outer: Loop, inner: Loop, fill: Assign, load: Load) -> None:
        """The same as the loops `outer` and `inner`, by one call."""
        columns, rows = self.limit(outer), self.limit(inner)
        assert load.index is not None
        strides = dict(load.index.terms)
        start = without(load.index, outer.axis, inner.axis)
        self.line(
            self.dialect.turn.format(
                block=self.expressions.name(fill.name),
                start=f"&{self.parameters[load.buffer].name}[{index_text(start)}]",
                step=strides[outer.axis],
                rows=rows,
                columns=columns,
            )
        )

    def limit(self, stmt: Loop) -> str:
        """The number of iterations, named first where it takes a calculation."""
        if stmt.tile is None:
            return str(stmt.extent)
        outer, length = stmt.tile
        if isinstance(stmt.extent, int) and stmt.extent % length == 0:
            return str(length)
        name = f"{stmt.axis}_end"
        rest = f"{stmt.extent} - {outer} * {length}"
        if self.limits.get(name) != rest:
            self.line(f"const {self.dialect.index} {name} = dg_min({length}, {rest});")
            self.limits[name] = rest
        return name

    def counted_loop(self, stmt: Loop, start: str, limit: str, step: str = "") -> None:
        axis = stmt.axis
        advance = f"{axis} += {step}" if step else f"{axis}++"
        self.line(f"for ({self.dialect.index} {axis} = {start}; {axis} < {limit}; {advance}) {{")
        known, limits = dict(self.expressions.loaded), dict(self.limits)
        self.depth += 1
        self.block(stmt.body)
        self.depth -= 1
        # The names inside end with the loop.
        self.expressions.loaded, self.limits = known, limits
        self.line("}")

    # Vector loops

    def vector_line(self, clauses: str = "") -> None:
        """Tells the compiler that the iterations of the next loop share nothing else."""
        if self.dialect.simd:
            self.line(self.dialect.simd + clauses)

    def vector_reduction(self, stmt: Loop) -> dict[str, tuple[ReduceOps, DType]]:
        """The accumulators of a loop that can be a vector reduction; {} where it cannot."""
        if not self.dialect.simd or stmt.kind is not LoopKind.REDUCE:
            return {}
        if isinstance(stmt.extent, int) and stmt.extent < _SHORT_LOOP:
            return {}
        found: dict[str, tuple[ReduceOps, DType]] = {}
        for inner in stmt.body:
            if isinstance(inner, Accumulate) and inner.lane is None:
                found[self.expressions.name(inner.name)] = (inner.op, inner.value.dtype)
            elif not isinstance(inner, Let) and not stores_along(inner, stmt.axis):
                return {}
        values = [stmt.value for stmt in stmt.body if isinstance(stmt, (Let, Accumulate, Store))]
        read = {self.expressions.name(name) for value in values for name in _locals(value)}
        return {} if read & found.keys() else found

    def reduction_loop(self, stmt: Loop, reduced: dict[str, tuple[ReduceOps, DType]]) -> None:
        """A loop whose partial results live in vector lanes.

        Compilers know no vector reduction for a maximum in which NaN wins, nor for bool.
        Integers in the order of the floats, with NaN at the end, give the same, and those
        they do reduce; a bool is a byte meanwhile.
        """
        limit = self.limit(stmt)
        clauses = ""
        for name, (op, dtype) in reduced.items():
            operator = _REDUCTION_SYMBOL[op]
            target = name
            if dtype.kind == BOOL:
                operator = "|" if op is ReduceOps.MAX else "&"
            if dtype.kind == BOOL or (dtype.kind == FLOAT and op in _ORDER):
                self.keys[name] = target = f"{name}_key"
                kind = value_type(_key_type(dtype), self.dialect)
                self.line(f"{kind} {target} = {self.key(op, dtype, name)};")
            clauses += self.dialect.simd_reduction.format(operator=operator, names=target)
        self.vector_line(clauses)
        self.counted_loop(stmt, "0", limit)
        for name, (_, dtype) in reduced.items():
            key_name = self.keys.pop(name, None)
            if key_name and dtype.kind == BOOL:
                self.line(f"{name} = {key_name};")
            elif key_name:
                self.line(f"{name} = dg_from_key_{short_name(dtype)}({key_name});")

    def key(self, op: ReduceOps, dtype: DType, value: str) -> str:
        """An integer in the place of a number while lanes reduce it."""
        return value if dtype.kind == BOOL else f"dg_{op.value}_key_{short_name(dtype)}({value})"


def _key_type(dtype: DType) -> DType:
    """bool as a byte, floats as the integer that orders alike."""
    return {1: uint8, 4: int32, 8: int64}[dtype.itemsize]


def _locals(expr: Expr) -> list[str]:
    """The named values that an expression reads."""
    if isinstance(expr, Local):
        return [expr.name]
    return [n for source in expr.src for n in _locals(source)] if isinstance(expr, Alu) else []


def _chosen_loads(expr: Expr, chosen: bool) -> list[Load]:
    """The loads in the branches of the selects of an expression."""
    if isinstance(expr, Load):
        return [expr] if chosen else []
    if not isinstance(expr, Alu):
        return []
    found = []
    for position, source in enumerate(expr.src):
        found += _chosen_loads(source, chosen or (expr.op is E.WHERE and position > 0))
    return found
