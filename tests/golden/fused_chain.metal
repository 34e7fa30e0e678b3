/* fused chain */

#include <metal_stdlib>
using namespace metal;

kernel void fused_chain_example(device float *out [[buffer(0)]],
    device const float *x [[buffer(1)]], device const float *y [[buffer(2)]],
    device const float *z [[buffer(3)]], constant long *sizes [[buffer(29)]],
    constant ulong *numbers [[buffer(30)]], uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long work = sizes[1];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    const float x_value = x[i];
    const float sum = x_value * y[i] + z[i];
    out[i] = (0.0f < sum ? sum : 0.0f) * 2.0f + exp(-x_value);
}
