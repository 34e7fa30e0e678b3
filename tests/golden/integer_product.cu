/* integer product */

extern "C" __global__ void __launch_bounds__(256) integer_product_example(long long *out,
    const long long *first, const long long *x, long long rows, long long columns,
    long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    const long long start = first[0];
    long long product = start;
    for (long long r = 0; r < columns; r++) {
        product = (long long)((unsigned long long)product * (unsigned long long)x[i * columns + r]);
    }
    out[i] = product;
}
