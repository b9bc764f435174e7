#include "plan.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "admission.hpp"
#include "commands.hpp"
#include "facts.hpp"
#include "session.hpp"
#include "state.hpp"
#include "store.hpp"
#include "transaction.hpp"

namespace edgectl {
namespace {

constexpr size_t part_chunk = 64 * 1024;  // bytes; docs/protocol.md
constexpr uint64_t file_overhead = 4096;  // bytes that a file takes beyond its own

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
  const auto input = read_signed(STDIN_FILENO);
  if (!input) return input.error();
  return admit(board, *input);
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

}  // namespace

Fault plan(const Board& board, const Options& options, Json top) {
  const auto admitted = admit_input(board);
  if (!admitted) return admitted.error();
  return describe_plan(board, *admitted, options.reserve, top);
}

Fault begin(const Board& board, const Options& options, Json top) {
  const auto admitted = admit_input(board);
  if (!admitted) return admitted.error();
  if (auto fault = make_folders(board)) return fault;
  const auto session = lock_session(board, options.command->name, options.holder,
                                    options.take_over ? Ending::anyone : Ending::own);
  if (!session) return session.error();
  const auto state = lock_state(board);
  if (!state) return state.error();
  mend_states(board);
  if (auto fault = owned_by_another(board, options.holder)) return fault;
  if (!options.take_over) {
    if (auto fault = held_by_another(board, options.holder)) return fault;
  }
  if (auto fault = end_other_trial(board, options, admitted->manifest.id)) return fault;
  const auto fence = next_fence(board, options.fence);
  if (!fence) return fence.error();
  if (auto fault = renew_lease(board, *fence, options.holder)) return fault;
  std::vector<std::string> wanted;
  for (const auto& file : admitted->manifest.files) wanted.push_back(file.sha256 + ".part");
  if (auto fault = sweep_tmp(board, wanted)) return fault;
  if (auto fault = stage(board, *admitted)) return fault;
  top.set("fence", *fence);
  return describe_plan(board, *admitted, options.reserve, top);
}

}  // namespace edgectl
