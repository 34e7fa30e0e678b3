"""The device "null": everything is planned and rendered, nothing is computed.

Floor 4.  For looking at kernels, and for tests of what the engine does.  Memory is numbered
and counted but holds nothing: what is read back is zeros.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlgrad.c_src.dialect import C
from dlgrad.c_src.matmul_source import render_gemm
from dlgrad.codegen.kernel import Caps, Gemm, Kernel
from dlgrad.codegen.render import render
from dlgrad.dtype import ALL_DTYPES
from dlgrad.runtime.device import Backend, Launch


@dataclass
class NullProgram:
    """A kernel as text, and how often it was launched."""

    name: str
    source: str
    launches: int = 0


class NullBackend(Backend):
    """Counts: `programs` by name, and the bytes that are allocated now."""

    def __init__(self) -> None:
        self.name = "null"
        self.caps = Caps(ALL_DTYPES)
        self.programs: dict[str, NullProgram] = {}
        self.allocated = 0
        self.handles = itertools.count(1)

    def allocate(self, nbytes: int) -> int:
        self.allocated += nbytes
        return next(self.handles)

    def free(self, address: int, nbytes: int) -> None:
        self.allocated -= nbytes

    def copy_in(self, address: int, offset: int, data: memoryview) -> None:
        """The bytes go nowhere."""

    def copy_out(self, address: int, offset: int, data: memoryview) -> None:
        target = data.cast("B")
        target[:] = bytes(len(target))

    def compile(self, kernels: Sequence[Kernel | Gemm]) -> list[Any]:
        return [self.program(kernel) for kernel in kernels]

    def program(self, kernel: Kernel | Gemm) -> NullProgram:
        known = self.programs.get(kernel.name)
        if known is None:
            if isinstance(kernel, Gemm):
                source = render_gemm(kernel, self.caps)
            else:
                source = render(kernel, C)
            known = self.programs[kernel.name] = NullProgram(kernel.name, source)
        return known

    def prepare(self, launches: Sequence[Launch]) -> Any:
        return tuple(launches)

    def run(self, sequence: Any, slots: Sequence[int], scalars: Sequence[float]) -> None:
        for launch in sequence:
            launch.program.launches += 1

    def synchronize(self) -> None:
        """Nothing is ever under way."""

    def describe(self) -> str:
        return "null: renders kernels as C and computes nothing"


def open_backend(index: int) -> Backend:
    """The one device "null"."""
    return NullBackend()
