#pragma once

#include <string>

#include "edge/options.hpp"
#include "edge/result.hpp"

namespace edge {

/// What a command leaves behind.
struct Outcome {
  Exit exit;            // for the process
  std::string json;     // the document for standard output
  std::string message;  // for standard error; empty if there is nothing to tell
};

/// Runs one of the commands run, selftest, bench, info.
Outcome execute(const Options& options);

/// The outcome of a command that did not get far enough to have results.
Outcome failed(const std::string& command, const Error& error);

}  // namespace edge
