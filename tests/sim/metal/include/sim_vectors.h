// Vector types by element and length, and their constructors: float4(a.xy, b, c).
#pragma once

namespace metal {

template <class T, int N> struct SimVector {
    typedef T type __attribute__((ext_vector_type(N)));
};
template <class T, int N> using vec = typename SimVector<T, N>::type;

template <class V> struct SimLength { enum { value = 1 }; };
template <class T> struct SimLength<T __attribute__((ext_vector_type(2)))> {
    enum { value = 2 };
};
template <class T> struct SimLength<T __attribute__((ext_vector_type(3)))> {
    enum { value = 3 };
};
template <class T> struct SimLength<T __attribute__((ext_vector_type(4)))> {
    enum { value = 4 };
};

template <class T, int N, int I> inline void sim_fill(vec<T, N> &) {
    static_assert(I == N, "wrong number of vector components");
}
template <class T, int N, int I, class A, class... B>
inline void sim_fill(vec<T, N> &result, A first, B... rest) {
    if constexpr (SimLength<A>::value == 1)
        result[I] = (T)first;
    else
        for (int k = 0; k < SimLength<A>::value; k++) result[I + k] = (T)first[k];
    sim_fill<T, N, I + SimLength<A>::value>(result, rest...);
}
template <class T, int N, class A, class... B> inline vec<T, N> sim_vector(A first, B... rest) {
    vec<T, N> result;
    if constexpr (sizeof...(B) == 0 && SimLength<A>::value == 1)
        for (int k = 0; k < N; k++) result[k] = (T)first;
    else
        sim_fill<T, N, 0>(result, first, rest...);
    return result;
}

template <class T, class U> inline T as_type(U bits) {
    static_assert(sizeof(T) == sizeof(U), "as_type between sizes");
    return __builtin_bit_cast(T, bits);
}

}  // namespace metal
