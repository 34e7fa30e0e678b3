"""The methods of `Tensor` that are functions of the modules by subject: one line for each.

Floor 6.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dlgrad import activations, conversion, elementwise, linear, movement, random, reductions
from dlgrad.apply import bitcast, is_operand
from dlgrad.base import TensorBase
from dlgrad.indexing import getitem, setitem
from dlgrad.inplace import in_place

if TYPE_CHECKING:
    from dlgrad.tensor import Tensor


def _operator(
    function: Callable[..., Tensor], reflected: bool = False
) -> Callable[[Tensor, Any], Tensor]:
    """An operator that leaves unknown operands to the other side."""

    @functools.wraps(function)
    def method(self: Tensor, other: Any) -> Any:
        if not isinstance(other, (TensorBase, float, int)) and not is_operand(other):
            return NotImplemented
        return function(other, self) if reflected else function(self, other)

    return method


class Methods(TensorBase):
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
    __and__ = _operator(elementwise.bitwise_and)
    __rand__ = _operator(elementwise.bitwise_and, reflected=True)
    __or__ = _operator(elementwise.bitwise_or)
    __ror__ = _operator(elementwise.bitwise_or, reflected=True)
    __xor__ = _operator(elementwise.bitwise_xor)
    __rxor__ = _operator(elementwise.bitwise_xor, reflected=True)
    __lshift__ = _operator(elementwise.bitwise_left_shift)
    __rlshift__ = _operator(elementwise.bitwise_left_shift, reflected=True)
    __rshift__ = _operator(elementwise.bitwise_right_shift)
    __rrshift__ = _operator(elementwise.bitwise_right_shift, reflected=True)
    __lt__ = _operator(elementwise.lt)
    __le__ = _operator(elementwise.le)
    __gt__ = _operator(elementwise.gt)
    __ge__ = _operator(elementwise.ge)
    __eq__ = _operator(elementwise.eq)  # type: ignore[assignment]
    __ne__ = _operator(elementwise.ne)  # type: ignore[assignment]

    # Element-wise -------------------------------------------------------------------------------

    add = elementwise.add
    sub = subtract = elementwise.sub
    mul = multiply = elementwise.mul
    div = divide = true_divide = elementwise.div
    floor_divide = elementwise.floor_divide
    remainder = elementwise.remainder
    fmod = elementwise.fmod
    pow = elementwise.pow
    square = elementwise.square
    neg = negative = elementwise.neg
    abs = absolute = elementwise.abs
    sign = elementwise.sign
    reciprocal = elementwise.reciprocal
    maximum = elementwise.maximum
    minimum = elementwise.minimum
    clamp = clip = elementwise.clamp
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
    xlogy = elementwise.xlogy
    sin = elementwise.sin
    cos = elementwise.cos
    tan = elementwise.tan
    asin = arcsin = elementwise.asin
    acos = arccos = elementwise.acos
    atan = arctan = elementwise.atan
    sinh = elementwise.sinh
    cosh = elementwise.cosh
    tanh = elementwise.tanh
    erf = elementwise.erf
    floor = elementwise.floor
    ceil = elementwise.ceil
    trunc = fix = elementwise.trunc
    round = elementwise.round
    frac = elementwise.frac
    lt = less = elementwise.lt
    le = less_equal = elementwise.le
    gt = greater = elementwise.gt
    ge = greater_equal = elementwise.ge
    eq = elementwise.eq
    ne = not_equal = elementwise.ne
    isnan = elementwise.isnan
    isinf = elementwise.isinf
    isfinite = elementwise.isfinite
    isclose = elementwise.isclose
    allclose = elementwise.allclose
    equal = elementwise.equal
    logical_and = elementwise.logical_and
    logical_or = elementwise.logical_or
    logical_xor = elementwise.logical_xor
    logical_not = elementwise.logical_not
    bitwise_and = elementwise.bitwise_and
    bitwise_or = elementwise.bitwise_or
    bitwise_xor = elementwise.bitwise_xor
    bitwise_not = elementwise.bitwise_not
    bitwise_left_shift = elementwise.bitwise_left_shift
    bitwise_right_shift = elementwise.bitwise_right_shift
    relu = activations.relu
    sigmoid = activations.sigmoid
    softmax = activations.softmax
    log_softmax = activations.log_softmax
    bernoulli = random.bernoulli
    bitcast = bitcast
    masked_fill = elementwise.masked_fill

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
    norm = reductions.norm

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
    transpose = swapaxes = swapdims = movement.transpose
    t = movement.t
    movedim = moveaxis = movement.movedim
    flip = movement.flip
    narrow = movement.narrow
    select = movement.select
    diagonal = movement.diagonal
    split = movement.split
    chunk = movement.chunk
    unbind = movement.unbind
    repeat = movement.repeat
    tile = movement.tile
    tril = movement.tril
    triu = movement.triu
    clone = movement.clone
    contiguous = movement.contiguous

    # Matrix -------------------------------------------------------------------------------------

    matmul = linear.matmul
    mm = linear.mm
    bmm = linear.bmm
    mv = linear.mv
    dot = linear.dot
    outer = linear.outer
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
    bitwise_and_ = __iand__ = in_place(elementwise.bitwise_and)
    bitwise_or_ = __ior__ = in_place(elementwise.bitwise_or)
    bitwise_xor_ = __ixor__ = in_place(elementwise.bitwise_xor)
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
    masked_fill_ = in_place(elementwise.masked_fill)
    tril_ = in_place(movement.tril)
    triu_ = in_place(movement.triu)
    uniform_ = random.uniform_
    normal_ = random.normal_
    bernoulli_ = random.bernoulli_
    exponential_ = random.exponential_
