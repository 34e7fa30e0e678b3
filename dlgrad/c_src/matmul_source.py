"""The matmul template: a `Gemm` of the loop IR in, its C text out.

Floor 4.  Batched products, transposed and strided operands, convolutions and their gradients
are all this one text: packing reads its operands through tables of addresses and a generated
expression, a micro-kernel keeps a tile of sums in registers, and a generated epilogue stores
them.  The fixed part is in `matmul_text.py`; here are the parts that depend on the dtype, on
the vector unit and on the fused expressions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from dlgrad.c_src.dialect import C
from dlgrad.c_src.matmul_text import (
    COPYING,
    DRIVER,
    EPILOGUE,
    FOUNDATION,
    FUSED_LANES,
    FUSED_STEPS,
    PACKING,
    PLAIN_LANES,
    PLAIN_STEPS,
)
from dlgrad.dtype import FLOAT, DType
from dlgrad.helper_source import value_type
from dlgrad.kernel import Alu, Caps, Expr, Gemm, Let, Load, Stmt, Store
from dlgrad.render import declarations, statements, with_helpers

Place = Callable[[int], str]  # the text of the address of an access, by its position

# Sizes that do not follow from the machine; counted in elements and in multiplications.
JOBS_WANTED = 16  # tiles get smaller until there are so many, for threads to share
LONG_JOBS_WANTED = 8  # the same for many blocks of k, where packing small tiles costs more
JOB_WORK = 1 << 19  # but a job should be worth this many multiplications
BATCH_WORK = 2048  # what the parts of a small product cost that are no multiplications
GROUP_SIZE = 1 << 20  # accumulators of the jobs that share packed blocks
STORE_SIZE = 1 << 20  # packed rows that are kept for other columns
STRIP = 64  # steps along k that a fused operand is computed for before its transpose
THIN_ROWS = 3  # for so few, columns are not packed
UNPACKED_COLUMNS = 8  # columns along k that are summed at once
SWEEP = 8  # steps of all panels that are read at a time
FREE_ACCESSES = 2  # of more, only runs along which every access advances get vector code


@dataclass(frozen=True)
class Tile:
    """The register tile of the micro-kernel: `rows` x (`vectors` of `lanes` elements)."""

    rows: int
    vectors: int
    lanes: int
    itemsize: int

    @property
    def columns(self) -> int:
        return self.vectors * self.lanes

    @property
    def square(self) -> int:
        """Elements of 16 bytes: as many steps are transposed at once."""
        return 16 // self.itemsize

    @property
    def heights(self) -> tuple[int, ...]:
        """The numbers of rows that have a micro-kernel."""
        return (*(h for h in (1, 2, 4, 8) if h < self.rows), self.rows)


def register_tile(accumulate: DType, caps: Caps) -> Tile:
    """The largest tile whose sums, one row of b and a broadcast fit the vector registers."""
    itemsize = max(accumulate.itemsize, 4)
    lanes = caps.vector_bytes // itemsize
    if caps.registers < 32:
        return Tile(6, 2, lanes, itemsize)
    if caps.vector_bytes == 16:
        return Tile(8, 3, lanes, itemsize)
    return Tile(14, 2, lanes, itemsize)


def render_gemm(gemm: Gemm, caps: Caps) -> str:
    """The full C source of a Gemm.

    It exports the kernel under `gemm.name`, doing jobs [begin, end), and `<name>_jobs(sizes)`,
    the number of jobs.  Jobs are cheapest in long ranges: neighbours share packed operands.
    What a job computes depends on nothing but the sizes.
    """
    gemm = _with_own_names(gemm)
    tile = register_tile(gemm.accumulate, caps)
    parts = [
        _types(gemm.accumulate, tile),
        _constants(gemm, tile, caps),
        _transpose_block(tile),
        FOUNDATION,
        COPYING if _is_plain(gemm.a, gemm) or _is_plain(gemm.b, gemm) else "",
        _packing("a", gemm.a, gemm),
        _packing("b", gemm.b, gemm),
        *(_micro_kernel(tile, rows, v + 1) for v in range(tile.vectors) for rows in tile.heights),
        _micro_kernel_table(tile),
        _add_unpacked_lanes(tile),
        _add_columns("add_columns", UNPACKED_COLUMNS),
        _add_columns("add_column", 1),
        _epilogue(gemm),
        DRIVER.replace("KERNEL_JOBS", f"{gemm.name}_jobs").replace("KERNEL", gemm.name),
    ]
    note = gemm.note.replace("*/", "* /").replace("\n", "\n * ")
    text = "\n\n".join(part.strip() for part in parts if part)
    return f"/* {note} */\n\n" + with_helpers(text, C) + "\n"


# Types and constants ----------------------------------------------------------------------------


def _element_type(accumulate: DType) -> str:
    """What is packed and summed; integers as unsigned ones, which wrap around."""
    if accumulate.kind == FLOAT:
        return "double" if accumulate.itemsize == 8 else "float"
    return "uint64_t" if accumulate.itemsize == 8 else "uint32_t"


def _types(accumulate: DType, tile: Tile) -> str:
    vector_bytes = tile.lanes * tile.itemsize
    loose = f"aligned({tile.itemsize}), may_alias"
    mask = "int64_t" if tile.itemsize == 8 else "int32_t"
    return f"""
typedef {_element_type(accumulate)} element;
typedef element vector __attribute__((vector_size({vector_bytes})));
typedef element loose_vector __attribute__((vector_size({vector_bytes}), {loose}));
typedef element quad __attribute__((vector_size(16)));
typedef element loose_quad __attribute__((vector_size(16), {loose}));

#if defined(__clang__) || __GNUC__ >= 12
#define HAS_SHUFFLEVECTOR
#define SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
typedef {mask} picks __attribute__((vector_size({vector_bytes})));
#define SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (picks){{__VA_ARGS__}})
#endif
{_join(tile)}"""


def _constants(gemm: Gemm, tile: Tile, caps: Caps) -> str:
    depth = caps.level2_cache // (16 * tile.columns * tile.itemsize)
    depth = min(max(depth, 128), 2048 // tile.itemsize)
    side = caps.level2_cache // (2 * depth * tile.itemsize)
    stores = [s for s in gemm.epilogue if isinstance(s, Store)]
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
        "LINE": 64 // tile.itemsize,
        "STRIP": STRIP,
        "SWEEP": SWEEP,
        "DEPTH": depth,
        "ROW_TILE": max(side // tile.rows, 1) * tile.rows,
        "COLUMN_TILE": max(side // tile.columns, 1) * tile.columns,
        "JOBS_WANTED": JOBS_WANTED,
        "LONG_JOBS_WANTED": LONG_JOBS_WANTED,
        "JOB_WORK": JOB_WORK,
        "BATCH_WORK": BATCH_WORK,
        "GROUP_SIZE": GROUP_SIZE,
        "STORE_SIZE": STORE_SIZE,
        "ACCESSES": max(1, *map(len, accesses.values())),
        "A_ACCESSES": len(accesses["a"]),
        "B_ACCESSES": len(accesses["b"]),
        "OUT_ACCESSES": len(accesses["out"]),
        "THIN_ROWS": THIN_ROWS,
        "THIN_DEPTH": 8 * depth,
        "UNPACKED_COLUMNS": UNPACKED_COLUMNS,
        "A_PLAIN": _plain_buffer(gemm.a, gemm),
        "B_PLAIN": _plain_buffer(gemm.b, gemm),
        "A_ANY_STEPS": int(_takes_any_steps(gemm.a, gemm)),
        "B_ANY_STEPS": int(_takes_any_steps(gemm.b, gemm)),
        "RESULT_ACCESS": stores[0].access,
    }
    lines = [f"    {name} = {value}," for name, value in values.items()]
    text = "\n".join(["enum {", *lines, "};"])
    for name, numbers in accesses.items():
        numbers_text = ", ".join(map(str, numbers)) or "0"
        text += f"\nstatic const int {name}_accesses[] = {{{numbers_text}}};"
    return text


def _transpose_block(tile: Tile) -> str:
    """Quads of neighbouring steps from each lane, transposed within 16 bytes of each vector."""
    size, lanes = tile.square, tile.lanes
    quads = lanes // size
    lines = [
        "/* The first SQUARE steps of LANES lanes; step s of lane i goes to to[s * width + i]. */",
        "static inline void transpose_block(",
        "    const element *from, const int64_t *lane, element *to, int64_t width)",
        "{",
    ]
    for i in range(size):
        places = [f"*(const loose_quad *)(from + lane[{i + size * q}])" for q in range(quads)]
        lines.append(f"    const vector x{i} = JOIN(" + ",\n        ".join(places) + ");")

    def interleave(x: str, y: str, picks: Sequence[int]) -> str:
        """In every quad, the picked elements of x and y; those of y are counted from `size`."""
        numbers = [
            size * q + pick % size + (lanes if pick >= size else 0)
            for q in range(quads)
            for pick in picks
        ]
        return f"SHUFFLE({x}, {y}, {', '.join(map(str, numbers))})"

    if size == 2:
        results = [interleave("x0", "x1", picks) for picks in ((0, 2), (1, 3))]
    else:
        for half, picks in (("low", (0, 4, 1, 5)), ("high", (2, 6, 3, 7))):
            for i in (0, 2):
                pair = interleave(f"x{i}", f"x{i + 1}", picks)
                lines.append(f"    const vector {half}{i} = {pair};")
        results = [
            interleave(f"{half}0", f"{half}2", picks)
            for half in ("low", "high")
            for picks in ((0, 1, 4, 5), (2, 3, 6, 7))
        ]
    for s, result in enumerate(results):
        lines.append(f"    *(loose_vector *)(to + {s} * width) = {result};")
    return "\n".join([*lines, "}"])


def _join(tile: Tile) -> str:
    """The macro that makes a vector of quads."""
    quads = tile.lanes // tile.square
    names = ["w", "x", "y", "z"][:quads]
    if quads == 1:
        return "#define JOIN(w) (w)"

    def numbers(count: int) -> str:
        return ", ".join(map(str, range(count)))

    if quads == 2:
        text = f"__builtin_shufflevector(w, x, {numbers(tile.lanes)})"
    else:
        half = numbers(tile.lanes // 2)
        text = (
            "__builtin_shufflevector( \\\n"
            f"    __builtin_shufflevector(w, x, {half}), \\\n"
            f"    __builtin_shufflevector(y, z, {half}), \\\n"
            f"    {numbers(tile.lanes)})"
        )
    arguments = ", ".join(names)
    return f"""
#ifdef HAS_SHUFFLEVECTOR
#define JOIN({arguments}) {text}
#else
static inline vector join(const quad *quads)
{{
    vector joined;
    __builtin_memcpy(&joined, quads, sizeof joined);
    return joined;
}}
#define JOIN({arguments}) join((const quad[]){{{arguments}}})
#endif
"""


# Accesses and names -----------------------------------------------------------------------------


def _loads(expr: Expr) -> Iterator[Load]:
    if isinstance(expr, Load):
        yield expr
    elif isinstance(expr, Alu):
        for source in expr.src:
            yield from _loads(source)


def _accesses(*values: Expr | Stmt) -> list[int]:
    """The numbers of the accesses of expressions and statements, each once."""
    found = []
    for value in values:
        if isinstance(value, Store):
            found.append(value.access)
        if isinstance(value, (Let, Store)):
            value = value.value
        assert isinstance(value, Expr)
        found += [load.access for load in _loads(value)]
    return list(dict.fromkeys(found))


def _with_own_names(gemm: Gemm) -> Gemm:
    """The same with parameter names that meet none of the template's own."""
    taken = _words("".join((PACKING, PLAIN_STEPS, FUSED_STEPS, EPILOGUE)))
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


def _plain_buffer(expr: Expr, gemm: Gemm) -> int:
    """The parameter that a plain operand loads, else -1."""
    return expr.buffer if isinstance(expr, Load) and _is_plain(expr, gemm) else -1


def _takes_any_steps(expr: Expr, gemm: Gemm) -> bool:
    """True where packing has vector code also for accesses that stand still."""
    return not _is_plain(expr, gemm) and len(_accesses(expr)) <= FREE_ACCESSES


def _packing(side: str, expr: Expr, gemm: Gemm) -> str:
    """The function that packs one panel of an operand."""
    body = _Body(gemm, [Let("value", expr)])
    count = body.count

    def store(target: str) -> Callable[[str], str]:
        return lambda text: f"{text}\n{target} = (element)value;"

    by_element = store("row[lane]")(
        body.text(lambda q: f"base{q} + across{q}[lane] + along{q}[k]")
    )
    if _is_plain(expr, gemm):
        assert isinstance(expr, Load)
        name = gemm.parameters[expr.buffer].name
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


# The micro-kernel and the epilogue --------------------------------------------------------------


def _micro_kernel(tile: Tile, rows: int, vectors: int) -> str:
    """The sum of `depth` outer products of `rows` by `vectors` vectors, held in registers."""
    sums = [(i, v, f"sum{i}_{v}") for i in range(rows) for v in range(vectors)]
    lines = [
        f"static void micro_{rows}x{vectors}(",
        "    int64_t depth, const element *a, const element *b, element *sums, int goes_on)",
        "{",
    ]
    for i in range(rows):
        names = ", ".join(f"sum{i}_{v} = {{0}}" for v in range(vectors))
        lines.append(f"    vector {names};")
    lines.append("    if (goes_on) {")
    for i, v, name in sums:
        place = f"sums + {i} * COLUMNS + {v} * LANES"
        lines.append(f"        {name} = *(const loose_vector *)({place});")
    lines.append("    }")
    lines.append(f"    for (; depth > 0; depth--, a += {rows}, b += COLUMNS) {{")
    for v in range(vectors):
        lines.append(f"        const vector b{v} = *(const loose_vector *)(b + {v} * LANES);")
    for i, v, name in sums:
        lines.append(f"        {name} += a[{i}] * b{v};")
    lines.append("    }")
    for i, v, name in sums:
        lines.append(f"    *(loose_vector *)(sums + {i} * COLUMNS + {v} * LANES) = {name};")
    return "\n".join([*lines, "}"])


def _micro_kernel_table(tile: Tile) -> str:
    lines = [
        "/* By the number of vectors, less one, and the number of rows. */",
        "static void (*const micro_kernels[VECTORS][ROWS + 1])(",
        "    int64_t depth, const element *a, const element *b, element *sums, int goes_on) = {",
    ]
    for v in range(tile.vectors):
        names = ", ".join(f"[{rows}] = micro_{rows}x{v + 1}" for rows in tile.heights)
        lines.append(f"    {{{names}}},")
    return "\n".join([*lines, "};"])


def _add_unpacked_lanes(tile: Tile) -> str:
    """One row times columns side by side in memory; two sums each, to fill the pipeline."""
    sums = [f"{name}{v}" for name in ("even", "odd") for v in range(tile.vectors)]
    lines = [
        "static void add_unpacked_lanes(",
        "    int64_t depth, const element *a, const element *from, const int64_t *along,",
        "    element *sums)",
        "{",
        f"    vector {', '.join(f'{name} = {{0}}' for name in sums)};",
        "    for (; depth > 1; depth -= 2, a += 2, along += 2) {",
    ]

    def add(name: str, k: int, indent: str) -> None:
        for v in range(tile.vectors):
            column = f"*(const loose_vector *)(from + along[{k}] + {v} * LANES)"
            lines.append(f"{indent}{name}{v} += a[{k}] * {column};")

    add("even", 0, "        ")
    add("odd", 1, "        ")
    lines += ["    }", "    if (depth) {"]
    add("even", 0, "        ")
    lines.append("    }")
    for v in range(tile.vectors):
        lines.append(f"    *(loose_vector *)(sums + {v} * LANES) += even{v} + odd{v};")
    return "\n".join([*lines, "}"])


def _add_columns(name: str, count: int) -> str:
    """One row times a few columns that run along k in memory."""
    lines = [
        f"static void {name}(",
        "    int64_t depth, const element *a, const element *from, const int64_t *lane,",
        "    element *sums)",
        "{",
        f"    vector {', '.join(f'sum{i} = {{0}}' for i in range(count))};",
        "    int64_t k = 0;",
        "    for (; k + LANES <= depth; k += LANES) {",
        "        const vector row = *(const loose_vector *)(a + k);",
    ]
    for i in range(count):
        lines.append(f"        sum{i} += row * *(const loose_vector *)(from + lane[{i}] + k);")
    lines += ["    }", "    for (int64_t i = 0; i < LANES; i++) {"]
    for i in range(count):
        lines.append(f"        sums[{i}] += sum{i}[i];")
    lines += [
        "    }",
        "    for (; k < depth; k++)",
        f"        for (int64_t i = 0; i < {count}; i++)",
        "            sums[i] += a[k] * from[lane[i] + k];",
    ]
    return "\n".join([*lines, "}"])


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
    function = _fill(
        EPILOGUE.replace("EVERY", str((1 << body.count) - 1)),
        WHOLE=loop(body.text(lambda q: f"at{q} + j"), "COLUMNS"),
        AT=_each(
            body.count,
            "const int64_t row# = at->base[#] + at->along[#][i];\n"
            "const int64_t at# = row# + at->across[#][column];",
        ),
        CASES=body.cases("j", loop, body.masks(stores)),
        BY_ELEMENT=f"const {kind} accumulator = ({kind})from[j];\n{by_element}",
    )
    return _fill(function, DECLARATIONS=body.declarations(function))
