/* softmax */

#include <metal_stdlib>
using namespace metal;

/* The larger; NaN if either is NaN. */
static inline float dg_maximum_f32(float a, float b)
{
    return ((a > b) | (a != a)) ? a : b;
}

kernel void softmax_example(device float *out [[buffer(0)]],
    device const float *x [[buffer(1)]], constant long *sizes [[buffer(29)]],
    constant ulong *numbers [[buffer(30)]], uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long columns = sizes[1];
    const long work = sizes[2];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    float top = -INFINITY;
    for (long r = 0; r < columns; r++) {
        top = dg_maximum_f32(top, x[i * columns + r]);
    }
    float total = 0.0f;
    for (long r = 0; r < columns; r++) {
        total += exp(x[i * columns + r] - top);
    }
    const float scale = 1.0f / total;
    for (long r = 0; r < columns; r++) {
        out[i * columns + r] = exp(x[i * columns + r] - top) * scale;
    }
}
