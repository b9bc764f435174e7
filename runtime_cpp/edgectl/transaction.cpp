#include "transaction.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>
#include <vector>

#include "manifest.hpp"
#include "service.hpp"
#include "signature.hpp"
#include "state.hpp"
#include "store.hpp"

namespace edgectl {
namespace {

constexpr const char* nobody = "-";
constexpr const char* service = "service";
constexpr int64_t guard_pause_ms = 5 * 1000;  // between two attempts to end a trial

std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words;
  size_t start = 0;
  while (start < line.size()) {
    const size_t end = std::min(line.find_first_of(" \n", start), line.size());
    if (end > start) words.push_back(line.substr(start, end - start));
    start = end + 1;
  }
  return words;
}

/// A number that may be zero.
uint64_t count_of(const std::string& text) {
  return text == "0" ? 0 : parse_sequence(text);
}

std::string text_of(const Transaction& trial) {
  return format(
      "%s %s %s %llu %llu %llu %s %lld %lld %s\n", trial.committed ? "committed" : "trial",
      trial.fresh.c_str(), trial.old.empty() ? nobody : trial.old.c_str(),
      static_cast<unsigned long long>(trial.sequence), static_cast<unsigned long long>(trial.tries),
      static_cast<unsigned long long>(trial.fence), trial.boot.c_str(),
      static_cast<long long>(trial.armed_ms), static_cast<long long>(trial.deadline_ms),
      trial.awaits_service ? service : nobody);
}

/// Made when a trial begins, so that its end needs no inode: `current` or `previous` to be.
constexpr const char* former_link = "former";

Fault forget(const Board& board, const Transaction& trial) {
  if (auto fault = release_quarantine(board, trial.fresh)) return fault;
  if (auto fault = remove_state(board, "txn")) return fault;
  return remove_file(board.path(former_link));
}

Fault point_to_former(const Board& board, const char* name, const std::string& former) {
  if (linked(board, former_link) != former) return replace_link(board, name, former);
  return rename_over(board.path(former_link), board.path(name));
}

/// Of a trial that left nothing else to read, this much is known without its file.
Transaction damaged_trial(const Board& board) {
  Transaction trial;
  trial.open = true;
  trial.damaged = true;
  trial.fresh = linked(board, "current");
  trial.old = linked(board, former_link);
  const auto floor = floor_of(board);  // what was committed last was current before
  if (trial.old.empty() && floor && is_folder(board.release(floor->release))) {
    trial.old = floor->release;
  }
  return trial;
}

/// Carries a decided commit through. Only the last step is not synced: doing it again is harmless.
Fault finish_commit(const Board& board, const Transaction& trial) {
  if (auto fault = write_state(board, "floor", text_of(Floor{trial.sequence, trial.fresh}))) {
    return fault;
  }
  const bool has_former = !trial.old.empty() && trial.old != trial.fresh;
  if (has_former && linked(board, "previous") != trial.old) {
    if (auto fault = point_to_former(board, "previous", trial.old)) return fault;
  }
  if (auto fault = sync_folder(board.root)) return fault;
  return forget(board, trial);
}

/// One try less, and a deadline that counts in this boot.
Fault count_down(const Board& board, Transaction& trial) {
  --trial.tries;
  if (!trial.is_armed(board)) {
    trial.boot = boot_id(board);
    trial.armed_ms = uptime_ms();
  }
  return write_state(board, "txn", text_of(trial));
}

/// Leaves a damaged `current` for a sound `previous`; not one that the storage does not tell.
Result<std::string> sound_release(const Board& board, std::string& notices) {
  const auto current = read_link(board, "current");
  if (!current) return current.error();
  if (is_sound(board, *current)) return *current;
  const auto previous = read_link(board, "previous");
  if (!previous) return previous.error();
  if (!is_sound(board, *previous)) {
    return Error{Exit::nothing, "nothing_to_start", board.root,
                 current->empty() ? "no release is installed" : "no release here is sound",
                 "invoke deploy"};
  }
  notices += "release " + *current + " is damaged: going back to " + *previous + "\n";
  if (auto fault = replace_link(board, "current", *previous)) return *fault;
  if (auto fault = sync_folder(board.root)) return *fault;
  return *previous;
}

/// The trial's own decision: go on, or back. Only a release that used up its tries is to blame.
Fault try_once(const Board& board, Transaction& trial, std::string& notices) {
  const bool late = trial.is_armed(board) && trial.is_late();
  const bool sound = is_sound(board, trial.fresh);
  if (trial.tries > 0 && !late && sound) return count_down(board, trial);
  const char* why = late ? "was not committed in time" : !sound ? "is damaged" : "did not stay up";
  notices += "release " + trial.fresh + " " + why + ": it is undone\n";
  return revert(board, trial, !late && sound ? why : "");
}

void sleep_ms(int64_t ms) {
  timespec time{static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000) * 1000000};
  clock_nanosleep(CLOCK_BOOTTIME, 0, &time, nullptr);
}

/// Nothing of the parent's stays open: not its pipes, not its locks.
void leave_parent() {
  setsid();
  for (int fd = 3; fd < 64; ++fd) close(fd);
  const int nowhere = open("/dev/null", O_RDWR);
  for (int fd = 0; fd <= 2; ++fd) dup2(nowhere, fd);
  if (nowhere > 2) close(nowhere);
}

/// Nobody else ends the trial of a release that takes all of the memory.
void survive_lack_of_memory() {
  const Descriptor file(open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  if (file) write_all(file.get(), "-1000", 5, "oom_score_adj");
}

/// True once the trial is decided; false where the lock or the storage is not to be had now.
bool end_late_trial(const Board& board, const Transaction& mine) {
  const auto lock = lock_state(board);
  const auto trial = lock ? settle(board) : Result<Transaction>(lock.error());
  const bool is_mine = trial && trial->open && trial->fence == mine.fence && trial->is_late();
  const bool is_decided = is_mine ? !revert(board, *trial, "") : bool(trial);
  // Also where nothing can be written: `start` runs the former release as things are.
  if (transaction_of(board).fence == mine.fence || linked(board, "current") != mine.fresh) {
    if (service_of(board).release == mine.fresh) restart_service(board);
  }
  return is_decided;
}

/// The guard's whole life.
void watch(const Board& board, const Transaction& trial) {
  while (trial.remaining_ms() > 0) {
    sleep_ms(std::min<int64_t>(trial.remaining_ms(), 60 * 1000));
    const Transaction now = transaction_of(board);
    if (!now.open || now.committed || (!now.damaged && now.fence != trial.fence)) return;
  }
  while (!end_late_trial(board, trial)) sleep_ms(guard_pause_ms);
}

}  // namespace

Transaction transaction_of(const Board& board) {
  const auto text = read_state(board, "txn");
  if (text && text->empty()) return {};
  const auto words = text ? words_of(*text) : std::vector<std::string>();
  const bool has_words = words.size() == 9 || words.size() == 10;  // 0.1.0 writes nine
  if (!has_words || (words[0] != "trial" && words[0] != "committed") || !is_id(words[1]) ||
      (words[2] != nobody && !is_id(words[2]))) {
    return damaged_trial(board);
  }
  Transaction trial;
  trial.open = true;
  trial.committed = words[0] == "committed";
  trial.fresh = words[1];
  trial.old = words[2] == nobody ? "" : words[2];
  trial.sequence = parse_sequence(words[3]);
  trial.tries = count_of(words[4]);
  trial.fence = parse_sequence(words[5]);
  trial.boot = words[6];
  trial.armed_ms = static_cast<int64_t>(count_of(words[7]));
  trial.deadline_ms = static_cast<int64_t>(count_of(words[8]));
  trial.awaits_service = words.size() == 10 && words[9] == service;
  return trial;
}

Result<Transaction> settle(const Board& board) {
  const Transaction trial = transaction_of(board);
  if (!trial.open) return trial;
  if (trial.damaged) {
    const auto fault = trial.old.empty() ? forget(board, trial) : revert(board, trial, "");
    if (fault) return *fault;
    return Transaction{};
  }
  if (trial.committed) {
    if (auto fault = finish_commit(board, trial)) return *fault;
    return Transaction{};
  }
  const auto current = read_link(board, "current");  // unread, it may well be the trial's
  if (!current) return current.error();
  if (*current != trial.fresh) {  // never carried out, or reverted already
    if (auto fault = forget(board, trial)) return *fault;
    return Transaction{};
  }
  const Quarantine bad = quarantine_of(board, trial.fresh);
  if (bad.sequence < trial.sequence) return trial;
  if (auto fault = revert(board, trial, "")) return *fault;
  return Transaction{};
}

Fault open_trial(const Board& board, const Transaction& trial) {
  const auto floor = floor_of(board);
  if (floor && floor->sequence == 0) {  // its first commit needs no inode then
    if (auto fault = write_state(board, "floor", text_of(Floor{}))) return fault;
  }
  if (auto fault = reserve_quarantine(board, trial.fresh)) return fault;
  if (!trial.old.empty()) {
    if (auto fault = replace_link(board, former_link, trial.old)) return fault;
  }
  if (auto fault = write_state(board, "txn", text_of(trial))) return fault;
  return replace_link(board, "current", trial.fresh);
}

Fault commit(const Board& board, Transaction trial) {
  trial.committed = true;
  // `current` first: the decision is written in place, which makes no name durable.
  if (auto fault = sync_folder(board.root)) return fault;
  if (auto fault = write_state(board, "txn", text_of(trial))) return fault;
  return finish_commit(board, trial);
}

Fault revert(const Board& board, const Transaction& trial, const std::string& reason) {
  // Where it cannot be written the release may be tried once more; that is better than to run on.
  if (!reason.empty()) quarantine(board, trial.fresh, {trial.sequence, reason});
  auto fault = trial.old.empty() ? remove_file(board.path("current"))
                                 : point_to_former(board, "current", trial.old);
  if (fault) return fault;
  if (auto unsynced = sync_folder(board.root)) return unsynced;
  return forget(board, trial);
}

Result<std::string> choose_release(const Board& board, std::string& notices) {
  auto trial = settle(board);
  if (!trial) return trial.error();
  if (trial->open) {
    const bool rearmed = !trial->is_armed(board);
    if (auto fault = try_once(board, *trial, notices)) return *fault;
    const auto current = read_link(board, "current");
    if (!current) return current.error();
    if (rearmed && *current == trial->fresh) post_guard(board, *trial);
    if (*current == trial->fresh) return trial->fresh;
  }
  return sound_release(board, notices);
}

Result<std::string> release_as_it_is(const Board& board) {
  const Transaction trial = transaction_of(board);
  const std::string current = linked(board, "current");
  const bool on_trial = trial.open && !trial.committed && trial.fresh == current;
  const std::string previous = linked(board, "previous");
  for (const auto& id :
       on_trial ? std::vector{trial.old, current} : std::vector{current, previous}) {
    if (is_sound(board, id)) return id;
  }
  return Error{Exit::nothing, "nothing_to_start", board.root, "no release here is sound",
               "invoke deploy"};
}

void post_guard(const Board& board, const Transaction& trial) {
  if (trial.deadline_ms == 0) return;
  const pid_t child = fork();
  if (child != 0) return;
  leave_parent();
  survive_lack_of_memory();
  watch(board, trial);
  _exit(0);
}

}  // namespace edgectl
