"""What a captured function was called with: how two calls are compared, and shown to people.

Floor 6.  A structure is what `trees.flatten` leaves of (args, kwargs) when the tensors are taken
out; a signature is what has to stay the same of a tensor.
"""

from __future__ import annotations

from typing import Any

from dlgrad.core.base import TensorBase
from dlgrad.core.watched import changed
from dlgrad.dtype import DType


def signature(tensor: TensorBase) -> tuple[Any, ...]:
    return tensor._shape, tensor.dtype, tensor._storage.device


def show(expected: tuple[Any, ...]) -> str:
    shape, dtype, device = expected
    return f"{dtype.name}{list(shape)} on {device}"


def show_arguments(structure: Any) -> str:
    """What `flatten` made of (args, kwargs), as it looks in a call."""
    _, ((_, args), (_, kwargs)) = structure
    parts = [show_argument(value) for value in args]
    return f"({', '.join(parts + [f'{key}={show_argument(value)}' for key, value in kwargs])})"


def show_argument(structure: Any) -> str:
    if structure is TensorBase:
        return "<tensor>"
    if isinstance(structure, tuple) and len(structure) == 2 and isinstance(structure[0], type):
        kind, items = structure
        if kind is dict:
            pairs = (f"{key!r}: {show_argument(item)}" for key, item in items)
            return f"{{{', '.join(pairs)}}}"
        inner = ", ".join(map(show_argument, items))
        return f"[{inner}]" if issubclass(kind, list) else f"({inner})"
    return shorten(structure)


def show_autocast(dtypes: dict[str, DType]) -> str:
    """What `autocast_dtypes` gave."""
    shown = ", ".join(f"{dtype.name} on {kind}" for kind, dtype in dtypes.items())
    return f"with autocast to {shown}" if shown else "without autocast"


def shorten(value: Any) -> str:
    text = repr(value) if not isinstance(value, TensorBase) else "another tensor"
    return text if len(text) <= 60 else text[:57] + "..."


def holds_only_tensors(structure: Any) -> bool:
    """Whether nothing but tensors and names is in what `flatten` gave."""
    if isinstance(structure, (tuple, list)):
        return all(map(holds_only_tensors, structure))
    return isinstance(structure, (type, str))


def structure_changed(a: Any, b: Any) -> bool:
    """Whether two results of `flatten` differ, in type or in value."""
    if a is b:
        return False
    if type(a) is not type(b):
        return True
    if isinstance(a, (tuple, list)):
        if len(a) != len(b):
            return True
        return any(x is not y and structure_changed(x, y) for x, y in zip(a, b, strict=True))
    try:
        return bool(changed(a, b))
    except Exception:  # values that cannot be compared count as changed
        return True
