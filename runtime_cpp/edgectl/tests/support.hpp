#pragma once

#include <string>
#include <utility>
#include <vector>

#include "board.hpp"
#include "manifest.hpp"
#include "stream.hpp"
#include "temporary_folder.hpp"

/// A board's deploy root, and a /proc that says in which boot it is.
class TemporaryBoard {
  TemporaryFolder folder_;  // before the board, whose paths lie in it

 public:
  TemporaryBoard();
  edgectl::Board board;

  void reboot() const;
  /// A sound release of these files (path, content); returns its id.
  std::string install(const std::vector<std::pair<std::string, std::string>>& files) const;
};

/// A manifest in canonical form, with the id that its content has.
std::string manifest_text(const std::vector<std::pair<std::string, std::string>>& files);

/// An object stream out of memory.
class MemorySource : public edgectl::Source {
 public:
  explicit MemorySource(std::string bytes) : bytes_(std::move(bytes)) {}
  edgectl::Fault read(uint8_t* bytes, size_t size) override;

 private:
  std::string bytes_;
  size_t at_ = 0;
};

/// What went wrong, by its word; "ok" if nothing did.
template <class T>
std::string code_of(const edgectl::Result<T>& result) {
  return result ? "ok" : result.error().code;
}
inline std::string code_of(const edgectl::Fault& fault) {
  return fault ? fault->code : "ok";
}

/// Lines "<name> <code or ok> …" of a corpus.
std::vector<std::pair<std::string, std::string>> corpus(const std::string& list);
