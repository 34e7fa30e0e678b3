/* functions */

extern "C" __global__ void __launch_bounds__(256) functions_example(float *exp_out,
    float *log_out, float *tanh_out, float *erf_out, float *sin_out, float *sqrt_out,
    const float *x, long long n, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    exp_out[i] = expf(x[i]);
    log_out[i] = logf(x[i]);
    tanh_out[i] = tanhf(x[i]);
    erf_out[i] = erff(x[i]);
    sin_out[i] = sinf(x[i]);
    sqrt_out[i] = sqrtf(x[i]);
}
