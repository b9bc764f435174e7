#pragma once

#include <string>
#include <vector>

#include "common/result.hpp"

namespace edge {

/// What the command line asks for.
struct Options {
  std::string command;     // "run", "selftest", "bench", "info", "watch", "help" or "version"
  std::string model;       // file; empty if not given
  std::string golden;      // folder; empty: golden/ beside the model
  std::string dump_input;  // file for the last image's tensor; empty: none
  std::string image;       // bench: file to time with; empty: made-up values
  std::vector<std::string> images;  // run: files
  int threads = 1;                  // of the runtime
  int warmup = 3;                   // bench: inferences before the timed ones
  int runs = 30;                    // bench: timed inferences
  std::string in;                   // watch: folder where images come
  std::string out;                  // watch: folder where results go
  std::string heartbeat;            // watch: file that says all is well; empty: none
  int keep = 1000;                  // watch: results that may lie in `out`
  bool debug = false;               // the runtime's log, and crashes that leave a core
};

Result<Options> parse_options(int argc, char** argv);

/// The usage text, an example first.
const char* usage();

}  // namespace edge
