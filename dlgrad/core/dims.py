"""Dimension arguments: negative ones counted from the end, checked, with PyTorch's errors.

Floor 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlgrad.lazy.shape import Shape

LARGEST_INT = (1 << 63) - 1
# Some functions list places one by one in Python; this many take some seconds.
MOST_PLACES = 1 << 24


def wrap_dim(dim: int, ndim: int) -> int:
    """`dim` as a number from 0 to ndim - 1; IndexError when it is out of range."""
    if not isinstance(dim, int):
        if hasattr(dim, "__index__"):
            dim = dim.__index__()
        else:
            raise TypeError(f"dim must be an int, not {type(dim).__name__}")
    limit = max(ndim, 1)
    if not -limit <= dim < limit:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], "
            f"but got {dim})"
        )
    return dim + limit if dim < 0 else dim


def as_int(function: str, value: Any, argument: str) -> int:
    """An int that fits 64 bits; TypeError for other things, as a float or None."""
    if not isinstance(value, int):
        if not hasattr(value, "__index__"):
            raise TypeError(
                f"{function}(): argument '{argument}' must be int, not {type(value).__name__}"
            )
        value = value.__index__()
    if not -LARGEST_INT - 1 <= value <= LARGEST_INT:
        raise OverflowError(f"{function}(): argument '{argument}' does not fit 64 bits: {value}")
    return int(value)


def wrap_dims(dims: int | Sequence[int] | None, ndim: int) -> Shape:
    """Sorted non-negative dimensions; None or an empty sequence means all of them."""
    if dims is None:
        return tuple(range(ndim))
    if ndim > 64:
        raise RuntimeError(f"only tensors with up to 64 dims are supported, got {ndim}")
    if isinstance(dims, int):
        return (wrap_dim(dims, ndim),) if ndim else _check_scalar(dims)
    if not hasattr(dims, "__iter__"):
        raise TypeError(f"dim must be an int or a tuple of ints, not {type(dims).__name__}")
    wrapped = [wrap_dim(dim, ndim) for dim in dims]
    for dim in wrapped:
        if wrapped.count(dim) > 1:
            raise RuntimeError(f"dim {dim} appears multiple times in the list of dims")
    if not wrapped or ndim == 0:
        return tuple(range(ndim))
    return tuple(sorted(wrapped))


def _check_scalar(dim: int) -> Shape:
    wrap_dim(dim, 0)
    return ()


def check_count(name: str, count: int) -> None:
    """MemoryError where `count` places of the function `name` are too many to be listed."""
    if count > MOST_PLACES:
        raise MemoryError(
            f"{name}: {count:,} places are too many to be listed; the most are {MOST_PLACES:,}"
        )


def as_sizes(sizes: Sequence[Any]) -> Shape:
    """The ints of `f(2, 3)`, `f((2, 3))` and `f([2, 3])` alike; TypeError for other things."""
    if len(sizes) == 1 and not isinstance(sizes[0], int) and hasattr(sizes[0], "__iter__"):
        sizes = tuple(sizes[0])
    result = []
    for size in sizes:
        if not isinstance(size, int):
            if not hasattr(size, "__index__"):
                raise TypeError(f"sizes must be ints, got {size!r} of {type(size).__name__}")
            size = size.__index__()
        result.append(int(size))
    return tuple(result)


def sizes_given(sizes: Sequence[Any], named: Any) -> Shape:
    """The ints of `f(2, 3)`, `f((2, 3))` or of the keyword `named`, where that is not None."""
    return as_sizes(sizes if named is None else (named,))


def pair(value: int | Sequence[int], count: int, name: str) -> Shape:
    """An argument that is one int for all dimensions or one for each of `count`."""
    if isinstance(value, int):
        return (value,) * count
    values = as_sizes((value,))
    if len(values) == 1:
        return values * count
    if len(values) != count:
        raise RuntimeError(f"expected {name} to be an int or {count} ints, but got {values}")
    return values
