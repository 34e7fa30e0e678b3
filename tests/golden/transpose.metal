/* transpose */

#include <metal_stdlib>
using namespace metal;

kernel void transpose_example(device float *out [[buffer(0)]],
    device const float *x [[buffer(1)]], constant long *sizes [[buffer(29)]],
    constant ulong *numbers [[buffer(30)]], uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long n = sizes[0];
    const long m = sizes[1];
    const long p = sizes[2];
    const long nm = sizes[3];
    const long mk = sizes[4];
    const long work = sizes[5];
    const long place = long(group) * 256 + local_index;
    if (place >= work) return;
    const long i = place / (m * p);
    const long j = place / p % m;
    const long k = place % p;
    out[i * mk + j * p + k] = x[i + j * n + k * nm];
}
