// Data races between the threads of a launch.
//
// Kernels compiled with -fsanitize-coverage=trace-loads,trace-stores call a function of this
// file for each access.  A shadow of every byte remembers who wrote it and who read it last,
// in which interval between barriers.  Two accesses of one byte, at least one of them a write,
// race unless one thread made both, or a barrier or a warp operation lies between them.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <unordered_map>

#include "engine.h"

namespace {

const unsigned NOBODY = ~0u;
const uintptr_t STACK_REACH = 256 << 10;  // more than a fiber's stack

struct Access {
    unsigned thread = NOBODY;
    unsigned group = 0;
    unsigned interval = 0;       // counts the barriers of the launch
    unsigned warp_interval = 0;  // counts the warp operations of the thread's warp
};

struct Shadow {
    Access write;
    Access read;               // the last one; since the last barrier there were also
    bool other_warps = false;  // readers in other warps
    bool other_lanes = false;  // readers in its warp, since the last warp operation
};

std::unordered_map<uintptr_t, Shadow> group_shadow, device_shadow;
unsigned interval;
std::vector<unsigned> warp_intervals;
int atomic_depth;
std::string first_race;

Access current_access() {
    const SimThread &thread = *sim_current;
    const unsigned *group = thread.group, *groups = thread.groups;
    return {thread.linear, group[0] + groups[0] * (group[1] + groups[1] * group[2]), interval,
            warp_intervals[thread.warp]};
}

bool happened_before(const Access &earlier, const Access &now) {
    if (earlier.thread == NOBODY) return true;
    if (earlier.group != now.group) return false;
    if (earlier.thread == now.thread || earlier.interval != now.interval) return true;
    unsigned warp = earlier.thread / sim_current->warp_size;
    return warp == sim_current->warp && earlier.warp_interval != now.warp_interval;
}

void report(const char *kind, const Access &earlier, const Access &now, uintptr_t address) {
    if (!first_race.empty()) return;
    SimPlace place = sim_find(reinterpret_cast<void *>(address));
    char text[300];
    snprintf(text, sizeof text,
             "race (%s): thread %u of group %u and thread %u of group %u, %s memory at byte %ld, "
             "no barrier between",
             kind, earlier.thread, earlier.group, now.thread, now.group,
             place.start ? "device" : "shared",
             place.start ? place.offset : long(address & 0xfff));
    first_race = text;
}

void remember_read(Shadow &shadow, const Access &now) {
    const Access &last = shadow.read;
    unsigned size = sim_current->warp_size;
    bool same_interval = last.thread != NOBODY && last.group == now.group &&
                         last.interval == now.interval;
    bool same_warp = same_interval && last.thread / size == now.thread / size;
    bool together = same_warp && last.warp_interval == now.warp_interval;
    shadow.other_warps = same_interval && (shadow.other_warps || !same_warp);
    shadow.other_lanes = together && (shadow.other_lanes || last.thread != now.thread);
    shadow.read = now;
}

void check(Shadow &shadow, const Access &now, bool is_write, uintptr_t address) {
    if (!happened_before(shadow.write, now)) {
        report(is_write ? "write after write" : "read after write", shadow.write, now, address);
    } else if (is_write) {
        // The last reader may be the writer itself; the others are not.
        const Access &last = shadow.read;
        bool same_interval = last.group == now.group && last.interval == now.interval;
        bool others = same_interval &&
                      (shadow.other_warps ||
                       (shadow.other_lanes && last.warp_interval == now.warp_interval));
        if (others || !happened_before(shadow.read, now))
            report("write after read", shadow.read, now, address);
    }
    if (is_write)
        shadow.write = now;
    else
        remember_read(shadow, now);
}

void access(void *pointer, unsigned size, bool is_write) {
    if (!sim_races || !sim_current || atomic_depth) return;
    uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    char here;
    uintptr_t stack = reinterpret_cast<uintptr_t>(&here);
    if (address > stack - STACK_REACH && address < stack + STACK_REACH) return;
    auto &shadows = sim_find(pointer).start ? device_shadow : group_shadow;
    Access now = current_access();
    for (unsigned i = 0; i < size; i++) check(shadows[address + i], now, is_write, address + i);
}

}  // namespace

int sim_races = getenv("SIM_RACES") ? atoi(getenv("SIM_RACES")) : 0;

void sim_race_begin_launch() {
    group_shadow.clear();
    device_shadow.clear();
    first_race.clear();
    atomic_depth = 0;
    interval = 0;
}

void sim_race_begin_group() {
    interval++;
    group_shadow.clear();  // group memory is new in every group
    warp_intervals.assign(1024, 0);
}

void sim_race_barrier() {
    interval++;
}

void sim_race_warp(unsigned warp) {
    warp_intervals[warp]++;
}

bool sim_race_found(std::string &message) {
    if (first_race.empty()) return false;
    message = first_race;
    return true;
}

extern "C" {

void sim_atomic(int depth_change) {
    atomic_depth += depth_change;
}

// The names that the compiler calls, by the size of the access in bytes.
void __sanitizer_cov_load1(void *address) { access(address, 1, false); }
void __sanitizer_cov_load2(void *address) { access(address, 2, false); }
void __sanitizer_cov_load4(void *address) { access(address, 4, false); }
void __sanitizer_cov_load8(void *address) { access(address, 8, false); }
void __sanitizer_cov_load16(void *address) { access(address, 16, false); }
void __sanitizer_cov_store1(void *address) { access(address, 1, true); }
void __sanitizer_cov_store2(void *address) { access(address, 2, true); }
void __sanitizer_cov_store4(void *address) { access(address, 4, true); }
void __sanitizer_cov_store8(void *address) { access(address, 8, true); }
void __sanitizer_cov_store16(void *address) { access(address, 16, true); }
}
