/* optimizer step */

#include <metal_stdlib>
using namespace metal;

kernel void optimizer_step_example(device float *weight [[buffer(0)]],
    device float *momentum [[buffer(1)]], device const float *gradient [[buffer(2)]],
    constant long *sizes [[buffer(29)]], constant ulong *numbers [[buffer(30)]],
    uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const float scalar0 = as_type<float>(uint(numbers[0]));
    const float scalar1 = as_type<float>(uint(numbers[1]));
    const long work = sizes[1];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    const float velocity = scalar0 * momentum[i] + gradient[i];
    momentum[i] = velocity;
    weight[i] = weight[i] - scalar1 * velocity;
}
