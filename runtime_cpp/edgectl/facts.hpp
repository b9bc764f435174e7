#pragma once

#include <string>

#include "board.hpp"
#include "common/document.hpp"
#include "options.hpp"

namespace edgectl {

using edge::Json;

void set_or_null(Json object, const char* key, const std::string& text);  // empty: null
void describe_floor(const Board& board, Json top);

/// What every report about the board has: releases, floor, trial, lease, boot, free space.
void describe_board(const Board& board, Json top);

// Commands that tell or change what the board is, apart from any deploy.

Fault probe(const Board& board, const Options& options, Json top);
Fault identify(const Board& board, const Options& options, Json top);
Fault keys(const Board& board, const Options& options, Json top);
Fault forget(const Board& board, const Options& options, Json top);
Fault reset(const Board& board, const Options& options, Json top);
Fault status(const Board& board, const Options& options, Json top);
Fault verify_releases(const Board& board, const Options& options, Json top);

}  // namespace edgectl
