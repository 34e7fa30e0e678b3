/* compare */

#include <metal_stdlib>
using namespace metal;

kernel void compare_example(device bool *out [[buffer(0)]],
    device const float *x [[buffer(1)]], device const float *y [[buffer(2)]],
    device bool *out2 [[buffer(3)]], constant long *sizes [[buffer(29)]],
    constant ulong *numbers [[buffer(30)]], uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long work = sizes[1];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    out[i] = (x[i] <= y[i]) & ((x[i] == x[i]) ^ true);
    out2[i] = (x[i] <= y[i]) | (x[i] != 0.0f);
}
