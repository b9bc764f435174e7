#pragma once

#include <yyjson.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base.hpp"

namespace edgectl {

constexpr const char* manifest_name = "manifest.json";
constexpr const char* signature_name = "manifest.json.minisig";
constexpr const char* run_file_name = "run.json";  // how the default program is to run
constexpr size_t max_manifest_bytes = 1u << 20;

/// One file of a release.
struct ReleaseFile {
  std::string path;    // relative, of letters, digits and "._+-", parts joined by '/'
  std::string sha256;  // of its content, lower-case hex
  uint64_t bytes = 0;
  bool executable = false;
};

/// A program of a release, `bin/<name>`, and arguments: in a manifest, those of its self-test.
struct Program {
  std::string name;
  std::vector<std::string> arguments;
};

/// That of a release which names none.
constexpr const char* default_program = "edge-infer";

/// What the board needs of `manifest.json`; docs/formats.md has all of it.
struct Manifest {
  std::string id;          // 16 lower-case hex digits
  std::string compatible;  // kind of board
  uint64_t threads = 1;    // of the runtime, for a release without run.json
  std::vector<ReleaseFile> files;
  std::vector<Program> programs;  // as the manifest names them; see `programs_of`

  bool has(const std::string& path) const;
};

/// Refuses, each with its own message, whatever this board could misunderstand.
Result<Manifest> parse_manifest(const std::string& text);

bool is_id(const std::string& text);      // of a release
bool is_sha256(const std::string& text);  // 64 lower-case hex digits

/// A JSON document of at most 1 MiB whose top is an object without repeated keys.
struct JsonDeleter {
  void operator()(yyjson_doc* document) const { yyjson_doc_free(document); }
};
using JsonDocument = std::unique_ptr<yyjson_doc, JsonDeleter>;

}  // namespace edgectl
