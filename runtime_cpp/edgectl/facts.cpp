#include "facts.hpp"

#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "admission.hpp"
#include "service.hpp"
#include "state.hpp"
#include "store.hpp"
#include "transaction.hpp"
#include "trust.hpp"

namespace edgectl {
namespace {

void describe_trial(const Board& board, Json top) {
  const Transaction trial = transaction_of(board);
  if (!trial.open) return top.set_null("txn");
  Json object = top.object("txn");
  object.set("new", trial.fresh);
  set_or_null(object, "old", trial.old);
  object.set("sequence", trial.sequence);
  object.set("state", trial.committed ? "committed" : "trial");
  object.set("tries", trial.tries);
  object.set("fence", trial.fence);
  if (!trial.is_armed(board) || trial.deadline_ms == 0) return object.set_null("remaining_s");
  object.set("remaining_s", std::max<int64_t>(0, trial.remaining_ms() / 1000));
}

void describe_lease(const Board& board, Json top) {
  const Lease lease = lease_of(board);
  if (lease.holder.empty()) return top.set_null("lease");
  Json object = top.object("lease");
  object.set("holder", lease.holder);
  object.set("fence", lease.fence);
  object.set("idle_s", lease.idle_ms / 1000);
}

/// A signer's machine may compare; this program compares sequences with each other only.
void describe_clock(Json top) {
  struct timex kernel{};
  const bool synchronised = adjtimex(&kernel) >= 0 && (kernel.status & STA_UNSYNC) == 0;
  Json clock = top.object("clock");
  clock.set("unix_s", int64_t{time(nullptr)});
  clock.set("synchronised", synchronised);
}

void describe_service(const Board& board, Json top) {
  const Service service = service_of(board);
  if (service.pid == 0) return top.set_null("service");
  Json object = top.object("service");
  object.set("pid", int64_t{service.pid});
  set_or_null(object, "release", service.release);
  object.set("ready", service.ready);
}

void describe_keys(const Board& board, Json top) {
  std::vector<std::string> names;
  const auto trust = trust_of(board);
  if (trust) {
    for (const auto& key : trust->keys) names.push_back(key.name());
  }
  top.set("keys", names);
}

void describe_kind(const Board& board, Json top) {
  auto names = kinds(board);
  set_or_null(top, "compatible", names.empty() ? "" : names.front());
  if (!names.empty()) names.erase(names.begin());
  top.set("aliases", names);
}

/// Tells of one release; true if it is as it should be. None is fine.
bool describe_soundness(const Board& board, const char* name, Json top) {
  const std::string id = linked(board, name);
  if (id.empty()) {
    top.set_null(name);
    return true;
  }
  const auto problems = release_problems(board, id, From::storage);
  Json object = top.object(name);
  object.set("release", id);
  object.set("sound", problems.empty());
  object.set("problems", problems);
  return problems.empty();
}

}  // namespace

void set_or_null(Json object, const char* key, const std::string& text) {
  if (text.empty()) {
    object.set_null(key);
  } else {
    object.set(key, text);
  }
}

void describe_floor(const Board& board, Json top) {
  const auto floor = floor_of(board);
  if (!floor || floor->sequence == 0) return top.set_null("floor");
  Json object = top.object("floor");
  object.set("sequence", floor->sequence);
  object.set("release", floor->release);
}

void describe_board(const Board& board, Json top) {
  set_or_null(top, "current", linked(board, "current"));
  set_or_null(top, "previous", linked(board, "previous"));
  describe_floor(board, top);
  describe_trial(board, top);
  describe_lease(board, top);
  top.set("boot_id", boot_id(board));
  top.set("free_bytes", free_bytes(board));
  describe_clock(top);
}

Fault probe(const Board& board, const Options&, Json top) {
  utsname system{};
  uname(&system);
  struct sysinfo memory{};
  sysinfo(&memory);
  struct statvfs storage{};
  statvfs(board.root.c_str(), &storage);
  struct statfs kind{};
  statfs(board.root.c_str(), &kind);
  top.set("root", board.root);
  top.set("machine", system.machine);
  top.set("kernel", system.release);
  top.set("boot_id", boot_id(board));
  top.set("uptime_s", uptime_ms() / 1000);
  top.set("filesystem", format("0x%lx", static_cast<unsigned long>(kind.f_type)));
  top.set("free_bytes", free_bytes(board));
  top.set("free_files", static_cast<uint64_t>(storage.f_favail));
  top.set("memory_bytes", uint64_t{memory.totalram} * memory.mem_unit);
  return std::nullopt;
}

Fault identify(const Board& board, const Options&, Json top) {
  if (auto fault = make_folders(board)) return fault;
  const auto state = lock_state(board);
  if (!state) return state.error();
  mend_states(board);
  const auto id = make_board_id(board);
  if (!id) return id.error();
  top.set("board_id", *id);  // also where the keys are lost: `reset-keys` asks for it
  describe_kind(board, top);
  const auto trust = trust_of(board);
  if (!trust) return trust.error();
  set_or_null(top, "document", trust->document);
  return std::nullopt;
}

Fault keys(const Board& board, const Options& options, Json top) {
  const auto input = read_signed(STDIN_FILENO);
  if (!input) return input.error();
  if (auto fault = make_folders(board)) return fault;
  const auto state = lock_state(board);
  if (!state) return state.error();
  const auto changed = accept_keys(board, *input, options.compatible);
  if (!changed) return changed.error();
  const auto trust = trust_of(board);
  top.set("changed", *changed);
  describe_keys(board, top);
  top.set("sequence", trust ? trust->sequence : 0);
  describe_kind(board, top);
  return std::nullopt;
}

Fault forget(const Board& board, const Options&, Json top) {
  const auto input = read_signed(STDIN_FILENO);
  if (!input) return input.error();
  if (auto fault = make_folders(board)) return fault;
  const auto session = lock_session(board, "forget", "somebody with a trusted key", Ending::nobody);
  if (!session) return session.error();
  const auto state = lock_state(board);
  if (!state) return state.error();
  if (auto fault = forget_order_problem(board, *input)) return fault;
  const auto wiped = wipe(board);
  if (!wiped) return wiped.error();
  restart_service(board);
  Json removed = top.object("removed");
  removed.set("releases", wiped->releases);
  removed.set("objects", wiped->objects);
  removed.set("bytes", wiped->bytes);
  top.set("remains", names_in(board.root));
  return std::nullopt;
}

Fault reset(const Board& board, const Options& options, Json top) {
  if (auto fault = make_folders(board)) return fault;
  const auto state = lock_state(board);
  if (!state) return state.error();
  const std::string id = board_id(board);
  if (id != options.board_id) {
    return Error{Exit::refused, "wrong_board", "--board-id",
                 "is not this board's, which is " + (id.empty() ? "none yet" : id),
                 "edgectl identify, on the board whose keys are to be reset"};
  }
  if (auto fault = reset_keys(board)) return fault;
  top.set("board_id", id);
  return std::nullopt;
}

Fault status(const Board& board, const Options& options, Json top) {
  describe_kind(board, top);
  set_or_null(top, "board_id", board_id(board));
  describe_keys(board, top);
  describe_board(board, top);
  top.set("releases", names_in(board.path("releases")));
  std::vector<std::string> bad;
  for (const auto& id : names_in(board.path("quarantine"))) {
    if (is_id(id)) bad.push_back(id);  // else it holds the space for a note
  }
  top.set("quarantine", bad);
  uint64_t bytes = 0;
  const auto objects = names_in(board.path("store/sha256"));
  for (const auto& name : objects) {
    struct stat status{};
    if (stat(board.object(name).c_str(), &status) == 0) {
      bytes += static_cast<uint64_t>(status.st_size);
    }
  }
  top.set("objects", static_cast<uint64_t>(objects.size()));
  top.set("object_bytes", bytes);
  describe_service(board, top);
  if (!options.verify) top.set_null("sound");
  if (options.verify) top.set("sound", is_sound(board, linked(board, "current")));
  return std::nullopt;
}

Fault verify_releases(const Board& board, const Options&, Json top) {
  const bool current = describe_soundness(board, "current", top);
  const bool previous = describe_soundness(board, "previous", top);
  if (current && previous) return std::nullopt;
  return Error{Exit::damaged, "release_damaged", board.root,
               current ? "the previous release is damaged" : "the current release is damaged",
               "invoke deploy"};
}

}  // namespace edgectl
