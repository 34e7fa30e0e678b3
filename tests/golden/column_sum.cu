/* column sum */

/* The smaller of two sizes. */
__device__ static inline long long dg_min(long long a, long long b)
{
    return a < b ? a : b;
}

extern "C" __global__ void __launch_bounds__(256) column_sum_example(float *out,
    const float *x, long long tiles, long long columns, long long rows, long long work)
{
    const long long tile = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (tile >= work) return;
    float sum[16];
    for (long long lane = 0; lane < 16; lane++)
        sum[lane] = 0.0f;
    for (long long r = 0; r < rows; r++) {
        const long long j_end = dg_min(16, columns - tile * 16);
        for (long long j = 0; j < j_end; j++) {
            sum[j] += x[r * columns + tile * 16 + j];
        }
    }
    const long long j_end = dg_min(16, columns - tile * 16);
    for (long long j = 0; j < j_end; j++) {
        out[tile * 16 + j] = sum[j];
    }
}
