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

// Where the image of a source is kept, as the system keeps what Metal compiled.
std::string kept_image(const std::string &source) {
    unsigned long hash = 14695981039346656037ul;  // FNV-1a
    for (const char *variable : {"SIM_RACES", "SIM_TRAPS"})
        if (const char *value = getenv(variable)) hash = (hash ^ (*value & 0xff)) * 1099511628211ul;
    for (unsigned char byte : source) hash = (hash ^ byte) * 1099511628211ul;
    const char *folder = getenv("SIM_IMAGES");
    return std::string(folder ? folder : "/tmp") + "/" + std::to_string(hash) + ".metallib";
}

// Compiles a source to `path`, by way of a file of another name; what was said goes to `log`.
bool compile(const std::string &source, const std::string &path, std::string &log) {
    const char *compiler = getenv("SIM_METAL_COMPILER");
    char folder[] = "/tmp/dlgrad-sim-metal-XXXXXX";
    if (!compiler || !mkdtemp(folder)) {
        log = "SIM_METAL_COMPILER names no compiler";
        return false;
    }
    std::string source_path = std::string(folder) + "/program_source";
    std::string part = path + "." + std::to_string(getpid());
    std::ofstream(source_path) << source;
    bool good = run({compiler, source_path, "-o", part}, log);
    unlink(source_path.c_str());
    rmdir(folder);
    return good && rename(part.c_str(), path.c_str()) == 0;
}

// As the real one: with warnings there are both a library and an error.
Object *library_of_source(const std::string &source, Object **error) {
    std::string path = kept_image(source), log;
    bool good = access(path.c_str(), R_OK) == 0 || compile(source, path, log);
    if (!log.empty()) give_error(error, log, good ? COMPILE_WARNED : COMPILE_FAILED);
    return good ? library_of_image(read_file(path), error) : nullptr;
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
