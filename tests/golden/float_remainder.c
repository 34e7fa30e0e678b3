/* float remainder */

typedef __INT64_TYPE__ int64_t;
#define INLINE static inline __attribute__((always_inline))

/* floor(a / b), exact where the quotient itself would be rounded up. */
INLINE float dg_floordiv_f32(float a, float b)
{
    if (b == 0) return a / b;
    const float rest = __builtin_fmodf(a, b);
    float quotient = (a - rest) / b;
    if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
    if (quotient == 0) return a / b * 0;
    const float whole = __builtin_floorf(quotient);
    return quotient - whole > (float)0.5 ? whole + 1 : whole;
}

/* The rest of a floor division, with the sign of b. */
INLINE float dg_mod_f32(float a, float b)
{
    const float rest = __builtin_fmodf(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

void float_remainder_example(void *const *buffers, const int64_t *sizes,
    const double *scalars, int64_t begin, int64_t end)
{
    float *restrict quotient = buffers[0];
    float *restrict rest = buffers[1];
    const float *restrict x = buffers[2];
    const float *restrict y = buffers[3];
    #pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        quotient[i] = dg_floordiv_f32(x[i], y[i]);
        rest[i] = dg_mod_f32(x[i], y[i]);
    }
}
