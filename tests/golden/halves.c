/* halves */

#include <stdbool.h>
typedef __INT64_TYPE__ int64_t;
typedef __UINT16_TYPE__ uint16_t;
typedef __UINT32_TYPE__ uint32_t;
#define INLINE static inline __attribute__((always_inline))

/* float32 to float16, to the nearest, ties to even.  Adding a power of two that is as much
   larger as the half has fewer bits makes the adder do the rounding. */
INLINE uint16_t dg_f32_to_f16(float x)
{
#ifdef __aarch64__
    union { __fp16 number; uint16_t bits; } out = { (__fp16)x };
    return out.bits;
#else
    union { float number; uint32_t bits; } in = { x }, low, sum;
    const uint32_t sign = in.bits >> 16 & 0x8000;
    in.bits &= 0x7fffffff;
    /* Below 2^-14 the spacing is 2^-24, which is that of floats near 0.5. */
    sum.number = in.number + 0.5f;
    const uint32_t small = sum.bits - 0x3f000000;
    /* Above, add half a unit less one, and one more if the last bit kept is odd. */
    low.bits = in.bits + 0xfff + (in.bits >> 13 & 1);
    const uint32_t normal = (low.bits - 0x38000000) >> 13;
    const uint32_t finite = in.bits < 0x38800000 ? small : normal;
    const uint32_t large = in.bits > 0x7f800000 ? 0x7e00 : 0x7c00;
    return (uint16_t)(sign | (in.bits >= 0x477ff000 ? large : finite));
#endif
}

/* float16 to float32: shift the bits into place, then correct the exponent by a product, which
   also makes the small numbers normal.  Infinity and NaN keep their exponent of ones. */
INLINE float dg_f16_to_f32(uint16_t half)
{
#ifdef __aarch64__
    union { uint16_t bits; __fp16 number; } in = { half };
    return (float)in.number;
#else
    union { uint32_t bits; float number; } out = { (uint32_t)(half & 0x7fff) << 13 };
    const bool special = out.bits >= 0x0f800000;
    out.number *= 0x1p112f;
    out.bits |= (special ? 0x7f800000 : 0) | (uint32_t)(half & 0x8000) << 16;
    return out.number;
#endif
}

/* bfloat16 is the upper half of a float32. */
INLINE float dg_bf16_to_f32(uint16_t half)
{
    union { uint32_t bits; float number; } out = { (uint32_t)half << 16 };
    return out.number;
}

void halves_example(void *const *buffers, const int64_t *sizes, const double *scalars,
    int64_t begin, int64_t end)
{
    uint16_t *restrict out = buffers[0];
    const uint16_t *restrict x = buffers[1];
    const uint16_t *restrict y = buffers[2];
    #pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        out[i] = dg_f32_to_f16(dg_f16_to_f32(dg_f32_to_f16(dg_bf16_to_f32(x[i]) *
            dg_f16_to_f32(y[i]))) + 0.125f);
    }
}
