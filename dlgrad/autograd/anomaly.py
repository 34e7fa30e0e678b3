"""Anomaly detection: which operation gave the first NaN of a backward pass, and where it stands.

Floor 6.  While it is on, every entry of the tape remembers the user's line that made it, and
the walk evaluates each gradient and looks for NaN.  It is slow, and for looking for a mistake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlgrad.core.tape import Entry, anomaly
from dlgrad.errors import AutogradError
from dlgrad.operators.reductions import any as any_of

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


class set_detect_anomaly:
    """Turns anomaly detection on or off, at once; used with `with`, for the block only.

    With `check_nan=False` the lines are remembered, but no gradient is looked at.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = anomaly.enabled, anomaly.check_nan
        anomaly.enabled, anomaly.check_nan = bool(mode), bool(check_nan)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *details: object) -> None:
        anomaly.enabled, anomaly.check_nan = self._before


class detect_anomaly:
    """A block in which a backward pass stops at the first operation that returns NaN.

    The forward pass must run inside of the block too, so that its lines can be named.
    """

    def __init__(self, check_nan: bool = True) -> None:
        self._check_nan = check_nan

    def __enter__(self) -> None:
        self._block = set_detect_anomaly(True, self._check_nan)

    def __exit__(self, *details: object) -> None:
        self._block.__exit__(*details)


def is_anomaly_enabled() -> bool:
    """True while anomaly detection is on."""
    return anomaly.enabled


def is_anomaly_check_nan_enabled() -> bool:
    """True while the gradients of a backward pass are checked for NaN."""
    return anomaly.enabled and anomaly.check_nan


def check(entry: Entry, index: int, gradient: Tensor) -> None:
    """AutogradError if the gradient that `entry` gave to its source `index` holds a NaN."""
    if any_of(gradient.detach().isnan()).item():
        raise AutogradError(
            f"Function '{entry.name()}' returned nan values in its {index}th output"
            f"{described(getattr(entry, 'origin', None))}"
        )


def described(origin: Any) -> str:
    """Where the forward call of an entry stands, as the end of a message."""
    if origin is None:
        return (
            "; its forward call was made outside of detect_anomaly(): put the forward pass into "
            "the block, to see its line"
        )
    import linecache  # slow to import, and needed only here

    file, line, function = origin
    code = linecache.getline(file, line).strip()
    return f". Its forward call is in {function}, {file}:{line}" + (f": {code}" if code else "")
