"""Padding layers: numbers around the last dimensions, or the input's own elements.

Floor 7.  `padding` is one number for all sides, or (before, after) of the last dimension, then
of the one before it, and so on.  Negative numbers crop.
"""

from __future__ import annotations

from collections.abc import Sequence

import dlgrad.nn.functional as F
from dlgrad.nn.module import Module
from dlgrad.tensor import Tensor

Padding = int | Sequence[int]


class _Padding(Module):
    """Subclasses say how many dimensions they pad, and with what."""

    RANK: int
    MODE: str

    def __init__(self, padding: Padding) -> None:
        super().__init__()
        sides = (padding,) * (2 * self.RANK) if isinstance(padding, int) else tuple(padding)
        if len(sides) != 2 * self.RANK:
            raise ValueError(
                f"padding must be an int or {2 * self.RANK} ints for {type(self).__name__}, got "
                f"{padding!r}"
            )
        self.padding = sides

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.MODE)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Padding):
    MODE = "constant"

    def __init__(self, padding: Padding, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """`value` around the last dimension."""

    RANK = 1


class ConstantPad2d(_ConstantPad):
    """`value` around the last two dimensions."""

    RANK = 2


class ConstantPad3d(_ConstantPad):
    """`value` around the last three dimensions."""

    RANK = 3


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Padding) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_ZeroPad):
    """Zeros around the last dimension."""

    RANK = 1


class ZeroPad2d(_ZeroPad):
    """Zeros around the last two dimensions."""

    RANK = 2


class ZeroPad3d(_ZeroPad):
    """Zeros around the last three dimensions."""

    RANK = 3


class ReflectionPad1d(_Padding):
    """The last dimension mirrored at its ends, which are not repeated."""

    RANK, MODE = 1, "reflect"


class ReflectionPad2d(_Padding):
    """The last two dimensions mirrored at their ends, which are not repeated."""

    RANK, MODE = 2, "reflect"


class ReflectionPad3d(_Padding):
    """The last three dimensions mirrored at their ends, which are not repeated."""

    RANK, MODE = 3, "reflect"


class ReplicationPad1d(_Padding):
    """The ends of the last dimension repeated."""

    RANK, MODE = 1, "replicate"


class ReplicationPad2d(_Padding):
    """The ends of the last two dimensions repeated."""

    RANK, MODE = 2, "replicate"


class ReplicationPad3d(_Padding):
    """The ends of the last three dimensions repeated."""

    RANK, MODE = 3, "replicate"


class CircularPad1d(_Padding):
    """Each end of the last dimension continued by the other."""

    RANK, MODE = 1, "circular"


class CircularPad2d(_Padding):
    """Each end of the last two dimensions continued by the other."""

    RANK, MODE = 2, "circular"


class CircularPad3d(_Padding):
    """Each end of the last three dimensions continued by the other."""

    RANK, MODE = 3, "circular"
