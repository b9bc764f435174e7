#pragma once

#include <optional>
#include <string>

#include "common/result.hpp"
#include "common/text.hpp"

namespace edgectl {

using edge::Error;
using edge::Exit;
using edge::format;
using edge::Result;

/// What went wrong, or nothing.
using Fault = std::optional<Error>;

}  // namespace edgectl
