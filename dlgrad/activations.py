"""Activation functions of neural networks, and the softmax family.

Floor 6.  Those whose composed derivative would lose accuracy or pass over the data more often
than needed are recorded as one operation, with a row of their own in the table.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dlgrad.apply import cast, reduce, where
from dlgrad.base import Number
from dlgrad.dims import wrap_dim
from dlgrad.dtype import BOOL, DType
from dlgrad.elementwise import (
    abs,
    add,
    as_float,
    clamp,
    composed,
    div,
    erf,
    exp,
    expm1,
    gt,
    le,
    log1p,
    mul,
    neg,
    paused,
    sub,
)
from dlgrad.elementwise import tanh as tanh
from dlgrad.errors import DTypeError
from dlgrad.ops import ReduceOps
from dlgrad.reductions import logsumexp
from dlgrad.reductions import sum as sum_of
from dlgrad.tape import ROWS, Derivative, Entry, Row, check_writable, old_value, write

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def _maybe_in_place(input: Tensor, result: Tensor, inplace: bool) -> Tensor:
    if not inplace:
        return result
    check_writable(input, False)
    write(input, result, fresh=True)
    return input


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """input where it is positive, else 0 (NaN stays)."""
    if input.dtype.kind == BOOL:
        raise DTypeError("Boolean inputs not supported for relu")
    source = old_value(input) if inplace else input
    with paused():
        out = where(le(source, 0), 0, source)
    return _maybe_in_place(input, composed("relu", out, source), inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """`input` limited to [0, 6]."""
    source = old_value(input) if inplace else input
    return _maybe_in_place(input, clamp(source, 0, 6), inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """input where it is positive, else negative_slope * input."""
    source = old_value(input) if inplace else input
    out = where(gt(source, 0), source, mul(source, negative_slope))
    return _maybe_in_place(input, out, inplace)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input where it is positive, else alpha * (exp(input) - 1)."""
    source = old_value(input) if inplace else input
    positive = gt(source, 0)
    low = mul(expm1(where(positive, 0.0, source)), alpha)
    return _maybe_in_place(input, where(positive, source, low), inplace)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """The self-normalising elu."""
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    source = old_value(input) if inplace else input
    return _maybe_in_place(input, mul(elu(source, alpha), scale), inplace)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-input))."""
    source = as_float(input)
    with paused():
        out = div(1.0, add(exp(neg(source)), 1.0))
    return composed("sigmoid", out, source)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(input)), accurate for very negative input."""
    source = as_float(input)
    with paused():
        out = sub(clamp(source, max=0.0), log1p(exp(neg(abs(source)))))
    return composed("logsigmoid", out, source)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * input)) / beta, and `input` itself above `threshold`."""
    with paused():
        scaled = mul(input, beta)
        linear = gt(scaled, threshold)
        out = where(linear, input, div(log1p(exp(where(linear, 0.0, scaled))), beta))
    return composed("softplus", out, input, arg=(beta, threshold))


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """input * sigmoid(input)."""
    source = old_value(input) if inplace else input
    return _maybe_in_place(input, mul(source, sigmoid(source)), inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """input * tanh(softplus(input))."""
    source = old_value(input) if inplace else input
    return _maybe_in_place(input, mul(source, tanh(softplus(source))), inplace)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """`input` limited to [min_val, max_val]."""
    source = old_value(input) if inplace else input
    return _maybe_in_place(input, clamp(source, min_val, max_val), inplace)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """(input + 3) / 6 limited to [0, 1]."""
    source = old_value(input) if inplace else input
    return _maybe_in_place(input, div(clamp(add(source, 3.0), 0, 6), 6.0), inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """input * hardsigmoid(input)."""
    source = old_value(input) if inplace else input
    return _maybe_in_place(input, mul(source, hardsigmoid(source)), inplace)


def softsign(input: Tensor) -> Tensor:
    """input / (1 + |input|)."""
    return div(input, add(abs(input), 1))


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """input * P(a standard normal number is below input); "tanh" approximates it."""
    if approximate == "none":
        inner = add(erf(mul(input, math.sqrt(0.5))), 1.0)
    elif approximate == "tanh":
        cubed = mul(mul(mul(input, input), input), 0.044715)
        inner = add(tanh(mul(add(input, cubed), math.sqrt(2 / math.pi))), 1.0)
    else:
        raise RuntimeError(f"approximate argument must be either none or tanh, not {approximate!r}")
    return mul(mul(input, 0.5), inner)


# The softmax family ---------------------------------------------------------------------------


def _one_dim(input: Tensor, dim: int | None, dtype: DType | None) -> tuple[Tensor, int]:
    if dim is None:
        raise TypeError("softmax needs `dim`: the dimension along which the results add up to 1")
    source = as_float(input) if dtype is None else cast(input, dtype)
    return source, wrap_dim(dim, input.ndim)


def softmax(input: Tensor, dim: int | None = None, dtype: DType | None = None) -> Tensor:
    """exp(input) divided by its sum along `dim`, without overflow."""
    source, dim = _one_dim(input, dim, dtype)
    dims = (dim,) if source._shape else ()
    with paused():
        grown = exp(sub(source, reduce(ReduceOps.MAX, source, dims, True)))
        out = div(grown, reduce(ReduceOps.SUM, grown, dims, True))
    return composed("softmax", out, source, arg=dims)


def softmin(input: Tensor, dim: int | None = None, dtype: DType | None = None) -> Tensor:
    """softmax(-input)."""
    return softmax(neg(input), dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, dtype: DType | None = None) -> Tensor:
    """log(softmax(input)) along `dim`, accurate also where softmax is tiny."""
    source, dim = _one_dim(input, dim, dtype)
    dims = (dim,) if source._shape else ()
    with paused():
        apart = sub(source, reduce(ReduceOps.MAX, source, dims, True))
        out = sub(apart, reduce(ReduceOps.SUM, exp(apart), dims, True).log())
    return composed("log_softmax", out, source, arg=dims)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along `dim` times the sigmoid of the second."""
    dim = wrap_dim(dim, input.ndim)
    if not input._shape or input._shape[dim] % 2:
        raise RuntimeError(
            f"Halving dimension must be even, but dimension {dim} of shape {input._shape} is not"
        )
    value, gate = input.chunk(2, dim)
    return mul(value, sigmoid(gate))


def normalize(input: Tensor, p: Number = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """`input` divided by its p-norm along `dim`, or by `eps` where that is larger."""
    return div(input, clamp(input.norm(p, dim, keepdim=True), min=eps))


def _softmax_gradient(g: Tensor, e: Entry) -> Tensor:
    out = e.out
    return mul(out, sub(g, sum_of(mul(g, out), e.arg, keepdim=True) if e.arg else mul(g, out)))


def _log_softmax_gradient(g: Tensor, e: Entry) -> Tensor:
    return sub(g, mul(exp(e.out), sum_of(g, e.arg, keepdim=True) if e.arg else g))


def _softplus_gradient(g: Tensor, e: Entry) -> Tensor:
    beta, threshold = e.arg
    scaled = mul(e.a, beta)
    return where(gt(scaled, threshold), g, mul(g, sigmoid(scaled)))


ROWS.update(
    {
        "softmax": Row("Softmax", Derivative("o", _softmax_gradient)),
        "log_softmax": Row("LogSoftmax", Derivative("o", _log_softmax_gradient)),
        "softplus": Row("Softplus", Derivative("a", _softplus_gradient)),
    }
)

__all__ = [
    "elu", "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "log_softmax",
    "logsigmoid", "logsumexp", "mish", "normalize", "relu", "relu6", "selu", "sigmoid", "silu",
    "softmax", "softmin", "softplus", "softsign", "tanh",
]  # fmt: skip
