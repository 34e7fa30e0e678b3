/* casts */

typedef __INT32_TYPE__ int32_t;
typedef __INT64_TYPE__ int64_t;
typedef __UINT8_TYPE__ uint8_t;
#define INLINE static inline __attribute__((always_inline))

/* Towards zero; NaN gives 0, and what does not fit the nearest number that does. */
INLINE int32_t dg_f32_to_i32(float x)
{
    return x != x ? 0
        : x >= 2147483648.0f ? 2147483647
        : x <= -2147483648.0f ? (-2147483647 - 1)
        : (int32_t)x;
}

/* Towards zero; NaN gives 0, and what does not fit the nearest number that does. */
INLINE uint8_t dg_f32_to_u8(float x)
{
    return x != x ? 0
        : x >= 256.0f ? 255
        : x <= 0.0f ? 0
        : (uint8_t)x;
}

void casts_example(void *const *buffers, const int64_t *sizes, const double *scalars,
    int64_t begin, int64_t end)
{
    int32_t *restrict whole = buffers[0];
    uint8_t *restrict byte = buffers[1];
    uint8_t *restrict flag = buffers[2];
    float *restrict number = buffers[3];
    const float *restrict x = buffers[4];
    const int64_t *restrict y = buffers[5];
    #pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        whole[i] = dg_f32_to_i32(x[i]);
        byte[i] = dg_f32_to_u8(x[i]);
        flag[i] = x[i] != 0.0f;
        number[i] = (float)y[i];
    }
}
