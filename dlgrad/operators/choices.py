"""Random choices: places by their weights, and permutations.

Floor 6.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dlgrad.core.apply import cast, where
from dlgrad.core.base import node_of
from dlgrad.core.creation import check_dtype
from dlgrad.core.device_type import DeviceLike, resolve_device
from dlgrad.core.dims import as_int
from dlgrad.core.host import known_numbers
from dlgrad.dtype import FLOAT, DType, float32, float64, int64, uint64
from dlgrad.errors import ShapeError
from dlgrad.operators.sampling import waiting_times
from dlgrad.operators.scans import cumsum
from dlgrad.operators.sorting import argsort, searchsorted, topk
from dlgrad.random import Generator, default_generator, rand, unrecorded

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Places drawn from each row of weights, int64: [n] to [samples], [m, n] to [m, samples].

    The weights need not add up to 1.  Without `replacement` no place is drawn twice from one
    row.  RuntimeError for weights that are negative, not finite, or all zero, where they are
    known already.
    """
    _check_weights(input, num_samples, replacement)
    with unrecorded():
        weights = cast(input, float64 if input.dtype is float64 else float32)
        if replacement and num_samples > 1:
            return _with_replacement(weights, num_samples, generator)
        # The first of exponential clocks, each running at the rate of its weight.
        place = node_of(weights).device
        clocks = waiting_times(weights._shape, weights.dtype, place, generator)
        times = where(weights > 0, clocks / weights, float("inf"))
        if num_samples == 1:
            return times.argmin(-1, keepdim=True)
        return topk(times, num_samples, -1, largest=False)[1]


def _check_weights(input: Tensor, num_samples: int, replacement: bool) -> None:
    if input.dtype.kind != FLOAT:
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {input.dtype!r}"
        )
    if input.ndim not in (1, 2):
        raise ShapeError(
            f"prob_dist must be 1 or 2 dim, got a tensor of shape {list(input._shape)}"
        )
    if num_samples <= 0:
        raise RuntimeError(f"cannot sample n_sample <= 0 samples, got {num_samples}")
    count = input._shape[-1]
    if count > 1 << 24:
        raise RuntimeError(f"number of categories cannot exceed 2^24, got {count}")
    if not replacement and num_samples > count:
        raise RuntimeError(
            f"cannot sample n_sample > prob_dist.size(-1) samples without replacement: "
            f"{num_samples} of {count}"
        )
    numbers = known_numbers(input)
    for number in numbers:
        if not 0 <= number < math.inf:
            raise RuntimeError(
                "probability tensor contains either `inf`, `nan` or element < 0"
            )
    for start in range(0, len(numbers), max(count, 1)):
        if not any(numbers[start : start + count]):
            raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")


def _with_replacement(weights: Tensor, count: int, generator: Generator | None) -> Tensor:
    """Where uniform numbers fall among the running sums of the weights."""
    sums = cumsum(weights, -1)
    shape = (*weights._shape[:-1], count)
    drawn = rand(shape, generator=generator, dtype=weights.dtype, device=weights.device)
    places = searchsorted(sums, drawn * sums.narrow(-1, weights._shape[-1] - 1, 1), right=True)
    # Rounding may put the product of a number just below 1 at the very end.
    return places.clamp(max=weights._shape[-1] - 1)


def randperm(
    n: int, *, generator: Generator | None = None, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The numbers 0 to n - 1 in random order: the order of random keys of 63 bits."""
    n = as_int("randperm", n, "n")
    if n < 0:
        raise RuntimeError(f"n must be non-negative, got {n}")
    check_dtype(dtype)
    source, place = generator or default_generator, resolve_device(device)
    with unrecorded():
        first = source.counters((n,), place, 2)
        high, low = (cast(source.words(counter), uint64) for counter in (first, first + 1))
        keys = cast((high << 31) ^ (low >> 1), int64)
        made = cast(argsort(keys, 0), dtype or int64)
    return made.requires_grad_() if requires_grad else made
