/* functions */

#include <metal_stdlib>
using namespace metal;

/* The error function */
static inline float dg_erf(float x)
{
    const float a = fabs(x);
    if (a >= 4.0f) return copysign(1.0f, x);
    if (a < 1.0f) {
        const float z = x * x;
        float p = fma(7.87587487e-05f, z, -8.01686430e-04f);
        p = fma(p, z, 5.18908724e-03f);
        p = fma(p, z, -2.68542115e-02f);
        p = fma(p, z, 1.12835944e-01f);
        p = fma(p, z, -3.76126260e-01f);
        return x * fma(p, z, 1.12837911f);
    }
    float p = fma(1.32723617e-05f, a, -3.16937017e-04f);
    p = fma(p, a, 3.43235140e-03f);
    p = fma(p, a, -2.26047728e-02f);
    p = fma(p, a, 1.03281118e-01f);
    p = fma(p, a, 6.39141262e-01f);
    p = fma(p, a, 1.12589359f);
    p = fma(p, a, 7.65897799e-04f);
    return isnan(x) ? x : copysign(1.0f - exp(-p), x);
}

kernel void functions_example(device float *exp_out [[buffer(0)]],
    device float *log_out [[buffer(1)]], device float *tanh_out [[buffer(2)]],
    device float *erf_out [[buffer(3)]], device float *sin_out [[buffer(4)]],
    device float *sqrt_out [[buffer(5)]], device const float *x [[buffer(6)]],
    constant long *sizes [[buffer(29)]], constant ulong *numbers [[buffer(30)]],
    uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long work = sizes[1];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    exp_out[i] = exp(x[i]);
    log_out[i] = log(x[i]);
    tanh_out[i] = tanh(x[i]);
    erf_out[i] = dg_erf(x[i]);
    sin_out[i] = sin(x[i]);
    sqrt_out[i] = sqrt(x[i]);
}
