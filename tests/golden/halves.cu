/* halves */

#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" __global__ void __launch_bounds__(256) halves_example(__half *out,
    const __nv_bfloat16 *x, const __half *y, long long n, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    out[i] = __float2half(__half2float(__float2half(__bfloat162float(x[i]) * __half2float(y[i]))) +
        0.125f);
}
