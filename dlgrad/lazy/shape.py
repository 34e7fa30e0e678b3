"""Shapes and strided views: pure integer arithmetic, no tensors.

Floor 1.  A `View` says which elements of a row-major block of memory a tensor shows: sizes,
strides and an offset, all counted in elements.  Every movement that PyTorch does without a
copy is a method here that returns another View.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import NamedTuple

from dlgrad.errors import ShapeError

Shape = tuple[int, ...]


@lru_cache(maxsize=4096)
def contiguous_strides(shape: Shape) -> Shape:
    """The strides of a row-major block: the last dimension moves fastest."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


@lru_cache(maxsize=4096)
def broadcast_shapes(*shapes: Shape) -> Shape:
    """The shape that all `shapes` expand to, by PyTorch's rule; ShapeError if there is none."""
    rank = max((len(shape) for shape in shapes), default=0)
    result = [1] * rank
    for shape in shapes:
        for i, size in enumerate(reversed(shape), start=1):
            if size == 1 or result[-i] == size:
                continue
            if result[-i] != 1:
                given = " and ".join(str(tuple(s)) for s in shapes)
                raise ShapeError(
                    f"shapes {given} cannot be broadcast together: sizes {result[-i]} and {size} "
                    f"differ at dimension {rank - i}, and neither is 1"
                )
            result[-i] = size
    return tuple(result)


class View(NamedTuple):
    """Element (i0, i1, ...) of the view is element offset + sum(i * stride) of the memory."""

    shape: Shape
    strides: Shape
    offset: int = 0

    @staticmethod
    def contiguous(shape: Shape) -> View:
        return _contiguous_view(shape)

    @property
    def numel(self) -> int:
        return prod(self.shape)

    @property
    def is_contiguous(self) -> bool:
        """Row-major without gaps, or empty; dimensions of size 1 may have any stride."""
        return _is_contiguous(self.shape, self.strides)

    @property
    def span(self) -> tuple[int, int]:
        """The lowest and highest memory element shown; (0, -1) when the view is empty."""
        if self.numel == 0:
            return 0, -1
        low = high = self.offset
        for size, stride in zip(self.shape, self.strides, strict=True):
            reach = (size - 1) * stride
            low, high = low + min(reach, 0), high + max(reach, 0)
        return low, high

    @property
    def overlaps_itself(self) -> bool:
        """True when two index tuples may show the same memory element (a safe guess)."""
        reach = 0
        dims = sorted(
            (abs(stride), size)
            for size, stride in zip(self.shape, self.strides, strict=True)
            if size > 1
        )
        for stride, size in dims:
            if stride <= reach:
                return True
            reach += stride * (size - 1)
        return False

    def permute(self, order: Shape) -> View:
        shape = tuple(self.shape[i] for i in order)
        return View(shape, tuple(self.strides[i] for i in order), self.offset)

    def expand(self, shape: Shape) -> View:
        """Repeats dimensions of size 1 with stride 0; `shape` may have more dimensions in front."""
        lead = len(shape) - len(self.shape)
        strides = [0] * lead
        for size, stride, target in zip(self.shape, self.strides, shape[lead:], strict=True):
            if size != target and size != 1:
                raise ShapeError(f"cannot expand shape {self.shape} to {shape}")
            strides.append(stride if size == target else 0)
        return View(tuple(shape), tuple(strides), self.offset)

    def slice(self, dim: int, start: int, length: int, step: int = 1) -> View:
        """`length` elements of dimension `dim` from `start`, `step` apart (negative goes back)."""
        shape, strides = list(self.shape), list(self.strides)
        offset = self.offset + start * strides[dim] if length else self.offset
        shape[dim], strides[dim] = length, strides[dim] * step
        return View(tuple(shape), tuple(strides), offset)

    def select(self, dim: int, index: int) -> View:
        """Index `index` of dimension `dim`, which disappears."""
        shape = self.shape[:dim] + self.shape[dim + 1 :]
        strides = self.strides[:dim] + self.strides[dim + 1 :]
        return View(shape, strides, self.offset + index * self.strides[dim])

    def insert(self, dim: int) -> View:
        """A new dimension of size 1 at `dim`."""
        step = self.shape[dim] * self.strides[dim] if dim < len(self.shape) else 1
        return View(
            self.shape[:dim] + (1,) + self.shape[dim:],
            self.strides[:dim] + (step,) + self.strides[dim:],
            self.offset,
        )

    def reshape(self, shape: Shape) -> View | None:
        """The same elements in the same order under another shape, or None if strides cannot.

        `shape` must have the same number of elements.
        """
        if self.is_contiguous:
            return View(shape, contiguous_strides(shape), self.offset)
        # Merge the old dimensions into runs that lie evenly in memory, then cut the runs anew.
        runs: list[tuple[int, int]] = []  # (size, stride of the fastest)
        for size, stride in zip(self.shape, self.strides, strict=True):
            if size == 1:
                continue
            if runs and runs[-1][1] == size * stride:
                runs[-1] = (runs[-1][0] * size, stride)
            else:
                runs.append((size, stride))
        strides = [0] * len(shape)
        remaining, step = 1, 0
        for dim in range(len(shape) - 1, -1, -1):
            size = shape[dim]
            if size == 1:
                strides[dim] = step * remaining if remaining > 1 else (step or 1)
                continue
            if remaining == 1:
                remaining, step = runs.pop()
            if remaining % size:
                return None
            strides[dim] = step
            step *= size
            remaining //= size
        return View(shape, tuple(strides), self.offset)

    def compose(self, inner: View) -> View | None:
        """This view of the row-major elements that `inner` shows, as one view of the memory.

        None when one set of strides cannot say it.
        """
        if inner.is_contiguous:
            return View(self.shape, self.strides, self.offset + inner.offset)
        # Each dimension of self steps through the row-major index space of inner.  Cut the step
        # and the offset into the digits of inner.shape; the digits must never carry.
        sizes = inner.shape
        start = _digits(self.offset, sizes)
        if start is None:
            return None
        low, high = list(start), list(start)
        strides = []
        for size, stride in zip(self.shape, self.strides, strict=True):
            if size <= 1:
                strides.append(0)
                continue
            step = _step_digits(stride, size, sizes)
            if step is None:
                return None
            memory_step = 0
            for k, digit in enumerate(step):
                reach = digit * (size - 1)
                low[k] += min(reach, 0)
                high[k] += max(reach, 0)
                memory_step += digit * inner.strides[k]
            strides.append(memory_step)
        for k, size in enumerate(sizes):
            if low[k] < 0 or high[k] >= size:
                return None
        offset = inner.offset + sum(d * s for d, s in zip(start, inner.strides, strict=True))
        return View(self.shape, tuple(strides), offset)


class Layouts(NamedTuple):
    """The shape of a block of memory, and two views of it: one tensor, and another made of it."""

    shape: Shape
    before: View
    after: View


@lru_cache(maxsize=4096)
def _is_contiguous(shape: Shape, strides: Shape) -> bool:
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1:
            if stride != expected:
                return 0 in shape
            expected *= size
    return True


@lru_cache(maxsize=4096)
def _contiguous_view(shape: Shape) -> View:
    return View(shape, contiguous_strides(shape))


def _digits(index: int, sizes: Shape) -> list[int] | None:
    """The multi-dimensional index of element `index` of a row-major block; None if outside."""
    digits = [0] * len(sizes)
    for k in range(len(sizes) - 1, -1, -1):
        if sizes[k] == 0:
            return None
        index, digits[k] = divmod(index, sizes[k])
    return digits if index == 0 else None


def _step_digits(stride: int, count: int, sizes: Shape) -> list[int] | None:
    """`stride` as signed per-dimension steps that stay inside `sizes` over `count` places."""
    digits = [0] * len(sizes)
    sign = -1 if stride < 0 else 1
    rest = abs(stride)
    for k, place in enumerate(contiguous_strides(sizes)):
        if sizes[k] == 1:
            continue
        digit, rest = divmod(rest, place)
        digits[k] = sign * digit
    return digits if rest == 0 else None
