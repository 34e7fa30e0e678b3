/* backwards slice */

typedef __INT64_TYPE__ int64_t;

void backwards_slice_example(void *const *buffers, const int64_t *sizes,
    const double *scalars, int64_t begin, int64_t end)
{
    float *restrict out = buffers[0];
    const float *restrict x = buffers[1];
    const int64_t start = sizes[1];
    #pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        out[i] = x[start - i * 3];
    }
}
