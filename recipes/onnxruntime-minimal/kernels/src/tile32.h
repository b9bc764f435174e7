// The tile of AArch32: 4 rows by 4 columns, sums in vector lanes.
//
// Its loop takes 16 of depth a step: `vmull.s8` and `vmlal.s8` put the sum of two products in 16
// bits, `vpadal.s16` adds neighbours into 32. Two products of -128..127 and -127..127 always fit:
// 2 * 128 * 127 < 2^15. That is 16 products in 3 instructions; widening first, as ONNX Runtime's
// `vmlal.u16` kernel does, gives 4 in one.
//
// A 64-bit operand holds 4 steps of depth for each of 2 columns. The row's operand is used as it
// is, then with its halves exchanged, so that each column meets all 8 steps: weights are packed in
// this order, rows are packed in both. No lane is ever broadcast, and at the end one `vpadd` per
// two sums is all that is left to add.
#pragma once

#include <cstddef>
#include <cstdint>

#include "neon.h"

namespace edgewright {

// q0-q1 rows, q2-q3 and q6-q7 products, q4-q5 weights; sums of columns 0-1 in the operands,
// of columns 2-3 in q8-q11.
#define EW_CLEAR(register) "vmov.i32 " register ", #0\n\t"
#define EW_TWO_ROWS(sum0a, sum0b, sum1a, sum1b) \
  "vmull.s8 q2, d0, d8\n\t"                     \
  "vmull.s8 q3, d0, d10\n\t"                    \
  "vmull.s8 q6, d2, d8\n\t"                     \
  "vmull.s8 q7, d2, d10\n\t"                    \
  "vmlal.s8 q2, d1, d9\n\t"                     \
  "vmlal.s8 q3, d1, d11\n\t"                    \
  "vmlal.s8 q6, d3, d9\n\t"                     \
  "vmlal.s8 q7, d3, d11\n\t"                    \
  "vld1.8 {d0-d3}, [%[rows]]!\n\t"              \
  "vpadal.s16 " sum0a ", q2\n\t"                \
  "vpadal.s16 " sum0b ", q3\n\t"                \
  "vpadal.s16 " sum1a ", q6\n\t"                \
  "vpadal.s16 " sum1b ", q7\n\t"
#define EW_FOLD(sum, other_low, other_high)  \
  "vpadd.i32 %e" sum ", %e" sum ", %f" sum "\n\t" \
  "vpadd.i32 %f" sum ", " other_low ", " other_high "\n\t"

// The same for any bytes: one product at a time in 16 bits, since two of -128 * -128 overflow.
#define EW_TWO_ROWS_WIDE(sum0a, sum0b, sum1a, sum1b)                                    \
  "vmull.s8 q2, d0, d8\n\t"                                                             \
  "vmull.s8 q3, d0, d10\n\t"                                                            \
  "vmull.s8 q6, d2, d8\n\t"                                                             \
  "vmull.s8 q7, d2, d10\n\t"                                                            \
  "vpadal.s16 " sum0a ", q2\n\t"                                                        \
  "vpadal.s16 " sum0b ", q3\n\t"                                                        \
  "vpadal.s16 " sum1a ", q6\n\t"                                                        \
  "vpadal.s16 " sum1b ", q7\n\t"                                                        \
  "vmull.s8 q2, d1, d9\n\t"                                                             \
  "vmull.s8 q3, d1, d11\n\t"                                                            \
  "vmull.s8 q6, d3, d9\n\t"                                                             \
  "vmull.s8 q7, d3, d11\n\t"                                                            \
  "vld1.8 {d0-d3}, [%[rows]]!\n\t"                                                      \
  "vpadal.s16 " sum0a ", q2\n\t"                                                        \
  "vpadal.s16 " sum0b ", q3\n\t"                                                        \
  "vpadal.s16 " sum1a ", q6\n\t"                                                        \
  "vpadal.s16 " sum1b ", q7\n\t"

#define EW_STEP(EW_ROWS)                    \
  EW_ROWS("%q[r0]", "q8", "%q[r1]", "q9")   \
  EW_ROWS("%q[r2]", "q10", "%q[r3]", "q11") \
  "vld1.8 {d8-d11}, [%[weights]]!\n\t"      \
  EW_ROWS("%q[r0]", "q8", "%q[r1]", "q9")   \
  EW_ROWS("%q[r2]", "q10", "%q[r3]", "q11") \
  "vld1.8 {d8-d11}, [%[weights]]!\n\t"

/// The sums of one tile, two steps a turn; the first turn of an odd number begins in its middle. Both
/// operands are read to 32 bytes beyond their end.
#define EW_TILE_SUMS(NAME, EW_ROWS)                                                                \
static Sums<4, 4> NAME(const int8_t* rows, const int8_t* weights, size_t steps) {                        \
  Sums<4, 4> sums;                                                                                       \
  __asm__ volatile(                                                                                \
      "vld1.8 {d8-d11}, [%[weights]]!\n\t"                                                         \
      "vld1.8 {d0-d3}, [%[rows]]!\n\t"                                                             \
      EW_CLEAR("%q[r0]") EW_CLEAR("q8") EW_CLEAR("%q[r1]") EW_CLEAR("q9")                          \
      EW_CLEAR("%q[r2]") EW_CLEAR("q10") EW_CLEAR("%q[r3]") EW_CLEAR("q11")                        \
      "tst %[steps], #1\n\t"                                                                       \
      "bne 2f\n\t"                                                                                 \
      "1:\n\t" EW_STEP(EW_ROWS)                                                                    \
      "2:\n\t" EW_STEP(EW_ROWS)                                                                    \
      "subs %[steps], %[steps], #2\n\t"                                                            \
      "bgt 1b\n\t"                                                                                 \
      EW_FOLD("[r0]", "d16", "d17") EW_FOLD("[r1]", "d18", "d19")                                  \
      EW_FOLD("[r2]", "d20", "d21") EW_FOLD("[r3]", "d22", "d23")                                  \
      : [r0] "=&w"(sums.row[0][0]), [r1] "=&w"(sums.row[1][0]), [r2] "=&w"(sums.row[2][0]),                 \
        [r3] "=&w"(sums.row[3][0]), [rows] "+r"(rows), [weights] "+r"(weights), [steps] "+r"(steps)   \
      :                                                                                            \
      : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q9", "q10", "q11", "cc", "memory"); \
  return sums;                                                                                     \
}

struct NeonTile {
  static constexpr size_t kRows = 4, kColumns = 4;
  static constexpr size_t kStepWeights = kColumns * kDepth;
  static constexpr size_t kStepRows = 2 * kRows * kDepth;  // as they are, and with halves exchanged

  /// Where weight (k, n) of a step lies in it: the first half are those that the row's operand meets
  /// as it is, the second half those that it meets with its halves exchanged.
  static constexpr size_t weight_place(size_t k, size_t n) {
    const size_t half = k / 8, word = k % 8 / 4, exchanged = word ^ (n % 2);
    return exchanged * 32 + n / 2 * 16 + half * 8 + n % 2 * 4 + k % 4;
  }

  /// Puts a step of one row at its place.
  static void pack_step(int8x16_t row, int8_t* packed) {
    vst1q_s8(packed, row);
    vst1q_s8(packed + kRows * kDepth,
             vreinterpretq_s8_u32(vrev64q_u32(vreinterpretq_u32_s8(row))));
  }

  EW_TILE_SUMS(sums, EW_TWO_ROWS)
  EW_TILE_SUMS(sums_wide, EW_TWO_ROWS_WIDE)
};

}  // namespace edgewright
