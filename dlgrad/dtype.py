"""The element types: what a number in a tensor is, and what two of them make together.

Floor 0.  Everything above imports `DType`; the names of a type in C, MSL or CUDA belong to
the dialects.  Promotion follows PyTorch: the three categories are tensor with dimensions,
zero-dimensional tensor, and Python scalar.
"""

from __future__ import annotations

import struct

from dlgrad.errors import DTypeError

BOOL, UNSIGNED, SIGNED, FLOAT = range(4)  # the kinds, in the order of promotion


class DType:
    """One element type.

    `kind` is one of BOOL, UNSIGNED, SIGNED and FLOAT; `itemsize` is in bytes; `format` is the
    character of the `struct` module (None for bfloat16, which `struct` does not know).
    """

    __slots__ = ("name", "kind", "itemsize", "format")

    def __init__(self, name: str, kind: int, itemsize: int, format: str | None) -> None:
        self.name = name
        self.kind = kind
        self.itemsize = itemsize
        self.format = format

    def __repr__(self) -> str:
        return f"dlgrad.{self.name}"

    def __reduce__(self) -> tuple[object, ...]:
        return (dtype_from_name, (self.name,))

    @property
    def is_complex(self) -> bool:
        """False: there are no complex numbers."""
        return False

    @property
    def is_floating_point(self) -> bool:
        return self.kind == FLOAT

    @property
    def is_signed(self) -> bool:
        return self.kind >= SIGNED

    @property
    def is_integer(self) -> bool:
        """True for signed and unsigned integers, not for bool."""
        return self.kind in (UNSIGNED, SIGNED)

    @property
    def is_half(self) -> bool:
        """True for the 16-bit floats, which compute and accumulate in float32."""
        return self.kind == FLOAT and self.itemsize == 2

    @property
    def compute(self) -> DType:
        """The type that arithmetic on this one is done in."""
        return float32 if self.is_half else self

    @property
    def min(self) -> int | float:
        """The lowest finite value."""
        if self.kind == BOOL:
            return 0
        if self.kind == UNSIGNED:
            return 0
        if self.kind == SIGNED:
            return -(1 << (8 * self.itemsize - 1))
        return -_LARGEST_FLOAT[self.name]

    @property
    def max(self) -> int | float:
        """The highest finite value."""
        if self.kind == BOOL:
            return 1
        if self.kind == UNSIGNED:
            return (1 << (8 * self.itemsize)) - 1
        if self.kind == SIGNED:
            return (1 << (8 * self.itemsize - 1)) - 1
        return _LARGEST_FLOAT[self.name]


# (2 - 2^-mantissa_bits) * 2^largest_exponent, IEEE 754 and the bfloat16 definition.
_LARGEST_FLOAT = {
    "float16": 65504.0,
    "bfloat16": (2 - 2**-7) * 2.0**127,
    "float32": (2 - 2**-23) * 2.0**127,
    "float64": (2 - 2**-52) * 2.0**1023,
}

bool_ = DType("bool", BOOL, 1, "?")
uint8 = DType("uint8", UNSIGNED, 1, "B")
uint16 = DType("uint16", UNSIGNED, 2, "H")
uint32 = DType("uint32", UNSIGNED, 4, "I")
uint64 = DType("uint64", UNSIGNED, 8, "Q")
int8 = DType("int8", SIGNED, 1, "b")
int16 = DType("int16", SIGNED, 2, "h")
int32 = DType("int32", SIGNED, 4, "i")
int64 = DType("int64", SIGNED, 8, "q")
float16 = DType("float16", FLOAT, 2, "e")
bfloat16 = DType("bfloat16", FLOAT, 2, None)
float32 = DType("float32", FLOAT, 4, "f")
float64 = DType("float64", FLOAT, 8, "d")

ALL_DTYPES = (
    bool_, uint8, uint16, uint32, uint64, int8, int16, int32, int64,
    float16, bfloat16, float32, float64,
)  # fmt: skip

_BY_NAME = {dtype.name: dtype for dtype in ALL_DTYPES}


def dtype_from_name(name: str) -> DType:
    """The dtype called `name`, for example "float32"."""
    try:
        return _BY_NAME[name]
    except KeyError:
        known = ", ".join(_BY_NAME)
        raise DTypeError(f"there is no dtype named {name!r}; the dtypes are {known}") from None


def _promote(a: DType, b: DType) -> DType:
    """The table of PyTorch's `promote_types`, as a rule."""
    if a is b:
        return a
    if a.kind > b.kind:
        a, b = b, a
    if b.kind == FLOAT:
        if a.kind != FLOAT or a.itemsize < b.itemsize:
            return b
        if a.itemsize > b.itemsize:
            return a
        return float32  # float16 with bfloat16: neither holds the other
    if a.kind == b.kind:
        return a if a.itemsize > b.itemsize else b
    if a.kind == BOOL:
        return b
    # Unsigned with signed: the smallest signed type that holds both.
    if b.itemsize > a.itemsize:
        return b
    wider = {1: int16, 2: int32, 4: int64}.get(a.itemsize)
    if wider is None:
        raise DTypeError(
            f"{a!r} and {b!r} have no common type: no signed integer holds all of {a.name}; "
            "convert one of them with .to(dtype) first"
        )
    return wider


_PROMOTION: dict[tuple[DType, DType], DType] = {}


def need_dtype(function: str, value: object) -> None:
    """TypeError unless `value` is a dtype."""
    if not isinstance(value, DType):
        raise TypeError(
            f"{function}: expected a dtype such as dlgrad.float32, not {type(value).__name__}"
        )


def promote_types(a: DType, b: DType) -> DType:
    """The smallest dtype that holds the values of both, as `torch.promote_types`."""
    result = _PROMOTION.get((a, b))
    if result is None:
        need_dtype("promote_types", a)
        need_dtype("promote_types", b)
        result = _PROMOTION[a, b] = _promote(a, b)
    return result


# The default float type: what Python floats become, and what integer division gives.
_default_dtype = float32


def get_default_dtype() -> DType:
    """The dtype of tensors made from Python floats (float32 unless changed)."""
    return _default_dtype


def set_default_dtype(dtype: DType) -> None:
    """Changes the dtype of tensors made from Python floats; it must be a float type."""
    global _default_dtype
    if not isinstance(dtype, DType) or not dtype.is_floating_point:
        raise DTypeError(f"the default dtype must be a floating-point dtype, got {dtype!r}")
    _default_dtype = dtype


def scalar_dtype(value: bool | int | float) -> DType:
    """The dtype that a Python scalar has on its own: bool, int64 or the default float."""
    if isinstance(value, bool):
        return bool_
    return int64 if isinstance(value, int) else _default_dtype


def _category(dtype: DType) -> int:
    """Bool, integer or float: the three steps in which a weaker operand can lift a stronger."""
    return {BOOL: 0, UNSIGNED: 1, SIGNED: 1, FLOAT: 2}[dtype.kind]


def combine_categories(
    dimensioned: DType | None, zero_dim: DType | None, scalar: DType | None
) -> DType:
    """PyTorch's result type from the promoted dtype of each operand category.

    A weaker category (zero-dim tensor, then Python scalar) counts only when it is of a higher
    kind (bool < integer < float) than all the stronger ones.
    """
    result = dimensioned
    for weaker in (zero_dim, scalar):
        if weaker is None:
            continue
        if result is None:
            result = weaker
        elif _category(weaker) > _category(result):
            # A float scalar lifts integers to the default float type, not to its own.
            result = weaker if weaker is zero_dim else promote_to_category(weaker)
    if result is None:
        raise DTypeError("a result type needs at least one operand")
    return result


def promote_to_category(scalar: DType) -> DType:
    """The dtype that a lifting Python scalar brings: bool, int64 or the default float."""
    return _default_dtype if scalar.kind == FLOAT else scalar


class finfo:
    """Limits of a float dtype, as `torch.finfo`: `bits`, `eps`, `max`, `min`, `tiny`."""

    def __init__(self, dtype: DType) -> None:
        need_dtype("finfo", dtype)
        if not dtype.is_floating_point:
            raise DTypeError(f"finfo needs a floating-point dtype, got {dtype!r}; use iinfo")
        self.dtype = dtype

    @property
    def bits(self) -> int:
        return 8 * self.dtype.itemsize

    @property
    def max(self) -> float:
        return float(self.dtype.max)

    @property
    def min(self) -> float:
        return float(self.dtype.min)

    @property
    def eps(self) -> float:
        mantissa = {"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}[self.dtype.name]
        return float(2.0**-mantissa)

    @property
    def tiny(self) -> float:
        """The smallest positive normal number."""
        exponent = {"float16": 14, "bfloat16": 126, "float32": 126, "float64": 1022}
        return float(2.0 ** -exponent[self.dtype.name])

    smallest_normal = tiny

    @property
    def resolution(self) -> float:
        digits = {"float16": 3, "bfloat16": 2, "float32": 6, "float64": 15}[self.dtype.name]
        return float(10.0**-digits)

    def __repr__(self) -> str:
        numbers = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        shown = ", ".join(f"{name}={getattr(self, name):g}" for name in numbers)
        return f"finfo({shown}, dtype={self.dtype.name})"


class iinfo:
    """Limits of an integer dtype, as `torch.iinfo`: `bits`, `max`, `min`."""

    def __init__(self, dtype: DType) -> None:
        need_dtype("iinfo", dtype)
        if not dtype.is_integer:
            raise DTypeError(f"iinfo needs an integer dtype, got {dtype!r}; use finfo")
        self.dtype = dtype

    @property
    def bits(self) -> int:
        return 8 * self.dtype.itemsize

    @property
    def max(self) -> int:
        return int(self.dtype.max)

    @property
    def min(self) -> int:
        return int(self.dtype.min)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype.name})"


# Conversion between Python values and bytes -----------------------------------------------


def _bfloat16_bits(value: float) -> int:
    """The bits of a Python float as bfloat16, rounded to nearest even."""
    try:
        bits = int(struct.unpack("<I", struct.pack("<f", value))[0])
    except OverflowError:  # beyond float32: an infinity
        return 0xFF80 if value < 0 else 0x7F80
    if value != value:
        return 0x7FC0
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16


def pack_values(dtype: DType, values: list[bool] | list[int] | list[float]) -> bytes:
    """The bytes of Python numbers as elements of `dtype`, little-endian.

    Floats out of range become infinities; integers out of range raise OverflowError.
    """
    if dtype is bfloat16:
        return struct.pack(f"<{len(values)}H", *[_bfloat16_bits(float(v)) for v in values])
    try:
        return struct.pack(f"<{len(values)}{dtype.format}", *values)
    except (OverflowError, struct.error):
        if not dtype.is_floating_point:
            bad = next(v for v in values if not dtype.min <= v <= dtype.max)
            raise OverflowError(
                f"{bad} does not fit {dtype!r}, whose range is {dtype.min} to {dtype.max}"
            ) from None
        return b"".join(_pack_float_saturating(dtype, float(v)) for v in values)


def _pack_float_saturating(dtype: DType, value: float) -> bytes:
    try:
        return struct.pack(f"<{dtype.format}", value)
    except OverflowError:
        return struct.pack(f"<{dtype.format}", float("inf") if value > 0 else float("-inf"))


def unpack_values(dtype: DType, data: bytes | memoryview) -> list[bool] | list[int] | list[float]:
    """The Python numbers in little-endian `data`, the inverse of `pack_values`."""
    count = len(data) // dtype.itemsize
    if dtype is bfloat16:
        words = struct.unpack(f"<{count}H", data)
        widened = struct.pack(f"<{count}I", *[word << 16 for word in words])
        return list(struct.unpack(f"<{count}f", widened))
    return list(struct.unpack(f"<{count}{dtype.format}", data))
