// Device memory that shows every stray access.
//
// A block ends (to 16 bytes) at an inaccessible guard, and another guard lies in front of it.
// The few bytes between the block and the guards hold a pattern that is checked after each
// launch.  New memory is 0xff, which is NaN as a float, so that nothing relies on zeros.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "engine.h"

namespace {

const size_t GUARD = 1 << 20;  // wide: an index that is far off must not jump over it
const size_t PAGE = 4096;
const size_t ALIGNMENT = 16;
const size_t POISONED = 1 << 20;  // at most; a big block stays untouched behind that
const char CANARY = char(0xA5);

struct Block {
    char *mapping;
    size_t mapping_size;
    char *start;
    size_t size;
    char *body;         // the first accessible byte
    char *body_end;     // behind the last one
};

std::map<char *, Block> blocks;  // by the start of the mapping
std::recursive_mutex lock;
using Hold = std::lock_guard<std::recursive_mutex>;

size_t round_up(size_t size, size_t step) {
    return (size + step - 1) / step * step;
}

Block *block_near(const void *address) {
    auto next = blocks.upper_bound(static_cast<char *>(const_cast<void *>(address)));
    if (next == blocks.begin()) return nullptr;
    Block &block = std::prev(next)->second;
    return address < block.mapping + block.mapping_size ? &block : nullptr;
}

void fill_canaries(const Block &block) {
    std::fill(block.body, block.start, CANARY);
    std::fill(block.start + block.size, block.body_end, CANARY);
}

}  // namespace

void *sim_allocate(size_t size) {
    Hold hold(lock);
    size_t rounded = round_up(size, ALIGNMENT);
    size_t pages = std::max(round_up(rounded, PAGE), PAGE);
    size_t mapping_size = pages + 2 * GUARD;
    void *memory = mmap(nullptr, mapping_size, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    char *body = static_cast<char *>(memory) + GUARD;
    if (mprotect(body, pages, PROT_READ | PROT_WRITE)) {
        munmap(memory, mapping_size);
        return nullptr;
    }
    Block block{static_cast<char *>(memory), mapping_size, body + pages - rounded, size,
                body, body + pages};
    memset(block.start, 0xff, std::min(size, POISONED));
    fill_canaries(block);
    blocks[block.mapping] = block;
    return block.start;
}

bool sim_free(void *address) {
    Hold hold(lock);
    Block *block = block_near(address);
    if (!block || block->start != address) return false;
    char *mapping = block->mapping;
    munmap(mapping, block->mapping_size);
    blocks.erase(mapping);
    return true;
}

size_t sim_blocks_alive() {
    Hold hold(lock);
    return blocks.size();
}

// Without the lock while a kernel runs: the fault handler calls it, and must not wait for a
// thread that it interrupted.
SimPlace sim_find(const void *address) {
    std::unique_lock<std::recursive_mutex> hold(lock, std::defer_lock);
    if (!sim_current) hold.lock();
    Block *block = block_near(address);
    if (!block) return {};
    return {block->start, static_cast<const char *>(address) - block->start, block->size};
}

bool sim_holds(const void *address, size_t size) {
    SimPlace place = sim_find(address);
    return place.start && place.offset >= 0 && size_t(place.offset) + size <= place.size;
}

bool sim_stray_writes(std::string &message) {
    Hold hold(lock);
    bool found = false;
    for (auto &entry : blocks) {
        const Block &block = entry.second;
        char *end = block.start + block.size;
        char *stray = std::find_if(block.body, block.start, [](char c) { return c != CANARY; });
        if (stray == block.start)
            stray = std::find_if(end, block.body_end, [](char c) { return c != CANARY; });
        if (stray == block.body_end) continue;
        if (!found)
            message = "a kernel wrote to byte " + std::to_string(stray - block.start) + " of a " +
                      std::to_string(block.size) + "-byte device buffer";
        found = true;
        fill_canaries(block);
    }
    return found;
}
