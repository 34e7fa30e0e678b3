// Kernel modules: ELF shared objects that come as bytes.
//
// The symbol table tells what the loader does not: the arrays of group memory (static variables
// inside a kernel, named _ZZ<length><kernel>E...), and whether the kernels wait for each other.
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "engine.h"

namespace {

bool is_one_of(const char *name, const char *a, const char *b) {
    return !strcmp(name, a) || !strcmp(name, b);
}

void read_symbol(SimModule &module, char *base, const Elf64_Shdr *sections,
                 const Elf64_Sym &symbol, const char *name) {
    if (symbol.st_shndx == SHN_UNDEF) {
        if (is_one_of(name, "sim_barrier", "sim_exchange")) module.cooperates = true;
        return;
    }
    if (ELF64_ST_TYPE(symbol.st_info) != STT_OBJECT || strncmp(name, "_ZZ", 3)) return;
    if (symbol.st_shndx >= SHN_LORESERVE || sections[symbol.st_shndx].sh_type != SHT_NOBITS)
        return;
    char *rest;
    long length = strtol(name + 3, &rest, 10);
    if (length <= 0) return;
    module.arrays[std::string(rest, size_t(length))].push_back(
        {base + symbol.st_value, symbol.st_size});
}

void read_symbols(SimModule &module, const char *image) {
    link_map *map;
    dlinfo(module.handle, RTLD_DI_LINKMAP, &map);
    char *base = reinterpret_cast<char *>(map->l_addr);
    auto *header = reinterpret_cast<const Elf64_Ehdr *>(image);
    auto *sections = reinterpret_cast<const Elf64_Shdr *>(image + header->e_shoff);
    for (int i = 0; i < header->e_shnum; i++) {
        const Elf64_Shdr &table = sections[i];
        if (table.sh_type != SHT_SYMTAB) continue;
        const char *names = image + sections[table.sh_link].sh_offset;
        auto *symbols = reinterpret_cast<const Elf64_Sym *>(image + table.sh_offset);
        for (size_t k = 0; k < table.sh_size / sizeof *symbols; k++)
            read_symbol(module, base, sections, symbols[k], names + symbols[k].st_name);
    }
}

}  // namespace

size_t SimModule::group_memory(const std::string &kernel) const {
    size_t total = 0;
    auto found = arrays.find(kernel);
    if (found == arrays.end()) return 0;
    for (const Array &array : found->second) total += (array.size + 15) / 16 * 16;
    return total;
}

void SimModule::poison(const std::string &kernel) const {
    auto found = arrays.find(kernel);
    if (found == arrays.end()) return;
    for (const Array &array : found->second) memset(array.address, 0xff, array.size);
}

// A driver is given an image without its length: the section table is the last thing in it.
size_t sim_image_size(const void *image) {
    auto *header = static_cast<const Elf64_Ehdr *>(image);
    if (memcmp(header->e_ident, ELFMAG, SELFMAG)) return 0;
    return header->e_shoff + size_t(header->e_shnum) * header->e_shentsize;
}

SimModule *sim_open_module(const void *image, size_t size, std::string &message) {
    // A name of its own: the loader would take a second file of the same name for the first.
    const char *folder = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    std::string path = std::string(folder) + "/dlgrad-sim-module-XXXXXX";
    int file = mkstemp(&path[0]);
    if (file < 0) {
        message = "cannot write to " + path;
        return nullptr;
    }
    bool written = write(file, image, size) == ssize_t(size);
    close(file);
    auto *module = new SimModule;
    if (written) module->handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    unlink(path.c_str());
    if (!module->handle) {
        message = written ? dlerror() : "cannot write " + path;
        delete module;
        return nullptr;
    }
    read_symbols(*module, static_cast<const char *>(image));
    return module;
}

void sim_close_module(SimModule *module) {
    dlclose(module->handle);
    delete module;
}
