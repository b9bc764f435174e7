// How packed weights lie in memory.
//
// A tile is 4 columns wide; its weights follow each other in steps of 16 deep, 64 bytes. A 64-bit
// operand holds 4 weights for each of 2 columns: the first half of a step are those that the row's
// operand meets as it is, the second half those that it meets with its halves exchanged.
#pragma once

#include <cstddef>

namespace edgewright {

constexpr size_t kTile = 4;    // rows and columns of a tile
constexpr size_t kDepth = 16;  // depth of a step
constexpr size_t kStepWeights = kTile * kDepth;

/// Where weight (k, n) of a step lies in it. Four weights of one column, k % 4 = 0..3, stay
/// neighbours.
constexpr size_t weight_place(size_t k, size_t n) {
  const size_t half = k / 8, word = k % 8 / 4, exchanged = word ^ (n % 2);
  return exchanged * 32 + n / 2 * 16 + half * 8 + n % 2 * 4 + k % 4;
}

}  // namespace edgewright
