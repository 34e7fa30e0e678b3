/* maximum minimum */

typedef __INT64_TYPE__ int64_t;
#define INLINE static inline __attribute__((always_inline))

/* The larger; NaN if either is NaN. */
INLINE float dg_maximum_f32(float a, float b)
{
    return ((a > b) | (a != a)) ? a : b;
}

/* The smaller; NaN if either is NaN. */
INLINE float dg_minimum_f32(float a, float b)
{
    return ((a < b) | (a != a)) ? a : b;
}

void maximum_minimum_example(void *const *buffers, const int64_t *sizes,
    const double *scalars, int64_t begin, int64_t end)
{
    float *restrict out = buffers[0];
    const float *restrict x = buffers[1];
    const float *restrict y = buffers[2];
    #pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        out[i] = dg_maximum_f32(dg_minimum_f32(x[i], y[i]), -1.5f);
    }
}
