/* halves */

#include <metal_stdlib>
using namespace metal;

kernel void halves_example(device half *out [[buffer(0)]],
    device const bfloat *x [[buffer(1)]], device const half *y [[buffer(2)]],
    constant long *sizes [[buffer(29)]], constant ulong *numbers [[buffer(30)]],
    uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long work = sizes[1];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    out[i] = half(float(half(float(x[i]) * float(y[i]))) + 0.125f);
}
