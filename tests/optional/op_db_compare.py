"""What `op_db.py` needs to set a sample of PyTorch's beside dlgrad: conversion and comparison."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

import op_db_table as table  # noqa: E402

import dlgrad  # noqa: E402
from dlgrad.core.host import export_bytes  # noqa: E402
from dlgrad.dtype import dtype_from_name  # noqa: E402


class Skip(Exception):
    """A sample that asks for what dlgrad leaves out; the message is the reason."""


class Mismatch(Exception):
    """What differs."""


# From PyTorch to dlgrad ---------------------------------------------------------------------------


class Converter:
    """Turns the arguments of one sample into dlgrad's; the same tensor becomes the same tensor."""

    def __init__(self, device: str | None = None) -> None:
        self.known: dict[int, Any] = {}
        self.leaves: list[tuple[torch.Tensor, Any]] = []
        self.device = device

    def __call__(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            if id(value) not in self.known:
                self.known[id(value)] = self.tensor(value)
            return self.known[id(value)]
        if isinstance(value, torch.dtype):
            return dtype_of(value)
        if isinstance(value, torch.device):
            return str(value)
        if isinstance(value, torch.Size):
            return tuple(value)
        if isinstance(value, (list, tuple)):
            return type(value)(self(item) for item in value)
        if isinstance(value, dict):
            return {key: self(item) for key, item in value.items()}
        if isinstance(value, slice):
            return slice(self(value.start), self(value.stop), self(value.step))
        if isinstance(value, complex):
            raise Skip("complex")
        if isinstance(value, (torch.memory_format, torch.layout, torch.Generator)):
            raise Skip(type(value).__name__)
        return value

    def tensor(self, value: torch.Tensor) -> Any:
        """The tensor over a copy of the whole memory, with the same strides."""
        if value.layout is not torch.strided:
            raise Skip("sparse")
        dtype = dtype_of(value.dtype)
        plain = value.detach()
        storage = plain.untyped_storage()
        whole = torch.empty(0, dtype=torch.uint8).set_(storage)  # type: ignore[call-overload]
        if 0 in value.shape or not whole.numel():
            made = dlgrad.empty(tuple(value.shape), dtype=dtype, device=self.device)
        else:
            data = bytearray(whole.numpy().tobytes())
            memory = dlgrad.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize],
                                       dtype=dtype)
            if self.device is not None:
                memory = memory.to(self.device)
            if plain.is_contiguous() and plain.numel() == memory.numel():
                made = memory.reshape(tuple(value.shape))
            else:
                made = memory.as_strided(
                    tuple(plain.shape), tuple(plain.stride()), plain.storage_offset()
                )
        made = made.detach()
        if value.requires_grad:
            made.requires_grad_()
            self.leaves.append((value, made))
        return made


def dtype_of(dtype: torch.dtype) -> Any:
    name = str(dtype).removeprefix("torch.")
    if "complex" in name:
        raise Skip("complex")
    try:
        return dtype_from_name(name)
    except TypeError:
        raise Skip(name) from None


def keywords(converter: Converter, given: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments without those that say nothing dlgrad could do otherwise."""
    result = {}
    for name, value in given.items():
        if name == "layout" and value in (None, torch.strided):
            continue
        if name == "memory_format" and value in (torch.contiguous_format, torch.preserve_format):
            continue
        if name == "device" or (name == "generator" and value is None):
            continue
        if name in ("out", "generator", "names"):
            raise Skip(f"{name}=")
        if name == "sparse" and value:
            raise Skip("sparse")
        result[name] = converter(value)
    return result


# Comparing ----------------------------------------------------------------------------------------


def leaves_of(value: Any) -> list[Any]:
    """The tensors and numbers of a result, in order."""
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in leaves_of(item)]
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves_of(item)]
    return [value]


def torch_of(mine: Any) -> torch.Tensor:
    """dlgrad's tensor as PyTorch's, by its bytes."""
    mine = mine.detach().contiguous()
    dtype = getattr(torch, mine.dtype.name)
    shape = tuple(mine.shape)
    if 0 in shape:
        return torch.empty(shape, dtype=dtype)
    data = bytearray(export_bytes(mine))
    return torch.frombuffer(data, dtype=dtype).reshape(shape)


def tolerance(name: str, dtype: torch.dtype) -> dict[str, float]:
    """PyTorch's defaults for a dtype, or the wider ones of the table."""
    for start, (relative, absolute) in table.TOLERANCES.items():
        if name.startswith(start) and dtype in (torch.float32,):
            return {"rtol": relative, "atol": absolute}
    return {}


def compare(name: str, theirs: Any, mine: Any, exact: Callable[[], Any] | None) -> None:
    """Raises Mismatch unless both results have the same structure, dtypes, shapes and values.

    Floats agree within PyTorch's tolerances of their dtype with PyTorch's result, or with
    `exact`, the same computed in double precision, or where the largest error against `exact`
    is no larger than that of PyTorch's own result.
    """
    expected, got = leaves_of(theirs), leaves_of(mine)
    if len(expected) != len(got):
        raise Mismatch(f"{len(expected)} results expected, got {len(got)}")
    for place, (a, b) in enumerate(zip(expected, got, strict=True)):
        if not isinstance(a, torch.Tensor):
            compare_plain(a, b)
            continue
        if not isinstance(b, dlgrad.Tensor):
            raise Mismatch(f"expected a tensor, got {type(b).__name__}")
        if str(a.dtype).removeprefix("torch.") != b.dtype.name:
            raise Mismatch(f"dtype {b.dtype!r}, expected {a.dtype}")
        if tuple(a.shape) != tuple(b.shape):
            raise Mismatch(f"shape {tuple(b.shape)}, expected {tuple(a.shape)}")
        if name in table.UNPREDICTABLE:
            continue
        a, b = a.detach(), torch_of(b)
        if name in table.POLES:
            a = torch.where(b.isinf() & (a.abs() > 1e10), b, a)
        limits = tolerance(name, a.dtype)
        problem = difference(a, b, limits)
        if problem and exact is not None and a.dtype.is_floating_point:
            best = leaves_of(exact())[place].detach()
            if best.shape == a.shape and (
                not difference(best.to(a.dtype), b, limits) or no_worse(best, a, b)
            ):
                continue
        if problem:
            raise Mismatch(problem)


def no_worse(best: torch.Tensor, theirs: torch.Tensor, mine: torch.Tensor) -> bool:
    """Whether `mine` is as near to `best`, in double precision, as `theirs` at its worst place.

    Both must have their infinities and NaNs in the same places.
    """
    a, b, best = theirs.double(), mine.double(), best.double()
    finite = a.isfinite() & b.isfinite() & best.isfinite()
    same = torch.isclose(a, b, rtol=0.0, atol=0.0, equal_nan=True)
    if not (finite | same).all() or not finite.any():
        return False
    worst, my_worst = ((x - best)[finite].abs().max() for x in (a, b))
    return bool(my_worst <= worst)


def ties_explain(source: torch.Tensor, theirs: Any, mine: Any) -> bool:
    """Whether the last results name other places of `source` with equal elements.

    The results before them, the elements themselves, have to agree.
    """
    *expected, their_places = leaves_of(theirs)
    *got, my_places = map(torch_of, leaves_of(mine))
    if len(got) != len(expected) or my_places.dtype != torch.int64:
        return False
    if tuple(their_places.shape) != tuple(my_places.shape):
        return False
    if any(difference(a, b, {}) for a, b in zip(expected, got, strict=True)):
        return False
    if not got and my_places.shape != source.shape:  # a lone result that is no order
        return False
    for dim in range(source.ndim):
        pair = [their_places, my_places]
        if pair[0].ndim < source.ndim:
            pair = [x.unsqueeze(dim) for x in pair]
        try:
            a, b = (torch.take_along_dim(source, x, dim) for x in pair)
        except (RuntimeError, IndexError):
            continue
        if difference(a, b, {}) is None:
            return True
    return False


def compare_plain(a: Any, b: Any) -> None:
    if isinstance(b, dlgrad.Tensor):
        raise Mismatch(f"expected {type(a).__name__}, got a tensor")
    if isinstance(a, torch.dtype):
        a, b = str(a).removeprefix("torch."), getattr(b, "name", b)
    same = a == b or (isinstance(a, float) and abs(a - b) <= 1e-5 * abs(a)) or (a != a and b != b)
    if not same:
        raise Mismatch(f"{b!r}, expected {a!r}")


def difference(a: torch.Tensor, b: torch.Tensor, limits: dict[str, float]) -> str | None:
    """How two tensors differ, as text; None if they agree."""
    if a.dtype in (torch.uint16, torch.uint32, torch.uint64):
        a, b = a.to(torch.int64), b.to(torch.int64)
    try:
        torch.testing.assert_close(b, a, equal_nan=True, check_stride=False, **limits)
    except AssertionError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        wrong = ~torch.isclose(a, b, equal_nan=True).reshape(-1)
        shown = ""
        if wrong.any():
            place = int(wrong.nonzero()[0])
            shown = f" [{place}] {b.reshape(-1)[place].item()} != {a.reshape(-1)[place].item()}"
        return " ".join(lines[1:3]) + shown
    return None


# Samples ------------------------------------------------------------------------------------------


def doubled(value: Any) -> Any:
    """Arguments with float64 in place of shorter floats, for the exact result."""
    if isinstance(value, torch.Tensor):
        is_float = value.dtype.is_floating_point
        return value.detach().double().requires_grad_(value.requires_grad) if is_float else value
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return type(value)(doubled(item) for item in value)
    if isinstance(value, dict):
        return {key: doubled(item) for key, item in value.items()}
    if isinstance(value, torch.dtype) and value.is_floating_point:
        return torch.float64
    return value


def describe(sample: Any) -> str:
    """A sample in one line."""

    def text(value: Any) -> str:
        if isinstance(value, torch.Tensor):
            strided = "" if value.is_contiguous() else f" strides {tuple(value.stride())}"
            return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}{strided}"
        if isinstance(value, (list, tuple)):
            return "(" + ", ".join(map(text, value)) + ")"
        return repr(value)

    parts = [text(sample.input), *map(text, sample.args)]
    parts += [f"{key}={text(value)}" for key, value in sample.kwargs.items()]
    line = ", ".join(parts)
    return line if len(line) <= 300 else line[:300] + "..."


def flat_tensors(value: Any) -> list[torch.Tensor]:
    leaves: list[Any] = []
    known: set[int] = set()
    for item in leaves_of(value):
        if isinstance(item, torch.Tensor) and id(item) not in known:
            known.add(id(item))
            leaves.append(item)
    return leaves
