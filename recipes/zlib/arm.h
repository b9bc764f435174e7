/* What zlib 1.3.1 lacks on 32-bit ARM: both sums of Adler-32 by NEON, CRC-32 by the instructions
 * of ARMv8. On 64-bit ARM zlib has the latter itself. */
#if defined(__ARM_NEON)
#include <arm_neon.h>

enum {
  ADLER_BASE = 65521,
  ADLER_STEP = 32,
  ADLER_STEPS = 173 /* so many bytes of 255 add up in 16 bits, and the second sum in 32 */
};

static inline uint32_t sum_of_lanes(uint32x4_t lanes) {
  const uint32x2_t pairs = vadd_u32(vget_low_u32(lanes), vget_high_u32(lanes));
  return vget_lane_u32(vpadd_u32(pairs, pairs), 0);
}

/* Adds up columns of 16 bytes, each times its distance from the end of the step. */
static inline uint32x4_t add_columns(uint32x4_t sum, uint16x8_t columns, const uint16_t *weights) {
  const uint16x8_t weight = vld1q_u16(weights);
  sum = vmlal_u16(sum, vget_low_u16(columns), vget_low_u16(weight));
  return vmlal_u16(sum, vget_high_u16(columns), vget_high_u16(weight));
}

/* Takes whole steps off the bytes; both sums stay below ADLER_BASE. */
static inline void adler_steps(unsigned long *sum1, unsigned long *sum2, const unsigned char **bytes,
                        z_size_t *len) {
  static const uint16_t weights[ADLER_STEP] = {32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22,
                                               21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11,
                                               10, 9,  8,  7,  6,  5,  4,  3,  2,  1};
  const unsigned char *at = *bytes;
  while (*len >= ADLER_STEP) {
    z_size_t steps = *len / ADLER_STEP;
    if (steps > ADLER_STEPS) steps = ADLER_STEPS;
    *len -= steps * ADLER_STEP;
    uint32x4_t added = vdupq_n_u32(0), before = added, second = added;
    uint16x8_t a = vdupq_n_u16(0), b = a, c = a, d = a;
    for (z_size_t i = 0; i < steps; ++i, at += ADLER_STEP) {
      const uint8x16_t low = vld1q_u8(at), high = vld1q_u8(at + 16);
      before = vaddq_u32(before, added); /* the bytes of the steps before, once for each step */
      added = vpadalq_u16(added, vpadalq_u8(vpaddlq_u8(low), high));
      a = vaddw_u8(a, vget_low_u8(low));
      b = vaddw_u8(b, vget_high_u8(low));
      c = vaddw_u8(c, vget_low_u8(high));
      d = vaddw_u8(d, vget_high_u8(high));
    }
    second = add_columns(second, a, weights);
    second = add_columns(second, b, weights + 8);
    second = add_columns(second, c, weights + 16);
    second = add_columns(second, d, weights + 24);
    second = vmlaq_n_u32(second, before, ADLER_STEP);
    *sum2 = (*sum2 + *sum1 * steps * ADLER_STEP + sum_of_lanes(second)) % ADLER_BASE;
    *sum1 = (*sum1 + sum_of_lanes(added)) % ADLER_BASE;
  }
  *bytes = at;
}
#endif

#if defined(__arm__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#include <string.h>

static inline unsigned long crc_by_instructions(uint32_t crc, const unsigned char *bytes, z_size_t len) {
  crc = ~crc;
  for (; len >= 16; len -= 16, bytes += 16) {
    uint32_t words[4];
    memcpy(words, bytes, sizeof words);
    crc = __crc32w(crc, words[0]);
    crc = __crc32w(crc, words[1]);
    crc = __crc32w(crc, words[2]);
    crc = __crc32w(crc, words[3]);
  }
  while (len-- > 0) crc = __crc32b(crc, *bytes++);
  return ~crc;
}
#endif
