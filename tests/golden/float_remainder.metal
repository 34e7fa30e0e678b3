/* float remainder */

#include <metal_stdlib>
using namespace metal;

/* floor(a / b), exact where the quotient itself would be rounded up. */
static inline float dg_floordiv_f32(float a, float b)
{
    if (b == 0) return a / b;
    const float rest = fmod(a, b);
    float quotient = (a - rest) / b;
    if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
    if (quotient == 0) return a / b * 0;
    const float whole = floor(quotient);
    return quotient - whole > (float)0.5 ? whole + 1 : whole;
}

/* The rest of a floor division, with the sign of b. */
static inline float dg_mod_f32(float a, float b)
{
    const float rest = fmod(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

kernel void float_remainder_example(device float *quotient [[buffer(0)]],
    device float *rest [[buffer(1)]], device const float *x [[buffer(2)]],
    device const float *y [[buffer(3)]], constant long *sizes [[buffer(29)]],
    constant ulong *numbers [[buffer(30)]], uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long work = sizes[1];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    quotient[i] = dg_floordiv_f32(x[i], y[i]);
    rest[i] = dg_mod_f32(x[i], y[i]);
}
