"""`assert_close`, as `torch.testing.assert_close`: are numbers equal up to rounding?

Floor 7.  |actual - expected| <= atol + rtol * |expected|, with PyTorch's tolerances for each
dtype, its arguments, and the text of its errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dlgrad.autograd import no_grad
from dlgrad.core.creation import asarray, tensor
from dlgrad.dtype import (
    FLOAT,
    DType,
    bfloat16,
    float16,
    float32,
    float64,
    int64,
    promote_types,
)
from dlgrad.operators.comparison import isclose
from dlgrad.tensor import Tensor

__all__ = ["assert_close"]

# rtol and atol; other dtypes must be equal.
_TOLERANCES: dict[DType, tuple[float, float]] = {
    float16: (1e-3, 1e-5),
    bfloat16: (1.6e-2, 1e-5),
    float32: (1.3e-6, 1e-5),
    float64: (1e-7, 1e-7),
}

Message = str | Callable[[str], str] | None


class _Settings(NamedTuple):
    """How strict a comparison is."""

    rtol: float | None
    atol: float | None
    equal_nan: bool
    check_device: bool
    check_dtype: bool
    check_stride: bool
    allow_subclasses: bool

    def tolerances(self, *dtypes: DType) -> tuple[float, float]:
        """rtol and atol: those given, else the largest that one of the dtypes has."""
        if self.rtol is not None and self.atol is not None:
            return self.rtol, self.atol
        known = [_TOLERANCES.get(dtype, (0.0, 0.0)) for dtype in dtypes]
        return (
            max((rtol for rtol, _ in known), default=0.0),
            max((atol for _, atol in known), default=0.0),
        )


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: Message = None,
) -> None:
    """AssertionError unless `actual` and `expected` are equal up to `rtol` and `atol`.

    They are tensors, arrays or numbers, or sequences or mappings of such.  `msg` replaces the
    text of the error, or is a function that makes a text of it.  TypeError for what cannot be
    compared.  All tensors have one layout, so `check_layout` never finds a difference.
    """
    if (rtol is None) != (atol is None):
        raise ValueError(
            "Both 'rtol' and 'atol' must be either specified or omitted, but got no "
            f"{'rtol' if rtol is None else 'atol'}."
        )
    settings = _Settings(
        rtol, atol, equal_nan, check_device, check_dtype, check_stride, allow_subclasses
    )
    with no_grad():
        text, place = _difference(actual, expected, settings, "")
    if text is None:
        return
    if place:
        text = f"{text}\n\nThe failure occurred for item {place}"
    if msg is not None:
        text = msg(text) if callable(msg) else msg
    raise AssertionError(text)


def _difference(
    actual: Any, expected: Any, settings: _Settings, place: str
) -> tuple[str | None, str]:
    """What the first difference is (None: there is none), and where."""
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        missing = [key for key in expected if key not in actual]
        more = [key for key in actual if key not in expected]
        if missing or more:
            return (
                "The keys of the mappings do not match:\n"
                f"Missing keys in the actual mapping: {missing}\n"
                f"Additional keys in the actual mapping: {more}"
            ), place
        pairs = [(f"{place}[{key!r}]", actual[key], expected[key]) for key in actual]
    elif _is_sequence(actual) and _is_sequence(expected):
        if len(actual) != len(expected):
            return (
                f"The length of the sequences mismatch: {len(actual)} != {len(expected)}"
            ), place
        both = zip(actual, expected, strict=True)
        pairs = [(f"{place}[{number}]", a, e) for number, (a, e) in enumerate(both)]
    elif actual is None or expected is None:
        same = actual is expected
        return (None if same else f"None mismatch: {actual} is not {expected}"), place
    elif _is_number(actual) and _is_number(expected):
        return _number_difference(actual, expected, settings), place
    else:
        a, e = _as_tensor(actual), _as_tensor(expected)
        if a is None or e is None or not _are_related(actual, expected, settings):
            where = f"\n\nThe failure occurred for item {place}" if place else ""
            raise TypeError(
                "No comparison pair was able to handle inputs of type "
                f"{type(actual)} and {type(expected)}.{where}"
            )
        return _tensor_difference(a, e, settings), place
    for inner, a, e in pairs:
        text, where = _difference(a, e, settings, inner)
        if text is not None:
            return text, where
    return None, place


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float))


def _as_tensor(value: Any) -> Tensor | None:
    """An array or a tensor as a tensor; None for anything else."""
    if isinstance(value, Tensor):
        return value.detach()
    if hasattr(value, "__array_interface__"):
        return asarray(value, copy=True)
    return None


def _are_related(actual: Any, expected: Any, settings: _Settings) -> bool:
    if type(actual) is type(expected):
        return True
    related = isinstance(actual, type(expected)) or isinstance(expected, type(actual))
    return related and settings.allow_subclasses


def _number_difference(actual: Any, expected: Any, settings: _Settings) -> str | None:
    kinds = {bool: 0, int: 1, float: 2}
    if settings.check_dtype and kinds.get(type(actual)) != kinds.get(type(expected)):
        return f"The (d)types do not match: {type(actual)} != {type(expected)}."
    floats = isinstance(actual, float) or isinstance(expected, float)
    rtol, atol = settings.tolerances(float64) if floats else settings.tolerances()
    if not isinstance(actual, float) and not isinstance(expected, float):
        close = abs(actual - expected) <= atol + rtol * abs(expected)
    else:
        a, e = (tensor(float(value), dtype=float64, device="cpu") for value in (actual, expected))
        close = bool(isclose(a, e, rtol, atol, settings.equal_nan))
    return None if close else _number_text("Scalars", actual, expected, rtol, atol)


def _number_text(what: str, actual: Any, expected: Any, rtol: float, atol: float) -> str:
    if not rtol and not atol:
        head = f"{what} are not equal!\n\nExpected {expected!r} but got {actual!r}.\n"
    else:
        head = f"{what} are not close!\n\nExpected {expected!r} but got {actual!r}.\n"
    apart = abs(actual - expected)
    share = apart / abs(expected) if expected else float("inf")
    allowed = ("", "")
    if rtol or atol:
        allowed = (f" (up to {atol} allowed)", f" (up to {rtol} allowed)")
    return (
        f"{head}Absolute difference: {apart}{allowed[0]}\n"
        f"Relative difference: {share}{allowed[1]}"
    )


def _tensor_difference(actual: Tensor, expected: Tensor, settings: _Settings) -> str | None:
    def attribute(name: str, a: Any, e: Any) -> str:
        return f"The values for attribute {name!r} do not match: {a} != {e}."

    if actual.shape != expected.shape:
        return attribute("shape", actual.shape, expected.shape)
    if settings.check_device and actual.device != expected.device:
        return attribute("device", actual.device, expected.device)
    if settings.check_dtype and actual.dtype is not expected.dtype:
        return attribute("dtype", actual.dtype, expected.dtype)
    if settings.check_stride and actual.stride() != expected.stride():
        return attribute("stride()", actual.stride(), expected.stride())
    rtol, atol = settings.tolerances(actual.dtype, expected.dtype)
    kind = promote_types(actual.dtype, expected.dtype)
    a, e = actual.to(kind), expected.to(kind).to(actual.device)
    close = isclose(a, e, rtol, atol, settings.equal_nan)
    total, wrong = close.numel(), int((~close).sum())
    if not wrong:
        return None
    if not a.ndim:
        return _number_text("Scalars", a.item(), e.item(), rtol, atol)
    wide = kind if kind.kind == FLOAT else int64
    apart = (a.to(wide) - e.to(wide)).abs()
    share = apart / e.to(wide).abs()
    equal = "close" if rtol or atol else "equal"
    return (
        f"Tensor-likes are not {equal}!\n\n"
        f"Mismatched elements: {wrong} / {total} ({wrong / total:.1%})\n"
        + _greatest("absolute", apart, close, atol, bool(rtol or atol))
        + "\n"
        + _greatest("relative", share, close, rtol, bool(rtol or atol))
    )


def _greatest(name: str, values: Tensor, close: Tensor, tolerance: float, shown: bool) -> str:
    """The line about the largest of `values` among the elements that are not close."""
    flat = values.masked_fill(close, 0).reshape(-1)
    at = int(flat.argmax())
    index = []
    for size in reversed(values.shape):
        index.append(at % size)
        at //= size
    allowed = f" (up to {tolerance} allowed)" if shown else ""
    greatest = flat.max().item()
    return f"Greatest {name} difference: {greatest} at index {tuple(reversed(index))}{allowed}"
