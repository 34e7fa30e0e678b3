/* backwards slice */

#include <metal_stdlib>
using namespace metal;

kernel void backwards_slice_example(device float *out [[buffer(0)]],
    device const float *x [[buffer(1)]], constant long *sizes [[buffer(29)]],
    constant ulong *numbers [[buffer(30)]], uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long start = sizes[1];
    const long work = sizes[2];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    out[i] = x[start - i * 3];
}
