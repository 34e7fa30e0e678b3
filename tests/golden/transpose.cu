/* transpose */

extern "C" __global__ void __launch_bounds__(256) transpose_example(float *out,
    const float *x, long long n, long long m, long long p, long long nm, long long mk,
    long long work)
{
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= work) return;
    const long long i = place / (m * p);
    const long long j = place / p % m;
    const long long k = place % p;
    out[i * mk + j * p + k] = x[i + j * n + k * nm];
}
