/* softmax */

/* The larger; NaN if either is NaN. */
__device__ static inline float dg_maximum_f32(float a, float b)
{
    return ((a > b) | (a != a)) ? a : b;
}

extern "C" __global__ void __launch_bounds__(256) softmax_example(float *out,
    const float *x, long long rows, long long columns, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    float top = -__int_as_float(0x7f800000);
    for (long long r = 0; r < columns; r++) {
        top = dg_maximum_f32(top, x[i * columns + r]);
    }
    float total = 0.0f;
    for (long long r = 0; r < columns; r++) {
        total += expf(x[i * columns + r] - top);
    }
    const float scale = 1.0f / total;
    for (long long r = 0; r < columns; r++) {
        out[i * columns + r] = expf(x[i * columns + r] - top) * scale;
    }
}
