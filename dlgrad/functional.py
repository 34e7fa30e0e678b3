"""Functions of tensors under PyTorch's top-level names, collected from the modules by subject.

Floor 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlgrad import apply, shape
from dlgrad.activations import (
    log_softmax,
    relu,
    selu,
    sigmoid,
    softmax,
)
from dlgrad.apply import result_dtype
from dlgrad.base import Number, is_tensor
from dlgrad.creation import (
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    from_numpy,
    frombuffer,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    tensor,
    zeros,
    zeros_like,
)
from dlgrad.elementwise import (
    abs,
    acos,
    add,
    addcdiv,
    addcmul,
    allclose,
    asin,
    atan,
    bitwise_and,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    ceil,
    clamp,
    cos,
    cosh,
    div,
    eq,
    equal,
    erf,
    exp,
    exp2,
    expm1,
    floor,
    floor_divide,
    fmod,
    frac,
    ge,
    gt,
    isclose,
    isfinite,
    isinf,
    isnan,
    le,
    lerp,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    masked_fill,
    maximum,
    minimum,
    mul,
    ne,
    neg,
    pow,
    reciprocal,
    remainder,
    round,
    rsqrt,
    rsub,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    sub,
    tan,
    tanh,
    trunc,
    xlogy,
)
from dlgrad.linear import (
    addmm,
    addmv,
    baddbmm,
    bmm,
    dot,
    einsum,
    matmul,
    mm,
    mv,
    outer,
    tensordot,
)
from dlgrad.movement import (
    broadcast_to,
    cat,
    chunk,
    clone,
    diagonal,
    flatten,
    flip,
    movedim,
    narrow,
    permute,
    repeat,
    reshape,
    select,
    split,
    squeeze,
    stack,
    t,
    tile,
    transpose,
    tril,
    triu,
    unbind,
    unflatten,
    unsqueeze,
)
from dlgrad.random import (
    bernoulli,
    normal,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
)
from dlgrad.reductions import (
    all,
    amax,
    amin,
    any,
    argmax,
    argmin,
    count_nonzero,
    logsumexp,
    mean,
    norm,
    prod,
    std,
    sum,
    var,
    var_mean,
)
from dlgrad.reductions import max_ as max
from dlgrad.reductions import min_ as min

if TYPE_CHECKING:
    from dlgrad.dtype import DType
    from dlgrad.tensor import Tensor

subtract, multiply, divide, true_divide = sub, mul, div, div
negative, absolute, clip, fix = neg, abs, clamp, trunc
arcsin, arccos, arctan = asin, acos, atan
concat, concatenate, swapaxes, moveaxis = cat, cat, transpose, movedim
greater, greater_equal, less, less_equal, not_equal = gt, ge, lt, le, ne
broadcast_shapes = shape.broadcast_shapes


def where(condition: Tensor, input: Any, other: Any) -> Tensor:
    """`input` where the bool `condition` holds, else `other`; tensors or numbers."""
    return apply.where(condition, input, other)


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors, all expanded to their common shape."""
    common = broadcast_shapes(*(tensor._shape for tensor in tensors))
    return tuple(tensor.expand(common) for tensor in tensors)


def result_type(tensor1: Tensor | Number, tensor2: Tensor | Number) -> DType:
    """The dtype that arithmetic between the two has."""
    return result_dtype((tensor1, tensor2))


def scalar_tensor(value: Number, *, dtype: DType | None = None) -> Tensor:
    """A zero-dimensional tensor."""
    return tensor(value, dtype=dtype)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors side by side: along dimension 1, or 0 for vectors."""
    wide = [x.reshape((1,)) if not x._shape else x for x in tensors]
    return cat(wide, 0 if wide[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors one below the other, along dimension 0; vectors are rows."""
    return cat([x.reshape((1, -1)) if x.ndim < 2 else x for x in tensors], 0)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """The coordinates of a grid, from one vector per axis."""
    vectors = tuple(tensors[0]) if len(tensors) == 1 and not is_tensor(tensors[0]) else tensors
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f"meshgrid: indexing must be one of \"xy\" or \"ij\", got {indexing!r}")
    sizes = tuple(vector.numel() for vector in vectors)
    grids = []
    for i, vector in enumerate(vectors):
        across = [1] * len(sizes)
        across[i] = sizes[i]
        grid = vector.reshape(across).expand(sizes)
        grids.append(grid.transpose(0, 1) if indexing == "xy" and len(sizes) > 1 else grid)
    return tuple(grids)


def is_floating_point(input: Tensor) -> bool:
    """True for tensors of a float dtype."""
    return input.dtype.is_floating_point


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()


__all__ = [
    "abs", "absolute", "acos", "add", "addcdiv", "addcmul", "addmm", "addmv", "all", "allclose",
    "amax", "amin", "any", "arange", "arccos", "arcsin", "arctan", "argmax", "argmin",
    "as_tensor", "asin", "atan", "baddbmm", "bernoulli", "bitwise_and", "bitwise_left_shift",
    "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "bmm",
    "broadcast_shapes", "broadcast_tensors", "broadcast_to", "cat", "ceil", "chunk", "clamp",
    "clip", "clone", "concat", "concatenate", "cos", "cosh", "count_nonzero", "diagonal", "div",
    "divide", "dot", "einsum", "empty", "empty_like", "eq", "equal", "erf", "exp", "exp2",
    "expm1", "eye", "fix", "flatten", "flip", "floor", "floor_divide", "fmod", "frac",
    "from_numpy", "frombuffer", "full", "full_like", "ge", "greater", "greater_equal", "gt",
    "hstack", "is_floating_point", "is_tensor", "isclose", "isfinite", "isinf", "isnan", "le",
    "lerp", "less", "less_equal", "linspace", "log", "log10", "log1p", "log2", "log_softmax",
    "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "logsumexp", "lt",
    "masked_fill", "matmul", "max", "maximum", "mean", "meshgrid", "min", "minimum", "mm",
    "moveaxis", "movedim", "mul", "multiply", "mv", "narrow", "ne", "neg", "negative", "norm",
    "normal", "not_equal", "numel", "ones", "ones_like", "outer", "permute", "pow", "prod",
    "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm",
    "reciprocal", "relu", "remainder", "repeat", "reshape", "result_type", "round", "rsqrt",
    "rsub", "scalar_tensor", "select", "selu", "sigmoid", "sign", "sin", "sinh", "softmax",
    "split", "sqrt", "square", "squeeze", "stack", "std", "sub", "subtract", "sum", "swapaxes",
    "t", "tan", "tanh", "tensor", "tensordot", "tile", "transpose", "tril", "triu",
    "true_divide", "trunc", "unbind", "unflatten", "unsqueeze", "var", "var_mean", "vstack",
    "where", "xlogy", "zeros", "zeros_like",
]  # fmt: skip
