/* fused chain */

extern "C" __global__ void __launch_bounds__(256) fused_chain_example(float *out,
    const float *x, const float *y, const float *z, long long n, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    const float x_value = x[i];
    const float sum = x_value * y[i] + z[i];
    out[i] = (0.0f < sum ? sum : 0.0f) * 2.0f + expf(-x_value);
}
