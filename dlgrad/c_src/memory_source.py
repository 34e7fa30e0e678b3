"""The memory of the run time in C: blocks that are kept when they are given back.

Floor 4.  A part of the text that `runtime_source.py` puts together.
"""

MEMORY = r"""
/* Memory -----------------------------------------------------------------------------------

   Blocks that are given back stay here, in a list for each size class, because fresh pages
   cost more than the arithmetic that fills them.  A class is a power of two or one of the
   seven sizes between two of them, so a block is at most an eighth larger than asked for.
   What is in use plus what is kept never exceeds the highest use so far by more than
   DG_SPARE: beyond that, the classes that were not asked for longest are emptied. */

enum { DG_STEPS = 8, DG_CLASSES = 64 * DG_STEPS, DG_ALIGNMENT = 64 };
#define DG_HUGE_PAGE ((size_t)2 << 20)
#define DG_SPARE ((int64_t)256 << 20)

static atomic_int dg_closed; /* the process is ending: nothing runs any more */

struct dg_block {
    struct dg_block *next;
};

static pthread_mutex_t dg_memory_lock = PTHREAD_MUTEX_INITIALIZER;
static struct dg_block *dg_kept[DG_CLASSES];
static uint64_t dg_last_use[DG_CLASSES];
static uint64_t dg_clock;
static int64_t dg_live_bytes, dg_kept_bytes, dg_peak_bytes;

/* The class of a request, and the size of the blocks of a class. */
static int dg_class_of(size_t nbytes) {
    if (nbytes < DG_ALIGNMENT * DG_STEPS)
        return (int)((nbytes + DG_ALIGNMENT - 1) / DG_ALIGNMENT);
    int power = 63 - __builtin_clzll((unsigned long long)nbytes);
    size_t step = ((size_t)1 << power) / DG_STEPS;
    size_t above = (nbytes - ((size_t)1 << power) + step - 1) / step;
    return power * DG_STEPS + (int)above;
}

static size_t dg_class_size(int class) {
    int power = class / DG_STEPS;
    if (power < 9) /* below 512 bytes: multiples of 64, numbered 0 to 8 */
        return (size_t)class * DG_ALIGNMENT;
    return ((size_t)1 << power) + (class % DG_STEPS) * (((size_t)1 << power) / DG_STEPS);
}

/* Blocks of a huge page or more lie on its boundary and are mapped by themselves. */
static void *dg_map(size_t size) {
    if (size < DG_HUGE_PAGE) {
        void *block = NULL;
        return posix_memalign(&block, DG_ALIGNMENT, size) ? NULL : block;
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (size + page - 1) / page * page + DG_HUGE_PAGE;
    char *start = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        return NULL;
    char *block = (char *)(((uintptr_t)start + DG_HUGE_PAGE - 1) & ~(uintptr_t)(DG_HUGE_PAGE - 1));
    char *end = block + (room - DG_HUGE_PAGE);
    if (block > start)
        munmap(start, (size_t)(block - start));
    if (end < start + room)
        munmap(end, (size_t)(start + room - end));
#ifdef MADV_HUGEPAGE
    madvise(block, (size_t)(end - block), MADV_HUGEPAGE);
#endif
    return block;
}

static void dg_unmap(void *block, size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (size < DG_HUGE_PAGE)
        free(block);
    else
        munmap(block, (size + page - 1) / page * page);
}

/* Empties kept classes, the longest unused first, until `limit` bytes are kept. */
static void dg_trim_to(int64_t limit) {
    while (dg_kept_bytes > limit) {
        int oldest = -1;
        for (int class = 0; class < DG_CLASSES; class++)
            if (dg_kept[class] && (oldest < 0 || dg_last_use[class] < dg_last_use[oldest]))
                oldest = class;
        if (oldest < 0)
            return;
        while (dg_kept[oldest]) {
            struct dg_block *block = dg_kept[oldest];
            dg_kept[oldest] = block->next;
            dg_kept_bytes -= (int64_t)dg_class_size(oldest);
            dg_unmap(block, dg_class_size(oldest));
        }
    }
}

/* Memory of at least `nbytes`, on a boundary of 64 bytes; NULL where there is none. */
void *dg_allocate(int64_t nbytes) {
    if (nbytes <= 0 || nbytes > (int64_t)1 << 60)
        return NULL;
    int class = dg_class_of((size_t)nbytes);
    size_t size = dg_class_size(class);
    pthread_mutex_lock(&dg_memory_lock);
    struct dg_block *block = dg_kept[class];
    dg_last_use[class] = ++dg_clock;
    if (block) {
        dg_kept[class] = block->next;
        dg_kept_bytes -= (int64_t)size;
    } else {
        int64_t needed = dg_live_bytes + (int64_t)size;
        dg_trim_to((dg_peak_bytes > needed ? dg_peak_bytes - needed : 0) + DG_SPARE);
        block = dg_map(size);
        if (!block) {
            dg_trim_to(0);
            block = dg_map(size);
        }
    }
    if (block) {
        dg_live_bytes += (int64_t)size;
        if (dg_live_bytes > dg_peak_bytes)
            dg_peak_bytes = dg_live_bytes;
    }
    pthread_mutex_unlock(&dg_memory_lock);
    return block;
}

/* Takes back a block that was asked for with `nbytes`; once the process is ending, blocks stay
   where they are.  Returns 0: what Python calls directly returns an integer. */
int64_t dg_free(void *address, int64_t nbytes) {
    if (!address || atomic_load(&dg_closed))
        return 0;
    struct dg_block *block = address;
    int class = dg_class_of((size_t)nbytes);
    pthread_mutex_lock(&dg_memory_lock);
    block->next = dg_kept[class];
    dg_kept[class] = block;
    dg_kept_bytes += (int64_t)dg_class_size(class);
    dg_live_bytes -= (int64_t)dg_class_size(class);
    pthread_mutex_unlock(&dg_memory_lock);
    return 0;
}

/* Gives all kept blocks back to the system. */
void dg_trim(void) {
    pthread_mutex_lock(&dg_memory_lock);
    dg_trim_to(0);
    pthread_mutex_unlock(&dg_memory_lock);
}

/* Writes the bytes in use, kept, and the highest use so far; then that starts anew if asked. */
void dg_memory(int64_t *counts, int64_t reset_peak) {
    pthread_mutex_lock(&dg_memory_lock);
    counts[0] = dg_live_bytes;
    counts[1] = dg_kept_bytes;
    counts[2] = dg_peak_bytes;
    if (reset_peak)
        dg_peak_bytes = dg_live_bytes;
    pthread_mutex_unlock(&dg_memory_lock);
}
"""
