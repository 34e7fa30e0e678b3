// Rounding to bfloat16, which is a call on processors that cannot do it; older run-time
// libraries of compilers lack it.
#include <cstdint>
#include <cstring>

extern "C" __bf16 __truncsfbf2(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bool is_nan = value != value;
    uint16_t rounded = is_nan ? uint16_t(bits >> 16 | 0x40)  // quiet, whatever bits are cut
                              : uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    __bf16 result;
    memcpy(&result, &rounded, sizeof result);
    return result;
}
