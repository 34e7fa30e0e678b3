"""The text of a kernel in CUDA: loop nests by the writer, matmuls by the tile template.

Floor 4.
"""

from __future__ import annotations

from dataclasses import replace

from dlgrad.codegen.kernel import Gemm, Kernel
from dlgrad.codegen.render import render
from dlgrad.codegen.tiled_matmul import render_tiled
from dlgrad.cuda.dialect import CUDA

# A matmul takes its sizes as an array in device memory: their number depends on the ranks.
_SIZES = "const long long *"
_MATMUL = replace(CUDA, more_parameters=(f"{_SIZES}sizes",))


def source_of(kernel: Kernel | Gemm) -> str:
    """The source of one kernel."""
    if isinstance(kernel, Gemm):
        return render_tiled(kernel, _MATMUL, _SIZES)
    return render(kernel, CUDA)
