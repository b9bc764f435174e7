#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base.hpp"

namespace edgectl {

struct Command;

/// What the command line asks for.
struct Options {
  const Command* command = nullptr;
  std::string root;            // deploy root; empty: the folder above bin/ that holds the program
  std::string proc = "/proc";  // the kernel's facts
  std::string holder;          // begin, infer: who deploys, or tests what is current
  std::string compatible;      // keys: the kind of board this is
  std::string object;          // chunks: SHA-256
  std::string board_id;        // reset-keys: which board it is about
  std::string program;         // infer: whose self-test; empty: the default program runs
  std::string bad;             // rollback: why the release is bad
  uint64_t fence = 0;          // of the deploy that this command belongs to, or begins
  uint64_t reserve = 0;        // plan, begin: bytes to leave free
  uint64_t chunk = 64 * 1024;  // chunks: bytes
  uint64_t tries = 3;          // switch: starts that the trial has
  uint64_t deadline_s = 120;   // switch: seconds until the trial is undone; 0: never
  uint64_t timeout_s = 120;    // selftest, infer: seconds
  uint64_t memory_mb = 0;      // infer: MiB that it may hold; 0: any
  bool take_over = false;      // begin: end another's lease or trial
  bool verify = false;         // status: hash the current release too
  bool service = false;        // switch: commit only once the service is ready
  std::vector<char*> words;    // start, infer: what to run; ends in a null pointer
};

Result<Options> parse_options(int argc, char** argv);

}  // namespace edgectl
