// CUDA C++ on a CPU: included in front of an unmodified .cu file, which is then plain C++17.
//
// What CUDA has and this lacks (inline PTX, cooperative groups, textures) does not compile.  The
// reverse needs no care here: the same sources also go through the real nvcc.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>
#include <utility>

#include "../engine/thread.h"

#define __CUDACC__ 1
#define __CUDA_ARCH__ 900
#define DLGRAD_SIM 1
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

extern "C" {
extern SimThread *sim_current;
void sim_barrier(void) __attribute__((convergent));
void sim_exchange(const void *, unsigned, unsigned long long) __attribute__((convergent));
const unsigned char *sim_slots(void);
unsigned long long sim_active(void);
void *sim_dynamic_shared(void);
void sim_fail(const char *) __attribute__((noreturn));
void sim_atomic(int);
}

// Inlined, because a wait is known by the place it is called from.
#define SIM_CONVERGENT __attribute__((always_inline, convergent)) static inline

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct uint3 { unsigned x, y, z; };
#define threadIdx (*(const uint3 *)sim_current->position)
#define blockIdx (*(const uint3 *)sim_current->group)
#define blockDim (*(const uint3 *)sim_current->group_size)
#define gridDim (*(const uint3 *)sim_current->groups)
static constexpr int warpSize = 32;

struct alignas(8) float2 { float x, y; };
struct float3 { float x, y, z; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline int2 make_int2(int x, int y) { return {x, y}; }
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

// Barriers and warp operations ------------------------------------------------------------

SIM_CONVERGENT void __syncthreads() { sim_barrier(); }
SIM_CONVERGENT void __syncwarp(unsigned mask = ~0u) {
    int nothing = 0;
    sim_exchange(&nothing, sizeof nothing, mask);
}

// The value of another lane; the own one where that lane took no part (CUDA: undefined).
template <class T> static inline T sim_lane(unsigned lane, T own) {
    if (lane >= 32 || !(sim_active() >> lane & 1)) return own;
    T value;
    memcpy(&value, sim_slots() + lane * 64, sizeof value);
    return value;
}
template <class T> SIM_CONVERGENT T __shfl_sync(unsigned mask, T value, int from, int w = 32) {
    sim_exchange(&value, sizeof value, mask);
    return sim_lane(sim_current->lane / w * w + (unsigned)from % w, value);
}
template <class T> SIM_CONVERGENT T __shfl_xor_sync(unsigned mask, T value, int bits, int w = 32) {
    sim_exchange(&value, sizeof value, mask);
    unsigned lane = sim_current->lane, other = lane ^ bits;
    return other / w > lane / w ? value : sim_lane(other, value);
}
template <class T>
SIM_CONVERGENT T __shfl_down_sync(unsigned mask, T value, unsigned step, int w = 32) {
    sim_exchange(&value, sizeof value, mask);
    unsigned lane = sim_current->lane;
    return lane % w + step >= (unsigned)w ? value : sim_lane(lane + step, value);
}
template <class T>
SIM_CONVERGENT T __shfl_up_sync(unsigned mask, T value, unsigned step, int w = 32) {
    sim_exchange(&value, sizeof value, mask);
    unsigned lane = sim_current->lane;
    return lane % w < step ? value : sim_lane(lane - step, value);
}
SIM_CONVERGENT unsigned __ballot_sync(unsigned mask, int vote) {
    vote = vote != 0;
    sim_exchange(&vote, sizeof vote, mask);
    unsigned votes = 0;
    for (unsigned i = 0; i < 32; i++) votes |= (unsigned)(sim_lane(i, 0) != 0) << i;
    return votes;
}
SIM_CONVERGENT int __any_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) != 0; }
SIM_CONVERGENT int __all_sync(unsigned mask, int vote) { return __ballot_sync(mask, !vote) == 0; }

// Atomic operations: one operating-system thread, so plain code; hidden from the race detector.

template <class T, class F> static inline T sim_atomically(T *place, F change) {
    sim_atomic(1);
    T old = *place;
    *place = change(old);
    sim_atomic(-1);
    return old;
}
template <class T> using SimSame = typename std::common_type<T>::type;  // not deduced
template <class T> static inline T atomicAdd(T *place, SimSame<T> v) {
    return sim_atomically(place, [v](T old) { return T(old + v); });
}
template <class T> static inline T atomicMax(T *place, SimSame<T> v) {
    return sim_atomically(place, [v](T old) { return old < v ? v : old; });
}
template <class T> static inline T atomicExch(T *place, SimSame<T> v) {
    return sim_atomically(place, [v](T) { return v; });
}
template <class T> static inline T atomicCAS(T *place, SimSame<T> expected, SimSame<T> v) {
    return sim_atomically(place, [=](T old) { return old == expected ? v : old; });
}
static inline void __threadfence() {}
static inline void __threadfence_block() {}
template <class T> static inline T __ldg(const T *place) { return *place; }

// Numbers ---------------------------------------------------------------------------------

template <class To, class From> static inline To sim_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "a bit cast between sizes");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline float __int_as_float(int bits) { return sim_bits<float>(bits); }
static inline int __float_as_int(float value) { return sim_bits<int>(value); }
static inline float __uint_as_float(unsigned bits) { return sim_bits<float>(bits); }
static inline unsigned __float_as_uint(float value) { return sim_bits<unsigned>(value); }
static inline double __longlong_as_double(long long bits) { return sim_bits<double>(bits); }
static inline long long __double_as_longlong(double value) { return sim_bits<long long>(value); }
static inline unsigned __umulhi(unsigned a, unsigned b) {
    return (unsigned)((unsigned long long)a * b >> 32);
}
template <class T> static inline T min(T a, T b) { return b < a ? b : a; }
template <class T> static inline T max(T a, T b) { return a < b ? b : a; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }

typedef _Float16 __half;
typedef __half half;
typedef __bf16 __nv_bfloat16;
static inline float __half2float(__half h) { return (float)h; }
static inline __half __float2half(float f) { return (__half)f; }
static inline float __bfloat162float(__nv_bfloat16 h) { return (float)h; }
static inline __nv_bfloat16 __float2bfloat16(float f) { return (__nv_bfloat16)f; }
static inline __half __ushort_as_half(unsigned short bits) { return sim_bits<__half>(bits); }
static inline unsigned short __half_as_ushort(__half h) { return sim_bits<unsigned short>(h); }
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
    return sim_bits<__nv_bfloat16>(bits);
}
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 h) {
    return sim_bits<unsigned short>(h);
}

// What the fake driver must know of a kernel, from the kernel's own type -------------------

struct SimKernelTable {
    int count;
    const size_t *size;
    const size_t *alignment;
    const bool *is_pointer;
    void (*call)(void **arguments);
};
template <class F> struct SimKernelType;
template <class... A> struct SimKernelType<void (*)(A...)> {
    static constexpr size_t size[] = {sizeof(A)..., 0};
    static constexpr size_t alignment[] = {alignof(A)..., 0};
    static constexpr bool is_pointer[] = {std::is_pointer<A>::value..., false};
    template <void (*F)(A...), size_t... I>
    static void call_with(void **arguments, std::index_sequence<I...>) {
        F(*(A *)arguments[I]...);
    }
    template <void (*F)(A...)> static void call(void **arguments) {
        call_with<F>(arguments, std::index_sequence_for<A...>{});
    }
    template <void (*F)(A...)> static constexpr SimKernelTable table() {
        return {(int)sizeof...(A), size, alignment, is_pointer, &call<F>};
    }
};
#define SIM_EXPORT(kernel)                                 \
    extern "C" const SimKernelTable sim_kernel_##kernel =  \
        SimKernelType<decltype(&kernel)>::table<&kernel>();
