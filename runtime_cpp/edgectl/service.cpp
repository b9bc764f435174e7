#include "service.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace edgectl {
namespace {

// Of fixed width: it is written over the line before it, so that a full disk cannot refuse it.
constexpr const char* line_format = "%10d %16s %20lld starting\n";
constexpr off_t state_at = 10 + 1 + 16 + 1 + 20 + 1;
constexpr int64_t settled_ms = 15 * 1000;  // that a program which says nothing has to stay up

std::string lock_of(const Board& board) {
  return board.path("locks/service");
}

std::string line_of(const Board& board) {
  return board.path("locks/ready");
}

struct flock record_lock(short type) {
  struct flock record{};
  record.l_type = type;
  record.l_whence = SEEK_SET;
  return record;
}

}  // namespace

Service service_of(const Board& board) {
  const Descriptor file(open(lock_of(board).c_str(), O_RDONLY | O_CLOEXEC));
  struct flock record = record_lock(F_WRLCK);
  if (!file || fcntl(file.get(), F_GETLK, &record) != 0 || record.l_type == F_UNLCK) return {};
  Service service;
  service.pid = record.l_pid;
  const auto text = read_text(line_of(board), 80);
  char release[17], state[9];
  int pid = 0;
  long long started = 0;
  const bool has_line =
      text && std::sscanf(text->c_str(), "%d %16s %lld %8s", &pid, release, &started, state) == 4;
  if (!has_line || pid != service.pid) return service;  // its line is not written yet
  service.release = release;
  service.ready = std::string(state) == "ready";
  service.running_ms = uptime_ms() - started;
  return service;
}

/// A release of 0.1.0, which has no run file, cannot say that it is ready.
bool serves(const Board& board, const Manifest& manifest) {
  const Service service = service_of(board);
  if (service.pid == 0 || service.release != manifest.id) return false;
  return service.ready || (!manifest.has(run_file_name) && service.running_ms >= settled_ms);
}

int restart_service(const Board& board) {
  const int pid = service_of(board).pid;
  if (pid > 0) kill(pid, SIGTERM);
  return pid;
}

/// A record lock lasts over exec and ends with the process; its file stays open on purpose.
Fault become_service(const Board& board) {
  const std::string path = lock_of(board);
  int file = open(path.c_str(), O_RDWR | O_CREAT, 0600);
  const bool is_writable = file >= 0;
  if (!is_writable) file = open(path.c_str(), O_RDONLY);
  // Of a file that cannot be written only a lock of readers is to be had; it is as easy to see.
  struct flock other = record_lock(F_WRLCK);
  struct flock record = record_lock(is_writable ? F_WRLCK : F_RDLCK);
  if (file < 0)
    return std::nullopt;  // no lock was ever made here, and none can be: start all the same
  const bool is_taken = fcntl(file, F_GETLK, &other) == 0 && other.l_type != F_UNLCK;
  if (!is_taken && fcntl(file, F_SETLK, &record) == 0) return std::nullopt;
  return Error{Exit::busy, "busy", "the service",
               format("runs already as pid %d", service_of(board).pid), "edgectl status"};
}

Fault announce(const Board& board, const std::string& release) {
  const std::string path = line_of(board);
  const int file = open(path.c_str(), O_RDWR | O_CREAT, 0600);
  if (file < 0) return storage_fault(path);
  const std::string line = format(line_format, static_cast<int>(getpid()), release.c_str(),
                                  static_cast<long long>(uptime_ms()));
  if (auto fault = write_all(file, line.data(), line.size(), path)) return fault;
  lseek(file, state_at, SEEK_SET);
  setenv("EDGECTL_READY_FD", format("%d", file).c_str(), 1);
  return std::nullopt;
}

}  // namespace edgectl
