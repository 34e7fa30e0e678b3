// The fake Metal framework: strings, errors, the device, buffers.
#include <cstdlib>
#include <cstring>

#include "framework.h"

Class *BUFFER, *LIBRARY, *FUNCTION, *PIPELINE, *OPTIONS, *QUEUE, *COMMANDS, *ENCODER;

namespace {

Class *STRING, *ERROR, *DEVICE, *URL;
Device *the_device;

const NSUInteger STORAGE_MODE_MASK = 0xF0, STORAGE_PRIVATE = 0x20;
const long FAMILY_APPLE7 = 1007, FAMILY_METAL3 = 5001;

void define_foundation() {
    STRING = define_class("NSString");
    define_method(STRING, "stringWithUTF8String:", "@@:*",
                  reinterpret_cast<void *>(+[](Object *, Selector, const char *text) {
                      return autoreleased_string(text);
                  }),
                  true);
    DEFINE(STRING, "UTF8String", "*@:",
           [](String *self, Selector) { return self->text.c_str(); });
    URL = define_class("NSURL");
    define_method(URL, "fileURLWithPath:", "@@:@",
                  reinterpret_cast<void *>(+[](Object *, Selector, String *path) -> Object * {
                      auto *url = make<String>(URL);
                      url->text = path->text;
                      return objc_autorelease(url);
                  }),
                  true);
    ERROR = define_class("NSError");
    DEFINE(ERROR, "localizedDescription", "@@:",
           [](Error *self, Selector) { return autoreleased_string(self->text); });
    DEFINE(ERROR, "code", "q@:", [](Error *self, Selector) { return self->code; });
}

Object *new_buffer(NSUInteger size, NSUInteger options) {
    if (!size) {
        misuse("newBufferWithLength: of 0 bytes");
        return nullptr;
    }
    Hold hold(metal_lock);
    void *memory = size > MAX_BUFFER ? nullptr : sim_allocate(size);
    if (!memory) return nullptr;
    auto *buffer = make<Buffer>(BUFFER);
    buffer->memory = static_cast<char *>(memory);
    buffer->size = size;
    buffer->owned = true;
    buffer->is_private = (options & STORAGE_MODE_MASK) == STORAGE_PRIVATE;
    return buffer;
}

Object *wrap_buffer(void *memory, NSUInteger size) {
    if (reinterpret_cast<size_t>(memory) % PAGE || size % PAGE) {
        misuse("newBufferWithBytesNoCopy: address and length must be multiples of %lu", PAGE);
        return nullptr;
    }
    auto *buffer = make<Buffer>(BUFFER);
    buffer->memory = static_cast<char *>(memory);
    buffer->size = size;
    buffer->owned = buffer->is_private = false;
    return buffer;
}

void define_device() {
    DEVICE = define_class("MTLDevice");
    DEFINE(DEVICE, "name", "@@:",
           [](Object *, Selector) { return autoreleased_string("Simulated Metal device"); });
    DEFINE(DEVICE, "supportsFamily:", "B@:q", [](Object *, Selector, long family) {
        return boolean(family == FAMILY_APPLE7 || family == FAMILY_METAL3);
    });
    DEFINE(DEVICE, "hasUnifiedMemory", "B@:", [](Object *, Selector) { return boolean(true); });
    DEFINE(DEVICE, "maxBufferLength", "Q@:", [](Object *, Selector) { return MAX_BUFFER; });
    DEFINE(DEVICE, "maxThreadgroupMemoryLength", "Q@:",
           [](Object *, Selector) { return GROUP_MEMORY; });
    DEFINE(DEVICE, "maxThreadsPerThreadgroup", "{?=QQQ}@:",
           [](Object *, Selector) { return Size{1024, 1024, 1024}; });
    DEFINE(DEVICE, "newCommandQueue", "@@:",
           [](Object *, Selector) -> Object * { return make<Queue>(QUEUE); });
    DEFINE(DEVICE, "newBufferWithLength:options:", "@@:QQ",
           [](Object *, Selector, NSUInteger size, NSUInteger options) {
               return new_buffer(size, options);
           });
    DEFINE(DEVICE, "newBufferWithBytes:length:options:", "@@:^vQQ",
           [](Object *, Selector, const void *bytes, NSUInteger size, NSUInteger options) {
               Object *buffer = new_buffer(size, options);
               if (buffer) memcpy(static_cast<Buffer *>(buffer)->memory, bytes, size);
               return buffer;
           });
    DEFINE(DEVICE, "newBufferWithBytesNoCopy:length:options:deallocator:", "@@:^vQQ@?",
           [](Object *, Selector, void *memory, NSUInteger size, NSUInteger, void *) {
               return wrap_buffer(memory, size);
           });
}

void define_buffer() {
    BUFFER = define_class("MTLBuffer", [](Object *self) {
        auto *buffer = static_cast<Buffer *>(self);
        if (buffer->owned) sim_free(buffer->memory);
    });
    DEFINE(BUFFER, "contents", "^v@:", [](Buffer *self, Selector) -> void * {
        return self->is_private ? nullptr : self->memory;
    });
    DEFINE(BUFFER, "length", "Q@:",
           [](Buffer *self, Selector) { return NSUInteger(self->size); });
}

__attribute__((constructor)) void define_everything() {
    define_foundation();
    define_device();
    define_buffer();
    define_libraries(DEVICE);
    define_commands();
}

}  // namespace

Object *autoreleased_string(const std::string &text) {
    auto *string = make<String>(STRING);
    string->text = text;
    return objc_autorelease(string);
}

Error *make_error(const std::string &text, long code) {
    auto *error = make<Error>(ERROR);
    error->text = text;
    error->code = code;
    return error;
}

extern "C" Object *MTLCreateSystemDefaultDevice() {
    Hold hold(metal_lock);
    if (getenv("SIM_NO_DEVICE")) return nullptr;
    if (!the_device) the_device = make<Device>(DEVICE);
    return objc_retain(the_device);
}
