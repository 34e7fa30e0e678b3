/* max pool */

typedef __INT64_TYPE__ int64_t;
#define INLINE static inline __attribute__((always_inline))

/* The larger; NaN if either is NaN. */
INLINE float dg_maximum_f32(float a, float b)
{
    return ((a > b) | (a != a)) ? a : b;
}

void max_pool_example(void *const *buffers, const int64_t *sizes, const double *scalars,
    int64_t begin, int64_t end)
{
    float *restrict out = buffers[0];
    const float *restrict x = buffers[1];
    const int64_t columns = sizes[1];
    const int64_t two_rows = sizes[2];
    const int64_t row = sizes[3];
    const int64_t row_1 = sizes[4];
    for (int64_t i = begin; i < end; i++) {
        #pragma omp simd
        for (int64_t j = 0; j < columns; j++) {
            float max = -__builtin_inff();
            max = dg_maximum_f32(max, x[i * two_rows + j * 2]);
            max = dg_maximum_f32(max, x[i * two_rows + j * 2 + 1]);
            max = dg_maximum_f32(max, x[i * two_rows + j * 2 + row]);
            max = dg_maximum_f32(max, x[i * two_rows + j * 2 + row_1]);
            out[i * columns + j] = max;
        }
    }
}
