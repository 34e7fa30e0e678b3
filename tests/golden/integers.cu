/* integers */

/* Shifts by the width or more, or by a negative count, push everything out. */
__device__ static inline int dg_shl_i32(int a, int count)
{
    return (unsigned int)count < 32 ? (int)((unsigned int)a << count) : 0;
}

/* By squaring, wrapping around; a negative exponent gives the whole part of 1 / power. */
__device__ static inline int dg_pow_i32(int base, int exponent)
{
    if (exponent < 0)
        return base == 1 ? 1 : base == -1 ? (exponent % 2 ? -1 : 1) : 0;
    unsigned int result = 1;
    unsigned int square = (unsigned int)base;
    for (unsigned int left = (unsigned int)exponent; left != 0; left >>= 1) {
        if (left & 1)
            result *= square;
        square *= square;
    }
    return (int)result;
}

extern "C" __global__ void __launch_bounds__(256) integers_example(int *out, int *power,
    const int *x, const int *y, long long n, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    out[i] = (int)((unsigned int)(int)((unsigned int)x[i] * (unsigned int)y[i]) - (unsigned
        int)dg_shl_i32(x[i], 3));
    power[i] = dg_pow_i32(~x[i], y[i] & 7);
}
