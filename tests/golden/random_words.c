/* random words */

typedef __INT64_TYPE__ int64_t;
typedef __UINT32_TYPE__ uint32_t;
typedef __UINT64_TYPE__ uint64_t;
#define INLINE static inline __attribute__((always_inline))

/* Word (counter mod 4) of block (counter / 4) of the Philox 4x32-10 random generator.  Every
   32-bit word has 64 bits of room, the form in which vector units multiply. */
INLINE uint32_t dg_philox(uint64_t key, uint64_t counter)
{
    const uint64_t mask = 0xffffffffULL;
    uint64_t key0 = key & mask, key1 = key >> 32;
    uint64_t a = counter >> 2 & mask, b = counter >> 34, c = 0, d = 0;
    for (int round = 0; round < 10; round++) {
        const uint64_t left = 0xD2511F53ULL * a;
        const uint64_t right = 0xCD9E8D57ULL * c;
        a = right >> 32 ^ b ^ key0;
        b = right & mask;
        c = left >> 32 ^ d ^ key1;
        d = left & mask;
        key0 = (key0 + 0x9E3779B9ULL) & mask;
        key1 = (key1 + 0xBB67AE85ULL) & mask;
    }
    const uint64_t low = counter & 1 ? b : a;
    const uint64_t high = counter & 1 ? d : c;
    return (uint32_t)(counter & 2 ? high : low);
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
