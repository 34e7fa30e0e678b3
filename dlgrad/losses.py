"""Loss functions: how far predictions are from targets, as one number or per sample.

Floor 6.  `reduction` is "mean", "sum" or "none".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlgrad.activations import log_softmax, logsigmoid
from dlgrad.apply import counting, where
from dlgrad.base import node_of
from dlgrad.capture import current_capture
from dlgrad.dims import wrap_dim
from dlgrad.dtype import FLOAT, int64, uint8
from dlgrad.elementwise import abs, clamp, eq, le, log, mul, ne, neg, sub, xlogy
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.host import export_numbers
from dlgrad.ops import BufferOps
from dlgrad.reductions import sum as sum_of

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

MOST_CHECKED_LABELS = 4096


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """The loss per element brought to what `reduction` asks for."""
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"{reduction} is not a valid value for reduction: use mean, sum or none")


def _same_shape(name: str, input: Tensor, target: Tensor) -> None:
    if input._shape != target._shape:
        raise ShapeError(
            f"{name}: input and target must have the same shape, got {input._shape} and "
            f"{target._shape}; an expanded loss is rarely meant, so expand the target yourself "
            "if it is"
        )


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The square of the difference."""
    _same_shape("mse_loss", input, target)
    apart = sub(input, target)
    return reduced(mul(apart, apart), reduction)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The size of the difference."""
    _same_shape("l1_loss", input, target)
    return reduced(abs(sub(input, target)), reduction)


def smooth_l1_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """Half the square (over beta) where the difference is below beta, else the size less half."""
    _same_shape("smooth_l1_loss", input, target)
    if beta == 0:
        return l1_loss(input, target, reduction)
    size = abs(sub(input, target))
    return reduced(where(size < beta, 0.5 * size * size / beta, size - 0.5 * beta), reduction)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """Half the square up to `delta`, and straight beyond."""
    _same_shape("huber_loss", input, target)
    size = abs(sub(input, target))
    loss = where(le(size, delta), 0.5 * size * size, delta * (size - 0.5 * delta))
    return reduced(loss, reduction)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """-(target log(input) + (1 - target) log(1 - input)); the logarithms stop at -100."""
    _same_shape("binary_cross_entropy", input, target)
    positive, negative = clamp(log(input), min=-100.0), clamp(log(1 - input), min=-100.0)
    loss = neg(target * positive + (1 - target) * negative)
    return reduced(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """`binary_cross_entropy` of sigmoid(input), without its loss of accuracy."""
    _same_shape("binary_cross_entropy_with_logits", input, target)
    if pos_weight is None:
        loss = (1 - target) * input - logsigmoid(input)
    else:
        share = 1 + (pos_weight - 1) * target
        loss = (1 - target) * input - share * logsigmoid(input)
    return reduced(loss if weight is None else loss * weight, reduction)


def kl_div(
    input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """target * (log(target) - input), for log-probabilities `input`; "batchmean" is one more."""
    if log_target:
        loss = target.exp() * (target - input)
    else:
        loss = xlogy(target, target) - target * input
    if reduction == "batchmean":
        return loss.sum() / input._shape[0]
    return reduced(loss, reduction)


# Classes --------------------------------------------------------------------------------------


def _class_dim(input: Tensor) -> int:
    if not input._shape:
        raise ShapeError("the input needs a dimension of classes, but it is 0-dimensional")
    return 0 if input.ndim == 1 else 1


def _check_classes(name: str, input: Tensor, target: Tensor) -> None:
    dim = _class_dim(input)
    if target.dtype is not int64 and target.dtype is not uint8:
        raise DTypeError(
            f"{name}: expected target dtype int64 (class numbers), but got {target.dtype!r}; "
            "convert it with target.long()"
        )
    expected = input._shape[:dim] + input._shape[dim + 1 :]
    if target._shape != expected:
        if target._shape[:1] != input._shape[:1]:
            raise ValueError(
                f"Expected input batch_size ({(input._shape or (1,))[0]}) to match target "
                f"batch_size ({(target._shape or (1,))[0]})."
            )
        raise ShapeError(
            f"{name}: expected target size {list(expected)}, got {list(target._shape)}"
        )


def _check_labels(target: Tensor, classes: int, ignore_index: int) -> None:
    """IndexError for a label that is no class, where the labels are known already.

    Labels that are not computed yet, or many, or on another device, are not waited for: a
    wrong one among them makes the loss NaN.
    """
    storage = target._storage
    if (
        storage.node.op is not BufferOps.BUFFER
        or storage.device != "cpu"
        or storage.node.numel > MOST_CHECKED_LABELS
        or current_capture() is not None
    ):
        return
    for label in export_numbers(target):
        if not 0 <= label < classes and label != ignore_index:
            raise IndexError(
                f"Target {label} is out of bounds: there are {classes} classes, 0 to "
                f"{classes - 1}; use ignore_index={label} for targets that should not count"
            )


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-probability (from `log_softmax`, along dim 1) of the class in `target`.

    `weight` has one number per class; a target of `ignore_index` counts for nothing.  Raises
    IndexError for other targets that are no class; see `_check_labels`.
    """
    _check_classes("nll_loss", input, target)
    dim = _class_dim(input)
    classes = input._shape[dim]
    _check_labels(target, classes, ignore_index)
    label = target.unsqueeze(dim)
    number = counting(dim, int64, input._shape, node_of(input).device)
    chosen = eq(number, label)
    if weight is not None:
        shape = [1] * input.ndim
        shape[dim] = input._shape[dim]
        input = input * weight.reshape(shape)
    kept = ne(label, ignore_index)
    loss = neg(sum_of(where(chosen & kept, input, 0.0), dim))
    is_class = le(0, target) & le(target, classes - 1)
    loss = where(is_class | eq(target, ignore_index), loss, float("nan"))
    if reduction != "mean":
        return reduced(loss, reduction)
    if weight is None:
        return sum_of(loss) / sum_of(ne(target, ignore_index)).to(input.dtype)
    share = where(chosen & kept, weight.reshape(shape), 0.0)
    return sum_of(loss) / sum_of(share)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """`nll_loss` of `log_softmax`: `input` holds unnormalised scores, along dim 1.

    `target` holds class numbers, or probabilities in the shape of `input`.
    `label_smoothing` mixes that share of the uniform distribution into the target.
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    dim = _class_dim(input)
    logs = log_softmax(input, dim)
    if target.dtype.kind == FLOAT and target.ndim >= input.ndim:
        return _soft_cross_entropy(logs, target, weight, reduction, label_smoothing, dim)
    loss = nll_loss(logs, target, weight, ignore_index, reduction)
    if label_smoothing == 0.0:
        return loss
    classes = input._shape[dim]
    if weight is not None:
        shape = [1] * input.ndim
        shape[dim] = classes
        logs = logs * weight.reshape(shape)
    kept = ne(target, ignore_index)
    smooth = where(kept, neg(sum_of(logs, dim)), 0.0)
    if reduction == "mean" and weight is not None:
        number = counting(dim, int64, input._shape, node_of(input).device)
        chosen = eq(number, target.unsqueeze(dim)) & kept.unsqueeze(dim)
        smooth = sum_of(smooth) / sum_of(where(chosen, weight.reshape(shape), 0.0))
    elif reduction == "mean":
        smooth = sum_of(smooth) / sum_of(kept).to(input.dtype)
    else:
        smooth = reduced(smooth, reduction)
    return (1.0 - label_smoothing) * loss + (label_smoothing / classes) * smooth


def _soft_cross_entropy(
    logs: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float, dim: int
) -> Tensor:
    _same_shape("cross_entropy", logs, target)
    classes = logs._shape[dim]
    if smoothing:
        target = target * (1.0 - smoothing) + smoothing / classes
    if weight is not None:
        shape = [1] * logs.ndim
        shape[dim] = classes
        logs = logs * weight.reshape(shape)
    loss = neg(sum_of(logs * target, dim))
    if reduction == "mean":
        return sum_of(loss) / max(loss.numel(), 1)
    return reduced(loss, reduction)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 with a new last dimension: 1 at the place of the class number, else 0."""
    if tensor.dtype is not int64:
        raise DTypeError(f"one_hot is only applicable to index tensor of type int64, "
                         f"got {tensor.dtype!r}; convert it with .long()")
    if num_classes < 0:
        if not tensor.numel():
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        num_classes = int(tensor.max()) + 1
    shape = tensor._shape + (num_classes,)
    number = counting(len(shape) - 1, int64, shape, node_of(tensor).device)
    return eq(number, tensor.unsqueeze(-1)).to(int64)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along `dim`."""
    dim = wrap_dim(dim, max(x1.ndim, x2.ndim))
    lengths = clamp(x1.norm(2, dim), min=eps) * clamp(x2.norm(2, dim), min=eps)
    return sum_of(x1 * x2, dim) / lengths
