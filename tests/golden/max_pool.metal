/* max pool */

#include <metal_stdlib>
using namespace metal;

/* The larger; NaN if either is NaN. */
static inline float dg_maximum_f32(float a, float b)
{
    return ((a > b) | (a != a)) ? a : b;
}

kernel void max_pool_example(device float *out [[buffer(0)]],
    device const float *x [[buffer(1)]], constant long *sizes [[buffer(29)]],
    constant ulong *numbers [[buffer(30)]], uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long columns = sizes[1];
    const long two_rows = sizes[2];
    const long row = sizes[3];
    const long row_1 = sizes[4];
    const long work = sizes[5];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    for (long j = 0; j < columns; j++) {
        float max_ = -INFINITY;
        max_ = dg_maximum_f32(max_, x[i * two_rows + j * 2]);
        max_ = dg_maximum_f32(max_, x[i * two_rows + j * 2 + 1]);
        max_ = dg_maximum_f32(max_, x[i * two_rows + j * 2 + row]);
        max_ = dg_maximum_f32(max_, x[i * two_rows + j * 2 + row_1]);
        out[i * columns + j] = max_;
    }
}
