// Attributes of kernel parameters become default arguments: a macro closes the brackets and
// opens new ones, so that
//     uint i [[thread_position_in_grid]]
// reads
//     uint i [[]] = sim_position(sim_current->in_grid)[sim_zero[0]]
// and every kernel can be called as name().  A parameter without an attribute cannot.
#pragma once

static constant int sim_zero[1] = {0};

struct SimPosition {
    uint v[3];
    SimPosition operator[](int) const { return *this; }
    operator uint() const { return v[0]; }
    operator ushort() const { return (ushort)v[0]; }
    operator uint2() const { return (uint2)(v[0], v[1]); }
    operator uint3() const { return (uint3)(v[0], v[1], v[2]); }
    operator ushort2() const { return (ushort2)((ushort)v[0], (ushort)v[1]); }
    operator ushort3() const { return (ushort3)((ushort)v[0], (ushort)v[1], (ushort)v[2]); }
};
inline SimPosition sim_position(__constant uint *p) {
    SimPosition result;
    for (int i = 0; i < 3; i++) result.v[i] = p[i];
    return result;
}
inline SimPosition sim_number(uint x) {
    SimPosition result;
    result.v[0] = x;
    result.v[1] = result.v[2] = 0;
    return result;
}

// A bound buffer; the conversion knows the type that the kernel wants.
struct SimArgument {
    uint index;
    SimArgument operator[](int) const { return *this; }
    template <class T> operator __global T *() const {
        return (__global T *)sim_metal_argument(index, sizeof(T), alignof(T), 0);
    }
    template <class T> operator __constant T *() const {
        return (__constant T *)sim_metal_argument(index, sizeof(T), alignof(T), 0);
    }
    template <class T> operator __constant T &() const {
        return *(__constant T *)sim_metal_argument(index, sizeof(T), alignof(T), 1);
    }
};
inline SimArgument sim_argument(uint index) {
    SimArgument result;
    result.index = index;
    return result;
}

#define buffer(i) ]] = sim_argument(i)[sim_zero[0
#define thread_position_in_grid ]] = sim_position(sim_current->in_grid)[sim_zero[0
#define threads_per_grid ]] = sim_position(sim_current->grid_size)[sim_zero[0
#define thread_position_in_threadgroup ]] = sim_position(sim_current->position)[sim_zero[0
#define threadgroup_position_in_grid ]] = sim_position(sim_current->group)[sim_zero[0
#define threadgroups_per_grid ]] = sim_position(sim_current->groups)[sim_zero[0
#define threads_per_threadgroup ]] = sim_position(sim_current->group_size)[sim_zero[0
#define thread_index_in_threadgroup ]] = sim_number(sim_current->linear)[sim_zero[0
#define thread_index_in_simdgroup ]] = sim_number(sim_current->lane)[sim_zero[0
#define simdgroup_index_in_threadgroup ]] = sim_number(sim_current->warp)[sim_zero[0
#define threads_per_simdgroup ]] = sim_number(sim_current->warp_size)[sim_zero[0
#define simdgroups_per_threadgroup ]] = sim_number(sim_current->warps)[sim_zero[0
