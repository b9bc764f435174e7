#include "ends.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "commands.hpp"
#include "facts.hpp"
#include "service.hpp"
#include "session.hpp"
#include "state.hpp"
#include "store.hpp"
#include "transaction.hpp"

namespace edgectl {
namespace {

Fault undo(const Board& board, const Transaction& trial, const std::string& reason, Json top) {
  if (auto fault = revert(board, trial, reason)) return fault;
  restart_service(board);
  if (!reason.empty() && quarantine_of(board, trial.fresh).sequence < trial.sequence) {
    return Error{Exit::storage, "io", "release " + trial.fresh,
                 "is no longer current, but the storage takes no note that it is bad",
                 "look at the board's storage, and deploy another release"};
  }
  top.set("reverted", trial.fresh);
  set_or_null(top, "current", linked(board, "current"));
  top.set("quarantined", !reason.empty());
  return std::nullopt;
}

/// Helpers that a bootstrap left behind, and notes about releases that the floor shuts out.
Fault sweep_leftovers(const Board& board) {
  for (const auto& name : names_in(board.path("bin"))) {
    if (name.compare(0, 8, "edgectl-") != 0) continue;
    if (auto fault = remove_file(board.path("bin/" + name))) return fault;
  }
  const auto floor = floor_of(board);
  for (const auto& name : names_in(board.path("quarantine"))) {
    const bool counts = !floor || quarantine_of(board, name).sequence >= floor->sequence;
    if (is_id(name) && counts) continue;
    if (auto fault = remove_file(board.path("quarantine/" + name))) return fault;
  }
  return std::nullopt;
}

/// The release that is to run. What was decided about a trial goes to the log.
Result<std::string> release_to_start(const Board& board) {
  std::string notices;
  const auto state = lock_state(board);
  if (state) mend_states(board);
  auto release = state ? choose_release(board, notices) : Result<std::string>(state.error());
  if (!release && release.error().exit != Exit::nothing) {
    notices += release.error().message() + ": what is installed starts as it is\n";
    release = release_as_it_is(board);
  }
  std::fputs(notices.c_str(), stderr);
  return release;
}

}  // namespace

Fault rollback(const Board& board, const Options& options, Json top) {
  if (auto fault = make_folders(board)) return fault;
  if (options.fence != 0) {
    const auto session = Session::enter(board, options.fence, options.command->name);
    if (!session) return session.error();
  }
  const auto state = lock_state(board);
  if (!state) return state.error();
  const auto trial = settle(board);
  if (!trial) return trial.error();
  if (trial->open) return undo(board, *trial, options.bad, top);
  return Error{Exit::premature, "no_trial", "the board", "no release is on trial",
               "to go back from a committed one, deploy the former release signed anew"};
}

Fault recover(const Board& board, const Options&, Json top) {
  if (auto fault = make_folders(board)) return fault;
  const auto state = lock_state(board);
  if (!state) return state.error();
  const auto trial = settle(board);
  if (!trial) return trial.error();
  if (trial->open && (trial->is_late() || !trial->is_armed(board))) {
    return undo(board, *trial, "", top);
  }
  top.set_null("reverted");
  set_or_null(top, "current", linked(board, "current"));
  top.set("quarantined", false);
  return std::nullopt;
}

Fault gc(const Board& board, const Options& options, Json top) {
  const auto session = Session::enter(board, options.fence, options.command->name);
  if (!session) return session.error();
  const auto state = lock_state(board);
  if (!state) return state.error();
  const auto trial = settle(board);
  if (!trial) return trial.error();
  const auto current = read_link(board, "current");
  if (!current) return current.error();
  const auto previous = read_link(board, "previous");
  if (!previous) return previous.error();
  const auto swept = sweep(board, {*current, *previous, trial->fresh, trial->old});
  if (!swept) return swept.error();
  if (auto fault = sweep_leftovers(board)) return fault;
  Json removed = top.object("removed");
  removed.set("releases", swept->releases);
  removed.set("objects", swept->objects);
  removed.set("bytes", swept->bytes);
  return remove_file(board.path("lease"));  // the deploy is over: others may begin
}

Fault start(const Board& board, const Options& options, Json) {
  make_folders(board);  // a storage that is read-only or full keeps nothing from starting
  // First: a call while the service runs says nothing about the release, and must not cost a try.
  if (auto fault = become_service(board)) return fault;
  const auto release = release_to_start(board);
  if (!release) return release.error();
  // Without its line a release on trial is undone; one that was committed runs on.
  if (auto fault = announce(board, *release)) std::fputs((fault->message() + "\n").c_str(), stderr);
  const std::string folder = board.release(*release);
  if (chdir(folder.c_str()) != 0) return storage_fault(folder);
  execv(options.words[0], options.words.data());
  const Exit exit = static_cast<Exit>(errno == ENOENT ? 127 : 126);  // as a shell has it
  return Error{exit, "io", folder + "/" + options.words[0], edge::system_fault(),
               "look at the release, or at what init starts"};
}

}  // namespace edgectl
