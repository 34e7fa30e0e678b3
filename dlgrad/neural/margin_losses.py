"""Loss functions that push things apart until a margin lies between them.

Floor 6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dlgrad.core.apply import where
from dlgrad.core.autocasting import autocasts
from dlgrad.errors import ShapeError
from dlgrad.matrix.distances import pairwise_distance
from dlgrad.neural.activations import logsigmoid
from dlgrad.neural.losses import check_same_rank, chosen_reduction, reduced
from dlgrad.operators.comparison import eq, ne
from dlgrad.operators.elementwise import clamp, minimum, mul, neg, rsqrt
from dlgrad.operators.reductions import sum as sum_of

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

Distance = Callable[["Tensor", "Tensor"], "Tensor"]


@autocasts
def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`input` itself where the target is 1, max(0, margin - input) where it is -1."""
    reduction = chosen_reduction(size_average, reduce, reduction)
    apart = where(ne(target, 1), clamp(margin - input, min=0.0), 0.0)
    together = where(ne(target, -1), input, 0.0)
    return reduced(apart + together, reduction)


@autocasts
def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-target * input)), for targets 1 and -1."""
    reduction = chosen_reduction(size_average, reduce, reduction)
    return reduced(neg(logsigmoid(mul(target, input))), reduction)


@autocasts
def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -target * (input1 - input2) + margin): target 1 where the first shall be larger."""
    reduction = chosen_reduction(size_average, reduce, reduction)
    check_same_rank("margin_ranking_loss", input1, input2, target)
    return reduced(clamp(neg(target) * (input1 - input2) + margin, min=0.0), reduction)


@autocasts
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cosine where the target is 1, max(0, cosine - margin) where it is -1.

    Inputs [batch, D] with target [batch], or [D] with a target without dimensions.
    """
    reduction = chosen_reduction(size_average, reduce, reduction)
    if target.ndim > 1:
        raise ShapeError("cosine_embedding_loss: 0D or 1D target tensor expected, multi-target "
                         f"not supported, got shape {list(target._shape)}")  # fmt: skip
    rank = target.ndim + 1
    if input1.ndim != rank or input2.ndim != rank:
        raise ShapeError(
            f"cosine_embedding_loss: {target.ndim}D target tensor expects {rank}D input tensors, "
            f"but found inputs with sizes {list(input1._shape)} and {list(input2._shape)}."
        )
    tiny = 1e-12
    squares = (sum_of(input1 * input1, -1) + tiny) * (sum_of(input2 * input2, -1) + tiny)
    cosine = sum_of(input1 * input2, -1) * rsqrt(squares)
    together = where(eq(target, 1), 1 - cosine, 0.0)
    apart = where(eq(target, -1), clamp(cosine - margin, min=0.0), 0.0)
    return reduced(together + apart, reduction)


@autocasts
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, |anchor - positive| - |anchor - negative| + margin), in the p-norm.

    With `swap` the negative counts from the positive where it is nearer to that.
    """
    reduction = chosen_reduction(size_average, reduce, reduction)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    return _triplet(anchor, positive, negative, distance, margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Distance | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with any distance, by default `pairwise_distance`."""
    distance = distance_function or pairwise_distance
    return _triplet(anchor, positive, negative, distance, margin, swap, reduction)


def _triplet(
    anchor: Tensor, positive: Tensor, negative: Tensor, distance: Distance, margin: float,
    swap: bool, reduction: str,
) -> Tensor:  # fmt: skip
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ShapeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            f"dimensions, but got: anchor {anchor.ndim}D, positive {positive.ndim}D, and negative "
            f"{negative.ndim}D inputs"
        )
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return reduced(clamp(margin + near - far, min=0.0), reduction)
