#pragma once

#include <cstdint>
#include <string>

#include "base.hpp"

namespace edgectl {

/// How a release's own self-test ended.
struct SelfTest {
  int exit = 0;        // exit code; 128 + the signal that ended it
  std::string report;  // its standard output
};

/// Runs `bin/edge-infer selftest` in a release's folder; one that takes too long is killed.
Result<SelfTest> run_selftest(const std::string& release, uint64_t threads, uint64_t timeout_s);

}  // namespace edgectl
