"""Sliding windows over the last dimensions of a tensor, as a view of its memory.

Floor 6.  Pooling and convolution read their input through `windows`: a view whose elements
overlap, so that no copy of the input is made.  Its derivative adds the windows up again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dlgrad.core.apply import finish
from dlgrad.core.base import node_of
from dlgrad.core.gradients import scatter_view
from dlgrad.core.tape import ROWS, Derivative, Entry, Row
from dlgrad.errors import ShapeError
from dlgrad.lazy import graph
from dlgrad.lazy.shape import Shape, View

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


class Geometry(NamedTuple):
    """How windows lie on the last `len(kernel)` dimensions; `padding` is (before, after) each."""

    kernel: Shape
    stride: Shape
    padding: tuple[tuple[int, int], ...]
    dilation: Shape

    @property
    def rank(self) -> int:
        return len(self.kernel)

    def counts(self, sizes: Shape, name: str, ceil_mode: bool = False) -> Shape:
        """How many windows fit into spatial `sizes`; ShapeError where none does."""
        found = []
        for size, kernel, stride, (before, after), dilation in zip(
            sizes, self.kernel, self.stride, self.padding, self.dilation, strict=True
        ):
            reach = dilation * (kernel - 1) + 1
            room = size + before + after - reach
            if room < 0:
                raise ShapeError(
                    f"{name}: Calculated padded input size per channel: "
                    f"{size + before + after}. Kernel size: {reach}. Kernel size can't be "
                    "greater than actual input size"
                )
            count = (-(-room // stride) if ceil_mode else room // stride) + 1
            if ceil_mode and (count - 1) * stride >= size + before:
                count -= 1  # the last window must start inside the input or its left padding
            found.append(count)
        return tuple(found)


def window_view(shape: Shape, counts: Shape, geometry: Geometry) -> View:
    """The view [..., counts..., kernel...] of a row-major block of `shape` (already padded)."""
    rank = geometry.rank
    whole = View.contiguous(shape)
    lead, spatial = whole.strides[:-rank], whole.strides[-rank:]
    outer = tuple(s * step for s, step in zip(spatial, geometry.stride, strict=True))
    inner = tuple(s * step for s, step in zip(spatial, geometry.dilation, strict=True))
    return View(shape[:-rank] + counts + geometry.kernel, lead + outer + inner)


def windows(x: Tensor, counts: Shape, geometry: Geometry) -> Tensor:
    """[..., counts..., kernel...]: element (w, k) is x[..., w * stride + k * dilation]."""
    view = window_view(x._shape, counts, geometry)
    return finish("windows", view, graph.view(node_of(x), view), (x,))


def _add_windows(g: Tensor, e: Entry) -> Tensor:
    return add_windows(g, e.source_shape(0), e.arg)


def add_windows(g: Tensor, shape: Shape, view: View) -> Tensor:
    """Zeros of `shape` with every window of `g` added at its place."""
    return scatter_view(g, shape, view)


ROWS["windows"] = Row("Unfold", Derivative("", _add_windows))
