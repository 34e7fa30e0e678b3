// One launch: the groups of the grid in order, with every fault caught and put into words.
//
// The handlers are in place only while a launch runs, on a stack of their own; the previous
// ones (Python's faulthandler, say) come back afterwards.
#include <csetjmp>
#include <csignal>
#include <ctime>

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>

#include "fibers.h"

namespace {

const int SIGNALS[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGVTALRM};
const unsigned SIGNAL_COUNT = sizeof SIGNALS / sizeof *SIGNALS;
const unsigned MAX_THREADS = 1024;

std::mutex launch_lock;  // ctypes lets go of the interpreter lock: two launches may come at once
sigjmp_buf escape;

SimResult result_of_signal(int signal) {
    switch (signal) {
        case SIGSEGV:
        case SIGBUS: return SIM_BAD_ADDRESS;
        case SIGFPE: return SIM_DIVIDE;
        case SIGVTALRM: return SIM_TIMEOUT;
        default: return SIM_TRAP;
    }
}

const char *words_of_signal(int signal, const siginfo_t &info) {
    // A misaligned vector access is reported by the kernel without an address.
    if (signal == SIGSEGV && info.si_code == SI_KERNEL && !info.si_addr)
        return "misaligned vector access";
    switch (result_of_signal(signal)) {
        case SIM_BAD_ADDRESS: return "invalid memory access";
        case SIM_DIVIDE: return "integer division by zero";
        case SIM_TIMEOUT: return "timeout";
        default: return "undefined behaviour trap";
    }
}

void on_signal(int signal, siginfo_t *info, void *) {
    const SimThread &thread = *sim_current;
    char where[96] = "";
    if (result_of_signal(signal) == SIM_BAD_ADDRESS) {
        SimPlace place = sim_find(info->si_addr);
        if (place.start)
            snprintf(where, sizeof where, " (byte %ld of a %zu-byte device buffer)",
                     place.offset, place.size);
    }
    fibers_message("%s at %p%s, thread (%u,%u,%u) of group (%u,%u,%u)",
                   words_of_signal(signal, *info), info->si_addr, where, thread.position[0],
                   thread.position[1], thread.position[2], thread.group[0], thread.group[1],
                   thread.group[2]);
    siglongjmp(escape, result_of_signal(signal));
}

// The handlers and the time limit of one launch.
class Guard {
public:
    Guard() {
        stack_t stack{};
        stack.ss_sp = handler_stack;
        stack.ss_size = sizeof handler_stack;
        sigaltstack(&stack, &previous_stack);
        struct sigaction action {};
        action.sa_sigaction = on_signal;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        for (unsigned i = 0; i < SIGNAL_COUNT; i++) sigaction(SIGNALS[i], &action, &previous[i]);
        // Aimed at this thread: the timer of a whole process would hit any of its threads.
        sigevent event{};
        event.sigev_notify = SIGEV_THREAD_ID;
        event.sigev_signo = SIGVTALRM;
        event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
        timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer);
        const char *limit = getenv("SIM_TIMEOUT");
        itimerspec seconds{{0, 0}, {limit ? atoi(limit) : 120, 0}};
        timer_settime(timer, 0, &seconds, nullptr);
    }

    ~Guard() {
        timer_delete(timer);
        for (unsigned i = 0; i < SIGNAL_COUNT; i++) sigaction(SIGNALS[i], &previous[i], nullptr);
        sigaltstack(&previous_stack, nullptr);
    }

private:
    static char handler_stack[64 << 10];
    stack_t previous_stack;
    struct sigaction previous[SIGNAL_COUNT];
    timer_t timer;
};

char Guard::handler_stack[64 << 10];

// Fills in the threads of group (x, y, z); returns how many there are.
unsigned fill_group(const SimLaunch &launch, const unsigned total[3], const unsigned group[3]) {
    unsigned size[3];
    for (int i = 0; i < 3; i++)
        size[i] = std::min(launch.block[i], total[i] - group[i] * launch.block[i]);
    unsigned count = size[0] * size[1] * size[2];
    for (unsigned index = 0; index < count; index++) {
        SimThread &thread = fibers_thread(index);
        thread.position[0] = index % size[0];
        thread.position[1] = index / size[0] % size[1];
        thread.position[2] = index / size[0] / size[1];
        thread.linear = index;
        thread.lane = index % launch.warp_size;
        thread.warp = index / launch.warp_size;
        thread.warp_size = launch.warp_size;
        thread.warps = (count + launch.warp_size - 1) / launch.warp_size;
        for (int i = 0; i < 3; i++) {
            thread.group[i] = group[i];
            thread.group_size[i] = size[i];
            thread.groups[i] = launch.grid[i];
            thread.in_grid[i] = group[i] * launch.block[i] + thread.position[i];
            thread.grid_size[i] = total[i];
        }
    }
    return count;
}

SimResult run_grid(const SimLaunch &launch) {
    unsigned total[3];
    for (int i = 0; i < 3; i++)
        total[i] = launch.threads[0] ? launch.threads[i] : launch.grid[i] * launch.block[i];
    size_t groups = size_t(launch.grid[0]) * launch.grid[1] * launch.grid[2];
    for (size_t i = 0; i < groups; i++) {
        size_t index = sim_order == 1 ? groups - 1 - i : i;
        unsigned group[3] = {unsigned(index % launch.grid[0]),
                             unsigned(index / launch.grid[0] % launch.grid[1]),
                             unsigned(index / launch.grid[0] / launch.grid[1])};
        unsigned threads = fill_group(launch, total, group);
        if (launch.begin_group) launch.begin_group(launch.group_argument);
        sim_race_begin_group();
        if (SimResult result = fibers_run_group(threads)) return result;
    }
    return SIM_OK;
}

}  // namespace

void sim_fail(const char *message) {
    fibers_message("%s", message);
    siglongjmp(escape, SIM_CHECK);
}

SimResult sim_launch(const SimLaunch &launch, std::string &message) {
    std::lock_guard<std::mutex> lock(launch_lock);
    size_t threads = size_t(launch.block[0]) * launch.block[1] * launch.block[2];
    if (!threads || threads > MAX_THREADS) {
        message = std::to_string(threads) + " threads per group";
        return SIM_BAD_SHAPE;
    }
    fibers_begin_launch(launch, unsigned(threads));
    sim_race_begin_launch();
    SimResult result;
    {
        Guard guard;
        int fault = sigsetjmp(escape, 1);
        result = fault ? SimResult(fault) : run_grid(launch);
    }
    sim_current = nullptr;
    if (result) {
        fibers_abandon();
        message = fibers_last_message();
    } else if (sim_race_found(message)) {
        result = SIM_RACE;
    }
    return result;
}
