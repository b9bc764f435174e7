#include "state.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "manifest.hpp"

namespace edgectl {
namespace {

constexpr const char* seal_word = "sha256 ";
constexpr size_t seal_bytes = 7 + 64 + 1;  // of the last line
constexpr size_t max_state = max_manifest_bytes + seal_bytes;

std::string copy_of(const std::string& name) {
  return name + ".copy";
}

bool exists(const Board& board, const std::string& name) {
  return access(board.path(name).c_str(), F_OK) == 0;
}

std::string sealed(const std::string& content) {
  return content + seal_word + sha256_hex(content) + "\n";
}

bool has_seal(const std::string& text) {
  return text.size() >= seal_bytes && text.compare(text.size() - seal_bytes, 7, seal_word) == 0;
}

bool is_whole(const std::string& text) {
  return has_seal(text) && text == sealed(text.substr(0, text.size() - seal_bytes));
}

Fault write_in_place(const std::string& path, const std::string& text) {
  const Descriptor file(open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return storage_fault(path);
  if (pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()) ||
      ftruncate(file.get(), static_cast<off_t>(text.size())) != 0 || fsync(file.get()) != 0) {
    return storage_fault(path);
  }
  return std::nullopt;
}

}  // namespace

Result<std::string> read_state(const Board& board, const std::string& name) {
  const auto first = read_text(board.path(name), max_state);
  if (first && is_whole(*first)) return first->substr(0, first->size() - seal_bytes);
  const auto second = read_text(board.path(copy_of(name)), max_state);
  if (second && is_whole(*second)) return second->substr(0, second->size() - seal_bytes);
  if (!exists(board, copy_of(name))) {
    if (!exists(board, name)) return std::string();
    if (first && !first->empty() && !has_seal(*first)) return *first;  // as 0.1.0 wrote it
  }
  return Error{Exit::damaged, "state_damaged", board.path(name), "is damaged, and so is its copy",
               "look at the board's storage"};
}

Fault write_state(const Board& board, const std::string& name, const std::string& content) {
  const std::string text = sealed(content);
  const bool is_reserved = exists(board, name) && exists(board, copy_of(name));
  // In place only while the other copy is whole: a damaged one is mended first.
  const auto second = read_text(board.path(copy_of(name)), max_state);
  const bool mends = is_reserved && !(second && is_whole(*second));
  for (const std::string& copy : {mends ? copy_of(name) : name, mends ? name : copy_of(name)}) {
    if (auto fault = is_reserved ? write_in_place(board.path(copy), text)
                                 : replace_file(board, copy, text)) {
      return fault;
    }
  }
  return is_reserved ? std::nullopt : sync_folder(board.root);
}

Fault remove_state(const Board& board, const std::string& name) {
  if (auto fault = remove_file(board.path(copy_of(name))))
    return fault;  // else it would count alone
  return remove_file(board.path(name));
}

}  // namespace edgectl
