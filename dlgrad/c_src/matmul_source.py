"""The matmul template: a `Gemm` of the loop IR in, its C text out.

Floor 4.  Batched products, transposed and strided operands, convolutions and their gradients
are all this one text: packing reads its operands through tables of addresses and a generated
expression, a micro-kernel keeps a tile of sums in registers, and a generated epilogue stores
them.  `matmul_text.py`, `matmul_packing.py` and `matmul_driver.py` hold the text,
`matmul_vectors.py` writes what depends on the vector unit, and here the fused expressions are
spliced in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from dlgrad.c_src.dialect import C
from dlgrad.c_src.matmul_driver import DRIVER
from dlgrad.c_src.matmul_packing import (
    COPYING,
    EPILOGUE,
    FUSED_LANES,
    FUSED_STEPS,
    PACKING,
    PAIRING,
    PANELS,
    PLAIN_LANES,
    PLAIN_STEPS,
)
from dlgrad.c_src.matmul_text import FOUNDATION
from dlgrad.c_src.matmul_vectors import (
    UNPACKED_COLUMNS,
    Tile,
    add_columns,
    add_unpacked_lanes,
    direct_kernel,
    micro_kernel,
    micro_kernel_table,
    products,
    register_tile,
    transpose_block,
    types,
)
from dlgrad.c_src.scratch_source import SCRATCH
from dlgrad.codegen.helper_source import value_type
from dlgrad.codegen.kernel import Caps, Expr, Gemm, Let, Load, Local, Stmt, Store, loads_of
from dlgrad.codegen.render import declarations, statements, with_helpers
from dlgrad.dtype import bfloat16

Place = Callable[[int], str]  # the text of the address of an access, by its position

# Sizes that do not follow from the machine; counted in elements and in multiplications.
JOBS_WANTED = 16  # tiles get smaller until there are so many, for threads to share
LONG_JOBS_WANTED = 8  # the same for many blocks of k, where packing small tiles costs more
JOB_WORK = 1 << 19  # but a job should be worth this many multiplications
BATCH_WORK = 2048  # what the parts of a small product cost that are no multiplications
GROUP_SIZE = 1 << 20  # accumulators of the jobs that share packed blocks
STORE_SIZE = 1 << 21  # packed rows that are kept for other columns
SHARED_SIZE = 1 << 21  # the same where all threads share them
STRIP = 64  # steps along k that a fused operand is computed for before its transpose
THIN_ROWS = 3  # for so few, columns are not packed
DIRECT_COLUMNS = 128  # for no more, rows are read where they lie instead of being packed
RUN_WANTED = 4  # columns of a run of the result; a loop along shorter ones gains nothing
CROWDED = 2048  # bytes: at multiples of it lines meet in the same few places of a cache
SWEEP = 8  # steps of all panels that are read at a time
FREE_ACCESSES = 2  # of more, only runs along which every access advances get vector code


def render_gemm(gemm: Gemm, caps: Caps) -> str:
    """The full C source of a Gemm.

    It exports the kernel under `gemm.name`, doing jobs [begin, end), and `<name>_jobs(sizes)`,
    the number of jobs.  Jobs are cheapest in long ranges: neighbours share packed operands.
    What a job computes depends on nothing but the sizes.
    """
    gemm = _with_own_names(gemm)
    tile = register_tile(gemm.accumulate, caps)
    if caps.bfloat16_pairs and _is_bfloat16(gemm.a, gemm) and _is_bfloat16(gemm.b, gemm):
        tile = replace(tile, fold=2)
    parts = [
        types(gemm.accumulate, tile),
        SCRATCH,
        _constants(gemm, tile, caps),
        products(tile),
        transpose_block(tile),
        FOUNDATION,
        PANELS,
        _copying(gemm, tile),
        _packing("a", gemm.a, gemm, tile),
        _packing("b", gemm.b, gemm, tile),
        *(micro_kernel(tile, rows, v + 1) for v in range(tile.vectors) for rows in tile.heights),
        micro_kernel_table(tile),
        direct_kernel(tile),
        add_unpacked_lanes(tile),
        add_columns("add_columns", UNPACKED_COLUMNS),
        add_columns("add_column", 1),
        _epilogue(gemm),
        DRIVER.replace("KERNEL_JOBS", f"{gemm.name}_jobs").replace("KERNEL", gemm.name),
    ]
    note = gemm.note.replace("*/", "* /").replace("\n", "\n * ")
    text = "\n\n".join(part.strip() for part in parts if part)
    return f"/* {note} */\n\n" + with_helpers(text, C) + "\n"


# Constants --------------------------------------------------------------------------------------


def _constants(gemm: Gemm, tile: Tile, caps: Caps) -> str:
    # A panel of columns takes an eighth of the cache, the rows of a tile a half of it, and
    # columns follow each other through it.
    cached = caps.level2_cache // tile.itemsize
    depth = min(max(cached // (8 * tile.columns), 128), 1024)
    stores = _stores_of(gemm)
    accesses = {
        "a": _accesses(gemm.a),
        "b": _accesses(gemm.b),
        "out": _accesses(*gemm.epilogue),
    }
    values = {
        "ROWS": tile.rows,
        "VECTORS": tile.vectors,
        "LANES": tile.lanes,
        "COLUMNS": tile.columns,
        "WIDEST": max(tile.rows, tile.columns),
        "SQUARE": tile.square,
        "FOLD": tile.fold,
        "LINE": 64 // tile.itemsize,
        "STRIP": STRIP,
        "SWEEP": SWEEP,
        "DEPTH": depth,
        "ROWS_SIZE": cached // 2,
        "COLUMN_TILE": max(2 * cached // depth // tile.columns, 1) * tile.columns,
        "NEAR_SIZE": cached // 2,
        "FETCHED_SIZE": cached // 4,
        "JOBS_WANTED": JOBS_WANTED,
        "LONG_JOBS_WANTED": LONG_JOBS_WANTED,
        "JOB_WORK": JOB_WORK,
        "BATCH_WORK": BATCH_WORK,
        "GROUP_SIZE": GROUP_SIZE,
        "STORE_SIZE": STORE_SIZE,
        "SHARED_SIZE": SHARED_SIZE,
        "SCRATCH_BUFFER": len(gemm.parameters),
        "ACCESSES": max(1, *map(len, accesses.values())),
        "A_ACCESSES": len(accesses["a"]),
        "B_ACCESSES": len(accesses["b"]),
        "OUT_ACCESSES": len(accesses["out"]),
        "THIN_ROWS": THIN_ROWS,
        "THIN_DEPTH": 8 * depth,
        "UNPACKED_COLUMNS": UNPACKED_COLUMNS,
        "DIRECT_COLUMNS": DIRECT_COLUMNS,
        "RUN_WANTED": RUN_WANTED,
        "CROWDED": CROWDED,
        "A_PLAIN": _plain_buffer(gemm.a, gemm),
        "B_PLAIN": _plain_buffer(gemm.b, gemm),
        "A_ANY_STEPS": int(_takes_any_steps(gemm.a, gemm, tile)),
        "B_ANY_STEPS": int(_takes_any_steps(gemm.b, gemm, tile)),
        "RESULT_ACCESS": stores[0].access,
        "RESULT_BUFFER": stores[0].buffer,
        "RESULT_SIZE": gemm.parameters[stores[0].buffer].dtype.itemsize,
        "STORES_SUMS": int(_is_plain_store(gemm)),
    }
    lines = [f"    {name} = {value}," for name, value in values.items()]
    text = "\n".join(["enum {", *lines, "};"])
    for name, numbers in accesses.items():
        numbers_text = ", ".join(map(str, numbers)) or "0"
        text += f"\nstatic const int {name}_accesses[] = {{{numbers_text}}};"
    return text


# Accesses and names -----------------------------------------------------------------------------


def _accesses(*values: Expr | Stmt) -> list[int]:
    """The numbers of the accesses of expressions and statements, each once, stores first."""
    found = [value.access for value in values if isinstance(value, Store)]
    for value in values:
        if isinstance(value, (Let, Store)):
            value = value.value
        assert isinstance(value, Expr)
        found += [load.access for load in loads_of(value)]
    return list(dict.fromkeys(found))


def _with_own_names(gemm: Gemm) -> Gemm:
    """The same with parameter names that meet none of the template's own."""
    taken = _words("".join((PACKING, PLAIN_STEPS, FUSED_LANES, FUSED_STEPS, EPILOGUE)))
    parameters = tuple(
        replace(p, name=f"{p.name}_data") if p.name in taken else p for p in gemm.parameters
    )
    return replace(gemm, parameters=parameters)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


# Filling in the templates -----------------------------------------------------------------------


def _fill(template: str, **pieces: str) -> str:
    """Puts each piece in place of the line that holds nothing but its name behind an @."""
    lines = []
    for line in template.splitlines():
        stripped = line.lstrip()
        if stripped[:1] == "@" and stripped[1:] in pieces:
            indent = line[: -len(stripped)]
            lines += [indent + text for text in pieces[stripped[1:]].splitlines()]
        else:
            lines.append(line)
    return "\n".join(lines)


def _each(count: int, pattern: str) -> str:
    """A line for each access, with its number in place of the #."""
    return "\n".join(pattern.replace("#", str(q)) for q in range(count))


def _simd_loop(count: str, body: str) -> str:
    return f"{C.simd}\nfor (int64_t j = 0; j < {count}; j++) {{\n{_indent(body)}\n}}"


def _indent(text: str) -> str:
    return "\n".join("    " + line for line in text.splitlines())


class _Body:
    """Statements over the accesses of one expression, at places that the caller words."""

    def __init__(self, gemm: Gemm, body: Sequence[Stmt]) -> None:
        self.gemm = gemm
        self.body = body
        self.position = {access: q for q, access in enumerate(_accesses(*body))}
        self.count = len(self.position)

    def text(self, place: Place) -> str:
        """The statements, where `place(q)` words the address of access q."""

        def element(access: Load | Store) -> str:
            name = self.gemm.parameters[access.buffer].name
            return f"{name}[{place(self.position[access.access])}]"

        return "\n".join(statements(self.body, C, self.gemm.parameters, element))

    def cases(self, counter: str, loop: Callable[[str], str], masks: Sequence[int]) -> str:
        """A case for each mask: bit q set where access q advances with `counter`."""
        cases = []
        for mask in masks:

            def place(q: int, mask: int = mask) -> str:
                return f"at{q} + {counter}" if mask >> q & 1 else f"at{q}"

            cases.append(f"case {mask}:\n{_indent(loop(self.text(place)))}\n    continue;")
        return "\n".join(cases)

    def declarations(self, function: str) -> str:
        return "\n".join(declarations(self.gemm, C, _words(function)))

    def masks(self, always: int = 0) -> list[int]:
        """Which accesses advance in the loops that get vector code; those of `always` do."""
        full = (1 << self.count) - 1
        if self.count - always.bit_count() > FREE_ACCESSES:
            return [full]
        return [mask for mask in range(full, -1, -1) if mask & always == always]


# Packing ----------------------------------------------------------------------------------------


def _is_plain(expr: Expr, gemm: Gemm) -> bool:
    """True for a load of the very type that is summed: packing is copying."""
    if not isinstance(expr, Load):
        return False
    dtype = gemm.parameters[expr.buffer].dtype
    return dtype is gemm.accumulate and dtype.itemsize >= 4


def _is_bfloat16(expr: Expr, gemm: Gemm) -> bool:
    """True for a mere load of bfloat16."""
    return isinstance(expr, Load) and gemm.parameters[expr.buffer].dtype is bfloat16


def _plain_buffer(expr: Expr, gemm: Gemm) -> int:
    """The parameter that a plain operand loads, else -1."""
    return expr.buffer if isinstance(expr, Load) and _is_plain(expr, gemm) else -1


def _stores_of(gemm: Gemm) -> list[Store]:
    """What the epilogue stores, the result first."""
    return [stmt for stmt in gemm.epilogue if isinstance(stmt, Store)]


def _is_plain_store(gemm: Gemm) -> bool:
    """True where the sums are stored as they are, and nothing else."""
    store, *others = _stores_of(gemm)
    dtype = gemm.parameters[store.buffer].dtype
    plain = isinstance(store.value, Local) and store.value.name == "accumulator"
    return plain and not others and dtype is gemm.accumulate and dtype.itemsize >= 4


def _takes_any_steps(expr: Expr, gemm: Gemm, tile: Tile) -> bool:
    """True where packing has vector code also for accesses that stand still."""
    if tile.fold > 1 or _is_plain(expr, gemm):
        return False
    return len(_accesses(expr)) <= FREE_ACCESSES


def _copying(gemm: Gemm, tile: Tile) -> str:
    """The functions for operands whose packing is copying, where there are such."""
    if tile.fold > 1:
        return PAIRING
    return COPYING if _is_plain(gemm.a, gemm) or _is_plain(gemm.b, gemm) else ""


def _packing(side: str, expr: Expr, gemm: Gemm, tile: Tile) -> str:
    """The function that packs one panel of an operand."""
    body = _Body(gemm, [Let("value", expr)])
    count = body.count

    def store(target: str) -> Callable[[str], str]:
        return lambda text: f"{text}\n{target} = (element)value;"

    by_element = store("row[lane]")(
        body.text(lambda q: f"base{q} + across{q}[lane] + along{q}[k]")
    )
    if tile.fold > 1 or _is_plain(expr, gemm):
        assert isinstance(expr, Load)
        name = gemm.parameters[expr.buffer].name
        if tile.fold > 1:
            pair = f"{name} + base0 + across0[lane], along0, k, side->steps"
            by_element = f"put_pair({pair}, row + lane);"
        by_lanes = PLAIN_LANES.replace("NAME", name)
        by_steps = _fill(PLAIN_STEPS.replace("NAME", name), BY_ELEMENT=by_element)
    else:

        def vector(text: str) -> str:
            return _simd_loop("LANES", store("row[j]")(text))

        def strip(text: str) -> str:
            return _simd_loop("count", store("row[j]")(text))

        by_lanes = _fill(
            FUSED_LANES,
            FITS=_each(count, "fits &= base# + reach# + along#[k] <= highest#;"),
            AT=_each(count, "const int64_t at# = base# + across#[lane] + along#[k];"),
            CASES=body.cases("j", vector, body.masks()),
        )
        by_step = store("row[j]")(
            body.text(lambda q: f"base{q} + across{q}[lane] + along{q}[start + j]")
        )
        by_steps = _fill(
            FUSED_STEPS,
            AT_STEP=_each(count, "const int64_t at# = base# + across#[lane] + along#[start];"),
            CASES=body.cases("j", strip, body.masks()),
            BY_STEP=by_step,
        )
    function = _fill(
        PACKING.replace("SIDE", side),
        TABLES=_each(
            count,
            "const int64_t base# = side->at.base[#], highest# = side->at.highest[#];\n"
            "const int64_t *const across# = side->at.across[#] + panel->first;\n"
            "const int64_t *const along# = side->at.along[#];",
        ),
        REACH=_each(count, "const int64_t reach# = reach_of_chunks(across#, panel);"),
        BY_STEPS=by_steps,
        BY_LANES=by_lanes,
        BY_ELEMENT=by_element,
    )
    return _fill(function, DECLARATIONS=body.declarations(function))


# The epilogue -----------------------------------------------------------------------------------


def _epilogue(gemm: Gemm) -> str:
    """The function that stores a register tile through the fused consumers."""
    body = _Body(gemm, gemm.epilogue)
    kind = value_type(gemm.accumulate, C)
    stores = 0
    for stmt in gemm.epilogue:
        if isinstance(stmt, Store):
            stores |= 1 << body.position[stmt.access]

    def loop(text: str, count: str = "run.count") -> str:
        return _simd_loop(count, f"const {kind} accumulator = ({kind})from[j];\n{text}")

    by_element = body.text(lambda q: f"row{q} + at->across[{q}][column + j]")
    whole = loop(body.text(lambda q: f"at{q} + j"), "COLUMNS")
    if _is_plain_store(gemm):  # compilers copy such a loop element by element
        name = gemm.parameters[_stores_of(gemm)[0].buffer].name
        whole = f"__builtin_memcpy({name} + at0, from, COLUMNS * sizeof(element));"
    function = _fill(
        EPILOGUE.replace("EVERY", str((1 << body.count) - 1)),
        WHOLE=whole,
        AT=_each(
            body.count,
            "const int64_t row# = at->base[#] + at->along[#][i];\n"
            "const int64_t at# = row# + at->across[#][column];",
        ),
        CASES=body.cases("j", loop, body.masks(stores)),
        BY_ELEMENT=f"const {kind} accumulator = ({kind})from[j];\n{by_element}",
    )
    return _fill(function, DECLARATIONS=body.declarations(function))
