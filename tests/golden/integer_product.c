/* integer product */

typedef __INT64_TYPE__ int64_t;

void integer_product_example(void *const *buffers, const int64_t *sizes,
    const double *scalars, int64_t begin, int64_t end)
{
    int64_t *restrict out = buffers[0];
    const int64_t *restrict first = buffers[1];
    const int64_t *restrict x = buffers[2];
    const int64_t columns = sizes[1];
    const int64_t start = first[0];
    for (int64_t i = begin; i < end; i++) {
        int64_t product = start;
        #pragma omp simd reduction(*:product)
        for (int64_t r = 0; r < columns; r++) {
            product *= x[i * columns + r];
        }
        out[i] = product;
    }
}
