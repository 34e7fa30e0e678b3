/* row sum by groups */

extern "C" __global__ void __launch_bounds__(256) row_sum_by_groups_example(float *out,
    const float *x, long long rows, long long columns, long long work)
{
    const long long i = blockIdx.x;
    const long long lane = threadIdx.x;
    __shared__ float sum_shared[256];
    if (i >= work) return;
    float sum = 0.0f;
    for (long long r = lane; r < columns; r += 256) {
        sum += x[i * columns + r];
    }
    sum_shared[lane] = sum;
    __syncthreads();
    for (int step = 128; step > 0; step /= 2) {
        if (lane < step)
            sum_shared[lane] += sum_shared[lane + step];
        __syncthreads();
    }
    sum = sum_shared[0];
    __syncthreads();
    if (lane == 0)
        out[i] = sum;
}
