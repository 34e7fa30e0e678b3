/* row extremes */

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

kernel void row_extremes_example(device float *highest [[buffer(0)]],
    device float *lowest [[buffer(1)]], device const float *x [[buffer(2)]],
    constant long *sizes [[buffer(29)]], constant ulong *numbers [[buffer(30)]],
    uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long columns = sizes[1];
    const long work = sizes[2];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    float max_ = -INFINITY;
    float min_ = INFINITY;
    for (long r = 0; r < columns; r++) {
        max_ = dg_maximum_f32(max_, x[i * columns + r]);
        min_ = dg_minimum_f32(min_, x[i * columns + r]);
    }
    highest[i] = max_;
    lowest[i] = min_;
}
