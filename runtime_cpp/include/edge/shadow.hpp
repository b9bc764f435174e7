#pragma once

#include "common/outcome.hpp"
#include "edge/options.hpp"

namespace edge {

/// A candidate beside the service of the current release: infers the frames that the service gives
/// (edge/shadow_feed.hpp) for `options.seconds`, and compares its answers with the service's.
/// Standard output has a line for each pair of answers, as far as they are bounded, and then the
/// document with the sums. It works at most half of the time, so that a board stays as cool as it
/// may.
Outcome shadow(const Options& options);

}  // namespace edge
