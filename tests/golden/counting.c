/* counting */

typedef __INT64_TYPE__ int64_t;

void counting_example(void *const *buffers, const int64_t *sizes, const double *scalars,
    int64_t begin, int64_t end)
{
    float *restrict out = buffers[0];
    int64_t *restrict place = buffers[1];
    #pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        out[i] = (float)(i * 2 + 5) + 0.5f;
        place[i] = i;
    }
}
