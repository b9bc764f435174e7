// The tiles of AArch64.
#pragma once

#include <asm/hwcap.h>
#include <sys/auxv.h>

#include <cstddef>
#include <cstdint>

#include "neon.h"

namespace edgewright {

// v0-v3 rows, v4-v7 columns, v8-v11 products; the sums of a row with columns 0 to 3 are an operand
// and three of v16-v27. What a step has used is loaded for the next one before its last additions.
#define EW_LOAD_01 "ldp q0, q1, [%[rows]], #32\n\t"
#define EW_LOAD_23 "ldp q2, q3, [%[rows]], #32\n\t"
#define EW_LOAD_COLUMNS               \
  "ldp q4, q5, [%[weights]], #32\n\t" \
  "ldp q6, q7, [%[weights]], #32\n\t"
#define EW_CLEAR(sum0, sum1, sum2, sum3) \
  "movi " sum0 ".4s, #0\n\t"             \
  "movi " sum1 ".4s, #0\n\t"             \
  "movi " sum2 ".4s, #0\n\t"             \
  "movi " sum3 ".4s, #0\n\t"
#define EW_ROW(row, sum0, sum1, sum2, sum3, load) \
  "smull v8.8h, " row ".8b, v4.8b\n\t"            \
  "smull v9.8h, " row ".8b, v5.8b\n\t"            \
  "smull v10.8h, " row ".8b, v6.8b\n\t"           \
  "smull v11.8h, " row ".8b, v7.8b\n\t"           \
  "smlal2 v8.8h, " row ".16b, v4.16b\n\t"         \
  "smlal2 v9.8h, " row ".16b, v5.16b\n\t"         \
  "smlal2 v10.8h, " row ".16b, v6.16b\n\t"        \
  "smlal2 v11.8h, " row ".16b, v7.16b\n\t"        \
  load                                            \
  "sadalp " sum0 ".4s, v8.8h\n\t"                 \
  "sadalp " sum1 ".4s, v9.8h\n\t"                 \
  "sadalp " sum2 ".4s, v10.8h\n\t"                \
  "sadalp " sum3 ".4s, v11.8h\n\t"

// The same for any bytes: one product at a time in 16 bits, since two of -128 * -128 overflow.
#define EW_ROW_WIDE(row, sum0, sum1, sum2, sum3, load) \
  "smull v8.8h, " row ".8b, v4.8b\n\t"                 \
  "smull v9.8h, " row ".8b, v5.8b\n\t"                 \
  "smull v10.8h, " row ".8b, v6.8b\n\t"                \
  "smull v11.8h, " row ".8b, v7.8b\n\t"                \
  "sadalp " sum0 ".4s, v8.8h\n\t"                      \
  "sadalp " sum1 ".4s, v9.8h\n\t"                      \
  "sadalp " sum2 ".4s, v10.8h\n\t"                     \
  "sadalp " sum3 ".4s, v11.8h\n\t"                     \
  "smull2 v8.8h, " row ".16b, v4.16b\n\t"              \
  "smull2 v9.8h, " row ".16b, v5.16b\n\t"              \
  "smull2 v10.8h, " row ".16b, v6.16b\n\t"             \
  "smull2 v11.8h, " row ".16b, v7.16b\n\t"             \
  load                                                 \
  "sadalp " sum0 ".4s, v8.8h\n\t"                      \
  "sadalp " sum1 ".4s, v9.8h\n\t"                      \
  "sadalp " sum2 ".4s, v10.8h\n\t"                     \
  "sadalp " sum3 ".4s, v11.8h\n\t"

#define EW_STEP(EW_ROWS)                                  \
  EW_ROWS("v0", "%[r0]", "v16", "v17", "v18", )           \
  EW_ROWS("v1", "%[r1]", "v19", "v20", "v21", EW_LOAD_01) \
  EW_ROWS("v2", "%[r2]", "v22", "v23", "v24", )           \
  EW_ROWS("v3", "%[r3]", "v25", "v26", "v27", EW_LOAD_23 EW_LOAD_COLUMNS)
#define EW_FOLD(sum0, sum1, sum2, sum3)            \
  "addp " sum0 ".4s, " sum0 ".4s, " sum1 ".4s\n\t" \
  "addp " sum2 ".4s, " sum2 ".4s, " sum3 ".4s\n\t" \
  "addp " sum0 ".4s, " sum0 ".4s, " sum2 ".4s\n\t"

/// The sums of one tile, two steps a turn; the first turn of an odd number begins in its middle. Both
/// operands are read to 64 bytes beyond their end.
#define EW_TILE_SUMS(NAME, EW_ROWS)                                                               \
  static Sums<4, 4> NAME(const int8_t* rows, const int8_t* weights, size_t steps) {               \
    Sums<4, 4> sums;                                                                              \
    __asm__ volatile(                                                                             \
        EW_LOAD_COLUMNS EW_LOAD_01 EW_LOAD_23                                                     \
        EW_CLEAR("%[r0]", "v16", "v17", "v18") EW_CLEAR("%[r1]", "v19", "v20", "v21")             \
        EW_CLEAR("%[r2]", "v22", "v23", "v24") EW_CLEAR("%[r3]", "v25", "v26", "v27")             \
        "tbnz %[steps], #0, 2f\n\t"                                                               \
        "1:\n\t" EW_STEP(EW_ROWS)                                                                 \
        "2:\n\t" EW_STEP(EW_ROWS)                                                                 \
        "subs %[steps], %[steps], #2\n\t"                                                         \
        "b.gt 1b\n\t"                                                                             \
        EW_FOLD("%[r0]", "v16", "v17", "v18") EW_FOLD("%[r1]", "v19", "v20", "v21")               \
        EW_FOLD("%[r2]", "v22", "v23", "v24") EW_FOLD("%[r3]", "v25", "v26", "v27")               \
        : [r0] "=&w"(sums.row[0][0]), [r1] "=&w"(sums.row[1][0]), [r2] "=&w"(sums.row[2][0]),     \
          [r3] "=&w"(sums.row[3][0]), [rows] "+r"(rows), [weights] "+r"(weights),                 \
          [steps] "+r"(steps)                                                                     \
        :                                                                                         \
        : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v16", "v17", \
          "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "cc", "memory");  \
    return sums;                                                                                  \
  }

/// 4 rows by 4 columns, for every core: 16 products of a row and a column in 3 instructions, as on
/// AArch32 (tile32.h). With 32 registers each of the 16 sums has one of its own, whose lanes are
/// added up at the end, and neither operand is arranged. GCC keeps too few of them in registers.
struct NeonTile {
  static constexpr size_t kRows = 4, kColumns = 4;
  static constexpr size_t kStepWeights = kColumns * kDepth;
  static constexpr size_t kStepRows = kRows * kDepth;

  static constexpr size_t weight_place(size_t k, size_t n) { return n * kDepth + k; }

  static void pack_step(int8x16_t row, int8_t* packed) { vst1q_s8(packed, row); }

  EW_TILE_SUMS(sums, EW_ROW)
  EW_TILE_SUMS(sums_wide, EW_ROW_WIDE)
};

inline bool has_dot_product() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }

/// Adds 16 products: lane n gets those of word `lane` of a row with word n of four columns. As
/// assembly, because an intrinsic is only for functions that are compiled for ARMv8.2 in whole.
template <int lane>
inline int32x4_t add_dot_products(int32x4_t sums, int8x16_t columns, int8x16_t row) {
  __asm__(".arch_extension dotprod\n\tsdot %0.4s, %1.16b, %2.4b[%3]"
          : "+w"(sums)
          : "w"(columns), "w"(row), "i"(lane));
  return sums;
}

/// 8 rows by 8 columns, for cores with SDOT: four products to a lane of 32 bits, of any bytes.
struct DotTile {
  static constexpr size_t kRows = 8, kColumns = 8;
  static constexpr size_t kStepWeights = kColumns * kDepth;
  static constexpr size_t kStepRows = kRows * kDepth;

  static constexpr size_t weight_place(size_t k, size_t n) {
    return k / 4 * (4 * kColumns) + n * 4 + k % 4;
  }

  static void pack_step(int8x16_t row, int8_t* packed) { vst1q_s8(packed, row); }

  static Sums<8, 8> sums(const int8_t* rows, const int8_t* weights, size_t steps) {
    Sums<8, 8> sums{};
    for (; steps > 0; --steps, rows += kStepRows, weights += kStepWeights) {
      int8x16_t row[kRows];
#pragma GCC unroll 8
      for (size_t r = 0; r < kRows; ++r) row[r] = vld1q_s8(rows + r * kDepth);
      add<0>(sums, row, weights);
      add<1>(sums, row, weights);
      add<2>(sums, row, weights);
      add<3>(sums, row, weights);
    }
    return sums;
  }

  static Sums<8, 8> sums_wide(const int8_t* rows, const int8_t* weights, size_t steps) {
    return sums(rows, weights, steps);
  }

 private:
  /// The products of one word of all rows.
  template <int word>
  static void add(Sums<8, 8>& sums, const int8x16_t (&row)[kRows], const int8_t* weights) {
    const int8x16_t low = vld1q_s8(weights + word * 4 * kColumns);
    const int8x16_t high = vld1q_s8(weights + word * 4 * kColumns + 16);
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
      sums.row[r][0] = add_dot_products<word>(sums.row[r][0], low, row[r]);
      sums.row[r][1] = add_dot_products<word>(sums.row[r][1], high, row[r]);
    }
  }
};

}  // namespace edgewright
