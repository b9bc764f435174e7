#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "board.hpp"
#include "manifest.hpp"

namespace edgectl {

/// What is wrong with `releases/<id>`, a line each; empty: it is what its manifest says.
/// The manifest is held to the id, so no signature is needed.
std::vector<std::string> release_problems(const Board& board, const std::string& id, From from);
bool is_sound(const Board& board, const std::string& id, From from = From::cache);

/// The manifest of a release on the board.
Result<Manifest> manifest_of(const Board& board, const std::string& id);

bool has_object(const Board& board, const std::string& sha256);  // by its hash, not its name

/// Files that neither the release's folder nor the store has, one an object.
std::vector<ReleaseFile> missing_files(const Board& board, const Manifest& manifest);

/// What `seal` did.
struct Sealed {
  bool made = false;                // the folder is new
  std::vector<std::string> mended;  // paths that were wrong in a folder that was there
  uint64_t read_back = 0;           // bytes that the storage was asked for again
};

/// Makes `releases/<id>` of hard links into the store, or mends it; then reads all of it back
/// from the storage. What is damaged there is thrown out of the store, to be sent again.
Result<Sealed> seal_release(const Board& board, const Manifest& manifest,
                            const std::string& manifest_text, const std::string& signature_text);

/// What `gc` removed.
struct Swept {
  std::vector<std::string> releases;
  int64_t objects = 0;
  uint64_t bytes = 0;
};

/// Removes releases other than `kept`, and objects that no release has.
Result<Swept> sweep(const Board& board, const std::vector<std::string>& kept);

/// Removes all that makes the board one in service: what runs first, then releases, objects and
/// notes, the keys last, so that the order to do so can be repeated after a power cut. What is left
/// is this program and its locks.
Result<Swept> wipe(const Board& board);

/// Empties `tmp/`, except for the names given.
Fault sweep_tmp(const Board& board, const std::vector<std::string>& kept);

}  // namespace edgectl
