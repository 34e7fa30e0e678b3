/* to bfloat16 */

typedef __INT64_TYPE__ int64_t;
typedef __UINT16_TYPE__ uint16_t;
typedef __UINT32_TYPE__ uint32_t;
#define INLINE static inline __attribute__((always_inline))

/* float32 to bfloat16, to the nearest, ties to even. */
INLINE uint16_t dg_f32_to_bf16(float x)
{
    union { float number; uint32_t bits; } in = { x };
    const uint32_t rounded = (in.bits + 0x7fff + (in.bits >> 16 & 1)) >> 16;
    return (uint16_t)(x != x ? 0x7fc0 : rounded);
}

void to_bfloat16_example(void *const *buffers, const int64_t *sizes, const double *scalars,
    int64_t begin, int64_t end)
{
    uint16_t *restrict out = buffers[0];
    const float *restrict x = buffers[1];
    #pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        out[i] = dg_f32_to_bf16(x[i]);
    }
}
