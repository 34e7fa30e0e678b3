"""The table of derivatives: one row per primitive, and per operation recorded as a whole.

Floor 6.  A rule takes the gradient `g` of the result and the tape's entry `e` (with the sources
`e.a`, `e.b`, `e.c` and the result `e.out`) and gives the gradient of one source.  Rules are
written in tensor operations, so their results can be differentiated again.  A rule need not
undo broadcasting or promotion: `dlgrad.autograd` does that for all of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dlgrad.core.apply import contract, embed, filled, read_view, reduce, to_device, update, where
from dlgrad.core.base import grad_mode, node_of, requires_grad
from dlgrad.core.tape import ROWS, Derivative, Entry, Row
from dlgrad.lazy.graph import Contraction
from dlgrad.lazy.ops import BufferOps, ElementwiseOps, MatrixOps, MovementOps, Op, ReduceOps
from dlgrad.lazy.shape import Layouts, Shape, View
from dlgrad.operators.comparison import (
    eq,
    ge,
    gt,
    le,
    lt,
)
from dlgrad.operators.elementwise import (
    div,
    exp,
    exp2,
    log,
    mul,
    neg,
    pow,
    sign,
    sub,
)
from dlgrad.operators.movement import narrow, permute, reshape
from dlgrad.operators.reductions import first_index, position_along
from dlgrad.operators.reductions import sum as sum_of

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor

_E, _R = ElementwiseOps, ReduceOps


Rows = dict[Op | str, Row]


def zeros_of(g: Tensor) -> Tensor:
    """Zeros of the shape, dtype and device of `g`."""
    return filled(0, g.dtype, g._shape, node_of(g).device)


def reduce_to_shape(g: Tensor, shape: Shape) -> Tensor:
    """`g` summed over the dimensions that broadcasting from `shape` had added or repeated."""
    if g._shape == shape:
        return g
    lead = g.ndim - len(shape)
    dims = [
        i for i, size in enumerate(g._shape) if i < lead or (shape[i - lead] == 1 and size != 1)
    ]
    if dims:
        g = sum_of(g, dims, keepdim=dims[-1] >= lead)
    return g if g._shape == shape else g.reshape(shape)


_D = Derivative
_PASS = _D("", lambda g, e: g)
_ZERO = _D("", lambda g, e: zeros_of(g))


# Element-wise ---------------------------------------------------------------------------------


def _power_base(g: Tensor, e: Entry) -> Tensor:
    """d(a ** b)/da = b * a ** (b - 1), and 0 where b is 0 whatever a is."""
    slope = mul(e.b, pow(e.a, e.b - 1))
    return mul(g, where(eq(e.b, 0), 0.0, slope))


def _power_exponent(g: Tensor, e: Entry) -> Tensor:
    """d(a ** b)/db = a ** b * log(a), and 0 where a is 0 and b is not negative."""
    flat = eq(e.a, 0) & ge(e.b, 0)
    return mul(g, where(flat, 0.0, mul(e.out, log(where(flat, 1.0, e.a)))))


def _chosen(g: Tensor, mine: Tensor, other: Tensor, larger: bool) -> Tensor:
    """The gradient of maximum (minimum) for one source; both get half where they are equal."""
    wins = gt(mine, other) if larger else lt(mine, other)
    share = where(eq(mine, other), 0.5, wins.to(g.dtype))
    return mul(g, share)


def primitive_rows() -> Rows:
    """Element-wise primitives."""
    return {
        _E.CAST: Row("ToCopy", _PASS),
        _E.NEG: Row("Neg", _D("", lambda g, e: neg(g))),
        _E.ABS: Row("Abs", _D("a", lambda g, e: mul(g, sign(e.a)))),
        _E.SQRT: Row("Sqrt", _D("o", lambda g, e: div(g, 2 * e.out))),
        _E.EXP: Row("Exp", _D("o", lambda g, e: mul(g, e.out))),
        _E.EXPM1: Row("Expm1", _D("o", lambda g, e: mul(g, e.out + 1))),
        _E.LOG: Row("Log", _D("a", lambda g, e: div(g, e.a))),
        _E.LOG1P: Row("Log1P", _D("a", lambda g, e: div(g, e.a + 1))),
        _E.SIN: Row("Sin", _D("a", lambda g, e: mul(g, e.a.cos()))),
        _E.COS: Row("Cos", _D("a", lambda g, e: mul(g, neg(e.a.sin())))),
        _E.ATAN: Row("Atan", _D("a", lambda g, e: div(g, 1 + e.a * e.a))),
        _E.TANH: Row("Tanh", _D("o", lambda g, e: mul(g, 1 - e.out * e.out))),
        _E.ERF: Row(
            "Erf", _D("a", lambda g, e: mul(g, (2 / math.sqrt(math.pi)) * exp(neg(e.a * e.a))))
        ),
        _E.FLOOR: Row("Floor", _ZERO),
        _E.CEIL: Row("Ceil", _ZERO),
        _E.TRUNC: Row("Trunc", _ZERO),
        _E.ROUND: Row("Round", _ZERO),
        _E.ADD: Row("Add", _PASS, _PASS),
        _E.SUB: Row("Sub", _PASS, _D("", lambda g, e: neg(g))),
        _E.MUL: Row(
            "Mul", _D("b", lambda g, e: mul(g, e.b)), _D("a", lambda g, e: mul(g, e.a))
        ),
        _E.DIV: Row(
            "Div",
            _D("b", lambda g, e: div(g, e.b)),
            _D("bo", lambda g, e: neg(div(mul(g, e.out), e.b))),
        ),
        _E.MOD: Row(
            "Remainder", _PASS, _D("ab", lambda g, e: neg(mul(g, div(e.a, e.b).floor())))
        ),
        _E.POW: Row("Pow", _D("ab", _power_base), _D("abo", _power_exponent)),
        _E.MAXIMUM: Row(
            "Maximum",
            _D("ab", lambda g, e: _chosen(g, e.a, e.b, True)),
            _D("ab", lambda g, e: _chosen(g, e.b, e.a, True)),
        ),
        _E.MINIMUM: Row(
            "Minimum",
            _D("ab", lambda g, e: _chosen(g, e.a, e.b, False)),
            _D("ab", lambda g, e: _chosen(g, e.b, e.a, False)),
        ),
        _E.WHERE: Row(
            "Where",
            None,
            _D("a", lambda g, e: where(e.a, g, 0.0)),
            _D("a", lambda g, e: where(e.a, 0.0, g)),
        ),
    }


def _clamped(g: Tensor, e: Entry) -> Tensor:
    low, high = e.arg
    inside = None if low is None else ge(e.a, low)
    if high is not None:
        below = le(e.a, high)
        inside = below if inside is None else inside & below
    assert inside is not None
    return where(inside, g, 0.0)


def composed_rows() -> Rows:
    """Element-wise operations that are recorded as a whole."""
    return {
        "sign": Row("Sign", _ZERO),
        "div_floor": Row("Div", _ZERO, _ZERO),
        "clamp": Row("Clamp", _D("a", _clamped)),
        "fmod": Row(
            "Fmod", _PASS, _D("ab", lambda g, e: neg(mul(g, div(e.a, e.b).trunc())))
        ),
        "rsqrt": Row("Rsqrt", _D("o", lambda g, e: mul(-0.5 * g, e.out * e.out * e.out))),
        "logaddexp": Row(
            "Logaddexp",
            _D("ao", lambda g, e: mul(g, exp(e.a - e.out))),
            _D("bo", lambda g, e: mul(g, exp(e.b - e.out))),
        ),
        "logaddexp2": Row(
            "Logaddexp2",
            _D("ao", lambda g, e: mul(g, exp2(e.a - e.out))),
            _D("bo", lambda g, e: mul(g, exp2(e.b - e.out))),
        ),
        "relu": Row("Relu", _D("o", lambda g, e: where(le(e.out, 0), 0.0, g))),
        "sigmoid": Row("Sigmoid", _D("o", lambda g, e: mul(g, e.out * (1 - e.out)))),
        "logsigmoid": Row("LogSigmoid", _D("a", lambda g, e: mul(g, neg(e.a).sigmoid()))),
    }


# Memory and movement --------------------------------------------------------------------------


def _unpermute(g: Tensor, e: Entry) -> Tensor:
    inverse = [0] * len(e.arg)
    for place, dim in enumerate(e.arg):
        inverse[dim] = place
    return permute(g, inverse)


def scatter_view(g: Tensor, shape: Shape, view: View) -> Tensor:
    """Zeros of `shape` with `g` added at the places of `view`, which may overlap itself."""
    if not g.numel():
        return filled(0, g.dtype, shape, node_of(g).device)
    still = [i for i, step in enumerate(view.strides) if step == 0 and view.shape[i] != 1]
    if still:
        g = sum_of(g, still, keepdim=True)
        for dim in still:
            view = view.slice(dim, 0, 1)
    if not view.overlaps_itself:
        return embed(g, shape, view)
    # Take apart the dimension that makes the fewest pieces, until no piece overlaps itself.
    sizes = [(size, dim) for dim, size in enumerate(view.shape) if size > 1]
    free = [(size, dim) for size, dim in sizes if not _without(view, dim).overlaps_itself]
    size, dim = min(free or sizes)
    total: Tensor | None = None
    for i in range(size):
        piece = scatter_view(narrow(g, dim, i, 1), shape, view.slice(dim, i, 1))
        total = piece if total is None else total + piece
    assert total is not None
    return total


def _without(view: View, dim: int) -> View:
    return view.slice(dim, 0, 1)


def _through_storage(g: Tensor, e: Entry) -> Tensor:
    """The gradient of a memory, read where the source lies; places that it shows twice share."""
    layouts: Layouts = e.arg
    gradient = read_view(scatter_view(g, layouts.shape, layouts.after), layouts.before)
    if not layouts.before.overlaps_itself:
        return gradient
    ones = filled(1, g.dtype, layouts.before.shape, e.device)
    counts = read_view(scatter_view(ones, layouts.shape, layouts.before), layouts.before)
    return div(gradient, counts)


def _cat_part(g: Tensor, e: Entry, index: int) -> Tensor:
    dim, lengths = e.arg
    start = sum(lengths[:index])
    return narrow(g, dim, start, lengths[index])


_PLACED = _D("", lambda g, e: scatter_view(g, e.source_shape(0), e.arg))
_SHAPED = _D("", lambda g, e: reshape(g, e.source_shape(0)))


def movement_rows() -> Rows:
    """Memory and movement."""
    return {
        BufferOps.COPY: Row("Clone", _D("", lambda g, e: to_device(g, e.source_device(0)))),
        BufferOps.UPDATE: Row(
            "CopySlices",
            _D("", lambda g, e: update(g, filled(0, g.dtype, e.arg.shape, e.device), e.arg)),
            _D("", lambda g, e: read_view(g, e.arg)),
        ),
        MovementOps.VIEW: Row("AsStrided", _PLACED),
        "slice": Row("Slice", _PLACED),
        "select": Row("Select", _PLACED),
        "diagonal": Row("Diagonal", _PLACED),
        "as_strided": Row("AsStrided", _D("", _through_storage)),
        "overwrite": Row("Fill", _ZERO),
        "embed": Row("ConstantPadNd", _D("", lambda g, e: read_view(g, e.arg))),
        "reshape": Row("View", _SHAPED),
        "squeeze": Row("Squeeze", _SHAPED),
        "unsqueeze": Row("Unsqueeze", _SHAPED),
        "permute": Row("Permute", _D("", _unpermute)),
        "expand": Row("Expand", _D("", lambda g, e: reduce_to_shape(g, e.source_shape(0)))),
        "cat": Row("Cat", each=_cat_part),
    }


# Reductions -----------------------------------------------------------------------------------


def keep_dims(g: Tensor, e: Entry, dims: Shape) -> Tensor:
    """`g` with the reduced dimensions put back with size 1."""
    shape = e.source_shape(0)
    return g.reshape(tuple(1 if i in dims else size for i, size in enumerate(shape)))


def _product(g: Tensor, e: Entry) -> Tensor:
    """g times the product of the other elements, exact where some of them are zero."""
    if grad_mode.enabled and requires_grad(e.a):
        return mul(keep_dims(g, e, e.arg), _product_of_others(e.a, e.arg))
    zero = eq(e.a, 0)
    zeros = sum_of(zero, e.arg, keepdim=True) if e.arg else zero.long()
    safe = where(zero, 1.0, e.a)
    others = reduce(_R.PROD, safe, e.arg, True)
    slope = where(zero, where(eq(zeros, 1), others, 0.0), where(eq(zeros, 0), div(others, safe), 0))
    return mul(keep_dims(g, e, e.arg), slope)


def _product_of_others(x: Tensor, dims: Shape) -> Tensor:
    """For each element the product of all others along `dims`, by multiplications only.

    So it has right derivatives of every order: neighbours are multiplied in pairs up a tree,
    and what is outside of each pair comes down again.
    """
    order = [dim for dim in range(x.ndim) if dim not in dims] + list(dims)
    kept = tuple(x._shape[dim] for dim in order[: x.ndim - len(dims)])
    turned = permute(x, order)
    count = math.prod(x._shape[dim] for dim in dims)
    if not x.numel():
        return zeros_of(x)
    size = 1 << (count - 1).bit_length()
    padded = View.contiguous((*kept, size)).slice(len(kept), 0, count)
    products = [embed(reshape(turned, (*kept, count)), (*kept, size), padded, 1)]
    while size > 1:
        size //= 2
        pairs = reshape(products[-1], (*kept, size, 2))
        products.append(pairs.select(-1, 0) * pairs.select(-1, 1))
    outside = filled(1, x.dtype, (*kept, 1), node_of(x).device)
    for level in reversed(products[:-1]):
        pairs = reshape(level, (*kept, size, 2))
        outside = (outside.unsqueeze(-1) * pairs.flip(-1)).reshape((*kept, 2 * size))
        size *= 2
    others = narrow(outside, len(kept), 0, count).reshape(turned._shape)
    return permute(others, [order.index(dim) for dim in range(x.ndim)])


def _shared_extreme(g: Tensor, e: Entry) -> Tensor:
    hit = eq(e.a, keep_dims(e.out, e, e.arg)).to(g.dtype)
    return mul(hit, div(keep_dims(g, e, e.arg), sum_of(hit, e.arg, keepdim=True)))


def _first_extreme(g: Tensor, e: Entry) -> Tensor:
    position, _ = position_along(e.a, e.arg)
    return where(eq(position, first_index(e.a, e.out, e.arg)), g, 0.0)


def _spread(g: Tensor, e: Entry) -> Tensor:
    return keep_dims(g, e, e.arg).expand(e.source_shape(0))


def _variance(g: Tensor, e: Entry) -> Tensor:
    dims, scale = e.arg
    average = e.a.mean(dims, keepdim=True) if dims else e.a
    return mul(keep_dims(g, e, dims) * (2.0 * scale), sub(e.a, average))


def _norm(g: Tensor, e: Entry) -> Tensor:
    zero = eq(e.out, 0)
    return where(zero, 0.0, mul(g, div(e.a, where(zero, 1.0, e.out))))


def reduction_rows() -> Rows:
    """Reductions."""
    return {
        _R.SUM: Row("Sum", _D("", _spread)),
        _R.PROD: Row("Prod", _D("a", _product)),
        _R.MAX: Row("Amax", _D("ao", _shared_extreme)),
        _R.MIN: Row("Amin", _D("ao", _shared_extreme)),
        "max_first": Row("Max", _D("ao", _first_extreme)),
        "min_first": Row("Min", _D("ao", _first_extreme)),
        "var": Row("Var", _D("a", _variance)),
        "norm": Row("LinalgVectorNorm", _D("ao", _norm)),
        "count": Row("Count", None),
        "logsumexp": Row("Logsumexp", _D("ao", lambda g, e: mul(g, exp(sub(e.a, e.out))))),
    }


# Matrix ---------------------------------------------------------------------------------------


def _groups(*counts: int) -> list[list[int]]:
    """Runs of consecutive dimension numbers."""
    runs, start = [], 0
    for count in counts:
        runs.append(list(range(start, start + count)))
        start += count
    return runs


def _left_factor(g: Tensor, e: Entry) -> Tensor:
    """d(a b)/da: sum over n of g[batch, m, n] * b[batch, k, n]."""
    dims: Contraction = e.arg
    batch, k, n = _groups(dims.batch, dims.k, dims.n)
    turned = permute(e.b, batch + n + k)
    return contract(g, turned, Contraction(dims.batch, dims.m, dims.k, dims.n))


def _right_factor(g: Tensor, e: Entry) -> Tensor:
    """d(a b)/db: sum over m of a[batch, m, k] * g[batch, m, n]."""
    dims: Contraction = e.arg
    batch, m, k = _groups(dims.batch, dims.m, dims.k)
    turned = permute(e.a, batch + k + m)
    return contract(turned, g, Contraction(dims.batch, dims.k, dims.n, dims.m))


for rows in (primitive_rows, composed_rows, movement_rows, reduction_rows):
    ROWS.update(rows())
ROWS[MatrixOps.MATMUL] = Row("Mm", _D("b", _left_factor), _D("a", _right_factor))
