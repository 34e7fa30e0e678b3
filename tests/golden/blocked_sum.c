/* blocked sum */

typedef __INT64_TYPE__ int64_t;
#define INLINE static inline __attribute__((always_inline))

INLINE int64_t dg_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void blocked_sum_example(void *const *buffers, const int64_t *sizes, const double *scalars,
    int64_t begin, int64_t end)
{
    double *restrict out = buffers[0];
    const double *restrict x = buffers[1];
    const int64_t n = sizes[0];
    const int64_t blocks = sizes[1];
    double sum = 0.0;
    for (int64_t block = 0; block < blocks; block++) {
        double partial = 0.0;
        const int64_t r_end = dg_min(16, n - block * 16);
        #pragma omp simd reduction(+:partial)
        for (int64_t r = 0; r < r_end; r++) {
            partial += x[block * 16 + r];
        }
        sum += partial;
    }
    out[0] = sum;
}
