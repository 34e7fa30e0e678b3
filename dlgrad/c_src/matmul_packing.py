"""The packing of the matmul template in C: panels, and how operands get into them.

Floor 4.  `PANELS` and `COPYING` are fixed; `matmul_source.py` fills the rest in for each
operand and for the epilogue.  A line that is a name behind an @ stands for generated lines.
"""

PANELS = """\
static __attribute__((noinline)) element sum_of_lanes(const vector *lanes)
{
    element sum = 0;
    for (int64_t i = 0; i < LANES; i++)
        sum += (*lanes)[i];
    return sum;
}

/* Copies `count` elements of `lanes` lanes, each lane a run of memory, to a panel: a transpose
   in blocks of SQUARE elements x LANES lanes.  Of each lane, `readable` elements may be read.  A
   block may write past the lanes or the elements; from the right to the left, the next ones mend
   it. */
static void transpose(
    const item *from, const int64_t *lane, int64_t lanes, int64_t count, int64_t readable,
    element *to, int64_t width)
{
    if (width == 1) {
        __builtin_memcpy(to, from + lane[0], sizeof(element) * count);
        return;
    }
    int64_t done = 0;
    while (done < count && done + SQUARE <= readable) {
        const int64_t stop = smaller(done + LINE, smaller(round_up(count, SQUARE), readable));
        int64_t k = done;
        for (int64_t i = (lanes - 1) / LANES * LANES; i >= 0; i -= LANES)
            for (k = done; k + SQUARE <= stop; k += SQUARE)
                transpose_block(from + k * FOLD, lane + i, to + k * width + i, width);
        done = k;
    }
    for (; done < count; done++)
        for (int64_t i = 0; i < lanes; i++)
            __builtin_memcpy(
                to + done * width + i, from + lane[i] + done * FOLD, sizeof(element));
}

enum way { BY_ELEMENT, BY_LANES, BY_STEPS, UNPACKED_LANES, UNPACKED_STEPS, UNPACKED_ROWS };

/* One vector of a panel: lanes from `lane` on, of which those of the same run count. */
struct chunk {
    int64_t lane, steps;
};

/* Some lanes of a tile, side by side in a place `width` wide. */
struct panel {
    int64_t first, lanes, width, place;
    enum way way;
    int is_dense;             /* the lanes are neighbours, in every access */
    int is_spread;            /* the chunks take every second element, as under a stride of 2 */
    int64_t chunk_count;
    struct chunk *chunks;
};

/* How far past the address of its batch the whole vectors of a panel reach. */
static int64_t reach_of_chunks(const int64_t *across, const struct panel *panel)
{
    const int64_t length = panel->is_spread ? 2 * LANES : LANES;
    int64_t reach = 0;
    for (int64_t c = 0; c < panel->chunk_count; c++)
        reach = larger(reach, across[panel->chunks[c].lane] + length - 1);
    return reach;
}

/* One operand at work: its tables for a tile and a block of k, and its packed panels. */
struct side {
    struct addresses at;
    struct group across_group, along_group;
    int64_t tile_length, total, width;
    int64_t tile, block;      /* that the tables are for */
    int64_t lanes, steps;     /* how many places they hold */
    int64_t packed_steps;     /* how many elements the steps are in a lane of a panel */
    struct panel *panels;
    int64_t panel_count;
    struct chunk *chunks;
    int any_steps;            /* whether chunks may stand still in some accesses */
    struct run *step_runs;
    int64_t step_run_count, step_cost;
    int stays;                /* the same for every batch */
    int is_thin;
    int is_direct;            /* rows for so few columns that packing would cost more */
    const element *plain;     /* the memory of an operand that is a mere load, else NULL */
    element *store;           /* `slots` packed tiles of `slot_size` elements */
    int64_t slots, slot_size, *keys;
    int64_t *states;          /* where threads share all tiles: of each; else NULL */
    void (*wait)(void);
    void (*pack)(
        void *const *buffers, const double *scalars, const struct side *side,
        const struct panel *panel, int64_t first, int64_t last, element *to);
};

/* True if the steps are a few long runs of memory.  A run at the edge of a block may look like
   one where in truth the steps stand still, so each is asked. */
static int are_steps_long(const struct side *side)
{
    if (side->step_run_count * 4 * LANES > side->steps)
        return 0;
    for (int64_t r = 0; r < side->step_run_count; r++)
        if (side->step_runs[r].steps != 1)
            return 0;
    return 1;
}

/* How to pack a panel: vectors of lanes, or transposing, or element by element.  The costs are
   measured, in half cycles; a vector costs more where it is likely to cross lines of cache. */
static enum way choose_way(const struct side *side, const struct panel *panel)
{
    const int64_t vector_cost = 4 + (int64_t)sizeof(vector) / (panel->is_spread ? 3 : 4);
    const int64_t by_lanes = panel->chunk_count
        ? vector_cost * panel->chunk_count * side->packed_steps : __INT64_MAX__;
    const int64_t by_steps =
        side->step_cost * (panel->width == 1 ? 1 : 2 * round_up(panel->lanes, SQUARE));
    const int64_t by_element = 5 * panel->lanes * side->steps;
    if (by_lanes <= by_steps && by_lanes <= by_element)
        return BY_LANES;
    return by_steps < by_element ? BY_STEPS : BY_ELEMENT;
}

/* The same for columns of which so few rows make use that packing would cost more. */
static enum way choose_thin_way(const struct side *side, const struct panel *panel)
{
    if (panel->is_dense && panel->lanes == COLUMNS)
        return UNPACKED_LANES;
    return are_steps_long(side) ? UNPACKED_STEPS : choose_way(side, panel);
}

/* True for rows that the micro-kernel can read where they lie: along k, evenly apart, so that
   their lines do not drive each other out of the nearest cache. */
static int are_rows_direct(const struct side *side, const struct panel *panel)
{
    const int64_t *const across = side->at.across[0] + panel->first;
    if (panel->lanes != ROWS || side->step_run_count != 1 || side->step_runs[0].steps != 1)
        return 0;
    const int64_t step = across[1] - across[0];
    return step * (int64_t)sizeof(element) % CROWDED != 0
        && run_length(across, step, ROWS) == ROWS;
}

/* How wide the next panel is: of rows, there are micro-kernels for ROWS and powers of two. */
static inline int64_t panel_width(const struct side *side, int64_t left)
{
    if (side->width != ROWS)
        return side->width;
    if (side->is_thin)
        return 1;
    return left >= ROWS ? ROWS : left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

/* Cuts lanes whose addresses advance by 2 into chunks; returns how many. */
static int64_t find_spread(const int64_t *across, int64_t lanes, struct chunk *chunks)
{
    int64_t found = 0;
    for (int64_t i = 0, length; i < lanes; i += length) {
        length = i + 1 < lanes && across[i + 1] - across[i] == 2
            ? run_length(across + i, 2, lanes - i) : 1;
        for (int64_t j = 0; j < length; j += LANES)
            chunks[found++] = (struct chunk){i + j, 2};
    }
    return found;
}

SMALL static void set_tile(const struct problem *p, struct side *side, int64_t tile)
{
    if (side->tile == tile)
        return;
    const int64_t first = tile * side->tile_length;
    side->tile = tile;
    side->lanes = smaller(side->tile_length, side->total - first);
    for (int64_t q = 0; q < side->at.count; q++) {
        int64_t *table = side->at.across[q];
        fill_table(p, side->at.accesses[q], &side->across_group, first, side->lanes, table);
        for (int64_t i = 0; i < LANES; i++) /* transposing reads lanes past the edge */
            table[side->lanes + i] = table[side->lanes - 1];
    }
    struct panel *panel = side->panels;
    struct chunk *chunk = side->chunks;
    const int64_t all = ((int64_t)1 << side->at.count) - 1;
    side->panel_count = 0;
    for (int64_t at = 0; at < side->lanes; at += panel++->width) {
        struct run runs[WIDEST];
        panel->first = at;
        panel->way = BY_ELEMENT; /* until it is packed, by this call or by another */
        panel->width = panel_width(side, side->lanes - at);
        panel->lanes = smaller(panel->width, side->lanes - at);
        panel->place = at * p->lane_size + LANES * side->panel_count++;
        panel->chunks = chunk;
        panel->chunk_count = 0;
        panel->is_dense = 0;
        const int64_t *const across = side->at.across[0] + at;
        const int64_t step = side->at.count && panel->lanes > 1 ? across[1] - across[0] : 1;
        panel->is_spread = side->plain && step == 2;
        if (step > 2 && run_length(across, step, panel->lanes) == panel->lanes)
            continue; /* each lane by itself: a vector would hold one */
        if (panel->is_spread) {
            panel->chunk_count = find_spread(across, panel->lanes, chunk);
            chunk += panel->chunk_count;
            continue;
        }
        const int64_t found =
            find_runs(side->at.across, side->at.count, at, panel->lanes, runs);
        panel->is_dense = found == 1 && runs[0].steps == all;
        for (int64_t r = 0; r < found; r++) {
            if (runs[r].steps != all && !side->any_steps) {
                panel->chunk_count = 0;
                break;
            }
            for (int64_t i = 0; i < runs[r].count; i += LANES) {
                *chunk++ = (struct chunk){runs[r].start + i, runs[r].steps};
                panel->chunk_count++;
            }
        }
    }
}

SMALL static void set_block(const struct problem *p, struct side *side, int64_t block)
{
    if (side->block == block)
        return;
    const int64_t first = block * p->depth_block;
    side->block = block;
    side->steps = smaller(p->depth_block, p->depth - first);
    side->packed_steps = parts(side->steps, FOLD);
    side->step_cost = 0;
    for (int64_t q = 0; q < side->at.count; q++) {
        int64_t *table = side->at.along[q];
        fill_table(p, side->at.accesses[q], &side->along_group, first, side->steps, table);
    }
    side->step_run_count =
        find_runs(side->at.along, side->at.count, 0, side->steps, side->step_runs);
    for (int64_t r = 0; r < side->step_run_count; r++)
        side->step_cost += 1 + round_up(parts(side->step_runs[r].count, FOLD), SQUARE);
}

enum { EMPTY, BEING_PACKED, PACKED };

/* True for the thread that packs a shared tile; for the others the tile is ready then. */
static int is_to_pack(const struct side *side, int64_t slot)
{
    int64_t state = EMPTY;
    if (__atomic_compare_exchange_n(
            &side->states[slot], &state, BEING_PACKED, 0, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE))
        return 1;
    while (__atomic_load_n(&side->states[slot], __ATOMIC_ACQUIRE) != PACKED)
        side->wait();
    return 0;
}

/* The packed panels of a tile for one batch and block of k, from the store where they lie. */
static __attribute__((noinline)) const element *packed_tile(
    const struct problem *p, struct side *side, void *const *buffers, const double *scalars,
    int64_t batch, int64_t tile, int64_t block)
{
    const int64_t tiles = parts(side->total, side->tile_length);
    const int64_t key = ((side->stays ? 0 : batch) * p->depth_blocks + block) * tiles + tile;
    const int64_t slot = side->states ? block * tiles + tile : tile % side->slots;
    element *const packed = side->store + slot * side->slot_size;
    set_tile(p, side, tile);
    set_block(p, side, block);
    locate_batch(p, &side->at, batch);
    if (side->is_direct)
        for (int64_t i = 0; i < side->panel_count; i++)
            side->panels[i].way =
                are_rows_direct(side, &side->panels[i]) ? UNPACKED_ROWS : BY_ELEMENT;
    if (side->states ? !is_to_pack(side, slot) : side->keys[slot] == key)
        return packed;
    if (!side->states)
        side->keys[slot] = key;
    for (int64_t i = 0; i < side->panel_count; i++) {
        struct panel *const panel = &side->panels[i];
        element *const to = packed + panel->place;
        if (!side->is_direct || panel->way != UNPACKED_ROWS)
            panel->way = side->is_thin && side->width == COLUMNS
                ? choose_thin_way(side, panel) : choose_way(side, panel);
        const int64_t written = round_up(panel->lanes, panel->way == BY_STEPS ? LANES : 1);
        if (panel->way < UNPACKED_LANES && written < panel->width)
            __builtin_memset(to, 0, sizeof(element) * panel->width * side->packed_steps);
        if (panel->way == BY_STEPS)
            side->pack(buffers, scalars, side, panel, 0, side->steps, to);
    }
    /* A few steps of all panels at a time: neighbouring panels share lines and pages. */
    for (int64_t first = 0; first < side->steps; first += SWEEP) {
        const int64_t last = smaller(first + SWEEP, side->steps);
        for (int64_t i = 0; i < side->panel_count; i++) {
            const struct panel *const panel = &side->panels[i];
            if (panel->way == BY_LANES || panel->way == BY_ELEMENT)
                side->pack(buffers, scalars, side, panel, first, last, packed + panel->place);
        }
    }
    if (side->states)
        __atomic_store_n(&side->states[slot], PACKED, __ATOMIC_RELEASE);
    return packed;
}
"""

# For operands whose packing is copying.
COPYING = """\
/* Copies vectors of neighbouring lanes, row after row of the panel, as far as the memory may be
   read; what a vector writes past its run, the next one mends.  Returns where it stopped. */
static inline __attribute__((always_inline)) int64_t copy_rows(
    const element *from, const int64_t *across, const int64_t *along, int64_t highest,
    const struct chunk *chunks, int64_t count, int64_t k, int64_t last,
    element *to, int64_t width)
{
    for (; k < last && along[k] <= highest; k++)
        for (int64_t c = 0; c < count; c++)
            *(loose_vector *)(to + k * width + chunks[c].lane) =
                *(const loose_vector *)(from + along[k] + across[chunks[c].lane]);
    return k;
}

/* The same where the lanes are every second element. */
static int64_t copy_spread(
    const element *from, const int64_t *across, const int64_t *along, int64_t highest,
    const struct chunk *chunks, int64_t count, int64_t k, int64_t last,
    element *to, int64_t width)
{
    for (; k < last && along[k] <= highest; k++)
        for (int64_t c = 0; c < count; c++) {
            const element *const at = from + along[k] + across[chunks[c].lane];
            const vector low = *(const loose_vector *)at;
            const vector high = *(const loose_vector *)(at + LANES);
            *(loose_vector *)(to + k * width + chunks[c].lane) = EVENS(low, high);
        }
    return k;
}

static int64_t copy_chunks(
    const element *from, const int64_t *across, const int64_t *along, int64_t highest,
    const struct panel *panel, int64_t k, int64_t last, element *to)
{
    const struct chunk *const chunks = panel->chunks;
    const int64_t width = panel->width;
    if (panel->is_spread)
        return copy_spread(
            from, across, along, highest, chunks, panel->chunk_count, k, last, to, width);
    switch (panel->chunk_count) {
    case 1:
        return copy_rows(from, across, along, highest, chunks, 1, k, last, to, width);
    case 2:
        return copy_rows(from, across, along, highest, chunks, 2, k, last, to, width);
    case 3:
        return copy_rows(from, across, along, highest, chunks, 3, k, last, to, width);
    case 4:
        return copy_rows(from, across, along, highest, chunks, 4, k, last, to, width);
    default:
        return copy_rows(
            from, across, along, highest, chunks, panel->chunk_count, k, last, to, width);
    }
}
"""

# The same for pairs of bfloat16: an element holds the numbers of two steps, the first one below.
PAIRING = """\
/* One pair, of steps k and k + 1 of a lane; there is a zero behind the last step. */
static inline void put_pair(
    const item *from, const int64_t *along, int64_t k, int64_t steps, element *to)
{
    const uint32_t low = from[along[k]];
    const uint32_t high = k + 1 < steps ? from[along[k + 1]] : 0;
    const uint32_t pair = low | high << 16;
    __builtin_memcpy(to, &pair, sizeof pair);
}

/* Pairs of vectors of neighbouring lanes, row after row of the panel, as far as the memory may
   be read; what a vector writes past its run, the next one mends.  Returns where it stopped. */
static int64_t copy_chunks(
    const item *from, const int64_t *across, const int64_t *along, int64_t highest,
    const struct panel *panel, int64_t k, int64_t last, element *to)
{
    for (; k + 1 < last && larger(along[k], along[k + 1]) <= highest; k += 2)
        for (int64_t c = 0; c < panel->chunk_count; c++) {
            const int64_t lane = panel->chunks[c].lane;
            const item *const at = from + across[lane];
            const words low = WORDS(*(const loose_items *)(at + along[k]));
            const words high = WORDS(*(const loose_items *)(at + along[k + 1]));
            *(loose_vector *)(to + k / 2 * panel->width + lane) = (vector)(low | high << 16);
        }
    return k;
}
"""

PACKING = """\
/* Packs steps [first, last) of a panel, which are all steps if BY_STEPS. */
static void pack_SIDE(
    void *const *buffers, const double *scalars, const struct side *side,
    const struct panel *panel, int64_t first, int64_t last, element *restrict to)
{
    @DECLARATIONS
    @TABLES
    const int64_t lanes = panel->lanes, width = panel->width;
    if (panel->way == BY_STEPS) {
        @BY_STEPS
        return;
    }
    int64_t k = first;
    if (panel->way == BY_LANES) {
        @REACH
        @BY_LANES
    }
    for (; k < last; k += FOLD)
        for (int64_t lane = 0; lane < lanes; lane++) {
            element *const row = to + k / FOLD * width;
            @BY_ELEMENT
        }
}
"""

# Where packing is copying: whole vectors of neighbouring lanes, or squares of a transpose.
PLAIN_LANES = """\
k = copy_chunks(
    (const item *)NAME + base0, across0, along0, highest0 - base0 - reach0, panel, k, last, to);
"""

PLAIN_STEPS = """\
int64_t top = across0[0];
for (int64_t i = 1; i < round_up(lanes, LANES); i++)
    top = larger(top, across0[i]);
for (int64_t r = 0; r < side->step_run_count; r++) {
    const struct run run = side->step_runs[r];
    const int64_t end = run.start + run.count;
    int64_t k = round_up(run.start, FOLD);
    const int64_t count = run.steps == 1 ? (end - k) / FOLD : 0;
    if (count > 0) {
        const int64_t at0 = base0 + along0[k];
        transpose(
            (const item *)NAME + at0, across0, lanes, count, (highest0 - at0 - top + 1) / FOLD,
            to + k / FOLD * width, width);
        k += count * FOLD;
    }
    for (; k < end; k += FOLD)
        for (int64_t lane = 0; lane < lanes; lane++) {
            element *const row = to + k / FOLD * width;
            @BY_ELEMENT
        }
}
"""

# Where packing computes: the same order, through a strip of computed lanes for a transpose.
FUSED_LANES = """\
for (; k < last; k++) {
    int fits = 1; /* vectors read past a run, but must not read past the memory */
    @FITS
    if (!fits)
        break;
    for (int64_t c = 0; c < panel->chunk_count; c++) {
        const int64_t lane = panel->chunks[c].lane;
        element *const row = to + k * width + lane;
        @AT
        switch (panel->chunks[c].steps) {
        @CASES
        }
    }
}
"""

FUSED_STEPS = """\
element strip[(WIDEST + LANES) * STRIP] = {0};
int64_t strips[WIDEST + LANES];
for (int64_t i = 0; i < WIDEST + LANES; i++)
    strips[i] = i * STRIP;
for (int64_t r = 0; r < side->step_run_count; r++) {
    const struct run run = side->step_runs[r];
    for (int64_t done = 0; done < run.count; done += STRIP) {
        const int64_t count = smaller(STRIP, run.count - done), start = run.start + done;
        for (int64_t lane = 0; lane < lanes; lane++) {
            element *const row = strip + lane * STRIP;
            @AT_STEP
            switch (run.steps) {
            @CASES
            }
            for (int64_t j = 0; j < count; j++) {
                @BY_STEP
            }
        }
        transpose(strip, strips, lanes, count, STRIP, to + start * width, width);
    }
}
"""

EPILOGUE = """\
/* Stores `rows` rows of sums, `pitch` apart, whose columns lie in `runs`. */
static void finish(
    void *const *buffers, const double *scalars, const struct addresses *at,
    int64_t first_row, int64_t rows, int64_t first_column,
    const struct run *runs, int64_t run_count, const element *sums, int64_t pitch)
{
    @DECLARATIONS
    for (int64_t i = first_row; i < first_row + rows; i++, sums += pitch)
        for (int64_t r = 0; r < run_count; r++) {
            const struct run run = runs[r];
            const int64_t column = first_column + run.start;
            const element *const from = sums + run.start;
            @AT
            if (run.steps == EVERY && run.count == COLUMNS) {
                @WHOLE
                continue;
            }
            switch (run.steps) {
            @CASES
            }
            for (int64_t j = 0; j < run.count; j++) {
                @BY_ELEMENT
            }
        }
}
"""
