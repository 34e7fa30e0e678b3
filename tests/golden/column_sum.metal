/* column sum */

#include <metal_stdlib>
using namespace metal;

/* The smaller of two sizes. */
static inline long dg_min(long a, long b)
{
    return a < b ? a : b;
}

kernel void column_sum_example(device float *out [[buffer(0)]],
    device const float *x [[buffer(1)]], constant long *sizes [[buffer(29)]],
    constant ulong *numbers [[buffer(30)]], uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long columns = sizes[1];
    const long rows = sizes[2];
    const long work = sizes[3];
    const long tile = long(group) * 256 + local_index;
    if (tile >= work) return;
    float sum[16];
    for (long lane = 0; lane < 16; lane++)
        sum[lane] = 0.0f;
    for (long r = 0; r < rows; r++) {
        const long j_end = dg_min(16, columns - tile * 16);
        for (long j = 0; j < j_end; j++) {
            sum[j] += x[r * columns + tile * 16 + j];
        }
    }
    const long j_end = dg_min(16, columns - tile * 16);
    for (long j = 0; j < j_end; j++) {
        out[tile * 16 + j] = sum[j];
    }
}
