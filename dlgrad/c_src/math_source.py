"""The elementary functions in C, without a branch, so that loops over them become vector code.

Floor 4.  Out go helper texts for the dialect.  float32 has its own functions; float64 calls
the C library, which is exact enough and is not where training spends its time.

How they are made: an argument is reduced to a small interval, a polynomial does the rest.  The
polynomials are minimax fits (Remez exchange on the error that counts in the result, in 60
digits; coefficients rounded to the working precision from the lowest power up, each time
fitting the rest again).  Some functions work in double inside, where float would need two
numbers for one.  `docs/numerics.md` lists the errors, `tests/test_math.py` measures them.
Every function takes all float32 arguments: denormals, both zeros, infinities and NaN.
"""

from __future__ import annotations

from dlgrad.lazy.ops import ElementwiseOps as E

_LIBRARY = (E.EXP, E.EXPM1, E.LOG, E.LOG1P, E.SIN, E.COS, E.TANH, E.ERF, E.ATAN)
MATH_OPERATIONS = {(op, "float64"): f"__builtin_{op.value}({{0}})" for op in _LIBRARY} | {
    (E.POW, "float64"): "__builtin_pow({0}, {1})"
}

_EXP = """
/* e^x = 2^k e^r with a whole number k and |r| <= ln(2)/2.  Adding 1.5 * 2^23 rounds to a whole
   number and leaves it in the last bits.  2^k goes in as two factors, so that results below
   the normal numbers are rounded once. */
INLINE float dg_exp_f32(float x)
{
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    union { float number; int32_t bits; } shifted = { x * 1.44269504f + 0x1.8p23f };
    const float k = shifted.number - 0x1.8p23f;
    const float r = (x - k * 0x1.62e4p-1f) - k * 0x1.7f7d1cp-20f;
    const float q = ((((0.000199183836f * r + 0.00139460724f) * r + 0.00833326392f) * r
        + 0.0416662693f) * r + 0.166666672f) * r + 0.5f;
    const float power = 1.0f + (r + r * r * q);
    const int32_t whole = shifted.bits - 0x4b400000;
    const int32_t half = whole >> 1;
    union { uint32_t bits; float number; } first = { (uint32_t)(half + 127) << 23 };
    union { uint32_t bits; float number; } second = { (uint32_t)(whole - half + 127) << 23 };
    return power * first.number * second.number;
}
"""

_LOG = """
/* x = 2^k (1 + f) with 1 + f from sqrt(1/2) to sqrt(2); log x = k ln(2) + log(1 + f).
   0x3f3504f3 are the bits of sqrt(1/2). */
INLINE float dg_log_f32(float x)
{
    const bool small = x < 0x1p-126f;
    union { float number; int32_t bits; } in = { small ? x * 0x1p23f : x }, m;
    const int32_t above = in.bits - 0x3f3504f3;
    const float k = (float)((above >> 23) - (small ? 23 : 0));
    m.bits = (above & 0x7fffff) + 0x3f3504f3;
    const float f = m.number - 1.0f;
    const float q = (((((((0.0674663931f * f - 0.116756506f) * f + 0.11888162f) * f
        - 0.124055892f) * f + 0.142195523f) * f - 0.166679963f) * f + 0.200021192f) * f
        - 0.250000089f) * f + 0.333333135f;
    const float tail = f * f * (f * q - 0.5f);
    const float result = k * 0x1.62e4p-1f + (f + (k * 0x1.7f7d1cp-20f + tail));
    const float outside = x == 0.0f ? -__builtin_inff() : __builtin_nanf("");
    return x < __builtin_inff() ? (x > 0.0f ? result : outside) : x;
}
"""

_TANH = """
/* A polynomial near zero; beyond, 1 - 2 t / (1 + t) with t = e^(-2 |x|), as above; from 9.1 on
   that is 1, so that 2^k is always a normal number. */
INLINE float dg_tanh_f32(float x)
{
    const float a = __builtin_fabsf(x);
    const float z = a * a;
    const float q = ((((0.00215176935f * z - 0.00818923768f) * z + 0.0217066817f) * z
        - 0.0539481603f) * z + 0.133332208f) * z - 0.333333313f;
    const float y = a > 9.1f ? -18.2f : -2.0f * a;
    union { float number; int32_t bits; } shifted = { y * 1.44269504f + 0x1.8p23f };
    const float k = shifted.number - 0x1.8p23f;
    const float r = (y - k * 0x1.62e4p-1f) - k * 0x1.7f7d1cp-20f;
    const float p = ((((0.000199183836f * r + 0.00139460724f) * r + 0.00833326392f) * r
        + 0.0416662693f) * r + 0.166666672f) * r + 0.5f;
    union { uint32_t bits; float number; } scale = {
        (uint32_t)(shifted.bits - 0x4b400000 + 127) << 23 };
    const float t = scale.number + scale.number * (r + r * r * p);
    const float large = 1.0f - 2.0f * t / (1.0f + t);
    return __builtin_copysignf(a < 0.625f ? a + a * (z * q) : large, x);
}
"""

_ERF = """
/* A polynomial near zero; beyond, 1 - e^-g(|x|) with a polynomial g for -log(erfc). */
INLINE float dg_erf_f32(float x)
{
    const float a = __builtin_fabsf(x);
    const float z = a * a;
    const float q = (((((7.80690316e-05f * z - 0.00079978531f) * z + 0.0051871622f) * z
        - 0.0268533472f) * z + 0.112835787f) * z - 0.37612626f) * z + 0.128379166f;
    const float t = a > 3.95f ? 3.95f : a;
    const float g = ((((((2.0828611e-05f * t - 0.000431375607f) * t + 0.00415615784f) * t
        - 0.025080394f) * t + 0.108220108f) * t + 0.633401036f) * t + 1.12948835f) * t
        - 0.000169200634f;
    const float large = 1.0f - dg_exp_f32(-g);
    return __builtin_copysignf(a < 0.95f ? a + a * q : large, x);
}
"""

_ATAN = """
/* atan(a) = pi/2 - atan(1/a) above 1, and a polynomial on [0, 1]. */
INLINE float dg_atan_f32(float x)
{
    const float a = __builtin_fabsf(x);
    const bool above = a > 1.0f;
    const float t = (above ? 1.0f : a) / (above ? a : 1.0f);
    const float z = t * t;
    const float q = (((((((-0.00180389395f * z + 0.010939979f) * z - 0.0311924983f) * z
        + 0.0579459369f) * z - 0.0840160996f) * z + 0.109512851f) * z - 0.142640427f) * z
        + 0.199985296f) * z - 0.333332986f;
    const float near = t + t * (z * q);
    const float far = 0x1.921fb6p0f - (near + 0x1.777a5cp-25f);
    return __builtin_copysignf(above ? far : near, x);
}
"""

_TRIGONOMETRY = """
/* sin(x + turns * pi/2), in double.  x * 2/pi is only wanted modulo 4, so of the bits of 2/pi
   those are left out whose product with x is a multiple of 4: from 2^53 on, the first piece of
   28 bits, and so on.  Pieces of 28 bits times the 24 of x are exact, so what cancels does not
   hurt, and four of them reach beyond every float32.  Adding 1.5 * 2^52 rounds to a whole
   number and leaves it in the last bits. */
INLINE float dg_sin_turned(float x, double turns)
{
    const double a = __builtin_fabs((double)x);
    const bool large = a >= 0x1p53, larger = a >= 0x1p81, largest = a >= 0x1p109;
    double piece0 = large ? 0x1.c9c882ap-29 : 0x1.45f306cp-1;
    double piece1 = large ? 0x1.4fe13a8p-59 : 0x1.c9c882ap-29;
    double piece2 = large ? 0x1.f47d4dp-86 : 0x1.4fe13a8p-59;
    double piece3 = large ? 0x1.bb81b6cp-113 : 0x1.f47d4dp-86;
    piece0 = larger ? (largest ? 0x1.f47d4dp-86 : 0x1.4fe13a8p-59) : piece0;
    piece1 = larger ? (largest ? 0x1.bb81b6cp-113 : 0x1.f47d4dp-86) : piece1;
    piece2 = larger ? (largest ? 0x1.4acc9ep-143 : 0x1.bb81b6cp-113) : piece2;
    piece3 = larger ? (largest ? 0x1.0e4107cp-170 : 0x1.4acc9ep-143) : piece3;

    const double part0 = x * piece0, part1 = x * piece1;
    const double turn0 = part0 - 4.0 * (part0 * 0.25 + 0x1.8p52 - 0x1.8p52);
    const double turn1 = part1 - 4.0 * (part1 * 0.25 + 0x1.8p52 - 0x1.8p52);
    const double whole0 = turn0 + 0x1.8p52 - 0x1.8p52;
    const double sum1 = turn0 - whole0 + turn1;
    const double whole1 = sum1 + 0x1.8p52 - 0x1.8p52;
    const double sum2 = sum1 - whole1 + x * piece2;
    const double whole2 = sum2 + 0x1.8p52 - 0x1.8p52;
    const double angle = (sum2 - whole2 + x * piece3) * 0x1.921fb54442d18p0;

    union { double number; uint64_t bits; } quadrant = { whole0 + whole1 + whole2 + turns };
    quadrant.number += 0x1.8p52;
    const double z = angle * angle;
    const double sine = angle + angle * z * (((2.718304125070746e-06 * z
        - 0.0001983933407044728) * z + 0.00833332938353691) * z - 0.16666666641606584);
    const double cosine = 1.0 - 0.5 * z + z * z * (((-2.721016926596144e-07 * z
        + 2.4799519190678186e-05) * z - 0.001388888375035632) * z + 0.04166666662279324);
    const double size = quadrant.bits & 1 ? cosine : sine;
    return (float)(quadrant.bits & 2 ? -size : size);
}
"""

_SIN = """
INLINE float dg_sin_f32(float x)
{
    return x == 0.0f ? x : dg_sin_turned(x, 0.0);
}
"""

_COS = """
INLINE float dg_cos_f32(float x)
{
    return dg_sin_turned(x, 1.0);
}
"""

_EXPM1_REDUCED = """
/* e^r - 1 for |r| <= ln(2)/2, in double to 36 bits. */
INLINE double dg_expm1_reduced(double r)
{
    const double q = (((((2.4882511192614162e-05 * r + 0.0001990495905171499) * r
        + 0.0013888809284933528) * r + 0.008333288957290696) * r + 0.041666666955268473) * r
        + 0.16666666754540607) * r + 0.4999999999973604;
    return r + r * r * q;
}
"""

_EXPM1 = """
/* e^x - 1 = 2^k (e^r - 1) + (2^k - 1), in double. */
INLINE float dg_expm1_f32(float x)
{
    double y = x > 89.0f ? 89.0f : x;
    y = y < -104.0 ? -104.0 : y;
    union { double number; uint64_t bits; } shifted = { y * 0x1.71547652b82fep0 + 0x1.8p52 };
    const double k = shifted.number - 0x1.8p52;
    const double p = dg_expm1_reduced(y - k * 0x1.62e42fefa39efp-1);
    union { uint64_t bits; double number; } scale = { (shifted.bits + 1023) << 52 };
    return x == 0.0f ? x : (float)(scale.number * p + (scale.number - 1.0));
}
"""

_LOG_DOUBLE = """
/* log x of a double in the range of float32, to 43 bits: x = 2^k m with m from sqrt(1/2) to
   sqrt(2), and log m = 2 atanh(s) with s = (m - 1) / (m + 1). */
INLINE double dg_log_double(double x)
{
    union { double number; uint64_t bits; } in = { x }, m, k;
    m.bits = (in.bits & 0xfffffffffffffULL) | 0x3ff0000000000000ULL;
    k.bits = in.bits >> 52 | 0x4330000000000000ULL;
    const bool upper = m.number > 0x1.6a09e667f3bcdp0;
    const double mantissa = upper ? 0.5 * m.number : m.number;
    const double exponent = k.number - (upper ? 0x1p52 + 1022.0 : 0x1p52 + 1023.0);
    const double s = (mantissa - 1.0) / (mantissa + 1.0);
    const double z = s * s;
    const double q = (((0.19584202707621698 * z + 0.22176184803906743) * z
        + 0.2857210926118896) * z + 0.3999999562075622) * z + 0.666666666758045;
    const double result = exponent * 0x1.62e42fefa39efp-1 + (2.0 * s + s * z * q);
    const double outside = x == 0.0 ? -__builtin_inf() : __builtin_nan("");
    return x < __builtin_inf() ? (x > 0.0 ? result : outside) : x;
}
"""

_LOG1P = """
/* log(1 + x) in double, where 1 + x loses no bit that counts; near zero x - x^2 / 2. */
INLINE float dg_log1p_f32(float x)
{
    const double y = x;
    const double near = y - 0.5 * y * y;
    return (float)(__builtin_fabsf(x) < 0x1p-20f ? near : dg_log_double(1.0 + y));
}
"""

_POW = """
/* x^y = 2^(y log2 |x|) in double, then the sign and the cases that IEEE 754 lists. */
INLINE float dg_pow_f32(float x, float y)
{
    double e = y * (dg_log_double(__builtin_fabsf(x)) * 0x1.71547652b82fep0);
    e = e > 200.0 ? 200.0 : e;
    e = e < -200.0 ? -200.0 : e;
    union { double number; uint64_t bits; } shifted = { e + 0x1.8p52 };
    const double r = (e - (shifted.number - 0x1.8p52)) * 0x1.62e42fefa39efp-1;
    union { uint64_t bits; double number; } scale = { (shifted.bits + 1023) << 52 };
    const float size = (float)(scale.number + scale.number * dg_expm1_reduced(r));

    const bool whole = __builtin_rintf(y) == y;
    const bool odd = whole & (__builtin_rintf(0.5f * y) != 0.5f * y);
    const bool negative = __builtin_signbit(x) != 0;
    const bool undefined = (x < 0.0f) & (x > -__builtin_inff()) & !whole;
    const bool one = (y == 0.0f) | (x == 1.0f) | ((x == -1.0f) & (y - y != 0.0f) & (y == y));
    const float power = (negative & odd) ? -size : size;
    return one ? 1.0f : undefined ? __builtin_nanf("") : power;
}
"""

MATH_HELPERS = {
    "dg_exp_f32": _EXP,
    "dg_log_f32": _LOG,
    "dg_tanh_f32": _TANH,
    "dg_erf_f32": _ERF,
    "dg_atan_f32": _ATAN,
    "dg_sin_turned": _TRIGONOMETRY,
    "dg_sin_f32": _SIN,
    "dg_cos_f32": _COS,
    "dg_expm1_reduced": _EXPM1_REDUCED,
    "dg_expm1_f32": _EXPM1,
    "dg_log_double": _LOG_DOUBLE,
    "dg_log1p_f32": _LOG1P,
    "dg_pow_f32": _POW,
}
