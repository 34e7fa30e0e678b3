/* row extremes */

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

extern "C" __global__ void __launch_bounds__(256) row_extremes_example(float *highest,
    float *lowest, const float *x, long long rows, long long columns, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    float max_ = -__int_as_float(0x7f800000);
    float min_ = __int_as_float(0x7f800000);
    for (long long r = 0; r < columns; r++) {
        max_ = dg_maximum_f32(max_, x[i * columns + r]);
        min_ = dg_minimum_f32(min_, x[i * columns + r]);
    }
    highest[i] = max_;
    lowest[i] = min_;
}
