"""Random tensors: a counter-based generator with the same stream on every device.

Floor 6.  Element i of a draw is word (c & 3) of Philox 4x32-10 (Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3", 2011) at the 128-bit counter (c >> 2), with c = offset + i and the
seed as key; the offset moves on by the number of words drawn.  So a stream depends on the seed
and on the order of the calls, never on the device or the number of threads.

From words to numbers: `rand` takes as many leading bits as the dtype has digits (24 for
float32, and 53 of two words for float64) divided by two to that power, so it never gives 1;
`randn` makes one normal number of two uniform ones by Box and Muller's formula.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import cast, constant, counting
from dlgrad.core.base import Number, grad_mode, make, node_of
from dlgrad.core.creation import check_dtype
from dlgrad.core.device_type import DeviceLike, device, device_object, resolve_device
from dlgrad.core.dims import sizes_given
from dlgrad.core.host import from_bytes
from dlgrad.core.storage import pending_depth
from dlgrad.core.tracing import current_trace
from dlgrad.dtype import (
    FLOAT,
    DType,
    float32,
    float64,
    get_default_dtype,
    int64,
    uint8,
    uint32,
    uint64,
)
from dlgrad.errors import DTypeError
from dlgrad.lazy import graph
from dlgrad.lazy.ops import ElementwiseOps
from dlgrad.lazy.shape import Shape
from dlgrad.runtime.capture import Capture, current_capture

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

# How many of a word's leading bits make a uniform number.
_DIGITS = {"float32": 24, "float16": 11, "bfloat16": 8}
# How many binary digits its whole numbers have.
_FLOAT_DIGITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
_LARGEST_OFFSET = 1 << 53  # offsets reach kernels as doubles
DEFAULT_SEED = 67280421310721


class _CapturedOffset:
    """A generator's offset in device memory, for the launches that a `jit` capture records."""

    def __init__(self, generator: Generator, capture: Capture, place: str) -> None:
        self.generator = generator
        self.capture = capture
        self.base = generator.offset
        self.drawn = 0
        with capture.outside():
            data = struct.pack("<Q", self.base)
            self.tensor = from_bytes(data, uint64, (1,), place)
        capture.before_replay(self.refresh)

    def refresh(self) -> None:
        """Before a replay: the captured draws start where the generator is now."""
        data = struct.pack("<Q", self.generator.offset)
        self.tensor._storage.memory().copy_in(memoryview(data))
        self.generator.advance(self.drawn)


class Generator:
    """A stream of random numbers: a seed, and how many words were drawn so far."""

    def __init__(self, device: DeviceLike = None) -> None:
        self._device = resolve_device(device)
        self._seed = DEFAULT_SEED
        self.offset = 0
        self._captured: dict[str, _CapturedOffset] = {}

    @property
    def device(self) -> device:
        """Where the generator was made for; it can be used for tensors of any device."""
        return device_object(self._device)

    def manual_seed(self, seed: int) -> Generator:
        """Starts the stream of `seed` (any int; taken modulo 2**64) and returns the generator."""
        self._seed = int(seed) % (1 << 64)
        self.offset = 0
        return self

    def seed(self) -> int:
        """Starts a stream with a seed from the operating system, which is returned."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little") >> 11)
        return self._seed

    def initial_seed(self) -> int:
        """The seed of the stream."""
        return self._seed

    def get_offset(self) -> int:
        """How many words were drawn since the stream began."""
        return self.offset

    def set_offset(self, offset: int) -> None:
        """Goes to a place of the stream: how many words were drawn before."""
        if offset < 0:
            raise RuntimeError(f"the offset of a generator is not negative, got {offset}")
        self.offset = int(offset) % _LARGEST_OFFSET

    def clone_state(self) -> Generator:
        """Another generator at the same place of the same stream."""
        made = Generator(self._device)
        made._seed, made.offset = self._seed, self.offset
        return made

    def get_state(self) -> Tensor:
        """The seed and the offset, as 16 bytes."""
        return from_bytes(struct.pack("<QQ", self._seed, self.offset), uint8, (16,), "cpu")

    def set_state(self, new_state: Tensor) -> None:
        """Goes back to where `get_state` was called."""
        if new_state.dtype is not uint8 or new_state._shape != (16,):
            raise TypeError("a generator's state is a tensor of 16 bytes, from get_state()")
        self._seed, self.offset = struct.unpack("<QQ", bytes(new_state.tolist()))

    def advance(self, words: int) -> None:
        """Moves on by `words`."""
        self.offset = (self.offset + words) % _LARGEST_OFFSET

    def mark(self) -> tuple[int, int, dict[str, int]]:
        """Where the stream is now, for `rewound`; of captures, only the present one counts."""
        capture = current_capture()
        drawn = {
            place: held.drawn for place, held in self._captured.items() if held.capture is capture
        }
        return self._seed, self.offset, drawn

    @contextmanager
    def rewound(self, mark: tuple[int, int, dict[str, int]] | None) -> Iterator[None]:
        """A block in which the stream starts again at `mark`; with None, it goes on."""
        if mark is None:
            yield
            return
        now = self._seed, self.offset
        counts = [(held, held.drawn) for held in self._captured.values()]
        self._seed, self.offset, drawn = mark
        for place, held in self._captured.items():
            held.drawn = drawn.get(place, 0)
        try:
            yield
        finally:
            self._seed, self.offset = now
            for held, count in counts:
                held.drawn = count

    def counters(self, shape: Shape, place: str, per_element: int) -> Tensor:
        """The counter of the first word of each element, uint64; moves the offset on."""
        count = math.prod(shape)
        trace = current_trace()
        drawn = None if trace is None else trace.counters(self, shape, place, per_element)
        if drawn is not None:
            return drawn  # type: ignore[no-any-return]
        index = counting(0, uint64, (count,), place)
        if per_element != 1:
            index = index * per_element
        capture = current_capture()
        if capture is None:
            counter = index + given_at_launch(self.offset, index)
        else:
            held = self._captured.get(place)
            if held is None or held.capture is not capture:
                held = self._captured[place] = _CapturedOffset(self, capture, place)
            counter = index + held.drawn + held.tensor
            held.drawn += per_element * count
        self.advance(per_element * count)
        return counter

    def words(self, counter: Tensor) -> Tensor:
        """The uint32 words at the places `counter` of the stream."""
        node = node_of(counter)
        make_key = graph.varying if self._seed <= _LARGEST_OFFSET else constant
        key = make_key(self._seed, uint64, node.shape, node.device)
        depth = 1 + pending_depth(counter._storage)
        return make(graph.elementwise(ElementwiseOps.PHILOX, key, node, dtype=uint32), depth)


def given_at_launch(value: Number, like: Tensor) -> Tensor:
    """`value` as a tensor that no kernel has written into its text, because it often changes."""
    return make(graph.varying(value, like.dtype, (), like._storage.device))


default_generator = Generator("cpu")


def manual_seed(seed: int) -> Generator:
    """Starts the default stream anew from `seed`."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Starts the default stream with a seed from the operating system, which is returned."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default stream."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the default stream."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Goes back to a state of the default stream."""
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(
    devices: Any = None, enabled: bool = True, _caller: str = "fork_rng",
    _devices_kw: str = "devices", device_type: str = "cuda",
) -> Iterator[None]:  # fmt: skip
    """A block after which the default stream goes on from where it was before.

    There is one stream for all devices, so it makes no difference which are named.
    """
    mark = default_generator._seed, default_generator.offset
    try:
        yield
    finally:
        if enabled:
            default_generator._seed, default_generator.offset = mark


# Uniform and normal numbers ---------------------------------------------------------------------


def _leading_bits(words: Tensor, digits: int, dtype: DType) -> Tensor:
    return cast(words >> (32 - digits), dtype) * 2.0**-digits


def uniform_flat(count: int, dtype: DType, place: str, generator: Generator | None) -> Tensor:
    """`count` numbers in [0, 1)."""
    source = generator or default_generator
    if dtype is float64:
        first = source.counters((count,), place, 2)
        high = cast(source.words(first) >> 5, float64)
        low = cast(source.words(first + 1) >> 6, float64)
        return (high * 2.0**26 + low) * 2.0**-53
    counter = source.counters((count,), place, 1)
    digits = _DIGITS[dtype.name]
    return cast(_leading_bits(source.words(counter), digits, float32), dtype)


def normal_flat(count: int, dtype: DType, place: str, generator: Generator | None) -> Tensor:
    """`count` numbers of the standard normal distribution, by Box and Muller."""
    source = generator or default_generator
    kind = dtype if dtype is float64 else float32
    first = source.counters((count,), place, 2)
    # 1 - u is in (0, 1], so the logarithm is finite.
    radius = ((1.0 - _leading_bits(source.words(first), 24, kind)).log() * -2.0).sqrt()
    angle = _leading_bits(source.words(first + 1), 24, kind) * (2 * math.pi)
    return cast(radius * angle.cos(), dtype)


def _float_dtype(dtype: DType | None, name: str) -> DType:
    check_dtype(dtype)
    dtype = dtype or get_default_dtype()
    if dtype.kind != FLOAT:
        raise DTypeError(f"{name} makes floating-point numbers, not {dtype!r}")
    return dtype


def _finished(made: Tensor, shape: Shape, requires_grad: bool) -> Tensor:
    made = made.reshape(shape).detach()
    return made.requires_grad_() if requires_grad else made


class unrecorded:
    """Random numbers are constants for autograd."""

    def __enter__(self) -> None:
        self.before, grad_mode.enabled = grad_mode.enabled, False

    def __exit__(self, *details: object) -> None:
        grad_mode.enabled = self.before


def checked_sizes(sizes: Sequence[Any], named: Any = None) -> Shape:
    """The sizes of f(2, 3), f((2, 3)) or f(size=(2, 3)); RuntimeError for negative ones."""
    shape = sizes_given(sizes, named)
    if min(shape, default=0) < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension: {list(shape)}")
    return shape


def rand(
    *sizes: Any, size: Any = None, generator: Generator | None = None,
    dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Uniform numbers in [0, 1)."""
    shape = checked_sizes(sizes, size)
    with unrecorded():
        made = uniform_flat(
            math.prod(shape), _float_dtype(dtype, "rand"), resolve_device(device), generator
        )
        return _finished(made, shape, requires_grad)


def randn(
    *sizes: Any, size: Any = None, generator: Generator | None = None,
    dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Numbers of the standard normal distribution."""
    shape = checked_sizes(sizes, size)
    with unrecorded():
        made = normal_flat(
            math.prod(shape), _float_dtype(dtype, "randn"), resolve_device(device), generator
        )
        return _finished(made, shape, requires_grad)


def rand_like(
    input: Tensor, *, generator: Generator | None = None, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """`rand` in the shape, dtype and device of `input`."""
    return rand(
        input._shape, generator=generator, dtype=dtype or input.dtype,
        device=device or input.device, requires_grad=requires_grad,
    )  # fmt: skip


def randn_like(
    input: Tensor, *, generator: Generator | None = None, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """`randn` in the shape, dtype and device of `input`."""
    return randn(
        input._shape, generator=generator, dtype=dtype or input.dtype,
        device=device or input.device, requires_grad=requires_grad,
    )  # fmt: skip


# Integers ---------------------------------------------------------------------------------------


def largest_whole(dtype: DType) -> int:
    """The largest whole number up to which `dtype` holds all of them."""
    return 1 << _FLOAT_DIGITS[dtype.name] if dtype.kind == FLOAT else int(dtype.max)


def check_bounds(name: str, low: int, high: int, dtype: DType) -> None:
    """RuntimeError where [low, high) is empty, or `dtype` does not hold its numbers."""
    if low >= high:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    smallest = int(dtype.min) if dtype.kind != FLOAT else -int(min(dtype.max, 2.0**63))
    largest = int(dtype.max) if dtype.kind != FLOAT else int(min(dtype.max, 2.0**63))
    for bound, what in ((low, "from"), (high - 1, "to - 1")):
        if not smallest <= bound <= largest:
            raise RuntimeError(f"{name}: {what} is out of bounds for {dtype!r}, got {bound}")


def randint(
    low: Any = None, high: Any = None, size: Any = None, *, generator: Generator | None = None,
    dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Whole numbers from `low` (0) up to but without `high`: randint(high, size) too."""
    if size is None and high is not None and not isinstance(high, int):
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    if size is None or high is None:
        raise TypeError("randint(): give `high` and `size`, as in randint(0, 10, (3,))")
    check_dtype(dtype)
    start = 0 if low is None else low
    check_bounds("randint", start, high, dtype or int64)
    shape, place = checked_sizes((size,)), resolve_device(device)
    with unrecorded():
        made = integer_flat(start, high, math.prod(shape), place, generator)
        return _finished(cast(made, dtype or int64), shape, requires_grad)


def randint_like(
    input: Tensor, low: Any = None, high: int | None = None, *,
    generator: Generator | None = None, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """`randint` in the shape, dtype and device of `input`."""
    return randint(
        low, high, input._shape, generator=generator, dtype=dtype or input.dtype,
        device=device or input.device, requires_grad=requires_grad,
    )  # fmt: skip


def integer_flat(
    low: int, high: int, count: int, place: str, generator: Generator | None
) -> Tensor:
    """`count` int64 numbers in [low, high)."""
    source, span = generator or default_generator, high - low
    if span <= 1 << 32:
        word = cast(source.words(source.counters((count,), place, 1)), uint64)
        # The high half of word * span: uniform up to one part in 2**32 / span.
        return cast((word * span) >> 32, int64) + low
    first = source.counters((count,), place, 2)
    high_word = cast(source.words(first), uint64) << 32
    both = high_word | cast(source.words(first + 1), uint64)
    return cast(both % span, int64) + low if span < 1 << 64 else cast(both, int64)


def permutation(n: int, generator: Generator | None = None) -> list[int]:
    """The numbers 0 to n - 1 in random order, as a list, shuffled by Python."""
    import random as python_random  # slow to import, and seldom needed

    source = generator or default_generator
    numbers = list(range(n))
    python_random.Random((source.initial_seed() << 64) + source.offset).shuffle(numbers)
    source.advance(max(n, 1))
    return numbers
