"""The parts of the matmul template in C that are written for one vector unit.

Floor 4.  A `Tile` says what fits the registers; from it come the types, the micro-kernels with
their sums in registers, and the transpose of a block of memory.  All of it is the compilers'
vector extension: no intrinsic, no header.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlgrad.codegen.kernel import Caps
from dlgrad.dtype import FLOAT, DType

UNPACKED_COLUMNS = 8  # columns along k that are summed at once
ROWS_OF_A_POINTER = 4  # rows that one pointer and their distance reach


@dataclass(frozen=True)
class Tile:
    """The register tile of the micro-kernel: `rows` x (`vectors` of `lanes` elements).

    An element of a packed panel holds `fold` steps of k: 2 for pairs of bfloat16.
    """

    rows: int
    vectors: int
    lanes: int
    itemsize: int
    fold: int = 1

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


# Types ---------------------------------------------------------------------------------------


def _element_type(accumulate: DType) -> str:
    """What is packed and summed; integers as unsigned ones, which wrap around."""
    if accumulate.kind == FLOAT:
        return "double" if accumulate.itemsize == 8 else "float"
    return "uint64_t" if accumulate.itemsize == 8 else "uint32_t"


def types(accumulate: DType, tile: Tile) -> str:
    vector_bytes = tile.lanes * tile.itemsize
    loose = f"aligned({tile.itemsize // tile.fold}), may_alias"
    mask = "int64_t" if tile.itemsize == 8 else "int32_t"
    return f"""
typedef {_element_type(accumulate)} element;
typedef element vector __attribute__((vector_size({vector_bytes})));
typedef element loose_vector __attribute__((vector_size({vector_bytes}), {loose}));
typedef element quad __attribute__((vector_size(16)));
typedef element loose_quad __attribute__((vector_size(16), {loose}));
{_items(tile)}

#ifdef __clang__
#define SMALL __attribute__((minsize)) /* no need for speed, which takes long to compile */
#else
#define SMALL __attribute__((cold))
#endif

#if defined(__clang__) || __GNUC__ >= 12
#define HAS_SHUFFLEVECTOR
#define SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
typedef {mask} picks __attribute__((vector_size({vector_bytes})));
#define SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (picks){{__VA_ARGS__}})
#endif
#define EVENS(x, y) SHUFFLE(x, y, {", ".join(str(2 * i) for i in range(tile.lanes))})
{_join(tile)}"""


def _items(tile: Tile) -> str:
    """What the memory of an operand holds whose packing is copying."""
    if tile.fold == 1:
        return "typedef element item;"
    size = 2 * tile.lanes
    return f"""typedef uint16_t item;
typedef item loose_items __attribute__((vector_size({size}), aligned(2), may_alias));
typedef uint32_t words __attribute__((vector_size({2 * size})));
#define WORDS(items) __builtin_convertvector(items, words)"""


# Transposing -----------------------------------------------------------------------------------


def transpose_block(tile: Tile) -> str:
    """Quads of neighbouring steps from each lane, transposed within 16 bytes of each vector."""
    size, lanes = tile.square, tile.lanes
    quads = lanes // size
    lines = [
        "/* The first SQUARE elements of LANES lanes; that of lane i and step s goes to",
        "   to[s * width + i]. */",
        "static inline void transpose_block(",
        "    const item *from, const int64_t *lane, element *to, int64_t width)",
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


# Micro-kernels --------------------------------------------------------------------------------


def micro_kernel(tile: Tile, rows: int, vectors: int) -> str:
    """The sum of `depth` outer products of `rows` by `vectors` vectors, held in registers.

    The rows of `sums` are `pitch` apart.
    """
    sums = [(i, v, f"sum{i}_{v}") for i in range(rows) for v in range(vectors)]
    lines = [
        f"static void micro_{rows}x{vectors}(",
        "    int64_t depth, const element *a, const element *b, element *sums, int64_t pitch,",
        "    int goes_on)",
        "{",
    ]
    for i in range(rows):
        names = ", ".join(f"sum{i}_{v} = {{0}}" for v in range(vectors))
        lines.append(f"    vector {names};")
    lines.append("    if (goes_on) {")
    for i, v, name in sums:
        place = f"sums + {i} * pitch + {v} * LANES"
        lines.append(f"        {name} = *(const loose_vector *)({place});")
    lines.append("    }")
    lines.append(f"    for (; depth > 0; depth--, a += {rows}, b += COLUMNS) {{")
    for v in range(vectors):
        lines.append(f"        const vector b{v} = *(const loose_vector *)(b + {v} * LANES);")
    for i, v, name in sums:
        lines.append(f"        ADD_PRODUCT({name}, a[{i}], b{v});")
    lines.append("    }")
    for i, v, name in sums:
        lines.append(f"    *(loose_vector *)(sums + {i} * pitch + {v} * LANES) = {name};")
    return "\n".join([*lines, "}"])


def products(tile: Tile) -> str:
    """How the micro-kernel multiplies and adds: elements, or pairs of bfloat16 in them."""
    if tile.fold == 1:
        return "#define ADD_PRODUCT(sum, x, y) sum += (x) * (y)"
    copies = ", ".join(["x"] * tile.lanes)
    return f"""
#define ADD_PRODUCT(sum, x, y) add_pairs(&(sum), x, y)
static inline __attribute__((always_inline)) void add_pairs(vector *sum, element x, vector y)
{{
    const vector all = {{{copies}}};
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(*sum) : "v"(y), "v"(all));
}}
"""


def direct_kernel(tile: Tile) -> str:
    """The largest tile, its rows read where they lie: along k, `step` from one to the next."""
    sums = [(i, v, f"sum{i}_{v}") for i in range(tile.rows) for v in range(tile.vectors)]
    bases = range(0, tile.rows, ROWS_OF_A_POINTER)
    lines = [
        "static void direct_kernel(",
        "    int64_t depth, const element *a, int64_t step, const element *b, element *sums,",
        "    int64_t pitch, int goes_on)",
        "{",
    ]
    for base in bases:
        lines.append(f"    const element *row{base} = a + {base} * step;")
    for i in range(tile.rows):
        names = ", ".join(f"sum{i}_{v} = {{0}}" for v in range(tile.vectors))
        lines.append(f"    vector {names};")
    lines.append("    if (goes_on) {")
    for i, v, name in sums:
        place = f"sums + {i} * pitch + {v} * LANES"
        lines.append(f"        {name} = *(const loose_vector *)({place});")
    lines.append("    }")
    lines.append("    for (; depth > 0; depth--, b += COLUMNS) {")
    for v in range(tile.vectors):
        lines.append(f"        const vector b{v} = *(const loose_vector *)(b + {v} * LANES);")
    for i, v, name in sums:
        base = i // ROWS_OF_A_POINTER * ROWS_OF_A_POINTER
        lines.append(f"        {name} += row{base}[{i - base} * step] * b{v};")
    advance = ", ".join(f"row{base}++" for base in bases)
    lines += [f"        {advance};", "    }"]
    for i, v, name in sums:
        lines.append(f"    *(loose_vector *)(sums + {i} * pitch + {v} * LANES) = {name};")
    return "\n".join([*lines, "}"])


def micro_kernel_table(tile: Tile) -> str:
    lines = [
        "/* By the number of vectors, less one, and the number of rows. */",
        "static void (*const micro_kernels[VECTORS][ROWS + 1])(",
        "    int64_t depth, const element *a, const element *b, element *sums, int64_t pitch,",
        "    int goes_on) = {",
    ]
    for v in range(tile.vectors):
        names = ", ".join(f"[{rows}] = micro_{rows}x{v + 1}" for rows in tile.heights)
        lines.append(f"    {{{names}}},")
    return "\n".join([*lines, "};"])


def add_unpacked_lanes(tile: Tile) -> str:
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


def add_columns(name: str, count: int) -> str:
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
    lines.append("    }")
    for i in range(count):
        lines.append(f"    sums[{i}] += sum_of_lanes(&sum{i});")
    lines += [
        "    for (; k < depth; k++)",
        f"        for (int64_t i = 0; i < {count}; i++)",
        "            sums[i] += a[k] * from[lane[i] + k];",
    ]
    return "\n".join([*lines, "}"])
