#include "board.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "manifest.hpp"
#include "signature.hpp"
#include "state.hpp"

namespace edgectl {
namespace {

constexpr const char* reserve_suffix = ".new";
constexpr size_t note_bytes = 256;                 // more than any note has
constexpr size_t max_note = 4096;                  // bytes of a small file
constexpr int64_t lease_ms = 60 * 1000;            // that a deployer may be silent
constexpr int64_t own_end_ms = 500;                // for a command to end by itself
constexpr int64_t told_end_ms = 2 * 1000;          // and for one that was told to
constexpr int64_t session_patience_ms = 5 * 1000;  // for a deployer's last command to end
constexpr int64_t state_patience_ms = 10 * 1000;

std::string first_line(const std::string& path) {
  const auto text = read_text(path, max_note);
  return text ? text->substr(0, text->find('\n')) : "";
}

/// "<number> <rest>", or 0 and nothing.
std::pair<uint64_t, std::string> numbered(const std::string& line) {
  const size_t space = line.find(' ');
  if (space == std::string::npos) return {parse_sequence(line), ""};
  return {parse_sequence(line.substr(0, space)), line.substr(space + 1)};
}

std::string number(uint64_t value) {
  return format("%llu", static_cast<unsigned long long>(value));
}

/// A signed release runs, and no trial of it is open: a commit has left a floor.
bool was_committed(const Board& board) {
  const auto current = read_link(board, "current");
  if (!current) return true;  // else a link that cannot be read would let anybody's keys in
  const std::string signature = board.release(*current) + "/" + signature_name;
  return !current->empty() && access(signature.c_str(), F_OK) == 0 && !has_state(board, "txn");
}

}  // namespace

Fault make_folders(const Board& board) {
  for (const char* name : {"", "locks", "quarantine", "releases", "store", "store/sha256", "tmp"}) {
    if (auto fault = make_folder(board.path(name))) return fault;
  }
  // Who cannot come near a lock cannot hold it: 0.1.0 made these for all to read.
  for (const char* name : {"", "locks"}) chmod(board.path(name).c_str(), 0700);
  return std::nullopt;
}

std::string boot_id(const Board& board) {
  return first_line(board.proc + "/sys/kernel/random/boot_id");
}

int64_t uptime_ms() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1000000;
}

uint64_t free_bytes(const Board& board) {
  struct statvfs status{};
  if (statvfs(board.root.c_str(), &status) != 0) return 0;
  return static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
}

Result<Lock> Lock::take(const Board& board, const std::string& name, int64_t patience_ms) {
  const std::string path = board.path("locks/" + name);
  Descriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file) file = Descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC));  // read-only, or full
  if (!file) return storage_fault(path);
  const int64_t deadline = uptime_ms() + patience_ms;
  while (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (uptime_ms() >= deadline) {
      return Error{Exit::busy, "busy", "the board", "another command of edgectl is at work",
                   "wait for it, then run the same command again"};
    }
    usleep(20 * 1000);
  }
  return Lock(std::move(file));
}

Result<Lock> lock_state(const Board& board) {
  return Lock::take(board, "state", state_patience_ms);
}

constexpr const char* of = " of ";

/// What the command that holds the lock wrote there: "<uptime> <work> of <holder>".
Error at_work(const Board& board) {
  const auto [since, work] = numbered(first_line(board.path("locks/session")));
  const int64_t seconds = (uptime_ms() - static_cast<int64_t>(since)) / 1000;
  return {Exit::busy, "busy", "the board",
          work + format(" is at work, for %lld s", static_cast<long long>(seconds)),
          "wait for it, then run the same command again; or take over"};
}

/// The kernel's word for who holds the lock: a number in a file may be that of another process now.
pid_t session_pid(const Board& board) {
  const Descriptor file(open(board.path("locks/session").c_str(), O_RDONLY | O_CLOEXEC));
  struct flock record{};
  record.l_type = F_WRLCK;
  record.l_whence = SEEK_SET;
  if (!file || fcntl(file.get(), F_GETLK, &record) != 0 || record.l_type == F_UNLCK) return 0;
  return record.l_pid;
}

bool is_work_of(const Board& board, const std::string& holder) {
  const std::string line = first_line(board.path("locks/session"));
  const size_t at = line.find(of);
  return at != std::string::npos && line.substr(at + std::strlen(of)) == holder;
}

Result<Lock> lock_session(const Board& board, const std::string& work, const std::string& holder,
                          Ending ending) {
  const bool ends_none = ending == Ending::nobody;
  auto lock = Lock::take(board, "session", ends_none ? session_patience_ms : own_end_ms);
  if (!lock && ending == Ending::own && !is_work_of(board, holder)) {
    ending = Ending::nobody;
    lock = Lock::take(board, "session", session_patience_ms);
  }
  // It ends what it started on SIGTERM; a deploy may be cut anywhere, so SIGKILL is no harm.
  for (const int signal : {SIGTERM, SIGKILL}) {
    if (lock || ending == Ending::nobody) break;
    const pid_t pid = session_pid(board);
    if (pid > 0) kill(pid, signal);
    lock = Lock::take(board, "session", told_end_ms);
  }
  if (!lock) return at_work(board);
  const std::string line =
      number(static_cast<uint64_t>(uptime_ms())) + " " + work + of + holder + "\n";
  const int file = lock->file_.get();
  const auto size = static_cast<ssize_t>(line.size());
  // Else it is at work all the same, but nobody is told whose it is, and nobody ends it.
  if (pwrite(file, line.data(), line.size(), 0) != size || ftruncate(file, size) != 0) return lock;
  // Last: whoever finds this process by it finds its own holder in the file, not the one before.
  struct flock record{};
  record.l_type = F_WRLCK;
  record.l_whence = SEEK_SET;
  fcntl(file, F_SETLK, &record);
  return lock;
}

Fault replace_file(const Board& board, const std::string& name, const std::string& content) {
  const std::string aside = board.path("tmp/" + edge::name_of(name) + ".new");
  if (auto fault = write_synced(aside, content)) return fault;
  return rename_over(aside, board.path(name));
}

Fault replace_link(const Board& board, const std::string& name, const std::string& release) {
  const std::string aside = board.path("tmp/" + name + ".new");
  if (auto fault = remove_file(aside)) return fault;
  if (symlink(("releases/" + release).c_str(), aside.c_str()) != 0) return storage_fault(aside);
  return rename_over(aside, board.path(name));
}

Fault save(const Board& board, const std::string& name, const std::string& content) {
  if (auto fault = replace_file(board, name, content)) return fault;
  return sync_folder(edge::folder_of(board.path(name)));
}

Result<std::string> read_link(const Board& board, const std::string& name) {
  char target[PATH_MAX];
  const ssize_t size = readlink(board.path(name).c_str(), target, sizeof target);
  if (size < 0 && errno != ENOENT && errno != EINVAL) return storage_fault(board.path(name));
  const std::string text(target, size > 0 ? static_cast<size_t>(size) : 0);
  const std::string folder = "releases/";
  if (text.compare(0, folder.size(), folder) != 0) return std::string();
  const std::string id = text.substr(folder.size());
  return is_id(id) ? id : std::string();
}

std::string linked(const Board& board, const std::string& name) {
  const auto id = read_link(board, name);
  return id ? *id : "";
}

std::vector<std::string> kinds(const Board& board) {
  const auto text = read_state(board, "board");
  std::vector<std::string> names;
  for (size_t start = 0; text && start < text->size();) {
    const size_t end = std::min(text->find('\n', start), text->size());
    names.push_back(text->substr(start, end - start));
    start = end + 1;
  }
  return names;
}

/// "<sequence> <release>", or "0 -" where none was committed yet.
Result<Floor> floor_of(const Board& board) {
  const auto text = read_state(board, "floor");
  const bool is_none = text && (text->empty() || *text == text_of(Floor{}));
  if (is_none && !was_committed(board)) return Floor{};
  const auto [sequence, release] =
      numbered(text && !text->empty() ? text->substr(0, text->size() - 1) : "");
  if (sequence != 0 && is_id(release)) return Floor{sequence, release};
  return Error{
      Exit::damaged, "floor_lost", board.path("floor"),
      std::string(is_none ? "is gone" : "is damaged") + ": nobody knows what may be installed",
      "look at the board's storage; then invoke keys.floor"};
}

std::string text_of(const Floor& floor) {
  return number(floor.sequence) + " " + (floor.release.empty() ? "-" : floor.release) + "\n";
}

uint64_t fence_of(const Board& board) {
  const auto text = read_state(board, "fence");
  const uint64_t fence = text ? parse_sequence(text->substr(0, text->find('\n'))) : 0;
  if (fence != 0 || (text && text->empty())) return fence;
  const auto floor = floor_of(board);  // lost: higher than any number that was counted up
  return floor ? floor->sequence : 0;
}

Result<uint64_t> next_fence(const Board& board, uint64_t wanted) {
  const uint64_t last = fence_of(board);
  if (wanted != 0 && wanted <= last) {
    return Error{Exit::busy, "fence_lost", "the board",
                 "deploy " + number(wanted) + " comes after deploy " + number(last),
                 "another deployer took over: run your deploy again if yours is to count"};
  }
  const uint64_t fence = wanted != 0 ? wanted : last + 1;
  if (auto fault = write_state(board, "fence", number(fence) + "\n")) return *fault;
  return fence;
}

/// "<fence> <boot id> <uptime> <holder>": anything else is nobody's.
Lease last_lease(const Board& board) {
  const auto [fence, rest] = numbered(first_line(board.path("lease")));
  const auto [boot, more] = std::pair(rest.substr(0, rest.find(' ')), rest);
  if (fence == 0 || fence != fence_of(board) || boot != boot_id(board)) return {};
  if (more.size() <= boot.size()) return {};
  const auto [heard, holder] = numbered(more.substr(boot.size() + 1));
  const int64_t idle = uptime_ms() - static_cast<int64_t>(heard);
  return idle >= 0 ? Lease{fence, holder, idle} : Lease{};
}

Lease lease_of(const Board& board) {
  const Lease lease = last_lease(board);
  return lease.idle_ms <= lease_ms ? lease : Lease{};
}

Fault renew_lease(const Board& board, uint64_t fence, const std::string& holder) {
  const std::string aside = board.path("tmp/lease.new");
  const std::string now = number(static_cast<uint64_t>(uptime_ms()));
  const std::string line = number(fence) + " " + boot_id(board) + " " + now + " " + holder + "\n";
  if (auto fault = write_file(aside, line)) return fault;
  return rename_over(aside, board.path("lease"));
}

Quarantine quarantine_of(const Board& board, const std::string& release) {
  const auto [sequence, reason] = numbered(first_line(board.path("quarantine/" + release)));
  return {sequence, reason};
}

Fault quarantine(const Board& board, const std::string& release, const Quarantine& note) {
  const std::string name = "quarantine/" + release;
  const std::string text = number(note.sequence) + " " + note.reason + "\n";
  const std::string reserve = board.path(name + reserve_suffix);
  if (is_absent(reserve)) return save(board, name, text);
  if (auto fault = overwrite_synced(reserve, text)) return fault;
  if (auto fault = rename_over(reserve, board.path(name))) return fault;
  return sync_folder(board.path("quarantine"));
}

Fault reserve_quarantine(const Board& board, const std::string& release) {
  return write_file(board.path("quarantine/" + release + reserve_suffix),
                    std::string(note_bytes, '\n'));
}

Fault release_quarantine(const Board& board, const std::string& release) {
  return remove_file(board.path("quarantine/" + release + reserve_suffix));
}

}  // namespace edgectl
