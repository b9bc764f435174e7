#pragma once

#include <cstdint>
#include <string>

#include "board.hpp"

namespace edgectl {

/// A switch that is not decided yet: the file `txn`.
struct Transaction {
  bool open = false;            // there is one
  bool committed = false;       // decided, but not carried through yet
  std::string fresh;            // release on trial
  std::string old;              // release before it; empty if there was none
  uint64_t sequence = 0;        // that `fresh` was signed with
  uint64_t tries = 0;           // starts that it has left
  uint64_t fence = 0;           // deploy that it belongs to
  std::string boot;             // boot in which the deadline counts
  int64_t armed_ms = 0;         // uptime at which it began to
  int64_t deadline_ms = 0;      // from then on; 0: none
  bool damaged = false;         // no copy of the file can be read: the trial is lost
  bool awaits_service = false;  // is committed only once its service is ready

  /// Until the deadline; `boot_now` is another boot: 0 would be wrong, so ask `is_armed` first.
  int64_t remaining_ms() const { return armed_ms + deadline_ms - uptime_ms(); }
  bool is_armed(const Board& board) const { return boot == boot_id(board); }
  bool is_late() const { return deadline_ms > 0 && remaining_ms() <= 0; }
};

Transaction transaction_of(const Board& board);

// All of these are for whoever holds the lock `state`.

/// Ends what a crash left half done; returns the trial that is still open, if any.
Result<Transaction> settle(const Board& board);

/// Writes the intent, then makes `current` the new release.
Fault open_trial(const Board& board, const Transaction& trial);

/// The trial is won: durable once this returns.
Fault commit(const Board& board, Transaction trial);

/// The trial is lost: `current` is what it was. With a reason the release is quarantined first.
Fault revert(const Board& board, const Transaction& trial, const std::string& reason);

/// Id of the release that `start` is to run: one try of a trial is counted down durably before this
/// returns. Adds a line to `notices` for each decision.
Result<std::string> choose_release(const Board& board, std::string& notices);

/// The same where the lock is not to be had or nothing can be written: a trial, whose try cannot be
/// counted, leaves the start to the former release.
Result<std::string> release_as_it_is(const Board& board);

/// Sleeps in a process of its own until the deadline of this trial, then reverts it.
void post_guard(const Board& board, const Transaction& trial);

}  // namespace edgectl
