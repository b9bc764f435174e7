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
#include "store.hpp"

namespace edgectl {
namespace {

constexpr const char* nobody = "-";
constexpr const char* service = "service";

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

Fault forget(const Board& board) {
  return remove_file(board.path("txn"));
}

/// Carries a decided commit through. Only the last step is not synced: doing it again is harmless.
Fault finish_commit(const Board& board, const Transaction& trial) {
  if (auto fault = replace_file(board, "floor", text_of(Floor{trial.sequence, trial.fresh}))) {
    return fault;
  }
  if (!trial.old.empty() && trial.old != trial.fresh) {
    if (auto fault = replace_link(board, "previous", trial.old)) return fault;
  }
  if (auto fault = sync_folder(board.root)) return fault;
  return forget(board);
}

/// One try less, and a deadline that counts in this boot.
Fault count_down(const Board& board, Transaction& trial) {
  --trial.tries;
  if (!trial.is_armed(board)) {
    trial.boot = boot_id(board);
    trial.armed_ms = uptime_ms();
  }
  return save(board, "txn", text_of(trial));
}

/// Leaves a damaged `current` for a sound `previous`.
Result<std::string> sound_release(const Board& board, std::string& notices) {
  const std::string current = linked(board, "current");
  if (is_sound(board, current)) return current;
  const std::string previous = linked(board, "previous");
  if (!is_sound(board, previous)) {
    return Error{Exit::nothing, "nothing_to_start", board.root,
                 current.empty() ? "no release is installed" : "no release here is sound",
                 "invoke deploy"};
  }
  notices += "release " + current + " is damaged: going back to " + previous + "\n";
  if (auto fault = replace_link(board, "current", previous)) return *fault;
  if (auto fault = sync_folder(board.root)) return *fault;
  return previous;
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

/// The guard's whole life.
void watch(const Board& board, const Transaction& trial) {
  while (trial.remaining_ms() > 0) {
    sleep_ms(std::min<int64_t>(trial.remaining_ms(), 60 * 1000));
    const Transaction now = transaction_of(board);
    if (!now.open || now.committed || now.fence != trial.fence) return;
  }
  const auto lock = lock_state(board);
  if (!lock) return;
  const auto now = settle(board);
  if (!now || !now->open || now->fence != trial.fence || !now->is_late()) return;
  if (!revert(board, *now, "")) restart_service(board);
}

}  // namespace

/// A `txn` that makes no sense is none: `start` then holds `current` to its hashes.
Transaction transaction_of(const Board& board) {
  const auto text = read_text(board.path("txn"), 4096);
  const auto words = text ? words_of(*text) : std::vector<std::string>();
  if ((words.size() != 9 && words.size() != 10) || !is_id(words[1]) ||
      (words[2] != nobody && !is_id(words[2])))
    return {};
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
  trial.awaits_service = words.size() == 10 && words[9] == service;  // 0.1.0 writes nine words
  return trial;
}

Result<Transaction> settle(const Board& board) {
  const Transaction trial = transaction_of(board);
  if (!trial.open) return trial;
  if (trial.committed) {
    if (auto fault = finish_commit(board, trial)) return *fault;
    return Transaction{};
  }
  if (linked(board, "current") != trial.fresh) {  // never carried out, or reverted already
    if (auto fault = forget(board)) return *fault;
    return Transaction{};
  }
  const Quarantine bad = quarantine_of(board, trial.fresh);
  if (bad.sequence < trial.sequence) return trial;
  if (auto fault = revert(board, trial, "")) return *fault;
  return Transaction{};
}

Fault open_trial(const Board& board, const Transaction& trial) {
  if (auto fault = save(board, "txn", text_of(trial))) return fault;
  return replace_link(board, "current", trial.fresh);
}

Fault commit(const Board& board, Transaction trial) {
  trial.committed = true;
  if (auto fault = save(board, "txn", text_of(trial))) return fault;
  return finish_commit(board, trial);
}

Fault revert(const Board& board, const Transaction& trial, const std::string& reason) {
  if (!reason.empty()) {
    if (auto fault = quarantine(board, trial.fresh, {trial.sequence, reason})) return fault;
  }
  auto fault = trial.old.empty() ? remove_file(board.path("current"))
                                 : replace_link(board, "current", trial.old);
  if (fault) return fault;
  if (auto unsynced = sync_folder(board.root)) return unsynced;
  return forget(board);
}

Result<std::string> choose_release(const Board& board, std::string& notices) {
  auto trial = settle(board);
  if (!trial) return trial.error();
  if (trial->open) {
    const bool rearmed = !trial->is_armed(board);
    if (auto fault = try_once(board, *trial, notices)) return *fault;
    if (rearmed && linked(board, "current") == trial->fresh) post_guard(board, *trial);
    if (linked(board, "current") == trial->fresh) return trial->fresh;
  }
  return sound_release(board, notices);
}

void post_guard(const Board& board, const Transaction& trial) {
  if (trial.deadline_ms == 0) return;
  const pid_t child = fork();
  if (child != 0) return;
  leave_parent();
  watch(board, trial);
  _exit(0);
}

}  // namespace edgectl
