"""The rows of the table of derivatives for computed places and scans.

Floor 6.  See `gradients.py`, which has the others.  The gradient of a gather is a scatter that
adds, the gradient of a scatter is a gather, and that of a sum so far is the sum from there on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlgrad.core.apply import filled, gather, read_view, scan, scatter, where
from dlgrad.core.tape import ROWS, Derivative, Entry, Row
from dlgrad.lazy.ops import IndexOps, Op, ReduceOps
from dlgrad.lazy.shape import View
from dlgrad.operators.comparison import eq, gt
from dlgrad.operators.elementwise import div, exp, log, mul, neg, sub

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

_R, _D = ReduceOps, Derivative


def _gathered(g: Tensor, e: Entry) -> Tensor:
    """Every element gets the sum of the gradients of its copies."""
    zeros = filled(0, g.dtype, e.source_shape(0), e.device)
    return scatter(zeros, g, e.b, e.arg, _R.SUM)


def _overwritten(g: Tensor, e: Entry) -> Tensor:
    return scatter(g, filled(0, g.dtype, e.c._shape, e.device), e.c, e.arg[0])


def _taken(g: Tensor, e: Entry) -> Tensor:
    return gather(g, e.c, e.arg[0])


def _shares(e: Entry) -> tuple[Tensor, Tensor]:
    """d(out)/d(base) and d(out)/d(values) of a scatter that multiplies, or keeps the extreme."""
    layout, combine = e.arg
    if combine is _R.PROD:
        # The product of the others: leave zeros out, and count them.
        base_zero, value_zero = eq(e.a, 0).to(e.dtype), eq(e.b, 0).to(e.dtype)
        zeros = scatter(base_zero, value_zero, e.c, layout, _R.SUM)
        nonzero = scatter(
            where(eq(e.a, 0), 1.0, e.a), where(eq(e.b, 0), 1.0, e.b), e.c, layout, _R.PROD
        )

        def others(mine: Tensor, product: Tensor, count: Tensor) -> Tensor:
            zero = eq(mine, 0)
            quotient = div(product, where(zero, 1.0, mine))
            return where(eq(count, zero.to(count.dtype)), where(zero, product, quotient), 0.0)

        return (
            others(e.a, nonzero, zeros),
            others(e.b, gather(nonzero, e.c, layout), gather(zeros, e.c, layout)),
        )
    base_hit = eq(e.a, e.out).to(e.dtype)
    value_hit = eq(e.b, gather(e.out, e.c, layout)).to(e.dtype)
    hits = scatter(base_hit, value_hit, e.c, layout, _R.SUM)
    return div(base_hit, hits.clamp(min=1)), div(value_hit, gather(hits, e.c, layout).clamp(min=1))


def _backwards(x: Tensor, dim: int) -> Tensor:
    """`x` turned round along `dim`."""
    view = View.contiguous(x._shape)
    strides = tuple(-s if i == dim else s for i, s in enumerate(view.strides))
    first = max(x._shape[dim] - 1, 0) * view.strides[dim]
    return read_view(x, View(x._shape, strides, first))


def _sum_from_here(g: Tensor, dim: int) -> Tensor:
    return _backwards(scan(_R.SUM, _backwards(g, dim), dim), dim)


def _scanned_logarithm(g: Tensor, e: Entry) -> Tensor:
    """d(out_i)/d(x_j) = exp(x_j - out_i) for i >= j: sums of g, kept as logarithms.

    The lowest number stands for the logarithm of 0, so that this can be differentiated again.
    """
    dim = e.arg[0]

    def grown(part: Tensor) -> Tensor:
        positive = gt(part, 0)
        logs = where(positive, log(where(positive, part, 1.0)), float(part.dtype.min))
        return exp(e.a + _backwards(scan("logsumexp", _backwards(logs - e.out, dim), dim), dim))

    return sub(grown(g.clamp(min=0)), grown(neg(g).clamp(min=0)))


def _scanned_product(g: Tensor, e: Entry) -> Tensor:
    """Sums of g * out from here on, over x; with the first zero taken out where there is one.

    Before the first zero nothing of it is seen; at the first zero the products of the others
    count, up to the second zero; behind it every derivative is 0.
    """
    dim = e.arg[0]
    zero = eq(e.a, 0)
    zeros = scan(_R.SUM, zero.to(e.dtype), dim)
    first = zero & eq(zeros, 1)
    plain = div(_sum_from_here(mul(g, where(eq(zeros, 0), e.out, 0.0)), dim), where(zero, 1.0, e.a))
    without = scan(_R.PROD, where(first, 1.0, e.a), dim)
    at_zero = _sum_from_here(mul(g, where(eq(zeros, 1), without, 0.0)), dim)
    return where(first, at_zero, where(eq(zeros, 0), plain, 0.0))


def _rows() -> dict[Op | str, Row]:
    """Computed places, and what goes through its elements in order."""
    return {
        IndexOps.GATHER: Row("Gather", _D("b", _gathered), None),
        IndexOps.SCATTER: Row("Scatter", _D("c", _overwritten), _D("c", _taken), None),
        "scatter_sum": Row("ScatterAdd", _D("", lambda g, e: g), _D("c", _taken), None),
        "scatter_fold": Row(
            "ScatterReduce",
            _D("abco", lambda g, e: mul(g, _shares(e)[0])),
            _D("abco", lambda g, e: mul(_taken(g, e), _shares(e)[1])),
            None,
        ),
        "cumsum": Row("Cumsum", _D("", lambda g, e: _sum_from_here(g, e.arg[0]))),
        "cumprod": Row("Cumprod", _D("ao", _scanned_product)),
        "logcumsumexp": Row("Logcumsumexp", _D("ao", _scanned_logarithm)),
    }


ROWS.update(_rows())
