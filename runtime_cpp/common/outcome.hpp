#pragma once

#include <string>

#include "common/document.hpp"
#include "common/result.hpp"

namespace edge {

/// What a command leaves behind.
struct Outcome {
  Exit exit = Exit::done;  // for the process
  std::string json;        // the document for standard output
  std::string message;     // for standard error; empty if there is nothing to say
};

/// "subject: problem", then "next: what to do", a line each.
std::string message_lines(const Error& error);

/// The outcome of a command that ends with this error, which is added to its document.
Outcome failed(Document& document, const Error& error);

/// The outcome of a command that did not get far enough to have results.
Outcome failed(const std::string& command, const Error& error);

}  // namespace edge
