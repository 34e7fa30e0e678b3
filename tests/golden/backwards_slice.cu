/* backwards slice */

extern "C" __global__ void __launch_bounds__(256) backwards_slice_example(float *out,
    const float *x, long long n, long long start, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    out[i] = x[start - i * 3];
}
