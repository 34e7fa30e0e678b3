"""The in-place methods of `Tensor` that are functions of the modules by subject.

Floor 6.  Each is imported when it is first used; those behind the operators (`+=`) and the most
common ones are in `methods.py`.
"""

from __future__ import annotations

from dlgrad.base import TensorBase
from dlgrad.later import later


class InPlaceMethods(TensorBase):
    """Methods whose names end in an underscore: they write the result into the tensor."""

    __slots__ = ()

    # Arithmetic -----------------------------------------------------------------------------------

    clamp_max_ = later("elementwise", in_place=True)
    clamp_min_ = later("elementwise", in_place=True)
    exp2_ = later("elementwise", in_place=True)
    fmod_ = later("elementwise", in_place=True)
    frac_ = later("elementwise", in_place=True)
    log10_ = later("elementwise", in_place=True)
    log2_ = later("elementwise", in_place=True)
    sign_ = later("elementwise", in_place=True)
    xlogy_ = later("elementwise", in_place=True)
    absolute_ = later("elementwise", "abs", in_place=True)
    divide_ = later("elementwise", "div", in_place=True)
    fix_ = later("elementwise", "trunc", in_place=True)
    multiply_ = later("elementwise", "mul", in_place=True)
    negative_ = later("elementwise", "neg", in_place=True)
    subtract_ = later("elementwise", "sub", in_place=True)
    true_divide_ = later("elementwise", "div", in_place=True)

    # Comparison and logic -------------------------------------------------------------------------

    eq_ = later("comparison", in_place=True)
    ge_ = later("comparison", in_place=True)
    gt_ = later("comparison", in_place=True)
    le_ = later("comparison", in_place=True)
    logical_and_ = later("comparison", in_place=True)
    logical_not_ = later("comparison", in_place=True)
    logical_or_ = later("comparison", in_place=True)
    logical_xor_ = later("comparison", in_place=True)
    lt_ = later("comparison", in_place=True)
    ne_ = later("comparison", in_place=True)
    greater_ = later("comparison", "gt", in_place=True)
    greater_equal_ = later("comparison", "ge", in_place=True)
    less_ = later("comparison", "lt", in_place=True)
    less_equal_ = later("comparison", "le", in_place=True)
    not_equal_ = later("comparison", "ne", in_place=True)

    # Bits -----------------------------------------------------------------------------------------

    bitwise_left_shift_ = later("bitwise", in_place=True)
    bitwise_not_ = later("bitwise", in_place=True)
    bitwise_right_shift_ = later("bitwise", in_place=True)
    __ilshift__ = later("bitwise", "bitwise_left_shift", in_place=True)
    __irshift__ = later("bitwise", "bitwise_right_shift", in_place=True)

    # Trigonometry ---------------------------------------------------------------------------------

    acos_ = later("trigonometry", in_place=True)
    acosh_ = later("trigonometry", in_place=True)
    asin_ = later("trigonometry", in_place=True)
    asinh_ = later("trigonometry", in_place=True)
    atan_ = later("trigonometry", in_place=True)
    atan2_ = later("trigonometry", in_place=True)
    atanh_ = later("trigonometry", in_place=True)
    cosh_ = later("trigonometry", in_place=True)
    sinc_ = later("trigonometry", in_place=True)
    sinh_ = later("trigonometry", in_place=True)
    tan_ = later("trigonometry", in_place=True)
    arccos_ = later("trigonometry", "acos", in_place=True)
    arccosh_ = later("trigonometry", "acosh", in_place=True)
    arcsin_ = later("trigonometry", "asin", in_place=True)
    arcsinh_ = later("trigonometry", "asinh", in_place=True)
    arctan_ = later("trigonometry", "atan", in_place=True)
    arctan2_ = later("trigonometry", "atan2", in_place=True)
    arctanh_ = later("trigonometry", "atanh", in_place=True)

    # Signs and special values ---------------------------------------------------------------------

    copysign_ = later("arithmetic", in_place=True)
    deg2rad_ = later("arithmetic", in_place=True)
    float_power_ = later("arithmetic", in_place=True)
    gcd_ = later("arithmetic", in_place=True)
    heaviside_ = later("arithmetic", in_place=True)
    hypot_ = later("arithmetic", in_place=True)
    lcm_ = later("arithmetic", in_place=True)
    ldexp_ = later("arithmetic", in_place=True)
    nan_to_num_ = later("arithmetic", in_place=True)
    rad2deg_ = later("arithmetic", in_place=True)
    sgn_ = later("arithmetic", in_place=True)

    # Special functions ----------------------------------------------------------------------------

    erfc_ = later("error_functions", in_place=True)
    erfinv_ = later("error_functions", in_place=True)
    digamma_ = later("gamma_functions", in_place=True)
    lgamma_ = later("gamma_functions", in_place=True)
    mvlgamma_ = later("gamma_functions", in_place=True)
    polygamma_ = later("gamma_functions", "polygamma_of", in_place=True)
    i0_ = later("bessel", in_place=True)
    logit_ = later("special", in_place=True)
