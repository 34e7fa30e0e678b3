"""The text of a kernel in MSL: loop nests by the writer, matmuls by the tile template.

Floor 4.
"""

from __future__ import annotations

from dlgrad.codegen.kernel import Gemm, Kernel
from dlgrad.codegen.render import render
from dlgrad.codegen.tiled_matmul import render_tiled
from dlgrad.metal.dialect import METAL


def source_of(kernel: Kernel | Gemm) -> str:
    """The source of one kernel."""
    if isinstance(kernel, Gemm):
        return render_tiled(kernel, METAL, "constant long *")
    return render(kernel, METAL)
