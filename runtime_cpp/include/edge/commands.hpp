#pragma once

#include "common/outcome.hpp"
#include "edge/engine.hpp"
#include "edge/options.hpp"

namespace edge {

/// Runs one of the commands run, selftest, bench, info, watch, serve.
Outcome execute(const Options& options);

/// What an image turned out to be, into the object that stands for it.
void set_result(Json entry, const Inferred& result, const Card& card);

}  // namespace edge
