/* max pool */

/* The larger; NaN if either is NaN. */
__device__ static inline float dg_maximum_f32(float a, float b)
{
    return ((a > b) | (a != a)) ? a : b;
}

extern "C" __global__ void __launch_bounds__(256) max_pool_example(float *out,
    const float *x, long long rows, long long columns, long long two_rows, long long row,
    long long row_1, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    for (long long j = 0; j < columns; j++) {
        float max_ = -__int_as_float(0x7f800000);
        max_ = dg_maximum_f32(max_, x[i * two_rows + j * 2]);
        max_ = dg_maximum_f32(max_, x[i * two_rows + j * 2 + 1]);
        max_ = dg_maximum_f32(max_, x[i * two_rows + j * 2 + row]);
        max_ = dg_maximum_f32(max_, x[i * two_rows + j * 2 + row_1]);
        out[i * columns + j] = max_;
    }
}
