#include "commands.hpp"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "admission.hpp"
#include "selftest.hpp"
#include "store.hpp"
#include "stream.hpp"
#include "transaction.hpp"

#ifndef EDGECTL_VERSION
#error "EDGECTL_VERSION is set by CMake"
#endif

namespace edgectl {
namespace {

using edge::Document;
using edge::Json;

constexpr int64_t protocol = 1;
constexpr size_t part_chunk = 64 * 1024;           // bytes; docs/protocol.md
constexpr uint64_t file_overhead = 4096;           // bytes that a file takes beyond its own
constexpr int64_t session_patience_ms = 5 * 1000;  // for a deployer's last command to end
constexpr int64_t state_patience_ms = 10 * 1000;
constexpr int stream_patience_ms = 60 * 1000;
constexpr size_t max_input = max_manifest_bytes + 4096;

std::string program_path() {
  char path[PATH_MAX];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof path);
  return {path, size > 0 ? static_cast<size_t>(size) : 0};
}

Board board_of(const Options& options) {
  const std::string own = edge::folder_of(edge::folder_of(program_path()));
  return {options.root.empty() ? own : options.root, options.proc};
}

void set_or_null(Json object, const char* key, const std::string& text) {
  if (text.empty()) {
    object.set_null(key);
  } else {
    object.set(key, text);
  }
}

void describe_helper(Json top) {
  Json helper = top.object("helper");
  helper.set("version", EDGECTL_VERSION);
  helper.set("protocol", protocol);
  const auto own = hash_file(program_path(), From::cache);
  helper.set("sha256", own ? *own : "");
  helper.set("encodings", std::vector<std::string>{"zstd"});
}

void describe_floor(const Board& board, Json top) {
  const auto floor = floor_of(board);
  if (!floor || floor->sequence == 0) return top.set_null("floor");
  Json object = top.object("floor");
  object.set("sequence", floor->sequence);
  object.set("release", floor->release);
}

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

/// What every report about the board has.
void describe_board(const Board& board, Json top) {
  set_or_null(top, "current", linked(board, "current"));
  set_or_null(top, "previous", linked(board, "previous"));
  describe_floor(board, top);
  describe_trial(board, top);
  describe_lease(board, top);
  top.set("boot_id", boot_id(board));
  top.set("free_bytes", free_bytes(board));
}

// plan, begin

/// How far the board is with a release.
struct Progress {
  const char* state;
  bool sound = false;
  bool noop = false;
  std::vector<ReleaseFile> missing;
  uint64_t missing_bytes = 0;
  uint64_t needed_bytes = 0;
};

bool is_committed(const Board& board, const Admitted& admitted) {
  const auto floor = floor_of(board);
  const std::string path = board.release(admitted.manifest.id) + "/" + signature_name;
  const auto signature = read_text(path, max_manifest_bytes);
  return floor && floor->sequence == admitted.claim.sequence && signature &&
         *signature == admitted.signature_text;
}

Progress progress_of(const Board& board, const Admitted& admitted, uint64_t reserve) {
  const std::string& id = admitted.manifest.id;
  const Transaction trial = transaction_of(board);
  const bool is_current = linked(board, "current") == id;
  const bool on_trial = is_current && trial.open && trial.fresh == id;
  Progress progress;
  progress.state = on_trial                       ? "trial"
                   : is_current                   ? "current"
                   : is_folder(board.release(id)) ? "sealed"
                                                  : "absent";
  progress.sound = is_sound(board, id);
  progress.noop = is_current && progress.sound && !trial.open && is_committed(board, admitted);
  if (progress.sound) return progress;
  progress.missing = missing_files(board, admitted.manifest);
  for (const auto& file : progress.missing) progress.missing_bytes += file.bytes;
  progress.needed_bytes =
      progress.missing_bytes + reserve +
      file_overhead * (progress.missing.size() + 2 * admitted.manifest.files.size());
  return progress;
}

void describe_part(const Board& board, const ReleaseFile& file, Json entry) {
  const std::string path = board.part(file.sha256);
  struct stat status{};
  const auto chunks = hash_chunks(path, part_chunk);
  if (!chunks || stat(path.c_str(), &status) != 0) return entry.set_null("part");
  Json part = entry.object("part");
  part.set("bytes", static_cast<uint64_t>(status.st_size));
  part.set("chunks", *chunks);
}

void describe_base(const Board& board, const Manifest* current, const ReleaseFile& file,
                   Json entry) {
  const auto same_path = [&](const ReleaseFile& other) { return other.path == file.path; };
  const std::vector<ReleaseFile> none;
  const auto& files = current != nullptr ? current->files : none;
  const auto base = std::find_if(files.begin(), files.end(), same_path);
  if (base == files.end() || !has_object(board, base->sha256)) return entry.set_null("base");
  Json object = entry.object("base");
  object.set("sha256", base->sha256);
  object.set("bytes", base->bytes);
}

void describe_missing(const Board& board, const std::vector<ReleaseFile>& missing, Json top) {
  const auto current = manifest_of(board, linked(board, "current"));
  Json list = top.list("missing");
  for (const auto& file : missing) {
    Json entry = list.append();
    entry.set("sha256", file.sha256);
    entry.set("bytes", file.bytes);
    entry.set("path", file.path);
    describe_part(board, file, entry);
    describe_base(board, current ? &*current : nullptr, file, entry);
  }
}

Fault no_space(const Board& board, const Progress& progress) {
  const uint64_t free = free_bytes(board);
  if (progress.needed_bytes <= free) return std::nullopt;
  return Error{Exit::storage, "no_space", board.root,
               format("%llu bytes are needed, %llu are free",
                      static_cast<unsigned long long>(progress.needed_bytes),
                      static_cast<unsigned long long>(free)),
               "make room on the board, or lower deploy.reserve_mb in its profile"};
}

Fault describe_plan(const Board& board, const Admitted& admitted, uint64_t reserve, Json top) {
  const Progress progress = progress_of(board, admitted, reserve);
  top.set("release", admitted.manifest.id);
  top.set("sequence", admitted.claim.sequence);
  top.set("key", admitted.key.name());
  top.set("state", progress.state);
  top.set("sound", progress.sound);
  top.set("noop", progress.noop);
  describe_missing(board, progress.missing, top);
  top.set("missing_bytes", progress.missing_bytes);
  top.set("needed_bytes", progress.needed_bytes);
  describe_board(board, top);
  return no_space(board, progress);
}

Result<Admitted> admit_input(const Board& board) {
  const auto input = read_input(STDIN_FILENO, max_input);
  if (!input) return input.error();
  return admit(board, split_signed(*input));
}

Fault plan(const Board& board, const Options& options, Json top) {
  const auto admitted = admit_input(board);
  if (!admitted) return admitted.error();
  return describe_plan(board, *admitted, options.reserve, top);
}

Fault held_by_another(const Board& board, const Options& options) {
  const Lease lease = lease_of(board);
  if (lease.holder.empty() || lease.holder == options.holder || options.take_over) {
    return std::nullopt;
  }
  return Error{Exit::busy, "busy", "the board",
               format("is being deployed to by %s, heard of %lld s ago", lease.holder.c_str(),
                      static_cast<long long>(lease.idle_ms / 1000)),
               "wait for it, or take over"};
}

/// An open trial of another release ends first, or keeps this deploy out.
Fault end_other_trial(const Board& board, const Options& options, const std::string& id) {
  const auto trial = settle(board);
  if (!trial) return trial.error();
  if (!trial->open || trial->fresh == id) return std::nullopt;
  if (options.take_over || trial->is_late() || !trial->is_armed(board)) {
    return revert(board, *trial, "");
  }
  return Error{Exit::busy, "txn_pending", "the board",
               "release " + trial->fresh + " is on trial there and not decided yet",
               "commit or roll back that one, or take over"};
}

Fault begin(const Board& board, const Options& options, Json top) {
  const auto admitted = admit_input(board);
  if (!admitted) return admitted.error();
  if (auto fault = make_folders(board)) return fault;
  const auto session = Lock::take(board, "session", session_patience_ms);
  if (!session) return session.error();
  const auto state = Lock::take(board, "state", state_patience_ms);
  if (!state) return state.error();
  if (auto fault = held_by_another(board, options)) return fault;
  if (auto fault = end_other_trial(board, options, admitted->manifest.id)) return fault;
  const auto fence = next_fence(board);
  if (!fence) return fence.error();
  if (auto fault = renew_lease(board, *fence, options.holder)) return fault;
  std::vector<std::string> wanted;
  for (const auto& file : admitted->manifest.files) wanted.push_back(file.sha256 + ".part");
  if (auto fault = sweep_tmp(board, wanted)) return fault;
  if (auto fault = stage(board, *admitted)) return fault;
  top.set("fence", *fence);
  return describe_plan(board, *admitted, options.reserve, top);
}

// A deploy under way

/// The right to act: nobody else acts meanwhile, and no later deployer has begun.
class Session {
 public:
  static Result<Session> enter(const Board& board, uint64_t fence) {
    if (auto fault = make_folders(board)) return *fault;
    auto lock = Lock::take(board, "session", session_patience_ms);
    if (!lock) return lock.error();
    const uint64_t last = fence_of(board);
    if (fence == last) return Session(board, std::move(*lock), fence);
    return Error{
        Exit::busy, "fence_lost", "the board",
        format("deploy %llu is not the last one, which is %llu",
               static_cast<unsigned long long>(fence), static_cast<unsigned long long>(last)),
        "another deployer took over: run your deploy again if yours is to count"};
  }

  /// The deployer lives, as far as the board can tell.
  Fault renew() const {
    const Lease lease = lease_of(board_);
    if (lease.holder.empty()) return std::nullopt;
    return renew_lease(board_, fence_, lease.holder);
  }

 private:
  Session(const Board& board, Lock lock, uint64_t fence)
      : board_(board), lock_(std::move(lock)), fence_(fence) {}

  Board board_;
  Lock lock_;
  uint64_t fence_;
};

Error not_sealed(const std::string& id) {
  return {Exit::premature, "not_sealed", "release " + id, "is not on the board yet",
          "edgectl receive, then edgectl seal"};
}

Fault chunks(const Board& board, const Options& options, Json top) {
  const std::string path = board.object(options.object);
  const auto found = hash_chunks(path, static_cast<size_t>(options.chunk));
  struct stat status{};
  if (!found || stat(path.c_str(), &status) != 0) {
    return Error{Exit::damaged, "object_damaged", path, "is not in the store", "deploy again"};
  }
  top.set("object", options.object);
  top.set("bytes", static_cast<uint64_t>(status.st_size));
  top.set("chunk_bytes", options.chunk);
  top.set("chunks", *found);
  return std::nullopt;
}

Fault receive(const Board& board, const Options&, const Admitted& admitted, Json top) {
  PatientSource source(STDIN_FILENO, stream_patience_ms);
  const auto received = receive_objects(board, admitted.manifest, source);
  if (!received) return received.error();
  Json list = top.list("objects");
  for (const auto& object : *received) {
    Json entry = list.append();
    entry.set("sha256", object.sha256);
    entry.set("bytes", object.bytes);
    entry.set("sent", object.sent);
    entry.set("copied", object.copied);
    entry.set("kept", object.kept);
  }
  return std::nullopt;
}

Fault seal(const Board& board, const Options&, const Admitted& admitted, Json top) {
  const auto sealed =
      seal_release(board, admitted.manifest, admitted.manifest_text, admitted.signature_text);
  if (!sealed) return sealed.error();
  top.set("release", admitted.manifest.id);
  top.set("made", sealed->made);
  top.set("mended", sealed->mended);
  top.set("read_back_bytes", sealed->read_back);
  return std::nullopt;
}

std::string tested_note(const Board& board) {
  return board.path("tmp/tested");
}

Fault selftest(const Board& board, const Options& options, const Admitted& admitted, Json top) {
  const std::string& id = admitted.manifest.id;
  if (!is_folder(board.release(id))) return not_sealed(id);
  const auto test = run_selftest(board.release(id), admitted.manifest.threads, options.timeout_s);
  if (!test) return test.error();
  top.set("release", id);
  top.set("passed", test->exit == 0);
  top.set("exit", int64_t{test->exit});
  top.set("report", test->report);
  if (test->exit == 0) return write_file(tested_note(board), id + "\n");
  return Error{Exit::selftest_failed, "selftest_failed", "release " + id,
               format("its self-test ended with exit code %d", test->exit),
               "look at the report; the former release is still current"};
}

Fault switch_over(const Board& board, const Options& options, const Admitted& admitted, Json top) {
  const std::string& id = admitted.manifest.id;
  auto state = Lock::take(board, "state", state_patience_ms);
  if (!state) return state.error();
  const auto open = settle(board);
  if (!open) return open.error();
  const std::string old = linked(board, "current");
  top.set("release", id);
  top.set("switched", old != id);
  if (old == id) return std::nullopt;
  if (!is_folder(board.release(id))) return not_sealed(id);
  const auto tested = read_text(tested_note(board), 64);
  if (!tested || *tested != id + "\n") {
    return Error{Exit::premature, "not_tested", "release " + id, "did not pass its self-test yet",
                 "edgectl selftest"};
  }
  if (!is_sound(board, id)) {
    return Error{Exit::damaged, "release_damaged", "release " + id, "is damaged", "deploy again"};
  }
  Transaction trial;
  trial.fresh = id;
  trial.old = old;
  trial.sequence = admitted.claim.sequence;
  trial.tries = options.tries;
  trial.fence = options.fence;
  trial.boot = boot_id(board);
  trial.armed_ms = uptime_ms();
  trial.deadline_ms = static_cast<int64_t>(options.deadline_s) * 1000;
  if (auto fault = open_trial(board, trial)) return fault;
  post_guard(board, trial);
  set_or_null(top, "old", old);
  top.set("tries", trial.tries);
  top.set("deadline_s", options.deadline_s);
  const int pid = restart_service(board);
  if (pid == 0) top.set_null("restarted");
  if (pid != 0) top.set("restarted", int64_t{pid});
  return std::nullopt;
}

/// Without a trial the release is current already, and only its new sequence is to be noted.
Fault raise_floor(const Board& board, const Admitted& admitted) {
  const std::string& id = admitted.manifest.id;
  if (linked(board, "current") == id) {
    return save(board, "floor", text_of(Floor{admitted.claim.sequence, id}));
  }
  return Error{Exit::premature, "no_trial", "release " + id,
               "is not current: it was not switched to, or was undone", "deploy again"};
}

Fault commit_trial(const Board& board, const Options&, const Admitted& admitted, Json top) {
  const auto state = Lock::take(board, "state", state_patience_ms);
  if (!state) return state.error();
  auto trial = settle(board);
  if (!trial) return trial.error();
  if (trial->open && trial->fresh == admitted.manifest.id) {
    trial->sequence = std::max(trial->sequence, admitted.claim.sequence);
    if (auto fault = commit(board, *trial)) return fault;
  } else if (auto fault = raise_floor(board, admitted)) {
    return fault;
  }
  top.set("release", admitted.manifest.id);
  top.set("committed", true);
  set_or_null(top, "previous", linked(board, "previous"));
  describe_floor(board, top);
  return std::nullopt;
}

/// A command of a deploy that was begun.
using Step = Fault (*)(const Board&, const Options&, const Admitted&, Json);

Fault in_session(const Board& board, const Options& options, Json top, Step step) {
  const auto session = Session::enter(board, options.fence);
  if (!session) return session.error();
  if (auto fault = session->renew()) return fault;
  const auto admitted = staged(board);
  if (!admitted) return admitted.error();
  if (auto fault = step(board, options, *admitted, top)) return fault;
  return session->renew();
}

// Ends

Fault undo(const Board& board, const Transaction& trial, const std::string& reason, Json top) {
  if (auto fault = revert(board, trial, reason)) return fault;
  restart_service(board);
  top.set("reverted", trial.fresh);
  set_or_null(top, "current", linked(board, "current"));
  top.set("quarantined", !reason.empty());
  return std::nullopt;
}

Fault rollback(const Board& board, const Options& options, Json top) {
  if (auto fault = make_folders(board)) return fault;
  if (options.fence != 0) {
    const auto session = Session::enter(board, options.fence);
    if (!session) return session.error();
  }
  const auto state = Lock::take(board, "state", state_patience_ms);
  if (!state) return state.error();
  const auto trial = settle(board);
  if (!trial) return trial.error();
  if (trial->open) return undo(board, *trial, options.bad, top);
  return Error{Exit::premature, "no_trial", "the board", "no release is on trial",
               "to go back from a committed one, deploy the former release signed anew"};
}

Fault recover(const Board& board, const Options&, Json top) {
  if (auto fault = make_folders(board)) return fault;
  const auto state = Lock::take(board, "state", state_patience_ms);
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

/// Helpers that a bootstrap left behind, and notes about releases that the floor shuts out.
Fault sweep_leftovers(const Board& board) {
  for (const auto& name : names_in(board.path("bin"))) {
    if (name.compare(0, 8, "edgectl-") != 0) continue;
    if (auto fault = remove_file(board.path("bin/" + name))) return fault;
  }
  const auto floor = floor_of(board);
  for (const auto& name : names_in(board.path("quarantine"))) {
    if (!floor || quarantine_of(board, name).sequence >= floor->sequence) continue;
    if (auto fault = remove_file(board.path("quarantine/" + name))) return fault;
  }
  return std::nullopt;
}

Fault gc(const Board& board, const Options& options, Json top) {
  const auto session = Session::enter(board, options.fence);
  if (!session) return session.error();
  const auto state = Lock::take(board, "state", state_patience_ms);
  if (!state) return state.error();
  const auto trial = settle(board);
  if (!trial) return trial.error();
  const auto swept =
      sweep(board, {linked(board, "current"), linked(board, "previous"), trial->fresh, trial->old});
  if (!swept) return swept.error();
  if (auto fault = sweep_leftovers(board)) return fault;
  Json removed = top.object("removed");
  removed.set("releases", swept->releases);
  removed.set("objects", swept->objects);
  removed.set("bytes", swept->bytes);
  return remove_file(board.path("lease"));  // the deploy is over: others may begin
}

// Facts

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

void describe_keys(const Board& board, Json top) {
  std::vector<std::string> names;
  const auto trust = trust_of(board);
  if (trust) {
    for (const auto& key : trust->keys) names.push_back(key.name());
  }
  top.set("keys", names);
}

Fault keys(const Board& board, const Options& options, Json top) {
  const auto input = read_input(STDIN_FILENO, max_input);
  if (!input) return input.error();
  if (auto fault = make_folders(board)) return fault;
  const auto state = Lock::take(board, "state", state_patience_ms);
  if (!state) return state.error();
  const auto changed = accept_keys(board, split_signed(*input), options.compatible);
  if (!changed) return changed.error();
  const auto trust = trust_of(board);
  top.set("changed", *changed);
  describe_keys(board, top);
  top.set("sequence", trust ? trust->sequence : 0);
  top.set("compatible", compatible(board));
  return std::nullopt;
}

Fault status(const Board& board, const Options& options, Json top) {
  set_or_null(top, "compatible", compatible(board));
  describe_keys(board, top);
  describe_board(board, top);
  top.set("releases", names_in(board.path("releases")));
  top.set("quarantine", names_in(board.path("quarantine")));
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
  const int pid = service_pid(board);
  if (pid == 0) top.set_null("service");
  if (pid != 0) top.object("service").set("pid", int64_t{pid});
  if (!options.verify) top.set_null("sound");
  if (options.verify) top.set("sound", is_sound(board, linked(board, "current")));
  return std::nullopt;
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

Fault verify_releases(const Board& board, const Options&, Json top) {
  const bool current = describe_soundness(board, "current", top);
  const bool previous = describe_soundness(board, "previous", top);
  if (current && previous) return std::nullopt;
  return Error{Exit::damaged, "release_damaged", board.root,
               current ? "the previous release is damaged" : "the current release is damaged",
               "invoke deploy"};
}

Fault run(const Board& board, const Options& options, Json top) {
  const std::string& command = options.command;
  if (command == "probe") return probe(board, options, top);
  if (command == "keys") return keys(board, options, top);
  if (command == "plan") return plan(board, options, top);
  if (command == "begin") return begin(board, options, top);
  if (command == "chunks") return chunks(board, options, top);
  if (command == "receive") return in_session(board, options, top, receive);
  if (command == "seal") return in_session(board, options, top, seal);
  if (command == "selftest") return in_session(board, options, top, selftest);
  if (command == "switch") return in_session(board, options, top, switch_over);
  if (command == "commit") return in_session(board, options, top, commit_trial);
  if (command == "rollback") return rollback(board, options, top);
  if (command == "gc") return gc(board, options, top);
  if (command == "status") return status(board, options, top);
  if (command == "verify") return verify_releases(board, options, top);
  return recover(board, options, top);
}

Outcome finished(Document& document, const Fault& fault) {
  if (!fault) return {Exit::done, document.text(), ""};
  edge::set_error(document.top(), *fault);
  return {fault->exit, document.text(), fault->message() + "\nnext: " + fault->next + "\n"};
}

}  // namespace

Outcome execute(const Options& options) {
  Document document(options.command);
  describe_helper(document.top());
  const Fault fault = run(board_of(options), options, document.top());
  return finished(document, fault);
}

Outcome failed(const std::string& command, const Error& error) {
  Document document(command);
  return finished(document, error);
}

Outcome start(const Options& options) {
  const Board board = board_of(options);
  if (auto fault = make_folders(board)) return failed("start", *fault);
  std::string told;
  std::string chosen;
  {
    const auto state = Lock::take(board, "state", state_patience_ms);
    if (!state) return failed("start", state.error());
    const auto release = choose_release(board, told);
    if (write(STDERR_FILENO, told.data(), told.size()) < 0) return {};
    if (!release) return failed("start", release.error());
    chosen = board.release(*release);
  }
  if (auto fault = become_service(board)) return failed("start", *fault);
  if (chdir(chosen.c_str()) != 0) return failed("start", storage_fault(chosen));
  execv(options.words[0], options.words.data());
  const Exit exit = static_cast<Exit>(errno == ENOENT ? 127 : 126);
  return failed("start", {exit, "io", chosen + "/" + options.words[0], edge::system_fault(),
                          "look at the release, or at what init starts"});
}

}  // namespace edgectl
