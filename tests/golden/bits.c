/* bits */

typedef __INT32_TYPE__ int32_t;
typedef __INT64_TYPE__ int64_t;
typedef __UINT32_TYPE__ uint32_t;
#define INLINE static inline __attribute__((always_inline))

/* Shifts by the width or more, or by a negative count, leave only the sign. */
INLINE int32_t dg_shr_i32(int32_t a, int32_t count)
{
    return a >> ((uint32_t)count < 32 ? count : 32 - 1);
}

/* The same bits as another type. */
INLINE int32_t dg_bitcast_f32_to_i32(float x)
{
    union { float from; int32_t to; } bits;
    bits.from = x;
    return bits.to;
}

/* The same bits as another type. */
INLINE float dg_bitcast_i32_to_f32(int32_t x)
{
    union { int32_t from; float to; } bits;
    bits.from = x;
    return bits.to;
}

void bits_example(void *const *buffers, const int64_t *sizes, const double *scalars,
    int64_t begin, int64_t end)
{
    int32_t *restrict out = buffers[0];
    const float *restrict x = buffers[1];
    float *restrict power = buffers[2];
    #pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        out[i] = dg_shr_i32(dg_bitcast_f32_to_i32(x[i]), 23);
        power[i] = dg_bitcast_i32_to_f32(dg_bitcast_f32_to_i32(x[i]) & 2139095040);
    }
}
