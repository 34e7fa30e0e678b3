/* power of doubles */

typedef __INT64_TYPE__ int64_t;

void power_of_doubles_example(void *const *buffers, const int64_t *sizes,
    const double *scalars, int64_t begin, int64_t end)
{
    double *restrict out = buffers[0];
    const double *restrict x = buffers[1];
    #pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        out[i] = __builtin_pow(x[i], 0.1);
    }
}
