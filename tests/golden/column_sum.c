/* column sum */

typedef __INT64_TYPE__ int64_t;
#define INLINE static inline __attribute__((always_inline))

INLINE int64_t dg_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void column_sum_example(void *const *buffers, const int64_t *sizes, const double *scalars,
    int64_t begin, int64_t end)
{
    float *restrict out = buffers[0];
    const float *restrict x = buffers[1];
    const int64_t columns = sizes[1];
    const int64_t rows = sizes[2];
    for (int64_t tile = begin; tile < end; tile++) {
        float sum[16];
        for (int64_t lane = 0; lane < 16; lane++)
            sum[lane] = 0.0f;
        const int64_t j_end = dg_min(16, columns - tile * 16);
        for (int64_t first_r = 0; first_r < rows / 4 * 4; first_r += 4) {
            #pragma omp simd
            for (int64_t j = 0; j < j_end; j++) {
                for (int64_t r = first_r; r < first_r + 4; r++) {
                    sum[j] += x[r * columns + tile * 16 + j];
                }
            }
        }
        for (int64_t r = rows / 4 * 4; r < rows; r++) {
            #pragma omp simd
            for (int64_t j = 0; j < j_end; j++) {
                sum[j] += x[r * columns + tile * 16 + j];
            }
        }
        #pragma omp simd
        for (int64_t j = 0; j < j_end; j++) {
            out[tile * 16 + j] = sum[j];
        }
    }
}
