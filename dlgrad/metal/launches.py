"""Launches with what stays the same from run to run made once.

Floor 4.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from dlgrad.codegen.kernel import Gemm, Kernel
from dlgrad.codegen.tiled_matmul import jobs
from dlgrad.dtype import FLOAT, DType
from dlgrad.errors import DeviceError
from dlgrad.metal.dialect import GROUP
from dlgrad.runtime.device import Launch

MAX_GROUPS = 2**32 - 1
WORD = 2**64


@dataclass(frozen=True)
class Program:
    """A kernel on the device: its compute pipeline, and what it was made from."""

    kernel: Kernel | Gemm
    pipeline: int


class PreparedLaunch:
    """One launch: program, number of groups, the bytes of its sizes."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.program: Program = launch.program
        self.groups = groups_of(launch)
        sizes = launch.sizes
        if isinstance(self.program.kernel, Kernel):
            sizes = (*sizes, launch.work)
        self.sizes = struct.pack(f"<{len(sizes)}q", *sizes)

    def numbers(self, scalars: Sequence[float]) -> bytes:
        """The words of the numbers, of which `scalars` may give new ones; never empty."""
        words = []
        for position, dtype in enumerate(self.program.kernel.scalars):
            source = self.launch.scalar_slots[position] if self.launch.scalar_slots else -1
            number = scalars[source] if source >= 0 else self.launch.scalars[position]
            words.append(_word(number, dtype))
        return b"".join(words) or bytes(8)


def groups_of(launch: Launch) -> int:
    """How many thread groups a launch takes; DeviceError where that is more than a grid has."""
    kernel = launch.program.kernel
    if isinstance(kernel, Gemm):
        groups = jobs(launch.sizes)
    elif kernel.cooperative:
        groups = launch.work
    else:
        groups = -(-launch.work // GROUP)
    if groups > MAX_GROUPS:
        raise DeviceError(
            f"{kernel.name} needs {groups} thread groups, a Metal grid has at most {MAX_GROUPS}; "
            "work on smaller pieces of the tensors"
        )
    return groups


def _word(number: float, dtype: DType) -> bytes:
    """A number as the dialect reads it: the bits of a float32, or a 64-bit integer."""
    if dtype.kind == FLOAT:
        try:
            return struct.pack("<fi", number, 0)
        except OverflowError:  # beyond float32: an infinity
            return struct.pack("<fi", float("inf") if number > 0 else float("-inf"), 0)
    return struct.pack("<Q", int(number) % WORD)
