// The fake driver: memory and copies.
#include <cstdlib>
#include <cstring>

#include "fake_cuda.h"

namespace {

const size_t PAGE = 4096;

void *host(DevicePointer address) {
    return reinterpret_cast<void *>(address);
}

bool is_device(DevicePointer address, size_t size) {
    return sim_holds(host(address), size);
}

// Queues `work` on the stream of `handle`, or says what is wrong.
Result enqueue(void *handle, bool memory_is_good, Work work) {
    Stream *stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    return memory_is_good ? push(stream, std::move(work)) : INVALID_VALUE;
}

}  // namespace

bool is_pinned(const void *address, size_t size) {
    char *start = static_cast<char *>(const_cast<void *>(address));
    auto next = driver.pinned.upper_bound(start);
    if (next == driver.pinned.begin()) return false;
    auto block = std::prev(next);
    return start + size <= block->first + block->second;
}

API cuMemAlloc_v2(DevicePointer *address, size_t size) {
    NEEDS_CONTEXT;
    if (!size) return INVALID_VALUE;
    void *memory = size > DEVICE_MEMORY ? nullptr : sim_allocate(size);
    if (!memory) return OUT_OF_MEMORY;
    *address = reinterpret_cast<DevicePointer>(memory);
    return SUCCESS;
}

API cuMemFree_v2(DevicePointer address) {
    NEEDS_CONTEXT;
    if (!address) return SUCCESS;
    run_everything();
    return sim_free(host(address)) ? SUCCESS : INVALID_VALUE;
}

API cuMemGetInfo_v2(size_t *available, size_t *total) {
    NEEDS_CONTEXT;
    *available = *total = DEVICE_MEMORY;
    return SUCCESS;
}

API cuMemHostAlloc(void **address, size_t size, unsigned) {
    NEEDS_CONTEXT;
    *address = aligned_alloc(PAGE, (size + PAGE - 1) / PAGE * PAGE);
    if (!*address) return OUT_OF_MEMORY;
    driver.pinned[static_cast<char *>(*address)] = size;
    return SUCCESS;
}

API cuMemFreeHost(void *address) {
    NEEDS_CONTEXT;
    if (!driver.pinned.count(static_cast<char *>(address))) return INVALID_VALUE;
    run_everything();
    driver.pinned.erase(static_cast<char *>(address));
    free(address);
    return SUCCESS;
}

API cuMemcpyHtoDAsync_v2(DevicePointer to, const void *from, size_t size, void *handle) {
    NEEDS_CONTEXT;
    if (is_pinned(from, size))  // read when the stream gets there
        return enqueue(handle, is_device(to, size), [=] {
            memcpy(host(to), from, size);
            return SUCCESS;
        });
    auto bytes = static_cast<const char *>(from);  // pageable memory is staged at once
    auto staged = std::make_shared<std::vector<char>>(bytes, bytes + size);
    return enqueue(handle, is_device(to, size), [=] {
        memcpy(host(to), staged->data(), size);
        return SUCCESS;
    });
}

API cuMemcpyDtoHAsync_v2(void *to, DevicePointer from, size_t size, void *handle) {
    NEEDS_CONTEXT;
    Result result = enqueue(handle, is_device(from, size), [=] {
        memcpy(to, host(from), size);
        return SUCCESS;
    });
    if (result) return result;
    Stream *stream = stream_of(handle);
    return is_pinned(to, size) || stream->capture ? SUCCESS : run_stream(stream);
}

API cuMemcpyDtoDAsync_v2(DevicePointer to, DevicePointer from, size_t size, void *handle) {
    NEEDS_CONTEXT;
    return enqueue(handle, is_device(to, size) && is_device(from, size), [=] {
        memmove(host(to), host(from), size);
        return SUCCESS;
    });
}

API cuMemcpyHtoD_v2(DevicePointer to, const void *from, size_t size) {
    NEEDS_CONTEXT;
    if (any_capture()) return STREAM_CAPTURE_UNSUPPORTED;
    Result result = cuMemcpyHtoDAsync_v2(to, from, size, nullptr);
    return result ? result : run_stream(&driver.default_stream);
}

API cuMemcpyDtoH_v2(void *to, DevicePointer from, size_t size) {
    NEEDS_CONTEXT;
    if (any_capture()) return STREAM_CAPTURE_UNSUPPORTED;
    Result result = cuMemcpyDtoHAsync_v2(to, from, size, nullptr);
    return result ? result : run_stream(&driver.default_stream);
}

API cuMemsetD8Async(DevicePointer to, unsigned char value, size_t size, void *handle) {
    NEEDS_CONTEXT;
    return enqueue(handle, is_device(to, size), [=] {
        memset(host(to), value, size);
        return SUCCESS;
    });
}
