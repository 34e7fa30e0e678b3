/* any and all */

#include <metal_stdlib>
using namespace metal;

kernel void any_and_all_example(device bool *some [[buffer(0)]],
    device bool *every [[buffer(1)]], device const bool *x [[buffer(2)]],
    constant long *sizes [[buffer(29)]], constant ulong *numbers [[buffer(30)]],
    uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long columns = sizes[1];
    const long work = sizes[2];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    bool any = false;
    bool all = true;
    for (long r = 0; r < columns; r++) {
        any |= x[i * columns + r];
        all &= x[i * columns + r];
    }
    some[i] = any;
    every[i] = all;
}
