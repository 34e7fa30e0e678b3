/* softmax by groups */

#include <metal_stdlib>
using namespace metal;

/* The larger; NaN if either is NaN. */
static inline float dg_maximum_f32(float a, float b)
{
    return ((a > b) | (a != a)) ? a : b;
}

kernel void softmax_by_groups_example(device float *out [[buffer(0)]],
    device const float *x [[buffer(1)]], constant long *sizes [[buffer(29)]],
    constant ulong *numbers [[buffer(30)]], uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long columns = sizes[1];
    const long work = sizes[2];
    const long i = group;
    const long lane = local_index;
    threadgroup float top_shared[256];
    threadgroup float total_shared[256];
    if (i >= work) return;
    float top = -INFINITY;
    for (long r = lane; r < columns; r += 256) {
        top = dg_maximum_f32(top, x[i * columns + r]);
    }
    top_shared[lane] = top;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int step = 128; step > 0; step /= 2) {
        if (lane < step)
            top_shared[lane] = dg_maximum_f32(top_shared[lane], top_shared[lane + step]);
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    top = top_shared[0];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    float total = 0.0f;
    for (long r = lane; r < columns; r += 256) {
        total += exp(x[i * columns + r] - top);
    }
    total_shared[lane] = total;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int step = 128; step > 0; step /= 2) {
        if (lane < step)
            total_shared[lane] += total_shared[lane + step];
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    total = total_shared[0];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const float scale = 1.0f / total;
    for (long r = lane; r < columns; r += 256) {
        out[i * columns + r] = exp(x[i * columns + r] - top) * scale;
    }
}
