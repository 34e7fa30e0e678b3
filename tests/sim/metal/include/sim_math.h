// The functions of MSL's common, integer, math and relational libraries that kernels here use.
#pragma once

namespace metal {

#define SIM_VECTOR_OF(f, V)                                          \
    inline V f(V x) {                                                \
        for (int i = 0; i < SimLength<V>::value; i++) x[i] = f(x[i]); \
        return x;                                                    \
    }
#define SIM_MATH(f, builtin)                                         \
    inline float f(float x) { return builtin(x); }                   \
    inline half f(half x) { return (half)builtin((float)x); }        \
    SIM_VECTOR_OF(f, float2)                                         \
    SIM_VECTOR_OF(f, float3)                                         \
    SIM_VECTOR_OF(f, float4)                                         \
    SIM_VECTOR_OF(f, half2)                                          \
    SIM_VECTOR_OF(f, half4)
inline float sim_rsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
SIM_MATH(exp, __builtin_expf)
SIM_MATH(exp2, __builtin_exp2f)
SIM_MATH(log, __builtin_logf)
SIM_MATH(log2, __builtin_log2f)
SIM_MATH(log10, __builtin_log10f)
SIM_MATH(sqrt, __builtin_sqrtf)
SIM_MATH(rsqrt, sim_rsqrt)
SIM_MATH(sin, __builtin_sinf)
SIM_MATH(cos, __builtin_cosf)
SIM_MATH(tan, __builtin_tanf)
SIM_MATH(sinh, __builtin_sinhf)
SIM_MATH(cosh, __builtin_coshf)
SIM_MATH(tanh, __builtin_tanhf)
SIM_MATH(asin, __builtin_asinf)
SIM_MATH(acos, __builtin_acosf)
SIM_MATH(atan, __builtin_atanf)
SIM_MATH(fabs, __builtin_fabsf)
SIM_MATH(floor, __builtin_floorf)
SIM_MATH(ceil, __builtin_ceilf)
SIM_MATH(rint, __builtin_rintf)
SIM_MATH(round, __builtin_roundf)
SIM_MATH(trunc, __builtin_truncf)
#undef SIM_MATH
#undef SIM_VECTOR_OF

#define SIM_MATH(f, builtin)                                         \
    inline float f(float x, float y) { return builtin(x, y); }       \
    inline half f(half x, half y) { return (half)builtin((float)x, (float)y); }
SIM_MATH(pow, __builtin_powf)
SIM_MATH(fmod, __builtin_fmodf)
SIM_MATH(atan2, __builtin_atan2f)
SIM_MATH(fmin, __builtin_fminf)
SIM_MATH(fmax, __builtin_fmaxf)
SIM_MATH(copysign, __builtin_copysignf)
#undef SIM_MATH
inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline float sign(float x) { return x > 0 ? 1.0f : x < 0 ? -1.0f : 0.0f; }
inline float mix(float a, float b, float t) { return a + (b - a) * t; }
inline bool isnan(float x) { return __builtin_isnan(x); }
inline bool isinf(float x) { return __builtin_isinf(x); }

// One overload for each type, as MSL has them: a call with mixed types is ambiguous.
#define SIM_ORDERED(T)                                               \
    inline T min(T a, T b) { return b < a ? b : a; }                 \
    inline T max(T a, T b) { return a < b ? b : a; }                 \
    inline T clamp(T x, T low, T high) { return min(max(x, low), high); } \
    inline T select(T a, T b, bool c) { return c ? b : a; }
SIM_ORDERED(float)
SIM_ORDERED(half)
SIM_ORDERED(char)
SIM_ORDERED(uchar)
SIM_ORDERED(short)
SIM_ORDERED(ushort)
SIM_ORDERED(int)
SIM_ORDERED(uint)
SIM_ORDERED(long)
SIM_ORDERED(ulong)
#undef SIM_ORDERED
inline float abs(float x) { return __builtin_fabsf(x); }
inline half abs(half x) { return (half)__builtin_fabsf((float)x); }
inline int abs(int x) { return x < 0 ? -x : x; }

namespace precise {
using metal::exp;
using metal::log;
using metal::tanh;
using metal::sin;
using metal::cos;
using metal::sqrt;
using metal::rsqrt;
using metal::pow;
}  // namespace precise

}  // namespace metal
