#pragma once

#include <optional>
#include <string>

#include "common/result.hpp"

namespace edge {

/// To be called by `main`: its own stack, and what lies above it, is in no sample.
void mark_main();

/// From here on, for each 10 ms of CPU time that the process takes, the thread that took it writes
/// its registers and its stack to `file` (docs/formats.md, "Samples"). What cannot be written ends
/// the sampling, and no more.
std::optional<Error> start_samples(int file, const std::string& command);

/// Samples a service while somebody reads the FIFO `samples` in the folder of its crash files, the
/// one place of a deploy root that its user may enter. It never waits for that reader: samples that
/// the FIFO has no room for are left out. One thread calls this, every few seconds.
void sample_for_reader(const std::string& command);

/// Writes the end. Nothing, if nothing was started.
void end_samples();

}  // namespace edge
