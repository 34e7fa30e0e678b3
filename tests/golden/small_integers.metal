/* small integers */

#include <metal_stdlib>
using namespace metal;

/* The rest of that division, with the sign of b; by zero it gives a. */
static inline char dg_mod_i8(char a, char b)
{
    if (b == 0) return a;
    if (b == -1) return 0;
    const char rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

/* Division towards minus infinity; by zero it gives 0. */
static inline char dg_floordiv_i8(char a, char b)
{
    if (b == 0) return 0;
    if (b == -1) return (char)(0 - (uint)a);
    const char quotient = a / b;
    const char rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? quotient - 1 : quotient;
}

kernel void small_integers_example(device char *out [[buffer(0)]],
    device char *rest [[buffer(1)]], device const char *x [[buffer(2)]],
    device const char *y [[buffer(3)]], constant long *sizes [[buffer(29)]],
    constant ulong *numbers [[buffer(30)]], uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long work = sizes[1];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    out[i] = (char)((uint)(char)((uint)x[i] * (uint)y[i]) + (uint)(char)((uint)0 - (uint)x[i]));
    rest[i] = dg_mod_i8(dg_floordiv_i8(x[i], y[i]), 5);
}
