"""`dlgrad.special`: mathematical functions under the names of `torch.special`.

Floor 6.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dlgrad.core.apply import where
from dlgrad.core.arguments import check_namespace
from dlgrad.core.base import is_tensor
from dlgrad.core.composing import as_float, need_tensor, whole
from dlgrad.core.tape import ROWS, Derivative, Entry, Row
from dlgrad.neural.activations import log_softmax, sigmoid, softmax
from dlgrad.operators.bessel import i0, i0e, i1, i1e
from dlgrad.operators.comparison import eq, gt, isnan
from dlgrad.operators.elementwise import clamp, erf, exp2, expm1, log, log1p, mul, round, sub, xlogy
from dlgrad.operators.error_functions import erfc, erfcx, erfinv, log_ndtr, ndtr, ndtri
from dlgrad.operators.gamma_functions import digamma, lgamma, mvlgamma, polygamma, zeta
from dlgrad.operators.reductions import logsumexp
from dlgrad.operators.trigonometry import sinc

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

__all__ = [
    "digamma", "entr", "erf", "erfc", "erfcx", "erfinv", "exp2", "expit", "expm1",
    "gammaln", "i0", "i0e", "i1", "i1e", "log1p", "log_ndtr", "log_softmax", "logit",
    "logsumexp", "multigammaln", "ndtr", "ndtri", "polygamma", "psi", "round", "sinc",
    "softmax", "xlog1py", "xlogy", "zeta",
]  # fmt: skip

expit, gammaln, psi, multigammaln = sigmoid, lgamma, digamma, mvlgamma


def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), the inverse of the sigmoid; x is limited to [eps, 1 - eps] first.

    Without `eps` the result is NaN outside [0, 1].
    """
    x = as_float(input)
    if eps is not None:
        x = clamp(x, eps, 1 - eps)
    return sub(log(x), log1p(-x))


def entr(input: Tensor) -> Tensor:
    """The entropy -x log(x) of each element: 0 at zero, minus infinity below."""
    return whole("entr", _entr, input)


def _entr(x: Tensor) -> Tensor:
    inside = gt(x, 0)
    value = -x * where(inside, x, 1.0).log()
    edge = where(eq(x, 0), 0.0, where(isnan(x), x, -math.inf))
    return where(inside, value, edge)


def xlog1py(input: Any, other: Any) -> Tensor:
    """input * log(1 + other), and 0 where input is 0 (unless other is NaN)."""
    if is_tensor(other):
        nothing = eq(input, 0) & ~isnan(other) if is_tensor(input) else ~isnan(other) & (input == 0)
        return where(nothing, 0.0, mul(input, log1p(where(nothing, 0.0, other))))
    need_tensor("xlog1py", input)
    return xlog1py(input, as_float(input) * 0 + other)


def _entr_slope(g: Tensor, e: Entry) -> Tensor:
    inside = gt(e.a, 0)
    slope = -1 - where(inside, e.a, 1.0).log()
    return mul(g, where(inside, slope, where(eq(e.a, 0), math.inf, math.nan)))


ROWS["entr"] = Row("SpecialEntr", Derivative("a", _entr_slope))


check_namespace(globals(), __all__)
