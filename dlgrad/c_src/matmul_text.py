"""The fixed part of the matmul template in C: addresses, plan, packing, tiles.

Floor 4.  `matmul_source.py` puts the constants and the types in front of `FOUNDATION`, the
generated packing, micro-kernels and epilogue of one Gemm behind it, and `DRIVER` at the end.
The text needs gcc 9 or clang 11, and no particular machine.

The words: the product is computed in tiles of `rows` x `columns`.  Rows are broadcast in the
micro-kernel, columns fill the vector lanes.  Usually rows are m and columns are n; where that
wastes lanes or scatters the stores, the plan swaps them.  An operand has addresses `across`
(its rows or columns) and `along` (k); in a packed panel, the lanes of a few rows or columns
stand side by side for one k after the other.
"""

FOUNDATION = """\
/* One of the four groups of dimensions, and where its strides stand in those of an access. */
struct group {
    int64_t rank, total, first;
    const int64_t *sizes;
};

/* Neighbours whose addresses advance by 0 or 1; bit q of `steps` says which for access q. */
struct run {
    int64_t start, count, steps;
};

/* Element (i, k) of access q is base[q] + across[q][i] + along[q][k], at most highest[q]. */
struct addresses {
    int64_t count;
    const int *accesses;
    int64_t base[ACCESSES], highest[ACCESSES];
    int64_t *across[ACCESSES], *along[ACCESSES];
};

struct problem {
    struct group batch, m, n, k;
    const int64_t *strides; /* of access q: an offset, then one per dimension */
    int64_t stride_count;
    int swapped; /* the rows are n */
    int is_thin; /* few rows: columns are used where they lie, where that is possible */
    int64_t rows, columns;
    int64_t row_tile, column_tile, row_tiles, column_tiles;
    int64_t depth, depth_block, depth_blocks;
    int64_t batches_per_job, jobs;
};

static inline int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }
static inline int64_t larger(int64_t x, int64_t y) { return x > y ? x : y; }
static inline int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }
static inline int64_t round_up(int64_t x, int64_t step) { return parts(x, step) * step; }

/* The table of `count` places of a group from `first` on, for one access. */
static void fill_table(
    const struct problem *p, int access, const struct group *group,
    int64_t first, int64_t count, int64_t *table)
{
    const int64_t *const strides = p->strides + access * p->stride_count + group->first;
    const int64_t *const sizes = group->sizes;
    const int64_t last = group->rank - 1;
    if (count <= 0)
        return;
    int64_t address = 0, digits[group->rank + 1];
    for (int64_t dim = last; dim >= 0; dim--) {
        digits[dim] = first % sizes[dim];
        address += digits[dim] * strides[dim];
        first /= sizes[dim];
    }
    while (count > 0) {
        int64_t length = 1;
        if (last >= 0) {
            const int64_t step = strides[last];
            length = smaller(count, sizes[last] - digits[last]);
            for (int64_t i = 0, place = address; i < length; i++, place += step)
                table[i] = place;
            address += length * step;
            digits[last] += length;
            for (int64_t dim = last; dim > 0 && digits[dim] == sizes[dim]; dim--) {
                address += strides[dim - 1] - sizes[dim] * strides[dim];
                digits[dim] = 0;
                digits[dim - 1]++;
            }
        } else {
            table[0] = 0;
        }
        table += length;
        count -= length;
    }
}

/* How many of `count` places follow each other by `step`. */
static int64_t run_length(const int64_t *place, int64_t step, int64_t count)
{
    int64_t length = 1;
    for (int64_t broken = 0; length + LINE <= count; length += LINE) {
        for (int64_t i = length; i < length + LINE; i++)
            broken |= place[i] - place[i - 1] - step;
        if (broken)
            break;
    }
    while (length < count && place[length] - place[length - 1] == step)
        length++;
    return length;
}

/* Cuts `count` places from `first` on into runs; returns how many. */
static int64_t find_runs(
    int64_t *const *tables, int64_t accesses, int64_t first, int64_t count, struct run *runs)
{
    int64_t found = 0;
    for (int64_t i = 0; i < count;) {
        int64_t length = count - i, steps = ((int64_t)1 << accesses) - 1;
        for (int64_t q = 0; q < accesses && length > 1; q++) {
            const int64_t *const place = tables[q] + first + i;
            const int64_t step = place[1] - place[0];
            length = step == 0 || step == 1 ? run_length(place, step, length) : 1;
            steps ^= (int64_t)!step << q;
        }
        if (length == 1)
            steps = ((int64_t)1 << accesses) - 1;
        runs[found++] = (struct run){i, length, steps};
        i += length;
    }
    return found;
}

/* The addresses of one batch, and the highest element that each access reaches at all. */
static void locate_batch(const struct problem *p, struct addresses *at, int64_t batch)
{
    for (int64_t q = 0; q < at->count; q++) {
        fill_table(p, at->accesses[q], &p->batch, batch, 1, &at->base[q]);
        at->base[q] += p->strides[at->accesses[q] * p->stride_count];
    }
}

SMALL static void find_highest(const struct problem *p, struct addresses *at)
{
    const struct group *groups[] = {&p->batch, &p->m, &p->n, &p->k};
    for (int64_t q = 0; q < at->count; q++) {
        const int64_t *strides = p->strides + at->accesses[q] * p->stride_count;
        at->highest[q] = strides[0];
        for (int g = 0; g < 4; g++)
            for (int64_t dim = 0; dim < groups[g]->rank; dim++) {
                const int64_t stride = strides[groups[g]->first + dim];
                at->highest[q] += larger(stride, 0) * (groups[g]->sizes[dim] - 1);
            }
    }
}

/* True if a batch moves none of the accesses: what is packed stays good. */
SMALL static int ignores_batch(const struct problem *p, const struct addresses *at)
{
    for (int64_t q = 0; q < at->count; q++)
        for (int64_t dim = 0; dim < p->batch.rank; dim++)
            if (p->strides[at->accesses[q] * p->stride_count + p->batch.first + dim])
                return 0;
    return 1;
}

/* True if neighbours in a group are neighbours in memory, as far as its last dimension goes. */
SMALL static int is_dense(const struct problem *p, int access, const struct group *group)
{
    const int64_t *strides = p->strides + access * p->stride_count + group->first;
    for (int64_t dim = group->rank - 1; dim >= 0; dim--)
        if (group->sizes[dim] != 1)
            return strides[dim] == 1;
    return 0;
}

/* What a product costs in vector operations, with padding, loads and stores. */
SMALL static double tile_cost(int64_t rows, int64_t columns, int64_t depth, int dense)
{
    const double vectors = parts(columns, LANES);
    const double multiply = rows * vectors * depth;
    const double load = (parts(rows, ROWS) * vectors + rows) * depth;
    return multiply + load + (double)rows * columns * (dense ? 0.25 : 2.0);
}

SMALL static void make_plan(struct problem *p, const int64_t *sizes)
{
    struct group *groups[] = {&p->batch, &p->m, &p->n, &p->k};
    int64_t first = 1;
    for (int g = 0; g < 4; g++) {
        groups[g]->rank = sizes[g];
        groups[g]->first = first;
        groups[g]->sizes = sizes + 3 + first;
        groups[g]->total = 1;
        for (int64_t dim = 0; dim < sizes[g]; dim++)
            groups[g]->total *= groups[g]->sizes[dim];
        first += sizes[g];
    }
    p->strides = sizes + 3 + first;
    p->stride_count = first;
    p->jobs = 0;
    if (!p->batch.total || !p->m.total || !p->n.total)
        return;

    const int64_t m = p->m.total, n = p->n.total;
    p->depth = p->k.total;
    p->swapped = tile_cost(n, m, p->depth, is_dense(p, RESULT_ACCESS, &p->m))
        < 0.9 * tile_cost(m, n, p->depth, is_dense(p, RESULT_ACCESS, &p->n));
    p->rows = p->swapped ? n : m;
    p->columns = p->swapped ? m : n;
    p->is_thin = p->rows <= THIN_ROWS && (p->swapped ? A_PLAIN : B_PLAIN) >= 0;
    p->depth_blocks = larger(parts(p->depth, p->is_thin ? THIN_DEPTH : DEPTH), 1);
    p->depth_block = parts(p->depth, p->depth_blocks);

    /* Tiles as large as the caches like, then smaller until every thread can get some. */
    const int64_t jobs_wanted = p->depth_blocks > 4 ? LONG_JOBS_WANTED : JOBS_WANTED;
    const int64_t tiles_wanted = parts(jobs_wanted, p->batch.total);
    p->row_tile = smaller(ROW_TILE, round_up(p->rows, ROWS));
    p->column_tile = smaller(COLUMN_TILE, round_up(p->columns, COLUMNS));
    while (parts(p->rows, p->row_tile) * parts(p->columns, p->column_tile) < tiles_wanted) {
        const int64_t row_panels = p->row_tile / ROWS, panels = p->column_tile / COLUMNS;
        if (smaller(p->row_tile, p->rows) * p->column_tile * p->depth < 2 * JOB_WORK)
            break;
        if (panels > 1 && panels >= row_panels)
            p->column_tile = (panels + 1) / 2 * COLUMNS;
        else if (row_panels > 2)
            p->row_tile = (row_panels + 1) / 2 * ROWS;
        else
            break;
    }
    p->row_tiles = parts(p->rows, p->row_tile);
    p->row_tile = round_up(parts(p->rows, p->row_tiles), ROWS);
    p->row_tiles = parts(p->rows, p->row_tile);
    p->column_tiles = parts(p->columns, p->column_tile);
    p->column_tile = round_up(parts(p->columns, p->column_tiles), COLUMNS);
    p->column_tiles = parts(p->columns, p->column_tile);

    const int64_t tiles = p->row_tiles * p->column_tiles;
    p->batches_per_job = 1;
    if (tiles == 1 && p->depth_blocks == 1) {
        const int64_t work = p->rows * p->columns * p->depth + BATCH_WORK;
        p->batches_per_job = larger(1, smaller(p->batch.total, JOB_WORK / work));
    }
    p->jobs = parts(p->batch.total, p->batches_per_job) * tiles;
}
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

/* How the columns of a panel lie in the result. */
static int64_t find_result_runs(
    const struct addresses *out, const struct panel *panel, struct run *runs)
{
    const int64_t count = find_runs(out->across, out->count, panel->first, panel->lanes, runs);
    if (2 * count <= panel->lanes)
        return count;
    runs[0] = (struct run){0, panel->lanes, -1};
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

/* Asks for the memory of the next micro-tile, which is far away at large results. */
static void fetch_lines(const element *result, const int64_t *lines, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < COLUMNS; j += LINE)
            __builtin_prefetch(result + lines[i] + j, 1);
}

/* All micro-tiles of one tile for one block of k; after the last block, the epilogue. */
static __attribute__((noinline)) void do_tile(
    const struct problem *p, void *const *buffers, const double *scalars,
    const struct side *row, const element *rows, const struct side *column,
    const element *columns, int64_t block, const struct addresses *out, element *accumulators)
{
    const int is_last = block == p->depth_blocks - 1;
#ifdef HAS_PAIRS
    const int64_t steps = (row->steps + 1) / 2;
#else
    const int64_t steps = row->steps;
#endif
    for (int64_t j = 0; j < column->panel_count; j++) {
        const struct panel *const right = &column->panels[j];
        struct run runs[WIDEST];
        const int64_t run_count =
            is_last || STORES_SUMS ? find_result_runs(out, right, runs) : 0;
        /* Sums that are the result as they are go there from the registers, and are taken up
           from there for the next block of k. */
        const int is_straight = STORES_SUMS && run_count == 1
            && runs[0].steps == 1 && runs[0].count == COLUMNS;
        element *const result =
            (element *)buffers[RESULT_BUFFER] + out->base[0] + out->across[0][right->first];
        for (int64_t i = 0; i < row->panel_count; i++) {
            const struct panel *const left = &row->panels[i];
            const int64_t *const lines = out->along[0] + left->first;
            int64_t pitch = left->lanes > 1 ? lines[1] - lines[0] : COLUMNS;
            const int is_stored = is_straight && left->lanes == left->width
                && run_length(lines, pitch, left->lanes) == left->lanes;
            element *sums = accumulators;
            if (is_stored)
                sums = result + lines[0];
            else
                pitch = COLUMNS;
            if (STORES_SUMS && !is_stored && block > 0)
                take_up(result, out, left, right, sums);
            if (is_straight && i + 1 < row->panel_count)
                fetch_lines(result, lines + left->lanes, left[1].lanes);
            if (left->way == UNPACKED_ROWS) {
                const int64_t *const lane = row->at.across[0] + left->first;
                direct_kernel(
                    row->steps, row->plain + row->at.base[0] + row->at.along[0][0] + lane[0],
                    lane[1] - lane[0], columns + right->place, sums, pitch, block > 0);
            } else
                micro_kernels[parts(right->lanes, LANES) - 1][left->width](
                    steps, rows + left->place, columns + right->place, sums, pitch, block > 0);
            if ((is_last || STORES_SUMS) && !is_stored)
                finish(buffers, scalars, out, left->first, left->lanes, right->first,
                       runs, run_count, accumulators);
            if (p->depth_blocks > 1 && !STORES_SUMS)
                accumulators += left->width * COLUMNS;
        }
    }
}

/* The same for few rows. */
static __attribute__((noinline)) void do_thin_tile(
    const struct problem *p, void *const *buffers, const double *scalars,
    const struct side *row, const element *rows, const struct side *column,
    const element *columns, int64_t block, const struct addresses *out, element *accumulators)
{
    for (int64_t i = 0; i < row->panel_count; i++) {
        element *const sums = accumulators + i * p->column_tile;
        if (block == 0)
            __builtin_memset(sums, 0, sizeof(element) * p->column_tile);
        add_thin_row(rows + row->panels[i].place, column, columns, sums);
        if (block < p->depth_blocks - 1)
            continue;
        for (int64_t j = 0; j < column->panel_count; j++) {
            const struct panel *const right = &column->panels[j];
            struct run runs[WIDEST];
            const int64_t run_count = find_result_runs(out, right, runs);
            finish(buffers, scalars, out, i, 1, right->first, runs, run_count,
                   sums + right->first);
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

SMALL void KERNEL(
    void *const *buffers, const int64_t *sizes, const double *scalars, int64_t begin, int64_t end)
{
    struct problem problem, *const p = &problem;
    make_plan(p, sizes);
    if (begin >= end)
        return;

    struct side a = {.pack = pack_a, .any_steps = A_ANY_STEPS};
    struct side b = {.pack = pack_b, .any_steps = B_ANY_STEPS};
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
    int64_t accumulators_size = p->is_thin ? tile_size : ROWS * COLUMNS;
    if (p->depth_blocks > 1) {
        group = smaller(group, larger(keeps_sums ? 1 : tiles, GROUP_SIZE / tile_size));
        if (keeps_sums)
            accumulators_size = group * tile_size;
    }
    struct side *const sides[] = {row, column};
    int64_t used = 0, places[2][5 + 2 * ACCESSES], out_places[2 * ACCESSES];
    for (int s = 0; s < 2; s++) {
        struct side *side = sides[s];
        side->along_group = p->k;
        side->tile = side->block = -1;
        side->stays = ignores_batch(p, &side->at);
        find_highest(p, &side->at);
        const int64_t panels = parts(side->tile_length, side->width) + 3;
        side->slot_size = round_up(
            side->tile_length * (p->depth_block + SQUARE) + panels * LANES, LANES);
        side->slots = 1;
        if (side == row)
            side->slots = smaller(p->row_tiles, larger(1, STORE_SIZE / side->slot_size));
        for (int64_t q = 0; q < side->at.count; q++) {
            places[s][2 * q] = take(&used, side->tile_length + LANES, sizeof(int64_t));
            places[s][2 * q + 1] = take(&used, p->depth_block, sizeof(int64_t));
        }
        int64_t *const place = places[s] + 2 * ACCESSES;
        place[0] = take(&used, p->depth_block, sizeof(struct run));
        place[1] = take(&used, side->tile_length, sizeof(struct chunk));
        place[2] = take(&used, panels, sizeof(struct panel));
        place[3] = take(&used, side->slots, sizeof(int64_t));
        place[4] = take(&used, side->slots * side->slot_size, sizeof(element));
    }
    for (int64_t q = 0; q < out.count; q++) {
        out_places[2 * q] = take(&used, p->column_tile, sizeof(int64_t));
        out_places[2 * q + 1] = take(&used, p->row_tile, sizeof(int64_t));
    }
    const int64_t accumulators_place = take(&used, accumulators_size, sizeof(element));
    char *const memory = __builtin_malloc(used + 64);
    if (!memory)
        __builtin_abort();
    char *const scratch = memory + (64 - (__UINTPTR_TYPE__)memory % 64);
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
        side->store = (element *)(scratch + place[4]);
        for (int64_t slot = 0; slot < side->slots; slot++)
            side->keys[slot] = -1;
    }
    for (int64_t q = 0; q < out.count; q++) {
        out.across[q] = (int64_t *)(scratch + out_places[2 * q]);
        out.along[q] = (int64_t *)(scratch + out_places[2 * q + 1]);
    }
    element *const accumulators = (element *)(scratch + accumulators_place);

    const struct group *const row_group = &row->across_group;
    const struct group *const column_group = &column->across_group;
    int64_t out_row = -1, out_column = -1;
    for (int64_t from = begin; from < end; from += group) {
        const int64_t to = smaller(end, from + group);
        for (int64_t block = 0; block < p->depth_blocks; block++)
            for (int64_t job = from; job < to; job++) {
                const int64_t column_tile = job % tiles / p->row_tiles;
                const int64_t row_tile = job % p->row_tiles;
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
                        accumulators + (keeps_sums ? (job - from) * tile_size : 0));
                }
            }
    }
    __builtin_free(memory);
}
"""
