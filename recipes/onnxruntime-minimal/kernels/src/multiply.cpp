// Matrix products with sums in vector lanes.
//
// The inner loop multiplies 4 rows by 4 columns, 16 deep: `vmull.s8` and `vmlal.s8` put the sum of
// two products in 16 bits, `vpadal.s16` adds neighbours into 32. Two products of -128..127 and
// -127..127 always fit: 2 * 128 * 127 < 2^15. That is 16 products in 3 instructions; widening
// first, as ONNX Runtime's `vmlal.u16` kernel does, gives 4 in one.
//
// A 64-bit operand holds 4 steps of depth for each of 2 columns. The row's operand is used as it
// is, then with its halves exchanged, so that each column meets all 8 steps: weights are packed in
// this order, rows are packed in both. No lane is ever broadcast, and at the end one `vpadd` per
// two sums is all that is left to add.

#include <algorithm>
#include <cstring>

#include "kernels.h"
#include "neon32.h"
#include "tile.h"

namespace edgewright {
namespace {

constexpr size_t kStepRows = 2 * kTile * kDepth;  // as they are, and with halves exchanged
constexpr size_t kPanelBytes = 12 * 1024;         // packed rows stay in the first-level cache

struct Sums {
  int32x4_t row[kTile];  // lane: column
};

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

/// Sums of one tile, two steps a turn; the first turn of an odd number begins in its middle. Both
/// operands are read to 32 bytes beyond their end.
#define EW_TILE_SUMS(NAME, EW_ROWS)                                                                \
inline Sums NAME(const int8_t* rows, const int8_t* weights, size_t steps) {                        \
  Sums sums;                                                                                       \
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
      : [r0] "=&w"(sums.row[0]), [r1] "=&w"(sums.row[1]), [r2] "=&w"(sums.row[2]),                 \
        [r3] "=&w"(sums.row[3]), [rows] "+r"(rows), [weights] "+r"(weights), [steps] "+r"(steps)   \
      :                                                                                            \
      : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q9", "q10", "q11", "cc", "memory"); \
  return sums;                                                                                     \
}

EW_TILE_SUMS(tile_sums, EW_TWO_ROWS)
EW_TILE_SUMS(tile_sums_wide, EW_TWO_ROWS_WIDE)

/// Packs 16 bytes of one row of a tile, made signed.
inline int8x16_t pack_step(const uint8_t* row, int8_t* packed) {
  const uint8x16_t bytes = veorq_u8(vld1q_u8(row), vdupq_n_u8(0x80));
  const int8x16_t signed_bytes = vreinterpretq_s8_u8(bytes);
  vst1q_s8(packed, signed_bytes);
  vst1q_s8(packed + kStepWeights,
           vreinterpretq_s8_u32(vrev64q_u32(vreinterpretq_u32_u8(bytes))));
  return signed_bytes;
}

/// Packs a piece whose size is a multiple of 16; returns where the next one goes.
inline int8_t* pack_piece(const uint8_t* piece, size_t size, int8_t* packed) {
  for (size_t k = 0; k < size; k += kDepth, packed += kStepRows) pack_step(piece + k, packed);
  return packed;
}

/// Packs row `row` at its place in a tile. `gather` has room for a row, rounded up.
void pack_row(const Rows& rows, size_t row, int8_t* packed, uint8_t* gather) {
  const uint8_t* const only = rows.base + row * rows.segment_size;
  const uint8_t* const* pieces = rows.pieces ? rows.pieces + row * rows.segments : &only;
  if (rows.segment_size % kDepth == 0) {
    for (size_t s = 0; s < rows.segments; ++s) {
      packed = pack_piece(pieces[s], rows.segment_size, packed);
    }
    return;
  }
  for (size_t s = 0; s < rows.segments; ++s) {
    std::memcpy(gather + s * rows.segment_size, pieces[s], rows.segment_size);
  }
  pack_piece(gather, round_up(rows.depth(), kDepth), packed);  // beyond: times weight 0
}

/// Adds what differs by row, requantizes one tile and stores its `row_count` x `column_count`.
class TileStore {
 public:
  TileStore(const Requantize& requantize, size_t columns, uint8_t* output, size_t stride)
      : requantize_(requantize), columns_(columns), output_(output), stride_(stride),
        zero_point_(vdupq_n_s16(static_cast<int16_t>(requantize.zero_point))) {}

  /// Goes to the tile column that begins at column `n`.
  void select(size_t n) {
    n_ = n;
    column_count_ = std::min(kTile, columns_ - n);
    bias_ = load(requantize_.bias + n);
    scale_ = requantize_.per_column ? vreinterpretq_f32_s32(
                 load(reinterpret_cast<const int32_t*>(requantize_.scale) + n))
                                    : vdupq_n_f32(*requantize_.scale);
  }

  void store(const Sums& sums, size_t row, size_t row_count) const {
    const uint8x8_t low = bytes(sums.row[0], sums.row[1]);
    const uint8x8_t high = bytes(sums.row[2], sums.row[3]);
    uint8_t* const output = output_ + row * stride_ + n_;
    if (row_count == kTile && column_count_ == kTile) {
      store_word(output, low, 0);
      store_word(output + stride_, low, 1);
      store_word(output + 2 * stride_, high, 0);
      store_word(output + 3 * stride_, high, 1);
      return;
    }
    uint8_t tile[kTile * kTile];
    vst1_u8(tile, low);
    vst1_u8(tile + 8, high);
    for (size_t r = 0; r < row_count; ++r) {
      for (size_t c = 0; c < column_count_; ++c) output[r * stride_ + c] = tile[r * kTile + c];
    }
  }

 private:
  int32x4_t load(const int32_t* values) const {
    if (column_count_ == kTile) return vld1q_s32(values);
    int32_t padded[kTile] = {};
    for (size_t c = 0; c < column_count_; ++c) padded[c] = values[c];
    return vld1q_s32(padded);
  }

  uint8x8_t bytes(int32x4_t row0, int32x4_t row1) const {
    const int16x8_t values = vcombine_s16(scaled(vaddq_s32(row0, bias_), scale_),
                                          scaled(vaddq_s32(row1, bias_), scale_));
    return to_bytes(values, zero_point_);
  }

  static void store_word(uint8_t* output, uint8x8_t bytes, int lane) {
    const uint32x2_t words = vreinterpret_u32_u8(bytes);
    const uint32_t word = lane ? vget_lane_u32(words, 1) : vget_lane_u32(words, 0);
    std::memcpy(output, &word, sizeof word);
  }

  Requantize requantize_;
  size_t columns_;
  uint8_t* output_;
  size_t stride_;
  int16x8_t zero_point_;
  size_t n_ = 0, column_count_ = 0;
  int32x4_t bias_{};
  float32x4_t scale_{};
};

/// Rows that are packed at a time: as many tiles as the panel holds, at least one.
size_t panel_rows(size_t steps) {
  return std::max<size_t>(1, kPanelBytes / (steps * kStepRows)) * kTile;
}

size_t steps_of(size_t depth) { return round_up(depth, kDepth) / kDepth; }

size_t panel_size(size_t depth) {
  const size_t steps = steps_of(depth);
  return panel_rows(steps) / kTile * steps * kStepRows + 64;
}

}  // namespace

size_t multiply_scratch_size(size_t depth) {
  return panel_size(depth) + round_up(depth, kDepth);
}

void multiply(const Rows& rows, size_t row_count, const int8_t* packed, size_t columns,
              const Requantize& requantize, uint8_t* output, size_t stride, uint8_t* scratch) {
  const size_t steps = steps_of(rows.depth());
  const size_t panel_row_count = panel_rows(steps);
  int8_t* const panel = reinterpret_cast<int8_t*>(scratch);
  uint8_t* const gather = scratch + panel_size(rows.depth());
  TileStore tile(requantize, columns, output, stride);
  for (size_t begin = 0; begin < row_count; begin += panel_row_count) {
    const size_t end = std::min(row_count, begin + panel_row_count);
    for (size_t r = begin; r < end; ++r) {
      const size_t at = r - begin;
      pack_row(rows, r, panel + at / kTile * steps * kStepRows + at % kTile * kDepth, gather);
    }
    for (size_t n = 0; n < columns; n += kTile) {
      tile.select(n);
      const int8_t* const weights = packed + n / kTile * steps * kStepWeights;
      const int8_t* panel_rows_at = panel;
      for (size_t r = begin; r < end; r += kTile, panel_rows_at += steps * kStepRows) {
        tile.store(tile_sums(panel_rows_at, weights, steps), r, std::min(kTile, end - r));
      }
    }
  }
}

namespace {

/// The right matrix of a product, packed, and what the zero points add to its columns.
struct PackedRight {
  int8_t* weights;
  int32_t* bias;  // [columns]
  bool wide;      // has -128
};

/// Memory of a product, cut from one block: bias, terms of the rows, panel, one row, the right matrix
/// made signed, and packed.
struct ProductScratch {
  ProductScratch(uint8_t* scratch, size_t depth, size_t columns) {
    right.bias = reinterpret_cast<int32_t*>(scratch);
    row_terms = right.bias + round_up(columns, kTile);
    panel = reinterpret_cast<int8_t*>(row_terms + panel_rows(steps_of(depth)));
    gather = reinterpret_cast<uint8_t*>(panel) + panel_size(depth);
    signed_b = reinterpret_cast<int8_t*>(gather + round_up(depth, kDepth));
    right.weights = signed_b + depth * columns;
  }
  PackedRight right;
  int32_t* row_terms;  // [rows of the panel], what the zero points add to a row
  int8_t* panel;
  uint8_t* gather;
  int8_t* signed_b;
};

void make_signed(const uint8_t* bytes, size_t count, int8_t* output) {
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    vst1q_s8(output + i, vreinterpretq_s8_u8(veorq_u8(vld1q_u8(bytes + i), vdupq_n_u8(0x80))));
  }
  for (; i < count; ++i) output[i] = static_cast<int8_t>(bytes[i] ^ 0x80);
}

void pack_right(const Product& p, int8_t* signed_b, PackedRight& right) {
  const int32_t zero_a = p.zero_point_a - 128, zero_b = p.zero_point_b - 128;
  make_signed(p.b, p.depth * p.columns, signed_b);
  pack_weights({signed_b, 1, p.depth, p.columns, 0, p.columns, 1}, right.weights);
  std::fill_n(right.bias, p.columns, zero_a * zero_b * static_cast<int32_t>(p.depth));
  add_column_sums(right.weights, p.depth, p.columns, -zero_a, right.bias);
  right.wide = has_lowest(signed_b, p.depth * p.columns);
}

int32_t row_sum(const uint8_t* row, size_t depth) {
  uint32x4_t sums = vdupq_n_u32(0);
  size_t k = 0;
  for (; k + kDepth <= depth; k += kDepth) sums = vpadalq_u16(sums, vpaddlq_u8(vld1q_u8(row + k)));
  const uint64x2_t pairs = vpaddlq_u32(sums);
  auto sum = static_cast<int32_t>(vgetq_lane_u64(pairs, 0) + vgetq_lane_u64(pairs, 1));
  for (; k < depth; ++k) sum += row[k];
  return sum - 128 * static_cast<int32_t>(depth);
}

/// Packs the rows of a panel and finds their terms; rows that only fill up a tile stay as they are.
void pack_left(const Product& p, size_t begin, size_t end, const ProductScratch& scratch) {
  const Rows rows{p.a, nullptr, 1, p.depth};
  const size_t tile_size = steps_of(p.depth) * kStepRows;
  for (size_t r = begin; r < end; ++r) {
    const size_t at = r - begin;
    pack_row(rows, r, scratch.panel + at / kTile * tile_size + at % kTile * kDepth,
             scratch.gather);
    scratch.row_terms[at] = (128 - p.zero_point_b) * row_sum(p.a + r * p.depth, p.depth);
  }
}

template <bool wide>
void multiply_panel(const Product& p, size_t begin, size_t end, const ProductScratch& scratch,
                    TileStore& tile) {
  const size_t steps = steps_of(p.depth);
  for (size_t n = 0; n < p.columns; n += kTile) {
    tile.select(n);
    const int8_t* const weights = scratch.right.weights + n / kTile * steps * kStepWeights;
    for (size_t r = begin; r < end; r += kTile) {
      const size_t at = r - begin;
      const int8_t* const rows = scratch.panel + at / kTile * steps * kStepRows;
      Sums sums = wide ? tile_sums_wide(rows, weights, steps) : tile_sums(rows, weights, steps);
      for (size_t i = 0; i < kTile; ++i) {
        sums.row[i] = vaddq_s32(sums.row[i], vdupq_n_s32(scratch.row_terms[at + i]));
      }
      tile.store(sums, r, std::min(kTile, end - r));
    }
  }
}

}  // namespace

size_t product_scratch_size(size_t depth, size_t columns) {
  const size_t terms = round_up(columns, kTile) + panel_rows(steps_of(depth));
  return terms * sizeof(int32_t) + multiply_scratch_size(depth) + depth * columns +
         packed_weights_size(depth, columns);
}

void multiply(const Product& p, uint8_t* scratch_bytes) {
  ProductScratch scratch(scratch_bytes, p.depth, p.columns);
  pack_right(p, scratch.signed_b, scratch.right);
  TileStore tile({scratch.right.bias, &p.scale, false, p.zero_point}, p.columns, p.output,
                 p.columns);
  const size_t panel_row_count = panel_rows(steps_of(p.depth));
  for (size_t begin = 0; begin < p.rows; begin += panel_row_count) {
    const size_t end = std::min(p.rows, begin + panel_row_count);
    pack_left(p, begin, end, scratch);
    if (scratch.right.wide) {
      multiply_panel<true>(p, begin, end, scratch, tile);
    } else {
      multiply_panel<false>(p, begin, end, scratch, tile);
    }
  }
}

}  // namespace edgewright
