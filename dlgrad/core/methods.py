"""The methods of `Tensor` that are functions of the modules by subject: one line for each.

Floor 6.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dlgrad.core import conversion, creation
from dlgrad.core.apply import bitcast, is_operand
from dlgrad.core.base import TensorBase
from dlgrad.core.in_place_methods import InPlaceMethods
from dlgrad.core.inplace import in_place
from dlgrad.core.later import later
from dlgrad.core.plain_answers import PlainAnswers
from dlgrad.matrix import linear
from dlgrad.neural import activations
from dlgrad.operators import (
    bitwise,
    comparison,
    elementwise,
    movement,
    reductions,
    repeating,
    splitting,
)
from dlgrad.operators.indexing import getitem, setitem

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


_USUAL = (TensorBase, float, int)  # what stands beside an operator, apart from rarer numbers


def _operator(
    function: Callable[..., Tensor], reflected: bool = False
) -> Callable[[Tensor, Any], Tensor]:
    """An operator that leaves unknown operands to the other side."""

    @functools.wraps(function)
    def method(self: Tensor, other: Any) -> Any:
        if not isinstance(other, _USUAL) and not is_operand(other):
            return NotImplemented
        return function(other, self) if reflected else function(self, other)

    return method


class Methods(InPlaceMethods, PlainAnswers):
    """What a tensor can do, apart from what `tensor.py` writes out."""

    __slots__ = ()

    __getitem__ = getitem
    __setitem__ = setitem

    # Operators ----------------------------------------------------------------------------------

    __add__ = _operator(elementwise.add)
    __radd__ = _operator(elementwise.add, reflected=True)
    __sub__ = _operator(elementwise.sub)
    __rsub__ = _operator(elementwise.sub, reflected=True)
    __mul__ = _operator(elementwise.mul)
    __rmul__ = _operator(elementwise.mul, reflected=True)
    __truediv__ = _operator(elementwise.div)
    __rtruediv__ = _operator(elementwise.div, reflected=True)
    __floordiv__ = _operator(elementwise.floor_divide)
    __rfloordiv__ = _operator(elementwise.floor_divide, reflected=True)
    __mod__ = _operator(elementwise.remainder)
    __rmod__ = _operator(elementwise.remainder, reflected=True)
    __pow__ = _operator(elementwise.pow)
    __rpow__ = _operator(elementwise.pow_of, reflected=True)
    __and__ = _operator(bitwise.bitwise_and)
    __rand__ = _operator(bitwise.bitwise_and, reflected=True)
    __or__ = _operator(bitwise.bitwise_or)
    __ror__ = _operator(bitwise.bitwise_or, reflected=True)
    __xor__ = _operator(bitwise.bitwise_xor)
    __rxor__ = _operator(bitwise.bitwise_xor, reflected=True)
    __lshift__ = _operator(bitwise.bitwise_left_shift)
    __rlshift__ = _operator(bitwise.bitwise_left_shift, reflected=True)
    __rshift__ = _operator(bitwise.bitwise_right_shift)
    __rrshift__ = _operator(bitwise.bitwise_right_shift, reflected=True)
    __lt__ = _operator(comparison.lt)
    __le__ = _operator(comparison.le)
    __gt__ = _operator(comparison.gt)
    __ge__ = _operator(comparison.ge)
    __eq__ = _operator(comparison.eq)  # type: ignore[assignment]
    __ne__ = _operator(comparison.ne)  # type: ignore[assignment]

    # Element-wise -------------------------------------------------------------------------------

    add = elementwise.add
    sub = subtract = elementwise.sub
    mul = multiply = elementwise.mul
    div = divide = true_divide = elementwise.div
    floor_divide = elementwise.floor_divide
    remainder = elementwise.remainder
    fmod = elementwise.fmod
    pow = elementwise.pow
    float_power = later("operators.arithmetic")
    square = elementwise.square
    neg = negative = elementwise.neg
    abs = absolute = elementwise.abs
    sign = elementwise.sign
    sgn = later("operators.arithmetic")
    positive = later("operators.arithmetic")
    copysign = later("operators.arithmetic")
    heaviside = later("operators.arithmetic")
    angle = later("operators.arithmetic")
    reciprocal = elementwise.reciprocal
    maximum = elementwise.maximum
    minimum = elementwise.minimum
    fmax = later("operators.arithmetic")
    fmin = later("operators.arithmetic")
    nan_to_num = later("operators.arithmetic")
    hypot = later("operators.arithmetic")
    gcd = later("operators.arithmetic")
    lcm = later("operators.arithmetic")
    ldexp = later("operators.arithmetic")
    frexp = later("operators.arithmetic")
    deg2rad = later("operators.arithmetic")
    rad2deg = later("operators.arithmetic")
    clamp = clip = elementwise.clamp
    clamp_min = elementwise.clamp_min
    clamp_max = elementwise.clamp_max
    lerp = elementwise.lerp
    addcmul = elementwise.addcmul
    addcdiv = elementwise.addcdiv
    sqrt = elementwise.sqrt
    rsqrt = elementwise.rsqrt
    exp = elementwise.exp
    exp2 = elementwise.exp2
    expm1 = elementwise.expm1
    log = elementwise.log
    log2 = elementwise.log2
    log10 = elementwise.log10
    log1p = elementwise.log1p
    logaddexp = elementwise.logaddexp
    logaddexp2 = elementwise.logaddexp2
    xlogy = elementwise.xlogy
    sin = elementwise.sin
    cos = elementwise.cos
    tan = later("operators.trigonometry")
    asin = later("operators.trigonometry")
    acos = later("operators.trigonometry")
    atan = later("operators.trigonometry")
    arcsin = later("operators.trigonometry", "asin")
    arccos = later("operators.trigonometry", "acos")
    arctan = later("operators.trigonometry", "atan")
    atan2 = later("operators.trigonometry")
    arctan2 = later("operators.trigonometry", "atan2")
    sinh = later("operators.trigonometry")
    cosh = later("operators.trigonometry")
    asinh = later("operators.trigonometry")
    acosh = later("operators.trigonometry")
    atanh = later("operators.trigonometry")
    arcsinh = later("operators.trigonometry", "asinh")
    arccosh = later("operators.trigonometry", "acosh")
    arctanh = later("operators.trigonometry", "atanh")
    sinc = later("operators.trigonometry")
    erfc = later("operators.error_functions")
    erfinv = later("operators.error_functions")
    lgamma = later("operators.gamma_functions")
    digamma = later("operators.gamma_functions")
    mvlgamma = later("operators.gamma_functions")
    polygamma = later("operators.gamma_functions", "polygamma_of")
    i0 = later("operators.bessel")
    logit = later("special")
    tanh = elementwise.tanh
    erf = elementwise.erf
    floor = elementwise.floor
    ceil = elementwise.ceil
    trunc = fix = elementwise.trunc
    round = elementwise.round
    frac = elementwise.frac
    lt = less = comparison.lt
    le = less_equal = comparison.le
    gt = greater = comparison.gt
    ge = greater_equal = comparison.ge
    eq = comparison.eq
    ne = not_equal = comparison.ne
    isnan = comparison.isnan
    isinf = comparison.isinf
    isfinite = comparison.isfinite
    isposinf = comparison.isposinf
    isneginf = comparison.isneginf
    isreal = comparison.isreal
    isin = comparison.isin
    signbit = comparison.signbit
    is_nonzero = comparison.is_nonzero
    isclose = comparison.isclose
    allclose = comparison.allclose
    equal = comparison.equal
    logical_and = comparison.logical_and
    logical_or = comparison.logical_or
    logical_xor = comparison.logical_xor
    logical_not = comparison.logical_not
    bitwise_and = bitwise.bitwise_and
    bitwise_or = bitwise.bitwise_or
    bitwise_xor = bitwise.bitwise_xor
    bitwise_not = bitwise.bitwise_not
    bitwise_left_shift = bitwise.bitwise_left_shift
    bitwise_right_shift = bitwise.bitwise_right_shift
    relu = activations.relu
    sigmoid = activations.sigmoid
    softmax = activations.softmax
    log_softmax = activations.log_softmax
    hardshrink = later("neural.activations")
    prelu = later("neural.activations")
    bernoulli = later("operators.sampling")
    multinomial = later("operators.choices")
    bitcast = bitcast

    # Reductions ---------------------------------------------------------------------------------

    sum = reductions.sum
    prod = reductions.prod
    mean = reductions.mean
    amax = reductions.amax
    amin = reductions.amin
    max = reductions.max_
    min = reductions.min_
    argmax = reductions.argmax
    argmin = reductions.argmin
    any = reductions.any
    all = reductions.all
    count_nonzero = reductions.count_nonzero
    var = reductions.var
    std = reductions.std
    logsumexp = reductions.logsumexp
    aminmax = reductions.aminmax
    nansum = reductions.nansum
    nanmean = reductions.nanmean
    norm = later("operators.norms")
    dist = later("operators.norms")
    renorm = later("operators.norms")
    renorm_ = later("operators.norms", in_place=True)
    cov = later("operators.statistics")
    corrcoef = later("operators.statistics")

    # Movement -----------------------------------------------------------------------------------

    reshape = movement.reshape
    view = movement.view
    flatten = movement.flatten
    unflatten = movement.unflatten
    squeeze = movement.squeeze
    unsqueeze = movement.unsqueeze
    expand = movement.expand
    expand_as = movement.expand_as
    broadcast_to = movement.broadcast_to
    permute = movement.permute
    transpose = movement.transpose
    swapaxes = movement.swapaxes
    swapdims = movement.swapdims
    t = movement.t
    adjoint = movement.adjoint
    movedim = moveaxis = movement.movedim
    ravel = movement.ravel
    narrow = movement.narrow
    select = movement.select
    diagonal = movement.diagonal
    as_strided = later("operators.striding")
    unfold = later("operators.striding")
    select_scatter = later("operators.striding")
    slice_scatter = later("operators.striding")
    diagonal_scatter = later("operators.striding")
    as_strided_scatter = later("operators.striding")
    split = unsafe_split = splitting.split_method
    split_with_sizes = splitting.split_with_sizes
    chunk = unsafe_chunk = splitting.chunk
    tensor_split = splitting.tensor_split
    hsplit = splitting.hsplit
    vsplit = splitting.vsplit
    dsplit = splitting.dsplit
    unbind = splitting.unbind
    flip = repeating.flip
    fliplr = repeating.fliplr
    flipud = repeating.flipud
    roll = repeating.roll
    rot90 = repeating.rot90
    sum_to_size = repeating.sum_to_size
    repeat = repeating.repeat
    repeat_interleave = later("operators.arrangements")
    tile = repeating.tile
    tril = later("operators.triangles")
    triu = later("operators.triangles")
    diag = later("operators.triangles")
    diagflat = later("operators.triangles")
    diag_embed = later("operators.triangles")
    trace = later("operators.triangles")
    clone = movement.clone
    contiguous = movement.contiguous

    # Computed places ----------------------------------------------------------------------------

    gather = later("operators.gathers")
    take_along_dim = later("operators.gathers")
    index_select = later("operators.gathers")
    take = later("operators.gathers")
    scatter = later("operators.gathers")
    scatter_add = later("operators.gathers")
    scatter_reduce = later("operators.gathers")
    index_add = later("operators.gathers")
    index_copy = later("operators.gathers")
    index_fill = later("operators.gathers")
    index_reduce = later("operators.gathers")
    index_put = later("operators.advanced")
    masked_fill = later("operators.gathers")
    masked_select = later("operators.masks")
    masked_scatter = later("operators.masks")
    nonzero = later("operators.masks")
    nonzero_static = later("operators.masks")
    argwhere = later("operators.masks")
    scatter_ = later("operators.gathers", in_place=True)
    scatter_add_ = later("operators.gathers", in_place=True)
    scatter_reduce_ = later("operators.gathers", in_place=True)
    index_add_ = later("operators.gathers", in_place=True)
    index_copy_ = later("operators.gathers", in_place=True)
    index_fill_ = later("operators.gathers", in_place=True)
    index_reduce_ = later("operators.gathers", in_place=True)
    index_put_ = later("operators.advanced", in_place=True)
    put = later("operators.gathers")
    put_ = later("operators.gathers", in_place=True)
    masked_fill_ = later("operators.gathers", in_place=True)
    masked_scatter_ = later("operators.masks", in_place=True)

    # Scans and order ----------------------------------------------------------------------------

    cumsum = later("operators.scans")
    cumprod = later("operators.scans")
    cummax = later("operators.scans")
    cummin = later("operators.scans")
    logcumsumexp = later("operators.scans")
    diff = later("operators.scans")
    cumsum_ = later("operators.scans", in_place=True)
    cumprod_ = later("operators.scans", in_place=True)
    sort = later("operators.sorting")
    argsort = later("operators.sorting")
    msort = later("operators.sorting")
    topk = later("operators.sorting")
    kthvalue = later("operators.sorting")
    unique = later("operators.sorting")
    unique_consecutive = later("operators.sorting")
    median = later("operators.order_statistics")
    nanmedian = later("operators.order_statistics")
    mode = later("operators.order_statistics")
    quantile = later("operators.order_statistics")
    nanquantile = later("operators.order_statistics")
    bincount = later("operators.order_statistics")
    histc = later("operators.order_statistics")

    # Creation -----------------------------------------------------------------------------------

    new_tensor = creation.new_tensor
    new_zeros = creation.new_zeros
    new_ones = creation.new_ones
    new_full = creation.new_full
    new_empty = creation.new_empty
    new_empty_strided = creation.new_empty_strided

    # Matrix -------------------------------------------------------------------------------------

    matmul = linear.matmul
    mm = linear.mm
    bmm = linear.bmm
    mv = linear.mv
    dot = linear.dot
    vdot = linear.vdot
    inner = linear.inner
    outer = ger = linear.outer
    kron = linear.kron
    cross = linear.cross
    matrix_power = linear.matrix_power
    matrix_exp = later("matrix.matrix_functions")
    orgqr = later("matrix.matrix_functions")
    det = later("matrix.solving")
    logdet = later("matrix.solving")
    slogdet = later("matrix.solving")
    cholesky = later("matrix.factorizations")
    cholesky_inverse = later("matrix.factorizations")
    cholesky_solve = later("matrix.factorizations")
    inverse = later("matrix.older_matrices")
    pinverse = later("matrix.older_matrices")
    lu_solve = later("matrix.older_matrices")
    qr = later("matrix.older_matrices")
    svd = later("matrix.older_matrices")
    addr = linear.addr
    addbmm = linear.addbmm
    addmm = linear.addmm
    addmv = linear.addmv
    baddbmm = linear.baddbmm

    # Conversion ---------------------------------------------------------------------------------

    to = conversion.to
    float = conversion.float_
    double = conversion.double
    half = conversion.half
    bfloat16 = conversion.bfloat16
    long = conversion.long
    int = conversion.int_
    short = conversion.short
    char = conversion.char
    byte = conversion.byte
    bool = conversion.bool_
    cpu = conversion.cpu
    cuda = conversion.cuda
    type = conversion.type_
    type_as = conversion.type_as

    # In place -----------------------------------------------------------------------------------

    add_ = __iadd__ = in_place(elementwise.add)
    sub_ = __isub__ = in_place(elementwise.sub)
    mul_ = __imul__ = in_place(elementwise.mul)
    div_ = __itruediv__ = in_place(elementwise.div)
    floor_divide_ = __ifloordiv__ = in_place(elementwise.floor_divide)
    remainder_ = __imod__ = in_place(elementwise.remainder)
    pow_ = __ipow__ = in_place(elementwise.pow)
    bitwise_and_ = __iand__ = in_place(bitwise.bitwise_and)
    bitwise_or_ = __ior__ = in_place(bitwise.bitwise_or)
    bitwise_xor_ = __ixor__ = in_place(bitwise.bitwise_xor)
    neg_ = in_place(elementwise.neg)
    abs_ = in_place(elementwise.abs)
    square_ = in_place(elementwise.square)
    reciprocal_ = in_place(elementwise.reciprocal)
    sqrt_ = in_place(elementwise.sqrt)
    rsqrt_ = in_place(elementwise.rsqrt)
    exp_ = in_place(elementwise.exp)
    expm1_ = in_place(elementwise.expm1)
    log_ = in_place(elementwise.log)
    log1p_ = in_place(elementwise.log1p)
    sin_ = in_place(elementwise.sin)
    cos_ = in_place(elementwise.cos)
    tanh_ = in_place(elementwise.tanh)
    erf_ = in_place(elementwise.erf)
    floor_ = in_place(elementwise.floor)
    ceil_ = in_place(elementwise.ceil)
    round_ = in_place(elementwise.round)
    trunc_ = in_place(elementwise.trunc)
    clamp_ = clip_ = in_place(elementwise.clamp)
    lerp_ = in_place(elementwise.lerp)
    addcmul_ = in_place(elementwise.addcmul)
    addcdiv_ = in_place(elementwise.addcdiv)
    relu_ = in_place(activations.relu)
    sigmoid_ = in_place(activations.sigmoid)
    squeeze_ = later("core.inplace_views")
    unsqueeze_ = later("core.inplace_views")
    transpose_ = later("core.inplace_views")
    swapaxes_ = later("core.inplace_views")
    swapdims_ = later("core.inplace_views")
    t_ = later("core.inplace_views")
    as_strided_ = later("core.inplace_views")
    resize_ = later("core.inplace_views")
    resize_as_ = later("core.inplace_views")
    addmm_ = in_place(linear.addmm)
    addmv_ = in_place(linear.addmv)
    addr_ = in_place(linear.addr)
    addbmm_ = in_place(linear.addbmm)
    baddbmm_ = in_place(linear.baddbmm)
    tril_ = later("operators.triangles", in_place=True)
    triu_ = later("operators.triangles", in_place=True)
    fill_diagonal_ = later("core.python_functions")
    apply_ = later("core.python_functions")
    map_ = later("core.python_functions")
    map2_ = later("core.python_functions")
    uniform_ = later("operators.sampling")
    normal_ = later("operators.sampling")
    bernoulli_ = later("operators.sampling")
    exponential_ = later("operators.sampling")
    log_normal_ = later("operators.sampling")
    cauchy_ = later("operators.sampling")
    geometric_ = later("operators.sampling")
    random_ = later("operators.sampling")
