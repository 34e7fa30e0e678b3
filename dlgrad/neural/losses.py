"""Loss functions of numbers: how far predictions are from targets, as one number or per sample.

Floor 6.  `reduction` is "mean", "sum" or "none"; PyTorch's older `size_average` and `reduce` are
accepted in its place.  Losses of classes are in `class_losses.py`, those that keep things apart
by a margin in `margin_losses.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import where
from dlgrad.core.autocasting import autocasts
from dlgrad.core.base import is_tensor
from dlgrad.core.host import known_numbers
from dlgrad.dtype import FLOAT
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.helpers import warn
from dlgrad.lazy.shape import broadcast_shapes
from dlgrad.neural.activations import logsigmoid
from dlgrad.operators.comparison import le, lt
from dlgrad.operators.elementwise import abs, clamp, exp, log, mul, neg, sub, xlogy

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """The loss per element brought to what `reduction` asks for."""
    check_reduction(reduction)
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" else loss.sum()


def check_reduction(reduction: str) -> None:
    """ValueError for a word that is no reduction."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction: use mean, sum or none")


def chosen_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """`reduction`, or what PyTorch's older pair of arguments says in its place."""
    if size_average is None and reduce is None:
        return reduction
    reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
    warn(
        "size_average and reduce args will be deprecated, please use "
        f"reduction='{reduction}' instead.",
    )
    return reduction


def _matched(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one shape; a warning where that is not the shape of both."""
    if input._shape == target._shape:
        return input, target
    warn(
        f"Using a target size ({target.shape}) that is different to the input size "
        f"({input.shape}). This will likely lead to incorrect results due to broadcasting. "
        "Please ensure they have the same size.",
    )
    shape = broadcast_shapes(input._shape, target._shape)
    return input.expand(shape), target.expand(shape)


def _weighted(
    loss: Tensor, input: Tensor, weight: Tensor | None, reduction: str, by_weight: bool = True
) -> Tensor:
    """`reduced`, each element counted by its weight; the mean is over the sum of the weights."""
    if weight is None:
        return reduced(loss, reduction)
    if weight._shape != input._shape:
        raise ValueError(
            f"Weights and input must have the same size, got {list(weight._shape)} and "
            f"{list(input._shape)}"
        )
    if reduction == "mean" and by_weight:
        return (loss * weight).sum() / weight.sum()
    return reduced(loss * weight, reduction)


@autocasts
def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The square of the difference."""
    reduction = chosen_reduction(size_average, reduce, reduction)
    first, second = _matched(input, target)
    apart = sub(first, second)
    return _weighted(mul(apart, apart), input, weight, reduction)


@autocasts
def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The size of the difference."""
    reduction = chosen_reduction(size_average, reduce, reduction)
    first, second = _matched(input, target)
    return _weighted(abs(sub(first, second)), input, weight, reduction)


@autocasts
def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """Half the square (over beta) where the difference is below beta, else the size less half."""
    reduction = chosen_reduction(size_average, reduce, reduction)
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta, got {beta}")
    first, second = _matched(input, target)
    size = abs(sub(first, second))
    if beta == 0:
        return reduced(size, reduction)
    return reduced(where(lt(size, beta), 0.5 * size * size / beta, size - 0.5 * beta), reduction)


@autocasts
def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Half the square up to `delta`, and straight beyond (Huber, 1964)."""
    if delta <= 0:
        raise RuntimeError(f"huber_loss does not support non-positive values for delta: {delta}")
    first, second = _matched(input, target)
    size = abs(sub(first, second))
    loss = where(le(size, delta), 0.5 * size * size, delta * (size - 0.5 * delta))
    return _weighted(loss, input, weight, reduction, by_weight=False)


# Probabilities --------------------------------------------------------------------------------


@autocasts
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(target log(input) + (1 - target) log(1 - input)); the logarithms stop at -100.

    `input` holds probabilities: RuntimeError for others, where they are known already.
    """
    reduction = chosen_reduction(size_average, reduce, reduction)
    if input._shape != target._shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}) is deprecated. Please ensure they have the same size."
        )
    for value in known_numbers(input):
        if not 0 <= value <= 1:
            raise RuntimeError(
                f"all elements of input should be between 0 and 1, but there is {value}; "
                "binary_cross_entropy_with_logits takes scores of any size"
            )
    positive, negative = clamp(log(input), min=-100.0), clamp(log(1 - input), min=-100.0)
    loss = neg(target * positive + (1 - target) * negative)
    return reduced(loss if weight is None else loss * weight, reduction)


@autocasts
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """`binary_cross_entropy` of sigmoid(input), without its loss of accuracy."""
    reduction = chosen_reduction(size_average, reduce, reduction)
    if input._shape != target._shape:
        raise ValueError(
            f"Target size ({target.shape}) must be the same as input size ({input.shape})"
        )
    if pos_weight is None:
        loss = (1 - target) * input - logsigmoid(input)
    else:
        share = 1 + (pos_weight - 1) * target
        loss = (1 - target) * input - share * logsigmoid(input)
    return reduced(loss if weight is None else loss * weight, reduction)


@autocasts
def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """target * (log(target) - input), for log-probabilities `input`.

    "mean" divides by the number of elements, "batchmean" by the first size, which is what the
    Kullback-Leibler divergence means.
    """
    reduction = chosen_reduction(size_average, reduce, reduction)
    if log_target:
        loss = target.exp() * (target - input)
    else:
        loss = xlogy(target, target) - target * input
    if reduction == "batchmean":
        return loss.sum() / input._shape[0] if input._shape else loss.sum()
    return reduced(loss, reduction)


@autocasts
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-likelihood of counts `target` under a Poisson distribution.

    `input` is the rate or, with `log_input`, its logarithm.  `full` adds Stirling's
    approximation of log(target!) for targets above 1.
    """
    reduction = chosen_reduction(size_average, reduce, reduction)
    loss = exp(input) - target * input if log_input else input - target * log(input + eps)
    if full:
        many = target > 1
        count = where(many, target, 2.0)
        factorial = count * log(count) - count + 0.5 * log(2 * math.pi * count)
        loss = loss + where(many, factorial, 0.0)
    return reduced(loss, reduction)


@autocasts
def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-likelihood of `target` under normal distributions around `input`.

    `var` is the variance: a float, or a tensor in the shape of `input`, or with a last size of
    1, or without the last dimension; it counts as `eps` where it is smaller.  `full` adds the
    constant log(2 pi) / 2.
    """
    check_reduction(reduction)
    if input.dtype.kind != FLOAT:
        raise DTypeError(f"gaussian_nll_loss takes floating-point input, got {input.dtype!r}")
    if not is_tensor(var):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = input.detach() * 0 + float(var)
    elif any(value < 0 for value in known_numbers(var)):
        raise ValueError("var has negative entry/entries")
    if var._shape != input._shape:
        if input._shape[:-1] == var._shape:
            var = var.unsqueeze(-1)
        else:
            sizes = zip(input._shape, var._shape, strict=False)
            wrong = [small for big, small in sizes if big != small]
            if input.ndim != var.ndim or wrong != [1]:
                raise ValueError(
                    f"var is of incorrect size: {list(var._shape)} for input of size "
                    f"{list(input._shape)}"
                )
    # The variance has its gradient also where it counts as eps.
    var = var + (clamp(var.detach(), min=eps) - var.detach())
    loss = 0.5 * (log(var) + (input - target) ** 2 / var)
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


def check_same_rank(name: str, *tensors: Tensor) -> None:
    """ShapeError where the numbers of dimensions differ."""
    if len({x.ndim for x in tensors}) > 1:
        raise ShapeError(
            f"{name} : All input tensors should have same dimension but got sizes: "
            + ", ".join(str(list(x._shape)) for x in tensors)
        )
