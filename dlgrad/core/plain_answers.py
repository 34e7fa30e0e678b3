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
    is_sparse_csr = False
    is_quantized = False
    is_meta = False
    is_nested = False
    is_mkldnn = False
    is_vulkan = False
    is_xla = False
    is_xpu = False

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

    @property
    def name(self) -> None:
        """None: tensors have no names."""
        return None

    def ndimension(self) -> int:
        """The number of dimensions."""
        return len(self._shape)

    def get_device(self) -> int:
        """The number of the GPU, or -1 for the CPU."""
        kind, _, number = node_of(self).device.partition(":")
        return int(number or 0) if kind in ("cuda", "metal") else -1

    def is_same_size(self, other: Tensor) -> bool:
        """Whether `other` has the same shape."""
        return self._shape == other._shape

    def is_conj(self) -> bool:
        """False: there are no complex numbers."""
        return False

    def is_neg(self) -> bool:
        """False: a negation is computed, not marked."""
        return False

    def is_inference(self) -> bool:
        """False: a tensor made under `inference_mode` can be used like any other."""
        return False

    def is_distributed(self) -> bool:
        """False: a tensor is on one device."""
        return False

    def is_pinned(self, device: Any = None) -> bool:
        """False: there is no page-locked memory."""
        return False

    def pin_memory(self, device: Any = None) -> Tensor:
        """The tensor itself: copies to a GPU are waited for, so there is nothing to pin."""
        if node_of(self).device != "cpu":
            raise RuntimeError(
                f"cannot pin a tensor on {node_of(self).device!r}: only dense CPU tensors can be "
                "pinned"
            )
        return self  # type: ignore[return-value]

    def is_shared(self) -> bool:
        """False: memory is not shared between processes."""
        return False

    def share_memory_(self) -> Tensor:
        """NotImplementedError: memory is not shared between processes."""
        raise OutOfScopeError(
            "dlgrad cannot share the memory of a tensor with another process: tensors that are "
            "sent to one are copied. Let one process train; data loaders have workers of their own"
        )

    def record_stream(self, stream: Any) -> None:
        """Changes nothing: each device works in one order, so memory is never reused too early."""

    def resolve_neg(self) -> Tensor:
        """The tensor itself: a negation is computed, not marked."""
        return self  # type: ignore[return-value]

    def conj_physical(self) -> Tensor:
        """The tensor itself: all numbers are real."""
        return self  # type: ignore[return-value]

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
