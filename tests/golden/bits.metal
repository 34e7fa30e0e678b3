/* bits */

#include <metal_stdlib>
using namespace metal;

/* Shifts by the width or more, or by a negative count, leave only the sign. */
static inline int dg_shr_i32(int a, int count)
{
    return a >> ((uint)count < 32 ? count : 32 - 1);
}

kernel void bits_example(device int *out [[buffer(0)]], device const float *x [[buffer(1)]],
    device float *power [[buffer(2)]], constant long *sizes [[buffer(29)]],
    constant ulong *numbers [[buffer(30)]], uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long work = sizes[1];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    out[i] = dg_shr_i32(as_type<int>(x[i]), 23);
    power[i] = as_type<float>(as_type<int>(x[i]) & 2139095040);
}
