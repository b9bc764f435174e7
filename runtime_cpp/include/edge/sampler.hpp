#pragma once

#include <optional>
#include <string>

#include "common/result.hpp"

namespace edge {

/// From here on, for each 10 ms of CPU time that the process takes, the thread that took it writes
/// its registers and its stack to `file` (docs/formats.md, "Samples"). It is to be called by
/// `main`, whose own stack is not copied. What cannot be written ends the sampling, and no more.
std::optional<Error> start_samples(int file, const std::string& command);

/// Writes the end. Nothing, if nothing was started.
void end_samples();

}  // namespace edge
