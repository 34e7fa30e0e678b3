"""Kernels that read memory across its grain: copies of transposed views, and sums with them.

Floor 3.  In: a `Group` without reductions, some of whose reads run along another dimension
than its results.  Two dimensions are cut into square tiles.  In each, what lies crosswise is
first read in its own order into a block that stays in the nearest cache; then the results are
computed and written in theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dlgrad.codegen.kernel import (
    Accumulator,
    Assign,
    Caps,
    Expr,
    Index,
    Kernel,
    Literal,
    Load,
    Local,
    Loop,
    LoopKind,
    Stmt,
    loads_of,
)
from dlgrad.codegen.lower_space import SMALL_STRIDE, Access, Axis, LoopSpace
from dlgrad.codegen.lower_values import KernelCall
from dlgrad.dtype import DType, bool_
from dlgrad.lazy.graph import Node
from dlgrad.lazy.group import Group
from dlgrad.lazy.schedule import Schedule
from dlgrad.lazy.shape import View

SIDE = 16  # places of a tile along each of its two dimensions: a line of cache of float32
FEWEST_PLACES = 64  # along each, for tiles to be worth it
MOST_BYTES = 16 << 20  # of memory that is moved, for results that are left in the caches
CACHE_LINE = 64  # bytes
# Where the lines that are read begin within so many bytes of each other, the processor foresees
# the next when one goes down them; where they are longer, it does when one goes along them.
SHORT_LINE = 1024


def crossed_axis(space: LoopSpace) -> Axis | None:
    """The dimension along which some reads run while the results run along the last one."""
    if space.reduces or not space.schedule.optimize or space.caps.group_size > 1:
        return None
    if len(space.axes) < 2 or any(axis.reduced for axis in space.axes):
        return None
    last = space.axes[-1]
    stored = [space.store_access(node) for node in space.group.stores]
    if last.size < FEWEST_PLACES or any(space.stride(access, last) != 1 for access in stored):
        return None
    for axis in space.axes[:-1]:
        if axis.size >= FEWEST_PLACES and any(
            is_crosswise(space, access, axis) for access in space.accesses.values()
        ):
            return axis
    return None


def is_crosswise(space: LoopSpace, access: Access, axis: Axis) -> bool:
    """Whether neighbours along `axis` are neighbours in memory, and those along the last far."""
    if access.is_counter or access.dtype.is_half:
        return False
    far = abs(space.stride(access, space.axes[-1])) > SMALL_STRIDE
    return far and space.stride(access, axis) == 1


def buffers_read(body: Sequence[Stmt]) -> set[int]:
    """The numbers of the buffers that statements load from."""
    found: set[int] = set()
    for stmt in body:
        if isinstance(stmt, Loop):
            found |= buffers_read(stmt.body)
        elif not isinstance(stmt, Accumulator):
            found |= {load.buffer for load in loads_of(stmt.value)}
    return found


class TileKernel(LoopSpace):
    """Lowers one group whose reads cross its results."""

    def __init__(self, group: Group, schedule: Schedule, caps: Caps) -> None:
        super().__init__(group, schedule, caps)
        crossed = crossed_axis(self)
        assert crossed is not None
        self.crossed = crossed
        self.blocks: dict[int, str] = {}  # id of an access -> the block that holds its tile

    def lower(self) -> KernelCall:
        last, crossed = self.axes[-1], self.crossed
        for axis in (crossed, last):
            axis.tile = (f"tile_{axis.name}", SIDE)
        self.name_parameters([])
        body: list[Stmt] = []
        for access in list(self.accesses.values()):
            if is_crosswise(self, access, crossed) and not self.is_written(access):
                body += self.read_block(access)
        self.current = self.outer = self.inner
        for node in self.group.stores:
            self.inner.body.append(self.store(node))
        body += self.tile_loops(crossed, last, tuple(self.inner.body))
        streams = self.can_stream(body)
        follows_reads = streams and self.reads_long_lines() and self.stores_whole_lines()
        call = self.finish(self.wrap(body, follows_reads), self.parallel_work())
        if streams:
            assert isinstance(call.kernel, Kernel)
            kernel = replace(call.kernel, name=f"{call.kernel.name}_streamed", stream=SIDE)
            return replace(call, kernel=kernel)
        return call

    def can_stream(self, body: Sequence[Stmt]) -> bool:
        """Whether the results are worth writing past the caches, and may be."""
        results = [parameter for parameter in self.parameters if parameter.is_output]
        return (
            self.bytes_moved() > MOST_BYTES
            and all(parameter.dtype.itemsize >= 4 for parameter in results)
            and not any(self.parameters[buffer].is_output for buffer in buffers_read(body))
        )

    def reads_long_lines(self) -> bool:
        """Whether what is read crosswise lies in lines that are long enough to be followed."""
        last = self.axes[-1]
        return all(
            abs(self.stride(access, last)) * access.dtype.itemsize > SHORT_LINE
            for access in self.accesses.values()
            if is_crosswise(self, access, self.crossed)
        )

    def stores_whole_lines(self) -> bool:
        """Whether the tiles of the results have no line of cache in common."""
        stored = [self.store_access(node) for node in self.group.stores]
        return all(
            stride * access.dtype.itemsize % CACHE_LINE == 0
            for access in stored
            for stride in (access.offset, *(self.stride(access, axis) for axis in self.axes[:-1]))
        )

    def is_written(self, access: Access) -> bool:
        return self.parameters[self.parameter(access.memory)].is_output

    def read_block(self, access: Access) -> list[Stmt]:
        """Fills a block with a tile of memory, in the order of that memory."""
        dtype = access.dtype
        name = self.fresh(f"{access.name}_block")
        zero = Literal(False if dtype is bool_ else 0.0 if dtype.is_floating_point else 0, dtype)
        load = Load(self.parameter(access.memory), self.index(access), dtype)
        fill = Assign(name, load, self.place_in_block())
        self.blocks[id(access)] = name
        return [
            Accumulator(name, dtype, zero, SIDE * SIDE),
            *self.tile_loops(self.axes[-1], self.crossed, (fill,)),
        ]

    def place_in_block(self) -> Index:
        """The place of the current element: the block is in the order of the results."""
        return Index(((self.crossed.name, SIDE), (self.axes[-1].name, 1)))

    def load(self, memory: Node, view: View, dtype: DType) -> Expr:
        if not self.collecting:
            access = self.access(memory, self.frame_strides(view), view.offset, memory.dtype)
            block = self.blocks.get(id(access))
            if block is not None:
                return Local(block, dtype, self.place_in_block())
        return super().load(memory, view, dtype)

    # Loops --------------------------------------------------------------------------------------

    def tile_loops(self, outer: Axis, inner: Axis, body: tuple[Stmt, ...]) -> list[Stmt]:
        """The places of a tile, those along `inner` side by side."""
        loop = Loop(inner.name, self.extent(inner), LoopKind.LANES, body, inner.tile)
        return [Loop(outer.name, self.extent(outer), LoopKind.SERIAL, (loop,), outer.tile)]

    def wrap(self, body: list[Stmt], follows_reads: bool) -> tuple[Stmt, ...]:
        """The loops over tiles and over the other dimensions, shared out to threads.

        One tile follows another along the results, or else along what is read crosswise.
        """
        axes = self.axes
        if follows_reads:
            axes = [axis for axis in axes if axis.tile is None] + [axes[-1], self.crossed]
        result = tuple(body)
        for axis in reversed(axes):
            if axis.tile is None:
                result = (Loop(axis.name, self.extent(axis), LoopKind.PARALLEL, result),)
            else:
                result = (self.tile_loop(axis, result),)
        return result

    def parallel_work(self) -> int:
        work = 1
        for axis in self.axes:
            work *= axis.size if axis.tile is None else -(-axis.size // axis.tile[1])
        return work
