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

}  // namespace edgewright
