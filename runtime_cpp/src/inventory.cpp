#include "edge/inventory.hpp"

#include <zlib.h>

#include "common/text.hpp"
#include "edge/fields.hpp"
#include "edge/file.hpp"
#include "edge/sha256.hpp"

namespace edge {
namespace {

constexpr const char* next_step = "deploy the release again: invoke deploy";
constexpr size_t max_bytes = 1u << 30;

std::optional<Error> compare(const std::string& path, const std::string& kind,
                             const std::string& expected, const std::string& found, Exit exit,
                             const char* code) {
  if (found == expected) return std::nullopt;
  return Error{exit, code, path,
               "is damaged, or of another release\n  expected: " + kind + " " + expected +
                   "\n  found: " + kind + " " + found,
               next_step};
}

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
  return compare(path, "SHA-256", expected, sha256(file->data(), file->size()), exit, code);
}

std::optional<Error> check_crc32(const std::string& path, uint32_t expected, Exit exit,
                                 const char* code) {
  const auto file = MappedFile::open(path, {exit, code, code, max_bytes});
  if (!file) return file.error();
  const auto found = static_cast<uint32_t>(crc32_z(0, file->data(), file->size()));
  return compare(path, "CRC-32", format("%08x", expected), format("%08x", found), exit, code);
}

}  // namespace edge
