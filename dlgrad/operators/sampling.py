"""Numbers of many distributions: drawn from parameters, or filled into a tensor.

Floor 6.  Every draw is made of the words of `random.py`, so it is the same on every device and
for any number of threads.  The gradient of a draw with respect to its parameters is zero.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import as_number, cast
from dlgrad.core.base import Number, is_tensor, node_of
from dlgrad.core.device_type import DeviceLike
from dlgrad.core.gradients import zeros_of
from dlgrad.core.host import known_numbers
from dlgrad.core.tape import ROWS, Derivative, Row, record
from dlgrad.dtype import BOOL, FLOAT, DType, float32, float64, get_default_dtype
from dlgrad.errors import DTypeError
from dlgrad.lazy.shape import Shape, broadcast_shapes
from dlgrad.operators.indexing import assign
from dlgrad.random import (
    Generator,
    check_bounds,
    default_generator,
    given_at_launch,
    integer_flat,
    largest_whole,
    rand,
    randn,
    unrecorded,
)

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


# What is drawn does not change when a parameter is moved a little, as in PyTorch.
_ZERO = Derivative("", lambda g, e: zeros_of(g))
ROWS["normal"] = Row("Normal", _ZERO, _ZERO)
ROWS["bernoulli"] = Row("Bernoulli", _ZERO)


# From parameters --------------------------------------------------------------------------------


def normal(
    mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None,
    dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Normal numbers with `mean` and `std`: numbers with a `size`, or tensors that give it."""
    models = [value for value in (mean, std) if is_tensor(value)]
    for number in known_numbers(std) if is_tensor(std) else [as_number(std, "std")]:
        if number < 0:
            raise RuntimeError(f"normal expects std >= 0.0, but found std {number}")
    if not models:
        if size is None:
            raise TypeError("normal(): give `size` where mean and std are numbers")
    elif size is not None:
        raise TypeError("normal(): `size` is for numbers; tensors give their own shape")
    else:
        size = broadcast_shapes(*(model._shape for model in models))
        dtype, device = models[0].dtype, models[0].device
        if dtype.kind != FLOAT:
            raise DTypeError(f"normal expects floating-point tensors, got {dtype!r}")
    with unrecorded():
        drawn = randn(size, generator=generator, dtype=dtype, device=device)
        made: Tensor = drawn * std + mean
    record("normal", None, made, models)
    return made.requires_grad_() if requires_grad else made


def _check_probability(name: str, p: Any) -> None:
    numbers = known_numbers(p) if is_tensor(p) else [as_number(p, "p")]
    for number in numbers:
        if not 0 <= number <= 1:
            raise RuntimeError(f"{name} expects p to be in [0, 1], but got p={number}")


def bernoulli(
    input: Tensor, p: float | None = None, *, generator: Generator | None = None
) -> Tensor:
    """1 with the probability that the element says (or `p`), else 0, in the dtype of `input`."""
    if p is None and input.dtype.kind != FLOAT:
        raise DTypeError(f"bernoulli takes floating-point probabilities, got {input.dtype!r}")
    chance = input.detach() if p is None else p
    _check_probability("bernoulli", chance)
    with unrecorded():
        drawn = rand(input._shape, generator=generator, device=input.device)
        made = cast(drawn < chance, input.dtype)
    record("bernoulli", None, made, (input,))
    return made


def waiting_times(
    shape: Shape, dtype: DType, place: str, generator: Generator | None
) -> Tensor:
    """Numbers of the exponential distribution of rate 1, above 0, with fine small ones.

    They come from 32 random bits each, as float64 for that `dtype` and else as float32.
    """
    source = generator or default_generator
    words = source.words(source.counters(shape, place, 1))
    share = (cast(words, float64 if dtype is float64 else float32) + 0.5) * 2.0**-32
    if dtype is not float64:  # the largest words are rounded up to 1
        share = share.clamp(max=1 - 2.0**-24)
    return -(-share).log1p().reshape(shape)


# In place ---------------------------------------------------------------------------------------


def _is_float(name: str, input: Tensor) -> None:
    if input.dtype.kind != FLOAT:
        raise DTypeError(f'"{name}" not implemented for {input.dtype!r}; it fills float tensors')


def _uniform(input: Tensor, generator: Generator | None) -> Tensor:
    """Uniform numbers in [0, 1) for a tensor that may hold any dtype."""
    kind = input.dtype if input.dtype.kind == FLOAT else get_default_dtype()
    return rand(input._shape, generator=generator, dtype=kind, device=input.device)


def uniform_(
    input: Tensor, a: float = 0.0, b: float = 1.0, *, generator: Generator | None = None,
    **bounds: float,
) -> Tensor:  # fmt: skip
    """Fills with uniform numbers in [a, b) (PyTorch's names `from` and `to` work too)."""
    _is_float("uniform_", input)
    low, high = bounds.pop("from", a), bounds.pop("to", b)
    if bounds:
        raise TypeError(f"uniform_() got an unexpected keyword argument {next(iter(bounds))!r}")
    if not low <= high:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low} > to={high}"
        )
    drawn = _uniform(input, generator)
    width, start = given_at_launch(high - low, drawn), given_at_launch(low, drawn)
    assign(input, drawn * width + start)
    return input


def normal_(
    input: Tensor, mean: Number = 0.0, std: Number = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fills with normal numbers."""
    _is_float("normal_", input)
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    drawn = randn(input._shape, generator=generator, dtype=input.dtype, device=input.device)
    assign(input, drawn * given_at_launch(std, drawn) + given_at_launch(mean, drawn))
    return input


def log_normal_(
    input: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None
) -> Tensor:
    """Fills with numbers whose logarithms are normal with `mean` and `std`."""
    _is_float("log_normal_", input)
    if std <= 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    drawn = randn(input._shape, generator=generator, dtype=input.dtype, device=input.device)
    assign(input, (drawn * std + mean).exp())
    return input


def exponential_(
    input: Tensor, lambd: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fills with numbers of the exponential distribution of rate `lambd`."""
    _is_float("exponential_", input)
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    times = waiting_times(input._shape, input.dtype, node_of(input).device, generator)
    assign(input, times * given_at_launch(1.0 / lambd, times))
    return input


def cauchy_(
    input: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fills with numbers of the Cauchy distribution."""
    _is_float("cauchy_", input)
    if sigma <= 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    angle = (_uniform(input, generator) - 0.5) * math.pi
    assign(input, angle.tan() * sigma + median)
    return input


def geometric_(input: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fills with how many trials it takes until the first success of probability `p`: 1, 2 ..."""
    if input.dtype.kind == BOOL:
        raise DTypeError('"geometric_" not implemented for bool; it fills numbers')
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    times = waiting_times(input._shape, input.dtype, node_of(input).device, generator)
    assign(input, (times * (-1.0 / math.log1p(-p))).ceil().clamp(min=1))
    return input


def bernoulli_(input: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fills with 1 with probability `p` (a number or a tensor), else 0."""
    _check_probability("bernoulli_", p)
    with unrecorded():
        drawn = rand(input._shape, generator=generator, device=input.device)
        chosen = cast(drawn < (p.detach() if is_tensor(p) else p), input.dtype)
    assign(input, chosen)
    return input


def random_(
    input: Tensor, low: int = 0, high: int | None = None, *, generator: Generator | None = None,
    **bounds: int,
) -> Tensor:  # fmt: skip
    """Fills with whole numbers from `low` up to but without `high`: random_(high) counts from 0.

    Without a `high`, up to the largest number that the dtype holds (for floats, up to which it
    holds all).  PyTorch's names `from` and `to` work too.
    """
    named = "from" in bounds or "to" in bounds
    if high is None and low and not named:
        low, high = 0, low
    low, high = bounds.pop("from", low), bounds.pop("to", high)
    if bounds:
        raise TypeError(f"random_() got an unexpected keyword argument {next(iter(bounds))!r}")
    largest = largest_whole(input.dtype)
    end = largest + 1 if high is None else high
    check_bounds("random_", low, end, input.dtype)
    with unrecorded():
        place = node_of(input).device
        drawn = integer_flat(low, end, math.prod(input._shape), place, generator)
        chosen = cast(drawn.reshape(input._shape), input.dtype)
    assign(input, chosen)
    return input
