#include "store.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "state.hpp"

namespace edgectl {
namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// Appends every file below `folder` as a path relative to it; folders end in '/'.
void list_tree(const std::string& folder, const std::string& prefix,
               std::vector<std::string>& paths) {
  for (const auto& name : names_in(folder)) {
    const std::string path = prefix + name;
    if (is_folder(folder + "/" + name)) {
      paths.push_back(path + "/");
      list_tree(folder + "/" + name, path + "/", paths);
    } else {
      paths.push_back(path);
    }
  }
}

/// The folders of a release, each with a final '/', parents first; "" is the release's own.
std::vector<std::string> folders_of(const Manifest& manifest) {
  std::vector<std::string> folders{""};
  for (const auto& file : manifest.files) {
    for (size_t slash = file.path.find('/'); slash != std::string::npos;
         slash = file.path.find('/', slash + 1)) {
      folders.push_back(file.path.substr(0, slash + 1));
    }
  }
  std::sort(folders.begin(), folders.end());
  folders.erase(std::unique(folders.begin(), folders.end()), folders.end());
  return folders;
}

/// Paths in a release's folder that its manifest knows nothing of.
std::vector<std::string> strangers(const std::string& folder, const Manifest& manifest) {
  std::vector<std::string> known = folders_of(manifest);
  for (const auto& file : manifest.files) known.push_back(file.path);
  known.push_back(manifest_name);
  known.push_back(signature_name);
  std::vector<std::string> paths;
  list_tree(folder, "", paths);
  paths.erase(std::remove_if(paths.begin(), paths.end(),
                             [&](const std::string& path) { return contains(known, path); }),
              paths.end());
  return paths;
}

bool is_executable(const std::string& path) {
  struct stat status{};
  return lstat(path.c_str(), &status) == 0 && (status.st_mode & S_IXUSR) != 0;
}

/// What is wrong with one file of a release, or nothing.
std::string file_problem(const std::string& path, const ReleaseFile& file, From from) {
  const auto hash = hash_file(path, from);
  if (!hash) return file.path + ": " + hash.error().problem;
  if (*hash != file.sha256) return file.path + ": is damaged";
  if (file.executable && !is_executable(path)) return file.path + ": is not executable";
  return "";
}

Fault make_executable(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file || fchmod(file.get(), 0755) != 0 || fsync(file.get()) != 0) return storage_fault(path);
  return std::nullopt;
}

/// Puts the store's object in the place of what is there, by rename.
Fault place(const Board& board, const ReleaseFile& file, const std::string& target) {
  const std::string aside = board.path("tmp/object.link");
  if (auto fault = remove_file(aside)) return fault;
  if (link(board.object(file.sha256).c_str(), aside.c_str()) != 0) return storage_fault(aside);
  if (auto fault = rename_over(aside, target)) return fault;
  return file.executable && !is_executable(target) ? make_executable(target) : std::nullopt;
}

Error not_there(const ReleaseFile& file) {
  return {Exit::damaged, "object_damaged", file.path, "is not in the store as it should be",
          "deploy again: it is sent anew"};
}

/// Makes every file of the folder right; returns the paths that were not.
Result<std::vector<std::string>> ensure_files(const Board& board, const std::string& folder,
                                              const Manifest& manifest) {
  std::vector<std::string> mended;
  for (const auto& file : manifest.files) {
    const std::string target = folder + file.path;
    if (file_problem(target, file, From::cache).empty()) continue;
    if (!has_object(board, file.sha256)) return not_there(file);
    if (auto fault = place(board, file, target)) return *fault;
    mended.push_back(file.path);
  }
  return mended;
}

Fault ensure_text(const Board& board, const std::string& target, const std::string& text) {
  const auto present = read_text(target, max_manifest_bytes);
  if (present && *present == text) return std::nullopt;
  const std::string aside = board.path("tmp/text.new");
  if (auto fault = write_synced(aside, text)) return fault;
  return rename_over(aside, target);
}

Fault sync_folders(const std::string& folder, const Manifest& manifest) {
  for (const auto& name : folders_of(manifest)) {
    if (auto fault = sync_folder(folder + name)) return fault;
  }
  return std::nullopt;
}

Fault remove_strangers(const std::string& folder, const Manifest& manifest) {
  for (const auto& path : strangers(folder, manifest)) {
    std::string victim = folder + path;
    if (victim.back() == '/') victim.pop_back();
    if (auto fault = remove_tree(victim)) return fault;
  }
  return std::nullopt;
}

/// Hashes the whole release as the storage has it now.
Result<uint64_t> read_back(const Board& board, const Manifest& manifest) {
  uint64_t bytes = 0;
  for (const auto& file : manifest.files) {
    const std::string path = board.release(manifest.id) + "/" + file.path;
    const std::string problem = file_problem(path, file, From::storage);
    if (!problem.empty()) {
      if (!has_object(board, file.sha256)) remove_file(board.object(file.sha256));
      return Error{Exit::damaged, "object_damaged", path,
                   "the storage gives back something else than was written (" + problem + ")",
                   "deploy again: it is sent anew; if it happens again, replace the storage"};
    }
    bytes += file.bytes;
  }
  return bytes;
}

/// Fills the folder with everything that the manifest lists.
Result<std::vector<std::string>> fill(const Board& board, const std::string& folder,
                                      const Manifest& manifest, const std::string& manifest_text,
                                      const std::string& signature_text) {
  for (const auto& name : folders_of(manifest)) {
    if (auto fault = make_folder(folder + name)) return *fault;
  }
  auto mended = ensure_files(board, folder, manifest);
  if (!mended) return mended.error();
  if (auto fault = ensure_text(board, folder + manifest_name, manifest_text)) return *fault;
  if (auto fault = ensure_text(board, folder + signature_name, signature_text)) return *fault;
  if (auto fault = remove_strangers(folder, manifest)) return *fault;
  if (auto fault = sync_folders(folder, manifest)) return *fault;
  return mended;
}

/// Links of an object: one if only the store has it.
nlink_t links_of(const std::string& path, uint64_t& bytes) {
  struct stat status{};
  if (lstat(path.c_str(), &status) != 0) return 0;
  bytes = static_cast<uint64_t>(status.st_size);
  return status.st_nlink;
}

Fault sweep_objects(const Board& board, Swept& swept) {
  for (const auto& name : names_in(board.path("store/sha256"))) {
    uint64_t bytes = 0;
    const std::string path = board.object(name);
    if (links_of(path, bytes) > 1) continue;
    if (auto fault = remove_tree(path)) return fault;
    swept.bytes += bytes;
    ++swept.objects;
  }
  return std::nullopt;
}

}  // namespace

Result<Manifest> manifest_of(const Board& board, const std::string& id) {
  const auto text = read_text(board.release(id) + "/" + manifest_name, max_manifest_bytes);
  if (!text) return text.error();
  auto manifest = parse_manifest(*text);
  if (manifest && manifest->id != id) {
    return Error{Exit::damaged, "release_damaged", board.release(id),
                 "holds release " + manifest->id, "deploy again"};
  }
  return manifest;
}

std::vector<std::string> release_problems(const Board& board, const std::string& id, From from) {
  const auto manifest = manifest_of(board, id);
  if (!manifest) return {manifest.error().message()};
  const std::string folder = board.release(id) + "/";
  std::vector<std::string> problems;
  for (const auto& file : manifest->files) {
    const std::string problem = file_problem(folder + file.path, file, from);
    if (!problem.empty()) problems.push_back(problem);
  }
  for (const auto& path : strangers(folder, *manifest)) {
    problems.push_back(path + ": is not in the manifest");
  }
  return problems;
}

bool is_sound(const Board& board, const std::string& id, From from) {
  return !id.empty() && release_problems(board, id, from).empty();
}

bool has_object(const Board& board, const std::string& sha256) {
  const auto hash = hash_file(board.object(sha256), From::cache);
  return hash && *hash == sha256;
}

std::vector<ReleaseFile> missing_files(const Board& board, const Manifest& manifest) {
  std::vector<ReleaseFile> missing;
  for (const auto& file : manifest.files) {
    const std::string placed = board.release(manifest.id) + "/" + file.path;
    const bool listed = std::any_of(missing.begin(), missing.end(), [&](const ReleaseFile& other) {
      return other.sha256 == file.sha256;
    });
    if (!listed && !has_object(board, file.sha256) &&
        !file_problem(placed, file, From::cache).empty()) {
      missing.push_back(file);
    }
  }
  return missing;
}

Result<Sealed> seal_release(const Board& board, const Manifest& manifest,
                            const std::string& manifest_text, const std::string& signature_text) {
  const std::string final = board.release(manifest.id);
  Sealed sealed;
  sealed.made = !is_folder(final);
  const std::string folder = sealed.made ? board.path("tmp/" + manifest.id) : final;
  const auto mended = fill(board, folder + "/", manifest, manifest_text, signature_text);
  if (!mended) return mended.error();
  if (sealed.made) {
    if (auto fault = rename_over(folder, final)) return *fault;
  } else {
    sealed.mended = *mended;
  }
  if (auto fault = sync_folder(board.path("releases"))) return *fault;
  const auto bytes = read_back(board, manifest);
  if (!bytes) return bytes.error();
  sealed.read_back = *bytes;
  return sealed;
}

Result<Swept> sweep(const Board& board, const std::vector<std::string>& kept) {
  if (auto fault = sync_folder(board.root)) return *fault;  // what is kept is kept for good
  Swept swept;
  for (const auto& id : names_in(board.path("releases"))) {
    if (contains(kept, id)) continue;
    // Out of the way first: what is in releases/ is never half a release.
    const std::string gone = board.path("tmp/" + id + ".gone");
    if (auto fault = remove_tree(gone)) return *fault;
    if (auto fault = rename_over(board.release(id), gone)) return *fault;
    if (auto fault = remove_tree(gone)) return *fault;
    swept.releases.push_back(id);
  }
  if (auto fault = sweep_tmp(board, {})) return *fault;
  if (auto fault = sweep_objects(board, swept)) return *fault;
  return swept;
}

Fault sweep_tmp(const Board& board, const std::vector<std::string>& kept) {
  for (const auto& name : names_in(board.path("tmp"))) {
    if (contains(kept, name)) continue;
    if (auto fault = remove_tree(board.path("tmp/" + name))) return fault;
  }
  return std::nullopt;
}

Result<Swept> wipe(const Board& board) {
  for (const char* name : {"current", "previous"}) {
    if (auto fault = remove_file(board.path(name))) return *fault;
  }
  const auto swept = sweep(board, {});
  if (!swept) return swept.error();
  for (const auto& name : names_in(board.root)) {
    if (contains({"bin", "id", "id.copy", "keys.json", "keys.json.copy", "locks"}, name)) continue;
    if (auto fault = remove_tree(board.path(name))) return *fault;
  }
  for (const char* name : {"keys.json", "id"}) {
    if (auto fault = sync_folder(board.root)) return *fault;
    if (auto fault = remove_state(board, name)) return *fault;
  }
  if (auto fault = sync_folder(board.root)) return *fault;
  return *swept;
}

}  // namespace edgectl
