"""The plain matmul template of the GPUs: tiles of 16 x 16 in the memory of a thread group.

Floor 3.  A group of 256 threads computes one tile of the result, one element each.  In every
step the group loads a tile of `a` and a tile of `b` (through the fused producers), and each
thread adds sixteen products.  The addresses are found by division from the list of sizes and
strides that `Gemm` describes, so one text serves every layout.  The words are the dialect's.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from dlgrad.codegen.dialect import Dialect
from dlgrad.codegen.helper_source import literal, value_type
from dlgrad.codegen.kernel import Alu, Expr, Gemm, Let, Load, Local, Stmt, Store
from dlgrad.codegen.render import declarations, expression, opening, statements, with_helpers
from dlgrad.lazy.ops import ElementwiseOps

TILE = 16
GROUP = TILE * TILE  # threads of a group
PITCH = TILE + 1  # of a tile row: an odd pitch spreads a column over the memory banks

# Divisions of 64 bits are long; unrolled they would make a kernel of ten thousand instructions.
_PLACE = """
/* How far element `index` of some row-major dimensions lies into memory. */
{function} {long} dg_place(
    {long} index, {long} rank, {pointer}sizes, {pointer}strides)
{{
    {long} place = 0;
    #pragma unroll 1
    for ({long} d = rank - 1; d >= 0; d--) {{
        place += index % sizes[d] * strides[d];
        index /= sizes[d];
    }}
    return place;
}}
"""

_COUNT = """
/* The number of elements of some dimensions. */
{function} {long} dg_count({long} rank, {pointer}sizes)
{{
    {long} count = 1;
    for ({long} d = 0; d < rank; d++)
        count *= sizes[d];
    return count;
}}
"""

_BODY = """
    {shared_a}
    {shared_b}

    const {long} batch_rank = sizes[0], m_rank = sizes[1];
    const {long} n_rank = sizes[2], k_rank = sizes[3];
    {pointer}batch_sizes = sizes + 4;
    {pointer}m_sizes = batch_sizes + batch_rank;
    {pointer}n_sizes = m_sizes + m_rank;
    {pointer}k_sizes = n_sizes + n_rank;
    const {long} m_strides = 1 + batch_rank;  /* where they stand in the table of an access */
    const {long} n_strides = m_strides + m_rank;
    const {long} k_strides = n_strides + n_rank;
{tables}
    const {long} m_count = dg_count(m_rank, m_sizes);
    const {long} n_count = dg_count(n_rank, n_sizes);
    const {long} k_count = dg_count(k_rank, k_sizes);

    /* This group's tile, and this thread's element of it. */
    const {long} tile_rows = (m_count + {last}) / {tile};
    const {long} tile_columns = (n_count + {last}) / {tile};
    const {long} job = {group};
    const int tile_row = (int)({lane}) / {tile};
    const int tile_column = (int)({lane}) % {tile};
    const {long} batch_index = job / (tile_rows * tile_columns);
    const {long} m_index = job / tile_columns % tile_rows * {tile} + tile_row;
    const {long} n_index = job % tile_columns * {tile} + tile_column;
    const bool m_inside = m_index < m_count;
    const bool n_inside = n_index < n_count;

    /* What does not change with k. */
{starts}

    {accumulate} accumulator = {zero};
    for ({long} k_start = 0; k_start < k_count; k_start += {tile}) {{
        const {long} a_k = k_start + tile_column;
        const {long} b_k = k_start + tile_row;
        {accumulate} a_value = {zero};
        {accumulate} b_value = {zero};
        if (m_inside && a_k < k_count) {{
{load_a}
        }}
        if (n_inside && b_k < k_count) {{
{load_b}
        }}
        a_tile[tile_row * {pitch} + tile_column] = a_value;
        b_tile[tile_row * {pitch} + tile_column] = b_value;
        {barrier}
        for (int step = 0; step < {tile}; step++) {{
            a_value = a_tile[tile_row * {pitch} + step];
            b_value = b_tile[step * {pitch} + tile_column];
            accumulator = {multiply_add};
        }}
        {barrier}
    }}
    if (m_inside && n_inside) {{
{epilogue}
    }}
}}
"""


def jobs(sizes: Sequence[int]) -> int:
    """How many groups a launch with these sizes takes: one for each tile of the result."""
    batch_rank, m_rank, n_rank = sizes[:3]
    m_start = 4 + batch_rank
    n_start = m_start + m_rank
    rows = -(-prod(sizes[m_start:n_start]) // TILE)
    columns = -(-prod(sizes[n_start : n_start + n_rank]) // TILE)
    return prod(sizes[4:m_start]) * rows * columns


def render_tiled(gemm: Gemm, dialect: Dialect, pointer: str) -> str:
    """The full source of a matmul kernel.

    `pointer` is the type of a pointer into `sizes`, the array of integers that the dialect's
    parameters or declarations must make known.
    """
    assert dialect.group_size == GROUP
    index, kind = dialect.index, gemm.accumulate
    words = {"function": dialect.helper_prefix, "long": index, "pointer": pointer}
    loads = [_accesses(gemm.a), _accesses(gemm.b)]
    stores = sorted({access for stmt in gemm.epilogue for access in _accesses_of(stmt)})

    starts = _starts(loads[0], "a", "m", index) + _starts(loads[1], "b", "n", index)
    body = _BODY.format(
        **words,
        shared_a=_tile(dialect, gemm, "a_tile"),
        shared_b=_tile(dialect, gemm, "b_tile"),
        tile=TILE,
        last=TILE - 1,
        pitch=PITCH,
        group=dialect.group_index,
        lane=dialect.group_lane,
        tables="\n".join("    " + line for line in _tables(gemm, pointer)),
        starts="\n".join("    " + line for line in starts),
        accumulate=value_type(kind, dialect),
        zero=literal(0, kind, dialect),
        load_a=_load(gemm, gemm.a, "a", loads[0], dialect),
        load_b=_load(gemm, gemm.b, "b", loads[1], dialect),
        multiply_add=_multiply_add(gemm, dialect),
        epilogue=_epilogue(gemm, stores, dialect),
        barrier=dialect.barrier,
    )
    lines = [opening(gemm, dialect), "{"]
    lines += ["    " + line for line in declarations(gemm, dialect)]
    text = _PLACE.format(**words) + _COUNT.format(**words) + "\n" + "\n".join(lines) + body
    note = gemm.note.replace("*/", "* /").replace("\n", "\n * ")
    return f"/* {note} */\n\n" + with_helpers(text.strip(), dialect) + "\n"


def _tile(dialect: Dialect, gemm: Gemm, name: str) -> str:
    kind = value_type(gemm.accumulate, dialect)
    return dialect.shared_array.format(type=kind, name=name, size=f"{TILE} * {PITCH}")


def _accesses(expr: Expr) -> list[int]:
    """The accesses of an expression, each once, in order."""
    if isinstance(expr, Load):
        return [expr.access]
    if isinstance(expr, Alu):
        return sorted({access for source in expr.src for access in _accesses(source)})
    return []


def _accesses_of(stmt: Stmt) -> list[int]:
    assert isinstance(stmt, (Let, Store))
    own = [stmt.access] if isinstance(stmt, Store) else []
    return own + _accesses(stmt.value)


def _tables(gemm: Gemm, pointer: str) -> list[str]:
    """A name for the table of every access: its offset, then its strides."""
    lines = [f"{pointer}table0 = k_sizes + k_rank;"]
    for access in range(1, gemm.accesses):
        lines.append(f"{pointer}table{access} = table{access - 1} + k_strides + k_rank;")
    return lines


def _part(access: int, group: str, index: str) -> str:
    """The part of an address that the index of one group of dimensions makes."""
    strides = "1" if group == "batch" else f"{group}_strides"
    return f"dg_place({index}, {group}_rank, {group}_sizes, table{access} + {strides})"


def _starts(accesses: list[int], operand: str, group: str, index: str) -> list[str]:
    lines = []
    for access in accesses:
        lines += [
            f"const {index} {operand}_start{access} = table{access}[0]",
            f"    + {_part(access, 'batch', 'batch_index')}",
            f"    + {_part(access, group, f'{group}_index')};",
        ]
    return lines


def _place(gemm: Gemm, access: Load | Store) -> str:
    return f"{gemm.parameters[access.buffer].name}[place{access.access}]"


def _load(gemm: Gemm, expr: Expr, operand: str, accesses: list[int], dialect: Dialect) -> str:
    if expr.dtype is not gemm.accumulate:
        expr = Alu(ElementwiseOps.CAST, (expr,), gemm.accumulate)
    lines = []
    for access in accesses:
        part = _part(access, "k", f"{operand}_k")
        lines.append(f"const {dialect.index} place{access} = {operand}_start{access} + {part};")
    text = expression(expr, dialect, gemm.parameters, lambda load: _place(gemm, load))
    lines.append(f"{operand}_value = {text};")
    return "\n".join(" " * 12 + line for line in lines)


def _multiply_add(gemm: Gemm, dialect: Dialect) -> str:
    kind = gemm.accumulate
    factors = (Local("a_value", kind), Local("b_value", kind))
    product = Alu(ElementwiseOps.MUL, factors, kind)
    total = Alu(ElementwiseOps.ADD, (Local("accumulator", kind), product), kind)
    return expression(total, dialect, gemm.parameters, lambda load: _place(gemm, load))


def _epilogue(gemm: Gemm, accesses: list[int], dialect: Dialect) -> str:
    lines = []
    for access in accesses:
        lines += [
            f"const {dialect.index} place{access} = table{access}[0]",
            f"    + {_part(access, 'batch', 'batch_index')}",
            f"    + {_part(access, 'm', 'm_index')}",
            f"    + {_part(access, 'n', 'n_index')};",
        ]
    lines += statements(
        gemm.epilogue, dialect, gemm.parameters, lambda access: _place(gemm, access)
    )
    return "\n".join(" " * 8 + line for line in lines)
