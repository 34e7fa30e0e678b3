/* fused chain */

typedef __INT32_TYPE__ int32_t;
typedef __INT64_TYPE__ int64_t;
typedef __UINT32_TYPE__ uint32_t;
#define INLINE static inline __attribute__((always_inline))

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

void fused_chain_example(void *const *buffers, const int64_t *sizes, const double *scalars,
    int64_t begin, int64_t end)
{
    float *restrict out = buffers[0];
    const float *restrict x = buffers[1];
    const float *restrict y = buffers[2];
    const float *restrict z = buffers[3];
    #pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        const float x_value = x[i];
        const float sum = x_value * y[i] + z[i];
        out[i] = (0.0f < sum ? sum : 0.0f) * 2.0f + dg_exp_f32(-x_value);
    }
}
