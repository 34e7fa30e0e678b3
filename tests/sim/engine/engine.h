// The execution model of a GPU on one operating-system thread.
//
// Every GPU thread is a fiber; the groups of a grid run one after another.  A launch comes in,
// a result code and a message in words come out.  The fake drivers stand above this file.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "thread.h"

enum SimResult {
    SIM_OK,
    SIM_BAD_ADDRESS,  // memory that is not there, or not aligned
    SIM_TRAP,         // a check for undefined behaviour, or an illegal instruction
    SIM_DIVIDE,       // integer division by zero
    SIM_DIVERGENCE,   // a barrier or a warp operation that not every thread reaches
    SIM_CHECK,        // a check inside the kernel's run-time library failed
    SIM_TIMEOUT,
    SIM_BAD_SHAPE,    // a group with no threads or too many
    SIM_RACE,         // two threads touch a place without a barrier between them
};

struct SimLaunch {
    void (*kernel)(void *argument);  // runs one GPU thread
    void *argument;
    unsigned grid[3];     // groups
    unsigned block[3];    // threads per group
    unsigned threads[3];  // exact size of a non-uniform grid in threads; 0: grid * block
    unsigned warp_size;
    bool cooperates;      // the kernel has barriers or warp operations
    void (*begin_group)(void *argument);  // called before each group; may be null
    void *group_argument;
};

SimResult sim_launch(const SimLaunch &launch, std::string &message);

// What kernels call (through the CUDA and Metal headers).
extern "C" {
extern SimThread *sim_current;
void sim_barrier();
// Publishes `size` <= 64 bytes to the warp and waits for its other threads.  `lanes`: those that
// must arrive, 0 for "whoever is active".
void sim_exchange(const void *value, unsigned size, unsigned long long lanes);
const unsigned char *sim_slots();   // after sim_exchange: 64 bytes for each lane of the warp
unsigned long long sim_active();    // after sim_exchange: the lanes that took part
[[noreturn]] void sim_fail(const char *message);
void sim_atomic(int depth_change);  // +1 on entry to an atomic operation, -1 on leaving
}

// Device memory: ends at a guard page, is poisoned with 0xff, and is checked for stray writes.
struct SimPlace {
    char *start = nullptr;  // of the block that `address` lies in or near; null: in none
    long offset = 0;
    size_t size = 0;
};
void *sim_allocate(size_t size);
bool sim_free(void *address);  // false: not the start of a block
size_t sim_blocks_alive();
SimPlace sim_find(const void *address);            // also finds the guards around a block
bool sim_holds(const void *address, size_t size);  // true: all of it lies inside one block
bool sim_stray_writes(std::string &message);       // true: a canary was overwritten

// The order in which threads run between barriers: 0 forward, 1 reverse, more: a shuffle seed.
// SIM_ORDER and SIM_RACES in the environment set the first values of this and the next switch.
extern "C" int sim_order;

// The race detector; on where this is not 0 and the kernel is compiled to report its accesses.
extern "C" int sim_races;
void sim_race_begin_launch();
void sim_race_begin_group();
void sim_race_barrier();
void sim_race_warp(unsigned warp);
bool sim_race_found(std::string &message);

// A compiled kernel module: an ELF shared object in memory.
struct SimModule {
    struct Array {
        char *address;
        size_t size;
    };
    void *handle = nullptr;
    bool cooperates = false;
    std::map<std::string, std::vector<Array>> arrays;  // group memory by kernel name

    size_t group_memory(const std::string &kernel) const;
    void poison(const std::string &kernel) const;
};
size_t sim_image_size(const void *image);  // 0: not an ELF image
SimModule *sim_open_module(const void *image, size_t size, std::string &message);
void sim_close_module(SimModule *module);
