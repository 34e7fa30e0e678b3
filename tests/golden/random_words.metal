/* random words */

#include <metal_stdlib>
using namespace metal;

/* Word (counter mod 4) of block (counter / 4) of the Philox 4x32-10 random generator. */
static inline uint dg_philox(ulong key, ulong counter)
{
    uint key0 = (uint)key, key1 = (uint)(key >> 32);
    uint a = (uint)(counter >> 2), b = (uint)(counter >> 34), c = 0, d = 0;
    for (int round = 0; round < 10; round++) {
        const ulong left = (ulong)0xD2511F53u * a;
        const ulong right = (ulong)0xCD9E8D57u * c;
        a = (uint)(right >> 32) ^ b ^ key0;
        b = (uint)right;
        c = (uint)(left >> 32) ^ d ^ key1;
        d = (uint)left;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    const uint low = counter & 1 ? b : a;
    const uint high = counter & 1 ? d : c;
    return counter & 2 ? high : low;
}

kernel void random_words_example(device uint *out [[buffer(0)]],
    constant long *sizes [[buffer(29)]], constant ulong *numbers [[buffer(30)]],
    uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    const long scalar0 = long(numbers[0]);
    const long work = sizes[1];
    const long i = long(group) * 256 + local_index;
    if (i >= work) return;
    out[i] = dg_philox((ulong)scalar0, (ulong)i);
}
