/* casts */

#include <metal_stdlib>
using namespace metal;

/* Towards zero; NaN gives 0, and what does not fit the nearest number that does. */
static inline int dg_f32_to_i32(float x)
{
    return x != x ? 0
        : x >= 2147483648.0f ? 2147483647
        : x <= -2147483648.0f ? (-2147483647 - 1)
        : (int)x;
}

/* Towards zero; NaN gives 0, and what does not fit the nearest number that does. */
static inline uchar dg_f32_to_u8(float x)
{
    return x != x ? 0
        : x >= 256.0f ? 255
        : x <= 0.0f ? 0
        : (uchar)x;
}

kernel void casts_example(device int *whole [[buffer(0)]], device uchar *byte [[buffer(1)]],
    device bool *flag [[buffer(2)]], device float *number [[buffer(3)]],
    device const float *x [[buffer(4)]], device const long *y [[buffer(5)]],
    constant long *sizes [[buffer(29)]], constant ulong *numbers [[buffer(30)]],
    uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long work = sizes[1];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    whole[i] = dg_f32_to_i32(x[i]);
    byte[i] = dg_f32_to_u8(x[i]);
    flag[i] = x[i] != 0.0f;
    number[i] = (float)y[i];
}
