/* integer product */

#include <metal_stdlib>
using namespace metal;

kernel void integer_product_example(device long *out [[buffer(0)]],
    device const long *first [[buffer(1)]], device const long *x [[buffer(2)]],
    constant long *sizes [[buffer(29)]], constant ulong *numbers [[buffer(30)]],
    uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long columns = sizes[1];
    const long work = sizes[2];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    const long start = first[0];
    long product = start;
    for (long r = 0; r < columns; r++) {
        product = (long)((ulong)product * (ulong)x[i * columns + r]);
    }
    out[i] = product;
}
