// Matrix products, tile by tile: rows are packed a panel at a time, and sums become bytes while they
// are in registers.

#include <algorithm>
#include <cstring>

#include "kernels.h"
#include "neon.h"
#include "tile.h"

namespace edgewright {
namespace {

constexpr size_t kPanelBytes = 12 * 1024;  // packed rows stay in the first-level cache

/// Packs a piece whose size is a multiple of 16, made signed; returns where the next one goes.
template <class Tile>
int8_t* pack_piece(const uint8_t* piece, size_t size, int8_t* packed) {
  for (size_t k = 0; k < size; k += kDepth, packed += Tile::kStepRows) {
    const uint8x16_t bytes = veorq_u8(vld1q_u8(piece + k), vdupq_n_u8(0x80));
    Tile::pack_step(vreinterpretq_s8_u8(bytes), packed);
  }
  return packed;
}

/// Packs row `row` at its place in a tile. `gather` has room for a row, rounded up.
template <class Tile>
void pack_row(const Rows& rows, size_t row, int8_t* packed, uint8_t* gather) {
  const uint8_t* const only = rows.base + row * rows.segment_size;
  const uint8_t* const* pieces = rows.pieces ? rows.pieces + row * rows.segments : &only;
  if (rows.segment_size % kDepth == 0) {
    for (size_t s = 0; s < rows.segments; ++s) {
      packed = pack_piece<Tile>(pieces[s], rows.segment_size, packed);
    }
    return;
  }
  for (size_t s = 0; s < rows.segments; ++s) {
    std::memcpy(gather + s * rows.segment_size, pieces[s], rows.segment_size);
  }
  pack_piece<Tile>(gather, round_up(rows.depth(), kDepth), packed);  // beyond: times weight 0
}

/// Adds what differs by column, requantizes one tile and stores its rows and columns.
template <class Tile>
class TileStore {
 public:
  using TileSums = Sums<Tile::kRows, Tile::kColumns>;

  TileStore(const Requantize& requantize, size_t columns, uint8_t* output, size_t stride)
      : requantize_(requantize), columns_(columns), output_(output), stride_(stride),
        zero_point_(vdupq_n_s16(static_cast<int16_t>(requantize.zero_point))) {}

  /// Goes to the tile column that begins at column `n`.
  void select(size_t n) {
    n_ = n;
    column_count_ = std::min(Tile::kColumns, columns_ - n);
    load(requantize_.bias + n, bias_);
    if (requantize_.per_column) {
      load(requantize_.scale + n, scale_);
    } else {
      std::fill_n(scale_, kVectors, vdupq_n_f32(*requantize_.scale));
    }
  }

  void store(const TileSums& sums, size_t row, size_t row_count) const {
    uint8_t* const output = output_ + row * stride_ + n_;
    if (row_count == Tile::kRows && column_count_ == Tile::kColumns) {
      store_whole(sums, output, stride_);
      return;
    }
    uint8_t tile[Tile::kRows * Tile::kColumns];
    store_whole(sums, tile, Tile::kColumns);
    for (size_t r = 0; r < row_count; ++r) {
      std::memcpy(output + r * stride_, tile + r * Tile::kColumns, column_count_);
    }
  }

 private:
  static constexpr size_t kVectors = Tile::kColumns / 4;

  template <class Value, class Vector>
  void load(const Value* values, Vector (&vectors)[kVectors]) const {
    Value padded[Tile::kColumns] = {};
    if (column_count_ < Tile::kColumns) {
      std::copy_n(values, column_count_, padded);
      values = padded;
    }
    for (size_t i = 0; i < kVectors; ++i) vectors[i] = load_4(values + 4 * i);
  }

  int16x4_t scaled_sums(const TileSums& sums, size_t row, size_t vector) const {
    return scaled(vaddq_s32(sums.row[row][vector], bias_[vector]), scale_[vector]);
  }

  void store_whole(const TileSums& sums, uint8_t* output, size_t stride) const {
    if constexpr (kVectors == 2) {
      for (size_t r = 0; r < Tile::kRows; ++r, output += stride) {
        const int16x8_t row = vcombine_s16(scaled_sums(sums, r, 0), scaled_sums(sums, r, 1));
        vst1_u8(output, to_bytes(row, zero_point_));
      }
    } else {
      for (size_t r = 0; r < Tile::kRows; r += 2, output += 2 * stride) {
        const int16x8_t rows = vcombine_s16(scaled_sums(sums, r, 0), scaled_sums(sums, r + 1, 0));
        const uint32x2_t words = vreinterpret_u32_u8(to_bytes(rows, zero_point_));
        store_word(output, vget_lane_u32(words, 0));
        store_word(output + stride, vget_lane_u32(words, 1));
      }
    }
  }

  static void store_word(uint8_t* output, uint32_t word) {
    std::memcpy(output, &word, sizeof word);
  }

  Requantize requantize_;
  size_t columns_;
  uint8_t* output_;
  size_t stride_;
  int16x8_t zero_point_;
  size_t n_ = 0, column_count_ = 0;
  int32x4_t bias_[kVectors]{};
  float32x4_t scale_[kVectors]{};
};

size_t steps_of(size_t depth) { return round_up(depth, kDepth) / kDepth; }

/// Rows that are packed at a time: as many tiles as the panel holds, at least one.
template <class Tile>
size_t panel_rows(size_t steps) {
  return std::max<size_t>(1, kPanelBytes / (steps * Tile::kStepRows)) * Tile::kRows;
}

/// Bytes of a panel, and of what a tile's loop reads beyond its end.
template <class Tile>
size_t panel_size(size_t depth) {
  const size_t steps = steps_of(depth);
  return panel_rows<Tile>(steps) / Tile::kRows * steps * Tile::kStepRows + 64;
}

/// The place of a row in a panel.
template <class Tile>
int8_t* panel_row(int8_t* panel, size_t row, size_t steps) {
  return panel + row / Tile::kRows * steps * Tile::kStepRows + row % Tile::kRows * kDepth;
}

template <class Tile>
size_t panel_and_row_size(size_t depth) {
  return panel_size<Tile>(depth) + round_up(depth, kDepth);
}

/// Not inlined: the audit knows a function that holds what a CPU may lack by the tile in its name.
template <class Tile>
[[gnu::noinline]] void multiply_tiles(const Rows& rows, size_t row_count, const int8_t* packed,
                                      size_t columns, const Requantize& requantize,
                                      uint8_t* output, size_t stride, uint8_t* scratch) {
  const size_t steps = steps_of(rows.depth());
  const size_t panel_row_count = panel_rows<Tile>(steps);
  int8_t* const panel = reinterpret_cast<int8_t*>(scratch);
  uint8_t* const gather = scratch + panel_size<Tile>(rows.depth());
  TileStore<Tile> tile(requantize, columns, output, stride);
  for (size_t begin = 0; begin < row_count; begin += panel_row_count) {
    const size_t end = std::min(row_count, begin + panel_row_count);
    for (size_t r = begin; r < end; ++r) {
      pack_row<Tile>(rows, r, panel_row<Tile>(panel, r - begin, steps), gather);
    }
    for (size_t n = 0; n < columns; n += Tile::kColumns) {
      tile.select(n);
      const int8_t* const weights = packed + n / Tile::kColumns * steps * Tile::kStepWeights;
      const int8_t* tile_rows = panel;
      for (size_t r = begin; r < end; r += Tile::kRows, tile_rows += steps * Tile::kStepRows) {
        tile.store(Tile::sums(tile_rows, weights, steps), r, std::min(Tile::kRows, end - r));
      }
    }
  }
}

}  // namespace

size_t multiply_scratch_size(size_t depth) {
  return with_tile([=](auto tile) { return panel_and_row_size<decltype(tile)>(depth); });
}

void multiply(const Rows& rows, size_t row_count, const int8_t* packed, size_t columns,
              const Requantize& requantize, uint8_t* output, size_t stride, uint8_t* scratch) {
  with_tile([&](auto tile) {
    multiply_tiles<decltype(tile)>(rows, row_count, packed, columns, requantize, output, stride,
                                   scratch);
  });
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
template <class Tile>
struct ProductScratch {
  ProductScratch(uint8_t* scratch, size_t depth, size_t columns) {
    right.bias = reinterpret_cast<int32_t*>(scratch);
    row_terms = right.bias + round_up(columns, Tile::kColumns);
    panel = reinterpret_cast<int8_t*>(row_terms + panel_rows<Tile>(steps_of(depth)));
    gather = reinterpret_cast<uint8_t*>(panel) + panel_size<Tile>(depth);
    signed_b = reinterpret_cast<int8_t*>(gather + round_up(depth, kDepth));
    right.weights = signed_b + depth * columns;
  }

  static size_t size(size_t depth, size_t columns) {
    const size_t terms = round_up(columns, Tile::kColumns) + panel_rows<Tile>(steps_of(depth));
    return terms * sizeof(int32_t) + panel_and_row_size<Tile>(depth) + depth * columns +
           packed_weights_size(depth, columns);
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
template <class Tile>
void pack_left(const Product& p, size_t begin, size_t end, const ProductScratch<Tile>& scratch) {
  const Rows rows{p.a, nullptr, 1, p.depth};
  const size_t steps = steps_of(p.depth);
  for (size_t r = begin; r < end; ++r) {
    const size_t at = r - begin;
    pack_row<Tile>(rows, r, panel_row<Tile>(scratch.panel, at, steps), scratch.gather);
    scratch.row_terms[at] = (128 - p.zero_point_b) * row_sum(p.a + r * p.depth, p.depth);
  }
}

template <class Tile, bool wide>
[[gnu::noinline]] void multiply_panel(const Product& p, size_t begin, size_t end,
                                      const ProductScratch<Tile>& scratch) {
  const size_t steps = steps_of(p.depth);
  TileStore<Tile> tile({scratch.right.bias, &p.scale, false, p.zero_point}, p.columns, p.output,
                       p.columns);
  for (size_t n = 0; n < p.columns; n += Tile::kColumns) {
    tile.select(n);
    const int8_t* const weights =
        scratch.right.weights + n / Tile::kColumns * steps * Tile::kStepWeights;
    for (size_t r = begin; r < end; r += Tile::kRows) {
      const int32_t* const terms = scratch.row_terms + (r - begin);
      const int8_t* const rows = panel_row<Tile>(scratch.panel, r - begin, steps);
      auto sums = wide ? Tile::sums_wide(rows, weights, steps) : Tile::sums(rows, weights, steps);
      for (size_t i = 0; i < Tile::kRows; ++i) {
        for (int32x4_t& vector : sums.row[i]) vector = vaddq_s32(vector, vdupq_n_s32(terms[i]));
      }
      tile.store(sums, r, std::min(Tile::kRows, end - r));
    }
  }
}

template <class Tile>
void multiply_product(const Product& p, uint8_t* scratch_bytes) {
  ProductScratch<Tile> scratch(scratch_bytes, p.depth, p.columns);
  pack_right(p, scratch.signed_b, scratch.right);
  const size_t panel_row_count = panel_rows<Tile>(steps_of(p.depth));
  for (size_t begin = 0; begin < p.rows; begin += panel_row_count) {
    const size_t end = std::min(p.rows, begin + panel_row_count);
    pack_left(p, begin, end, scratch);
    if (scratch.right.wide) {
      multiply_panel<Tile, true>(p, begin, end, scratch);
    } else {
      multiply_panel<Tile, false>(p, begin, end, scratch);
    }
  }
}

}  // namespace

size_t product_scratch_size(size_t depth, size_t columns) {
  return with_tile([=](auto tile) { return ProductScratch<decltype(tile)>::size(depth, columns); });
}

void multiply(const Product& p, uint8_t* scratch) {
  with_tile([&](auto tile) { multiply_product<decltype(tile)>(p, scratch); });
}

}  // namespace edgewright
