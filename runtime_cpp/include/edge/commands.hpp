#pragma once

#include <string>

#include "edge/document.hpp"
#include "edge/engine.hpp"
#include "edge/options.hpp"
#include "edge/result.hpp"

namespace edge {

/// What a command leaves behind.
struct Outcome {
  Exit exit;            // for the process
  std::string json;     // the document for standard output
  std::string message;  // for standard error; empty if there is nothing to tell
};

/// Runs one of the commands run, selftest, bench, info, watch.
Outcome execute(const Options& options);

/// What an image turned out to be, into the object that stands for it.
void set_result(Json entry, const Classified& result, const Card& card);

/// The outcome of a command that did not get far enough to have results.
Outcome failed(const std::string& command, const Error& error);

}  // namespace edge
