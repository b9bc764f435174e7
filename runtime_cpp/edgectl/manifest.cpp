#include "manifest.hpp"

#include <algorithm>
#include <cstring>

#include "files.hpp"

namespace edgectl {
namespace {

constexpr uint64_t max_file_bytes = uint64_t{1} << 32;
constexpr size_t max_files = 4096;
constexpr size_t max_keys = 64;   // of one object
constexpr size_t max_path = 200;  // bytes
constexpr uint64_t max_threads = 64;
constexpr size_t max_programs = 16;
constexpr size_t max_arguments = 32;  // of a self-test
constexpr size_t max_argument = 256;  // bytes

Error refuse(const char* code, const std::string& problem) {
  return {Exit::refused, code, manifest_name, problem, "build and sign the release again"};
}

Error invalid(const std::string& problem) {
  return refuse("manifest_invalid", problem);
}

bool is_hex(const std::string& text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool is_file_letter(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
         (letter >= '0' && letter <= '9') || std::strchr("._+-", letter) != nullptr;
}

/// Why a path may not be a release's, or nothing.
const char* path_problem(const std::string& path) {
  if (path.empty()) return "is empty";
  if (path.size() > max_path) return "is too long";
  if (path[0] == '/') return "is absolute";
  size_t start = 0;
  while (start <= path.size()) {
    const size_t end = std::min(path.find('/', start), path.size());
    const std::string part = path.substr(start, end - start);
    if (part.empty()) return "has an empty part";
    if (part == "." || part == "..") return "leaves its folder";
    if (!std::all_of(part.begin(), part.end(), is_file_letter)) return "has a forbidden letter";
    start = end + 1;
  }
  return path == manifest_name || path == signature_name ? "is taken" : nullptr;
}

/// Keys that occur twice would be read one way here and another way elsewhere.
Fault repeated_key(yyjson_val* object, const std::string& where) {
  if (yyjson_obj_size(object) > max_keys) return invalid(where + "has too many keys");
  std::vector<std::string> seen;
  yyjson_obj_iter iterator = yyjson_obj_iter_with(object);
  while (yyjson_val* key = yyjson_obj_iter_next(&iterator)) {
    const std::string name(yyjson_get_str(key), yyjson_get_len(key));
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) {
      return refuse("manifest_duplicate", where + "has the key '" + name + "' twice");
    }
    seen.push_back(name);
  }
  return std::nullopt;
}

/// A text without NUL; empty if it is none.
std::string text_of(yyjson_val* object, const char* key) {
  yyjson_val* value = yyjson_obj_get(object, key);
  const char* text = yyjson_get_str(value);
  if (text == nullptr || std::strlen(text) != yyjson_get_len(value)) return "";
  return text;
}

Fault read_mode(yyjson_val* entry, const std::string& where, ReleaseFile& file) {
  const std::string mode = text_of(entry, "mode");
  if (mode != "0644" && mode != "0755") return invalid(where + "mode is neither 0644 nor 0755");
  file.executable = mode == "0755";
  return std::nullopt;
}

Result<ReleaseFile> read_entry(yyjson_val* entry, const std::string& where) {
  if (!yyjson_is_obj(entry)) return invalid(where + "is not an object");
  if (auto fault = repeated_key(entry, where)) return *fault;
  if (yyjson_obj_size(entry) != 4) return invalid(where + "has other keys than a file's four");
  ReleaseFile file;
  file.path = text_of(entry, "path");
  if (const char* problem = path_problem(file.path)) {
    return refuse("manifest_path",
                  where + "path '" + file.path.substr(0, max_path) + "' " + problem);
  }
  file.sha256 = text_of(entry, "sha256");
  if (!is_sha256(file.sha256)) return invalid(where + "sha256 is not 64 lower-case hex digits");
  yyjson_val* bytes = yyjson_obj_get(entry, "bytes");
  file.bytes = yyjson_get_uint(bytes);
  if (!yyjson_is_uint(bytes)) return invalid(where + "bytes is not a whole number from 0");
  if (file.bytes > max_file_bytes) return invalid(where + "bytes is over 4 GiB");
  if (auto fault = read_mode(entry, where, file)) return *fault;
  return file;
}

/// A file may not be a folder of another, and no path may come twice: paths are in order.
Fault misplaced(const std::string& before, const std::string& path) {
  if (before == path) return refuse("manifest_duplicate", "path '" + path + "' comes twice");
  if (before > path) return invalid("files are not sorted by path, at '" + path + "'");
  return std::nullopt;
}

Fault folder_conflict(const std::vector<ReleaseFile>& files) {
  for (const auto& file : files) {
    const std::string folder = file.path + "/";
    for (const auto& other : files) {
      if (other.path.compare(0, folder.size(), folder) == 0) {
        return refuse("manifest_path", "path '" + file.path + "' is a file and a folder");
      }
    }
  }
  return std::nullopt;
}

/// One content has one size.
Fault size_conflict(const std::vector<ReleaseFile>& files) {
  for (const auto& file : files) {
    const auto same = std::find_if(files.begin(), files.end(), [&](const ReleaseFile& other) {
      return other.sha256 == file.sha256;
    });
    if (same->bytes != file.bytes) return invalid("'" + file.path + "' has two sizes for one hash");
  }
  return std::nullopt;
}

Fault read_files(yyjson_val* top, Manifest& manifest) {
  yyjson_val* list = yyjson_obj_get(top, "files");
  if (!yyjson_is_arr(list)) return invalid("files is not a list");
  if (yyjson_arr_size(list) == 0) return invalid("files is empty");
  if (yyjson_arr_size(list) > max_files) return invalid("files has more than 4096 entries");
  yyjson_arr_iter iterator = yyjson_arr_iter_with(list);
  while (yyjson_val* entry = yyjson_arr_iter_next(&iterator)) {
    auto file = read_entry(entry, format("files[%zu]: ", manifest.files.size()));
    if (!file) return file.error();
    if (!manifest.files.empty()) {
      if (auto fault = misplaced(manifest.files.back().path, file->path)) return fault;
    }
    manifest.files.push_back(*file);
  }
  if (auto fault = folder_conflict(manifest.files)) return fault;
  return size_conflict(manifest.files);
}

/// The id is the hash of the canonical manifest without it; what stands before `id` there has no
/// free text, so its first occurrence is the one.
Fault changed(const std::string& text, const std::string& id) {
  const std::string own = ",\"id\":\"" + id + "\"";
  const size_t at = text.find(own);
  const std::string body = at != std::string::npos ? std::string(text).erase(at, own.size()) : "";
  const std::string actual = sha256_hex(body).substr(0, id.size());
  if (actual == id) return std::nullopt;
  return refuse("manifest_changed", "id is " + id + ", its content's is " + actual);
}

Fault read_schema(yyjson_val* top) {
  yyjson_val* schema = yyjson_obj_get(top, "schema");
  if (yyjson_is_uint(schema) && yyjson_get_uint(schema) == 1) return std::nullopt;
  const std::string version =
      yyjson_is_uint(schema)
          ? format("%llu", static_cast<unsigned long long>(yyjson_get_uint(schema)))
          : "no whole number";
  Error error = refuse("manifest_schema", "expected schema 1, found " + version);
  error.next = "deploy with the edgewright that made this release";
  return error;
}

Fault read_threads(yyjson_val* top, Manifest& manifest) {
  yyjson_val* threads = yyjson_obj_get(yyjson_obj_get(top, "runtime"), "threads");
  manifest.threads = yyjson_get_uint(threads);
  if (yyjson_is_uint(threads) && manifest.threads >= 1 && manifest.threads <= max_threads) {
    return std::nullopt;
  }
  return invalid("runtime.threads is not a number from 1 to 64");
}

bool is_argument(const std::string& text) {
  return !text.empty() && text.size() <= max_argument &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

Result<std::vector<std::string>> read_selftest(yyjson_val* list, const std::string& where) {
  if (!yyjson_is_arr(list) || yyjson_arr_size(list) == 0) {
    return invalid(where + "has no self-test");
  }
  if (yyjson_arr_size(list) > max_arguments) return invalid(where + "selftest is too long");
  std::vector<std::string> arguments;
  yyjson_arr_iter iterator = yyjson_arr_iter_with(list);
  while (yyjson_val* value = yyjson_arr_iter_next(&iterator)) {
    arguments.emplace_back(yyjson_is_str(value) ? yyjson_get_str(value) : "");
    const bool is_whole = arguments.back().size() == yyjson_get_len(value);
    if (!is_whole || !is_argument(arguments.back())) {
      return invalid(where + "selftest is not of 1 to 256 printable letters each");
    }
  }
  return arguments;
}

Result<Program> read_program(yyjson_val* entry, const std::string& where,
                             const Manifest& manifest) {
  if (!yyjson_is_obj(entry)) return invalid(where + "is not an object");
  if (auto fault = repeated_key(entry, where)) return *fault;
  Program program;
  program.name = text_of(entry, "name");
  const bool is_file =
      program.name.find('/') == std::string::npos && manifest.has("bin/" + program.name);
  if (!is_file) return invalid(where + "names no file of bin/");
  for (const Program& other : manifest.programs) {
    if (other.name == program.name) return invalid(where + "comes twice");
  }
  auto selftest = read_selftest(yyjson_obj_get(entry, "selftest"), where);
  if (!selftest) return selftest.error();
  program.arguments = *selftest;
  return program;
}

Fault read_programs(yyjson_val* top, Manifest& manifest) {
  yyjson_val* list = yyjson_obj_get(top, "programs");
  if (list == nullptr) return std::nullopt;
  if (!yyjson_is_arr(list) || yyjson_arr_size(list) == 0) {
    return invalid("programs is not a list with entries");
  }
  if (yyjson_arr_size(list) > max_programs) return invalid("programs has more than 16 entries");
  yyjson_arr_iter iterator = yyjson_arr_iter_with(list);
  while (yyjson_val* entry = yyjson_arr_iter_next(&iterator)) {
    const std::string where = format("programs[%zu]: ", manifest.programs.size());
    auto program = read_program(entry, where, manifest);
    if (!program) return program.error();
    manifest.programs.push_back(*program);
  }
  return std::nullopt;
}

}  // namespace

bool Manifest::has(const std::string& path) const {
  return std::any_of(files.begin(), files.end(),
                     [&](const ReleaseFile& file) { return file.path == path; });
}

bool is_id(const std::string& text) {
  return is_hex(text, 16);
}

bool is_sha256(const std::string& text) {
  return is_hex(text, 64);
}

Result<Manifest> parse_manifest(const std::string& text) {
  if (text.size() > max_manifest_bytes) return invalid("is over 1 MiB");
  std::string copy = text;  // yyjson takes no const; it does not write without YYJSON_READ_INSITU
  yyjson_read_err fault{};
  const JsonDocument document(yyjson_read_opts(copy.data(), copy.size(), 0, nullptr, &fault));
  if (!document) return invalid(format("is not JSON (%s at byte %zu)", fault.msg, fault.pos));
  yyjson_val* top = yyjson_doc_get_root(document.get());
  if (!yyjson_is_obj(top)) return invalid("is not a JSON object");
  if (auto problem = repeated_key(top, "")) return *problem;
  if (auto problem = read_schema(top)) return *problem;
  Manifest manifest;
  manifest.id = text_of(top, "id");
  manifest.compatible = text_of(top, "compatible");
  if (!is_id(manifest.id)) return invalid("id is not 16 lower-case hex digits");
  if (manifest.compatible.empty()) return invalid("compatible is not a text");
  if (auto problem = read_files(top, manifest)) return *problem;
  if (auto problem = read_threads(top, manifest)) return *problem;
  if (auto problem = read_programs(top, manifest)) return *problem;
  if (auto problem = changed(text, manifest.id)) return *problem;
  return manifest;
}

}  // namespace edgectl
