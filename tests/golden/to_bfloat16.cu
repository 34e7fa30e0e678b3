/* to bfloat16 */

#include <cuda_bf16.h>

extern "C" __global__ void __launch_bounds__(256) to_bfloat16_example(__nv_bfloat16 *out,
    const float *x, long long n, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    out[i] = __float2bfloat16(x[i]);
}
