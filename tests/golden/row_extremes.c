/* row extremes */

typedef __INT32_TYPE__ int32_t;
typedef __INT64_TYPE__ int64_t;
#define INLINE static inline __attribute__((always_inline))

/* An integer that orders as the floats do, with NaN highest. */
INLINE int32_t dg_max_key_f32(float x)
{
    union { float number; int32_t bits; } in = { x };
    const int32_t key = in.bits ^ (in.bits >> 31 & 0x7fffffff);
    return x != x ? 0x7fffffff : key;
}

/* An integer that orders as the floats do, with NaN lowest. */
INLINE int32_t dg_min_key_f32(float x)
{
    union { float number; int32_t bits; } in = { x };
    const int32_t key = in.bits ^ (in.bits >> 31 & 0x7fffffff);
    return x != x ? -0x7fffffff - 1 : key;
}

INLINE int32_t dg_maximum_i32(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

INLINE int32_t dg_minimum_i32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* The float of such an integer. */
INLINE float dg_from_key_f32(int32_t key)
{
    union { int32_t bits; float number; } out = { key ^ (key >> 31 & 0x7fffffff) };
    return out.number;
}

void row_extremes_example(void *const *buffers, const int64_t *sizes, const double *scalars,
    int64_t begin, int64_t end)
{
    float *restrict highest = buffers[0];
    float *restrict lowest = buffers[1];
    const float *restrict x = buffers[2];
    const int64_t columns = sizes[1];
    for (int64_t i = begin; i < end; i++) {
        float max = -__builtin_inff();
        float min = __builtin_inff();
        int32_t max_key = dg_max_key_f32(max);
        int32_t min_key = dg_min_key_f32(min);
        #pragma omp simd reduction(max:max_key) reduction(min:min_key)
        for (int64_t r = 0; r < columns; r++) {
            max_key = dg_maximum_i32(max_key, dg_max_key_f32(x[i * columns + r]));
            min_key = dg_minimum_i32(min_key, dg_min_key_f32(x[i * columns + r]));
        }
        max = dg_from_key_f32(max_key);
        min = dg_from_key_f32(min_key);
        highest[i] = max;
        lowest[i] = min;
    }
}
