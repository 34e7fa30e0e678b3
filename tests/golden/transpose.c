/* transpose */

typedef __INT64_TYPE__ int64_t;
#define INLINE static inline __attribute__((always_inline))

INLINE int64_t dg_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void transpose_example(void *const *buffers, const int64_t *sizes, const double *scalars,
    int64_t begin, int64_t end)
{
    float *restrict out = buffers[0];
    const float *restrict x = buffers[1];
    const int64_t n = sizes[0];
    const int64_t m = sizes[1];
    const int64_t p = sizes[2];
    const int64_t nm = sizes[3];
    const int64_t mk = sizes[4];
    for (int64_t place = begin, stop; place < end; place = stop) {
        const int64_t i = place / (m * p);
        const int64_t j = place / p % m;
        const int64_t first = place % p;
        const int64_t last = dg_min(first + end - place, p);
        stop = place + last - first;
        #pragma omp simd
        for (int64_t k = first; k < last; k++) {
            out[i * mk + j * p + k] = x[i + j * n + k * nm];
        }
    }
}
