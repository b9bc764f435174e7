#pragma once

#include "board.hpp"
#include "common/document.hpp"
#include "options.hpp"

namespace edgectl {

using edge::Json;

/// Tells what of the release on standard input the board lacks. Changes nothing.
Fault plan(const Board& board, const Options& options, Json top);

/// Gives a deployer the right to act, and tells the same.
Fault begin(const Board& board, const Options& options, Json top);

}  // namespace edgectl
