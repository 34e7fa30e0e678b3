/* softmax by groups */

/* The larger; NaN if either is NaN. */
__device__ static inline float dg_maximum_f32(float a, float b)
{
    return ((a > b) | (a != a)) ? a : b;
}

extern "C" __global__ void __launch_bounds__(256) softmax_by_groups_example(float *out,
    const float *x, long long rows, long long columns, long long work)
{
    const long long i = blockIdx.x;
    const long long lane = threadIdx.x;
    __shared__ float top_shared[256];
    __shared__ float total_shared[256];
    if (i >= work) return;
    float top = -__int_as_float(0x7f800000);
    for (long long r = lane; r < columns; r += 256) {
        top = dg_maximum_f32(top, x[i * columns + r]);
    }
    top_shared[lane] = top;
    __syncthreads();
    for (int step = 128; step > 0; step /= 2) {
        if (lane < step)
            top_shared[lane] = dg_maximum_f32(top_shared[lane], top_shared[lane + step]);
        __syncthreads();
    }
    top = top_shared[0];
    __syncthreads();
    float total = 0.0f;
    for (long long r = lane; r < columns; r += 256) {
        total += expf(x[i * columns + r] - top);
    }
    total_shared[lane] = total;
    __syncthreads();
    for (int step = 128; step > 0; step /= 2) {
        if (lane < step)
            total_shared[lane] += total_shared[lane + step];
        __syncthreads();
    }
    total = total_shared[0];
    __syncthreads();
    const float scale = 1.0f / total;
    for (long long r = lane; r < columns; r += 256) {
        out[i * columns + r] = expf(x[i * columns + r] - top) * scale;
    }
}
