"""The one list of operator cases that drives every check of `test_ops.py`.

To add an operator, add a row.  A row says how to call it and on which inputs; the checks
(against the reference evaluator, against plain mathematics, gradients, second gradients,
strided, empty and zero-dimensional inputs) follow from what it says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dlgrad
from dlgrad.matrix import distances
from dlgrad.neural import (
    activations,
    adaptive_pooling,
    affine,
    attention,
    class_losses,
    convolution,
    folding,
    fractional_pooling,
    interpolation,
    lookup,
    losses,
    normalization,
    pooling,
    transposed,
)
from dlgrad.operators import padding
from dlgrad.tensor import Tensor

Shape = tuple[int, ...]
Call = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """One operator on inputs of given shapes, with values between `low` and `high`.

    `scalar` is its mathematics on Python numbers, for element-wise operators; `kind` is the
    dtype of the inputs ("float", "int" or "bool"); `gradient` and `second` say which
    derivatives are checked, in float64.
    """

    name: str
    call: Call
    shapes: tuple[Shape, ...]
    scalar: Callable[..., Any] | None = None
    low: float = -2.0
    high: float = 2.0
    kind: str = "float"
    gradient: bool = True
    second: bool = True
    tolerance: float = 1e-5


MATRIX: Shape = (3, 4)
ONE = (MATRIX,)
TWO = (MATRIX, MATRIX)


def unary(name: str, scalar: Callable[..., Any], **options: Any) -> Case:
    return Case(name, lambda x: getattr(x, name)(), ONE, scalar, **options)


def binary(name: str, scalar: Callable[..., Any], **options: Any) -> Case:
    return Case(name, lambda x, y: getattr(x, name)(y), TWO, scalar, **options)


def flat(name: str, scalar: Callable[..., Any], **options: Any) -> Case:
    """A function that is constant between its steps: it has no slope to check."""
    return unary(name, scalar, gradient=False, second=False, **options)


def _sign(x: float) -> float:
    return float(x > 0) - float(x < 0)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def _normal_share(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


ELEMENTWISE = [
    unary("neg", lambda x: -x),
    unary("abs", abs),
    unary("square", lambda x: x * x),
    unary("exp", math.exp),
    unary("exp2", lambda x: 2.0**x),
    unary("expm1", math.expm1),
    unary("sin", math.sin),
    unary("cos", math.cos),
    unary("tan", math.tan, low=-1.2, high=1.2),
    unary("atan", math.atan),
    unary("asin", math.asin, low=-0.9, high=0.9),
    unary("acos", math.acos, low=-0.9, high=0.9),
    unary("sinh", math.sinh),
    unary("cosh", math.cosh),
    unary("tanh", math.tanh),
    unary("erf", math.erf),
    unary("sigmoid", _sigmoid),
    unary("sinc", lambda x: math.sin(math.pi * x) / (math.pi * x)),
    unary("asinh", math.asinh),
    unary("acosh", math.acosh, low=1.2, high=4.0),
    unary("atanh", math.atanh, low=-0.9, high=0.9),
    unary("erfc", math.erfc),
    unary("lgamma", math.lgamma, low=0.3, high=12.0),
    unary("logit", lambda x: math.log(x / (1 - x)), low=0.1, high=0.9),
    unary("relu", lambda x: max(x, 0.0)),
    unary("log", math.log, low=0.2, high=4.0),
    unary("log2", math.log2, low=0.2, high=4.0),
    unary("log10", math.log10, low=0.2, high=4.0),
    unary("log1p", math.log1p, low=-0.7, high=4.0),
    unary("sqrt", math.sqrt, low=0.2, high=4.0),
    unary("rsqrt", lambda x: 1 / math.sqrt(x), low=0.2, high=4.0),
    unary("reciprocal", lambda x: 1 / x, low=0.2, high=4.0),
    unary("frac", lambda x: x - math.trunc(x)),
    flat("sign", _sign),
    flat("floor", math.floor),
    flat("ceil", math.ceil),
    flat("trunc", math.trunc),
    flat("round", round),
    flat("isnan", math.isnan),
    flat("isinf", math.isinf),
    flat("isfinite", math.isfinite),
    flat("logical_not", lambda x: not x),
    binary("add", lambda x, y: x + y),
    binary("sub", lambda x, y: x - y),
    binary("mul", lambda x, y: x * y),
    binary("div", lambda x, y: x / y, low=0.3, high=3.0),
    binary("pow", lambda x, y: x**y, low=0.3, high=2.5),
    binary("maximum", max),
    binary("minimum", min),
    binary("remainder", lambda x, y: x % y, low=0.35, high=3.0, second=False),
    binary("fmod", math.fmod, low=0.35, high=3.0, second=False),
    binary("logaddexp", lambda x, y: math.log(math.exp(x) + math.exp(y))),
    binary("logaddexp2", lambda x, y: math.log2(2**x + 2**y)),
    binary("atan2", math.atan2),
    binary("hypot", math.hypot),
    binary("copysign", math.copysign),
    binary("fmax", max),
    binary("float_power", lambda x, y: x**y, low=0.3, high=2.5),
    binary("xlogy", lambda x, y: x * math.log(y), low=0.3, high=3.0),
    binary("floor_divide", lambda x, y: x // y, low=0.3, high=3.0, gradient=False, second=False),
    *[
        binary(name, scalar, gradient=False, second=False)
        for name, scalar in {
            "lt": lambda x, y: x < y,
            "le": lambda x, y: x <= y,
            "gt": lambda x, y: x > y,
            "ge": lambda x, y: x >= y,
            "eq": lambda x, y: x == y,
            "ne": lambda x, y: x != y,
        }.items()
    ],
    Case("x ** 2", lambda x: x**2, ONE, lambda x: x**2),
    Case("x ** 3", lambda x: x**3, ONE, lambda x: x**3),
    Case("x ** -1", lambda x: x**-1, ONE, lambda x: 1 / x, low=0.3),
    Case("x ** 0.5", lambda x: x**0.5, ONE, math.sqrt, low=0.3),
    Case("x ** 1.7", lambda x: x**1.7, ONE, lambda x: x**1.7, low=0.3),
    Case("1.7 ** x", lambda x: 1.7**x, ONE, lambda x: 1.7**x),
    Case("3 - x", lambda x: 3 - x, ONE, lambda x: 3 - x),
    Case("3 / x", lambda x: 3 / x, ONE, lambda x: 3 / x, low=0.3),
    Case("clamp", lambda x: x.clamp(-0.5, 0.8), ONE, lambda x: min(max(x, -0.5), 0.8)),
    Case("lerp", lambda x, y: x.lerp(y, 0.3), TWO, lambda x, y: x + 0.3 * (y - x)),
    Case("addcmul", lambda x, y: x.addcmul(x, y, value=2), TWO, lambda x, y: x + 2 * x * y),
    Case("addcdiv", lambda x, y: x.addcdiv(x, y), TWO, lambda x, y: x + x / y, low=0.4),
    Case("where", lambda x, y: dlgrad.where(x > y, x, y * 2), TWO,
         lambda x, y: x if x > y else y * 2),
    Case("masked_fill", lambda x: x.masked_fill(x > 0.5, 9.0), ONE,
         lambda x: 9.0 if x > 0.5 else x),
    Case("leaky_relu", activations.leaky_relu, ONE, lambda x: x if x > 0 else 0.01 * x),
    Case("elu", activations.elu, ONE, lambda x: x if x > 0 else math.expm1(x)),
    Case("silu", activations.silu, ONE, lambda x: x * _sigmoid(x)),
    Case("gelu", activations.gelu, ONE, lambda x: x * _normal_share(x)),
    Case("softplus", activations.softplus, ONE, _softplus),
    Case("logsigmoid", activations.logsigmoid, ONE, lambda x: math.log(_sigmoid(x))),
    Case("mish", activations.mish, ONE, lambda x: x * math.tanh(_softplus(x))),
    Case("softsign", activations.softsign, ONE, lambda x: x / (1 + abs(x))),
    Case("hardtanh", activations.hardtanh, ONE, lambda x: min(max(x, -1.0), 1.0)),
]  # fmt: skip

_INT = {"kind": "int", "gradient": False, "second": False, "low": -7, "high": 9}
_NATURAL = {**_INT, "low": 1, "high": 6}
_BOOL = {"kind": "bool", "gradient": False, "second": False, "low": 0, "high": 2}

INTEGERS = [
    binary("add", lambda x, y: x + y, **_INT),
    binary("mul", lambda x, y: x * y, **_INT),
    binary("floor_divide", lambda x, y: x // y, **_NATURAL),
    binary("remainder", lambda x, y: x % y, **_NATURAL),
    binary("pow", lambda x, y: x**y, **_NATURAL),
    binary("div", lambda x, y: x / y, **_NATURAL),
    binary("bitwise_and", lambda x, y: x & y, **_INT),
    binary("bitwise_or", lambda x, y: x | y, **_INT),
    binary("bitwise_xor", lambda x, y: x ^ y, **_INT),
    binary("bitwise_left_shift", lambda x, y: x << y, **_NATURAL),
    binary("bitwise_right_shift", lambda x, y: x >> y, **_NATURAL),
    binary("maximum", max, **_INT),
    unary("bitwise_not", lambda x: ~x, **_INT),
    unary("abs", abs, **_INT),
    unary("sign", _sign, **_INT),
    unary("exp", math.exp, **_INT),
    Case("div trunc", lambda x, y: x.div(y, rounding_mode="trunc"), TWO,
         lambda x, y: int(x / y), **_NATURAL),
    Case("-x trunc", lambda x, y: (-x).div(y, rounding_mode="trunc"), TWO,
         lambda x, y: int(-x / y), **_NATURAL),
    binary("add", lambda x, y: x or y, **_BOOL),
    binary("mul", lambda x, y: x and y, **_BOOL),
    binary("bitwise_xor", lambda x, y: x != y, **_BOOL),
    binary("logical_and", lambda x, y: x and y, **_BOOL),
    binary("logical_or", lambda x, y: x or y, **_BOOL),
    unary("logical_not", lambda x: not x, **_BOOL),
    unary("bitwise_not", lambda x: not x, **_BOOL),
]  # fmt: skip


def over(name: str, call: Call, *shapes: Shape, **options: Any) -> Case:
    return Case(name, call, shapes, **options)


CUBE: Shape = (2, 3, 4)

REDUCTIONS = [
    case
    for name in ("sum", "mean", "prod", "amax", "amin", "var", "std", "logsumexp", "norm")
    for case in (
        over(f"{name} of one dim", lambda x, n=name: _reduce(x, n, 1), CUBE),
        over(f"{name} of two dims, kept", lambda x, n=name: _reduce(x, n, (0, 2), True), CUBE),
        over(f"{name} of all", lambda x, n=name: _reduce(x, n, (0, 1, 2)), CUBE),
    )
] + [
    over("max along a dim", lambda x: x.max(1).values, CUBE),
    over("min along a dim", lambda x: x.min(-1, keepdim=True).values, CUBE),
    over("argmax", lambda x: x.argmax(), CUBE, gradient=False, second=False),
    over("argmin along a dim", lambda x: x.argmin(0), CUBE, gradient=False, second=False),
    over("any", lambda x: (x > 1.5).any(2), CUBE, gradient=False, second=False),
    over("all", lambda x: (x > -1.5).all(), CUBE, gradient=False, second=False),
    over("count_nonzero", lambda x: (x > 0).count_nonzero(1), CUBE, gradient=False, second=False),
    over("var, biased", lambda x: x.var(0, correction=0), CUBE),
    over("var_mean", lambda x: sum(dlgrad.var_mean(x, 1)), CUBE),
]


def _reduce(x: Tensor, name: str, dims: Any, keepdim: bool = False) -> Tensor:
    if name == "norm":
        return x.norm(2, dims, keepdim)
    if name == "prod":  # PyTorch's takes one dimension
        return dlgrad.prod(x, dims, keepdim)
    result: Tensor = getattr(x, name)(dims, keepdim=keepdim)
    return result


MOVEMENT = [
    over("reshape", lambda x: x.reshape(4, 6) * 1.5, CUBE),
    over("reshape of a transpose", lambda x: x.transpose(0, 2).reshape(6, 4) * 1.5, CUBE),
    over("permute", lambda x: x.permute(2, 0, 1) * 1.5, CUBE),
    over("expand", lambda x: x.expand(2, 3, 4) * 1.5, (3, 1)),
    over("slice", lambda x: x[1:, ::2, None] * 1.5, (4, 5)),
    over("select", lambda x: x[1, ..., -1] * 1.5, CUBE),
    over("flip", lambda x: x.flip(0, 2), CUBE),
    over("diagonal", lambda x: x.diagonal(1, 0, 2) * 1.5, CUBE),
    over("movedim", lambda x: x.movedim(0, 2) * 1.5, CUBE),
    over("squeeze", lambda x: x.squeeze(1) * 1.5, (3, 1, 2)),
    over("split", lambda x: x.split(2, 1)[1] * 1.5, (4, 5)),
    over("unbind", lambda x: x.unbind(1)[2] * 1.5, (4, 5)),
    over("cat", lambda x, y: dlgrad.cat([x, y * 2, x], 1), (2, 3), (2, 4)),
    over("stack", lambda x, y: dlgrad.stack([x, y], 1), (2, 3), (2, 3)),
    over("repeat", lambda x: x.repeat(2, 1, 2), (2, 3)),
    over("tile", lambda x: x.tile(2), (2, 3)),
    over("tril", lambda x: x.tril(-1), (4, 3)),
    over("triu", lambda x: x.triu(1), (4, 3)),
    over("pad", lambda x: padding.pad(x, (1, 2, -1, 1), value=3.0), (4, 5)),
    over("pad, reflected", lambda x: padding.pad(x, (2, 1, 1, -1), "reflect"), (1, 3, 4)),
    over("pad, replicated", lambda x: padding.pad(x, (1, 2), "replicate"), MATRIX),
    over("pad, circular", lambda x: padding.pad(x, (2, 1), "circular"), MATRIX),
    over("roll", lambda x: x.roll((1, -1), (0, 1)), MATRIX),
    over("rot90", lambda x: x.rot90(), MATRIX),
    over("unfold", lambda x: x.unfold(1, 3, 2) * 1.5, (2, 7)),
    over("repeat_interleave", lambda x: x.repeat_interleave(2, 0), MATRIX),
    over("block_diag", dlgrad.block_diag, (2, 3), (1, 2)),
    over("diag_embed", lambda x: x.diag_embed(1), MATRIX),
    over("diagonal_scatter", lambda x, y: x.diagonal_scatter(y, 1), (3, 4), (3,)),
    over("clone", lambda x: x.t().clone(), (4, 5)),
    over("contiguous", lambda x: x.t().contiguous(), (4, 5)),
]

MATRICES = [
    over("matrix times matrix", lambda x, y: x @ y, (3, 4), (4, 5)),
    over("vector times vector", lambda x, y: x @ y, (4,), (4,)),
    over("matrix times vector", lambda x, y: x @ y, (3, 4), (4,)),
    over("vector times matrix", lambda x, y: x @ y, (4,), (4, 5)),
    over("batch times matrix", lambda x, y: x @ y, (2, 3, 4), (4, 5)),
    over("batch times batch", lambda x, y: x @ y, (2, 1, 3, 4), (3, 4, 2)),
    over("vector times batch", lambda x, y: x @ y, (4,), (2, 4, 3)),
    over("transposed operands", lambda x, y: x.T @ y.T, (4, 3), (5, 4)),
    over("outer", lambda x, y: dlgrad.outer(x, y), (3,), (4,)),
    over("dot", lambda x, y: dlgrad.dot(x, y), (4,), (4,)),
    over("addmm", lambda x, y, z: dlgrad.addmm(x, y, z, beta=0.5, alpha=2.0),
         (2, 4), (2, 3), (3, 4)),
    over("einsum", lambda x, y: dlgrad.einsum("bij,bkj->kb", x, y), (2, 3, 4), (2, 5, 4)),
    over("kron", dlgrad.kron, (2, 2), (1, 3)),
    over("cross", dlgrad.linalg.cross, (2, 3), (2, 3)),
    over("einsum of a diagonal", lambda x: dlgrad.einsum("iij->j", x), (3, 3, 2)),
    over("tensordot", lambda x, y: dlgrad.tensordot(x, y, dims=([1], [0])), (2, 3), (3, 4)),
    over("linear", affine.linear, (2, 3, 4), (5, 4), (5,)),
]  # fmt: skip

_LABELS = [1, 3, 0]


def _labels(x: Tensor) -> Tensor:
    return dlgrad.tensor(_LABELS, device=x.device)


NETWORKS = [
    over("softmax", lambda x: activations.softmax(x, 1), MATRIX),
    over("log_softmax", lambda x: activations.log_softmax(x, 0), MATRIX),
    over("glu", activations.glu, MATRIX),
    over("normalize", distances.normalize, MATRIX),
    over("mse_loss", losses.mse_loss, MATRIX, MATRIX),
    over("l1_loss", losses.l1_loss, MATRIX, MATRIX),
    over("smooth_l1_loss", losses.smooth_l1_loss, MATRIX, MATRIX),
    over("nll_loss", lambda x: class_losses.nll_loss(x, _labels(x)), MATRIX),
    over("cross_entropy", lambda x: class_losses.cross_entropy(x, _labels(x)), MATRIX),
    over("cross_entropy, smoothed",
         lambda x: class_losses.cross_entropy(x, _labels(x), label_smoothing=0.1), MATRIX),
    over("cross_entropy of images",
         lambda x: class_losses.cross_entropy(x.reshape(1, 2, 2, 3), dlgrad.zeros(
             1, 2, 3, dtype=dlgrad.int64, device=x.device)), MATRIX),
    over("binary_cross_entropy_with_logits",
         lambda x, y: losses.binary_cross_entropy_with_logits(x, y.sigmoid()), MATRIX, MATRIX),
    over("batch_norm", lambda x, w, b: normalization.batch_norm(x, None, None, w, b, True),
         (3, 2, 4), (2,), (2,), tolerance=3e-5),
    over("layer_norm", lambda x, w: normalization.layer_norm(x, (4,), w), MATRIX, (4,),
         tolerance=3e-5),
    over("group_norm", lambda x: normalization.group_norm(x, 2), (2, 4, 3), tolerance=3e-5),
    over("conv1d", lambda x, w, b: convolution.conv1d(x, w, b, padding=1), (2, 3, 6), (2, 3, 3),
         (2,)),
    over("conv2d", lambda x, w: convolution.conv2d(x, w), (2, 2, 5, 4), (3, 2, 3, 2)),
    over("conv2d, strided and padded",
         lambda x, w: convolution.conv2d(x, w, stride=2, padding=(2, 1)), (1, 2, 5, 6),
         (2, 2, 3, 3)),
    over("conv2d, dilated in groups",
         lambda x, w: convolution.conv2d(x, w, dilation=2, groups=2), (1, 4, 6, 5),
         (2, 2, 3, 2)),
    over("conv2d, same", lambda x, w: convolution.conv2d(x, w, padding="same"), (1, 1, 4, 4),
         (1, 1, 3, 2)),
    over("conv2d, 1x1 and padded", lambda x, w: convolution.conv2d(x, w, padding=1),
         (1, 2, 3, 3), (2, 2, 1, 1)),
    over("conv_transpose2d", lambda x, w: transposed.conv_transpose2d(x, w, stride=2, padding=1),
         (1, 2, 3, 3), (2, 2, 3, 2), tolerance=3e-5),
    over("unfold", lambda x: folding.unfold(x, (2, 3), padding=1, stride=2), (1, 2, 4, 5)),
    over("adaptive_avg_pool2d", lambda x: adaptive_pooling.adaptive_avg_pool2d(x, (3, 2)),
         (1, 2, 5, 4)),
    over("interpolate", lambda x: interpolation.interpolate(x, (5, 3), mode="bilinear"),
         (1, 2, 3, 4)),
    over("scaled_dot_product_attention",
         lambda q, k, v: attention.scaled_dot_product_attention(q, k, v, is_causal=True),
         (2, 3, 4), (2, 3, 4), (2, 3, 2), tolerance=3e-5),
    over("embedding", lambda w: lookup.embedding(_labels(w), w), (4, 3)),
    over("rms_norm", lambda x, w: normalization.rms_norm(x, (4,), w, 1e-5), MATRIX, (4,),
         tolerance=3e-5),
    over("cdist", distances.cdist, (3, 4), (5, 4), tolerance=3e-5),
    over("max_pool2d", lambda x: pooling.max_pool2d(x, 2), (1, 2, 4, 6)),
    over("max_pool2d, overlapping", lambda x: pooling.max_pool2d(x, 3, 2, 1), (1, 2, 5, 6)),
    over(
        "fractional_max_pool2d",
        lambda x: fractional_pooling.fractional_max_pool2d(
            x, (2, 3), (3, 2), _random_samples=dlgrad.full((1, 2, 2), 0.6, dtype=x.dtype,
                                                           device=x.device),
        ),
        (1, 2, 6, 7),
    ),
    over("max_pool2d, remainder", lambda x: pooling.max_pool2d(x, 2), (1, 1, 5, 5)),
    over("avg_pool2d", lambda x: pooling.avg_pool2d(x, 2), (1, 2, 4, 6)),
    over("avg_pool2d, overlapping",
         lambda x: pooling.avg_pool2d(x, 3, 2, 1, count_include_pad=False), (1, 2, 5, 6)),
]  # fmt: skip

CASES = ELEMENTWISE + INTEGERS + REDUCTIONS + MOVEMENT + MATRICES + NETWORKS
