#pragma once

#include <cstdint>
#include <string>

#include "base.hpp"
#include "manifest.hpp"

namespace edgectl {

/// How a release's own self-test ended.
struct SelfTest {
  int exit = 0;        // exit code; 128 + the signal that ended it
  std::string report;  // its standard output
  std::string stop;    // why it was ended; empty: it ended by itself
};

/// Runs `bin/edge-infer selftest` in the folder of a release. It ends, with all that it started,
/// after `timeout_s`, with whoever reads our standard output, and with this process.
Result<SelfTest> run_selftest(const std::string& folder, const Manifest& manifest,
                              uint64_t timeout_s);

}  // namespace edgectl
