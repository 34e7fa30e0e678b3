// The fake driver: initialisation, devices, contexts, errors.
#include <cstdio>
#include <cstdlib>

#include "fake_cuda.h"

Driver driver;
thread_local Context *current_context;

namespace {

// CUdevice_attribute and what an H100-like device answers.
const std::map<int, int> ATTRIBUTES = {
    {1, int(MAX_THREADS)},          // threads per block
    {2, 1024}, {3, 1024}, {4, 64},  // block dimensions
    {5, 2147483647}, {6, 65535}, {7, 65535},  // grid dimensions
    {8, int(STATIC_SHARED)},        // shared memory per block
    {10, int(WARP)},
    {12, 65536},                    // registers per block
    {16, 4},                        // multiprocessors
    {38, 50 << 20},                 // level 2 cache
    {39, 2048},                     // threads per multiprocessor
    {41, 1},                        // unified addressing
    {75, COMPUTE_MAJOR}, {76, COMPUTE_MINOR},
    {81, 228 << 10},                // shared memory per multiprocessor
    {97, int(OPT_IN_SHARED)},
    {115, 1},                       // memory pools
};

struct ErrorText {
    const char *name, *words;
};

const std::map<int, ErrorText> ERRORS = {
    {SUCCESS, {"CUDA_SUCCESS", "no error"}},
    {INVALID_VALUE, {"CUDA_ERROR_INVALID_VALUE", "invalid argument"}},
    {OUT_OF_MEMORY, {"CUDA_ERROR_OUT_OF_MEMORY", "out of memory"}},
    {NOT_INITIALIZED, {"CUDA_ERROR_NOT_INITIALIZED", "initialization error"}},
    {NO_DEVICE, {"CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"}},
    {INVALID_DEVICE, {"CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"}},
    {INVALID_IMAGE, {"CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"}},
    {INVALID_CONTEXT, {"CUDA_ERROR_INVALID_CONTEXT", "invalid device context"}},
    {NO_BINARY_FOR_GPU,
     {"CUDA_ERROR_NO_BINARY_FOR_GPU",
      "no kernel image is available for execution on the device"}},
    {INVALID_PTX, {"CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"}},
    {INVALID_HANDLE, {"CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"}},
    {NOT_FOUND, {"CUDA_ERROR_NOT_FOUND", "named symbol not found"}},
    {NOT_READY, {"CUDA_ERROR_NOT_READY", "device not ready"}},
    {ILLEGAL_ADDRESS,
     {"CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"}},
    {ILLEGAL_INSTRUCTION,
     {"CUDA_ERROR_ILLEGAL_INSTRUCTION", "an illegal instruction was encountered"}},
    {LAUNCH_FAILED, {"CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"}},
    {STREAM_CAPTURE_UNSUPPORTED,
     {"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
      "operation not permitted when stream is capturing"}},
    {STREAM_CAPTURE_INVALIDATED,
     {"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error"}},
};

}  // namespace

void complain(const std::string &message) {
    driver.last_message = message;
    fprintf(stderr, "simulated CUDA: %s\n", message.c_str());
}

API cuInit(unsigned flags) {
    if (flags) return INVALID_VALUE;
    if (getenv("SIM_NO_DEVICE")) return NO_DEVICE;
    driver.initialised = true;
    return SUCCESS;
}

API cuDriverGetVersion(int *version) {
    *version = 13000;
    return SUCCESS;
}

API cuDeviceGetCount(int *count) {
    if (!driver.initialised) return NOT_INITIALIZED;
    *count = 1;
    return SUCCESS;
}

API cuDeviceGet(int *device, int index) {
    if (!driver.initialised) return NOT_INITIALIZED;
    if (index) return INVALID_DEVICE;
    *device = 0;
    return SUCCESS;
}

API cuDeviceGetName(char *name, int size, int) {
    snprintf(name, size_t(size), "Simulated CUDA device");
    return SUCCESS;
}

API cuDeviceTotalMem_v2(size_t *size, int) {
    *size = DEVICE_MEMORY;
    return SUCCESS;
}

API cuDeviceGetAttribute(int *value, int attribute, int) {
    auto found = ATTRIBUTES.find(attribute);
    if (found == ATTRIBUTES.end()) return INVALID_VALUE;
    *value = found->second;
    return SUCCESS;
}

API cuDevicePrimaryCtxRetain(Context **context, int device) {
    if (!driver.initialised) return NOT_INITIALIZED;
    if (device) return INVALID_DEVICE;
    driver.primary.references++;
    *context = &driver.primary;
    return SUCCESS;
}

API cuDevicePrimaryCtxRelease_v2(int) {
    if (driver.primary.references <= 0) return INVALID_CONTEXT;
    if (--driver.primary.references == 0) {
        run_everything();
        driver.primary.sticky = SUCCESS;
    }
    return SUCCESS;
}

API cuCtxSetCurrent(Context *context) {
    if (!driver.initialised) return NOT_INITIALIZED;
    current_context = context;
    return SUCCESS;
}

API cuCtxGetCurrent(Context **context) {
    *context = current_context;
    return SUCCESS;
}

API cuCtxSynchronize() {
    NEEDS_CONTEXT;
    if (any_capture()) return STREAM_CAPTURE_UNSUPPORTED;
    return run_everything();
}

API cuGetErrorName(int error, const char **text) {
    auto found = ERRORS.find(error);
    *text = found == ERRORS.end() ? nullptr : found->second.name;
    return *text ? SUCCESS : INVALID_VALUE;
}

API cuGetErrorString(int error, const char **text) {
    auto found = ERRORS.find(error);
    *text = found == ERRORS.end() ? nullptr : found->second.words;
    return *text ? SUCCESS : INVALID_VALUE;
}

// For tests.
extern "C" {

int dlgrad_sim_version() {
    return 1;
}

const char *sim_last_message() {
    return driver.last_message.c_str();
}

// 0 device blocks, 1 streams, 2 events, 3 modules, 4 pinned blocks, 5 context references.
long sim_alive(int what) {
    const long counts[] = {long(sim_blocks_alive()),      long(driver.streams.size()),
                           long(driver.events.size()),    long(driver.modules.size()),
                           long(driver.pinned.size()),    long(driver.primary.references)};
    return counts[what];
}

// What a reset of the device would do: the sticky error and all queued work are gone.
void sim_reset() {
    std::lock_guard<std::recursive_mutex> hold(driver.lock);
    driver.primary.sticky = SUCCESS;
    driver.streams.insert(&driver.default_stream);
    for (Stream *stream : driver.streams) {
        stream->queue.clear();
        stream->done = stream->pushed;
    }
    driver.streams.erase(&driver.default_stream);
}
}
