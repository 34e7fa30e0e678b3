/* optimizer step */

typedef __INT64_TYPE__ int64_t;

void optimizer_step_example(void *const *buffers, const int64_t *sizes,
    const double *scalars, int64_t begin, int64_t end)
{
    float *restrict weight = buffers[0];
    float *restrict momentum = buffers[1];
    const float *restrict gradient = buffers[2];
    const float scalar0 = (float)scalars[0];
    const float scalar1 = (float)scalars[1];
    #pragma omp simd
    for (int64_t i = begin; i < end; i++) {
        const float velocity = scalar0 * momentum[i] + gradient[i];
        momentum[i] = velocity;
        weight[i] = weight[i] - scalar1 * velocity;
    }
}
