"""Nested lists, tuples and dicts of tensors as flat lists, and back.

Floor 6.  A structure is what is left of a value when its tensors are taken out: `Leaf` stands in
the place of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dlgrad.core.base import TensorBase

Leaf = TensorBase  # what stands in a structure where a tensor was


def flatten(value: Any, tensors: list[Any]) -> Any:
    """The structure of nested lists, tuples and dicts; tensors go to the list in order."""
    if isinstance(value, TensorBase):
        tensors.append(value)
        return Leaf
    if isinstance(value, (list, tuple)):
        return type(value), [flatten(item, tensors) for item in value]
    if isinstance(value, dict):
        return dict, [(key, flatten(item, tensors)) for key, item in value.items()]
    return value


def unflatten(structure: Any, tensors: list[Any]) -> Any:
    """The inverse of `flatten`, with other things in the places of the tensors."""
    return rebuilt(structure, iter(tensors))


def rebuilt(structure: Any, tensors: Iterator[Any]) -> Any:
    """The value of a structure, with what the iterator gives in the places of the tensors."""
    if structure is Leaf:
        return next(tensors)
    if is_branch(structure):
        kind, items = structure
        if kind is dict:
            return {key: rebuilt(item, tensors) for key, item in items}
        values = [rebuilt(item, tensors) for item in items]
        return kind(*values) if hasattr(kind, "_fields") else kind(values)
    return structure


def is_branch(structure: Any) -> bool:
    """Whether a structure is that of a list, a tuple or a dict."""
    return (
        isinstance(structure, tuple) and len(structure) == 2 and isinstance(structure[0], type)
    )


def map_tensors(function: Callable[[Any], Any], value: Any) -> Any:
    """`value` with `function(tensor)` in the place of every tensor."""
    tensors: list[Any] = []
    structure = flatten(value, tensors)
    return unflatten(structure, [function(tensor) for tensor in tensors])
