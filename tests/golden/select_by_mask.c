/* select by mask */

typedef __INT64_TYPE__ int64_t;
typedef __UINT8_TYPE__ uint8_t;

void select_by_mask_example(void *const *buffers, const int64_t *sizes,
    const double *scalars, int64_t begin, int64_t end)
{
    float *restrict out = buffers[0];
    const uint8_t *restrict mask = buffers[1];
    const float *restrict x = buffers[2];
    #pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        const float x_0 = x[i];
        out[i] = mask[i] ? x_0 * 1.25f : 0.0f;
    }
}
