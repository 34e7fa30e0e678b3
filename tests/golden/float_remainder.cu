/* float remainder */

/* floor(a / b), exact where the quotient itself would be rounded up. */
__device__ static inline float dg_floordiv_f32(float a, float b)
{
    if (b == 0) return a / b;
    const float rest = fmodf(a, b);
    float quotient = (a - rest) / b;
    if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
    if (quotient == 0) return a / b * 0;
    const float whole = floorf(quotient);
    return quotient - whole > (float)0.5 ? whole + 1 : whole;
}

/* The rest of a floor division, with the sign of b. */
__device__ static inline float dg_mod_f32(float a, float b)
{
    const float rest = fmodf(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

extern "C" __global__ void __launch_bounds__(256) float_remainder_example(float *quotient,
    float *rest, const float *x, const float *y, long long n, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    quotient[i] = dg_floordiv_f32(x[i], y[i]);
    rest[i] = dg_mod_f32(x[i], y[i]);
}
