"""What a language looks like to the writer: pure data that a backend fills in.

Floor 3.  `render.py` reads a `Dialect` and prints loop IR in it; `c_src/`, `metal/` and `cuda/`
each hold one.  What the C family has in common (operators, integer arithmetic, clamping casts)
is not here but in `render.py` and `helper_source.py`; a dialect overrides single entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dlgrad.lazy.ops import ElementwiseOps


@dataclass(frozen=True)
class Dialect:
    """A C-like language.

    Patterns are `str.format` strings; the names that each may use stand beside it.  Where a
    text mentions a name of `helpers`, the writer puts that helper in front of the kernel, so a
    pattern may call any helper freely.

    Types.  `values` maps a dtype's name to the type of a number at work, `elements` to the
    type of an element in memory (bool is a byte of 0 or 1).  A dtype that is not in `values`
    is refused with DTypeError.  The 16-bit floats are only ever loaded, stored and converted:
    `widen` and `narrow` go between one of them and float32.

    Calls.  Each parameter of a kernel is declared by `input_parameter` or `output_parameter`
    ({type} {name} {position}), each integer by `size_parameter`, each number by
    `scalar_parameter` ({type} {name} {position}); an empty pattern declares nothing.  Then
    come `more_parameters` ({buffers}: how many buffers there are, {sizes} and {scalars}
    likewise).  At the start of the body the patterns `*_declaration` take the same names, for
    languages that receive arrays.  `scalar_declaration` is used for floats, and for the other
    dtypes `integer_scalar_declaration`.

    Parallel range.  With `thread_index` empty, the function does the part [begin, end) of the
    flattened range.  Otherwise one thread does one place: `thread_index` is its place,
    `work_declaration` ({sizes}) makes the name `work`, the length of the range, known, and
    the writer adds the bounds check.  A cooperative kernel takes `group_index` as its place;
    the `group_size` threads of the group (a power of two), numbered `group_lane`, share the
    outermost REDUCE and LANES loops; `shared_array` ({type} {name} {size}) and `barrier` serve
    the combining.
    """

    name: str
    extension: str  # of a source file, with the dot

    # Types and numbers
    values: Mapping[str, str]
    elements: Mapping[str, str]
    index: str  # the signed 64-bit integer of loop counters
    suffixes: Mapping[str, str]  # dtype name -> literal suffix; none for the others
    infinity: Mapping[str, str]  # float dtype name -> text
    nan: Mapping[str, str]
    widen: Mapping[str, str]  # half dtype name -> pattern of {0}
    narrow: Mapping[str, str]
    bitcast: str  # {0} {source} {target} (short names) {type}

    # Operations; an entry replaces the writer's own rule.  Patterns of {0}, {1}, {2}
    operations: Mapping[tuple[ElementwiseOps, str], str]
    remainder: Mapping[str, str]  # float dtype name -> C's fmod, pattern of {0}, {1}
    helpers: Mapping[str, str]  # name -> text that defines it; see helper_source.py
    helper_prefix: str  # in front of the type of a helper function
    signed_wraps: bool  # signed overflow is defined to wrap around

    # The kernel function
    opening: str  # {name} {parameters}
    input_parameter: str = ""
    output_parameter: str = ""
    size_parameter: str = ""
    scalar_parameter: str = ""
    more_parameters: tuple[str, ...] = ()
    input_declaration: str = ""
    output_declaration: str = ""
    size_declaration: str = ""
    scalar_declaration: str = ""
    integer_scalar_declaration: str = ""

    # The parallel range
    thread_index: str = ""
    work_declaration: str = ""
    group_index: str = ""
    group_lane: str = ""
    group_size: int = 1
    shared_array: str = ""
    barrier: str = ""

    # Vector loops; empty where the language has none
    simd: str = ""  # the line above a loop without dependences
    simd_reduction: str = ""  # added to it: {operator} {names}

    # Results written past the caches, by way of a block that stays in them
    stream: str = ""  # copies such a block: {to} {block} {count} {type}
    stream_end: str = ""

    # Fills a block of a tile from memory that lies crosswise, {columns} lines {step} apart of
    # {rows} elements each; for elements of four bytes.  {block} {start} {step} {rows} {columns}
    turn: str = ""
    turned_side: int = 0  # of the tile that it is for

    reserved: frozenset[str] = field(default=frozenset())  # names that a kernel must not use
