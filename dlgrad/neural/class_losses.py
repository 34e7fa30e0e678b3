"""Loss functions of classes: the target is a class number, several, or a distribution.

Floor 6.  Scores are [batch, classes, ...], or [classes] for one sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlgrad.core.apply import cast, counting, where
from dlgrad.core.autocasting import autocasts
from dlgrad.core.base import node_of
from dlgrad.core.composing import composed, paused
from dlgrad.core.dims import as_int
from dlgrad.core.host import known_numbers
from dlgrad.core.tape import ROWS, Derivative, Entry, Row
from dlgrad.core.templates import remembered
from dlgrad.dtype import FLOAT, DType, int64, uint8
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.neural.activations import log_softmax, logsigmoid
from dlgrad.neural.losses import chosen_reduction, reduced
from dlgrad.operators.comparison import eq, le, lt, ne
from dlgrad.operators.elementwise import clamp, div, mul, neg
from dlgrad.operators.reductions import amin
from dlgrad.operators.reductions import sum as sum_of

if TYPE_CHECKING:
    from dlgrad.lazy.shape import Shape
    from dlgrad.tensor import Tensor


def _class_dim(name: str, input: Tensor) -> int:
    if not input._shape:
        raise ShapeError(f"{name}: the input needs a dimension of classes, but it is 0-dimensional")
    return 0 if input.ndim == 1 else 1


def _check_classes(name: str, input: Tensor, target: Tensor, weight: Tensor | None) -> None:
    dim = _class_dim(name, input)
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
    _check_weight(name, input._shape[dim], weight)


def _check_weight(name: str, classes: int, weight: Tensor | None) -> None:
    if weight is not None and weight._shape != (classes,):
        raise ShapeError(
            f"{name}: weight tensor should be defined either for all {classes} classes or no "
            f"classes but got weight tensor of shape: {list(weight._shape)}"
        )


def _check_labels(target: Tensor, classes: int, ignore_index: int | None) -> bool:
    """IndexError for a label that is no class, where the labels are known already.

    Returns whether they are, see `known_numbers`; a wrong label elsewhere makes the loss NaN.
    """
    labels = known_numbers(target)
    for label in labels:
        if not 0 <= label < classes and label != ignore_index:
            raise IndexError(
                f"Target {label} is out of bounds: there are {classes} classes, 0 to "
                f"{classes - 1}; use ignore_index={label} for targets that should not count"
            )
    return bool(labels)


def _per_class(weight: Tensor, ndim: int, dim: int) -> Tensor:
    """One number per class, shaped to meet the scores."""
    return weight.reshape([-1 if i == dim else 1 for i in range(ndim)])


@autocasts
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-probability (from `log_softmax`, along dim 1) of the class in `target`.

    `weight` has one number per class; a target of `ignore_index` counts for nothing.  Raises
    IndexError for other targets that are no class; see `_check_labels`.
    """
    reduction = chosen_reduction(size_average, reduce, reduction)
    _check_classes("nll_loss", input, target, weight)
    return _label_loss(input, target, weight, ignore_index, reduction)


def _label_loss(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str
) -> Tensor:
    dim = 0 if input.ndim == 1 else 1
    classes = input._shape[dim]
    ignore_index = as_int("nll_loss", ignore_index, "ignore_index")
    known = _check_labels(target, classes, ignore_index)
    if weight is None:
        settings = (dim, ignore_index, reduction)
        with paused():
            loss = remembered(
                ("nll", settings, known),
                (input, target),
                lambda x, labels: _plain_label_loss(x, labels, *settings, known),
            )
        return composed("nll", loss, input, target, arg=settings)
    label = target.unsqueeze(dim)
    number = counting(dim, int64, input._shape, node_of(input).device)
    chosen = eq(number, label)
    weight = _per_class(weight, input.ndim, dim)
    kept = ne(label, ignore_index)
    loss = neg(sum_of(where(chosen & kept, input * weight, 0.0), dim))
    if not known:
        loss = _marked(loss, target, classes, ignore_index)
    if reduction != "mean":
        return reduced(loss, reduction)
    share = where(chosen & kept, weight, 0.0)
    return sum_of(loss) / sum_of(share)


def _plain_label_loss(
    input: Tensor, target: Tensor, dim: int, ignore_index: int, reduction: str, known: bool
) -> Tensor:
    """The loss without weights; `known` says that every label has been looked at."""
    chosen = _chosen(input._shape, target, ignore_index, dim)
    loss = neg(sum_of(where(chosen, input, 0.0), dim))
    if not known:
        loss = _marked(loss, target, input._shape[dim], ignore_index)
    if reduction != "mean":
        return reduced(loss, reduction)
    return div(sum_of(loss), _count(target, ignore_index, input.dtype))


def _chosen(shape: Shape, target: Tensor, ignore_index: int, dim: int) -> Tensor:
    """True at the class of each sample, nowhere in a sample that is ignored."""
    label = target.unsqueeze(dim)
    chosen = eq(counting(dim, int64, shape, node_of(target).device), label)
    return chosen & ne(label, ignore_index) if 0 <= ignore_index < shape[dim] else chosen


def _count(target: Tensor, ignore_index: int, dtype: DType) -> Tensor:
    """How many samples are not ignored."""
    return cast(sum_of(ne(target, ignore_index)), dtype)


def _marked(loss: Tensor, target: Tensor, classes: int, ignore_index: int) -> Tensor:
    """The loss of each sample, NaN where its label is no class."""
    is_class = ~lt(target, 0) & le(target, classes - 1)
    return where(is_class | eq(target, ignore_index), loss, float("nan"))


def _label_gradient(g: Tensor, e: Entry) -> Tensor:
    """Minus the share of each sample in the loss, at its class."""
    dim, ignore_index, reduction = e.arg
    chosen = _chosen(e.source_shape(0), e.b, ignore_index, dim)
    if reduction == "mean":
        g = div(g, _count(e.b, ignore_index, g.dtype))
    elif reduction == "none":
        g = g.unsqueeze(dim)
    return where(chosen, neg(g), 0.0)


ROWS["nll"] = Row("NllLoss", Derivative("b", _label_gradient), None)


@autocasts
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """`nll_loss` of `log_softmax`: `input` holds unnormalised scores, along dim 1.

    `target` holds class numbers, or probabilities in the shape of `input`.
    `label_smoothing` mixes that share of the uniform distribution into the target.
    """
    reduction = chosen_reduction(size_average, reduce, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    dim = _class_dim("cross_entropy", input)
    if target._shape == input._shape:
        if target.dtype.kind != FLOAT:
            raise DTypeError(
                "Expected floating point type for target with class probabilities, got "
                f"{target.dtype!r}"
            )
        if ignore_index >= 0:
            raise RuntimeError(
                "ignore_index is not supported for floating point target; leave it out"
            )
        _check_weight("cross_entropy", input._shape[dim], weight)
        logs = log_softmax(input, dim)
        return _soft_cross_entropy(logs, target, weight, reduction, label_smoothing, dim)
    _check_classes("cross_entropy", input, target, weight)
    logs = log_softmax(input, dim)
    loss = _label_loss(logs, target, weight, ignore_index, reduction)
    if label_smoothing == 0.0:
        return loss
    classes = input._shape[dim]
    if weight is not None:
        weight = _per_class(weight, input.ndim, dim)
        logs = logs * weight
    kept = ne(target, ignore_index)
    smooth = where(kept, neg(sum_of(logs, dim)), 0.0)
    if reduction == "mean" and weight is not None:
        number = counting(dim, int64, input._shape, node_of(input).device)
        chosen = eq(number, target.unsqueeze(dim)) & kept.unsqueeze(dim)
        smooth = sum_of(smooth) / sum_of(where(chosen, weight, 0.0))
    elif reduction == "mean":
        smooth = sum_of(smooth) / sum_of(kept).to(input.dtype)
    else:
        smooth = reduced(smooth, reduction)
    return (1.0 - label_smoothing) * loss + (label_smoothing / classes) * smooth


def _soft_cross_entropy(
    logs: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float, dim: int
) -> Tensor:
    classes = logs._shape[dim]
    if smoothing:
        target = target * (1.0 - smoothing) + smoothing / classes
    if weight is not None:
        logs = logs * _per_class(weight, logs.ndim, dim)
    loss = neg(sum_of(logs * target, dim))
    if reduction == "mean":
        return sum_of(loss) / max(loss.numel(), 1)
    return reduced(loss, reduction)


# Margins between classes ------------------------------------------------------------------------


def _check_samples(name: str, input: Tensor, target: Tensor, several: bool) -> None:
    """The shapes of [classes] or [batch, classes] with labels: one per sample, or `several`."""
    if input.ndim > 2 or (input._shape and not input._shape[-1]):
        raise ShapeError(
            f"{name}: Expected non-empty vector or matrix with optional 0-dim batch size, but "
            f"got: {list(input._shape)}"
        )
    expected = input._shape if several else input._shape[:-1]
    alone = not several and input.ndim < 2 and target._shape == (1,)
    if target._shape != expected and not alone:
        raise ShapeError(
            f"{name}: inconsistent target size: {list(target._shape)} for input of size: "
            f"{list(input._shape)}"
        )
    if target.dtype is not int64:
        raise DTypeError(
            f"{name}: expected target dtype int64 (class numbers), but got {target.dtype!r}; "
            "convert it with target.long()"
        )


@autocasts
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The sum over other classes of max(0, margin - score of the target + score) ** p, over C.

    Input [batch, C] or [C], target one class number per sample; `p` is 1 or 2.
    """
    reduction = chosen_reduction(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.ndim != 1:
        raise ValueError("weight must be one-dimensional")
    _check_samples("multi_margin_loss", input, target, several=False)
    scores = input.reshape((-1, input._shape[-1] if input._shape else 1))
    classes = scores._shape[1]
    _check_weight("multi_margin_loss", classes, weight)
    _check_labels(target, classes, None)
    number = counting(1, int64, scores._shape, node_of(scores).device)
    chosen = eq(number, target.reshape((-1, 1)))
    score = sum_of(where(chosen, scores, 0.0), 1, keepdim=True)
    lacking = clamp(margin - score + scores, min=0.0)
    lacking = lacking if p == 1 else lacking * lacking
    if weight is not None:
        lacking = lacking * sum_of(where(chosen, weight, 0.0), 1, keepdim=True)
    loss = sum_of(where(chosen, 0.0, lacking), 1) / classes
    return reduced(loss.reshape(target._shape), reduction)


@autocasts
def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The sum over pairs (a target class, another) of max(0, 1 - (score of it - score)), over C.

    Input [batch, C] or [C]; target, in the same shape, lists class numbers up to the first -1.
    """
    reduction = chosen_reduction(size_average, reduce, reduction)
    _check_samples("multilabel_margin_loss", input, target, several=True)
    classes = input._shape[-1] if input._shape else 1
    scores, labels = input.reshape((-1, classes)), target.reshape((-1, classes))
    for label in known_numbers(target):
        if not -1 <= label < classes:
            raise RuntimeError(
                f"multilabel_margin_loss: argument target is out of range: {label} with "
                f"{classes} classes"
            )
    device = node_of(input).device
    place = counting(1, int64, labels._shape, device)
    end = amin(where(lt(labels, 0), place, classes), 1, keepdim=True)
    listed = lt(place, end)
    # [batch, place in the list, class]
    shape = (*labels._shape, classes)
    named = eq(counting(2, int64, shape, device), labels.unsqueeze(2)) & listed.unsqueeze(2)
    is_target = named.any(1)
    score = sum_of(where(named, scores.unsqueeze(1), 0.0), 2, keepdim=True)
    lacking = clamp(1 - score + scores.unsqueeze(1), min=0.0)
    counted = listed.unsqueeze(2) & ~is_target.unsqueeze(1)
    loss = sum_of(where(counted, lacking, 0.0), (1, 2)) / classes
    return reduced(loss.reshape(input._shape[:-1]), reduction)


@autocasts
def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross entropy of sigmoid(input) with 0 or 1 per class, averaged over the classes."""
    reduction = chosen_reduction(size_average, reduce, reduction)
    loss = neg(mul(target, logsigmoid(input)) + (1 - target) * logsigmoid(neg(input)))
    if weight is not None:
        loss = loss * weight
    return reduced(loss.mean(-1) if loss._shape else loss, reduction)
