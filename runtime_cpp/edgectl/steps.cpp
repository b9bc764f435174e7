#include "steps.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <iterator>

#include "commands.hpp"
#include "facts.hpp"
#include "program.hpp"
#include "service.hpp"
#include "session.hpp"
#include "state.hpp"
#include "store.hpp"
#include "stream.hpp"
#include "transaction.hpp"

namespace edgectl {
namespace {

constexpr int stream_patience_ms = 60 * 1000;
constexpr int64_t service_patience_ms = 120 * 1000;  // of a trial without a deadline
constexpr useconds_t service_look_us = 100 * 1000;
constexpr size_t max_further_report = 64u << 10;  // bytes; a release has many programs
constexpr int64_t renewal_ms = 10 * 1000;         // of a lease, which lives for 60 s
constexpr const char* shadow = "shadow";          // runs beside the service, which is not to notice

Error not_sealed(const std::string& id) {
  return {Exit::premature, "not_sealed", "release " + id, "is not on the board yet",
          "edgectl receive, then edgectl seal"};
}

std::string tested_note(const Board& board) {
  return board.path("tmp/tested");
}

/// Of the deployer whom a running program belongs to: ten times a second is too often to write.
std::function<void()> renewal(const Board& board, uint64_t fence) {
  return [&board, fence, due = int64_t{0}]() mutable {
    if (uptime_ms() < due) return;
    due = uptime_ms() + renewal_ms;
    renew(board, fence);
  };
}

/// Of what the options' timeout is for, from here on.
int64_t deadline_of(const Options& options) {
  return uptime_ms() + static_cast<int64_t>(options.timeout_s) * 1000;
}

/// Without a trial the release is current already, and only its new sequence is to be noted.
Fault raise_floor(const Board& board, const Admitted& admitted) {
  const std::string& id = admitted.manifest.id;
  if (linked(board, "current") == id) {
    return write_state(board, "floor", text_of(Floor{admitted.claim.sequence, id}));
  }
  const Quarantine note = quarantine_of(board, id);
  return Error{Exit::premature, "no_trial", "release " + id,
               note.sequence >= admitted.claim.sequence
                   ? "was undone: it " + note.reason
                   : "is not current: it was not switched to, or was undone",
               "deploy again"};
}

/// What whoever is refused meanwhile is told: "bench (900 s at most)".
std::string work_of(const Options& options) {
  const Command& command = *options.command;
  const std::string name = options.words.size() > 1 ? options.words[0] : command.name;
  if (std::strstr(command.options, "timeout") == nullptr) return name;
  return name + format(" (%llu s at most)", static_cast<unsigned long long>(options.timeout_s));
}

/// What `infer` runs: a command of the default program, or the self-test of one of the release's.
Result<Program> program_to_run(const Board& board, const Options& options, const std::string& id) {
  const std::vector<std::string> arguments(options.words.begin(), options.words.end() - 1);
  if (options.program.empty()) return Program{default_program, arguments};
  const auto manifest = manifest_of(board, id);
  if (!manifest) return manifest.error();
  for (const Program& program : programs_of(*manifest)) {
    if (program.name == options.program) return program;
  }
  return Error{Exit::usage, "usage", "--program=" + options.program,
               "is no program of release " + id, "edgectl --help"};
}

Fault infer_in(const Board& board, const Options& options, const std::string& id,
               const std::function<void()>& each_look, Json top) {
  const auto program = program_to_run(board, options, id);
  if (!program) return program.error();
  const Bounds bounds{deadline_of(options), options.memory_mb, options.words[0] == shadow};
  const auto run =
      run_program(board.release(id), program->name, program->arguments, bounds, each_look);
  if (!run) return run.error();
  top.set("release", id);
  top.set("exit", int64_t{run->exit});
  top.set("report", run->report);
  if (run->stop.empty()) return std::nullopt;
  return Error{Exit::selftest_failed, "infer_ended", "release " + id,
               "its " + program->name + " " + options.words[0] + " " + run->stop,
               "run the same command again"};
}

Fault infer_begun(const Board& board, const Options& options, const Admitted& admitted, Json top) {
  const std::string& id = admitted.manifest.id;
  if (!is_folder(board.release(id))) return not_sealed(id);
  return infer_in(board, options, id, renewal(board, options.fence), top);
}

/// A program's self-test.
struct Tested {
  std::string program;
  Ended end;

  bool passed() const { return end.exit == 0 && end.stop.empty(); }
};

/// Runs the self-tests, all within one timeout, to the first that does not pass; returns the last
/// one. The answer has each, where a manifest names its programs.
Result<Tested> test_programs(const Board& board, const Options& options, const Manifest& manifest,
                             Json top) {
  const int64_t deadline_ms = deadline_of(options);
  std::optional<Json> list;
  if (!manifest.programs.empty()) list = top.list("programs");
  Tested last;
  for (const Program& program : programs_of(manifest)) {
    auto end = run_program(board.release(manifest.id), program.name, program.arguments,
                           {deadline_ms}, renewal(board, options.fence));
    if (!end) return end.error();
    // Of the default program it is a document, which deploy reads.
    if (program.name != default_program && end->report.size() > max_further_report) {
      end->report.resize(max_further_report);
    }
    last = {program.name, *end};
    if (list) {
      Json entry = list->append();
      entry.set("program", program.name);
      entry.set("exit", int64_t{end->exit});
      entry.set("report", end->report);
    }
    if (!last.passed()) break;
  }
  return last;
}

Error not_ready(const Board& board, const std::string& id) {
  const Service service = service_of(board);
  const std::string problem = service.pid == 0          ? "no service runs"
                              : service.release == id   ? "its service did not get ready"
                              : service.release.empty() ? "the former service runs on"
                                                        : "the service runs " + service.release;
  return {Exit::premature, "not_ready", "release " + id, problem + " at the end of its trial",
          "look at the service and its log, then deploy again"};
}

}  // namespace

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

Fault selftest(const Board& board, const Options& options, const Admitted& admitted, Json top) {
  const Manifest& manifest = admitted.manifest;
  if (!is_folder(board.release(manifest.id))) return not_sealed(manifest.id);
  const auto test = test_programs(board, options, manifest, top);
  if (!test) return test.error();
  top.set("release", manifest.id);
  top.set("passed", test->passed());
  top.set("exit", int64_t{test->end.exit});
  top.set("report", test->end.report);
  if (test->passed()) return write_file(tested_note(board), manifest.id + "\n");
  const std::string what =
      manifest.programs.empty() ? "its self-test" : "the self-test of " + test->program;
  return Error{Exit::selftest_failed, "selftest_failed", "release " + manifest.id,
               what + (test->end.stop.empty() ? format(" ended with exit code %d", test->end.exit)
                                              : " " + test->end.stop),
               "look at the report; the former release is still current"};
}

Fault switch_over(const Board& board, const Options& options, const Admitted& admitted, Json top) {
  const std::string& id = admitted.manifest.id;
  auto state = lock_state(board);
  if (!state) return state.error();
  const auto open = settle(board);
  if (!open) return open.error();
  const auto current = read_link(board, "current");
  if (!current) return current.error();
  const std::string& old = *current;
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
  trial.awaits_service = options.service;
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

/// The lock is given back between two looks at the service: its `start` needs it.
Fault commit_trial(const Board& board, const Options&, const Admitted& admitted, Json top) {
  const std::string& id = admitted.manifest.id;
  const int64_t give_up = uptime_ms() + service_patience_ms;
  for (;; usleep(service_look_us)) {
    const auto state = lock_state(board);
    if (!state) return state.error();
    auto trial = settle(board);
    if (!trial) return trial.error();
    if (!trial->open || trial->fresh != id) {
      if (auto fault = raise_floor(board, admitted)) return fault;
    } else if (trial->awaits_service && !serves(board, admitted.manifest)) {
      const bool is_over = trial->deadline_ms > 0 ? trial->is_late() : uptime_ms() >= give_up;
      if (is_over) return not_ready(board, id);
      continue;
    } else {
      trial->sequence = std::max(trial->sequence, admitted.claim.sequence);
      if (auto fault = commit(board, *trial)) return fault;
    }
    top.set("release", id);
    top.set("committed", true);
    set_or_null(top, "previous", linked(board, "previous"));
    describe_floor(board, top);
    return std::nullopt;
  }
}

Fault infer(const Board& board, const Options& options, Json top) {
  const std::string command = options.words[0];
  const char* const commands[] = {"bench", "run", "selftest", shadow};
  const bool is_known =
      std::find(std::begin(commands), std::end(commands), command) != std::end(commands);
  const bool is_allowed =
      options.program.empty() ? is_known : command == "selftest" && options.words.size() == 2;
  if (!is_allowed) {
    return Error{Exit::usage, "usage", command,
                 options.program.empty() ? "expected bench, run, selftest or shadow"
                                         : "expected selftest alone",
                 "edgectl --help"};
  }
  if (options.fence != 0) return in_session(board, options, top, infer_begun);
  if (options.holder.empty()) {
    return Error{Exit::usage, "usage", "infer", "expected --fence or --holder", "edgectl --help"};
  }
  if (auto fault = make_folders(board)) return fault;
  const auto session = lock_session(board, work_of(options), options.holder, Ending::own);
  if (!session) return session.error();
  if (auto fault = held_by_another(board, options.holder)) return fault;
  const std::string current = linked(board, "current");
  if (!current.empty()) return infer_in(board, options, current, [] {}, top);
  return Error{Exit::nothing, "nothing_to_start", board.root, "no release is installed",
               "invoke deploy"};
}

Fault in_session(const Board& board, const Options& options, Json top, Step step) {
  const std::string work = work_of(options);
  const auto session = Session::enter(board, options.fence, work);
  if (!session) return session.error();
  renew(board, options.fence);
  const auto admitted = staged(board);
  if (!admitted) return admitted.error();
  const Fault fault = step(board, options, *admitted, top);
  renew(board, options.fence);
  return fault;
}

Fault chunks(const Board& board, const Options& options, Json top) {
  const std::string path = board.object(options.object);
  const auto hashes = hash_chunks(path, static_cast<size_t>(options.chunk));
  struct stat status{};
  if (!hashes || stat(path.c_str(), &status) != 0) {
    return Error{Exit::damaged, "object_damaged", path, "is not in the store", "deploy again"};
  }
  top.set("object", options.object);
  top.set("bytes", static_cast<uint64_t>(status.st_size));
  top.set("chunk_bytes", options.chunk);
  top.set("chunks", *hashes);
  return std::nullopt;
}

}  // namespace edgectl
