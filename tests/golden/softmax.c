/* softmax */

typedef __INT32_TYPE__ int32_t;
typedef __INT64_TYPE__ int64_t;
typedef __UINT32_TYPE__ uint32_t;
#define INLINE static inline __attribute__((always_inline))

/* An integer that orders as the floats do, with NaN highest. */
INLINE int32_t dg_max_key_f32(float x)
{
    union { float number; int32_t bits; } in = { x };
    const int32_t key = in.bits ^ (in.bits >> 31 & 0x7fffffff);
    return x != x ? 0x7fffffff : key;
}

INLINE int32_t dg_maximum_i32(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* The float of such an integer. */
INLINE float dg_from_key_f32(int32_t key)
{
    union { int32_t bits; float number; } out = { key ^ (key >> 31 & 0x7fffffff) };
    return out.number;
}

/* e^x = 2^k e^r with a whole number k and |r| <= ln(2)/2.  Adding 1.5 * 2^23 rounds to a whole
   number and leaves it in the last bits.  2^k goes in as two factors, so that results below
   the normal numbers are rounded once. */
INLINE float dg_exp_f32(float x)
{
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    union { float number; int32_t bits; } shifted = { x * 1.44269504f + 0x1.8p23f };
    const float k = shifted.number - 0x1.8p23f;
    const float r = (x - k * 0x1.62e4p-1f) - k * 0x1.7f7d1cp-20f;
    const float q = ((((0.000199183836f * r + 0.00139460724f) * r + 0.00833326392f) * r
        + 0.0416662693f) * r + 0.166666672f) * r + 0.5f;
    const float power = 1.0f + (r + r * r * q);
    const int32_t whole = shifted.bits - 0x4b400000;
    const int32_t half = whole >> 1;
    union { uint32_t bits; float number; } first = { (uint32_t)(half + 127) << 23 };
    union { uint32_t bits; float number; } second = { (uint32_t)(whole - half + 127) << 23 };
    return power * first.number * second.number;
}

void softmax_example(void *const *buffers, const int64_t *sizes, const double *scalars,
    int64_t begin, int64_t end)
{
    float *restrict out = buffers[0];
    const float *restrict x = buffers[1];
    const int64_t columns = sizes[1];
    for (int64_t i = begin; i < end; i++) {
        float top = -__builtin_inff();
        int32_t top_key = dg_max_key_f32(top);
        #pragma omp simd reduction(max:top_key)
        for (int64_t r = 0; r < columns; r++) {
            top_key = dg_maximum_i32(top_key, dg_max_key_f32(x[i * columns + r]));
        }
        top = dg_from_key_f32(top_key);
        float total = 0.0f;
        #pragma omp simd reduction(+:total)
        for (int64_t r = 0; r < columns; r++) {
            total += dg_exp_f32(x[i * columns + r] - top);
        }
        const float scale = 1.0f / total;
        #pragma omp simd
        for (int64_t r = 0; r < columns; r++) {
            out[i * columns + r] = dg_exp_f32(x[i * columns + r] - top) * scale;
        }
    }
}
