/* optimizer step */

extern "C" __global__ void __launch_bounds__(256) optimizer_step_example(float *weight,
    float *momentum, const float *gradient, long long n, float scalar0, float scalar1,
    long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    const float velocity = scalar0 * momentum[i] + gradient[i];
    momentum[i] = velocity;
    weight[i] = weight[i] - scalar1 * velocity;
}
