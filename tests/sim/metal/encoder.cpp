// The fake Metal framework: queues, command buffers, encoders, dispatches.
//
// Committed work runs only when something waits for it, so that reading too early shows.
#include <ctime>

#include "framework.h"

namespace {

const Bindings *running_bindings;  // of the kernel that runs

double now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return double(time.tv_sec) + double(time.tv_nsec) * 1e-9;
}

void execute(CommandBuffer *commands) {
    std::string message;
    bool good = true;
    commands->start = now();
    for (auto &work : commands->work)
        if (!(good = work(message))) break;
    commands->work.clear();
    commands->end = now();
    commands->status = good ? COMPLETED : FAILED;
    if (!good) commands->error = make_error(message, 1);
    for (Object *object : commands->kept) objc_release(object);
    commands->kept.clear();
    objc_release(commands);
}

void run_pending(Queue *queue) {
    Hold hold(metal_lock);
    std::vector<CommandBuffer *> pending;
    pending.swap(queue->pending);
    for (CommandBuffer *commands : pending) execute(commands);
}

void commit(CommandBuffer *commands) {
    if (commands->encoding) return misuse("commit with an open encoder");
    if (commands->status != NOT_ENQUEUED) return misuse("commit twice");
    Hold hold(metal_lock);
    commands->status = COMMITTED;
    objc_retain(commands);
    commands->queue->pending.push_back(commands);
}

Object *new_encoder(CommandBuffer *commands) {
    if (commands->status != NOT_ENQUEUED || commands->encoding) {
        misuse("a command buffer takes one open encoder, before commit");
        return nullptr;
    }
    auto *encoder = make<Encoder>(ENCODER);
    encoder->commands = commands;
    objc_retain(commands);
    commands->encoding = true;
    return objc_autorelease(encoder);
}

bool is_usable(const Encoder *encoder, NSUInteger index = 0) {
    if (!encoder->open) misuse("the encoder has ended");
    if (index > LAST_INDEX) misuse("buffer index %lu: the last is %lu", index, LAST_INDEX);
    return encoder->open && index <= LAST_INDEX;
}

void set_buffer(Encoder *encoder, Buffer *buffer, NSUInteger offset, NSUInteger index) {
    if (!is_usable(encoder, index)) return;
    if (!buffer) {
        encoder->bindings.erase(index);
        return;
    }
    if (offset >= buffer->size)
        return misuse("setBuffer: offset %lu of a %zu-byte buffer", offset, buffer->size);
    encoder->commands->kept.push_back(objc_retain(buffer));
    encoder->bindings[index] = {buffer->memory + offset, buffer->size - offset, buffer, nullptr};
}

void set_bytes(Encoder *encoder, const char *bytes, NSUInteger size, NSUInteger index) {
    if (!is_usable(encoder, index)) return;
    if (size > MOST_BYTES || !size)
        return misuse("setBytes of %lu bytes: 1 to %lu are allowed", size, MOST_BYTES);
    auto copy = std::make_shared<std::vector<char>>(bytes, bytes + size);
    encoder->bindings[index] = {copy->data(), size, nullptr, copy};
}

bool shape_is_good(Size grid, Size group) {
    NSUInteger threads = group.width * group.height * group.depth;
    if (!threads || threads > max_threads()) {
        misuse("a group of %lu x %lu x %lu threads; the pipeline allows %lu", group.width,
               group.height, group.depth, max_threads());
        return false;
    }
    const NSUInteger LIMIT = 1ul << 31;
    bool good = grid.width && grid.height && grid.depth && grid.width < LIMIT &&
                grid.height < LIMIT && grid.depth < LIMIT;
    if (!good) misuse("a grid of %lu x %lu x %lu", grid.width, grid.height, grid.depth);
    return good;
}

SimLaunch launch_of(Pipeline *pipeline, Size grid, Size group, bool exact) {
    SimLaunch launch{};
    const NSUInteger g[3] = {grid.width, grid.height, grid.depth};
    const NSUInteger t[3] = {group.width, group.height, group.depth};
    for (int i = 0; i < 3; i++) {
        launch.block[i] = unsigned(t[i]);
        launch.grid[i] = unsigned(exact ? (g[i] + t[i] - 1) / t[i] : g[i]);
        launch.threads[i] = exact ? unsigned(g[i]) : 0;
    }
    launch.warp_size = SIMD_WIDTH;
    launch.cooperates = pipeline->function->library->code->cooperates;
    launch.argument = launch.group_argument = pipeline;
    launch.kernel = [](void *argument) {
        static_cast<Pipeline *>(argument)->function->entry();
    };
    launch.begin_group = [](void *argument) {
        Function *function = static_cast<Pipeline *>(argument)->function;
        function->library->code->poison(function->name);
    };
    return launch;
}

// `exact`: the grid is counted in threads, and groups at its edge are smaller.
void dispatch(Encoder *encoder, Size grid, Size group, bool exact) {
    if (!is_usable(encoder)) return;
    if (!encoder->pipeline) return misuse("dispatch without a pipeline state");
    if (!shape_is_good(grid, group)) return;
    Pipeline *pipeline = encoder->pipeline;
    encoder->commands->kept.push_back(objc_retain(pipeline));
    Bindings bindings = encoder->bindings;  // later changes are for later dispatches
    encoder->commands->work.push_back([=](std::string &message) {
        SimLaunch launch = launch_of(pipeline, grid, group, exact);
        running_bindings = &bindings;
        SimResult result = sim_launch(launch, message);
        std::string stray;
        if (sim_stray_writes(stray) && !result) {
            result = SIM_BAD_ADDRESS;
            message = stray;
        }
        message = "kernel " + pipeline->function->name + ": " + message;
        return result == SIM_OK;
    });
}

void define_encoder() {
    ENCODER = define_class("MTLComputeCommandEncoder", [](Object *self) {
        auto *encoder = static_cast<Encoder *>(self);
        if (encoder->open) misuse("an encoder was released without endEncoding");
        objc_release(encoder->commands);
    });
    DEFINE(ENCODER, "setComputePipelineState:", "v@:@",
           [](Encoder *self, Selector, Pipeline *pipeline) {
               if (is_usable(self)) self->pipeline = pipeline;
           });
    DEFINE(ENCODER, "setBuffer:offset:atIndex:", "v@:@QQ",
           [](Encoder *self, Selector, Buffer *buffer, NSUInteger offset, NSUInteger index) {
               set_buffer(self, buffer, offset, index);
           });
    DEFINE(ENCODER, "setBytes:length:atIndex:", "v@:^vQQ",
           [](Encoder *self, Selector, const char *bytes, NSUInteger size, NSUInteger index) {
               set_bytes(self, bytes, size, index);
           });
    DEFINE(ENCODER, "dispatchThreadgroups:threadsPerThreadgroup:", "v@:{?=QQQ}{?=QQQ}",
           [](Encoder *self, Selector, Size grid, Size group) {
               dispatch(self, grid, group, false);
           });
    DEFINE(ENCODER, "dispatchThreads:threadsPerThreadgroup:", "v@:{?=QQQ}{?=QQQ}",
           [](Encoder *self, Selector, Size grid, Size group) {
               dispatch(self, grid, group, true);
           });
    DEFINE(ENCODER, "endEncoding", "v@:", [](Encoder *self, Selector) {
        if (!is_usable(self)) return;
        self->open = false;
        self->commands->encoding = false;
    });
}

}  // namespace

// The argument `index` of the running kernel.  A reference is read at once, so its size counts.
extern "C" unsigned long sim_metal_argument(unsigned index, unsigned size, unsigned alignment,
                                            unsigned reads_at_once) {
    auto found = running_bindings->find(index);
    static char text[200];
    if (found == running_bindings->end()) {
        snprintf(text, sizeof text, "buffer(%u) is not bound", index);
        sim_fail(text);
    }
    const Binding &binding = found->second;
    if (reinterpret_cast<size_t>(binding.memory) % alignment) {
        snprintf(text, sizeof text, "buffer(%u) is bound at an offset that is not a multiple of %u",
                 index, alignment);
        sim_fail(text);
    }
    if (reads_at_once && binding.size < size) {
        snprintf(text, sizeof text, "buffer(%u) holds %zu bytes, the kernel reads %u", index,
                 binding.size, size);
        sim_fail(text);
    }
    return reinterpret_cast<unsigned long>(binding.memory);
}

void define_commands() {
    QUEUE = define_class("MTLCommandQueue");
    COMMANDS = define_class("MTLCommandBuffer", [](Object *self) {
        auto *commands = static_cast<CommandBuffer *>(self);
        for (Object *object : commands->kept) objc_release(object);
        objc_release(commands->error);
        objc_release(commands->queue);
    });
    DEFINE(QUEUE, "commandBuffer", "@@:", [](Queue *self, Selector) {
        auto *commands = make<CommandBuffer>(COMMANDS);
        commands->queue = self;
        objc_retain(self);
        return objc_autorelease(commands);
    });
    DEFINE(COMMANDS, "computeCommandEncoder", "@@:",
           [](CommandBuffer *self, Selector) { return new_encoder(self); });
    DEFINE(COMMANDS, "commit", "v@:", [](CommandBuffer *self, Selector) { commit(self); });
    DEFINE(COMMANDS, "waitUntilCompleted", "v@:", [](CommandBuffer *self, Selector) {
        if (self->status < COMMITTED) return misuse("waitUntilCompleted before commit");
        if (self->status == COMMITTED) run_pending(self->queue);
    });
    DEFINE(COMMANDS, "status", "Q@:",
           [](CommandBuffer *self, Selector) { return NSUInteger(self->status); });
    DEFINE(COMMANDS, "error", "@@:",
           [](CommandBuffer *self, Selector) -> Object * { return self->error; });
    DEFINE(COMMANDS, "GPUStartTime", "d@:",
           [](CommandBuffer *self, Selector) { return self->start; });
    DEFINE(COMMANDS, "GPUEndTime", "d@:", [](CommandBuffer *self, Selector) { return self->end; });
    define_encoder();
}
