/* bits */

/* Shifts by the width or more, or by a negative count, leave only the sign. */
__device__ static inline int dg_shr_i32(int a, int count)
{
    return a >> ((unsigned int)count < 32 ? count : 32 - 1);
}

/* The same bits as another type. */
__device__ static inline int dg_bitcast_f32_to_i32(float x)
{
    union { float from; int to; } bits;
    bits.from = x;
    return bits.to;
}

/* The same bits as another type. */
__device__ static inline float dg_bitcast_i32_to_f32(int x)
{
    union { int from; float to; } bits;
    bits.from = x;
    return bits.to;
}

extern "C" __global__ void __launch_bounds__(256) bits_example(int *out, const float *x,
    float *power, long long n, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    out[i] = dg_shr_i32(dg_bitcast_f32_to_i32(x[i]), 23);
    power[i] = dg_bitcast_i32_to_f32(dg_bitcast_f32_to_i32(x[i]) & 2139095040);
}
