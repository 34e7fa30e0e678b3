/* maximum minimum */

#include <metal_stdlib>
using namespace metal;

/* The larger; NaN if either is NaN. */
static inline float dg_maximum_f32(float a, float b)
{
    return ((a > b) | (a != a)) ? a : b;
}

/* The smaller; NaN if either is NaN. */
static inline float dg_minimum_f32(float a, float b)
{
    return ((a < b) | (a != a)) ? a : b;
}

kernel void maximum_minimum_example(device float *out [[buffer(0)]],
    device const float *x [[buffer(1)]], device const float *y [[buffer(2)]],
    constant long *sizes [[buffer(29)]], constant ulong *numbers [[buffer(30)]],
    uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long work = sizes[1];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    out[i] = dg_maximum_f32(dg_minimum_f32(x[i], y[i]), -1.5f);
}
