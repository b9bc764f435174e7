#pragma once

#include <string>

#include "common/result.hpp"

namespace edge {

/// The last line of defence. The runtime on a board is built without exceptions: where it meets
/// something it cannot handle it prints and calls abort(). From here on a fatal signal ends the
/// process with one message, one JSON document and the exit code of the `Blame` in force.
///
/// An instruction that the CPU lacks is told as that, whoever took it, also before `main`.
///
/// Libraries' own output on standard error is held back, and its end told after such a crash.
void install_crash_guard(const std::string& command);

/// Writes to the standard error that the program was started with.
void tell(const std::string& text);

/// What a fatal signal means while this object lives; outside of any, it is a bug.
class Blame {
 public:
  explicit Blame(const Error& error);
  Blame(const Blame&) = delete;
  Blame& operator=(const Blame&) = delete;
  ~Blame();
};

}  // namespace edge
