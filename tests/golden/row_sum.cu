/* row sum */

extern "C" __global__ void __launch_bounds__(256) row_sum_example(float *out,
    const float *x, long long rows, long long columns, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    float sum = 0.0f;
    for (long long r = 0; r < columns; r++) {
        sum += x[i * columns + r];
    }
    out[i] = sum;
}
