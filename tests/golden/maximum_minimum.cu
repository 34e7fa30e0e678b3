/* maximum minimum */

/* The larger; NaN if either is NaN. */
__device__ static inline float dg_maximum_f32(float a, float b)
{
    return ((a > b) | (a != a)) ? a : b;
}

/* The smaller; NaN if either is NaN. */
__device__ static inline float dg_minimum_f32(float a, float b)
{
    return ((a < b) | (a != a)) ? a : b;
}

extern "C" __global__ void __launch_bounds__(256) maximum_minimum_example(float *out,
    const float *x, const float *y, long long n, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    out[i] = dg_maximum_f32(dg_minimum_f32(x[i], y[i]), -1.5f);
}
