/* row sum by groups */

#include <metal_stdlib>
using namespace metal;

kernel void row_sum_by_groups_example(device float *out [[buffer(0)]],
    device const float *x [[buffer(1)]], constant long *sizes [[buffer(29)]],
    constant ulong *numbers [[buffer(30)]], uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long columns = sizes[1];
    const long work = sizes[2];
    const long i = group;
    const long lane = local_index;
    threadgroup float sum_shared[256];
    if (i >= work) return;
    float sum = 0.0f;
    for (long r = lane; r < columns; r += 256) {
        sum += x[i * columns + r];
    }
    sum_shared[lane] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int step = 128; step > 0; step /= 2) {
        if (lane < step)
            sum_shared[lane] += sum_shared[lane + step];
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    sum = sum_shared[0];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (lane == 0)
        out[i] = sum;
}
