#pragma once

#include "board.hpp"
#include "common/document.hpp"
#include "options.hpp"

namespace edgectl {

using edge::Json;

// How a deploy ends that is not committed, and what is left after one that is.

Fault rollback(const Board& board, const Options& options, Json top);
Fault recover(const Board& board, const Options& options, Json top);
Fault gc(const Board& board, const Options& options, Json top);

/// Becomes a program of the release that is to run; returns only if that cannot be.
Fault start(const Board& board, const Options& options, Json top);

}  // namespace edgectl
