// Packing of weights, once, when the session is loaded.

#include <algorithm>
#include <cstring>

#include "kernels.h"
#include "neon32.h"
#include "tile.h"

namespace edgewright {
namespace {

size_t tile_size(const Weights& w) { return round_up(w.depth(), kDepth) * kTile; }

int8_t* step_at(int8_t* tile, size_t k) { return tile + k / kDepth * kStepWeights; }

/// A column whose depth is contiguous, in whole words.
void pack_contiguous(const int8_t* column, size_t depth, size_t n, int8_t* tile) {
  for (size_t k = 0; k < depth; k += 4) {
    std::memcpy(step_at(tile, k) + weight_place(k % kDepth, n % kTile), column + k, 4);
  }
}

/// Any column, weight by weight.
void pack_column(const Weights& w, size_t n, int8_t* tile) {
  size_t k = 0;
  for (size_t s = 0; s < w.segments; ++s) {
    const int8_t* from = w.data + s * w.segment_stride + n * w.column_stride;
    for (size_t i = 0; i < w.segment_size; ++i, ++k, from += w.depth_stride) {
      step_at(tile, k)[weight_place(k % kDepth, n % kTile)] = *from;
    }
  }
}

/// A column whose segments are whole steps.
template <size_t odd>
void pack_steps(const Weights& w, size_t n, int8_t* tile) {
  int8_t* step = tile + weight_place(0, n % kTile & ~size_t{1});
  for (size_t s = 0; s < w.segments; ++s) {
    const int8_t* from = w.data + s * w.segment_stride + n * w.column_stride;
    for (size_t i = 0; i < w.segment_size; i += kDepth, step += kStepWeights) {
#pragma GCC unroll 16
      for (size_t k = 0; k < kDepth; ++k, from += w.depth_stride) step[weight_place(k, odd)] = *from;
    }
  }
}

/// Four rows of 16 columns, in four tiles: four words a tile, one a column.
void pack_4x16(const int8_t* from, size_t stride, int8_t* step, size_t k, size_t tile_size) {
  const auto row = [&](size_t i) {
    return vreinterpretq_u8_s8(vld1q_s8(from + i * stride));
  };
  const uint8x16x2_t even = vzipq_u8(row(0), row(1)), odd = vzipq_u8(row(2), row(3));
#pragma GCC unroll 2
  for (size_t half = 0; half < 2; ++half) {
    const uint16x8x2_t words = vzipq_u16(vreinterpretq_u16_u8(even.val[half]),
                                         vreinterpretq_u16_u8(odd.val[half]));
#pragma GCC unroll 2
    for (size_t i = 0; i < 2; ++i, step += tile_size) {
      const uint32x4_t tile = vreinterpretq_u32_u16(words.val[i]);
      vst1q_lane_u32(reinterpret_cast<uint32_t*>(step + weight_place(k, 0)), tile, 0);
      vst1q_lane_u32(reinterpret_cast<uint32_t*>(step + weight_place(k, 1)), tile, 1);
      vst1q_lane_u32(reinterpret_cast<uint32_t*>(step + weight_place(k, 2)), tile, 2);
      vst1q_lane_u32(reinterpret_cast<uint32_t*>(step + weight_place(k, 3)), tile, 3);
    }
  }
}

/// Four tiles whose rows are contiguous.
void pack_tiles(const Weights& w, size_t n, int8_t* tile) {
  for (size_t k = 0; k < w.depth(); k += 4) {
    pack_4x16(w.data + k * w.depth_stride + n, w.depth_stride, step_at(tile, k), k % kDepth,
              tile_size(w));
  }
}

void pack_one(const Weights& w, size_t n, int8_t* tile) {
  if (w.segments == 1 && w.depth_stride == 1 && w.depth() % 4 == 0) {
    pack_contiguous(w.data + n * w.column_stride, w.depth(), n, tile);
  } else if (w.segment_size % kDepth == 0) {
    (n % 2 ? pack_steps<1> : pack_steps<0>)(w, n, tile);
  } else {
    pack_column(w, n, tile);
  }
}

bool contiguous_rows(const Weights& w) {
  return w.segments == 1 && w.column_stride == 1 && w.depth() % 4 == 0;
}

}  // namespace

size_t packed_weights_size(size_t depth, size_t columns) {
  return round_up(columns, kTile) * round_up(depth, kDepth) + 64;
}

void pack_weights(const Weights& w, int8_t* packed) {
  std::memset(packed, 0, packed_weights_size(w.depth(), w.columns));
  const size_t by_row = contiguous_rows(w) ? w.columns / (4 * kTile) * (4 * kTile) : 0;
  for (size_t n = 0; n < by_row; n += 4 * kTile) pack_tiles(w, n, packed + n / kTile * tile_size(w));
  for (size_t n = by_row; n < w.columns; ++n) pack_one(w, n, packed + n / kTile * tile_size(w));
}

void add_column_sums(const int8_t* packed, size_t depth, size_t columns, int32_t factor,
                     int32_t* sums) {
  const size_t steps = round_up(depth, kDepth) / kDepth;
  for (size_t n = 0; n < columns; n += kTile) {
    int32x4_t pairs[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};  // columns 0, 1, 0, 1 and 2, 3, 2, 3
    for (size_t i = 0; i < steps * 4; ++i, packed += 16) {
      pairs[i % 2] = vpadalq_s16(pairs[i % 2], vpaddlq_s8(vld1q_s8(packed)));
    }
    int32_t totals[kTile];
    vst1_s32(totals, vadd_s32(vget_low_s32(pairs[0]), vget_high_s32(pairs[0])));
    vst1_s32(totals + 2, vadd_s32(vget_low_s32(pairs[1]), vget_high_s32(pairs[1])));
    for (size_t c = 0; c < std::min(kTile, columns - n); ++c) sums[n + c] += factor * totals[c];
  }
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
