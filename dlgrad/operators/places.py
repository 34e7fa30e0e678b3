"""Index tensors: their dtype, their range, and where a mask holds.

Floor 6.  An index is checked at the call wherever its numbers can be had: pending ones are
computed first.  On a GPU, and while a step is captured, nothing is waited for; there an index
outside reads NaN (0 by integers) and writes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from dlgrad.core.apply import counting, empty_of, reduce, scan, scatter, where
from dlgrad.core.base import TensorBase, node_of
from dlgrad.core.host import export_numbers
from dlgrad.core.storage import pending_depth
from dlgrad.core.tracing import TRACED
from dlgrad.dtype import BOOL, int32, int64, uint8
from dlgrad.errors import DeviceError, DTypeError
from dlgrad.lazy.graph import Layout
from dlgrad.lazy.ops import ReduceOps
from dlgrad.lazy.shape import Shape, contiguous_strides
from dlgrad.runtime import engine
from dlgrad.runtime.capture import current_capture

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

FEW = 512  # as many numbers are looked at in Python; a kernel takes longer to start
HOST = ("cpu", "python")  # devices whose memory Python reads without waiting


def can_look(x: TensorBase) -> bool:
    """Whether the numbers of `x` may be looked at now."""
    if pending_depth(x._storage) >= TRACED or current_capture() is not None:
        return False
    return x._storage.device.split(":")[0] in HOST


def extremes(index: Tensor) -> tuple[int, int] | None:
    """The smallest and the largest number, or None where they cannot be looked at."""
    if not index.numel() or not can_look(index):
        return None
    if index.numel() <= FEW:
        numbers = export_numbers(index)
        return min(numbers), max(numbers)
    dims = tuple(range(index.ndim))
    ends = [reduce(op, index, dims, False) for op in (ReduceOps.MIN, ReduceOps.MAX)]
    engine.realize([node_of(end) for end in ends])
    return int(ends[0]), int(ends[1])


def as_index(name: str, index: Tensor, x: TensorBase) -> Tensor:
    """`index` as int64 on the device of `x`; DTypeError for anything but int32 and int64."""
    if not isinstance(index, TensorBase):
        raise TypeError(f"{name}(): argument 'index' must be Tensor, not {type(index).__name__}")
    if index.dtype is not int64 and index.dtype is not int32:
        raise DTypeError(
            f"{name}(): Expected dtype int32/int64 for index, but got {index.dtype!r}; "
            "convert it with index.long()"
        )
    if index._storage.device != x._storage.device:
        raise DeviceError(
            f"{name}(): Expected all tensors to be on the same device, but the index is on "
            f"{index._storage.device} and the tensor on {x._storage.device}; move the index with "
            ".to(device)"
        )
    return index.long()


def check_range(
    index: Tensor, count: int, dim: int, error: type[Exception] = IndexError, signed: bool = False
) -> bool:
    """Raises `error` for a number outside [0, count), or with `signed` outside [-count, count).

    Returns whether there may be negative numbers.
    """
    found = extremes(index)
    if found is None:
        if count == 0 and index.numel():
            raise error(f"index is out of bounds for dimension {dim} with size 0")
        return signed
    low, high = found
    lowest = -count if signed else 0
    if low < lowest or high >= count:
        wrong = low if low < lowest else high
        raise error(f"index {wrong} is out of bounds for dimension {dim} with size {count}")
    return low < 0


def from_end(index: Tensor, count: int) -> Tensor:
    """Negative numbers counted from the end."""
    return where(index < 0, index + count, index)


def none_of(x: Tensor, shape: Shape) -> Tensor:
    """No elements of `x`, in a shape that has none."""
    return x.reshape(-1).narrow(0, 0, 0).reshape(shape)


def row_major(positions: list[Tensor], sizes: Shape) -> Tensor:
    """The number of each element in a row-major block of `sizes`, from one position per size."""
    total: Tensor | None = None
    for position, step in zip(positions, contiguous_strides(sizes), strict=True):
        term = position if step == 1 else position * step
        total = term if total is None else total + term
    assert total is not None
    return total


def is_mask(x: object) -> TypeGuard[Tensor]:
    """True for tensors that select where they hold: bool, or the older uint8."""
    return isinstance(x, TensorBase) and (x.dtype.kind == BOOL or x.dtype is uint8)


def found_elements(mask: Tensor) -> Tensor:
    """The row-major numbers of the elements that are not zero, int64 (evaluates the mask).

    RuntimeError while a step is captured, because the size of the result depends on numbers.
    """
    if current_capture() is not None:
        raise RuntimeError(
            "the number of elements that a mask selects is not known while a step is captured; "
            "use where(mask, a, b), or multiply with the mask"
        )
    flat = (mask if mask.dtype.kind == BOOL else mask != 0).reshape(-1)
    device = node_of(flat).device
    if not flat.numel():
        return counting(0, int64, (0,), device)
    counts = scan(ReduceOps.SUM, flat.long(), 0)
    engine.realize([node_of(counts)])
    count = int(counts[-1])
    place = where(flat, counts - 1, -1)
    numbers = counting(0, int64, flat._shape, device)
    base = empty_of(int64, (count,), device)
    return scatter(base, numbers, place, Layout((-1,), (0,)))


def positions_of(numbers: Tensor, sizes: Shape) -> list[Tensor]:
    """The position along every dimension of the elements with these row-major `numbers`."""
    positions = []
    for size, step in zip(sizes, contiguous_strides(sizes), strict=True):
        if not size or not step:  # there are none
            positions.append(numbers)
            continue
        place = numbers if step == 1 else numbers // step
        positions.append(place if len(sizes) == 1 else place % size)
    return positions
