// The fake driver: modules, functions, launches.
#include <dlfcn.h>
#include <elf.h>

#include <cstring>

#include "fake_cuda.h"

namespace {

char *dynamic_memory;  // of the launch that runs

// The values of a launch's arguments, taken when the launch is made, as the driver does.
struct Arguments {
    std::vector<char> bytes;
    std::vector<size_t> offsets;

    std::vector<void *> pointers() {
        std::vector<void *> result;
        for (size_t offset : offsets) result.push_back(bytes.data() + offset);
        return result;
    }
};

size_t align(size_t offset, size_t alignment) {
    return (offset + alignment - 1) / alignment * alignment;
}

std::shared_ptr<Arguments> take_arguments(const KernelTable &table, void **values) {
    auto arguments = std::make_shared<Arguments>();
    for (int i = 0; i < table.count; i++) {
        size_t offset = align(arguments->bytes.size(), table.alignment[i]);
        arguments->bytes.resize(offset + table.size[i]);
        memcpy(arguments->bytes.data() + offset, values[i], table.size[i]);
        arguments->offsets.push_back(offset);
    }
    return arguments;
}

// What a running kernel needs; given through the launch's argument.
struct Running {
    Function *function;
    void **arguments;
    unsigned dynamic_size;
};

bool pointers_are_good(const Function &function, void **arguments) {
    for (int i = 0; i < function.table->count; i++) {
        if (!function.table->is_pointer[i]) continue;
        void *pointer = *static_cast<void **>(arguments[i]);
        if (!pointer || sim_find(pointer).start || is_pinned(pointer, 1)) continue;
        complain(function.name + ": argument " + std::to_string(i) + " is no device pointer");
        return false;
    }
    return true;
}

Result code_of(SimResult result) {
    switch (result) {
        case SIM_OK: return SUCCESS;
        case SIM_BAD_ADDRESS: return ILLEGAL_ADDRESS;
        case SIM_TRAP: return ILLEGAL_INSTRUCTION;
        default: return LAUNCH_FAILED;
    }
}

Result execute(Function *function, SimLaunch launch, Arguments &arguments,
               unsigned dynamic_size) {
    std::vector<void *> pointers = arguments.pointers();
    if (!pointers_are_good(*function, pointers.data())) return ILLEGAL_ADDRESS;
    std::vector<char> dynamic(dynamic_size + 64);
    dynamic_memory = dynamic.data() + 32 - reinterpret_cast<size_t>(dynamic.data()) % 32;
    Running running{function, pointers.data(), dynamic_size};
    launch.argument = launch.group_argument = &running;
    launch.kernel = [](void *argument) {
        auto *kernel = static_cast<Running *>(argument);
        kernel->function->table->call(kernel->arguments);
    };
    launch.begin_group = [](void *argument) {
        auto *kernel = static_cast<Running *>(argument);
        kernel->function->module->code->poison(kernel->function->name);
        memset(dynamic_memory, 0xff, kernel->dynamic_size);
    };
    std::string message;
    SimResult result = sim_launch(launch, message);
    std::string stray;
    bool wrote_outside = sim_stray_writes(stray);
    if (result) complain(function->name + ": " + message);
    if (wrote_outside) complain(function->name + ": " + stray);
    return wrote_outside && !result ? ILLEGAL_ADDRESS : code_of(result);
}

bool shape_is_good(const unsigned grid[3], const unsigned block[3]) {
    for (int i = 0; i < 3; i++)
        if (!grid[i] || !block[i]) return false;
    if (grid[0] > 2147483647u || grid[1] > 65535 || grid[2] > 65535) return false;
    if (block[0] > 1024 || block[1] > 1024 || block[2] > 64) return false;
    return size_t(block[0]) * block[1] * block[2] <= MAX_THREADS;
}

Result check_image(const void *image) {
    if (!sim_image_size(image)) return memchr(image, 0, 16) ? INVALID_IMAGE : INVALID_PTX;
    const int CUDA_MACHINE = 190;
    switch (static_cast<const Elf64_Ehdr *>(image)->e_machine) {
        case CUDA_MACHINE: return NO_BINARY_FOR_GPU;
        case EM_X86_64:
        case EM_AARCH64: return SUCCESS;
        default: return INVALID_IMAGE;
    }
}

}  // namespace

extern "C" void *sim_dynamic_shared() {
    return dynamic_memory;
}

API cuModuleLoadData(Module **module, const void *image) {
    NEEDS_CONTEXT;
    if (Result result = check_image(image)) return result;
    std::string message;
    SimModule *code = sim_open_module(image, sim_image_size(image), message);
    if (!code) {
        complain(message);
        return INVALID_IMAGE;
    }
    *module = new Module{code, {}};
    driver.modules.insert(*module);
    return SUCCESS;
}

API cuModuleUnload(Module *module) {
    NEEDS_CONTEXT;
    if (!driver.modules.count(module)) return INVALID_HANDLE;
    run_everything();
    driver.modules.erase(module);
    sim_close_module(module->code);
    delete module;
    return SUCCESS;
}

API cuModuleGetFunction(Function **function, Module *module, const char *name) {
    NEEDS_CONTEXT;
    if (!driver.modules.count(module)) return INVALID_HANDLE;
    std::string symbol = std::string("sim_kernel_") + name;
    auto *table = static_cast<const KernelTable *>(dlsym(module->code->handle, symbol.c_str()));
    if (!table) return NOT_FOUND;
    module->functions.emplace_back(new Function{
        module, name, table, module->code->group_memory(name), STATIC_SHARED});
    *function = module->functions.back().get();
    return SUCCESS;
}

API cuFuncGetAttribute(int *value, int attribute, Function *function) {
    NEEDS_CONTEXT;
    switch (attribute) {
        case 0: *value = int(MAX_THREADS); break;
        case 1: *value = int(function->static_memory); break;
        case 8: *value = int(function->dynamic_limit); break;
        default: *value = 0;
    }
    return SUCCESS;
}

API cuFuncSetAttribute(Function *function, int attribute, int value) {
    NEEDS_CONTEXT;
    if (attribute != 8) return SUCCESS;
    if (value < 0 || function->static_memory + size_t(value) > OPT_IN_SHARED)
        return INVALID_VALUE;
    function->dynamic_limit = size_t(value);
    return SUCCESS;
}

API cuFuncGetParamInfo(Function *function, size_t index, size_t *offset, size_t *size) {
    NEEDS_CONTEXT;
    const KernelTable &table = *function->table;
    if (index >= size_t(table.count)) return INVALID_VALUE;
    *offset = 0;
    for (size_t i = 0; i <= index; i++) {
        *offset = align(*offset, table.alignment[i]);
        if (i < index) *offset += table.size[i];
    }
    *size = table.size[index];
    return SUCCESS;
}

API cuLaunchKernel(Function *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                   unsigned block_x, unsigned block_y, unsigned block_z, unsigned dynamic_size,
                   void *handle, void **arguments, void **extra) {
    NEEDS_CONTEXT;
    Stream *stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    SimLaunch launch{};
    unsigned grid[3] = {grid_x, grid_y, grid_z}, block[3] = {block_x, block_y, block_z};
    if (!shape_is_good(grid, block)) return INVALID_VALUE;
    memcpy(launch.grid, grid, sizeof grid);
    memcpy(launch.block, block, sizeof block);
    launch.warp_size = WARP;
    launch.cooperates = function->module->code->cooperates;
    bool over_default = function->static_memory + dynamic_size > STATIC_SHARED &&
                        function->dynamic_limit <= STATIC_SHARED;
    if (dynamic_size > function->dynamic_limit || over_default) return INVALID_VALUE;
    if (extra || (!arguments && function->table->count)) return INVALID_VALUE;
    auto values = take_arguments(*function->table, arguments);
    return push(stream, [=] { return execute(function, launch, *values, dynamic_size); });
}
