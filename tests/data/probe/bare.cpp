// No library, no start file: NEON must come from the flags of the toolchain file.
#include <arm_neon.h>

extern "C" [[noreturn]] void _start()
{
    volatile float out[4];
    float32x4_t x = vdupq_n_f32(1.5f);
    x = vmlaq_f32(x, x, x);
    for (;;) {
        out[0] = vgetq_lane_f32(x, 0);
    }
}
