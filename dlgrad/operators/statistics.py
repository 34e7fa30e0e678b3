"""Statistics over variables and observations: covariances and correlations.

Floor 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlgrad.core.composing import as_float, need_tensor
from dlgrad.core.dims import as_int
from dlgrad.errors import ShapeError
from dlgrad.matrix.linear import matmul
from dlgrad.operators.elementwise import clamp, div

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def cov(
    input: Tensor,
    *,
    correction: int = 1,
    fweights: Tensor | None = None,
    aweights: Tensor | None = None,
) -> Tensor:
    """The covariances of the variables in the rows, whose observations are the columns.

    `fweights` (integers) say how often an observation was made, `aweights` (floats) how much
    it counts; both have one element for each column.
    """
    need_tensor("cov", input)
    if input.ndim > 2:
        raise ShapeError(
            f"cov(): expected input to have two or fewer dimensions but got {input.ndim} dimensions"
        )
    correction = as_int("cov", correction, "correction")
    x = as_float(input)
    x = x.reshape(1, -1) if x.ndim < 2 else x
    weights = _weights(x._shape[1], fweights, aweights)
    if weights is None:
        total: Any = x._shape[1]
        average = div(x.sum(1, keepdim=True), total)
        divisor: Any = max(total - correction, 0)
    else:
        total = weights.sum()
        average = (x * weights).sum(1, keepdim=True) / total
        divisor = total - correction
        if aweights is not None and correction:
            divisor = total - correction * (weights * aweights).sum() / total
        divisor = clamp(divisor, min=0)
    apart = x - average
    weighted = apart if weights is None else apart * weights
    return div(matmul(weighted, apart.T), divisor).squeeze()


def _weights(count: int, fweights: Tensor | None, aweights: Tensor | None) -> Tensor | None:
    """The product of both kinds of weights, checked; None without weights."""
    for name, weights in (("fweights", fweights), ("aweights", aweights)):
        if weights is None:
            continue
        if weights.ndim > 1:
            raise ShapeError(f"cov(): expected {name} to have one or fewer dimensions")
        if weights.numel() != count:
            raise ShapeError(
                f"cov(): expected {name} to have the same numel as there are observations in the "
                f"input but got {weights.numel()} != {count}"
            )
        if weights.dtype.is_integer != (name == "fweights"):
            kind = "integral" if name == "fweights" else "floating point"
            raise RuntimeError(f"cov(): expected {name} of {kind} dtype, got {weights.dtype!r}")
        if count and bool((weights < 0).any()):
            raise RuntimeError(f"cov(): {name} cannot be negative")
    if fweights is None:
        return aweights
    return fweights if aweights is None else fweights * aweights


def corrcoef(input: Tensor) -> Tensor:
    """The correlations of the variables in the rows: their covariances in units of spread."""
    need_tensor("corrcoef", input)
    if input.ndim > 2:
        raise ShapeError(
            f"corrcoef(): expected input to have two or fewer dimensions but got {input.ndim}"
        )
    covariances = cov(input)
    if not covariances._shape:
        return covariances / covariances
    spread = covariances.diagonal().sqrt()
    return clamp(covariances / spread.unsqueeze(1) / spread.unsqueeze(0), -1, 1)
