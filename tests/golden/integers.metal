/* integers */

#include <metal_stdlib>
using namespace metal;

/* Shifts by the width or more, or by a negative count, push everything out. */
static inline int dg_shl_i32(int a, int count)
{
    return (uint)count < 32 ? (int)((uint)a << count) : 0;
}

/* By squaring, wrapping around; a negative exponent gives the whole part of 1 / power. */
static inline int dg_pow_i32(int base, int exponent)
{
    if (exponent < 0)
        return base == 1 ? 1 : base == -1 ? (exponent % 2 ? -1 : 1) : 0;
    uint result = 1;
    uint square = (uint)base;
    for (uint left = (uint)exponent; left != 0; left >>= 1) {
        if (left & 1)
            result *= square;
        square *= square;
    }
    return (int)result;
}

kernel void integers_example(device int *out [[buffer(0)]], device int *power [[buffer(1)]],
    device const int *x [[buffer(2)]], device const int *y [[buffer(3)]],
    constant long *sizes [[buffer(29)]], constant ulong *numbers [[buffer(30)]],
    uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long work = sizes[1];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    out[i] = (int)((uint)(int)((uint)x[i] * (uint)y[i]) - (uint)dg_shl_i32(x[i], 3));
    power[i] = dg_pow_i32(~x[i], y[i] & 7);
}
