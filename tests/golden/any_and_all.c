/* any and all */

#include <stdbool.h>
typedef __INT64_TYPE__ int64_t;
typedef __UINT8_TYPE__ uint8_t;

void any_and_all_example(void *const *buffers, const int64_t *sizes, const double *scalars,
    int64_t begin, int64_t end)
{
    uint8_t *restrict some = buffers[0];
    uint8_t *restrict every = buffers[1];
    const uint8_t *restrict x = buffers[2];
    const int64_t columns = sizes[1];
    for (int64_t i = begin; i < end; i++) {
        bool any = false;
        bool all = true;
        uint8_t any_key = any;
        uint8_t all_key = all;
        #pragma omp simd reduction(|:any_key) reduction(&:all_key)
        for (int64_t r = 0; r < columns; r++) {
            any_key |= x[i * columns + r];
            all_key &= x[i * columns + r];
        }
        any = any_key;
        all = all_key;
        some[i] = any;
        every[i] = all;
    }
}
