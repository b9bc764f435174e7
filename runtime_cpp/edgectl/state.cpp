#include "state.hpp"

#include <optional>

#include "manifest.hpp"

namespace edgectl {
namespace {

constexpr const char* seal_word = "sha256 ";
constexpr size_t seal_bytes = 7 + 64 + 1;  // of the last line
constexpr size_t max_state = max_manifest_bytes + seal_bytes;

std::string copy_of(const std::string& name) {
  return name + ".copy";
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

/// The content of one copy, if that is whole.
std::optional<std::string> whole(const Board& board, const std::string& copy) {
  const auto text = read_text(board.path(copy), max_state);
  if (!text || !is_whole(*text)) return std::nullopt;
  return text->substr(0, text->size() - seal_bytes);
}

}  // namespace

bool has_state(const Board& board, const std::string& name) {
  return !is_absent(board.path(name)) || !is_absent(board.path(copy_of(name)));
}

Result<std::string> read_state(const Board& board, const std::string& name) {
  if (!has_state(board, name)) return std::string();
  if (const auto content = whole(board, name)) return *content;
  if (const auto content = whole(board, copy_of(name))) return *content;
  if (is_absent(board.path(copy_of(name)))) {
    const auto text = read_text(board.path(name), max_state);
    if (text && !text->empty() && !has_seal(*text)) return *text;  // as 0.1.0 wrote it
  }
  return Error{Exit::damaged, "state_damaged", board.path(name), "is damaged, and so is its copy",
               "look at the board's storage"};
}

Fault write_state(const Board& board, const std::string& name, const std::string& content) {
  const std::string text = sealed(content);
  const bool is_reserved = !is_absent(board.path(name)) && !is_absent(board.path(copy_of(name)));
  // In place only while the other copy is whole: a damaged one is mended first.
  const bool mends = is_reserved && !whole(board, copy_of(name));
  for (const std::string& copy : {mends ? copy_of(name) : name, mends ? name : copy_of(name)}) {
    if (auto fault = is_reserved ? overwrite_synced(board.path(copy), text)
                                 : replace_file(board, copy, text)) {
      return fault;
    }
  }
  return is_reserved ? std::nullopt : sync_folder(board.root);
}

void mend_states(const Board& board) {
  for (const char* name : {"keys.json", "board", "id", "floor", "fence", "txn"}) {
    const auto first = whole(board, name);
    if (first && first == whole(board, copy_of(name))) continue;
    const auto content = read_state(board, name);
    if (content && !content->empty()) write_state(board, name, *content);
  }
}

Fault remove_state(const Board& board, const std::string& name) {
  if (auto fault = remove_file(board.path(copy_of(name))))
    return fault;  // else it would count alone
  return remove_file(board.path(name));
}

}  // namespace edgectl
