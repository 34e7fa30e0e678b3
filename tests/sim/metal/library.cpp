// The fake Metal framework: libraries, functions, pipelines, and the compiler behind them.
#include <dlfcn.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "framework.h"

extern char **environ;

namespace {

const long COMPILE_FAILED = 3, COMPILE_WARNED = 4, NOT_A_LIBRARY = 1;

void give_error(Object **place, const std::string &text, long code) {
    if (place) *place = objc_autorelease(make_error(text, code));
}

std::string read_file(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream content;
    content << file.rdbuf();
    return content.str();
}

// Runs a command; its output is appended to `output`.
bool run(std::vector<std::string> command, std::string &output) {
    int ends[2];
    if (pipe(ends)) return false;
    std::vector<char *> arguments;
    for (std::string &argument : command) arguments.push_back(&argument[0]);
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    pid_t child;
    int failed = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    char part[4096];
    for (ssize_t count; (count = read(ends[0], part, sizeof part)) > 0;)
        output.append(part, size_t(count));
    close(ends[0]);
    if (failed) {
        output += "cannot start " + command[0];
        return false;
    }
    int status;
    waitpid(child, &status, 0);
    return status == 0;
}

Object *library_of_image(const std::string &image, Object **error) {
    size_t size = image.size() > 64 ? sim_image_size(image.data()) : 0;
    std::string message = "this is no Metal library";
    SimModule *code = size && size <= image.size()
                          ? sim_open_module(image.data(), image.size(), message)
                          : nullptr;
    if (!code) {
        give_error(error, message, NOT_A_LIBRARY);
        return nullptr;
    }
    auto *library = make<Library>(LIBRARY);
    library->code = code;
    return library;
}

// As the real one: with warnings there are both a library and an error.
Object *library_of_source(const std::string &source, Object **error) {
    const char *compiler = getenv("SIM_METAL_COMPILER");
    char folder[] = "/tmp/dlgrad-sim-metal-XXXXXX";
    if (!compiler || !mkdtemp(folder)) {
        give_error(error, "SIM_METAL_COMPILER names no compiler", COMPILE_FAILED);
        return nullptr;
    }
    std::string source_path = std::string(folder) + "/program_source";
    std::string image_path = source_path + ".so", log;
    std::ofstream(source_path) << source;
    bool good = run({compiler, source_path, "-o", image_path}, log);
    std::string image = read_file(image_path);
    unlink(source_path.c_str());
    unlink(image_path.c_str());
    rmdir(folder);
    if (!log.empty()) give_error(error, log, good ? COMPILE_WARNED : COMPILE_FAILED);
    return good ? library_of_image(image, error) : nullptr;
}

Object *new_function(Library *library, const std::string &name) {
    void *entry = dlsym(library->code->handle, ("sim_call_" + name).c_str());
    if (!entry) return nullptr;
    auto *function = make<Function>(FUNCTION);
    function->library = library;
    objc_retain(library);
    function->name = name;
    function->entry = reinterpret_cast<void (*)()>(entry);
    return function;
}

NSUInteger group_memory(const Function &function) {
    return function.library->code->group_memory(function.name);
}

Object *new_pipeline(Function *function, Object **error) {
    NSUInteger size = group_memory(*function);
    if (size > GROUP_MEMORY) {
        give_error(error,
                   "Threadgroup memory size (" + std::to_string(size) +
                       ") exceeds the maximum threadgroup memory allowed (" +
                       std::to_string(GROUP_MEMORY) + ")",
                   COMPILE_FAILED);
        return nullptr;
    }
    auto *pipeline = make<Pipeline>(PIPELINE);
    pipeline->function = function;
    objc_retain(function);
    return pipeline;
}

}  // namespace

// The limit of a pipeline; below 1024 where the kernel takes many registers, so tests lower it.
NSUInteger max_threads() {
    const char *limit = getenv("SIM_MAX_THREADS");
    return limit ? NSUInteger(atoi(limit)) : 1024;
}

void define_libraries(Class *device) {
    OPTIONS = define_class("MTLCompileOptions");
    define_method(OPTIONS, "new", "@@:",
                  reinterpret_cast<void *>(
                      +[](Object *, Selector) -> Object * { return make<CompileOptions>(OPTIONS); }),
                  true);
    DEFINE(OPTIONS, "setFastMathEnabled:", "v@:B",
           [](CompileOptions *self, Selector, bool on) { self->fast_math = on; });

    LIBRARY = define_class("MTLLibrary", [](Object *self) {
        sim_close_module(static_cast<Library *>(self)->code);
    });
    FUNCTION = define_class("MTLFunction", [](Object *self) {
        objc_release(static_cast<Function *>(self)->library);
    });
    PIPELINE = define_class("MTLComputePipelineState", [](Object *self) {
        objc_release(static_cast<Pipeline *>(self)->function);
    });

    DEFINE(device, "newLibraryWithSource:options:error:", "@@:@@^@",
           [](Object *, Selector, String *source, CompileOptions *options, Object **error) {
               if (!options || options->fast_math)
                   misuse("a library is compiled with fast mathematics");
               return library_of_source(source->text, error);
           });
    DEFINE(device, "newLibraryWithURL:error:", "@@:@^@",
           [](Object *, Selector, String *url, Object **error) {
               return library_of_image(read_file(url->text), error);
           });
    DEFINE(LIBRARY, "newFunctionWithName:", "@@:@",
           [](Library *self, Selector, String *name) { return new_function(self, name->text); });
    DEFINE(device, "newComputePipelineStateWithFunction:error:", "@@:@^@",
           [](Object *, Selector, Function *function, Object **error) {
               return new_pipeline(function, error);
           });
    DEFINE(PIPELINE, "maxTotalThreadsPerThreadgroup", "Q@:",
           [](Pipeline *, Selector) { return max_threads(); });
    DEFINE(PIPELINE, "threadExecutionWidth", "Q@:",
           [](Pipeline *, Selector) { return NSUInteger(SIMD_WIDTH); });
    DEFINE(PIPELINE, "staticThreadgroupMemoryLength", "Q@:",
           [](Pipeline *self, Selector) { return group_memory(*self->function); });
}
