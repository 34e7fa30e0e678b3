/* random words */

typedef __INT64_TYPE__ int64_t;
typedef __UINT32_TYPE__ uint32_t;
typedef __UINT64_TYPE__ uint64_t;
#define INLINE static inline __attribute__((always_inline))

/* Word (counter mod 4) of block (counter / 4) of the Philox 4x32-10 random generator. */
INLINE uint32_t dg_philox(uint64_t key, uint64_t counter)
{
    uint32_t key0 = (uint32_t)key, key1 = (uint32_t)(key >> 32);
    uint32_t a = (uint32_t)(counter >> 2), b = (uint32_t)(counter >> 34), c = 0, d = 0;
    for (int round = 0; round < 10; round++) {
        const uint64_t left = (uint64_t)0xD2511F53u * a;
        const uint64_t right = (uint64_t)0xCD9E8D57u * c;
        a = (uint32_t)(right >> 32) ^ b ^ key0;
        b = (uint32_t)right;
        c = (uint32_t)(left >> 32) ^ d ^ key1;
        d = (uint32_t)left;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    const uint32_t low = counter & 1 ? b : a;
    const uint32_t high = counter & 1 ? d : c;
    return counter & 2 ? high : low;
}

void random_words_example(void *const *buffers, const int64_t *sizes, const double *scalars,
    int64_t begin, int64_t end)
{
    uint32_t *restrict out = buffers[0];
    const int64_t scalar0 = (int64_t)scalars[0];
    #pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        out[i] = dg_philox((uint64_t)scalar0, (uint64_t)i);
    }
}
