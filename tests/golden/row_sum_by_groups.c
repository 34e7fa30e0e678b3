/* row sum by groups */

typedef __INT64_TYPE__ int64_t;

void row_sum_by_groups_example(void *const *buffers, const int64_t *sizes,
    const double *scalars, int64_t begin, int64_t end)
{
    float *restrict out = buffers[0];
    const float *restrict x = buffers[1];
    const int64_t columns = sizes[1];
    for (int64_t i = begin; i < end; i++) {
        float sum = 0.0f;
        #pragma omp simd reduction(+:sum)
        for (int64_t r = 0; r < columns; r++) {
            sum += x[i * columns + r];
        }
        out[i] = sum;
    }
}
