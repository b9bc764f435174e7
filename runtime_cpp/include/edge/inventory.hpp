#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "common/result.hpp"

namespace edge {

/// The hashes of a release's files: `files` of its manifest.json, which was signed. A bit that
/// storage has lost changes answers in silence; so each file is compared when it is loaded.
class Inventory {
 public:
  /// Without a release: nothing is known of any file.
  Inventory() = default;
  static Result<Inventory> load(const std::string& release);

  /// SHA-256 that the release says a file has; empty for a file outside of the release.
  std::string expected(const std::string& path) const;

  /// Nothing if a file is as it was released, or lies outside of the release.
  std::optional<Error> check(const std::string& path) const;

 private:
  std::map<std::string, std::string> hashes_;  // of each file, by its path
};

/// Compares a file with its SHA-256; `code` and `exit` are those of the fault.
std::optional<Error> check_hash(const std::string& path, const std::string& expected, Exit exit,
                                const char* code);

/// Compares a file with its CRC-32 (that of zlib and Ethernet): it sees what storage does to bits,
/// for a twelfth of the instructions of SHA-256. Who may write to a release is no matter of it.
std::optional<Error> check_crc32(const std::string& path, uint32_t expected, Exit exit,
                                 const char* code);

}  // namespace edge
