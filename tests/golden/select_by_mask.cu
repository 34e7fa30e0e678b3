/* select by mask */

extern "C" __global__ void __launch_bounds__(256) select_by_mask_example(float *out,
    const bool *mask, const float *x, long long n, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    out[i] = mask[i] ? x[i] * 1.25f : 0.0f;
}
