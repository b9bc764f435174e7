#include "edge/arrivals.hpp"

#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "edge/statistics.hpp"

namespace edge {
namespace {

constexpr int settle_ms = 2000;  // a file that was closed, or was there before
constexpr int open_ms = 60000;   // one that was made, and not closed yet: it is being written
constexpr int look_again_ms = 250;

constexpr uint32_t gone = IN_MOVED_FROM | IN_DELETE;  // also what was taken as an image

int patience_after(uint32_t event) {
  if ((event & IN_MOVED_TO) != 0) return 0;
  return (event & IN_CREATE) != 0 ? open_ms : settle_ms;
}

}  // namespace

Arrivals::Arrivals(const std::string& folder, const std::string& results)
    : folder_(folder),
      notifier_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)),
      folder_watch_(inotify_add_watch(notifier_, folder.c_str(),
                                      IN_MOVED_TO | IN_CLOSE_WRITE | IN_CREATE | gone)) {
  inotify_add_watch(notifier_, results.c_str(), gone);
}

Arrivals::~Arrivals() {
  close(notifier_);
}

void Arrivals::wait(int most_ms) {
  pollfd waiting{notifier_, POLLIN, 0};
  poll(&waiting, 1, files_.empty() ? most_ms : std::min(most_ms, look_again_ms));
  read_events();
}

void Arrivals::read_events() {
  alignas(inotify_event) char buffer[4096];
  ssize_t got = 0;
  while ((got = read(notifier_, buffer, sizeof buffer)) > 0) {
    for (const char* at = buffer; at < buffer + got;) {
      inotify_event event{};
      std::memcpy(&event, at, sizeof event);
      const char* name = at + sizeof event;
      at = name + event.len;
      if ((event.mask & IN_Q_OVERFLOW) != 0) forget_all();
      const bool counts = event.wd == folder_watch_ && event.len > 0 && name[0] != '.';
      if (counts) note(name, event.mask);
    }
  }
}

bool Arrivals::is_complete(const std::string& name) {
  read_events();
  const auto entry = patience_ms_.find(name);
  const int patience = entry != patience_ms_.end() ? entry->second : settle_ms;
  if (patience == 0) return true;
  struct stat status{};
  if (lstat((folder_ + "/" + name).c_str(), &status) != 0) return false;
  const int64_t changed = int64_t{status.st_mtim.tv_sec} * 1000000000 + status.st_mtim.tv_nsec;
  const auto inode = static_cast<uint64_t>(status.st_ino);
  auto [file, is_new] = files_.try_emplace(name, File{status.st_size, changed, inode, now_ms()});
  File& seen = file->second;
  if (is_new) return false;
  if (seen.size != status.st_size || seen.changed_ns != changed || seen.inode != inode) {
    seen = File{status.st_size, changed, inode, now_ms()};
  }
  return now_ms() - seen.since_ms >= patience;
}

void Arrivals::note(const std::string& name, uint32_t event) {
  if ((event & gone) == 0) {
    patience_ms_[name] = patience_after(event);
    return;
  }
  patience_ms_.erase(name);
  files_.erase(name);
}

void Arrivals::forget_all() {
  patience_ms_.clear();
  files_.clear();
}

}  // namespace edge
