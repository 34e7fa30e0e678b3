/* compare */

extern "C" __global__ void __launch_bounds__(256) compare_example(bool *out, const float *x,
    const float *y, bool *out2, long long n, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    out[i] = (x[i] <= y[i]) & ((x[i] == x[i]) ^ true);
    out2[i] = (x[i] <= y[i]) | (x[i] != 0.0f);
}
