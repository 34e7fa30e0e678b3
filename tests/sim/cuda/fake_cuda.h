// The state of the fake CUDA driver (libcuda.so.1), shared by its source files.
//
// Device memory is host memory behind guards, a kernel image is an x86-64 shared object, and
// streams are lazy: work is queued and runs only when something waits for it, so that a missing
// wait shows as old data.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "../engine/engine.h"

typedef unsigned long long DevicePointer;

enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    NO_BINARY_FOR_GPU = 209,
    INVALID_PTX = 218,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    ILLEGAL_ADDRESS = 700,
    ILLEGAL_INSTRUCTION = 715,
    LAUNCH_FAILED = 719,
    STREAM_CAPTURE_UNSUPPORTED = 900,
    STREAM_CAPTURE_INVALIDATED = 901,
};

typedef std::function<Result()> Work;

struct Context {
    int references = 0;
    Result sticky = SUCCESS;  // after a fault every call fails until the context is reset
};

struct Graph {
    std::vector<Work> work;
};

struct Stream {
    std::deque<Work> queue;
    unsigned long long pushed = 0, done = 0;
    bool waits_for_default = true;
    bool running = false;
    Graph *capture = nullptr;
};

struct Event {
    Stream *stream = nullptr;
    unsigned long long ticket = 0;  // how much of the stream comes before it
    double time = 0;
    bool recorded = false, done = true;
};

// What a compiled module says about a kernel; sim_cuda.h makes one for each.
struct KernelTable {
    int count;
    const size_t *size;
    const size_t *alignment;
    const bool *is_pointer;
    void (*call)(void **arguments);
};

struct Function;

struct Module {
    SimModule *code;
    std::vector<std::unique_ptr<Function>> functions;
};

struct Function {
    Module *module;
    std::string name;
    const KernelTable *table;
    size_t static_memory;
    size_t dynamic_limit;
};

struct Driver {
    bool initialised = false;
    Context primary;
    Stream default_stream;
    std::set<Stream *> streams;
    std::set<Event *> events;
    std::set<Module *> modules;
    std::map<char *, size_t> pinned;
    std::string last_message;  // what went wrong, in words
    std::recursive_mutex lock;
};

extern Driver driver;
extern thread_local Context *current_context;

const size_t DEVICE_MEMORY = size_t(8) << 30;
const int COMPUTE_MAJOR = 9, COMPUTE_MINOR = 0;
const unsigned WARP = 32;
const unsigned MAX_THREADS = 1024;
const size_t STATIC_SHARED = 48 << 10, OPT_IN_SHARED = 227 << 10;

void complain(const std::string &message);

// Runs a stream's work up to a ticket; everything.
Result run_stream(Stream *stream, unsigned long long ticket = ~0ull);
Result run_everything();
Result push(Stream *stream, Work work);
Stream *stream_of(void *handle);  // null: no such stream
bool any_capture();
bool is_pinned(const void *address, size_t size);

#define API extern "C" __attribute__((visibility("default"))) Result

// What the driver checks first in nearly every call.
#define NEEDS_CONTEXT                                                      \
    if (!driver.initialised) return NOT_INITIALIZED;                       \
    if (!current_context) return INVALID_CONTEXT;                          \
    std::lock_guard<std::recursive_mutex> hold(driver.lock);               \
    if (driver.primary.sticky) return driver.primary.sticky
