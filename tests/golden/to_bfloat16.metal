/* to bfloat16 */

#include <metal_stdlib>
using namespace metal;

kernel void to_bfloat16_example(device bfloat *out [[buffer(0)]],
    device const float *x [[buffer(1)]], constant long *sizes [[buffer(29)]],
    constant ulong *numbers [[buffer(30)]], uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long work = sizes[1];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    out[i] = bfloat(x[i]);
}
