"""Lengths of vectors, and how far apart two of them are.

Floor 6.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import result_dtype, where
from dlgrad.core.autocasting import autocasts
from dlgrad.core.base import Number
from dlgrad.core.dims import wrap_dim
from dlgrad.dtype import FLOAT, int64
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.lazy.shape import broadcast_shapes
from dlgrad.matrix.linear import matmul
from dlgrad.operators.comparison import le
from dlgrad.operators.elementwise import clamp, div, mul, sqrt, sub
from dlgrad.operators.norms import norm
from dlgrad.operators.reductions import sum as sum_of

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

# From this many vectors on, Euclidean distances are computed by a matrix product.
MOST_DIRECT = 25


@autocasts
def normalize(
    input: Tensor, p: Number = 2.0, dim: int = 1, eps: float = 1e-12, out: Any = None
) -> Tensor:
    """`input` divided by its p-norm along `dim`, or by `eps` where that is larger."""
    if out is not None:
        raise NotImplementedError("normalize: `out` is not supported; use the result")
    return div(input, clamp(norm(input, p, dim, keepdim=True), min=eps))


@autocasts
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along `dim`; lengths count as at least `eps`."""
    dtype = result_dtype((x1, x2))
    if dtype.kind != FLOAT:
        raise DTypeError(
            "expected common dtype to be floating point, yet common dtype is "
            f"{dtype!r}; convert the vectors with .float()"
        )
    first, second = x1.to(dtype), x2.to(dtype)
    shape = broadcast_shapes(first._shape, second._shape)
    first, second = first.expand(shape), second.expand(shape)
    dim = wrap_dim(dim, len(shape))
    first = div(first, clamp(norm(first, 2, dim, keepdim=True), min=eps))
    second = div(second, clamp(norm(second, 2, dim, keepdim=True), min=eps))
    return sum_of(mul(first, second), dim) if shape else mul(first, second)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: Number = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last dimension."""
    return norm(sub(x1, x2) + eps, p, -1, keepdim)


@autocasts
def cdist(
    x1: Tensor,
    x2: Tensor,
    p: Number = 2.0,
    compute_mode: str = "use_mm_for_euclid_dist_if_necessary",
) -> Tensor:
    """[..., P, R] p-norm distances of all vectors of [..., P, M] to all of [..., R, M].

    Euclidean distances of more than 25 vectors are computed by a matrix product, which is
    faster and loses digits where vectors are close; `compute_mode` can say
    "use_mm_for_euclid_dist" or "donot_use_mm_for_euclid_dist".
    """
    modes = {
        "use_mm_for_euclid_dist_if_necessary": None,
        "use_mm_for_euclid_dist": True,
        "donot_use_mm_for_euclid_dist": False,
    }
    if compute_mode not in modes:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode: {list(modes)}")
    for name, x in (("X1", x1), ("X2", x2)):
        if x.dtype.kind != FLOAT:
            raise DTypeError(f"cdist only supports floating-point dtypes, {name} got: {x.dtype!r}")
        if x.ndim < 2:
            raise ShapeError(f"cdist only supports at least 2D tensors, {name} got: {x.ndim}D")
    if x1._shape[-1] != x2._shape[-1]:
        raise ShapeError(
            f"X1 and X2 must have the same number of columns. X1: {x1._shape[-1]} "
            f"X2: {x2._shape[-1]}"
        )
    if p < 0:
        raise RuntimeError(f"cdist only supports non-negative p values, got {p}")
    rows, columns = x1._shape[-2], x2._shape[-2]
    product = modes[compute_mode]
    if product is None:
        product = rows > MOST_DIRECT or columns > MOST_DIRECT
    if p == 2 and product and x1._shape[-1]:
        return _euclidean(x1, x2)
    apart = sub(x1.unsqueeze(-2), x2.unsqueeze(-3))
    if not apart._shape[-1]:
        return sum_of(apart, -1)
    return norm(apart, p, -1)


def _euclidean(x1: Tensor, x2: Tensor) -> Tensor:
    """sqrt(|a|^2 + |b|^2 - 2 a.b), with slope 0 where the vectors are equal."""
    lengths1 = sum_of(mul(x1, x1), -1, keepdim=True)
    lengths2 = sum_of(mul(x2, x2), -1, keepdim=True).transpose(-2, -1)
    squared = lengths1 + lengths2 - 2 * matmul(x1, x2.transpose(-2, -1))
    equal = le(squared, 0)
    return where(equal, 0.0, sqrt(where(equal, 1.0, squared)))


@autocasts
def pdist(input: Tensor, p: Number = 2.0) -> Tensor:
    """The p-norm distances between the rows of [N, M]: pairs (0, 1), (0, 2) ... (N-2, N-1)."""
    if input.ndim != 2:
        raise ShapeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    if input.dtype.kind != FLOAT:
        raise DTypeError(f"pdist only supports floating-point dtypes, got {input.dtype!r}")
    if p < 0 or math.isnan(p):
        raise RuntimeError(f"pdist only supports non-negative p values, got {p}")
    count = input._shape[0]
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    if not input._shape[1]:
        return input.new_zeros(len(pairs))
    first = input.new_tensor([i for i, _ in pairs], dtype=int64)
    second = input.new_tensor([j for _, j in pairs], dtype=int64)
    return norm(sub(input.index_select(0, first), input.index_select(0, second)), p, -1)
