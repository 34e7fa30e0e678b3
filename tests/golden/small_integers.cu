/* small integers */

/* The rest of that division, with the sign of b; by zero it gives a. */
__device__ static inline signed char dg_mod_i8(signed char a, signed char b)
{
    if (b == 0) return a;
    if (b == -1) return 0;
    const signed char rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

/* Division towards minus infinity; by zero it gives 0. */
__device__ static inline signed char dg_floordiv_i8(signed char a, signed char b)
{
    if (b == 0) return 0;
    if (b == -1) return (signed char)(0 - (unsigned int)a);
    const signed char quotient = a / b;
    const signed char rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? quotient - 1 : quotient;
}

extern "C" __global__ void __launch_bounds__(256) small_integers_example(signed char *out,
    signed char *rest, const signed char *x, const signed char *y, long long n, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    out[i] = (signed char)((unsigned int)(signed char)((unsigned int)x[i] * (unsigned int)y[i]) +
        (unsigned int)(signed char)((unsigned int)0 - (unsigned int)x[i]));
    rest[i] = dg_mod_i8(dg_floordiv_i8(x[i], y[i]), 5);
}
