/* integers */

typedef __INT32_TYPE__ int32_t;
typedef __INT64_TYPE__ int64_t;
typedef __UINT32_TYPE__ uint32_t;
#define INLINE static inline __attribute__((always_inline))

/* Shifts by the width or more, or by a negative count, push everything out. */
INLINE int32_t dg_shl_i32(int32_t a, int32_t count)
{
    return (uint32_t)count < 32 ? (int32_t)((uint32_t)a << count) : 0;
}

/* By squaring, wrapping around; a negative exponent gives the whole part of 1 / power. */
INLINE int32_t dg_pow_i32(int32_t base, int32_t exponent)
{
    if (exponent < 0)
        return base == 1 ? 1 : base == -1 ? (exponent % 2 ? -1 : 1) : 0;
    uint32_t result = 1;
    uint32_t square = (uint32_t)base;
    for (uint32_t left = (uint32_t)exponent; left != 0; left >>= 1) {
        if (left & 1)
            result *= square;
        square *= square;
    }
    return (int32_t)result;
}

void integers_example(void *const *buffers, const int64_t *sizes, const double *scalars,
    int64_t begin, int64_t end)
{
    int32_t *restrict out = buffers[0];
    int32_t *restrict power = buffers[1];
    const int32_t *restrict x = buffers[2];
    const int32_t *restrict y = buffers[3];
    #pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        out[i] = x[i] * y[i] - dg_shl_i32(x[i], 3);
        power[i] = dg_pow_i32(~x[i], y[i] & 7);
    }
}
