#pragma once

#include <cstdint>
#include <string>

#include "board.hpp"
#include "manifest.hpp"

namespace edgectl {

/// The process that `start` became: whoever holds the lock on `locks/service`. `start` writes
/// "<pid> <release> <uptime> starting" to `locks/ready`; the program writes "ready" over the last
/// word, in the open file that it inherits as EDGECTL_READY_FD. They are two files because a record
/// lock ends where its process closes any descriptor of the file, as a shell does that writes to
/// it.
struct Service {
  int pid = 0;             // 0: nothing runs
  std::string release;     // that it runs; empty if an edgectl of 0.1.0 started it
  bool ready = false;      // it says that it has inferred a golden image as it should
  int64_t running_ms = 0;  // since `start`
};
Service service_of(const Board& board);

/// The service runs this release and has shown that it works.
bool serves(const Board& board, const Manifest& manifest);

/// Tells the service to end, so that init starts it anew; returns its pid or 0.
int restart_service(const Board& board);

/// Makes this process, and what it becomes, the service; refused as `busy` while another is.
/// From here on nothing here may ask for the service: that closes its file, which ends the lock.
Fault become_service(const Board& board);

/// Writes what the service runs, and leaves that file open for the program to say when it is ready.
Fault announce(const Board& board, const std::string& release);

}  // namespace edgectl
