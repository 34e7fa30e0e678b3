/* casts */

/* Towards zero; NaN gives 0, and what does not fit the nearest number that does. */
__device__ static inline int dg_f32_to_i32(float x)
{
    return x != x ? 0
        : x >= 2147483648.0f ? 2147483647
        : x <= -2147483648.0f ? (-2147483647 - 1)
        : (int)x;
}

/* Towards zero; NaN gives 0, and what does not fit the nearest number that does. */
__device__ static inline unsigned char dg_f32_to_u8(float x)
{
    return x != x ? 0
        : x >= 256.0f ? 255
        : x <= 0.0f ? 0
        : (unsigned char)x;
}

extern "C" __global__ void __launch_bounds__(256) casts_example(int *whole,
    unsigned char *byte, bool *flag, float *number, const float *x, const long long *y,
    long long n, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    whole[i] = dg_f32_to_i32(x[i]);
    byte[i] = dg_f32_to_u8(x[i]);
    flag[i] = x[i] != 0.0f;
    number[i] = (float)y[i];
}
