"""Ints, slices, None and Ellipsis as places along dimensions, and the view that they make.

Floor 6.
"""

from __future__ import annotations

from typing import Any

from dlgrad.lazy.shape import View


def places_of(items: tuple[Any, ...], shape: tuple[int, ...]) -> list[Any]:
    """The items, one per dimension or None: Ellipsis filled up, every number checked."""
    used = sum(1 for item in items if item is not None and item is not Ellipsis)
    if used > len(shape):
        raise IndexError(
            f"too many indices for tensor of dimension {len(shape)}"
            if shape
            else "invalid index of a 0-dim tensor. Use `tensor.item()` to convert a 0-dim tensor "
            "to a Python number"
        )
    dots = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    whole = [slice(None)] * (len(shape) - used)
    at = dots[0] if dots else len(items)
    filled = [*items[:at], *whole, *items[at + 1 :]]
    dim = 0
    places: list[Any] = []
    for item in filled:
        if item is None:
            places.append(None)
            continue
        size = shape[dim]
        if isinstance(item, slice):
            if item.step is not None and item.step <= 0:
                raise ValueError("step must be greater than zero; flip(dim) reverses")
            start, stop, step = item.indices(size)
            places.append((start, max(-(-(stop - start) // step), 0), step))
        else:
            if not -size <= item < size:
                raise IndexError(
                    f"index {item} is out of bounds for dimension {dim} with size {size}"
                )
            places.append(item + size if item < 0 else item)
        dim += 1
    return places


def apply_places(places: list[Any], view: View) -> View:
    """`view` cut down to `places`, of `places_of`."""
    dim = 0
    for place in places:
        if place is None:
            view = view.insert(dim)
            dim += 1
        elif isinstance(place, tuple):
            start, length, step = place
            if step != 1 or start or length != view.shape[dim]:
                view = view.slice(dim, start, length, step)
            dim += 1
        else:
            view = view.select(dim, place)
    return view
