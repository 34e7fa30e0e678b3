/* add */

extern "C" __global__ void __launch_bounds__(256) add_example(float *out, const float *x,
    const float *y, long long n, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    out[i] = x[i] + y[i];
}
