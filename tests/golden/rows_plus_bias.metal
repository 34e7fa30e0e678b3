/* rows plus bias */

#include <metal_stdlib>
using namespace metal;

kernel void rows_plus_bias_example(device float *out [[buffer(0)]],
    device const float *x [[buffer(1)]], device const float *bias [[buffer(2)]],
    constant long *sizes [[buffer(29)]], constant ulong *numbers [[buffer(30)]],
    uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long columns = sizes[1];
    const long x_stride_i = sizes[2];
    const long work = sizes[3];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    for (long j = 0; j < columns; j++) {
        out[i * columns + j] = x[i * x_stride_i + j] + bias[j];
    }
}
