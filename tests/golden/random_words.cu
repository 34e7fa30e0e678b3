/* random words */

/* Word (counter mod 4) of block (counter / 4) of the Philox 4x32-10 random generator. */
__device__ static inline unsigned int dg_philox(unsigned long long key, unsigned long long counter)
{
    unsigned int key0 = (unsigned int)key, key1 = (unsigned int)(key >> 32);
    unsigned int a = (unsigned int)(counter >> 2), b = (unsigned int)(counter >> 34), c = 0, d = 0;
    for (int round = 0; round < 10; round++) {
        const unsigned long long left = (unsigned long long)0xD2511F53u * a;
        const unsigned long long right = (unsigned long long)0xCD9E8D57u * c;
        a = (unsigned int)(right >> 32) ^ b ^ key0;
        b = (unsigned int)right;
        c = (unsigned int)(left >> 32) ^ d ^ key1;
        d = (unsigned int)left;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    const unsigned int low = counter & 1 ? b : a;
    const unsigned int high = counter & 1 ? d : c;
    return counter & 2 ? high : low;
}

extern "C" __global__ void __launch_bounds__(256) random_words_example(unsigned int *out,
    long long n, long long scalar0, long long work)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= work) return;
    out[i] = dg_philox((unsigned long long)scalar0, (unsigned long long)i);
}
