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

/// A service is sampled while somebody reads the FIFO `samples` of the deploy root that `release`
/// lies in. It never waits for that reader: samples that the FIFO has no room for are left out.
void offer_samples(const std::string& release, const std::string& command);

/// Looks for such a reader, or ends the sampling for one that has gone. One thread calls it, every
/// few seconds; nothing before `offer_samples`.
void sample_for_reader();

/// Writes the end. Nothing, if nothing was started.
void end_samples();

}  // namespace edge
