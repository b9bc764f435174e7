#include "edge/heartbeat.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "common/document.hpp"
#include "edge/sampler.hpp"
#include "edge/statistics.hpp"

namespace edge {
namespace {

constexpr size_t beat_bytes = 448;  // more than any has

/// Seconds since the board was switched on: its wall clock may be wrong, and may jump.
int64_t uptime_s() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return int64_t{now.tv_sec};
}

void notify(const char* state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  if (path == nullptr || std::strlen(path) >= sizeof address.sun_path) return;
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, path);
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';  // an abstract one
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
  sendto(fd, state, std::strlen(state), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address),
         length);
  close(fd);
}

/// The descriptor stays open: `edgectl` knows its service by the lock on that file.
bool tell_edgectl() {
  const char* fd = std::getenv("EDGECTL_READY_FD");
  return fd == nullptr || write(std::atoi(fd), "ready\n", 6) == 6;
}

}  // namespace

Heartbeat::Heartbeat(const std::string& file, const std::string& command)
    : command_(command),
      fd_(file.empty() ? -1
                       : open(file.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644)) {}

Heartbeat::~Heartbeat() {
  if (fd_ >= 0) close(fd_);
}

bool Heartbeat::ready() const {
  notify("READY=1");
  return tell_edgectl();
}

void Heartbeat::beat(int64_t images, int64_t failed, const Pacer* pacer) const {
  notify("WATCHDOG=1");
  sample_for_reader(command_);
  if (fd_ < 0) return;
  Document document(command_);
  Json top = document.top();
  top.set("pid", static_cast<int64_t>(getpid()));
  top.set("uptime_s", uptime_s());
  top.set("images", images);
  top.set("failed", failed);
  top.set("heap_bytes", heap_bytes());
  set_thermal(top, pacer);
  std::string text = document.text();
  text.insert(text.size() - 1, text.size() < beat_bytes ? beat_bytes - text.size() : 0, ' ');
  // One write of one length: a reader finds a whole beat. One that fails is noticed as late.
  if (pwrite(fd_, text.data(), text.size(), 0) < 0) return;
}

}  // namespace edge
