// Barriers, and the functions of a SIMD group: publish a value, wait for the others, read.
#pragma once

namespace metal {

enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2, mem_texture = 4 };

SIM_CONVERGENT void threadgroup_barrier(mem_flags) { sim_barrier(); }
SIM_CONVERGENT void simdgroup_barrier(mem_flags) {
    int nothing = 0;
    sim_exchange(&nothing, sizeof(nothing), 0);
}

// What the lanes of the SIMD group published.
template <class T> struct SimLanes {
    const uchar *slots;
    ulong active;
    bool has(uint lane) const { return lane < sim_current->warp_size && (active >> lane & 1); }
    T get(uint lane) const {
        T value;
        __builtin_memcpy(&value, slots + lane * 64, sizeof(T));
        return value;
    }
    // Undefined in MSL where the lane takes no part; here the own value.
    T get(uint lane, T own) const { return has(lane) ? get(lane) : own; }
};
template <class T> SIM_CONVERGENT SimLanes<T> sim_share(T value) {
    sim_exchange(&value, sizeof(T), 0);
    SimLanes<T> lanes;
    lanes.slots = sim_slots();
    lanes.active = sim_active();
    return lanes;
}

// Hardware adds pairs of lanes, then pairs of pairs; so does this, and not left to right.
template <class T> inline T sim_sum(SimLanes<T> lanes) {
    T partial[64];
    uint count = sim_current->warp_size;
    for (uint i = 0; i < count; i++) partial[i] = lanes.has(i) ? lanes.get(i) : (T)0;
    for (uint half_way = count / 2; half_way; half_way /= 2)
        for (uint i = 0; i < half_way; i++) partial[i] += partial[i + half_way];
    return partial[0];
}
template <class T> SIM_CONVERGENT T simd_sum(T value) { return sim_sum(sim_share(value)); }
template <class T> SIM_CONVERGENT T simd_max(T value) {
    SimLanes<T> lanes = sim_share(value);
    for (uint i = 0; i < sim_current->warp_size; i++) {
        T other = lanes.get(i, value);
        if (value < other) value = other;
    }
    return value;
}
template <class T> SIM_CONVERGENT T simd_min(T value) {
    SimLanes<T> lanes = sim_share(value);
    for (uint i = 0; i < sim_current->warp_size; i++) {
        T other = lanes.get(i, value);
        if (other < value) value = other;
    }
    return value;
}
template <class T> SIM_CONVERGENT T simd_shuffle(T value, ushort lane) {
    return sim_share(value).get(lane, value);
}
template <class T> SIM_CONVERGENT T simd_broadcast(T value, ushort lane) {
    return sim_share(value).get(lane, value);
}
template <class T> SIM_CONVERGENT T simd_shuffle_xor(T value, ushort bits) {
    return sim_share(value).get(sim_current->lane ^ bits, value);
}
template <class T> SIM_CONVERGENT T simd_shuffle_down(T value, ushort step) {
    return sim_share(value).get(sim_current->lane + step, value);
}
template <class T> SIM_CONVERGENT T simd_shuffle_up(T value, ushort step) {
    return sim_share(value).get(sim_current->lane - step, value);
}
template <class T> SIM_CONVERGENT T simd_broadcast_first(T value) {
    SimLanes<T> lanes = sim_share(value);
    return lanes.get(__builtin_ctzl(lanes.active));
}
template <class T> SIM_CONVERGENT T simd_prefix_exclusive_sum(T value) {
    SimLanes<T> lanes = sim_share(value);
    T sum = 0;
    for (uint i = 0; i < sim_current->lane; i++)
        if (lanes.has(i)) sum += lanes.get(i);
    return sum;
}

}  // namespace metal
