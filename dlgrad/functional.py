"""Functions of tensors under PyTorch's top-level names, collected from the modules by subject.

Floor 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlgrad.core import apply
from dlgrad.core.apply import result_dtype
from dlgrad.core.arguments import check_namespace
from dlgrad.core.base import Number, is_tensor
from dlgrad.core.creation import (
    as_tensor,
    asarray,
    empty,
    empty_like,
    empty_strided,
    from_numpy,
    frombuffer,
    full,
    full_like,
    ones,
    ones_like,
    scalar_tensor,
    tensor,
    zeros,
    zeros_like,
)
from dlgrad.matrix.linear import (
    addbmm,
    addmm,
    addmv,
    addr,
    baddbmm,
    bmm,
    chain_matmul,
    cross,
    dot,
    inner,
    kron,
    matmul,
    matrix_power,
    mm,
    mv,
    outer,
    vander,
    vdot,
)
from dlgrad.neural.activations import (
    log_softmax,
    relu,
    selu,
    sigmoid,
    softmax,
)
from dlgrad.operators import movement
from dlgrad.operators.bitwise import (
    bitwise_and,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
)
from dlgrad.operators.comparison import (
    allclose,
    eq,
    equal,
    ge,
    gt,
    is_nonzero,
    isclose,
    isfinite,
    isin,
    isinf,
    isnan,
    isneginf,
    isposinf,
    isreal,
    le,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    ne,
    signbit,
)
from dlgrad.operators.elementwise import (
    abs,
    add,
    addcdiv,
    addcmul,
    ceil,
    clamp,
    clamp_max,
    clamp_min,
    cos,
    div,
    erf,
    exp,
    exp2,
    expm1,
    floor,
    floor_divide,
    fmod,
    frac,
    lerp,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logaddexp2,
    maximum,
    minimum,
    mul,
    neg,
    pow,
    reciprocal,
    remainder,
    round,
    rsqrt,
    rsub,
    sign,
    sin,
    sqrt,
    square,
    sub,
    tanh,
    trunc,
    xlogy,
)
from dlgrad.operators.joining import (
    atleast_1d,
    atleast_2d,
    atleast_3d,
    block_diag,
    broadcast_shapes,
    broadcast_tensors,
    cartesian_prod,
    cat,
    column_stack,
    dstack,
    hstack,
    meshgrid,
    stack,
    vstack,
)
from dlgrad.operators.movement import (
    broadcast_to,
    clone,
    diagonal,
    flatten,
    movedim,
    narrow,
    permute,
    ravel,
    reshape,
    select,
    squeeze,
    swapaxes,
    swapdims,
    t,
    transpose,
    unflatten,
    unsqueeze,
)
from dlgrad.operators.ranges import arange, eye, linspace, logspace
from dlgrad.operators.reductions import (
    all,
    amax,
    amin,
    aminmax,
    any,
    argmax,
    argmin,
    count_nonzero,
    logsumexp,
    mean,
    nanmean,
    nansum,
    prod,
    std,
    std_mean,
    sum,
    var,
    var_mean,
)
from dlgrad.operators.reductions import max_ as max
from dlgrad.operators.reductions import min_ as min
from dlgrad.operators.repeating import (
    flip,
    fliplr,
    flipud,
    repeat,
    roll,
    rot90,
    tile,
)
from dlgrad.operators.splitting import (
    chunk,
    dsplit,
    hsplit,
    split,
    split_with_sizes,
    tensor_split,
    unbind,
    vsplit,
)
from dlgrad.random import rand, rand_like, randint, randint_like, randn, randn_like

if TYPE_CHECKING:
    from dlgrad.dtype import DType
    from dlgrad.tensor import Tensor

ger = outer
subtract, multiply, divide, true_divide = sub, mul, div, div
negative, absolute, clip, fix = neg, abs, clamp, trunc
concat, concatenate, moveaxis, row_stack = cat, cat, movedim, vstack
unsafe_chunk, unsafe_split, adjoint = chunk, split, movement.adjoint
greater, greater_equal, less, less_equal, not_equal = gt, ge, lt, le, ne


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where the bool `condition` holds, else `other`; tensors or numbers.

    `where(condition)` alone is `nonzero(condition, as_tuple=True)`: the positions.
    """
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    if input is None or other is None:
        raise TypeError("where() takes condition alone, or condition, input and other")
    return apply.where(condition, input, other)


def result_type(tensor1: Tensor | Number, tensor2: Tensor | Number) -> DType:
    """The dtype that arithmetic between the two has."""
    return result_dtype((tensor1, tensor2))


def is_floating_point(input: Tensor) -> bool:
    """True for tensors of a float dtype."""
    return input.dtype.is_floating_point


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()


__all__ = [
    "abs", "absolute", "add", "addbmm", "addcdiv", "addcmul", "addmm", "addmv", "addr", "adjoint",
    "all", "allclose", "amax", "amin", "aminmax", "any", "arange", "argmax", "argmin", "as_tensor",
    "asarray", "atleast_1d", "atleast_2d", "atleast_3d", "baddbmm", "bitwise_and",
    "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
    "block_diag", "bmm", "broadcast_shapes", "broadcast_tensors", "broadcast_to", "cartesian_prod",
    "cat", "ceil", "chain_matmul", "chunk", "clamp", "clamp_max", "clamp_min", "clip", "clone",
    "column_stack", "concat", "concatenate", "cos", "count_nonzero", "cross", "diagonal", "div",
    "divide", "dot", "dsplit", "dstack", "empty", "empty_like", "empty_strided", "eq", "equal",
    "erf", "exp", "exp2", "expm1", "eye", "fix", "flatten", "flip", "fliplr", "flipud", "floor",
    "floor_divide", "fmod", "frac", "from_numpy", "frombuffer", "full", "full_like", "ge", "ger",
    "greater", "greater_equal", "gt", "hsplit", "hstack", "inner", "is_floating_point",
    "is_nonzero", "is_tensor", "isclose", "isfinite", "isin", "isinf", "isnan", "isneginf",
    "isposinf", "isreal", "kron", "le", "lerp", "less", "less_equal", "linspace", "log", "log10",
    "log1p", "log2", "log_softmax", "logaddexp", "logaddexp2", "logical_and", "logical_not",
    "logical_or", "logical_xor", "logspace", "logsumexp", "lt", "matmul", "matrix_power", "max",
    "maximum", "mean", "meshgrid", "min", "minimum", "mm", "moveaxis", "movedim", "mul", "multiply",
    "mv", "nanmean", "nansum", "narrow", "ne", "neg", "negative", "not_equal", "numel", "ones",
    "ones_like", "outer", "permute", "pow", "prod", "rand", "rand_like", "randint", "randint_like",
    "randn", "randn_like", "ravel", "reciprocal", "relu", "remainder", "repeat", "reshape",
    "result_type", "roll", "rot90", "round", "row_stack", "rsqrt", "rsub", "scalar_tensor",
    "select", "selu", "sigmoid", "sign", "signbit", "sin", "softmax", "split", "split_with_sizes",
    "sqrt", "square", "squeeze", "stack", "std", "std_mean", "sub", "subtract", "sum", "swapaxes",
    "swapdims", "t", "tanh", "tensor", "tensor_split", "tile", "transpose", "true_divide", "trunc",
    "unbind", "unflatten", "unsafe_chunk", "unsafe_split", "unsqueeze", "vander", "var", "var_mean",
    "vdot", "vsplit", "vstack", "where", "xlogy", "zeros", "zeros_like",
]  # fmt: skip
check_namespace(globals(), __all__)
