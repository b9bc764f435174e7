#pragma once

#include <optional>
#include <string>

#include "edge/result.hpp"
#include "edge/text.hpp"

namespace edgectl {

using edge::Error;
using edge::Exit;
using edge::format;
using edge::Result;

/// What went wrong, or nothing.
using Fault = std::optional<Error>;

}  // namespace edgectl
