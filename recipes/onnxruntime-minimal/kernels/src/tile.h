// Tiles: how rows and packed weights lie in memory, and the loop that multiplies them.
//
// A tile is `kRows` x `kColumns` sums. Packed rows of a tile follow each other in steps of 16 deep,
// `kStepRows` bytes, and so do its weights, `kStepWeights` bytes. Four weights of one column,
// k % 4 = 0..3, are neighbours in all tiles.
#pragma once

#if defined(__aarch64__)
#include "tile64.h"
#else
#include "tile32.h"
#endif

namespace edgewright {

/// Calls `work` with the fastest tile that this CPU has.
template <class Work>
auto with_tile(Work work) {
#if defined(__aarch64__)
  if (has_dot_product()) return work(DotTile{});
#endif
  return work(NeonTile{});
}

/// Where weight (k, n) of a packed matrix lies.
template <class Tile>
constexpr size_t packed_place(size_t depth, size_t k, size_t n) {
  return n / Tile::kColumns * round_up(depth, kDepth) * Tile::kColumns +
         k / kDepth * Tile::kStepWeights + Tile::weight_place(k % kDepth, n % Tile::kColumns);
}

/// Counted up when what lies packed in a model's file changes in any other way than its order
/// within a matrix: the depth of a convolution, which is channel by channel for each tap, or the
/// bytes behind the weights.
constexpr uint32_t kLayoutRevision = 2;

/// Names the order of a tile's packed weights in a model's file: a hash, of 27 bits, of where each
/// weight of two steps of two tiles lies, and of the revision.
template <class Tile>
constexpr uint32_t layout_number() {
  uint32_t hash = (2166136261u ^ kLayoutRevision) * 16777619u;  // FNV-1a
  for (size_t k = 0; k < 2 * kDepth; ++k) {
    for (size_t n = 0; n < 2 * Tile::kColumns; ++n) {
      hash = (hash ^ static_cast<uint32_t>(packed_place<Tile>(2 * kDepth, k, n))) * 16777619u;
    }
  }
  return hash >> 5;
}

/// Whether this program reads weights that were packed in the order of that number.
constexpr bool reads_layout(uint32_t number) {
#if defined(__aarch64__)
  if (number == layout_number<DotTile>()) return true;
#endif
  return number == layout_number<NeonTile>();
}

}  // namespace edgewright
