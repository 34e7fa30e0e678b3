"""From a group of fused nodes to loop kernels.

Floor 3.  In: a `Group` of element-wise work and reductions.  Out: one `KernelCall`, or two
where a long reduction to few results is split into parts that threads can share.

The dimensions of the group become loops in one of these forms:
- points: no reduction, or one over so few elements (a pooling window) that it is written out;
- rows: the reduced dimensions are the inner loops, one row after the other;
- columns: memory runs along a dimension that stays, so the reduction is the outer loop and a
  tile of columns accumulates side by side (for these three see `lower_loops.py`);
- tiles, where reads cross the results: see `lower_tiles.py`;
- parts of rows or columns: see `lower_split.py`.
"""

from __future__ import annotations

from dlgrad.codegen.kernel import Caps
from dlgrad.codegen.lower_loops import LoopKernel
from dlgrad.codegen.lower_split import SplitKernel
from dlgrad.codegen.lower_tiles import TileKernel, crossed_axis
from dlgrad.codegen.lower_values import KernelCall
from dlgrad.lazy.group import Group
from dlgrad.lazy.schedule import Schedule


def lower_loops(group: Group, schedule: Schedule, caps: Caps) -> list[KernelCall]:
    """The launches that compute one group of element-wise work and reductions."""
    kernel = LoopKernel(group, schedule, caps)
    if crossed_axis(kernel) is not None:
        return [TileKernel(group, schedule, caps).lower()]
    if kernel.is_split():
        return SplitKernel(group, schedule, caps).lower_parts()
    return [kernel.lower()]
