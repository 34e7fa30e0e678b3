/* out = (a * 2) @ b + c */

#include <metal_stdlib>
using namespace metal;

/* How far element `index` of some row-major dimensions lies into memory. */
static inline long dg_place(
    long index, long rank, constant long *sizes, constant long *strides)
{
    long place = 0;
    #pragma unroll 1
    for (long d = rank - 1; d >= 0; d--) {
        place += index % sizes[d] * strides[d];
        index /= sizes[d];
    }
    return place;
}

/* The number of elements of some dimensions. */
static inline long dg_count(long rank, constant long *sizes)
{
    long count = 1;
    for (long d = 0; d < rank; d++)
        count *= sizes[d];
    return count;
}

kernel void matmul_float32(device float *out [[buffer(0)]],
    device const float *a [[buffer(1)]], device const float *b [[buffer(2)]],
    device const float *c [[buffer(3)]], constant long *sizes [[buffer(29)]],
    constant ulong *numbers [[buffer(30)]], uint group [[threadgroup_position_in_grid]],
    uint local_index [[thread_index_in_threadgroup]])
{
    threadgroup float a_tile[16 * 17];
    threadgroup float b_tile[16 * 17];

    const long batch_rank = sizes[0], m_rank = sizes[1];
    const long n_rank = sizes[2], k_rank = sizes[3];
    constant long *batch_sizes = sizes + 4;
    constant long *m_sizes = batch_sizes + batch_rank;
    constant long *n_sizes = m_sizes + m_rank;
    constant long *k_sizes = n_sizes + n_rank;
    const long m_strides = 1 + batch_rank;  /* where they stand in the table of an access */
    const long n_strides = m_strides + m_rank;
    const long k_strides = n_strides + n_rank;
    constant long *table0 = k_sizes + k_rank;
    constant long *table1 = table0 + k_strides + k_rank;
    constant long *table2 = table1 + k_strides + k_rank;
    constant long *table3 = table2 + k_strides + k_rank;
    const long m_count = dg_count(m_rank, m_sizes);
    const long n_count = dg_count(n_rank, n_sizes);
    const long k_count = dg_count(k_rank, k_sizes);

    /* This group's tile, and this thread's element of it. */
    const long tile_rows = (m_count + 15) / 16;
    const long tile_columns = (n_count + 15) / 16;
    const long job = group;
    const int tile_row = (int)(local_index) / 16;
    const int tile_column = (int)(local_index) % 16;
    const long batch_index = job / (tile_rows * tile_columns);
    const long m_index = job / tile_columns % tile_rows * 16 + tile_row;
    const long n_index = job % tile_columns * 16 + tile_column;
    const bool m_inside = m_index < m_count;
    const bool n_inside = n_index < n_count;

    /* What does not change with k. */
    const long a_start0 = table0[0]
        + dg_place(batch_index, batch_rank, batch_sizes, table0 + 1)
        + dg_place(m_index, m_rank, m_sizes, table0 + m_strides);
    const long b_start1 = table1[0]
        + dg_place(batch_index, batch_rank, batch_sizes, table1 + 1)
        + dg_place(n_index, n_rank, n_sizes, table1 + n_strides);

    float accumulator = 0.0f;
    for (long k_start = 0; k_start < k_count; k_start += 16) {
        const long a_k = k_start + tile_column;
        const long b_k = k_start + tile_row;
        float a_value = 0.0f;
        float b_value = 0.0f;
        if (m_inside && a_k < k_count) {
            const long place0 = a_start0 + dg_place(a_k, k_rank, k_sizes, table0 + k_strides);
            a_value = a[place0] * 2.0f;
        }
        if (n_inside && b_k < k_count) {
            const long place1 = b_start1 + dg_place(b_k, k_rank, k_sizes, table1 + k_strides);
            b_value = b[place1];
        }
        a_tile[tile_row * 17 + tile_column] = a_value;
        b_tile[tile_row * 17 + tile_column] = b_value;
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (int step = 0; step < 16; step++) {
            a_value = a_tile[tile_row * 17 + step];
            b_value = b_tile[step * 17 + tile_column];
            accumulator = accumulator + a_value * b_value;
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    if (m_inside && n_inside) {
        const long place2 = table2[0]
            + dg_place(batch_index, batch_rank, batch_sizes, table2 + 1)
            + dg_place(m_index, m_rank, m_sizes, table2 + m_strides)
            + dg_place(n_index, n_rank, n_sizes, table2 + n_strides);
        const long place3 = table3[0]
            + dg_place(batch_index, batch_rank, batch_sizes, table3 + 1)
            + dg_place(m_index, m_rank, m_sizes, table3 + m_strides)
            + dg_place(n_index, n_rank, n_sizes, table3 + n_strides);
        out[place3] = accumulator + c[place2];
    }
}
