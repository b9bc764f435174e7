#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base.hpp"
#include "manifest.hpp"

namespace edgectl {

/// How a run of a release's program ended.
struct Ended {
  int exit = 0;        // exit code; 128 + the signal that ended it
  std::string report;  // its standard output
  std::string stop;    // why it was ended; empty: it ended by itself
};

/// What a run of a release's program is held to.
struct Bounds {
  int64_t deadline_ms;     // of uptime_ms
  uint64_t memory_mb = 0;  // of all its processes, resident; 0: any
  bool gives_way = false;  // to all that runs on the board, and is the first to go without memory
};

/// The programs of a release, with the arguments of their self-tests: those that its manifest
/// names, else the default one. What was made before there was run.json is run as the manifest
/// says.
std::vector<Program> programs_of(const Manifest& manifest);

/// Runs `bin/<program>` in the folder of a release. It ends, with all that it started, where it
/// is out of bounds, with whoever reads our standard output, and with this process. `each_look` is
/// called ten times a second meanwhile. After the deadline nothing is started.
Result<Ended> run_program(const std::string& folder, const std::string& program,
                          const std::vector<std::string>& arguments, const Bounds& bounds,
                          const std::function<void()>& each_look);

}  // namespace edgectl
