#pragma once

#include "common/outcome.hpp"
#include "options.hpp"

namespace edgectl {

using edge::Outcome;

Outcome execute(const Options& options);

/// Becomes the program that is to be started; returns only if that cannot be.
Outcome start(const Options& options);

}  // namespace edgectl
