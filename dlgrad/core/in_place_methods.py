"""The in-place methods of `Tensor` that are functions of the modules by subject.

Floor 6.  Each is imported when it is first used; those behind the operators (`+=`) and the most
common ones are in `methods.py`.
"""

from __future__ import annotations

from dlgrad.core.base import TensorBase
from dlgrad.core.later import later


class InPlaceMethods(TensorBase):
    """Methods whose names end in an underscore: they write the result into the tensor."""

    __slots__ = ()

    # Arithmetic -----------------------------------------------------------------------------------

    clamp_max_ = later("operators.elementwise", in_place=True)
    clamp_min_ = later("operators.elementwise", in_place=True)
    exp2_ = later("operators.elementwise", in_place=True)
    fmod_ = later("operators.elementwise", in_place=True)
    frac_ = later("operators.elementwise", in_place=True)
    log10_ = later("operators.elementwise", in_place=True)
    log2_ = later("operators.elementwise", in_place=True)
    sign_ = later("operators.elementwise", in_place=True)
    xlogy_ = later("operators.elementwise", in_place=True)
    absolute_ = later("operators.elementwise", "abs", in_place=True)
    divide_ = later("operators.elementwise", "div", in_place=True)
    fix_ = later("operators.elementwise", "trunc", in_place=True)
    multiply_ = later("operators.elementwise", "mul", in_place=True)
    negative_ = later("operators.elementwise", "neg", in_place=True)
    subtract_ = later("operators.elementwise", "sub", in_place=True)
    true_divide_ = later("operators.elementwise", "div", in_place=True)

    # Comparison and logic -------------------------------------------------------------------------

    eq_ = later("operators.comparison", in_place=True)
    ge_ = later("operators.comparison", in_place=True)
    gt_ = later("operators.comparison", in_place=True)
    le_ = later("operators.comparison", in_place=True)
    logical_and_ = later("operators.comparison", in_place=True)
    logical_not_ = later("operators.comparison", in_place=True)
    logical_or_ = later("operators.comparison", in_place=True)
    logical_xor_ = later("operators.comparison", in_place=True)
    lt_ = later("operators.comparison", in_place=True)
    ne_ = later("operators.comparison", in_place=True)
    greater_ = later("operators.comparison", "gt", in_place=True)
    greater_equal_ = later("operators.comparison", "ge", in_place=True)
    less_ = later("operators.comparison", "lt", in_place=True)
    less_equal_ = later("operators.comparison", "le", in_place=True)
    not_equal_ = later("operators.comparison", "ne", in_place=True)

    # Bits -----------------------------------------------------------------------------------------

    bitwise_left_shift_ = later("operators.bitwise", in_place=True)
    bitwise_not_ = later("operators.bitwise", in_place=True)
    bitwise_right_shift_ = later("operators.bitwise", in_place=True)
    __ilshift__ = later("operators.bitwise", "bitwise_left_shift", in_place=True)
    __irshift__ = later("operators.bitwise", "bitwise_right_shift", in_place=True)

    # Trigonometry ---------------------------------------------------------------------------------

    acos_ = later("operators.trigonometry", in_place=True)
    acosh_ = later("operators.trigonometry", in_place=True)
    asin_ = later("operators.trigonometry", in_place=True)
    asinh_ = later("operators.trigonometry", in_place=True)
    atan_ = later("operators.trigonometry", in_place=True)
    atan2_ = later("operators.trigonometry", in_place=True)
    atanh_ = later("operators.trigonometry", in_place=True)
    cosh_ = later("operators.trigonometry", in_place=True)
    sinc_ = later("operators.trigonometry", in_place=True)
    sinh_ = later("operators.trigonometry", in_place=True)
    tan_ = later("operators.trigonometry", in_place=True)
    arccos_ = later("operators.trigonometry", "acos", in_place=True)
    arccosh_ = later("operators.trigonometry", "acosh", in_place=True)
    arcsin_ = later("operators.trigonometry", "asin", in_place=True)
    arcsinh_ = later("operators.trigonometry", "asinh", in_place=True)
    arctan_ = later("operators.trigonometry", "atan", in_place=True)
    arctan2_ = later("operators.trigonometry", "atan2", in_place=True)
    arctanh_ = later("operators.trigonometry", "atanh", in_place=True)

    # Signs and special values ---------------------------------------------------------------------

    copysign_ = later("operators.arithmetic", in_place=True)
    deg2rad_ = later("operators.arithmetic", in_place=True)
    float_power_ = later("operators.arithmetic", in_place=True)
    gcd_ = later("operators.arithmetic", in_place=True)
    heaviside_ = later("operators.arithmetic", in_place=True)
    hypot_ = later("operators.arithmetic", in_place=True)
    lcm_ = later("operators.arithmetic", in_place=True)
    ldexp_ = later("operators.arithmetic", in_place=True)
    nan_to_num_ = later("operators.arithmetic", in_place=True)
    rad2deg_ = later("operators.arithmetic", in_place=True)
    sgn_ = later("operators.arithmetic", in_place=True)

    # Special functions ----------------------------------------------------------------------------

    erfc_ = later("operators.error_functions", in_place=True)
    erfinv_ = later("operators.error_functions", in_place=True)
    digamma_ = later("operators.gamma_functions", in_place=True)
    lgamma_ = later("operators.gamma_functions", in_place=True)
    mvlgamma_ = later("operators.gamma_functions", in_place=True)
    polygamma_ = later("operators.gamma_functions", "polygamma_of", in_place=True)
    i0_ = later("operators.bessel", in_place=True)
    logit_ = later("special", in_place=True)
