/* compare */

#include <stdbool.h>
typedef __INT64_TYPE__ int64_t;
typedef __UINT8_TYPE__ uint8_t;

void compare_example(void *const *buffers, const int64_t *sizes, const double *scalars,
    int64_t begin, int64_t end)
{
    uint8_t *restrict out = buffers[0];
    const float *restrict x = buffers[1];
    const float *restrict y = buffers[2];
    uint8_t *restrict out2 = buffers[3];
    #pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        out[i] = (x[i] <= y[i]) & ((x[i] == x[i]) ^ true);
        out2[i] = (x[i] <= y[i]) | (x[i] != 0.0f);
    }
}
