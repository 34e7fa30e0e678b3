"""Batches of lists of samples.

Floor 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlgrad.core.creation import tensor
from dlgrad.operators.joining import stack
from dlgrad.tensor import Tensor


def default_collate(samples: list[Any]) -> Any:
    """A batch of a list of samples.

    Tensors of one shape are stacked, numbers become a tensor, and the members of tuples, lists
    and dicts are collated one by one; strings and bytes stay a list.
    """
    if not samples:
        raise ValueError("a batch needs at least one sample")
    first = samples[0]
    if isinstance(first, Tensor):
        return stack(samples)
    if isinstance(first, (bool, int, float)):
        return tensor(samples)
    if isinstance(first, (str, bytes)):
        return samples
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, Sequence):
        lengths = {len(sample) for sample in samples}
        if len(lengths) > 1:
            raise ValueError(f"samples of different lengths {sorted(lengths)} make no batch")
        columns = [default_collate(list(column)) for column in zip(*samples, strict=True)]
        return type(first)(*columns) if hasattr(first, "_fields") else columns
    if _is_array(first):
        return stack([tensor(sample) for sample in samples])
    raise TypeError(
        f"samples of type {type(first).__name__} make no batch; expected tensors, numbers, "
        "strings, or tuples, lists and dicts of them; otherwise give a collate_fn"
    )


def default_convert(sample: Any) -> Any:
    """A sample with its arrays as tensors; what a loader without batches does to each."""
    if isinstance(sample, (Tensor, str, bytes)):
        return sample
    if isinstance(sample, Mapping):
        return {key: default_convert(member) for key, member in sample.items()}
    if isinstance(sample, tuple):
        members = [default_convert(member) for member in sample]
        return type(sample)(*members) if hasattr(sample, "_fields") else tuple(members)
    if isinstance(sample, list):
        return [default_convert(member) for member in sample]
    return tensor(sample) if _is_array(sample) else sample


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array_interface__") or hasattr(value, "__array__")
