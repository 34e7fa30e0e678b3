/* any and all */

extern "C" __global__ void __launch_bounds__(256) any_and_all_example(bool *some,
    bool *every, const bool *x, long long rows, long long columns, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    bool any = false;
    bool all = true;
    for (long long r = 0; r < columns; r++) {
        any |= x[i * columns + r];
        all &= x[i * columns + r];
    }
    some[i] = any;
    every[i] = all;
}
