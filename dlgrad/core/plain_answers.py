"""Properties and methods of `Tensor` whose answer is always the same here.

Floor 6.  PyTorch's programs ask them; a dlgrad tensor is always real, dense and unquantized.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlgrad.core.base import TensorBase, node_of
from dlgrad.core.layout import layout as Layout
from dlgrad.core.layout import strided
from dlgrad.errors import OutOfScopeError

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


class PlainAnswers(TensorBase):
    """What every dlgrad tensor answers alike."""

    __slots__ = ()

    is_sparse = False
    is_quantized = False
    is_meta = False
    is_nested = False

    @property
    def is_cpu(self) -> bool:
        """True on the device "cpu"."""
        return node_of(self).device == "cpu"

    @property
    def is_mps(self) -> bool:
        """True on the device "metal"."""
        return node_of(self).device.startswith("metal")

    @property
    def layout(self) -> Layout:
        """`dlgrad.strided`."""
        return strided

    @property
    def real(self) -> Tensor:
        """The tensor itself: all numbers are real."""
        return self  # type: ignore[return-value]

    @property
    def imag(self) -> Tensor:
        """NotImplementedError: there are no complex numbers."""
        raise OutOfScopeError("dlgrad has no complex numbers, so a tensor has no imaginary part")

    def conj(self) -> Tensor:
        """The tensor itself: all numbers are real."""
        return self  # type: ignore[return-value]

    def resolve_conj(self) -> Tensor:
        """The tensor itself: all numbers are real."""
        return self  # type: ignore[return-value]

    def to_sparse(self, *args: Any, **kwargs: Any) -> Tensor:
        """NotImplementedError: there are no sparse tensors."""
        raise OutOfScopeError("dlgrad has no sparse tensors; a dense one holds the same numbers")

    def to_dense(self) -> Tensor:
        """The tensor itself: all tensors are dense."""
        return self  # type: ignore[return-value]
