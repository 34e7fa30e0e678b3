// Atomic operations: one operating-system thread, so plain code; hidden from the race detector.
#pragma once

namespace metal {

enum memory_order { memory_order_relaxed = 0 };

#define SIM_ATOMIC_IN(space, A, T)                                               \
    inline T atomic_load_explicit(const space A *place, memory_order) {          \
        sim_atomic(1);                                                           \
        T value = place->value;                                                  \
        sim_atomic(-1);                                                          \
        return value;                                                            \
    }                                                                            \
    inline T atomic_exchange_explicit(space A *place, T value, memory_order) {   \
        sim_atomic(1);                                                           \
        T old = place->value;                                                    \
        place->value = value;                                                    \
        sim_atomic(-1);                                                          \
        return old;                                                              \
    }                                                                            \
    inline void atomic_store_explicit(space A *place, T value, memory_order order) { \
        atomic_exchange_explicit(place, value, order);                           \
    }                                                                            \
    inline T atomic_fetch_add_explicit(space A *place, T value, memory_order order) { \
        T old = atomic_load_explicit(place, order);                              \
        atomic_exchange_explicit(place, old + value, order);                     \
        return old;                                                              \
    }                                                                            \
    inline T atomic_fetch_max_explicit(space A *place, T value, memory_order order) { \
        T old = atomic_load_explicit(place, order);                              \
        if (old < value) atomic_exchange_explicit(place, value, order);          \
        return old;                                                              \
    }
#define SIM_ATOMIC(A, T)              \
    struct A {                        \
        T value;                      \
    };                                \
    SIM_ATOMIC_IN(__global, A, T)     \
    SIM_ATOMIC_IN(__local, A, T)
SIM_ATOMIC(SimAtomicInt, int)
SIM_ATOMIC(SimAtomicUint, uint)
SIM_ATOMIC(SimAtomicFloat, float)
#undef SIM_ATOMIC
#undef SIM_ATOMIC_IN

}  // namespace metal

#define atomic_int metal::SimAtomicInt
#define atomic_uint metal::SimAtomicUint
#define atomic_float metal::SimAtomicFloat
