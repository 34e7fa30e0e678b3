/* power of doubles */

extern "C" __global__ void __launch_bounds__(256) power_of_doubles_example(double *out,
    const double *x, long long n, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    out[i] = pow(x[i], 0.1);
}
