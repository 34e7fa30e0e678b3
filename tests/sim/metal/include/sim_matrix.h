// simdgroup_matrix: 8 x 8, two neighbouring elements of a row in each lane, in Apple's layout.
#pragma once

namespace metal {

template <class T, int R, int C> struct simdgroup_matrix {
    static_assert(R == 8 && C == 8, "only 8 x 8");
    T elements[2];
    thread T *thread_elements() { return elements; }
    simdgroup_matrix() = default;
    explicit simdgroup_matrix(T value) { elements[0] = elements[1] = value; }
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;

// Lane -> the place of its first element, and (row, column) -> the lane.
inline uint sim_row(uint lane) { return ((lane / 4) & 4) + (lane / 2) % 4; }
inline uint sim_column(uint lane) { return ((lane / 4) & 2) * 2 + (lane % 2) * 2; }
inline uint sim_owner(uint row, uint column) {
    return ((row & 4) | (column >> 1 & 2)) * 4 + (row & 3) * 2 + (column >> 1 & 1);
}
inline ulong sim_offset(uint k, ulong pitch, ulong2 origin, bool transposed) {
    uint lane = sim_current->lane, row = sim_row(lane), column = sim_column(lane) + k;
    ulong y = origin.y + (transposed ? column : row), x = origin.x + (transposed ? row : column);
    return y * pitch + x;
}

template <class T, class P>
SIM_CONVERGENT void simdgroup_load(simdgroup_matrix<T, 8, 8> &m, P from, ulong pitch = 8,
                                   ulong2 origin = (ulong2)(0, 0), bool transposed = false) {
    for (uint k = 0; k < 2; k++) m.elements[k] = from[sim_offset(k, pitch, origin, transposed)];
    simdgroup_barrier(mem_flags::mem_none);
}
template <class T, class P>
SIM_CONVERGENT void simdgroup_store(simdgroup_matrix<T, 8, 8> m, P to, ulong pitch = 8,
                                    ulong2 origin = (ulong2)(0, 0), bool transposed = false) {
    for (uint k = 0; k < 2; k++) to[sim_offset(k, pitch, origin, transposed)] = m.elements[k];
    simdgroup_barrier(mem_flags::mem_none);
}

template <class A, class B> struct SimFactors {
    A a[2];
    B b[2];
};
template <class D, class A, class B, class C>
SIM_CONVERGENT void simdgroup_multiply_accumulate(simdgroup_matrix<D, 8, 8> &d,
                                                  simdgroup_matrix<A, 8, 8> a,
                                                  simdgroup_matrix<B, 8, 8> b,
                                                  simdgroup_matrix<C, 8, 8> c) {
    SimFactors<A, B> own;
    for (uint i = 0; i < 2; i++) {
        own.a[i] = a.elements[i];
        own.b[i] = b.elements[i];
    }
    SimLanes<SimFactors<A, B>> lanes = sim_share(own);
    uint row = sim_row(sim_current->lane), column = sim_column(sim_current->lane);
    for (uint i = 0; i < 2; i++) {
        float sum = (float)c.elements[i];
        for (uint k = 0; k < 8; k++) {
            float left = (float)lanes.get(sim_owner(row, k)).a[k & 1];
            sum += left * (float)lanes.get(sim_owner(k, column)).b[i];
        }
        d.elements[i] = (D)sum;
    }
}

}  // namespace metal
