/* counting */

extern "C" __global__ void __launch_bounds__(256) counting_example(float *out,
    long long *place, long long n, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    out[i] = (float)(i * 2 + 5) + 0.5f;
    place[i] = i;
}
