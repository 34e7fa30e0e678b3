"""What functions composed from primitives share: recording as a whole, the type to work in.

Floor 6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import cast
from dlgrad.core.base import TensorBase, grad_mode
from dlgrad.core.tape import record
from dlgrad.dtype import FLOAT, get_default_dtype

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def need_tensor(function: str, value: Any, argument: str = "input") -> None:
    """TypeError unless `value`, which is `argument` of `function`, is a tensor."""
    if not isinstance(value, TensorBase):
        raise TypeError(
            f"{function}(): argument '{argument}' must be Tensor, not {type(value).__name__}; "
            "make a tensor of it with dlgrad.tensor(...)"
        )


def as_float(x: TensorBase) -> Tensor:
    """`x`, or its conversion to the default float type if it holds integers or bools."""
    if x.dtype.kind == FLOAT:
        return x  # type: ignore[return-value]
    return cast(x, get_default_dtype())


def composed(name: str, out: Tensor, *sources: TensorBase, arg: Any = None) -> Tensor:
    """Records `out`, computed while recording was paused, as one operation `name`."""
    record(name, arg, out, sources)
    return out


class paused:
    """`with paused():` composes without a tape; the operation is recorded as a whole after."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = grad_mode.enabled
        grad_mode.enabled = False

    def __exit__(self, *details: object) -> None:
        grad_mode.enabled = self._before


def whole(name: str, function: Callable[..., Tensor], *inputs: Tensor, arg: Any = None) -> Tensor:
    """`function(*inputs)` on floats, recorded as the one operation `name`.

    Half types are computed in float32 from end to end and rounded once.
    """
    sources = tuple(map(as_float, inputs))
    with paused():
        out = function(*map(widened, sources))
        out = cast(out, sources[0].dtype)
    return composed(name, out, *sources, arg=arg)


def widened(x: Tensor) -> Tensor:
    """`x` in the dtype that arithmetic on it is done in: float32 for the half types."""
    return cast(x, x.dtype.compute)


def polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """The polynomial in `x` with these coefficients, the lowest power first."""
    out: Any = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        out = out * x + coefficient
    return out  # type: ignore[no-any-return]


def by_precision(x: Tensor, single: Any, double: Any) -> Any:
    """`double` if `x` is float64, else `single`."""
    return double if x.dtype.itemsize == 8 else single
