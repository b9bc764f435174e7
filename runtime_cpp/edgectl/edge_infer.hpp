#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base.hpp"
#include "manifest.hpp"

namespace edgectl {

/// How a run of a release's `edge-infer` ended.
struct Ended {
  int exit = 0;        // exit code; 128 + the signal that ended it
  std::string report;  // its standard output
  std::string stop;    // why it was ended; empty: it ended by itself
};

/// Arguments of a release's self-test. One that was made before there was run.json is run as its
/// manifest says.
std::vector<std::string> selftest_arguments(const Manifest& manifest);

/// Runs `bin/edge-infer` in the folder of a release. It ends, with all that it started, after
/// `timeout_s`, with whoever reads our standard output, and with this process. `each_look` is
/// called ten times a second meanwhile.
Result<Ended> run_edge_infer(const std::string& folder, const std::vector<std::string>& arguments,
                             uint64_t timeout_s, const std::function<void()>& each_look);

}  // namespace edgectl
