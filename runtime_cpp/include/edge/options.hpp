#pragma once

#include <string>
#include <vector>

#include "common/result.hpp"

namespace edge {

constexpr int max_threads = 64;
constexpr int least_thermal_limit = 40, most_thermal_limit = 110;  // °C

/// What the command line asks for.
struct Options {
  std::string command;              // one of the usage text, "help" or "version"
  std::string release;              // folder; empty: the one that the program lies in, if any
  std::string model;                // file; empty: the release's
  std::string golden;               // folder; empty: the release's, or golden/ beside the model
  std::string dump_outputs;         // folder for the last image's outputs; empty: none
  std::string dump_input;           // file for the last image's tensor; empty: none
  std::string image;                // bench: file to time with; empty: made-up values
  std::vector<std::string> images;  // run: files
  int threads = 0;                  // of the runtime; 0: what the release says, or 1
  int thermal_limit = -1;           // °C; 0: none; -1: what the release says
  std::string sysfs;                // stands for the `/` above `sys`; empty: the board's own
  int warmup = 3;                   // bench: inferences before the timed ones
  int runs = 30;                    // bench: timed inferences
  std::string in;                   // watch: folder where images come
  std::string out;                  // watch: folder where results go
  std::string heartbeat;            // services: file that says all is well; empty: none
  std::string user;                 // services: who it is once all is read; empty: who started it
  int keep = 1000;                  // watch: results that may lie in `out`
  std::string folder;               // serve: where its sockets are
  int queue = 4;                    // serve: requests that may wait
  int seconds = 600;                // shadow: how long it runs
  std::string operator_times;       // what the name of a file with these begins with; empty: none
  int samples = 0;                  // descriptor for samples of stacks; 0: none
  bool debug = false;               // the runtime's log, and crashes that leave a core
};

Result<Options> parse_options(int argc, char** argv);

/// The usage text, an example first.
const char* usage();

}  // namespace edge
