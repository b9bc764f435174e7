#pragma once

#include <string>

#include "edge/document.hpp"
#include "options.hpp"

namespace edgectl {

/// How a command ended: what goes to standard output, to people, and back to the caller.
struct Outcome {
  Exit exit = Exit::done;
  std::string json;     // one line
  std::string message;  // for standard error; empty if there is nothing to say
};

Outcome execute(const Options& options);
Outcome failed(const std::string& command, const Error& error);

/// Becomes the program that is to be started; returns only if that cannot be.
Outcome start(const Options& options);

}  // namespace edgectl
