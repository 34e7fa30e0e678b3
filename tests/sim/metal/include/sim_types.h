// Address spaces, types, and the calls into the simulator.
#pragma once
#pragma OPENCL EXTENSION cl_khr_fp16 : enable

#define __METAL__ 1
#define __METAL_VERSION__ 310
#define device __global
#define threadgroup __local
#define thread __private

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef signed char int8_t;
typedef uchar uint8_t;
typedef short int16_t;
typedef ushort uint16_t;
typedef int int32_t;
typedef uint uint32_t;
typedef long int64_t;
typedef ulong uint64_t;
typedef ulong size_t;
typedef __bf16 bfloat;

#define INFINITY (__builtin_inff())
#define NAN (__builtin_nanf(""))
#define FLT_MAX 3.402823466e+38f
#define M_PI_F 3.14159265358979323846f

#define SIM_VECTORS(T)                                         \
    typedef T T##2 __attribute__((ext_vector_type(2)));        \
    typedef T T##3 __attribute__((ext_vector_type(3)));        \
    typedef T T##4 __attribute__((ext_vector_type(4)));
SIM_VECTORS(float)
SIM_VECTORS(half)
SIM_VECTORS(int)
SIM_VECTORS(uint)
SIM_VECTORS(short)
SIM_VECTORS(ushort)
SIM_VECTORS(char)
SIM_VECTORS(uchar)
SIM_VECTORS(long)
SIM_VECTORS(ulong)
#undef SIM_VECTORS

#include "../../engine/thread.h"

extern "C" {
extern __constant SimThread *__constant sim_current;
void sim_barrier(void) __attribute__((convergent));
void sim_exchange(const void *value, uint size, ulong lanes) __attribute__((convergent));
const uchar *sim_slots(void);
ulong sim_active(void);
void sim_atomic(int depth_change);
ulong sim_metal_argument(uint index, uint size, uint alignment, uint reads_at_once);
}

// Inlined, because a wait is known by the place it is called from.
#define SIM_CONVERGENT __attribute__((always_inline, convergent)) inline
