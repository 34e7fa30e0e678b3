/* small integers */

typedef __INT64_TYPE__ int64_t;
typedef __INT8_TYPE__ int8_t;
typedef __UINT32_TYPE__ uint32_t;
#define INLINE static inline __attribute__((always_inline))

/* The rest of that division, with the sign of b; by zero it gives a. */
INLINE int8_t dg_mod_i8(int8_t a, int8_t b)
{
    if (b == 0) return a;
    if (b == -1) return 0;
    const int8_t rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

/* Division towards minus infinity; by zero it gives 0. */
INLINE int8_t dg_floordiv_i8(int8_t a, int8_t b)
{
    if (b == 0) return 0;
    if (b == -1) return (int8_t)(0 - (uint32_t)a);
    const int8_t quotient = a / b;
    const int8_t rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? quotient - 1 : quotient;
}

void small_integers_example(void *const *buffers, const int64_t *sizes,
    const double *scalars, int64_t begin, int64_t end)
{
    int8_t *restrict out = buffers[0];
    int8_t *restrict rest = buffers[1];
    const int8_t *restrict x = buffers[2];
    const int8_t *restrict y = buffers[3];
    #pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        out[i] = (int8_t)((int8_t)(x[i] * y[i]) + (int8_t)-x[i]);
        rest[i] = dg_mod_i8(dg_floordiv_i8(x[i], y[i]), 5);
    }
}
