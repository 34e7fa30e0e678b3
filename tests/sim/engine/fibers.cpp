// The threads of one group as fibers on one operating-system thread.
//
// A thread runs until it finishes, waits at a barrier, or waits for its warp.  The scheduler
// releases a warp operation when every lane of the warp is blocked, and only the lanes that wait
// at the same call site; it releases a barrier when the whole group waits at the same one.
// Anything else is divergence and is reported.
#include "fibers.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

// The switch saves the registers that a C call preserves, and nothing else.  It ends in a jump
// instead of a return: the processor predicts returns from its own stack of calls, and after a
// change of stack every such prediction is wrong.
extern "C" void sim_switch(void **save, void *to);

#if defined(__x86_64__)
__asm__(R"(
    .text
    .globl sim_switch
    .hidden sim_switch
    .type sim_switch, @function
sim_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    pop %rcx
    jmp *%rcx
    .size sim_switch, .-sim_switch
)");
#elif defined(__aarch64__)
__asm__(R"(
    .text
    .globl sim_switch
    .hidden sim_switch
    .type sim_switch, %function
sim_switch:
    sub sp, sp, #176
    stp x19, x20, [sp]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #176
    ret
    .size sim_switch, .-sim_switch
)");
#else
#error "the simulator knows x86-64 and aarch64"
#endif

namespace {

const size_t STACK_SIZE = 128 << 10;
const size_t PAGE = 4096;
const unsigned SLOT = 64;  // bytes that a lane can publish

enum State { NEW, READY, AT_WARP, AT_BARRIER, DONE };

struct Fiber {
    SimThread thread;
    void *stack_pointer;
    char *stack;
    State state;
    const void *site;          // where it waits: a return address
    unsigned long long lanes;  // the lanes that its warp operation names
};

const SimLaunch *current_launch;
std::vector<Fiber> fibers;
Fiber *running;
void *scheduler_stack;

std::vector<unsigned char> published;  // written by the lanes
std::vector<unsigned char> snapshot;   // read by the lanes, so that the next write is no race
std::vector<unsigned long long> active_lanes;
std::vector<unsigned> lane_order, warp_order;

std::vector<char *> free_stacks, all_stacks;
char last_message[512];

char *take_stack() {
    if (!free_stacks.empty()) {
        char *stack = free_stacks.back();
        free_stacks.pop_back();
        return stack;
    }
    void *memory = mmap(nullptr, STACK_SIZE + PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        perror("simulator: no memory for a fiber");
        abort();
    }
    mprotect(memory, PAGE, PROT_NONE);  // an overflow faults instead of hitting a neighbour
    all_stacks.push_back(static_cast<char *>(memory) + PAGE);
    return all_stacks.back();
}

// A finished fiber's stack goes to the next thread as it is, in the middle of this loop.
void fiber_main() {
    for (;;) {
        current_launch->kernel(current_launch->argument);
        running->state = DONE;
        sim_switch(&running->stack_pointer, scheduler_stack);
    }
}

void *first_stack_pointer(char *stack) {
    void **top = reinterpret_cast<void **>(stack + STACK_SIZE - 64);
#if defined(__x86_64__)
    *--top = nullptr;  // keeps the alignment that a called function expects
    *--top = reinterpret_cast<void *>(fiber_main);
    top -= 6;
    memset(top, 0, 6 * sizeof *top);
#else
    top -= 176 / sizeof *top;
    memset(top, 0, 176);
    top[11] = reinterpret_cast<void *>(fiber_main);  // x30
#endif
    return top;
}

void resume(Fiber &fiber) {
    running = &fiber;
    sim_current = &fiber.thread;
    if (fiber.state == NEW) {
        fiber.stack = take_stack();
        fiber.stack_pointer = first_stack_pointer(fiber.stack);
    }
    fiber.state = READY;
    sim_switch(&scheduler_stack, fiber.stack_pointer);
    if (fiber.state == DONE) {
        free_stacks.push_back(fiber.stack);
        fiber.stack = nullptr;
    }
}

void arrange(std::vector<unsigned> &order, unsigned count, unsigned seed) {
    order.resize(count);
    for (unsigned i = 0; i < count; i++) order[i] = i;
    if (sim_order == 1) std::reverse(order.begin(), order.end());
    if (sim_order <= 1) return;
    for (unsigned i = count; i-- > 1;) {
        seed = seed * 1664525u + 1013904223u;
        std::swap(order[i], order[(seed >> 8) % (i + 1)]);
    }
}

// Lets through the lanes of a warp that wait at the site where its first waiting lane waits.
// `released` is false when none waits.
SimResult release_warp(unsigned warp, unsigned base, unsigned lanes, bool &released) {
    const void *site = nullptr;
    unsigned long long arrived = 0, named = 0;
    for (unsigned lane = 0; lane < lanes; lane++) {
        const Fiber &fiber = fibers[base + lane];
        if (fiber.state != AT_WARP || (site && fiber.site != site)) continue;
        site = fiber.site;
        arrived |= 1ull << lane;
        named |= fiber.lanes;
    }
    released = site != nullptr;
    if (!released) return SIM_OK;
    unsigned long long present = lanes == 64 ? ~0ull : (1ull << lanes) - 1;
    if (named & present & ~arrived) {
        fibers_message("a warp operation names lanes %llx, only lanes %llx arrived", named,
                       arrived);
        return SIM_DIVERGENCE;
    }
    memcpy(&snapshot[base * SLOT], &published[base * SLOT], lanes * SLOT);
    active_lanes[warp] = arrived;
    sim_race_warp(warp);
    for (unsigned lane = 0; lane < lanes; lane++)
        if (arrived >> lane & 1) fibers[base + lane].state = READY;
    return SIM_OK;
}

// Runs every warp until all its threads are done or wait at a barrier.
SimResult run_to_barrier(unsigned threads) {
    unsigned warp_size = current_launch->warp_size;
    for (unsigned warp : warp_order) {
        unsigned base = warp * warp_size;
        unsigned lanes = std::min(warp_size, threads - base);
        for (bool again = true; again;) {
            for (unsigned lane : lane_order)
                if (lane < lanes && fibers[base + lane].state <= READY)
                    resume(fibers[base + lane]);
            if (SimResult result = release_warp(warp, base, lanes, again)) return result;
        }
    }
    return SIM_OK;
}

SimResult release_barrier(unsigned threads, bool &finished) {
    const void *site = nullptr;
    unsigned waiting = 0;
    bool same_site = true;
    for (unsigned i = 0; i < threads; i++) {
        const Fiber &fiber = fibers[i];
        if (fiber.state == DONE) continue;
        waiting++;
        if (site && fiber.site != site) same_site = false;
        site = fiber.site;
    }
    finished = waiting == 0;
    if (finished) return SIM_OK;
    if (waiting < threads || !same_site) {
        const unsigned *group = fibers[0].thread.group;
        fibers_message("barrier divergence in group (%u,%u,%u): %u threads wait, %u returned%s",
                       group[0], group[1], group[2], waiting, threads - waiting,
                       same_site ? "" : ", and they wait at different barriers");
        return SIM_DIVERGENCE;
    }
    sim_race_barrier();
    for (unsigned i = 0; i < threads; i++) fibers[i].state = READY;
    return SIM_OK;
}

}  // namespace

SimThread *sim_current;
int sim_order = getenv("SIM_ORDER") ? atoi(getenv("SIM_ORDER")) : 0;

void sim_barrier() {
    running->site = __builtin_return_address(0);
    running->state = AT_BARRIER;
    sim_switch(&running->stack_pointer, scheduler_stack);
}

void sim_exchange(const void *value, unsigned size, unsigned long long lanes) {
    if (size > SLOT) sim_fail("a warp operation on more than 64 bytes");
    running->site = __builtin_return_address(0);
    running->lanes = lanes;
    memcpy(&published[running->thread.linear * SLOT], value, size);
    running->state = AT_WARP;
    sim_switch(&running->stack_pointer, scheduler_stack);
}

const unsigned char *sim_slots() {
    return &snapshot[running->thread.warp * running->thread.warp_size * SLOT];
}

unsigned long long sim_active() {
    return active_lanes[running->thread.warp];
}

void fibers_begin_launch(const SimLaunch &launch, unsigned threads_per_group) {
    current_launch = &launch;
    unsigned warps = (threads_per_group + launch.warp_size - 1) / launch.warp_size;
    fibers.assign(threads_per_group, Fiber{});
    published.assign(warps * launch.warp_size * SLOT, 0);
    snapshot = published;
    active_lanes.assign(warps, 0);
    last_message[0] = 0;
}

SimThread &fibers_thread(unsigned index) {
    fibers[index].state = NEW;
    return fibers[index].thread;
}

SimResult fibers_run_group(unsigned threads) {
    if (!current_launch->cooperates) {  // plain calls: no thread can wait for another
        arrange(lane_order, threads, sim_order);
        for (unsigned index : lane_order) {
            sim_current = &fibers[index].thread;
            current_launch->kernel(current_launch->argument);
        }
        return SIM_OK;
    }
    unsigned warp_size = current_launch->warp_size;
    arrange(lane_order, warp_size, sim_order);
    arrange(warp_order, (threads + warp_size - 1) / warp_size, sim_order + 1);
    for (bool finished = false; !finished;) {
        if (SimResult result = run_to_barrier(threads)) return result;
        if (SimResult result = release_barrier(threads, finished)) return result;
    }
    return SIM_OK;
}

void fibers_abandon() {
    free_stacks = all_stacks;
}

void fibers_message(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last_message, sizeof last_message, format, arguments);
    va_end(arguments);
}

const char *fibers_last_message() {
    return last_message;
}
