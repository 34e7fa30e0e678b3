/* rows plus bias */

typedef __INT64_TYPE__ int64_t;

void rows_plus_bias_example(void *const *buffers, const int64_t *sizes,
    const double *scalars, int64_t begin, int64_t end)
{
    float *restrict out = buffers[0];
    const float *restrict x = buffers[1];
    const float *restrict bias = buffers[2];
    const int64_t columns = sizes[1];
    const int64_t x_stride_i = sizes[2];
    for (int64_t i = begin; i < end; i++) {
        #pragma omp simd
        for (int64_t j = 0; j < columns; j++) {
            out[i * columns + j] = x[i * x_stride_i + j] + bias[j];
        }
    }
}
