// A fake NVRTC: the same entry points, which run the simulated nvcc ($SIM_NVCC).
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>

enum { SUCCESS = 0, INVALID_OPTION = 5, COMPILATION_FAILED = 6 };

struct Program {
    std::string source, log, image;
};

namespace {

std::string read_everything(FILE *file) {
    std::string result;
    char part[4096];
    size_t count;
    while ((count = fread(part, 1, sizeof part, file)) > 0) result.append(part, count);
    return result;
}

int give(const std::string &text, char *to) {
    memcpy(to, text.data(), text.size());
    return SUCCESS;
}

}  // namespace

extern "C" {

int nvrtcVersion(int *major, int *minor) {
    *major = 13;
    *minor = 0;
    return SUCCESS;
}

const char *nvrtcGetErrorString(int error) {
    switch (error) {
        case SUCCESS: return "NVRTC_SUCCESS";
        case INVALID_OPTION: return "NVRTC_ERROR_INVALID_OPTION";
        case COMPILATION_FAILED: return "NVRTC_ERROR_COMPILATION";
        default: return "NVRTC_ERROR unknown";
    }
}

int nvrtcCreateProgram(Program **program, const char *source, const char *, int,
                       const char *const *, const char *const *) {
    *program = new Program{source, "", ""};
    return SUCCESS;
}

int nvrtcDestroyProgram(Program **program) {
    delete *program;
    *program = nullptr;
    return SUCCESS;
}

int nvrtcCompileProgram(Program *program, int count, const char *const *options) {
    const char *compiler = getenv("SIM_NVCC");
    char folder[] = "/tmp/dlgrad-sim-nvrtc-XXXXXX";
    if (!compiler || !mkdtemp(folder)) return COMPILATION_FAILED;
    std::string source = std::string(folder) + "/kernel.cu", image = source + "bin";
    std::string command = std::string(compiler) + " -cubin";
    for (int i = 0; i < count; i++) command += std::string(" '") + options[i] + "'";
    command += " -o " + image + " " + source + " 2>&1";

    FILE *file = fopen(source.c_str(), "w");
    fwrite(program->source.data(), 1, program->source.size(), file);
    fclose(file);
    FILE *output = popen(command.c_str(), "r");
    program->log = read_everything(output);
    int status = pclose(output);
    if (!status && (file = fopen(image.c_str(), "rb"))) {
        program->image = read_everything(file);
        fclose(file);
    }
    unlink(source.c_str());
    unlink(image.c_str());
    rmdir(folder);
    if (!status) return SUCCESS;
    bool bad_option = program->log.find("nvcc fatal") != std::string::npos;
    return bad_option ? INVALID_OPTION : COMPILATION_FAILED;
}

int nvrtcGetProgramLogSize(Program *program, size_t *size) {
    *size = program->log.size() + 1;
    return SUCCESS;
}

int nvrtcGetProgramLog(Program *program, char *log) {
    log[program->log.size()] = 0;
    return give(program->log, log);
}

int nvrtcGetCUBINSize(Program *program, size_t *size) {
    *size = program->image.size();
    return SUCCESS;
}

int nvrtcGetCUBIN(Program *program, char *image) {
    return give(program->image, image);
}
}
