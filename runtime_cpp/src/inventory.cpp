#include "edge/inventory.hpp"

#include "edge/fields.hpp"
#include "edge/file.hpp"
#include "edge/sha256.hpp"

namespace edge {
namespace {

constexpr const char* next_step = "deploy the release again: invoke deploy";
constexpr size_t max_bytes = 1u << 30;

}  // namespace

Result<Inventory> Inventory::load(const std::string& release) {
  const std::string path = release + "/manifest.json";
  const auto document = read_json(path, "manifest_missing", "manifest_invalid");
  if (!document) return document.error();
  std::vector<std::string> problems;
  Inventory inventory;
  Fields top(yyjson_doc_get_root(document->get()), "", problems);
  for (Fields& file : top.objects("files")) {
    inventory.hashes_[release + "/" + file.text("path")] = file.text("sha256");
  }
  if (problems.empty()) return inventory;
  return defects(path, "manifest_invalid", problems, next_step);
}

std::string Inventory::expected(const std::string& path) const {
  const auto entry = hashes_.find(path);
  return entry != hashes_.end() ? entry->second : "";
}

std::optional<Error> Inventory::check(const std::string& path) const {
  const std::string hash = expected(path);
  if (hash.empty()) return std::nullopt;
  return check_hash(path, hash, Exit::card, "release_damaged");
}

std::optional<Error> check_hash(const std::string& path, const std::string& expected, Exit exit,
                                const char* code) {
  // Mapped, not read: its pages are those of the page cache, and are given back at once.
  const auto file = MappedFile::open(path, {exit, code, code, max_bytes});
  if (!file) return file.error();
  const std::string found = sha256(file->data(), file->size());
  if (found == expected) return std::nullopt;
  return Error{exit, code, path,
               "is damaged, or of another release\n  expected: SHA-256 " + expected +
                   "\n  found: SHA-256 " + found,
               next_step};
}

}  // namespace edge
