"""The text of a kernel in MSL: loop nests by the writer, matmuls by the tile template.

Floor 4.
"""

from __future__ import annotations

from dlgrad.kernel import Gemm, Kernel
from dlgrad.metal.dialect import METAL
from dlgrad.render import render
from dlgrad.tiled_matmul import render_tiled


def source_of(kernel: Kernel | Gemm) -> str:
    """The source of one kernel."""
    if isinstance(kernel, Gemm):
        return render_tiled(kernel, METAL, "constant long *")
    return render(kernel, METAL)
