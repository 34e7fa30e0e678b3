/* functions */

#include <stdbool.h>
typedef __INT32_TYPE__ int32_t;
typedef __INT64_TYPE__ int64_t;
typedef __UINT32_TYPE__ uint32_t;
typedef __UINT64_TYPE__ uint64_t;
#define INLINE static inline __attribute__((always_inline))

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

INLINE float dg_sin_f32(float x)
{
    return x == 0.0f ? x : dg_sin_turned(x, 0.0);
}

void functions_example(void *const *buffers, const int64_t *sizes, const double *scalars,
    int64_t begin, int64_t end)
{
    float *restrict exp_out = buffers[0];
    float *restrict log_out = buffers[1];
    float *restrict tanh_out = buffers[2];
    float *restrict erf_out = buffers[3];
    float *restrict sin_out = buffers[4];
    float *restrict sqrt_out = buffers[5];
    const float *restrict x = buffers[6];
    #pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        exp_out[i] = dg_exp_f32(x[i]);
        log_out[i] = dg_log_f32(x[i]);
        tanh_out[i] = dg_tanh_f32(x[i]);
        erf_out[i] = dg_erf_f32(x[i]);
        sin_out[i] = dg_sin_f32(x[i]);
        sqrt_out[i] = __builtin_sqrtf(x[i]);
    }
}
