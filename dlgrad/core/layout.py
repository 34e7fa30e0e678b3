"""The names of memory layouts that PyTorch users pass.

Floor 0.  The memory of a new tensor is always row-major; a kernel reads any strides at speed, so
`memory_format=` is a wish that changes no value and is taken as such.
"""

from __future__ import annotations


class memory_format:
    """How the dimensions of a tensor lie in memory."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"dlgrad.{self.name}"


class layout(memory_format):
    """Whether the elements of a tensor lie in memory one by one: here always."""

    __slots__ = ()


contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
strided = layout("strided")
