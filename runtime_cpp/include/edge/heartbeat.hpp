#pragma once

#include <cstdint>
#include <string>

#include "edge/pacer.hpp"

namespace edge {

/// Tells whoever watches over a service that it is well: a supervisor by a file, systemd by its
/// socket (sd_notify's protocol: a datagram to the address in NOTIFY_SOCKET), and `edgectl`, that
/// it is ready, by the file that is open as EDGECTL_READY_FD.
class Heartbeat {
 public:
  /// `file` is opened here, and written in place: only root may write in its folder, and who beats
  /// may be another user by then. Empty: none.
  Heartbeat(const std::string& file, const std::string& command);
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;
  ~Heartbeat();

  bool ready() const;  // false: edgectl could not be told, and will undo a release on trial
  void beat(int64_t images, int64_t failed, const Pacer* pacer) const;

 private:
  std::string command_;  // whose heartbeat it is
  int fd_;               // -1: none
};

}  // namespace edge
