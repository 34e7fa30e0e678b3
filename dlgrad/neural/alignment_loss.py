"""The loss of a sequence whose alignment with its labels is not known (CTC).

Floor 6.  After Graves et al., "Connectionist temporal classification", 2006: the probability of
the labels is the sum over all alignments, found step by step with the forward recursion, in
logarithms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlgrad.core.apply import where
from dlgrad.core.base import TensorBase
from dlgrad.core.dims import as_int
from dlgrad.dtype import float32, float64, int32, int64
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.neural.losses import check_reduction
from dlgrad.operators.comparison import lt, ne
from dlgrad.operators.elementwise import clamp, exp, maximum, neg
from dlgrad.operators.gathers import gather
from dlgrad.operators.joining import cat, stack
from dlgrad.operators.padding import pad_constant

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

NEVER = -1e30  # a logarithm of 0 that can be subtracted from itself


def _lengths(name: str, given: Tensor | Sequence[int], batch: int, most: int | None) -> list[int]:
    numbers = given.reshape(-1).tolist() if isinstance(given, TensorBase) else list(given)
    if len(numbers) != batch:
        raise RuntimeError(f"{name} must be of size batch_size {batch}, got {len(numbers)} numbers")
    for number in numbers:
        if not isinstance(number, int):
            raise DTypeError(f"{name} must be integral, got {number!r}")
        if number < 0:
            raise RuntimeError(f"Expected {name} to have value at least 0, but got value {number}")
        if most is not None and number > most:
            raise RuntimeError(
                f"Expected {name} to have value at most {most}, but got value {number}"
            )
    return numbers


def _rows(targets: Tensor, lengths: list[int]) -> Tensor:
    """The labels as [batch, longest], also where they came one after the other."""
    longest = max(lengths, default=0)
    if targets.ndim == 2:
        if targets._shape[0] != len(lengths) or targets._shape[1] < longest:
            raise ShapeError(
                f"Expected tensor to have size at least {longest} at dimension 1, but got size "
                f"{list(targets._shape)} for targets"
            )
        return targets.narrow(1, 0, longest)
    if targets._shape[0] != sum(lengths):
        raise ShapeError(
            f"Expected the concatenated targets to have {sum(lengths)} labels, the sum of "
            f"target_lengths, but got {targets._shape[0]}"
        )
    rows, start = [], 0
    for length in lengths:
        row = targets.narrow(0, start, length)
        rows.append(pad_constant(row, [(0, longest - length)], 0))
        start += length
    return stack(rows)


def _log_sum(parts: Sequence[Tensor]) -> Tensor:
    """log(exp(a) + exp(b) + ...), without overflow."""
    top = parts[0]
    for part in parts[1:]:
        top = maximum(top, part)
    top = top.detach()
    total = exp(parts[0] - top)
    for part in parts[1:]:
        total = total + exp(part - top)
    return total.log() + top


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor | Sequence[int],
    target_lengths: Tensor | Sequence[int],
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Minus the log-probability of the labels `targets` under `log_probs`, over all alignments.

    log_probs [T, batch, classes] or [T, classes] (from `log_softmax`), targets [batch, S] or all
    labels one after the other.  "mean" divides each loss by the number of its labels first.
    A sequence that is too short for its labels has an infinite loss, or 0 with `zero_infinity`.
    As in PyTorch the gradient is exp(log_probs) less the share of the alignments, which is that
    of the scores in front of `log_softmax`; it makes no difference behind it.
    Looks at the lengths, so they are computed at the call.
    """
    check_reduction(reduction)
    if log_probs.ndim == 2:
        alone = ctc_loss(
            log_probs.unsqueeze(1), targets.reshape((1, -1)), _as_list(input_lengths),
            _as_list(target_lengths), blank, reduction, zero_infinity,
        )  # fmt: skip
        return alone.squeeze(0) if reduction == "none" else alone
    if log_probs.ndim != 3:
        raise ShapeError(f"log_probs must be 2D or 3D, but it has shape {list(log_probs._shape)}")
    if log_probs.dtype is not float32 and log_probs.dtype is not float64:
        raise DTypeError(f"ctc_loss takes float32 or float64, got {log_probs.dtype!r}")
    if targets.dtype is not int64 and targets.dtype is not int32:
        raise DTypeError(f"targets must be int64 or int32, got {targets.dtype!r}")
    steps, batch, classes = log_probs._shape
    if not 0 <= as_int("ctc_loss", blank, "blank") < classes:
        raise RuntimeError(f"blank must be in label range, 0 to {classes - 1}, got {blank}")
    times = _lengths("input_lengths", input_lengths, batch, steps)
    counts = _lengths("target_lengths", target_lengths, batch, None)
    labels = _rows(targets.long(), counts)
    loss = neg(_log_likelihood(log_probs, labels, times, counts, blank))
    infinite = loss > -NEVER / 2
    loss = where(infinite, 0.0 if zero_infinity else float("inf"), loss)
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    return (loss / clamp(loss.new_tensor(counts), min=1)).mean()


def _as_list(lengths: Tensor | Sequence[int]) -> list[int]:
    """The lengths of a single sequence, which may come as one number."""
    if isinstance(lengths, TensorBase):
        return list(lengths.reshape(-1).tolist())
    return [lengths] if isinstance(lengths, int) else list(lengths)


def _log_likelihood(
    log_probs: Tensor, labels: Tensor, times: list[int], counts: list[int], blank: int
) -> Tensor:
    """[batch]: the logarithm of the sum over the alignments, `NEVER` and less where none is."""
    steps, batch, _ = log_probs._shape
    empty = labels.new_full((batch, labels._shape[1], 1), blank)
    # blank, label, blank, label ... blank
    path = stack([empty.squeeze(2), labels], 2).reshape((batch, -1))
    path = cat([path, labels.new_full((batch, 1), blank)], 1)
    length = path._shape[1]
    emitted = gather(log_probs, 2, path.unsqueeze(0).expand((steps, batch, length)))
    before = pad_constant(path.narrow(1, 0, max(length - 2, 0)), [(0, 0), (min(2, length), 0)], 0)
    may_skip = ne(path, blank) & ne(path, before)
    until = log_probs.new_tensor(times, dtype=int64).unsqueeze(1)
    place = log_probs.new_tensor(list(range(length)), dtype=int64).unsqueeze(0)
    alpha = where(lt(place, 2), emitted[0], NEVER) if steps else emitted.sum(0) + NEVER
    for t in range(1, steps):
        one = pad_constant(alpha.narrow(1, 0, length - 1), [(0, 0), (1, 0)], NEVER)
        ways = [alpha, one]
        if length > 2:
            two = pad_constant(alpha.narrow(1, 0, length - 2), [(0, 0), (2, 0)], NEVER)
            ways.append(where(may_skip, two, NEVER))
        alpha = where(lt(until, t + 1), alpha, _log_sum(ways) + emitted[t])
    last = alpha.new_tensor([2 * count for count in counts], dtype=int64).unsqueeze(1)
    end = gather(alpha, 1, last)
    label = where(last > 0, gather(alpha, 1, clamp(last - 1, min=0)), NEVER)
    found = _log_sum([end, label]).squeeze(1)
    row = log_probs.new_tensor(list(range(steps)), dtype=int64).reshape((steps, 1, 1))
    mass = where(lt(row, until.unsqueeze(0)), exp(log_probs), 0.0).sum((0, 2))
    return found - (mass - mass.detach())
