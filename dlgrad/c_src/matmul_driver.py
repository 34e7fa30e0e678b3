"""The last part of the matmul template in C: tiles, blocks of k and jobs.

Floor 4.  `DRIVER` stands behind the packing, the micro-kernels and the epilogue that are
generated for one Gemm (`matmul_source.py`), and calls them.
"""

DRIVER = """\
/* Adds one row times the columns of a panel that run along k in memory. */
static void add_unpacked_steps(
    const element *row, const struct side *side, const struct panel *panel, element *sums)
{
    const int64_t *const across = side->at.across[0] + panel->first;
    for (int64_t r = 0; r < side->step_run_count; r++) {
        const struct run run = side->step_runs[r];
        const element *const from = side->plain + side->at.base[0] + side->at.along[0][run.start];
        int64_t i = 0;
        for (; i + UNPACKED_COLUMNS <= panel->lanes; i += UNPACKED_COLUMNS)
            add_columns(run.count, row + run.start, from, across + i, sums + i);
        for (; i < panel->lanes; i++)
            add_column(run.count, row + run.start, from, across + i, sums + i);
    }
}

/* Adds one row times all columns of a tile. */
static void add_thin_row(
    const element *row, const struct side *side, const element *columns, element *sums)
{
    for (int64_t j = 0; j < side->panel_count; j++) {
        const struct panel *const panel = &side->panels[j];
        if (panel->way == UNPACKED_STEPS)
            add_unpacked_steps(row, side, panel, sums + panel->first);
        else if (panel->way != UNPACKED_LANES)
            micro_kernels[parts(panel->lanes, LANES) - 1][1](
                side->steps, row, columns + panel->place, sums + panel->first, COLUMNS, 1);
    }
    /* A few steps of all panels at a time, as in packing. */
    for (int64_t first = 0; first < side->steps; first += SWEEP) {
        const int64_t count = smaller(SWEEP, side->steps - first);
        for (int64_t j = 0; j < side->panel_count; j++) {
            const struct panel *const panel = &side->panels[j];
            if (panel->way == UNPACKED_LANES)
                add_unpacked_lanes(
                    count, row + first,
                    side->plain + side->at.base[0] + side->at.across[0][panel->first],
                    side->at.along[0] + first, sums + panel->first);
        }
    }
}

/* The runs in which some columns lie in the result; where most are short, all columns as one
   of no kind, whose places are looked up one after the other. */
static int64_t find_result_runs(
    const struct addresses *out, int64_t first, int64_t columns, struct run *runs)
{
    const int64_t count = find_runs(out->across, out->count, first, columns, runs);
    if (count * RUN_WANTED <= columns)
        return count;
    runs[0] = (struct run){0, columns, -1};
    return 1;
}

/* Reads the sums of a micro-tile from the result, where the block of k before left them. */
static void take_up(
    const element *result, const struct addresses *out, const struct panel *left,
    const struct panel *right, element *sums)
{
    const int64_t *const across = out->across[0] + right->first;
    for (int64_t i = 0; i < left->lanes; i++)
        for (int64_t j = 0; j < right->lanes; j++)
            sums[i * COLUMNS + j] =
                result[out->along[0][left->first + i] + across[j] - across[0]];
}

/* How the columns of a panel lie in the result. */
struct landing {
    int64_t run_count;
    int is_straight; /* side by side, so that sums go there from the registers */
    struct run runs[WIDEST];
};

/* What the next batch will touch of an operand or the result, asked for run after run while
   this one is computed: it lies far from what is touched now. */
struct fetcher {
    const char *start;                 /* of the first run */
    const int64_t *runs;               /* where the others are, in elements */
    int64_t count, done;
    int64_t each;                      /* how many one micro-tile asks for */
    int64_t length, size;              /* bytes of a run, bytes of an element */
};

static inline void fetch_runs(struct fetcher *fetcher)
{
    const int64_t stop = smaller(fetcher->done + fetcher->each, fetcher->count);
    for (; fetcher->done < stop; fetcher->done++) {
        const char *const run = fetcher->start + fetcher->runs[fetcher->done] * fetcher->size;
        for (int64_t at = 0; at < fetcher->length; at += 64)
            __builtin_prefetch(run + at, 0, 2);
    }
}

/* The elements of one access that a tile touches in every batch: each line with each place. */
struct area {
    const void *memory;
    int64_t size;                      /* bytes of an element */
    int access;
    const int64_t *lines, *places;     /* where they are, in elements */
    int64_t line_count, place_count;
};

/* Sets up a fetcher for an area in one batch, in as many parts as there are micro-tiles.  It stays
   empty where the elements are not in runs or too many for the nearer caches. */
static inline __attribute__((always_inline)) void set_fetcher(
    struct fetcher *fetcher, const struct problem *p, const struct area *area, int64_t batch,
    int64_t micro_tiles)
{
    const int64_t *runs = area->lines, *along = area->places;
    int64_t count = area->line_count, length = area->place_count, start;
    if (count * length == 0 || count * length > FETCHED_SIZE)
        return;
    if (run_length(along, 1, length) < length) {
        runs = area->places, along = area->lines;
        count = area->place_count, length = area->line_count;
        if (run_length(along, 1, length) < length)
            return;
    }
    fill_table(p, area->access, &p->batch, batch, 1, &start);
    start += p->strides[area->access * p->stride_count] + along[0];
    fetcher->start = (const char *)area->memory + start * area->size;
    fetcher->runs = runs;
    fetcher->count = count;
    fetcher->each = parts(count, micro_tiles);
    fetcher->length = length * area->size;
    fetcher->size = area->size;
}

/* One tile at work, for one block of k. */
struct tile_work {
    const struct problem *p;
    void *const *buffers;
    const double *scalars;
    const struct side *row, *column;
    const element *rows, *columns; /* the packed panels */
    const struct addresses *out;
    struct landing *landings;      /* one for each panel of columns */
    int64_t block, steps;
    struct fetcher fetchers[3];        /* of the rows, the columns and the result */
};

/* Sets up the fetchers for a batch, if there is such. */
static void set_fetchers(struct tile_work *work, int64_t batch)
{
    const struct problem *const p = work->p;
    const struct side *const sides[] = {work->row, work->column};
    const struct addresses *const out = work->out;
    const int64_t micro_tiles = work->row->panel_count * work->column->panel_count;
    if (batch >= p->batch.total)
        return;
    for (int s = 0; s < 2; s++) {
        const struct side *const side = sides[s];
        const struct area area = {
            side->plain, sizeof(element), side->at.accesses[0],
            side->at.across[0], side->at.along[0], side->lanes, side->steps,
        };
        if (side->plain && !side->stays)
            set_fetcher(&work->fetchers[s], p, &area, batch, micro_tiles);
    }
    const struct area result = {
        work->buffers[RESULT_BUFFER], RESULT_SIZE, RESULT_ACCESS,
        out->along[0], out->across[0], work->row->lanes, work->column->lanes,
    };
    set_fetcher(&work->fetchers[2], p, &result, batch, micro_tiles);
}

/* The sums of one micro-tile, whose rows are `pitch` apart. */
static inline __attribute__((always_inline)) void add_micro_tile(
    struct tile_work *work, const struct panel *left, const struct panel *right,
    element *sums, int64_t pitch)
{
    const struct side *const row = work->row;
    const element *const panel = work->columns + right->place;
    const int goes_on = work->block > 0;
    for (int f = 0; f < 3; f++)
        fetch_runs(&work->fetchers[f]);
    if (left->way == UNPACKED_ROWS) {
        const int64_t *const lane = row->at.across[0] + left->first;
        direct_kernel(
            row->steps, row->plain + row->at.base[0] + row->at.along[0][0] + lane[0],
            lane[1] - lane[0], panel, sums, pitch, goes_on);
    } else
        micro_kernels[parts(right->lanes, LANES) - 1][left->width](
            work->steps, work->rows + left->place, panel, sums, pitch, goes_on);
}

/* One micro-tile; after the last block, the epilogue.  Sums that are the result as they are go
   there from the registers, and are taken up from there for the next block of k. */
static inline __attribute__((always_inline)) void do_micro_tile(
    struct tile_work *work, int64_t i, int64_t j, element *accumulators)
{
    const struct addresses *const out = work->out;
    const struct panel *const left = &work->row->panels[i];
    const struct panel *const right = &work->column->panels[j];
    const struct landing *const landing = &work->landings[j];
    const int64_t *const lines = out->along[0] + left->first;
    element *const result = (element *)work->buffers[RESULT_BUFFER] + out->base[0]
        + out->across[0][right->first];
    int64_t pitch = left->lanes > 1 ? lines[1] - lines[0] : COLUMNS;
    const int is_stored = landing->is_straight && left->lanes == left->width
        && run_length(lines, pitch, left->lanes) == left->lanes;
    element *sums = accumulators;
    if (is_stored)
        sums = result + lines[0];
    else
        pitch = COLUMNS;
    if (STORES_SUMS && !is_stored && work->block > 0)
        take_up(result, out, left, right, sums);
    add_micro_tile(work, left, right, sums, pitch);
    if (!is_stored && landing->run_count)
        finish(work->buffers, work->scalars, out, left->first, left->lanes, right->first,
               landing->runs, landing->run_count, sums, COLUMNS);
}

/* All micro-tiles of a tile whose columns stay in the nearer caches, row after row of them:
   the epilogue goes along memory, as far as the tile is wide. */
static void do_near_tile(
    struct tile_work *work, struct run *runs, int64_t pitch, element *accumulators)
{
    const struct side *const row = work->row, *const column = work->column;
    const int64_t run_count = find_result_runs(work->out, 0, column->lanes, runs);
    for (int64_t i = 0; i < row->panel_count; i++) {
        const struct panel *const left = &row->panels[i];
        for (int64_t j = 0; j < column->panel_count; j++)
            add_micro_tile(work, left, &column->panels[j], accumulators + j * COLUMNS, pitch);
        finish(work->buffers, work->scalars, work->out, left->first, left->lanes, 0, runs,
               run_count, accumulators, pitch);
    }
}

/* All micro-tiles of one tile for one block of k. */
static __attribute__((noinline)) void do_tile(
    const struct problem *p, void *const *buffers, const double *scalars,
    const struct side *row, const element *rows, const struct side *column,
    const element *columns, int64_t block, const struct addresses *out, struct landing *landings,
    element *accumulators, int64_t next_batch)
{
    struct tile_work work = {
        p, buffers, scalars, row, column, rows, columns, out, landings, block, row->packed_steps,
        .fetchers = {{0}},
    };
    set_fetchers(&work, next_batch);
    if (p->is_near) {
        do_near_tile(&work, (struct run *)landings, p->column_tile, accumulators);
        return;
    }
    const int is_last = block == p->depth_blocks - 1;
    const int64_t step = p->depth_blocks > 1 && !STORES_SUMS ? COLUMNS : 0;
    for (int64_t j = 0; j < column->panel_count; j++) {
        const struct panel *const right = &column->panels[j];
        struct landing *const landing = &landings[j];
        landing->run_count = is_last || STORES_SUMS
            ? find_result_runs(out, right->first, right->lanes, landing->runs) : 0;
        landing->is_straight = STORES_SUMS && landing->run_count == 1
            && landing->runs[0].steps == 1 && landing->runs[0].count == COLUMNS;
    }
    for (int64_t j = 0; j < column->panel_count; j++)
        for (int64_t i = 0; i < row->panel_count; i++) {
            do_micro_tile(&work, i, j, accumulators);
            accumulators += row->panels[i].width * step;
        }
}

/* The same for few rows. */
static __attribute__((noinline)) void do_thin_tile(
    const struct problem *p, void *const *buffers, const double *scalars,
    const struct side *row, const element *rows, const struct side *column,
    const element *columns, int64_t block, const struct addresses *out, struct landing *landings,
    element *accumulators, int64_t next_batch)
{
    (void)next_batch;
    for (int64_t i = 0; i < row->panel_count; i++) {
        element *const sums = accumulators + i * p->column_tile;
        if (block == 0)
            __builtin_memset(sums, 0, sizeof(element) * p->column_tile);
        add_thin_row(rows + row->panels[i].place, column, columns, sums);
        if (block < p->depth_blocks - 1)
            continue;
        for (int64_t j = 0; j < column->panel_count; j++) {
            const struct panel *const right = &column->panels[j];
            struct run *const runs = landings[j].runs;
            const int64_t run_count = find_result_runs(out, right->first, right->lanes, runs);
            finish(buffers, scalars, out, i, 1, right->first, runs, run_count,
                   sums + right->first, 0);
        }
    }
}

static int64_t take(int64_t *used, int64_t count, int64_t size)
{
    const int64_t place = *used;
    *used += round_up(count * size, 64);
    return place;
}

SMALL int64_t KERNEL_JOBS(const int64_t *sizes)
{
    struct problem p;
    make_plan(&p, sizes);
    return p.jobs;
}

/* The packed rows of all calls of this launch: the state of each tile, then the tiles.  The
   first call makes the block; NULL where there is no memory. */
SMALL static int64_t *shared_tiles(struct dg_scratch *lender, int64_t tiles, int64_t nbytes)
{
    void *block = __atomic_load_n(&lender->shared, __ATOMIC_ACQUIRE);
    if (block)
        return block;
    void *const mine = lender->allocate(nbytes);
    if (!mine)
        return __atomic_load_n(&lender->shared, __ATOMIC_ACQUIRE);
    for (int64_t tile = 0; tile < tiles; tile++)
        ((int64_t *)mine)[tile] = EMPTY;
    if (__atomic_compare_exchange_n(
            &lender->shared, &block, mine, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return mine;
    lender->release(mine); /* another call was first */
    return block;
}

SMALL void KERNEL(
    void *const *buffers, const int64_t *sizes, const double *scalars, int64_t begin, int64_t end)
{
    struct problem problem, *const p = &problem;
    make_plan(p, sizes);
    if (begin >= end)
        return;

    struct dg_scratch *const lender = buffers[SCRATCH_BUFFER];
    struct side a = {.pack = pack_a, .any_steps = A_ANY_STEPS, .wait = lender->wait};
    struct side b = {.pack = pack_b, .any_steps = B_ANY_STEPS, .wait = lender->wait};
    a.plain = A_PLAIN < 0 ? 0 : buffers[larger(A_PLAIN, 0)];
    b.plain = B_PLAIN < 0 ? 0 : buffers[larger(B_PLAIN, 0)];
    a.at = (struct addresses){.count = A_ACCESSES, .accesses = a_accesses};
    b.at = (struct addresses){.count = B_ACCESSES, .accesses = b_accesses};
    a.across_group = p->m;
    b.across_group = p->n;
    struct side *const row = p->swapped ? &b : &a, *const column = p->swapped ? &a : &b;
    row->total = p->rows;
    row->tile_length = p->row_tile;
    row->width = ROWS;
    column->total = p->columns;
    column->tile_length = p->column_tile;
    column->width = COLUMNS;
    row->is_thin = column->is_thin = p->is_thin;
    row->is_direct = row->plain && !p->is_thin && p->columns > LANES
        && p->columns <= DIRECT_COLUMNS;
    struct addresses out = {.count = OUT_ACCESSES, .accesses = out_accesses};

    /* All scratch memory in one piece.  With many blocks of k, the accumulators of as many
       jobs as fit are kept, so that each block is packed once for all of them.  The result
       itself keeps sums that are not changed any more, be they however many. */
    const int64_t tile_size = p->row_tile * p->column_tile;
    const int64_t tiles = p->row_tiles * p->column_tiles;
    const int keeps_sums = p->depth_blocks > 1 && (!STORES_SUMS || p->is_thin);
    int64_t group = end - begin;
    int64_t accumulators_size = p->is_thin ? tile_size
        : ROWS * (p->is_near ? p->column_tile : COLUMNS);
    if (p->depth_blocks > 1) {
        group = smaller(group, larger(keeps_sums ? 1 : tiles, GROUP_SIZE / tile_size));
        if (keeps_sums)
            accumulators_size = group * tile_size;
    }
    const int64_t shared_count = p->depth_blocks * p->row_tiles;
    int is_shared = 0; /* whether all threads use the same packed rows, each packed once */
    struct side *const sides[] = {row, column};
    int64_t used = 0, places[2][5 + 2 * ACCESSES], out_places[2 * ACCESSES];
    for (int s = 0; s < 2; s++) {
        struct side *side = sides[s];
        side->along_group = p->k;
        side->tile = side->block = -1;
        side->stays = ignores_batch(p, &side->at);
        find_highest(p, &side->at);
        const int64_t panels = parts(side->tile_length, side->width) + 3;
        side->slot_size = round_up(side->tile_length * p->lane_size + panels * LANES, LANES);
        side->slots = 1;
        if (side == row && (p->column_tiles > 1 || (side->stays && p->batch.total > 1))) {
            is_shared = (side->stays || p->batch.total == 1) && !side->is_thin && !side->is_direct
                && shared_count * side->slot_size <= SHARED_SIZE;
            if (!is_shared)
                side->slots = smaller(p->row_tiles, larger(1, STORE_SIZE / side->slot_size));
        }
        for (int64_t q = 0; q < side->at.count; q++) {
            places[s][2 * q] = take(&used, side->tile_length + LANES, sizeof(int64_t));
            places[s][2 * q + 1] = take(&used, p->depth_block, sizeof(int64_t));
        }
        int64_t *const place = places[s] + 2 * ACCESSES;
        place[0] = take(&used, p->depth_block, sizeof(struct run));
        place[1] = take(&used, side->tile_length, sizeof(struct chunk));
        place[2] = take(&used, panels, sizeof(struct panel));
        place[3] = take(&used, side->slots, sizeof(int64_t));
        if (side == column || !is_shared)
            place[4] = take(&used, side->slots * side->slot_size, sizeof(element));
    }
    for (int64_t q = 0; q < out.count; q++) {
        out_places[2 * q] = take(&used, p->column_tile, sizeof(int64_t));
        out_places[2 * q + 1] = take(&used, p->row_tile, sizeof(int64_t));
    }
    const int64_t landings_place =
        take(&used, p->column_tile / COLUMNS + 3, sizeof(struct landing));
    const int64_t accumulators_place = take(&used, accumulators_size, sizeof(element));
    char *const scratch = lender->allocate(used);
    if (!scratch) {
        __atomic_store_n(&lender->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    for (int s = 0; s < 2; s++) {
        struct side *side = sides[s];
        for (int64_t q = 0; q < side->at.count; q++) {
            side->at.across[q] = (int64_t *)(scratch + places[s][2 * q]);
            side->at.along[q] = (int64_t *)(scratch + places[s][2 * q + 1]);
        }
        const int64_t *const place = places[s] + 2 * ACCESSES;
        side->step_runs = (struct run *)(scratch + place[0]);
        side->chunks = (struct chunk *)(scratch + place[1]);
        side->panels = (struct panel *)(scratch + place[2]);
        side->keys = (int64_t *)(scratch + place[3]);
        if (side == column || !is_shared)
            side->store = (element *)(scratch + place[4]);
        for (int64_t slot = 0; slot < side->slots; slot++)
            side->keys[slot] = -1;
    }
    for (int64_t q = 0; q < out.count; q++) {
        out.across[q] = (int64_t *)(scratch + out_places[2 * q]);
        out.along[q] = (int64_t *)(scratch + out_places[2 * q + 1]);
    }
    struct landing *const landings = (struct landing *)(scratch + landings_place);
    element *const accumulators = (element *)(scratch + accumulators_place);
    if (is_shared) {
        int64_t states_size = 0;
        take(&states_size, shared_count, sizeof(int64_t));
        row->states = shared_tiles(
            lender, shared_count,
            states_size + shared_count * row->slot_size * (int64_t)sizeof(element));
        if (!row->states) {
            __atomic_store_n(&lender->failed, 1, __ATOMIC_RELAXED);
            lender->release(scratch);
            return;
        }
        row->store = (element *)((char *)row->states + states_size);
    }

    const struct group *const row_group = &row->across_group;
    const struct group *const column_group = &column->across_group;
    int64_t out_row = -1, out_column = -1;
    for (int64_t from = begin; from < end; from += group) {
        const int64_t to = smaller(end, from + group);
        for (int64_t block = 0; block < p->depth_blocks; block++)
            for (int64_t job = from; job < to; job++) {
                const int64_t column_tile = job % tiles / p->row_tiles;
                /* Threads with other columns begin at other rows: each packs some of them. */
                const int64_t row_tile =
                    (job + column_tile * p->row_tiles / p->column_tiles) % p->row_tiles;
                const int64_t first = job / tiles * p->batches_per_job;
                const int64_t stop = smaller(p->batch.total, first + p->batches_per_job);
                set_tile(p, row, row_tile);
                set_tile(p, column, column_tile);
                for (int64_t q = 0; q < out.count; q++) {
                    const int access = out.accesses[q];
                    if (out_row != row_tile)
                        fill_table(p, access, row_group, row_tile * p->row_tile, row->lanes,
                                   out.along[q]);
                    if (out_column != column_tile)
                        fill_table(p, access, column_group, column_tile * p->column_tile,
                                   column->lanes, out.across[q]);
                }
                out_row = row_tile;
                out_column = column_tile;
                for (int64_t batch = first; batch < stop; batch++) {
                    const element *row_panels = packed_tile(
                        p, row, buffers, scalars, batch, row_tile, block);
                    const element *column_panels = packed_tile(
                        p, column, buffers, scalars, batch, column_tile, block);
                    locate_batch(p, &out, batch);
                    (p->is_thin ? do_thin_tile : do_tile)(
                        p, buffers, scalars, row, row_panels, column, column_panels, block, &out,
                        landings, accumulators + (keeps_sums ? (job - from) * tile_size : 0),
                        tiles == 1 ? batch + 1 : p->batch.total);
                }
            }
    }
    lender->release(scratch);
}
"""
