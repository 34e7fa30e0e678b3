/* counting */

#include <metal_stdlib>
using namespace metal;

kernel void counting_example(device float *out [[buffer(0)]],
    device long *place [[buffer(1)]], constant long *sizes [[buffer(29)]],
    constant ulong *numbers [[buffer(30)]], uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long work = sizes[1];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    out[i] = (float)(i * 2 + 5) + 0.5f;
    place[i] = i;
}
