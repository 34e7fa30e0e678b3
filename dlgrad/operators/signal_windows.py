"""Windows of signal processing: Hann, Hamming, Blackman, Bartlett and Kaiser.

Floor 6.  The formulas are those of Harris, "On the use of windows for harmonic analysis with the
discrete Fourier transform", 1978.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dlgrad.core.creation import ones
from dlgrad.core.device_type import DeviceLike
from dlgrad.core.dims import as_int
from dlgrad.dtype import FLOAT, DType, float32, float64, get_default_dtype
from dlgrad.operators.bessel import i0
from dlgrad.operators.ranges import arange

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def _steps(
    name: str, length: int, periodic: bool, dtype: DType | None, device: DeviceLike
) -> tuple[Tensor, DType]:
    """Numbers from 0 to 1 over the window (of one more, if it is one of many), and its dtype."""
    count = as_int(name, length, "window_length")
    kind = get_default_dtype() if dtype is None else dtype
    if kind.kind != FLOAT:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {kind!r}")
    if count < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got {count}")
    fine = float64 if kind is float64 else float32
    if count == 1:
        return ones(1, dtype=fine, device=device) * 0.5, kind
    last = count if periodic else count - 1
    return arange(count, dtype=fine, device=device) / max(last, 1), kind


def _finished(window: Tensor, dtype: DType, requires_grad: bool) -> Tensor:
    made = window.to(dtype)
    return made.requires_grad_() if requires_grad else made


def hann_window(
    window_length: int, periodic: bool = True, *, dtype: DType | None = None,
    layout: object = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """sin^2(pi n / N), [window_length]; N is one less where it is not `periodic`."""
    at, kind = _steps("hann_window", window_length, periodic, dtype, device)
    return _finished((at * math.pi).sin().square(), kind, requires_grad)


def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *,
    dtype: DType | None = None, layout: object = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """alpha - beta cos(2 pi n / N), [window_length]; N is one less where not `periodic`."""
    at, kind = _steps("hamming_window", window_length, periodic, dtype, device)
    return _finished(alpha - beta * (at * (2 * math.pi)).cos(), kind, requires_grad)


def blackman_window(
    window_length: int, periodic: bool = True, *, dtype: DType | None = None,
    layout: object = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0.42 - 0.5 cos(2 pi n / N) + 0.08 cos(4 pi n / N), [window_length]."""
    at, kind = _steps("blackman_window", window_length, periodic, dtype, device)
    wave = 0.42 - 0.5 * (at * (2 * math.pi)).cos() + 0.08 * (at * (4 * math.pi)).cos()
    return _finished(wave, kind, requires_grad)


def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: DType | None = None,
    layout: object = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A triangle from 0 to 1 and back to 0, [window_length]."""
    at, kind = _steps("bartlett_window", window_length, periodic, dtype, device)
    return _finished(1 - (2 * at - 1).abs(), kind, requires_grad)


def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *,
    dtype: DType | None = None, layout: object = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """I0(beta sqrt(1 - (2 n / N - 1)^2)) / I0(beta), [window_length]."""
    at, kind = _steps("kaiser_window", window_length, periodic, dtype, device)
    inner = (1 - (2 * at - 1).square()).clamp(min=0).sqrt() * beta
    return _finished(i0(inner) / i0(at * 0 + beta), kind, requires_grad)
