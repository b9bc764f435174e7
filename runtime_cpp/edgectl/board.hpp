#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base.hpp"
#include "files.hpp"

namespace edgectl {

/// Where this board keeps its things: docs/protocol.md, "On the board".
struct Board {
  std::string root;            // deploy root
  std::string proc = "/proc";  // the kernel's facts; elsewhere in tests

  std::string path(const std::string& name) const { return root + "/" + name; }
  std::string release(const std::string& id) const { return path("releases/" + id); }
  std::string object(const std::string& sha256) const { return path("store/sha256/" + sha256); }
  std::string part(const std::string& sha256) const { return path("tmp/" + sha256 + ".part"); }
};

/// Makes the folders below the root; their names become durable with what is synced in them.
Fault make_folders(const Board& board);

std::string boot_id(const Board& board);  // changes with every start of the kernel
int64_t uptime_ms();                      // since that start, sleep included; no wall clock
uint64_t free_bytes(const Board& board);

/// Whose command is told to end where it is at work.
enum class Ending {
  nobody,
  own,     // of the same holder: who waited for it has gone, or it would not begin anew
  anyone,  // the holder takes over
};

/// An flock(2) on `locks/<name>`, released at the end of its scope or of the process.
class Lock {
 private:
  friend Result<Lock> lock_state(const Board& board);
  friend Result<Lock> lock_session(const Board& board, const std::string& work,
                                   const std::string& holder, Ending ending);
  static Result<Lock> take(const Board& board, const std::string& name, int64_t patience_ms);

  explicit Lock(Descriptor file) : file_(std::move(file)) {}
  Descriptor file_;
};

/// For `floor`, `txn`, `current`. Waits for a while, then refuses as `busy`.
Result<Lock> lock_state(const Board& board);
/// For a deployer's commands; `work` and `holder` say who does what, to whoever is refused
/// meanwhile.
Result<Lock> lock_session(const Board& board, const std::string& work, const std::string& holder,
                          Ending ending);

/// Replaces `<root>/<name>` by rename; durable once the root folder is synced.
Fault replace_file(const Board& board, const std::string& name, const std::string& content);
Fault replace_link(const Board& board, const std::string& name, const std::string& release);
/// The same, synced.
Fault save(const Board& board, const std::string& name, const std::string& content);

/// Id of the release that `current` or `previous` names; empty if it is none. A fault where the
/// storage does not say.
Result<std::string> read_link(const Board& board, const std::string& name);
/// The same; empty too where the storage does not say.
std::string linked(const Board& board, const std::string& name);
/// The kind of board this is, by its `compatible`, then by its aliases: other names that releases
/// for it may have. None if nobody said so yet.
std::vector<std::string> kinds(const Board& board);

/// The last release that was committed.
struct Floor {
  uint64_t sequence = 0;
  std::string release;
};
Result<Floor> floor_of(const Board& board);
std::string text_of(const Floor& floor);

/// The deployer who may act now.
struct Lease {
  uint64_t fence = 0;
  std::string holder;  // empty: nobody, or not heard of in this boot for a minute
  int64_t idle_ms = 0;
};
Lease lease_of(const Board& board);
/// That of the deploy begun last, in this boot; a deployer that was silent for longer may go on.
Lease last_lease(const Board& board);
uint64_t fence_of(const Board& board);
/// Gives out the next fencing number, durably: `wanted` if that is above the last one, or with 0
/// one more than the last.
Result<uint64_t> next_fence(const Board& board, uint64_t wanted = 0);
/// Tells that the deployer is alive; losing this in a power cut does no harm.
Fault renew_lease(const Board& board, uint64_t fence, const std::string& holder);

/// A release that proved bad on this board, with the sequence it was signed with then.
struct Quarantine {
  uint64_t sequence = 0;  // 0: there is no note
  std::string reason;
};
Quarantine quarantine_of(const Board& board, const std::string& release);
Fault quarantine(const Board& board, const std::string& release, const Quarantine& note);
/// A file that becomes the note by rename: a full disk forgives no bad release.
Fault reserve_quarantine(const Board& board, const std::string& release);
/// Removes that file.
Fault release_quarantine(const Board& board, const std::string& release);

}  // namespace edgectl
