"""Activation functions of neural networks, and the softmax family.

Floor 6.  Those whose composed derivative would lose accuracy or pass over the data more often
than needed are recorded as one operation, with a row of their own in the table.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dlgrad import random
from dlgrad.core.apply import cast, counting, reduce, where
from dlgrad.core.autocasting import autocasts
from dlgrad.core.base import node_of
from dlgrad.core.composing import as_float, composed, paused
from dlgrad.core.dims import wrap_dim
from dlgrad.core.inplace import in_place
from dlgrad.core.tape import ROWS, Derivative, Entry, Row
from dlgrad.core.templates import remembered
from dlgrad.dtype import BOOL, FLOAT, DType, int64
from dlgrad.errors import DTypeError, ShapeError
from dlgrad.helpers import warn
from dlgrad.lazy.ops import ReduceOps
from dlgrad.operators.comparison import eq, ge, gt, le, lt
from dlgrad.operators.elementwise import (
    abs,
    add,
    clamp,
    div,
    erf,
    exp,
    expm1,
    log,
    log1p,
    mul,
    neg,
    sub,
)
from dlgrad.operators.elementwise import tanh as tanh
from dlgrad.operators.reductions import argmax, logsumexp
from dlgrad.operators.reductions import sum as sum_of

if TYPE_CHECKING:
    from dlgrad.lazy.shape import Shape
    from dlgrad.tensor import Tensor


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """input where it is positive, else 0 (NaN stays)."""
    if inplace:
        return relu_(input)
    if input.dtype.kind == BOOL:
        raise DTypeError("Boolean inputs not supported for relu")
    with paused():
        out = where(le(input, 0), 0, input)
    return composed("relu", out, input)


def _limited(x: Tensor, low: float, high: float) -> Tensor:
    """`x` between `low` and `high`; the slope is 0 on both of them, too (NaN stays)."""
    if x.dtype.kind != FLOAT:
        low, high = int(low), int(high)
    return where(le(x, low), low, where(ge(x, high), high, x))


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """`input` limited to [0, 6]."""
    return relu6_(input) if inplace else _limited(input, 0, 6)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """input where it is above `threshold`, else `value` (NaN stays)."""
    if inplace:
        return threshold_(input, threshold, value)
    return where(le(input, threshold), value, input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """input where it is positive, else negative_slope * input."""
    if inplace:
        return leaky_relu_(input, negative_slope)
    return where(gt(input, 0), input, mul(input, negative_slope))


@autocasts
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """input where it is positive, else weight * input; one weight, or one per channel (dim 1)."""
    if input.dtype is not weight.dtype:
        raise DTypeError(
            f"prelu: Type promoting not supported. Got {input.dtype!r} and {weight.dtype!r}"
        )
    if weight.ndim > 1:
        raise ShapeError(
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}"
        )
    if weight.numel() != 1:
        if not input._shape:
            raise ShapeError("prelu: Not allow zero-dim input tensor.")
        channels = input._shape[1] if input.ndim > 1 else 1
        if weight.numel() != channels:
            raise ShapeError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                f"{weight.numel()} and channel size = {channels}."
            )
        weight = weight.reshape((-1,) + (1,) * (input.ndim - 2))
    elif weight._shape:
        weight = weight.reshape(())
    return where(gt(input, 0), input, mul(weight, input))


def rrelu(
    input: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """input where it is positive, else a * input, with a drawn from [lower, upper) each time.

    Outside of training a is the middle of both.
    """
    if lower > upper:
        raise RuntimeError(
            f"Lower bound should be less than or equal to the upper bound, got {lower} > {upper}"
        )
    if inplace:
        return rrelu_(input, lower, upper, training)
    if not training:
        return leaky_relu(input, (lower + upper) / 2)
    drawn = random.rand(input._shape, dtype=input.dtype, device=input.device)
    slope = mul(drawn, upper - lower) + lower
    return where(gt(input, 0), input, mul(input, slope))


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input where it is positive, else alpha * (exp(input) - 1)."""
    if inplace:
        return elu_(input, alpha)
    positive = gt(input, 0)
    low = mul(expm1(where(positive, 0.0, input)), alpha)
    return where(positive, input, low)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input where it is positive, else alpha * (exp(input / alpha) - 1)."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    if inplace:
        return celu_(input, alpha)
    positive = gt(input, 0)
    low = mul(expm1(div(where(positive, 0.0, input), alpha)), alpha)
    return where(positive, input, low)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """The self-normalising elu."""
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return selu_(input) if inplace else mul(elu(input, alpha), scale)


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


@autocasts
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * input)) / beta, and `input` itself above `threshold`."""
    with paused():
        scaled = mul(input, beta)
        linear = gt(scaled, threshold)
        out = where(linear, input, div(log1p(exp(where(linear, 0.0, scaled))), beta))
    return composed("softplus", out, input, arg=(beta, threshold))


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """input * sigmoid(input)."""
    return silu_(input) if inplace else mul(input, sigmoid(input))


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """input * tanh(softplus(input))."""
    return mish_(input) if inplace else mul(input, tanh(softplus(input)))


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """`input` limited to [min_val, max_val]."""
    if min_val > max_val:
        raise ValueError(f"min_val cannot be greater than max_val: {min_val} > {max_val}")
    return hardtanh_(input, min_val, max_val) if inplace else _limited(input, min_val, max_val)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """(input + 3) / 6 limited to [0, 1]."""
    return hardsigmoid_(input) if inplace else div(_limited(add(input, 3.0), 0, 6), 6.0)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """input * hardsigmoid(input)."""
    return hardswish_(input) if inplace else mul(input, hardsigmoid(input))


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """input where it is further than `lambd` from 0, else 0 (NaN stays)."""
    return where(le(abs(input), lambd), 0.0, input)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """input moved by `lambd` towards 0, and 0 where it would pass it (NaN stays)."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    inner = where(lt(input, -lambd), input + lambd, mul(input, 0.0))
    return where(gt(input, lambd), input - lambd, inner)


def tanhshrink(input: Tensor) -> Tensor:
    """input - tanh(input)."""
    return sub(input, tanh(input))


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


def _one_dim(
    name: str, input: Tensor, dim: int | None, dtype: DType | None
) -> tuple[Tensor, int]:
    if dim is None:
        dim = 0 if input.ndim in (0, 1, 3) else 1
        warn(
            f"Implicit dimension choice for {name} has been deprecated. Change the call to "
            f"include dim={dim} as an argument.",
        )
    source = as_float(input) if dtype is None else cast(input, dtype)
    return source, wrap_dim(dim, input.ndim)


@autocasts
def softmax(input: Tensor, dim: int | None = None, dtype: DType | None = None) -> Tensor:
    """exp(input) divided by its sum along `dim`, without overflow."""
    source, dim = _one_dim("softmax", input, dim, dtype)
    dims = (dim,) if source._shape else ()
    with paused():
        out = remembered(("softmax", dims), (source,), lambda x: _softmax(x, dims))
    return composed("softmax", out, source, arg=dims)


def _softmax(x: Tensor, dims: Shape) -> Tensor:
    grown = exp(sub(x, reduce(ReduceOps.MAX, x, dims, True)))
    return div(grown, reduce(ReduceOps.SUM, grown, dims, True))


@autocasts
def softmin(input: Tensor, dim: int | None = None, dtype: DType | None = None) -> Tensor:
    """softmax(-input)."""
    return softmax(neg(input), dim, dtype)


@autocasts
def log_softmax(input: Tensor, dim: int | None = None, dtype: DType | None = None) -> Tensor:
    """log(softmax(input)) along `dim`, accurate also where softmax is tiny."""
    source, dim = _one_dim("log_softmax", input, dim, dtype)
    dims = (dim,) if source._shape else ()
    with paused():
        out = remembered(("log_softmax", dims), (source,), lambda x: _log_softmax(x, dims))
    return composed("log_softmax", out, source, arg=dims)


def _log_softmax(x: Tensor, dims: Shape) -> Tensor:
    apart = sub(x, reduce(ReduceOps.MAX, x, dims, True))
    return sub(apart, reduce(ReduceOps.SUM, exp(apart), dims, True).log())


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """A random, differentiable choice along `dim`: softmax((logits + Gumbel noise) / tau).

    With `hard` the result is 1 at its largest element and 0 elsewhere, and has the gradient of
    the soft one (Jang et al., "Categorical reparameterization with Gumbel-softmax", 2017).
    """
    dim = wrap_dim(dim, logits.ndim)
    drawn = random.rand(logits._shape, dtype=logits.dtype, device=logits.device)
    noise = neg(log(clamp(neg(log1p(neg(drawn))), min=eps)))
    soft = softmax(div(add(logits, noise), tau), dim)
    if not hard or not logits._shape:
        return soft
    with paused():
        number = counting(dim, int64, soft._shape, node_of(soft).device)
        chosen = cast(eq(number, argmax(soft, dim, keepdim=True)), soft.dtype)
    return add(sub(chosen, soft.detach()), soft)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along `dim` times the sigmoid of the second."""
    if not input._shape:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    dim = wrap_dim(dim, input.ndim)
    if input._shape[dim] % 2:
        raise RuntimeError(
            f"Halving dimension must be even, but dimension {dim} of shape {input._shape} is not"
        )
    value, gate = input.chunk(2, dim)
    return mul(value, sigmoid(gate))


def _softmax_gradient(g: Tensor, e: Entry) -> Tensor:
    out = e.out
    return mul(out, sub(g, sum_of(mul(g, out), e.arg, keepdim=True) if e.arg else mul(g, out)))


def _log_softmax_gradient(g: Tensor, e: Entry) -> Tensor:
    return sub(g, mul(exp(e.out), sum_of(g, e.arg, keepdim=True) if e.arg else g))


def _softplus_gradient(g: Tensor, e: Entry) -> Tensor:
    beta, threshold = e.arg
    scaled = mul(e.a, beta)
    return where(gt(scaled, threshold), g, mul(g, sigmoid(scaled)))


relu_ = in_place(relu)
relu6_ = in_place(relu6)
threshold_ = in_place(threshold)
leaky_relu_ = in_place(leaky_relu)
rrelu_ = in_place(rrelu)
elu_ = in_place(elu)
celu_ = in_place(celu)
selu_ = in_place(selu)
hardtanh_ = in_place(hardtanh)
hardsigmoid_ = in_place(hardsigmoid)
hardswish_ = in_place(hardswish)
silu_ = in_place(silu)
mish_ = in_place(mish)

ROWS.update(
    {
        "softmax": Row("Softmax", Derivative("o", _softmax_gradient)),
        "log_softmax": Row("LogSoftmax", Derivative("o", _log_softmax_gradient)),
        "softplus": Row("Softplus", Derivative("a", _softplus_gradient)),
    }
)

__all__ = [
    "celu", "celu_", "elu", "elu_", "gelu", "glu", "gumbel_softmax", "hardshrink", "hardsigmoid",
    "hardswish", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "log_softmax",
    "logsigmoid", "logsumexp", "mish", "prelu", "relu", "relu6", "relu_", "rrelu", "rrelu_",
    "selu", "selu_", "sigmoid", "silu", "softmax", "softmin", "softplus", "softshrink",
    "softsign", "tanh", "tanhshrink", "threshold", "threshold_",
]  # fmt: skip
