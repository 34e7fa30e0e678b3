// The classes of the fake Metal framework, shared by its source files.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "../engine/engine.h"
#include "objc.h"

struct Size {  // MTLSize
    NSUInteger width, height, depth;
};

const NSUInteger MAX_BUFFER = NSUInteger(8) << 30;
const NSUInteger PAGE = 16384;
const NSUInteger GROUP_MEMORY = 32768;
const NSUInteger MOST_BYTES = 4096;  // of setBytes:length:atIndex:
const NSUInteger LAST_INDEX = 30;    // of a buffer
const unsigned SIMD_WIDTH = 32;

// MTLCommandBufferStatus
enum Status { NOT_ENQUEUED = 0, COMMITTED = 2, COMPLETED = 4, FAILED = 5 };

struct Device : Object {};

struct Buffer : Object {
    char *memory;
    size_t size;
    bool is_private;
    bool owned;
};

struct CompileOptions : Object {
    bool fast_math = true;
};

struct Library : Object {
    SimModule *code;
};

struct Function : Object {
    Library *library;
    std::string name;
    void (*entry)();
};

struct Pipeline : Object {
    Function *function;
};

struct CommandBuffer;

struct Queue : Object {
    std::vector<CommandBuffer *> pending;
};

// One place of the argument table.
struct Binding {
    char *memory;
    size_t size;
    Buffer *buffer;                           // null for bytes, which are kept here:
    std::shared_ptr<std::vector<char>> bytes;
};
typedef std::map<NSUInteger, Binding> Bindings;

struct CommandBuffer : Object {
    Queue *queue;
    Status status = NOT_ENQUEUED;
    bool encoding = false;
    std::vector<std::function<bool(std::string &)>> work;
    std::vector<Object *> kept;  // until the work is done
    Error *error = nullptr;
    double start = 0, end = 0;
};

struct Encoder : Object {
    CommandBuffer *commands;
    Pipeline *pipeline = nullptr;
    Bindings bindings;
    bool open = true;
};

extern Class *BUFFER, *LIBRARY, *FUNCTION, *PIPELINE, *OPTIONS, *QUEUE, *COMMANDS, *ENCODER;

void define_libraries(Class *device);
void define_commands();
NSUInteger max_threads();
