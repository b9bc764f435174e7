// Packing of weights when a session is loaded, and what a model's file holds packed.

#include <algorithm>
#include <cstring>

#include "kernels.h"
#include "neon.h"
#include "tile.h"

namespace edgewright {
namespace {

template <class Tile>
size_t tile_size(const Weights& w) {
  return round_up(w.depth(), kDepth) * Tile::kColumns;
}

template <class Tile>
int8_t* step_at(int8_t* tile, size_t k) {
  return tile + k / kDepth * Tile::kStepWeights;
}

/// A column whose depth is contiguous, in whole words.
template <class Tile>
void pack_contiguous(const int8_t* column, size_t depth, size_t n, int8_t* tile) {
  for (size_t k = 0; k < depth; k += 4) {
    std::memcpy(step_at<Tile>(tile, k) + Tile::weight_place(k % kDepth, n % Tile::kColumns), column + k, 4);
  }
}

/// Any column, weight by weight.
template <class Tile>
void pack_column(const Weights& w, size_t n, int8_t* tile) {
  size_t k = 0;
  for (size_t s = 0; s < w.segments; ++s) {
    const int8_t* from = w.data + s * w.segment_stride + n * w.column_stride;
    for (size_t i = 0; i < w.segment_size; ++i, ++k, from += w.depth_stride) {
      step_at<Tile>(tile, k)[Tile::weight_place(k % kDepth, n % Tile::kColumns)] = *from;
    }
  }
}

/// A column whose segments are whole steps.
template <class Tile, size_t odd>
void pack_steps(const Weights& w, size_t n, int8_t* tile) {
  int8_t* step = tile + Tile::weight_place(0, n % Tile::kColumns & ~size_t{1});
  for (size_t s = 0; s < w.segments; ++s) {
    const int8_t* from = w.data + s * w.segment_stride + n * w.column_stride;
    for (size_t i = 0; i < w.segment_size; i += kDepth, step += Tile::kStepWeights) {
#pragma GCC unroll 16
      for (size_t k = 0; k < kDepth; ++k, from += w.depth_stride) step[Tile::weight_place(k, odd)] = *from;
    }
  }
}

/// Four rows of 16 columns: four words for each four columns, one a column. `step` is that of the
/// first tile, `tile_size` from one tile to the next.
template <class Tile>
void pack_4x16(const int8_t* from, size_t stride, int8_t* step, size_t k, size_t tile_size) {
  const auto row = [&](size_t i) {
    return vreinterpretq_u8_s8(vld1q_s8(from + i * stride));
  };
  const uint8x16x2_t even = vzipq_u8(row(0), row(1)), odd = vzipq_u8(row(2), row(3));
  const uint16x8x2_t low = vzipq_u16(vreinterpretq_u16_u8(even.val[0]),
                                     vreinterpretq_u16_u8(odd.val[0]));
  const uint16x8x2_t high = vzipq_u16(vreinterpretq_u16_u8(even.val[1]),
                                      vreinterpretq_u16_u8(odd.val[1]));
  const uint16x8_t words[4] = {low.val[0], low.val[1], high.val[0], high.val[1]};
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; ++i) {
    const uint32x4_t columns = vreinterpretq_u32_u16(words[i]);
    const size_t n = 4 * i % Tile::kColumns;
    const auto to = [&](size_t column) {
      return reinterpret_cast<uint32_t*>(step + 4 * i / Tile::kColumns * tile_size +
                                         Tile::weight_place(k, n + column));
    };
    vst1q_lane_u32(to(0), columns, 0);
    vst1q_lane_u32(to(1), columns, 1);
    vst1q_lane_u32(to(2), columns, 2);
    vst1q_lane_u32(to(3), columns, 3);
  }
}

/// 16 columns whose rows are contiguous.
template <class Tile>
void pack_16_columns(const Weights& w, size_t n, int8_t* tile) {
  for (size_t k = 0; k < w.depth(); k += 4) {
    pack_4x16<Tile>(w.data + k * w.depth_stride + n, w.depth_stride, step_at<Tile>(tile, k),
                    k % kDepth, tile_size<Tile>(w));
  }
}

template <class Tile>
void pack_one(const Weights& w, size_t n, int8_t* tile) {
  if (w.segments == 1 && w.depth_stride == 1 && w.depth() % 4 == 0) {
    pack_contiguous<Tile>(w.data + n * w.column_stride, w.depth(), n, tile);
  } else if (w.segment_size % kDepth == 0) {
    (n % 2 ? pack_steps<Tile, 1> : pack_steps<Tile, 0>)(w, n, tile);
  } else {
    pack_column<Tile>(w, n, tile);
  }
}

bool contiguous_rows(const Weights& w) {
  return w.segments == 1 && w.column_stride == 1 && w.depth() % 4 == 0;
}

template <class Tile>
size_t packed_size(size_t depth, size_t columns) {
  return round_up(columns, Tile::kColumns) * round_up(depth, kDepth) + kReadBeyond;
}

template <class Tile>
void pack(const Weights& w, int8_t* packed) {
  std::memset(packed, 0, packed_size<Tile>(w.depth(), w.columns));
  const auto tile = [&](size_t n) { return packed + n / Tile::kColumns * tile_size<Tile>(w); };
  const size_t by_row = contiguous_rows(w) ? w.columns / 16 * 16 : 0;
  for (size_t n = 0; n < by_row; n += 16) pack_16_columns<Tile>(w, n, tile(n));
  for (size_t n = by_row; n < w.columns; ++n) pack_one<Tile>(w, n, tile(n));
}

#if defined(__aarch64__)
/// In whole words, from a matrix whose depth is one of whole steps. In both tiles a word of a step is
/// as far from the first one in every column.
template <class From, class To>
void repack(const int8_t* stored, size_t depth, size_t columns, int8_t* packed) {
  std::memset(packed, 0, packed_size<To>(depth, columns));
  for (size_t n = 0; n < columns; ++n) {
    const int8_t* from = stored + packed_place<From>(depth, 0, n);
    int8_t* to = packed + packed_place<To>(depth, 0, n);
    for (size_t k = 0; k < depth; k += kDepth, from += From::kStepWeights, to += To::kStepWeights) {
#pragma GCC unroll 4
      for (size_t word = 0; word < kDepth; word += 4) {
        std::memcpy(to + To::weight_place(word, 0), from + From::weight_place(word, 0), 4);
      }
    }
  }
}
#endif

/// The sums of each four weights of a tile, which are of one column, over its steps.
template <class Tile>
struct WordSums {
  static constexpr size_t kVectors = Tile::kStepWeights / 16;

  WordSums(const int8_t* tile, size_t steps) {
    int32x4_t vectors[kVectors] = {};
    for (size_t step = 0; step < steps; ++step) {
#pragma GCC unroll 8
      for (size_t i = 0; i < kVectors; ++i, tile += 16) {
        vectors[i] = vpadalq_s16(vectors[i], vpaddlq_s8(vld1q_s8(tile)));
      }
    }
    for (size_t i = 0; i < kVectors; ++i) vst1q_s32(words + 4 * i, vectors[i]);
  }
  int32_t of_column(size_t n) const {
    int32_t sum = 0;
    for (size_t k = 0; k < kDepth; k += 4) sum += words[Tile::weight_place(k, n) / 4];
    return sum;
  }
  int32_t words[4 * kVectors];
};

template <class Tile>
void add_tile_sums(const int8_t* packed, size_t depth, size_t columns, int32_t factor,
                   int32_t* sums) {
  const size_t steps = round_up(depth, kDepth) / kDepth;
  for (size_t n = 0; n < columns; n += Tile::kColumns, packed += steps * Tile::kStepWeights) {
    const WordSums<Tile> words(packed, steps);
    for (size_t c = 0; c < std::min(Tile::kColumns, columns - n); ++c) {
      sums[n + c] += factor * words.of_column(c);
    }
  }
}

}  // namespace

size_t packed_weights_size(size_t depth, size_t columns) {
  return with_tile([=](auto tile) { return packed_size<decltype(tile)>(depth, columns); });
}

void pack_weights(const Weights& w, int8_t* packed) {
  with_tile([&](auto tile) { pack<decltype(tile)>(w, packed); });
}

StoredFor stored_for(uint32_t layout, size_t depth, size_t columns) {
  const auto fits = [=](auto tile) {
    using Tile = decltype(tile);
    return layout == layout_number<Tile>() && depth % kDepth == 0 && columns % Tile::kColumns == 0;
  };
  if (with_tile(fits)) return StoredFor::own_tile;
#if defined(__aarch64__)
  if (fits(NeonTile{}) || fits(DotTile{})) return StoredFor::other_tile;
#endif
  return StoredFor::no_tile;
}

#if defined(__aarch64__)
void repack_weights(const int8_t* stored, size_t depth, size_t columns, int8_t* packed) {
  (has_dot_product() ? repack<NeonTile, DotTile> : repack<DotTile, NeonTile>)(stored, depth, columns,
                                                                              packed);
}
#endif

void add_column_sums(const int8_t* packed, size_t depth, size_t columns, int32_t factor,
                     int32_t* sums) {
  with_tile([=](auto tile) {
    add_tile_sums<decltype(tile)>(packed, depth, columns, factor, sums);
  });
}

bool has_lowest(const int8_t* w, size_t count) {
  int8x16_t smallest = vdupq_n_s8(INT8_MAX);
  size_t i = 0;
  for (; i + 16 <= count; i += 16) smallest = vminq_s8(smallest, vld1q_s8(w + i));
  int8_t lanes[16];
  vst1q_s8(lanes, smallest);
  return std::find(lanes, lanes + 16, INT8_MIN) != lanes + 16 ||
         std::find(w + i, w + count, INT8_MIN) != w + count;
}

int32_t sum(const int8_t* values, size_t count) {
  int32x4_t sums = vdupq_n_s32(0);
  size_t i = 0;
  for (; i + 16 <= count; i += 16) sums = vpadalq_s16(sums, vpaddlq_s8(vld1q_s8(values + i)));
  int32_t total = vgetq_lane_s32(sums, 0) + vgetq_lane_s32(sums, 1) + vgetq_lane_s32(sums, 2) +
                  vgetq_lane_s32(sums, 3);
  for (; i < count; ++i) total += values[i];
  return total;
}

}  // namespace edgewright
