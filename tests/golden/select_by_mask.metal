/* select by mask */

#include <metal_stdlib>
using namespace metal;

kernel void select_by_mask_example(device float *out [[buffer(0)]],
    device const bool *mask [[buffer(1)]], device const float *x [[buffer(2)]],
    constant long *sizes [[buffer(29)]], constant ulong *numbers [[buffer(30)]],
    uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long work = sizes[1];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    out[i] = mask[i] ? x[i] * 1.25f : 0.0f;
}
