"""Places intermediate results in one block of memory, reusing what is no longer needed.

Floor 2.  In: for each intermediate its size and the steps of its first and last use.  Out: an
offset for each, and the size of the block.  Results whose lifetimes overlap never overlap in
memory.
"""

from __future__ import annotations

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


# Where a result goes if not over the memory of a leaf: into memory of its own, or into memory
# that its storage has and nobody will read.
NEW, FREE = -1, -2


class Lifetime:
    """`nbytes` of memory that is used from step `first` to step `last`, both included."""

    __slots__ = ("nbytes", "first", "last")

    def __init__(self, nbytes: int, first: int, last: int) -> None:
        self.nbytes = nbytes
        self.first = first
        self.last = last


def align(nbytes: int) -> int:
    """`nbytes` rounded up to the alignment."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def place(lifetimes: list[Lifetime]) -> tuple[list[int], int]:
    """The offset of each lifetime's memory, and the size of the whole block.

    The largest is placed first; each takes the lowest gap that is free for all of its life.
    """
    offsets = [0] * len(lifetimes)
    placed: list[int] = []
    total = 0
    for number in sorted(range(len(lifetimes)), key=lambda n: -lifetimes[n].nbytes):
        mine = lifetimes[number]
        busy = sorted(
            (offsets[other], offsets[other] + align(lifetimes[other].nbytes))
            for other in placed
            if lifetimes[other].first <= mine.last and mine.first <= lifetimes[other].last
        )
        offset = 0
        for start, end in busy:
            if offset + align(mine.nbytes) <= start:
                break
            offset = max(offset, end)
        offsets[number] = offset
        total = max(total, offset + align(mine.nbytes))
        placed.append(number)
    return offsets, total
