"""The first part of the matmul template in C: addresses, and the plan of a product.

Floor 4.  `matmul_source.py` puts the constants and the types in front of `FOUNDATION`, the
packing, micro-kernels and epilogue of one Gemm behind it, and at the end the `DRIVER`
(`matmul_driver.py`).  The text needs gcc 9 or clang 11, and no particular machine.

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
    int is_near; /* the columns of a tile stay in the nearer caches, for an epilogue by rows */
    int64_t rows, columns;
    int64_t row_tile, column_tile, row_tiles, column_tiles;
    int64_t depth, depth_block, depth_blocks;
    int64_t lane_size; /* elements of a lane of a panel: of a block of k, and what passes its end */
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
    p->lane_size = parts(p->depth_block, FOLD) + SQUARE;

    /* Tiles as large as the caches like, then smaller until every thread can get some. */
    const int64_t jobs_wanted = p->depth_blocks > 4 ? LONG_JOBS_WANTED : JOBS_WANTED;
    const int64_t tiles_wanted = parts(jobs_wanted, p->batch.total);
    const int64_t row_panels = larger(ROWS_SIZE / (ROWS * larger(p->depth_block, 1)), 1);
    p->row_tile = smaller(row_panels * ROWS, round_up(p->rows, ROWS));
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

    p->is_near = !STORES_SUMS && !p->is_thin && p->depth_blocks == 1
        && p->column_tile * p->depth <= NEAR_SIZE;

    const int64_t tiles = p->row_tiles * p->column_tiles;
    p->batches_per_job = 1;
    if (tiles == 1 && p->depth_blocks == 1) {
        const int64_t work = p->rows * p->columns * p->depth + BATCH_WORK;
        p->batches_per_job = larger(1, smaller(p->batch.total, JOB_WORK / work));
    }
    p->jobs = parts(p->batch.total, p->batches_per_job) * tiles;
}
"""
