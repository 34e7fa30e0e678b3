/* out = (a * 2) @ b + c */

/* How far element `index` of some row-major dimensions lies into memory. */
__device__ static inline long long dg_place(
    long long index, long long rank, const long long *sizes, const long long *strides)
{
    long long place = 0;
    #pragma unroll 1
    for (long long d = rank - 1; d >= 0; d--) {
        place += index % sizes[d] * strides[d];
        index /= sizes[d];
    }
    return place;
}

/* The number of elements of some dimensions. */
__device__ static inline long long dg_count(long long rank, const long long *sizes)
{
    long long count = 1;
    for (long long d = 0; d < rank; d++)
        count *= sizes[d];
    return count;
}

extern "C" __global__ void __launch_bounds__(256) matmul_float32(float *out, const float *a,
    const float *b, const float *c, const long long *sizes)
{
    __shared__ float a_tile[16 * 17];
    __shared__ float b_tile[16 * 17];

    const long long batch_rank = sizes[0], m_rank = sizes[1];
    const long long n_rank = sizes[2], k_rank = sizes[3];
    const long long *batch_sizes = sizes + 4;
    const long long *m_sizes = batch_sizes + batch_rank;
    const long long *n_sizes = m_sizes + m_rank;
    const long long *k_sizes = n_sizes + n_rank;
    const long long m_strides = 1 + batch_rank;  /* where they stand in the table of an access */
    const long long n_strides = m_strides + m_rank;
    const long long k_strides = n_strides + n_rank;
    const long long *table0 = k_sizes + k_rank;
    const long long *table1 = table0 + k_strides + k_rank;
    const long long *table2 = table1 + k_strides + k_rank;
    const long long *table3 = table2 + k_strides + k_rank;
    const long long m_count = dg_count(m_rank, m_sizes);
    const long long n_count = dg_count(n_rank, n_sizes);
    const long long k_count = dg_count(k_rank, k_sizes);

    /* This group's tile, and this thread's element of it. */
    const long long tile_rows = (m_count + 15) / 16;
    const long long tile_columns = (n_count + 15) / 16;
    const long long job = blockIdx.x;
    const int tile_row = (int)(threadIdx.x) / 16;
    const int tile_column = (int)(threadIdx.x) % 16;
    const long long batch_index = job / (tile_rows * tile_columns);
    const long long m_index = job / tile_columns % tile_rows * 16 + tile_row;
    const long long n_index = job % tile_columns * 16 + tile_column;
    const bool m_inside = m_index < m_count;
    const bool n_inside = n_index < n_count;

    /* What does not change with k. */
    const long long a_start0 = table0[0]
        + dg_place(batch_index, batch_rank, batch_sizes, table0 + 1)
        + dg_place(m_index, m_rank, m_sizes, table0 + m_strides);
    const long long b_start1 = table1[0]
        + dg_place(batch_index, batch_rank, batch_sizes, table1 + 1)
        + dg_place(n_index, n_rank, n_sizes, table1 + n_strides);

    float accumulator = 0.0f;
    for (long long k_start = 0; k_start < k_count; k_start += 16) {
        const long long a_k = k_start + tile_column;
        const long long b_k = k_start + tile_row;
        float a_value = 0.0f;
        float b_value = 0.0f;
        if (m_inside && a_k < k_count) {
            const long long place0 = a_start0 + dg_place(a_k, k_rank, k_sizes, table0 + k_strides);
            a_value = a[place0] * 2.0f;
        }
        if (n_inside && b_k < k_count) {
            const long long place1 = b_start1 + dg_place(b_k, k_rank, k_sizes, table1 + k_strides);
            b_value = b[place1];
        }
        a_tile[tile_row * 17 + tile_column] = a_value;
        b_tile[tile_row * 17 + tile_column] = b_value;
        __syncthreads();
        for (int step = 0; step < 16; step++) {
            a_value = a_tile[tile_row * 17 + step];
            b_value = b_tile[step * 17 + tile_column];
            accumulator = accumulator + a_value * b_value;
        }
        __syncthreads();
    }
    if (m_inside && n_inside) {
        const long long place2 = table2[0]
            + dg_place(batch_index, batch_rank, batch_sizes, table2 + 1)
            + dg_place(m_index, m_rank, m_sizes, table2 + m_strides)
            + dg_place(n_index, n_rank, n_sizes, table2 + n_strides);
        const long long place3 = table3[0]
            + dg_place(batch_index, batch_rank, batch_sizes, table3 + 1)
            + dg_place(m_index, m_rank, m_sizes, table3 + m_strides)
            + dg_place(n_index, n_rank, n_sizes, table3 + n_strides);
        out[place3] = accumulator + c[place2];
    }
}
