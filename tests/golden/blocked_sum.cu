/* blocked sum */

/* The smaller of two sizes. */
__device__ static inline long long dg_min(long long a, long long b)
{
    return a < b ? a : b;
}

extern "C" __global__ void __launch_bounds__(256) blocked_sum_example(double *out,
    const double *x, long long n, long long blocks, long long work)
{
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= work) return;
    double sum = 0.0;
    for (long long block = 0; block < blocks; block++) {
        double partial = 0.0;
        const long long r_end = dg_min(16, n - block * 16);
        for (long long r = 0; r < r_end; r++) {
            partial += x[block * 16 + r];
        }
        sum += partial;
    }
    out[0] = sum;
}
