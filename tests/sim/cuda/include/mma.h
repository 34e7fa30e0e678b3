// Tensor-core matrices on a CPU: 256 elements over 32 lanes, 8 elements each.  CUDA leaves open
// which lane holds what, so any layout will do.
#pragma once

namespace nvcuda {
namespace wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };

const int PER_LANE = 8, SIDE = 16;

template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
    static_assert(M == SIDE && N == SIDE && K == SIDE, "only 16x16x16");
    static constexpr int num_elements = PER_LANE;
    T x[PER_LANE];
};

static inline size_t sim_offset(int element, unsigned stride, bool by_columns) {
    unsigned place = sim_current->lane * PER_LANE + element;
    unsigned row = place / SIDE, column = place % SIDE;
    return by_columns ? column * (size_t)stride + row : row * (size_t)stride + column;
}

template <class Fragment, class T> static inline void fill_fragment(Fragment &f, T value) {
    for (auto &element : f.x) element = value;
}

template <class Use, int M, int N, int K, class T, class Layout>
SIM_CONVERGENT void load_matrix_sync(fragment<Use, M, N, K, T, Layout> &f, const T *from,
                                     unsigned stride) {
    if ((uintptr_t)from % 32) sim_fail("wmma: the pointer is not aligned to 32 bytes");
    if (stride % (16 / sizeof(T))) sim_fail("wmma: the stride is no multiple of 16 bytes");
    bool by_columns = std::is_same<Layout, col_major>::value;
    for (int i = 0; i < PER_LANE; i++) f.x[i] = from[sim_offset(i, stride, by_columns)];
    __syncwarp();
}

template <int M, int N, int K, class T>
SIM_CONVERGENT void store_matrix_sync(T *to, const fragment<accumulator, M, N, K, T> &f,
                                      unsigned stride, layout_t layout) {
    for (int i = 0; i < PER_LANE; i++) to[sim_offset(i, stride, layout == mem_col_major)] = f.x[i];
    __syncwarp();
}

template <class T> static inline float sim_element(const unsigned char *slots, int element) {
    T value;
    memcpy(&value, slots + element / PER_LANE * 64 + element % PER_LANE * sizeof(T), sizeof(T));
    return (float)value;
}

template <class D, class A, class B, class C>
SIM_CONVERGENT void mma_sync(D &d, const A &a, const B &b, const C &c) {
    typedef typename std::remove_cv<typename std::remove_reference<decltype(a.x[0])>::type>::type T;
    struct { T a[PER_LANE], b[PER_LANE]; } both;
    memcpy(both.a, a.x, sizeof both.a);
    memcpy(both.b, b.x, sizeof both.b);
    sim_exchange(&both, sizeof both, ~0u);
    const unsigned char *slots = sim_slots();
    for (int i = 0; i < PER_LANE; i++) {
        int place = sim_current->lane * PER_LANE + i, row = place / SIDE, column = place % SIDE;
        float sum = (float)c.x[i];
        for (int k = 0; k < SIDE; k++)
            sum += sim_element<T>(slots, row * SIDE + k) *
                   sim_element<T>(slots + sizeof both.a, k * SIDE + column);
        d.x[i] = sum;
    }
}

}  // namespace wmma
}  // namespace nvcuda
