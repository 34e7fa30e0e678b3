"""The run time in C: memory, threads, and the loop that walks a sequence of launches.

Floor 4.  Compiled once like a kernel.  Kernels know nothing of it: it calls them.

Python sees: `dg_allocate`, `dg_free`, `dg_trim`, `dg_memory` for memory, `dg_run` for a
sequence, `dg_hold`, `dg_release`, `dg_after_fork` around a fork, `dg_shutdown` at the end.
"""

from dlgrad.c_src.dialect import C
from dlgrad.c_src.direct_source import DIRECT
from dlgrad.c_src.memory_source import MEMORY
from dlgrad.c_src.scratch_source import SCRATCH

RUNTIME_FLAGS = ("-pthread",)

HEAD = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* A kernel does the part [begin, end) of its parallel range. */
typedef void (*dg_kernel)(void *const *buffers, const int64_t *sizes, const double *scalars,
                          int64_t begin, int64_t end);

static double dg_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

/* Tells the processor that this is a waiting loop. */
static inline void dg_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield");
#else
    __asm__ volatile("" ::: "memory");
#endif
}
"""

THREADS = r"""
/* Threads ----------------------------------------------------------------------------------

   A task is a kernel call cut into units.  The caller opens a task, works on it like any
   helper, and closes it when no unit is left; it never waits for a helper that has not come.
   A helper first counts itself in and then looks again whether the task is still open, so
   that the caller, who closes first and then looks at the count, cannot miss it. */

enum { DG_MOST_HELPERS = 1023 };
#define DG_SPIN_SECONDS 30e-6   /* looks for work again and again */
#define DG_YIELD_SECONDS 1e-3   /* does so, but lets others have the processor if they want it */
#define DG_SECONDS_PER_COST 1e-11
#define DG_LONGEST_WAKE 50e-6   /* what takes longer was no waking, but another program's turn */
#define DG_STACK_BYTES ((size_t)4 << 20)

struct dg_task {
    dg_kernel kernel;
    void *const *buffers;
    const int64_t *sizes;
    const double *scalars;
    int64_t work;      /* length of the parallel range */
    int64_t grain;     /* part of the range that makes a unit */
    int64_t units;
    int64_t join;      /* whether one call may do several units that follow each other */
    int64_t threads;   /* how many may take part, the caller included */
};

static struct dg_task dg_current;
static atomic_int_fast64_t dg_next_unit;
static atomic_int_fast64_t dg_inside;        /* helpers that are counted in */
static atomic_uint_fast64_t dg_generation;   /* odd while a task is open */
static atomic_int_fast64_t dg_sleepers;
static atomic_int dg_stopping;

static pthread_mutex_t dg_team_lock = PTHREAD_MUTEX_INITIALIZER; /* one task at a time */
static pthread_mutex_t dg_sleep_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t dg_wake = PTHREAD_COND_INITIALIZER;
static pthread_t dg_helpers[DG_MOST_HELPERS];
static int64_t dg_helper_count;
static double dg_wake_seconds = 5e-6;  /* what it costs the caller to wake helpers, as measured */

/* Does the units [first, last).  Where units may not be joined each is a call of its own, as
   with one thread, so that every element is computed by the same instructions always. */
static void dg_do_units(const struct dg_task *task, int64_t first, int64_t last) {
    int64_t stride = task->join ? last - first : 1;
    for (int64_t unit = first; unit < last; unit += stride) {
        int64_t begin = unit * task->grain;
        int64_t end = (unit + stride) * task->grain;
        task->kernel(task->buffers, task->sizes, task->scalars, begin,
                     end < task->work ? end : task->work);
    }
}

/* Takes units until none is left: many at once in the beginning, single ones at the end.
   Where one call does several units at less than the price of several calls (a matmul packs
   its operands once), every thread at first takes its whole share, and only what a thread
   that came late leaves is cut finer. */
static void dg_take_units(const struct dg_task *task) {
    for (int64_t taken = 0;; taken++) {
        int64_t first = atomic_load_explicit(&dg_next_unit, memory_order_relaxed);
        int64_t count;
        do {
            if (first >= task->units)
                return;
            if (task->join && taken == 0)
                count = (task->units + task->threads - 1) / task->threads;
            else
                count = (task->units - first) / ((task->join ? 1 : 2) * task->threads);
            if (task->join && count < task->units / (8 * task->threads))
                count = task->units / (8 * task->threads);
            if (count < 1)
                count = 1;
            if (count > task->units - first)
                count = task->units - first;
        } while (!atomic_compare_exchange_weak(&dg_next_unit, &first, first + count));
        dg_do_units(task, first, first + count);
    }
}

static void dg_sleep_until_open(uint64_t seen) {
    pthread_mutex_lock(&dg_sleep_lock);
    atomic_fetch_add(&dg_sleepers, 1);
    while (!atomic_load(&dg_stopping)) {
        uint64_t generation = atomic_load(&dg_generation);
        if (generation != seen && (generation & 1))
            break;
        pthread_cond_wait(&dg_wake, &dg_sleep_lock);
    }
    atomic_fetch_sub(&dg_sleepers, 1);
    pthread_mutex_unlock(&dg_sleep_lock);
}

/* Waits for an open task, awake; returns the generation seen last. */
static uint64_t dg_spin_until_open(uint64_t seen) {
    double started = dg_now();
    for (;;) {
        uint64_t generation = atomic_load(&dg_generation);
        if ((generation != seen && (generation & 1)) || atomic_load(&dg_stopping))
            return generation;
        double waited = dg_now() - started;
        if (waited > DG_YIELD_SECONDS)
            return generation;
        if (waited > DG_SPIN_SECONDS)
            sched_yield();
        else
            for (int i = 0; i < 16; i++)
                dg_pause();
    }
}

static void *dg_help(void *argument) {
    int64_t number = (int64_t)(intptr_t)argument; /* the caller is thread 0 */
    uint64_t seen = 0;
    while (!atomic_load(&dg_stopping)) {
        uint64_t generation = dg_spin_until_open(seen);
        if (generation == seen || !(generation & 1)) {
            dg_sleep_until_open(seen);
            continue;
        }
        atomic_fetch_add(&dg_inside, 1);
        if (atomic_load(&dg_generation) == generation && number < dg_current.threads)
            dg_take_units(&dg_current);
        atomic_fetch_sub(&dg_inside, 1);
        seen = generation;
    }
    return NULL;
}

/* Makes sure that there are helpers for `threads` threads, as far as the system gives them. */
static void dg_start_helpers(int64_t threads) {
    sigset_t all, before;
    pthread_attr_t attributes;
    if (threads - 1 <= dg_helper_count || pthread_attr_init(&attributes))
        return;
    pthread_attr_setstacksize(&attributes, DG_STACK_BYTES);
    sigfillset(&all); /* signals are for Python's threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (dg_helper_count < threads - 1 && dg_helper_count < DG_MOST_HELPERS) {
        void *number = (void *)(intptr_t)(dg_helper_count + 1);
        if (pthread_create(&dg_helpers[dg_helper_count], &attributes, dg_help, number))
            break;
        dg_helper_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

/* Wakes sleeping helpers where the half of the work they may take is worth the trouble.  How
   long that takes is very different on a machine of one's own and on a rented virtual one. */
static void dg_wake_helpers(int64_t cost) {
    if (!atomic_load(&dg_sleepers))
        return;
    if (cost * DG_SECONDS_PER_COST / 2 < dg_wake_seconds) {
        dg_wake_seconds *= 0.99; /* what was found out on a busy machine does not last */
        return;
    }
    double started = dg_now();
    pthread_mutex_lock(&dg_sleep_lock);
    pthread_cond_broadcast(&dg_wake);
    pthread_mutex_unlock(&dg_sleep_lock);
    double took = dg_now() - started;
    if (took > DG_LONGEST_WAKE)
        took = DG_LONGEST_WAKE;
    dg_wake_seconds += (took - dg_wake_seconds) / 4;
}

/* Does a task with helpers.  The caller holds dg_team_lock. */
static void dg_do_together(const struct dg_task *task, int64_t cost) {
    dg_start_helpers(task->threads);
    dg_current = *task;
    atomic_store(&dg_next_unit, 0);
    uint64_t generation = atomic_fetch_add(&dg_generation, 1) + 1;
    dg_wake_helpers(cost);
    dg_take_units(&dg_current);
    atomic_store(&dg_generation, generation + 1);
    for (int64_t i = 0; atomic_load(&dg_inside); i++) {
        if (i < 4096)
            dg_pause();
        else
            sched_yield(); /* a helper lost its processor to somebody else */
    }
}
"""

SEQUENCES = r"""
/* Sequences --------------------------------------------------------------------------------

   A record is one launch.  Its buffers are named by slot and offset, its sizes are fixed; a
   scalar is its own or, with a slot of 0 or more, one that comes with the run.  Behind the
   addresses of its buffers a kernel finds that of a `dg_scratch`. */

struct dg_record {
    dg_kernel kernel;
    const int64_t *sizes;
    const double *scalars;
    const int64_t *slots;
    const int64_t *offsets;       /* in bytes */
    const int64_t *scalar_slots;  /* NULL where all scalars are its own */
    int64_t buffer_count;
    int64_t scalar_count;
    int64_t work;
    int64_t grain;
    int64_t units;
    int64_t join;
    int64_t cost;
};

enum { DG_SMALL = 64 };

static void dg_wait(void) {
    for (int i = 0; i < 16; i++)
        dg_pause();
    sched_yield();
}

/* Scratch memory is the C library's, which fits blocks of many sizes into the same room. */
static void *dg_lend(int64_t nbytes) {
    void *block = NULL;
    return posix_memalign(&block, DG_ALIGNMENT, (size_t)nbytes) ? NULL : block;
}

/* Returns whether a kernel found no memory. */
static int dg_launch(const struct dg_record *record, void *const *slots, const double *scalars,
                     int64_t threads, void **buffers, double *values) {
    struct dg_scratch scratch = {dg_lend, free, dg_wait, NULL, 0};
    for (int64_t i = 0; i < record->buffer_count; i++)
        buffers[i] = (char *)slots[record->slots[i]] + record->offsets[i];
    buffers[record->buffer_count] = &scratch;
    const double *used = record->scalars;
    if (record->scalar_slots) {
        used = values;
        for (int64_t i = 0; i < record->scalar_count; i++) {
            int64_t slot = record->scalar_slots[i];
            values[i] = slot < 0 ? record->scalars[i] : scalars[slot];
        }
    }
    struct dg_task task = {
        record->kernel, buffers, record->sizes, used, record->work,
        record->grain, record->units, record->join, threads,
    };
    if (task.threads > task.units)
        task.threads = task.units;
    if (task.threads > 1 && pthread_mutex_trylock(&dg_team_lock) == 0) {
        dg_do_together(&task, record->cost);
        pthread_mutex_unlock(&dg_team_lock);
    } else {
        /* One thread is enough, or another Python thread has the helpers. */
        dg_do_units(&task, 0, task.units);
    }
    free(scratch.shared);
    return scratch.failed;
}

/* Runs records one after another.  `times`, if not NULL, takes the seconds of each.  Returns 0,
   or 1 where memory could not be had: for the addresses of an unusually wide kernel, or for
   what a kernel keeps while it runs. */
int64_t dg_run(const struct dg_record *records, int64_t count, void *const *slots,
               const double *scalars, int64_t threads, double *times) {
    void *few_buffers[DG_SMALL + 1];
    double few_values[DG_SMALL];
    for (int64_t i = 0; i < count; i++) {
        const struct dg_record *record = &records[i];
        void **buffers = few_buffers;
        double *values = few_values;
        if (record->buffer_count > DG_SMALL)
            buffers = malloc(sizeof(void *) * ((size_t)record->buffer_count + 1));
        if (record->scalar_count > DG_SMALL)
            values = malloc(sizeof(double) * (size_t)record->scalar_count);
        double started = times ? dg_now() : 0;
        int failed = !buffers || !values;
        if (!failed && record->units > 0)
            failed = dg_launch(record, slots, scalars, threads, buffers, values);
        if (times)
            times[i] = dg_now() - started;
        if (buffers != few_buffers)
            free(buffers);
        if (values != few_values)
            free(values);
        if (failed)
            return 1;
    }
    return 0;
}

/* Several calls of one kernel as one, so that threads share them all: the update of every
   parameter of a model is such a call.  `sizes` holds the kernel, the number of calls, and a
   `dg_part` for each; buffers and scalars are those of all calls, one after the other.  The
   parallel range counts units, each of which belongs to one call. */
struct dg_part {
    int64_t first_unit;
    int64_t first_buffer;
    int64_t first_scalar;
    const int64_t *sizes;
    int64_t work;
    int64_t grain;
};

void dg_parts(void *const *buffers, const int64_t *sizes, const double *scalars, int64_t begin,
              int64_t end) {
    dg_kernel kernel = (dg_kernel)(intptr_t)sizes[0];
    int64_t count = sizes[1];
    const struct dg_part *part = (const struct dg_part *)(sizes + 2);
    const struct dg_part *last = part + count - 1;
    for (int64_t unit = begin; unit < end; unit++) {
        while (part < last && part[1].first_unit <= unit)
            part++;
        int64_t first = (unit - part->first_unit) * part->grain;
        int64_t stop = first + part->grain;
        kernel(buffers + part->first_buffer, part->sizes, scalars + part->first_scalar, first,
               stop < part->work ? stop : part->work);
    }
}

/* The end: helpers stop and are joined, kept memory goes back.  Blocks in use stay, because
   somebody may still look at them. */
void dg_shutdown(void) {
    atomic_store(&dg_closed, 1);
    pthread_mutex_lock(&dg_team_lock); /* another thread's task comes to its end first */
    pthread_mutex_lock(&dg_sleep_lock);
    atomic_store(&dg_stopping, 1);
    pthread_cond_broadcast(&dg_wake);
    pthread_mutex_unlock(&dg_sleep_lock);
    for (int64_t i = 0; i < dg_helper_count; i++)
        pthread_join(dg_helpers[i], NULL);
    dg_helper_count = 0;
    atomic_store(&dg_stopping, 0); /* whoever comes later may start anew */
    pthread_mutex_unlock(&dg_team_lock);
    dg_trim();
}

/* Around a fork: the parent holds the memory lock, so that the child finds the lists whole. */
void dg_hold(void) {
    pthread_mutex_lock(&dg_memory_lock);
}

void dg_release(void) {
    pthread_mutex_unlock(&dg_memory_lock);
}

/* In the child there are no helpers; they are started again when they are needed. */
void dg_after_fork(void) {
    dg_release();
    pthread_mutex_init(&dg_team_lock, NULL);
    pthread_mutex_init(&dg_sleep_lock, NULL);
    pthread_cond_init(&dg_wake, NULL);
    dg_helper_count = 0;
    atomic_store(&dg_inside, 0);
    atomic_store(&dg_sleepers, 0);
    atomic_store(&dg_generation, 0);
}
"""

ROOFS = r"""
/* Roofs ------------------------------------------------------------------------------------

   Two kernels that show what this machine can do at most: multiply-adds on registers alone,
   and a copy through memory. */

#if defined(__AVX512F__)
enum { DG_VECTOR_BYTES = 64 };
#elif defined(__AVX__)
enum { DG_VECTOR_BYTES = 32 };
#else
enum { DG_VECTOR_BYTES = 16 };
#endif

typedef float dg_vector __attribute__((vector_size(DG_VECTOR_BYTES)));

/* buffers: out (one float for each place of the range).  sizes: rounds.  Each round is 12
   multiply-adds on vectors, enough of them side by side to hide how long each takes. */
void dg_roof_arithmetic(void *const *buffers, const int64_t *sizes, const double *scalars,
                        int64_t begin, int64_t end) {
    float *out = buffers[0];
    (void)scalars;
    for (int64_t place = begin; place < end; place++) {
        dg_vector a[12], factor, term;
        for (int lane = 0; lane < DG_VECTOR_BYTES / 4; lane++) {
            factor[lane] = 0.999f;
            term[lane] = 0.001f * (float)(place % 7);
        }
        for (int i = 0; i < 12; i++) /* all different, so that none is computed for another */
            a[i] = term * (float)i;
        for (int64_t round = 0; round < sizes[0]; round++) {
            a[0] = a[0] * factor + term; a[1] = a[1] * factor + term;
            a[2] = a[2] * factor + term; a[3] = a[3] * factor + term;
            a[4] = a[4] * factor + term; a[5] = a[5] * factor + term;
            a[6] = a[6] * factor + term; a[7] = a[7] * factor + term;
            a[8] = a[8] * factor + term; a[9] = a[9] * factor + term;
            a[10] = a[10] * factor + term; a[11] = a[11] * factor + term;
        }
        for (int i = 1; i < 12; i++)
            a[0] += a[i];
        out[place] = a[0][0];
    }
}

/* buffers: out, in (floats). */
void dg_roof_copy(void *const *buffers, const int64_t *sizes, const double *scalars,
                  int64_t begin, int64_t end) {
    (void)sizes;
    (void)scalars;
    dg_stream((float *)buffers[0] + begin, (const float *)buffers[1] + begin,
              (int64_t)sizeof(float) * (end - begin));
    dg_stream_end();
}

int64_t dg_vector_bytes(void) {
    return DG_VECTOR_BYTES;
}
"""

_STREAM = "\n".join(C.helpers[name] for name in ("INLINE", "dg_stream", "dg_stream_end"))

RUNTIME = HEAD + MEMORY + SCRATCH + THREADS + SEQUENCES + DIRECT + _STREAM + ROOFS
